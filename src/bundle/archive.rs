//! Members ↔ `.tar.gz`.
//!
//! The archive is read as a stream, its members into memory; nothing is ever unpacked to disk, so no member name can name a
//! place outside. Only plain file and directory entries are accepted: no links, devices, sparse files, and no
//! extension headers either, which rules out every disagreement between parsers about names and sizes.
//!
//! The gzip header carries a **seal**: an extra field with the sha256 of the whole file (the digest's own bytes
//! taken as zero). It catches the few bits that neither the CRC nor the manifest covers, such as header flags and
//! the padding of the compressed stream. An archive packed by another `tar` has no seal and is still verified
//! member by member against the manifest.

use std::fs;
use std::io::{BufRead, BufReader, Read, Take};
use std::path::Path;

use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

use crate::archive::{Limited, Limits, only_zeros};
use crate::files::write_file;

use super::manifest::verify;
use super::members::{MAX_TOTAL, Members, check_complete, check_size, known};
use super::{Error, Manifest};

/// Most entries, directories included.
const MAX_ENTRIES: usize = 1000;
/// Most unpacked bytes for each compressed byte.
const MAX_RATIO: u64 = 200;

/// Bytes of an archive that are read at a time.
const PIECE: usize = 1 << 17;

/// Bytes of a gzip header that announces an extra field: flags 4, no time. How much was compressed and by which system
/// follows; the seal covers it.
const HEADER: [u8; 8] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0];
/// Length of the extra field, its identifier `OI`, and the length of the digest.
const EXTRA: [u8; 6] = [36, 0, b'O', b'I', 32, 0];
/// Where the extra field begins, and the digest in it.
const EXTRA_AT: usize = 10;
const DIGEST: std::ops::Range<usize> = 16..48;

/// The bytes of the archive: a pure function of the members. Nothing is compressed: weights shrink by 8 % or so, and undoing
/// that was a third of the processor time of a first answer.
pub(super) fn to_bytes(members: &Members) -> std::io::Result<Vec<u8>> {
    let gzip = GzBuilder::new().mtime(0).operating_system(255).extra([&EXTRA[2..], &[0; 32]].concat());
    let mut tar = tar::Builder::new(gzip.write(Vec::new(), Compression::none()));
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_slice())?;
    }
    let mut bytes = tar.into_inner()?.finish()?;
    let digest = seal(&bytes[..DIGEST.start], &bytes[DIGEST.end..])?;
    bytes[DIGEST].copy_from_slice(&digest);
    Ok(bytes)
}

/// Writes the archive beside its target, syncs and renames it.
pub(super) fn write(members: &Members, out: &Path) -> Result<(), Error> {
    if out.is_dir() {
        return Err(Error::bundle(out, "is a folder; give another --out"));
    }
    let bytes = to_bytes(members).map_err(|e| Error::io(out, "write", e))?;
    write_file(out, bytes).map_err(|e| Error::io(out, "write", e))
}

/// sha256 of an archive with the digest's own bytes taken as zero: of its `start` up to the digest, and of the `rest`
/// behind it.
fn seal(start: &[u8], mut rest: impl BufRead) -> std::io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    hasher.update(start);
    hasher.update([0; 32]);
    loop {
        let bytes = rest.fill_buf()?;
        if bytes.is_empty() {
            return Ok(hasher.finalize().into());
        }
        hasher.update(bytes);
        let taken = bytes.len();
        rest.consume(taken);
    }
}

/// An archive as it was when it was looked at: its path and how many bytes it had.
struct Archive<'a> {
    path: &'a Path,
    len: u64,
}

impl<'a> Archive<'a> {
    /// Refuses what is no file, and more than a bundle may have.
    fn new(path: &'a Path) -> Result<Self, Error> {
        let metadata = fs::metadata(path).map_err(|e| Error::io(path, "read", e))?;
        if !metadata.is_file() {
            return Err(Error::bundle(path, "neither a file nor a folder"));
        }
        if metadata.len() > MAX_TOTAL {
            return Err(Error::bundle(path, format!("{} bytes, the limit is {MAX_TOTAL}", metadata.len())));
        }
        Ok(Self { path, len: metadata.len() })
    }

    /// Its bytes from the first on. They are read in pieces: all of them at once would be as much memory again as the
    /// weights need, and to get that from the system takes longer than to read the file twice.
    fn bytes(&self) -> Result<BufReader<Take<fs::File>>, Error> {
        let file = fs::File::open(self.path).map_err(|e| Error::io(self.path, "read", e))?;
        Ok(BufReader::with_capacity(PIECE, file.take(self.len)))
    }
}

