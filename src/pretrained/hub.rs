//! Weights of the Hugging Face hub: from its cache on this machine, or downloaded.
//!
//! The environment is that of Hugging Face's own tools: `HF_HUB_CACHE`, or `HF_HOME`, for the cache, `HF_HUB_OFFLINE=1`
//! to use nothing else, `HF_ENDPOINT` for a mirror. The cache is read, never written; what is fetched goes elsewhere.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::AtomicBool;

use super::Error;
use super::read::WEIGHT_FILES;
use crate::dataset::fetch::{Error as FetchError, Event, Patience, fetch_file};

/// Files that say what the weights are and on what terms; a repository may lack them.
const BESIDE: [&str; 5] = ["README.md", "LICENSE", "NOTICE", "config.json", "preprocessor_config.json"];

/// A repository at a revision: `hub:ORG/NAME@REVISION`, `main` when none is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    name: String,
    revision: String,
}

impl FromStr for Repository {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |text: &str| {
            let letters = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !text.is_empty() && !text.starts_with('.') && text.chars().all(letters)
        };
        let rest = text.strip_prefix("hub:").unwrap_or_default();
        let (name, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let parts = name.split('/').count();
        if (1..=2).contains(&parts) && name.split('/').all(plain) && revision.split('/').all(plain) {
            Ok(Self { name: name.to_owned(), revision: revision.to_owned() })
        } else {
            Err("give hub:ORGANISATION/NAME@REVISION, as in hub:timm/resnet50.tv_in1k@main".to_owned())
        }
    }
}

impl std::fmt::Display for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "hub:{}@{}", self.name, self.revision)
    }
}

/// What the environment says of the hub.
#[derive(Debug, Clone)]
pub struct Hub {
    cache: Option<PathBuf>,
    offline: bool,
    endpoint: String,
}

impl Hub {
    /// Reads the environment.
    pub fn from_environment() -> Self {
        Self::new(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
        let home = variable("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("XDG_CACHE_HOME").map(|path| PathBuf::from(path).join("huggingface")))
            .or_else(|| variable("HOME").map(|path| PathBuf::from(path).join(".cache/huggingface")));
        let cache = variable("HF_HUB_CACHE").map(PathBuf::from).or_else(|| home.map(|home| home.join("hub")));
        let yes = ["1", "on", "yes", "true"];
        let offline =
            text("HF_HUB_OFFLINE").is_some_and(|value| yes.contains(&value.to_lowercase().as_str()));
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Self { cache, offline, endpoint: endpoint.trim_end_matches('/').to_owned() }
    }

    /// The folder with the repository's weights: in the cache, or in `downloads`, where what is missing is fetched.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when it may not or cannot be fetched.
    pub fn folder(
        &self,
        repository: &Repository,
        downloads: &Path,
        stop: &AtomicBool,
        observer: &dyn Fn(Event),
    ) -> Result<PathBuf, Error> {
        if let Some(folder) = self.cached(repository) {
            return Ok(folder);
        }
        let Repository { name, revision } = repository;
        let flat = |text: &str| text.replace('/', "--");
        let folder = downloads.join(format!("{}@{}", flat(name), flat(revision)));
        if holds_weights(&folder) {
            return Ok(folder);
        }
        if self.offline {
            return Err(Error::Store(format!(
                "{repository} is not in the cache of the hub, and HF_HUB_OFFLINE is set; unset it, or fetch the files \
                 elsewhere and import their folder"
            )));
        }
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder, "make the folder"))?;
        let revision = revision.replace('/', "%2F");
        // Whether the repository has the file. Only an answer says that it has not: a licence must not be lost with the
        // network.
        let fetch = |file: &str| {
            let url = format!("{}/{name}/resolve/{revision}/{file}", self.endpoint);
            match fetch_file(&url, &folder.join(file), Patience::default(), stop, observer) {
                Ok(()) => Ok(true),
                Err(FetchError::Absent { .. }) => Ok(false),
                Err(error) => Err(Error::Store(error.to_string())),
            }
        };
        for file in BESIDE {
            if !folder.join(file).exists() {
                fetch(file)?;
            }
        }
        // The weights come last: a folder that has them is complete.
        for file in WEIGHT_FILES {
            if fetch(file)? {
                return Ok(folder);
            }
        }
        Err(Error::Store(format!(
            "{repository} has neither {}; look whether it is there",
            WEIGHT_FILES.join(" nor ")
        )))
    }

    /// Where the hub's own tools have put it.
    fn cached(&self, repository: &Repository) -> Option<PathBuf> {
        let folder = self.cache.as_ref()?.join(format!("models--{}", repository.name.replace('/', "--")));
        let snapshot = |revision: &str| folder.join("snapshots").join(revision);
        let commit = std::fs::read_to_string(folder.join("refs").join(&repository.revision)).ok();
        let commit = commit.filter(|commit| commit.trim().bytes().all(|b| b.is_ascii_hexdigit()));
        let named = [Some(snapshot(&repository.revision)), commit.map(|commit| snapshot(commit.trim()))];
        named.into_iter().flatten().find(|folder| holds_weights(folder))
    }
}

fn holds_weights(folder: &Path) -> bool {
    WEIGHT_FILES.iter().any(|file| folder.join(file).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_an_organisation_a_name_and_a_revision() {
        let read = |text: &str| text.parse::<Repository>().map(|repository| repository.to_string());
        assert_eq!(read("hub:timm/resnet50.tv_in1k@0a1b"), Ok("hub:timm/resnet50.tv_in1k@0a1b".to_owned()));
        assert_eq!(read("hub:gpt2"), Ok("hub:gpt2@main".to_owned()));
        assert_eq!(read("hub:a/b@refs/pr/1"), Ok("hub:a/b@refs/pr/1".to_owned()));
        for wrong in [
            "timm/resnet50",
            "hub:",
            "hub:a/b/c",
            "hub:../x",
            "hub:a/..",
            "hub:a/b@../x",
            "hub:a b",
            "hub:a/b@",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_environment_is_that_of_the_hubs_own_tools() {
        let hub = |set: &[(&str, &str)]| {
            let set: Vec<(String, OsString)> = set.iter().map(|(k, v)| (k.to_string(), v.into())).collect();
            Hub::new(|name| set.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
        };
        let usual = hub(&[("HOME", "/h")]);
        assert_eq!(usual.cache, Some(PathBuf::from("/h/.cache/huggingface/hub")));
        assert_eq!((usual.offline, usual.endpoint.as_str()), (false, "https://huggingface.co"));
        let moved = hub(&[
            ("HOME", "/h"),
            ("HF_HOME", "/f"),
            ("HF_HUB_OFFLINE", "True"),
            ("HF_ENDPOINT", "http://m/"),
        ]);
        assert_eq!(
            (moved.cache, moved.offline, moved.endpoint.as_str()),
            (Some("/f/hub".into()), true, "http://m")
        );
        assert_eq!(hub(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/f")]).cache, Some("/c".into()));
        assert!(!hub(&[("HF_HUB_OFFLINE", "0")]).offline);
    }
}
