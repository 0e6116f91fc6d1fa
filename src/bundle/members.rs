//! The closed list of members, and the rules every container shares.

use std::collections::BTreeMap;
use std::path::Path;

use super::Error;

/// Every member of a bundle, in the order of the archive (sorted by bytes).
pub const MEMBERS: [&str; 6] =
    ["README.md", "config.json", "labels.json", "manifest.json", "metrics.json", "model.safetensors"];

/// Most bytes of all members together.
pub(super) const MAX_TOTAL: u64 = 4 << 30;
/// Most bytes of a member other than the weights.
const MAX_TEXT: u64 = 16 << 20;

/// Member name → content.
pub(super) type Members = BTreeMap<&'static str, Vec<u8>>;

/// The member called `name`, or the sentence that refuses it.
///
/// The list is closed, so any path that leaves the bundle is refused for not being on it; the usual attacks get
/// their own sentence.
pub(super) fn known(bundle: &Path, name: &str) -> Result<&'static str, Error> {
    if let Some(known) = MEMBERS.iter().find(|known| **known == name) {
        return Ok(known);
    }
    let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    let plain = Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    let reason = if plain && !name.contains([':', '\\', '\0']) && !name.is_empty() {
        "unknown member; a bundle holds exactly the six files written by `oido bundle`"
    } else {
        "the path is not a plain name inside the bundle"
    };
    Err(Error::member(bundle, &shown, reason))
}

/// Refuses a member that is too large for its kind.
pub(super) fn check_size(bundle: &Path, name: &'static str, bytes: u64) -> Result<(), Error> {
    let limit = if name == "model.safetensors" { MAX_TOTAL } else { MAX_TEXT };
    if bytes > limit {
        return Err(Error::member(bundle, name, format!("{bytes} bytes, the limit is {limit}")));
    }
    Ok(())
}

/// Refuses a set that lacks a member.
pub(super) fn check_complete(bundle: &Path, members: &Members) -> Result<(), Error> {
    match MEMBERS.iter().find(|name| !members.contains_key(*name)) {
        Some(missing) => Err(Error::member(bundle, missing, "missing")),
        None => Ok(()),
    }
}