/// Refuses a file whose seal is broken. A file without an extra field has none to break.
fn check_seal(archive: &Archive) -> Result<(), Error> {
    let bundle = archive.path;
    let io = |e| Error::io(bundle, "read", e);
    let mut bytes = archive.bytes()?;
    let mut head = Vec::new();
    bytes.by_ref().take(DIGEST.end as u64).read_to_end(&mut head).map_err(io)?;
    if head.get(..3) != Some(&HEADER[..3]) {
        return Err(Error::bundle(bundle, "not a .tar.gz archive; give a bundle written by `oido bundle`"));
    }
    let flags = head.get(3).copied().unwrap_or(0);
    if flags & 4 == 0 {
        return Ok(());
    }
    let sealed = head.len() == DIGEST.end
        && head[..HEADER.len()] == HEADER
        && head[EXTRA_AT..DIGEST.start] == EXTRA
        && head[DIGEST] == seal(&head[..DIGEST.start], bytes).map_err(io)?;
    if !sealed {
        // Say which member if the manifest can tell, which is more useful than "somewhere".
        let culprit = unpack_verified(archive).err();
        return Err(culprit.unwrap_or_else(|| {
            Error::bundle(bundle, "the archive is damaged: its bytes do not match its seal; copy it again")
        }));
    }
    Ok(())
}

/// Reads an archive and checks every byte of it: the seal on one thread, the members on another.
pub(super) fn read(bundle: &Path) -> Result<(Members, Manifest), Error> {
    let archive = Archive::new(bundle)?;
    let (sealed, members) = rayon::join(|| check_seal(&archive), || unpack_verified(&archive));
    sealed.and(members)
}

/// [`unpack`], and every member checked against the manifest.
fn unpack_verified(archive: &Archive) -> Result<(Members, Manifest), Error> {
    let members = unpack(archive)?;
    let manifest = verify(archive.path, &members)?;
    Ok((members, manifest))
}

/// Bytes of an archive → members, all limits applied while reading.
fn unpack(archive: &Archive) -> Result<Members, Error> {
    let bundle = archive.path;
    let damaged = |e: std::io::Error| Error::bundle(bundle, format!("the archive is damaged: {e}"));
    let limits = Limits { entries: MAX_ENTRIES, depth: 1, bytes: MAX_TOTAL, ratio: MAX_RATIO };
    let limited = Limited::new(GzDecoder::new(archive.bytes()?), limits.allowance(archive.len));
    let mut tar = tar::Archive::new(BufReader::new(limited));
    let mut members = Members::new();
    for (count, entry) in tar.entries().map_err(damaged)?.raw(true).enumerate() {
        let mut entry = entry.map_err(damaged)?;
        if count == MAX_ENTRIES {
            return Err(Error::bundle(bundle, format!("more than {MAX_ENTRIES} entries")));
        }
        let path = entry.path_bytes().into_owned();
        let Ok(path) = std::str::from_utf8(&path) else {
            return Err(Error::bundle(bundle, "a member's name is not UTF-8"));
        };
        // `tar czf x.tar.gz -C folder .` writes `./` and `./config.json`.
        let name = path.strip_prefix("./").unwrap_or(path);
        match entry.header().entry_type() {
            tar::EntryType::Directory if name.is_empty() && entry.size() == 0 => continue,
            tar::EntryType::Regular => {}
            kind => {
                let name = known(bundle, name)?;
                let kind = format!("{kind:?}").to_lowercase();
                return Err(Error::member(bundle, name, format!("not a regular file but {kind}")));
            }
        }
        let name = known(bundle, name)?;
        if members.contains_key(name) {
            return Err(Error::member(bundle, name, "occurs twice"));
        }
        check_size(bundle, name, entry.size())?;
        let mut content = Vec::with_capacity(entry.size() as usize);
        entry.read_to_end(&mut content).map_err(|e| Error::member(bundle, name, format!("damaged: {e}")))?;
        if content.len() as u64 != entry.size() {
            return Err(Error::member(bundle, name, "the archive ends within this member"));
        }
        members.insert(name, content);
    }
    finish(bundle, tar.into_inner())?;
    check_complete(bundle, &members)?;
    Ok(members)
}

