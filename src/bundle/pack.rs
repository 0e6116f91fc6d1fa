//! Packing and opening.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::dataset::Labels;
use crate::pretrained::Started;

use super::config::BundleConfig;
use super::manifest::{Manifest, json};
use super::members::Members;
use super::{Error, archive, card, folder};

/// What goes into a bundle.
#[derive(Debug, Clone)]
pub struct BundleParts {
    /// Everything between a recording and a decision.
    pub config: BundleConfig,
    /// The classes in the order of the network's outputs.
    pub labels: Labels,
    /// The weights as safetensors.
    pub weights: Vec<u8>,
    /// How good the model was; any JSON object.
    pub metrics: serde_json::Value,
    /// The weights its training began with, when those were not random; for the model card.
    pub started_from: Option<Started>,
}

/// An opened bundle: every byte verified, no weight parsed yet.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The file or folder it came from; errors name it.
    pub path: PathBuf,
    /// Format, tool and digests.
    pub manifest: Manifest,
    /// Everything between a recording and a decision.
    pub config: BundleConfig,
    /// The classes in the order of the network's outputs.
    pub labels: Labels,
    /// The weights as safetensors.
    pub weights: Vec<u8>,
    /// How good the model was.
    pub metrics: serde_json::Value,
    /// The model card, Markdown.
    pub card: String,
}

/// Writes a bundle: an archive when `out` ends in `.tar.gz` or `.tgz`, else a new folder. Equal parts give equal
/// bytes. The target appears complete or not at all.
pub fn pack(parts: &BundleParts, out: &Path) -> Result<Manifest, Error> {
    check(out, &parts.config, &parts.labels)?;
    let config =
        BundleConfig { features: parts.config.features.resolve(&parts.config.audio), ..parts.config.clone() };
    let mut members = Members::from([
        ("README.md", card::card(parts).into_bytes()),
        ("config.json", json(&config)),
        ("labels.json", json(&parts.labels)),
        ("metrics.json", json(&parts.metrics)),
        ("model.safetensors", parts.weights.clone()),
    ]);
    let manifest = Manifest::of(&members);
    members.insert("manifest.json", manifest.to_bytes());
    if is_archive(out) {
        archive::write(&members, out)?
    } else {
        folder::write(&members, out)?
    }
    Ok(manifest)
}

/// Reads a bundle, archive or folder, and verifies every byte of it.
pub fn open(path: &Path) -> Result<Bundle, Error> {
    if !path.exists() {
        return Err(Error::bundle(path, "no such file or folder"));
    }
    let (mut members, manifest) = if path.is_dir() { folder::read(path)? } else { archive::read(path)? };
    let config: BundleConfig = parse(path, &members, "config.json")?;
    let labels: Labels = parse(path, &members, "labels.json")?;
    check(path, &config, &labels)?;
    Ok(Bundle {
        path: path.to_owned(),
        manifest,
        config,
        labels,
        metrics: parse(path, &members, "metrics.json")?,
        card: String::from_utf8(members.remove("README.md").unwrap_or_default())
            .map_err(|_| Error::member(path, "README.md", "not UTF-8"))?,
        weights: members.remove("model.safetensors").unwrap_or_default(),
    })
}

fn is_archive(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    name.ends_with(".tar.gz") || name.ends_with(".tgz")
}

fn parse<T: DeserializeOwned>(bundle: &Path, members: &Members, name: &'static str) -> Result<T, Error> {
    let text = members.get(name).map(Vec::as_slice).unwrap_or_default();
    serde_json::from_slice(text).map_err(|e| Error::member(bundle, name, e.to_string()))
}

/// What config and labels must agree on.
fn check(bundle: &Path, config: &BundleConfig, labels: &Labels) -> Result<(), Error> {
    config.validate().map_err(|e| Error::member(bundle, "config.json", e.to_string()))?;
    let bad = |reason: String| Err(Error::member(bundle, "labels.json", reason));
    if labels.len() != config.num_classes {
        return bad(format!("{} labels, the network has {} outputs", labels.len(), config.num_classes));
    }
    let mut seen = std::collections::BTreeSet::new();
    for name in labels.names() {
        if name.trim().is_empty() {
            return bad("a label is empty".to_owned());
        }
        if !seen.insert(name) {
            return bad(format!("the label {name:?} occurs twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::testing::{bundle, parts};

    #[test]
    fn equal_parts_give_equal_bytes_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.tar.gz"), folder.path().join("b.tgz"));
        pack(&parts(), &a).unwrap();
        pack(&parts(), &b).unwrap();
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        let opened = open(&a).unwrap();
        let parts = parts();
        assert_eq!(
            (opened.labels, opened.weights, opened.metrics),
            (parts.labels, parts.weights, parts.metrics)
        );
        assert_eq!(opened.config.features.fmax, Some(4_000.0), "every number is written out");
        assert_eq!(opened.config.model, parts.config.model);
    }

    #[test]
    fn a_folder_is_the_same_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("model");
        let packed = pack(&parts(), &out).unwrap();
        assert_eq!(open(&out).unwrap().manifest, packed);
        assert_eq!(open(&bundle(folder.path())).unwrap().manifest, packed);
        assert!(pack(&parts(), &out).unwrap_err().to_string().contains("exists already"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside them");
    }

    #[test]
    fn one_flipped_bit_in_a_folder_is_found_and_its_member_named() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("model");
        pack(&parts(), &out).unwrap();
        for entry in std::fs::read_dir(&out).unwrap() {
            let path = entry.unwrap().path();
            let good = std::fs::read(&path).unwrap();
            for at in (0..good.len()).step_by(1.max(good.len() / 60)) {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                std::fs::write(&path, &bad).unwrap();
                let error = open(&out).unwrap_err().to_string();
                let member = path.file_name().unwrap().to_string_lossy().into_owned();
                assert!(error.contains(&member) || member == "manifest.json", "{member} at {at}: {error}");
            }
            std::fs::write(&path, &good).unwrap();
        }
        open(&out).unwrap();
    }

    #[test]
    fn missing_unknown_and_linked_members_of_a_folder_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("model");
        pack(&parts(), &out).unwrap();
        let error = || open(&out).unwrap_err().to_string();
        std::fs::write(out.join("run.py"), "import os").unwrap();
        assert!(error().contains("run.py: unknown member"), "{}", error());
        std::fs::remove_file(out.join("run.py")).unwrap();
        std::fs::rename(out.join("labels.json"), folder.path().join("labels.json")).unwrap();
        assert!(error().contains("labels.json: missing"), "{}", error());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path().join("labels.json"), out.join("labels.json")).unwrap();
            assert!(error().contains("labels.json: not a regular file"), "{}", error());
        }
    }

    #[test]
    fn parts_that_disagree_are_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("x.tar.gz");
        let mut bad = parts();
        bad.config.num_classes = 4;
        assert!(pack(&bad, &out).unwrap_err().to_string().contains("3 labels, the network has 4 outputs"));
        let mut bad = parts();
        bad.config.decision.threshold = 2.0;
        assert!(pack(&bad, &out).unwrap_err().to_string().contains("decision.threshold"));
        assert!(!out.exists());
    }
}
