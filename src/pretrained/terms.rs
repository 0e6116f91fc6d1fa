use std::io::Read;
use std::path::Path;

use crate::files;
use crate::text::printable;

/// Files with terms of use that go into the store with the weights.
const NOTICES: [&str; 8] =
    ["LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "LICENCE.txt", "NOTICE", "NOTICE.md", "NOTICE.txt"];
/// Most bytes of a notice or a model card that are read.
const MAX_BYTES: u64 = 1 << 20;
/// Most letters of a licence's name.
const MAX_NAME: usize = 200;

/// What the publisher of weights says of their use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// The licence's name.
    pub licence: Option<String>,
    /// Files with the licence and other notices: name and content.
    pub notices: Vec<(String, Vec<u8>)>,
}

impl Terms {
    /// Of a folder as Hugging Face has it: `license` of the model card `README.md`, and the licence and notice files.
    /// What cannot be read is taken as not there.
    pub(super) fn of_folder(folder: &Path) -> Self {
        let content = |name: &str| {
            let mut content = Vec::new();
            files::open(&folder.join(name)).ok()?.take(MAX_BYTES).read_to_end(&mut content).ok()?;
            Some(content)
        };
        let card = content("README.md").map(|card| String::from_utf8_lossy(&card).into_owned());
        let notices = NOTICES.iter().filter_map(|name| Some(((*name).to_owned(), content(name)?)));
        Self { licence: card.as_deref().and_then(of_card), notices: notices.collect() }
    }
}

/// The licence in the YAML front matter of a model card.
fn of_card(card: &str) -> Option<String> {
    let front = card.trim_start_matches('\u{feff}').strip_prefix("---")?;
    let mut lines = front.lines().skip(1).take_while(|line| line.trim_end() != "---");
    let value = lines.find_map(|line| line.strip_prefix("license:"))?;
    let name: String = printable(value.trim().trim_matches(['"', '\''])).chars().take(MAX_NAME).collect();
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_is_that_of_the_front_matter() {
        let licence = |card: &str| of_card(card);
        assert_eq!(licence("---\ntags:\n- audio\nlicense: apache-2.0\n---\n# x"), Some("apache-2.0".into()));
        assert_eq!(licence("---\r\nlicense: \"cc-by-4.0\"\r\n---\r\n"), Some("cc-by-4.0".into()));
        assert_eq!(licence("---\nlicense: a\u{1b}[2J\n---\n").unwrap().find('\u{1b}'), None);
        for none in ["", "license: mit", "---\ntags: x\n---\nlicense: mit\n", "---\nlicense:\n---\n"] {
            assert_eq!(licence(none), None, "{none:?}");
        }
    }

    #[test]
    fn notices_come_with_their_content() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Terms::of_folder(folder.path()), Terms::default());
        for (name, content) in [("NOTICE", "by us"), ("LICENSE.txt", "MIT …"), ("other.txt", "")] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        std::fs::create_dir(folder.path().join("LICENSE")).unwrap();
        let notices = Terms::of_folder(folder.path()).notices;
        let notice = |name: &str, content: &str| (name.to_owned(), content.as_bytes().to_vec());
        assert_eq!(notices, [notice("LICENSE.txt", "MIT …"), notice("NOTICE", "by us")]);
    }
}
