//! `manifest.json`: what must be in a bundle, to the byte.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files::sha256;

use super::Error;
use super::members::{MEMBERS, Members};

/// The version of the bundle format this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

const NAME: &str = "manifest.json";

/// Length and digest of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Length in bytes.
    pub bytes: u64,
    /// sha256 of the content, in lower-case hexadecimal.
    pub sha256: String,
}

/// The content of `manifest.json`. It holds no time, so equal parts give equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format; see [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The program that packed it.
    pub tool: String,
    /// Its version.
    pub tool_version: String,
    /// Every member but the manifest itself.
    pub members: BTreeMap<String, Member>,
    /// sha256 of this manifest with this field empty: the identity of the bundle.
    pub sha256: String,
}

impl Manifest {
    /// The manifest of `members` (the manifest itself, if present, is left out).
    pub(super) fn of(members: &Members) -> Self {
        let members = members
            .iter()
            .filter(|(name, _)| **name != NAME)
            .map(|(name, content)| {
                let member = Member { bytes: content.len() as u64, sha256: sha256(content) };
                ((*name).to_owned(), member)
            })
            .collect();
        let mut manifest = Self {
            format_version: FORMAT_VERSION,
            tool: env!("CARGO_PKG_NAME").to_owned(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            members,
            sha256: String::new(),
        };
        manifest.sha256 = manifest.digest();
        manifest
    }

    /// The one text of this manifest.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        json(self)
    }

    fn digest(&self) -> String {
        sha256(&json(&Self { sha256: String::new(), ..self.clone() }))
    }
}

/// The one JSON text of a value in a bundle: two spaces of indentation and a final newline.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    // Maps with string keys and finite numbers always serialise; an empty text would fail every check on opening.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Checks every member against the manifest, and the manifest against itself.
pub(super) fn verify(bundle: &Path, members: &Members) -> Result<Manifest, Error> {
    let bad = |member: &str, reason: &str| Error::member(bundle, member, reason);
    let text = members.get(NAME).ok_or_else(|| bad(NAME, "missing"))?;
    // The version first, so that a newer bundle is called newer and not damaged.
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let damaged = |e: serde_json::Error| bad(NAME, &format!("damaged: {e}"));
    let Version { format_version } = serde_json::from_slice(text).map_err(damaged)?;
    if format_version != FORMAT_VERSION {
        return Err(bad(
            NAME,
            &format!(
                "format version {format_version}, this program reads {FORMAT_VERSION}; use the matching oido"
            ),
        ));
    }
    let manifest: Manifest = serde_json::from_slice(text).map_err(damaged)?;
    if manifest.sha256 != manifest.digest() || manifest.to_bytes() != *text {
        return Err(bad(NAME, "damaged: its bytes do not match its own sha256"));
    }
    for name in MEMBERS.into_iter().filter(|name| *name != NAME) {
        let content = members.get(name).ok_or_else(|| bad(name, "missing"))?;
        let expected = manifest.members.get(name).ok_or_else(|| bad(name, "not in the manifest"))?;
        if content.len() as u64 != expected.bytes {
            return Err(bad(name, &format!("{} bytes, the manifest says {}", content.len(), expected.bytes)));
        }
        if sha256(content) != expected.sha256 {
            return Err(bad(name, "damaged: its sha256 is not the one in the manifest"));
        }
    }
    match manifest.members.keys().find(|name| !members.contains_key(name.as_str())) {
        Some(extra) => Err(bad(NAME, &format!("lists {extra:?}, which the bundle does not hold"))),
        None => Ok(manifest),
    }
}
