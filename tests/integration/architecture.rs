//! The module line of `ARCHITECTURE.md`, checked on the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Each module may use what stands before it.
const LINE: [&str; 21] = [
    "files",
    "text",
    "tables",
    "archive",
    "config",
    "seed",
    "metrics",
    "decision",
    "audio",
    "features",
    "augment",
    "dataset",
    "models",
    "pretrained",
    "training",
    "tracking",
    "evaluation",
    "bundle",
    "experiments",
    "serve",
    "cli",
];

/// Modules that work on plain numbers and bytes: no tensors.
const WITHOUT_BURN: [&str; 12] = [
    "files", "text", "tables", "archive", "config", "seed", "metrics", "decision", "audio", "features",
    "augment", "dataset",
];

/// Every source file with the name of the top-level module it belongs to.
fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    files
        .into_iter()
        .filter_map(|path| {
            let relative = path.strip_prefix(&root).unwrap().to_owned();
            let module = relative.iter().next()?.to_string_lossy().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            Some((module, relative, text))
        })
        .filter(|(module, ..)| module != "lib" && module != "main")
        .collect()
}

/// Lines of code with their numbers: comments are left out, and unit tests may do as they like.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .map(|(i, line)| (i + 1, line.split("//").next().unwrap_or("")))
}

#[test]
fn modules_use_only_what_stands_to_their_left() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let here = LINE.iter().position(|m| *m == module);
        let here = here.unwrap_or_else(|| panic!("{} is in no module of the line", path.display()));
        for (number, line) in code(&text) {
            for used in line.split("crate::").skip(1) {
                let names: Vec<&str> = match used.strip_prefix('{') {
                    Some(list) => list.split([',', '}']).map(str::trim).collect(),
                    None => vec![used],
                };
                for name in names {
                    let name = name.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or("");
                    if LINE.iter().position(|m| *m == name).is_some_and(|there| there > here) {
                        wrong.push(format!("{}:{number}: {module} uses {name}", path.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "edges that point right:\n{}", wrong.join("\n"));
}

#[test]
fn plain_modules_know_no_tensors() {
    for (module, path, text) in sources().iter().filter(|(m, ..)| WITHOUT_BURN.contains(&m.as_str())) {
        for (number, line) in code(text) {
            assert!(!line.contains("burn::"), "{}:{number}: {module} names burn", path.display());
        }
    }
}

#[test]
fn only_networks_name_the_kernels_and_only_files_are_unsafe() {
    for (module, path, text) in sources() {
        for (number, line) in code(&text) {
            let place = format!("{}:{number}", path.display());
            assert!(
                module == "models" || !line.contains("oido_kernels"),
                "{place}: {module} names the kernels"
            );
            assert!(module == "files" || !line.contains("unsafe {"), "{place}: {module} has unsafe code");
        }
    }
}

#[test]
fn only_cli_prints() {
    for (module, path, text) in sources().iter().filter(|(m, ..)| m != "cli") {
        for (number, line) in code(text) {
            for word in ["println!", "eprintln!", "print!(", "stdout()", "stderr()", "anyhow::"] {
                assert!(!line.contains(word), "{}:{number}: {module} has {word}", path.display());
            }
        }
    }
}

#[test]
fn the_document_shows_the_same_line() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let mut rest = text.as_str();
    for module in LINE {
        let row = format!("| `{module}` |");
        let at =
            rest.find(&row).unwrap_or_else(|| panic!("ARCHITECTURE.md lacks, or misplaces, the row {row}"));
        rest = &rest[at + row.len()..];
    }
}
