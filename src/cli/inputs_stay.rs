use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::dataset::Error;
use crate::files::check_writable;
use crate::tables::Table;

/// Bytes of a file that its header is looked for in.
const HEAD: u64 = 1 << 16;

/// Refuses an `out` that is one of the files a command reads: writing would replace the user's data.
pub(super) fn refuse_to_replace<'a>(
    out: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> anyhow::Result<()> {
    // What does not exist yet is no input.
    let Ok(out_file) = out.canonicalize() else { return Ok(()) };
    let same = |input: &&Path| input.canonicalize().is_ok_and(|input: PathBuf| input == out_file);
    if let Some(input) = inputs.into_iter().find(same) {
        bail!("{} would replace the input {}; give another name", out.display(), input.display());
    }
    Ok(())
}

/// Refuses an `out` for a manifest that cannot be written, and one where something else is, as a recording or a table
/// of a data set.
pub(super) fn refuse_to_replace_all_but_manifests(out: &Path) -> anyhow::Result<()> {
    check_writable(out).map_err(Error::io(out, "write"))?;
    if !out.exists() {
        return Ok(());
    }
    let mut head = Vec::new();
    let read = File::open(out).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.map_err(Error::io(out, "read"))?;
    let is_manifest = |table: Table| {
        let has = |names: &[&str]| table.header().iter().any(|column| names.contains(&column));
        has(&["path"]) && has(&["labels", "label"])
    };
    if head.is_empty() || Table::new(&head).is_ok_and(is_manifest) {
        return Ok(());
    }
    bail!("{} is there and is no manifest, so it is not replaced; give another --out", out.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_manifests_give_way_to_manifests() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.csv");
        let refused = |content: &[u8]| {
            std::fs::write(&file, content).unwrap();
            refuse_to_replace_all_but_manifests(&file).map_err(|error| error.to_string())
        };
        for manifest in [&b"labels,path\n"[..], b"\xEF\xBB\xBFpath,label\r\na.wav,dog\r\n", b""] {
            refused(manifest).unwrap();
        }
        for other in [&b"filename,labels\n"[..], b"RIFF\x24\xff\xff", b"path\n"] {
            let error = refused(other).unwrap_err();
            assert!(error.contains("m.csv is there and is no manifest"), "{error}");
        }
        refuse_to_replace_all_but_manifests(&folder.path().join("new.csv")).unwrap();
        let error = refuse_to_replace_all_but_manifests(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cannot write: is a directory"), "{error}");
    }

    #[test]
    fn only_the_inputs_themselves_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for name in ["a.csv", "b.csv"] {
            std::fs::write(file(name), "x").unwrap();
        }
        let refused = |out: &Path| refuse_to_replace(out, [file("a.csv").as_path()]);
        let error = refused(&folder.path().join(".").join("a.csv")).unwrap_err().to_string();
        assert!(error.contains("would replace the input") && error.contains("a.csv"), "{error}");
        refused(&file("b.csv")).unwrap();
        refused(&file("new.csv")).unwrap();
    }
}