/// Refuses anything but zeros after the last member, and anything after the gzip stream.
fn finish(bundle: &Path, mut rest: BufReader<Limited<GzDecoder<impl BufRead>>>) -> Result<(), Error> {
    let damaged = |e: std::io::Error| Error::bundle(bundle, format!("the archive is damaged: {e}"));
    if !only_zeros(&mut rest).map_err(damaged)? {
        return Err(Error::bundle(bundle, "data after the end of the archive"));
    }
    let mut behind = rest.into_inner().into_inner().into_inner();
    if !behind.fill_buf().map_err(damaged)?.is_empty() {
        return Err(Error::bundle(bundle, "data after the end of the gzip stream"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    use crate::bundle::testing::{bundle, parts};
    use crate::bundle::{open, pack};

    /// Name, type and content of an entry, and whether its path is set without checks.
    type Entry<'a> = (&'a str, tar::EntryType, &'a [u8]);

    fn gzip(tar: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(tar).unwrap();
        gzip.finish().unwrap()
    }

    /// A header with any name, also one the tar crate would refuse to write.
    fn header(name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        let field = &mut header.as_old_mut().name;
        field[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
        header.set_cksum();
        header
    }

    fn tar_of(entries: &[Entry]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, kind, content) in entries {
            let mut header = header(name, *kind, content.len() as u64);
            if !matches!(kind, tar::EntryType::Regular | tar::EntryType::Directory) {
                header.set_link_name_literal(b"/etc/passwd").unwrap();
                header.set_cksum();
            }
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    /// Entries of the good bundle.
    fn good() -> Vec<(String, Vec<u8>)> {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("model");
        pack(&parts(), &out).unwrap();
        super::super::folder::read(&out).unwrap().0.into_iter().map(|(n, c)| (n.to_owned(), c)).collect()
    }

    fn regular(entries: &[(String, Vec<u8>)]) -> Vec<Entry<'_>> {
        entries.iter().map(|(n, c)| (n.as_str(), tar::EntryType::Regular, c.as_slice())).collect()
    }

    #[test]
    fn an_archive_of_another_tar_is_verified_by_its_manifest() {
        let good = good();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar.gz");
        let dotted: Vec<_> = good.iter().map(|(n, c)| (format!("./{n}"), c.clone())).collect();
        let mut entries = vec![("./", tar::EntryType::Directory, [].as_slice())];
        entries.extend(regular(&dotted));
        std::fs::write(&path, gzip(&tar_of(&entries))).unwrap();
        open(&path).unwrap();
    }

    #[test]
    fn every_hostile_archive_is_refused_and_nothing_is_written() {
        use tar::EntryType as T;
        let good = good();
        let plain = regular(&good);
        let with = |entry: Entry<'static>| {
            let mut entries = plain.clone();
            entries.push(entry);
            gzip(&tar_of(&entries))
        };
        let without =
            |name: &str| gzip(&tar_of(&plain.iter().filter(|e| e.0 != name).copied().collect::<Vec<_>>()));
        let replaced = |name: &str, kind: T, content: &'static [u8]| {
            let entries: Vec<Entry> =
                plain.iter().map(|e| if e.0 == name { (e.0, kind, content) } else { *e }).collect();
            gzip(&tar_of(&entries))
        };
        let tar = tar_of(&plain);
        let archive = gzip(&tar);
        let deep = "a/".repeat(45) + "x";
        let mut corpus: Vec<(&str, Vec<u8>, &str)> = vec![
            ("parent", with(("../escape", T::Regular, b"x")), "not a plain name"),
            ("inner parent", with(("a/../../escape", T::Regular, b"x")), "not a plain name"),
            ("absolute", with(("/tmp/escape", T::Regular, b"x")), "not a plain name"),
            ("drive", with(("C:\\escape", T::Regular, b"x")), "not a plain name"),
            ("current", with(("././config.json", T::Regular, b"x")), "not a plain name"),
            ("empty name", with(("", T::Regular, b"x")), "not a plain name"),
            ("unknown", with(("setup.py", T::Regular, b"x")), "unknown member"),
            ("subfolder", with(("code/config.json", T::Regular, b"x")), "unknown member"),
            ("directory", with(("code/", T::Directory, b"")), "unknown member"),
            ("case", with(("Config.json", T::Regular, b"x")), "unknown member"),
            ("duplicate", with(("config.json", T::Regular, b"x")), "config.json: occurs twice"),
            ("dotted duplicate", with(("./config.json", T::Regular, b"x")), "config.json: occurs twice"),
            (
                "symlink",
                replaced("config.json", T::Symlink, b""),
                "config.json: not a regular file but symlink",
            ),
            ("hard link", replaced("config.json", T::Link, b""), "config.json: not a regular file but link"),
            ("folder for a file", replaced("config.json", T::Directory, b""), "not a regular file"),
            ("fifo", replaced("config.json", T::Fifo, b""), "not a regular file but fifo"),
            ("char device", replaced("config.json", T::Char, b""), "not a regular file but char"),
            ("block device", replaced("config.json", T::Block, b""), "not a regular file but block"),
            ("sparse", replaced("config.json", T::GNUSparse, b""), "not a regular file but gnusparse"),
            ("contiguous", replaced("config.json", T::Continuous, b""), "not a regular file"),
            ("symlink outside", with(("link", T::Symlink, b"")), "unknown member"),
            ("long name", with(("././@LongLink", T::GNULongName, b"../../escape")), "not a plain name"),
            (
                "pax size",
                with(("config.json", T::XHeader, b"17 size=99999999\n")),
                "not a regular file but xheader",
            ),
            ("pax global", with(("config.json", T::XGlobalHeader, b"12 path=/x\n")), "not a regular file"),
            ("missing weights", without("model.safetensors"), "model.safetensors: missing"),
            ("missing manifest", without("manifest.json"), "manifest.json: missing"),
            ("empty manifest", replaced("manifest.json", T::Regular, b""), "manifest.json: damaged"),
            ("deep json", replaced("manifest.json", T::Regular, &[b'['; 10_000]), "manifest.json: damaged"),
            ("newer", replaced("manifest.json", T::Regular, b"{\"format_version\":2}"), "format version 2"),
            ("other weights", replaced("model.safetensors", T::Regular, b"x"), "model.safetensors: 1 bytes"),
            ("other labels", replaced("labels.json", T::Regular, b"[1,2]"), "labels.json: "),
            ("nothing", gzip(&tar_of(&[])), "README.md: missing"),
            ("not gzip", tar.clone(), "not a .tar.gz"),
            ("empty file", Vec::new(), "not a .tar.gz"),
            ("only a header", HEADER.to_vec(), "damaged"),
            ("not a tar", gzip(&[7; 4096]), "damaged"),
            ("truncated gzip", archive[..archive.len() / 2].to_vec(), "damaged"),
            ("truncated tar", gzip(&tar[..tar.len() / 2]), ""),
            (
                "second member",
                [archive.clone(), archive.clone()].concat(),
                "after the end of the gzip stream",
            ),
            ("trailing garbage", [archive.clone(), b"garbage".to_vec()].concat(), "after the end"),
            (
                "trailing data",
                gzip(&[tar.clone(), vec![1; 512]].concat()),
                "data after the end of the archive",
            ),
            ("bomb", gzip(&[tar.clone(), vec![0; 64 << 20]].concat()), "unpacks to more than"),
        ];
        let bomb = [header("README.md", T::Regular, 10 << 30).as_bytes().as_slice(), &[0; 1 << 20]].concat();
        corpus.push(("10 GiB text", gzip(&bomb), "README.md: 10737418240 bytes"));
        let many: Vec<Entry> = (0..1001).map(|_| ("./", T::Directory, [].as_slice())).collect();
        corpus.push(("1001 entries", gzip(&tar_of(&many)), "more than 1000 entries"));
        let mut entries = plain.clone();
        entries.push((&deep, T::Regular, b"x"));
        corpus.push(("deep", gzip(&tar_of(&entries)), "unknown member"));
        let mut bad_name = header("x", T::Regular, 0);
        bad_name.as_old_mut().name[..2].copy_from_slice(&[0xff, 0xfe]);
        bad_name.set_cksum();
        corpus.push(("not UTF-8", gzip(&[bad_name.as_bytes().as_slice(), &[0; 1024]].concat()), "not UTF-8"));
        let mut bad_size = header("config.json", T::Regular, 0);
        bad_size.as_old_mut().size = [0xff; 12];
        bad_size.set_cksum();
        corpus.push(("endless size", gzip(&[bad_size.as_bytes().as_slice(), &[0; 1024]].concat()), ""));
        assert!(corpus.len() >= 45);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar.gz");
        for (name, bytes, expected) in corpus {
            std::fs::write(&path, bytes).unwrap();
            let error = open(&path).expect_err(name);
            let text = error.to_string();
            assert!(error.is_permanent() && text.contains(expected), "{name}: {text}");
            assert!(
                text.starts_with("bundle ") && text.contains("x.tar.gz: ") && !text.contains('\n'),
                "{text}"
            );
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{name} wrote something");
        }
        // The corpus is refused for what is wrong with it, not for how it was made.
        std::fs::write(&path, archive).unwrap();
        open(&path).unwrap();
    }

    #[test]
    fn one_flipped_bit_anywhere_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = bundle(folder.path());
        let good = std::fs::read(&path).unwrap();
        assert_eq!(good[..HEADER.len()], HEADER);
        // Every bit of the header, the seal and the trailer, and a bit of each seventh byte between.
        let edges =
            (0..60).chain(good.len() - 16..good.len()).flat_map(|at| (0..8).map(move |bit| (at, bit)));
        let between = (60..good.len()).step_by(7).map(|at| (at, at % 8));
        for (at, bit) in edges.chain(between) {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            std::fs::write(&path, &bad).unwrap();
            let error = open(&path).expect_err(&format!("byte {at} bit {bit}")).to_string();
            assert!(error.contains("tiny.tar.gz: "), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_without_blocking() {
        let error = open(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("neither a file nor a folder"), "{error}");
        assert!(open(Path::new("no/such.tar.gz")).unwrap_err().to_string().contains("no such file"));
    }
}
