//! Reading TOML: files, `--set section.key=value`, and errors that name the field.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use toml::{Table, Value};

/// A configuration that cannot be used, with the field at fault.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A field has an impossible value.
    #[error("{field}: {reason}")]
    Field {
        /// Full name, `section.key`.
        field: String,
        /// What was given, what is wrong with it and what would do.
        reason: String,
    },
    /// The file cannot be read.
    #[error("{path}: cannot read the configuration: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not TOML, or a key is unknown or has the wrong type.
    #[error("{origin}: {message}")]
    Parse {
        /// A path, or where the text came from.
        origin: String,
        /// The parser's sentence, with line and column when known.
        message: String,
    },
}

impl ConfigError {
    /// Builds a [`ConfigError::Field`].
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field { field: field.into(), reason: reason.into() }
    }
}

/// The mistake of a field that stands inside `section`.
pub fn within(section: &str, error: ConfigError) -> ConfigError {
    match error {
        ConfigError::Field { field, reason } => ConfigError::field(format!("{section}.{field}"), reason),
        other => other,
    }
}

/// Puts the values of `over` into `base`, section by section and key by key. A section that says its `name`, `kind` or
/// `protocol` takes the place of the whole section, as other keys belong to it; so does every list.
pub fn overlay(base: &mut Table, over: Table) {
    let is_another =
        |section: &Table| ["name", "kind", "protocol"].iter().any(|key| section.contains_key(*key));
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if !is_another(&new) => overlay(old, new),
            (_, value) => _ = base.insert(key, value),
        }
    }
}

/// What two configurations have otherwise: `section.key = 1, now 2`, in the order of the first. Tables of a list are named by
/// their `name`.
pub fn differences(old: &Table, new: &Table) -> Vec<String> {
    let (old, new) = (leaves(old), leaves(new));
    let value =
        |of: &BTreeMap<String, String>, key: &str| of.get(key).map_or("nothing", String::as_str).to_owned();
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differs = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    differs.map(|key| format!("{key} = {}, now {}", value(&old, key), value(&new, key))).collect()
}

/// The values of a configuration by their full names.
fn leaves(table: &Table) -> BTreeMap<String, String> {
    fn gather(name: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        let inner = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
        match value {
            Value::Table(table) => table.iter().for_each(|(key, value)| gather(&inner(key), value, into)),
            Value::Array(items) if items.iter().any(Value::is_table) => {
                for (i, item) in items.iter().enumerate() {
                    let name = item.get("name").and_then(Value::as_str);
                    gather(&inner(name.unwrap_or(&(i + 1).to_string())), item, into);
                }
            }
            _ => _ = into.insert(name.to_owned(), value.to_string()),
        }
    }
    let mut all = BTreeMap::new();
    gather("", &Value::Table(table.clone()), &mut all);
    all
}

/// Reads the TOML file `path` and applies the `--set section.key=value` assignments `sets`.
pub fn read<T: DeserializeOwned>(path: &Path, sets: &[String]) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, sets, &path.display().to_string())
}

/// As [`read`], from a text; `origin` names it in errors. Unknown keys are refused by the types
/// (`deny_unknown_fields`).
pub fn parse<T: DeserializeOwned>(text: &str, sets: &[String], origin: &str) -> Result<T, ConfigError> {
    if sets.is_empty() {
        return toml::from_str(text).map_err(|error| at_its_line(text, &error, origin));
    }
    assemble(table(text, origin)?, sets, origin)
}

/// The TOML text `text` as a table; `origin` names it in errors.
pub fn table(text: &str, origin: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error| at_its_line(text, &error, origin))
}

/// As [`parse`], from a table that is no longer that of one text.
pub fn assemble<T: DeserializeOwned>(
    mut table: Table,
    sets: &[String],
    origin: &str,
) -> Result<T, ConfigError> {
    sets.iter().try_for_each(|assignment| apply_set(&mut table, assignment))?;
    let sets: Vec<String> = sets.iter().map(|set| format!(" with --set {set}")).collect();
    let origin = format!("{origin}{}", sets.join(""));
    // Through text once more, so that the error can show the offending value; it has no line of its own.
    let merged = toml::to_string(&table)
        .map_err(|error| ConfigError::Parse { origin: origin.clone(), message: error.to_string() })?;
    toml::from_str(&merged).map_err(|error| {
        let shown = offending(&merged, &error).map_or_else(String::new, |(_, line)| format!("`{line}`: "));
        ConfigError::Parse { origin, message: shown + &one_line(error.message()) }
    })
}

/// The values of a TOML text as TOML, by their full names, `section.key`; tables of a list are named by their `name`.
pub fn flatten(text: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    Ok(leaves(&table(text, "the text")?))
}

/// Reads a type that is told apart by its `name` (`#[serde(tag = "name")]`) also from the name alone: `"sgd"` is
/// `{ name = "sgd" }`. For `#[serde(deserialize_with)]`.
pub fn name_or_table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct NameOrTable<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for NameOrTable<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
            formatter.write_str("a name, or a table with a name")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<T, E> {
            T::deserialize(MapDeserializer::new(std::iter::once(("name", name))))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_any(NameOrTable(std::marker::PhantomData))
}

/// As [`name_or_table`], for a key that may be left out.
pub fn some_name_or_table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    name_or_table(deserializer).map(Some)
}

fn at_its_line(text: &str, error: &toml::de::Error, origin: &str) -> ConfigError {
    let message = one_line(error.message());
    match offending(text, error) {
        Some((number, line)) => ConfigError::Parse {
            origin: format!("{origin}, line {number}"),
            message: if line.is_empty() { message } else { format!("`{line}`: {message}") },
        },
        None => ConfigError::Parse { origin: origin.to_owned(), message },
    }
}

/// Number, from 1, and text of the line where `error` is.
fn offending<'a>(text: &'a str, error: &toml::de::Error) -> Option<(usize, &'a str)> {
    let before = text.get(..error.span()?.start)?;
    let number = before.matches('\n').count();
    Some((number + 1, text.lines().nth(number).unwrap_or("").trim()))
}

/// The parser's sentence without its line breaks.
pub fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Applies one `section.key=value` assignment. The value is read as TOML; if that fails, as a string,
/// so `--set model.name=cnn` needs no inner quotes. A table of a list goes by its `name`: `stages.noisy.share=0.5`.
fn apply_set(table: &mut Table, assignment: &str) -> Result<(), ConfigError> {
    let bad = |reason: &str| ConfigError::field(format!("--set {assignment}"), reason);
    let (key, text) = assignment.split_once('=').ok_or_else(|| bad("expected section.key=value"))?;
    let value = format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    let last = parts.pop().filter(|k| !k.is_empty()).ok_or_else(|| bad("the key is empty"))?;
    let mut target = table;
    let mut parts = parts.into_iter();
    while let Some(part) = parts.next() {
        target = match target.entry(part).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(section) => section,
            Value::Array(items) => {
                let name = parts.next().unwrap_or_default();
                let item = items.iter_mut().filter_map(Value::as_table_mut);
                let mut named = item.filter(|item| item.get("name").and_then(Value::as_str) == Some(name));
                named
                    .next()
                    .ok_or_else(|| bad(&format!("nothing in the list {part} has the name `{name}`")))?
            }
            _ => return Err(bad(&format!("{part} is a value, not a section"))),
        };
    }
    target.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        epochs: usize,
        name: String,
    }

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_alone_is_a_table_with_nothing_but_the_name() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        #[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
        enum Kind {
            Plain {},
            Round {
                #[serde(default)]
                radius: u32,
            },
        }
        #[derive(Debug, serde::Deserialize)]
        struct Holder {
            #[serde(deserialize_with = "name_or_table")]
            kind: Kind,
        }
        let kind = |text: &str| parse::<Holder>(text, &[], "r.toml").map(|holder| holder.kind);
        assert_eq!(kind("kind = 'plain'").unwrap(), Kind::Plain {});
        assert_eq!(kind("kind = 'round'").unwrap(), Kind::Round { radius: 0 });
        assert_eq!(kind("[kind]\nname = 'round'\nradius = 2").unwrap(), Kind::Round { radius: 2 });
        for (text, expected) in [
            ("kind = 'square'", "unknown variant `square`, expected `plain` or `round`"),
            ("kind = { name = 'plain', radius = 2 }", "unknown field `radius`"),
            ("kind = { radius = 2 }", "missing field `name`"),
            ("kind = 3", "expected a name, or a table with a name"),
        ] {
            let error = kind(text).unwrap_err().to_string();
            assert!(error.starts_with("r.toml, line 1: `kind = ") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn sets_numbers_strings_and_new_sections() {
        let mut t = table("[training]\nepochs = 1");
        apply_set(&mut t, "training.epochs=5").unwrap();
        apply_set(&mut t, "model.name=cnn").unwrap();
        assert_eq!(t["training"]["epochs"].as_integer(), Some(5));
        assert_eq!(t["model"]["name"].as_str(), Some("cnn"));
    }

    #[test]
    fn tables_of_a_list_go_by_their_names() {
        let mut t = table("[[stages]]\nname = 'noisy'\n[[stages]]\nname = 'curated'\n");
        let before = t.clone();
        apply_set(&mut t, "stages.curated.training.epochs=5").unwrap();
        assert_eq!(t["stages"][1]["training"]["epochs"].as_integer(), Some(5));
        assert_eq!(differences(&before, &t), ["stages.curated.training.epochs = nothing, now 5"]);
        let error = apply_set(&mut t, "stages.tidy.share=1").unwrap_err().to_string();
        assert!(error.contains("nothing in the list stages has the name `tidy`"), "{error}");
    }

    #[test]
    fn refuses_malformed_assignments() {
        let mut t = table("a = 1");
        for bad in ["novalue", "=1", "a.b=1"] {
            let error = apply_set(&mut t, bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn mistakes_show_their_line_and_what_stands_there() {
        for (text, expected) in [
            ("# one\nepochs = 1\nname = 'x'\nepoch = 2\n", "r.toml, line 4: `epoch = 2`: unknown field"),
            ("# one\n\nepochs = 'ten'\nname = 'x'\n", "r.toml, line 3: `epochs = 'ten'`: invalid type"),
            ("epochs = 1\nname = \n", "r.toml, line 2: `name =`: "),
            ("epochs = 1\n", "r.toml, line 1: `epochs = 1`: missing field `name`"),
        ] {
            let error = parse::<Section>(text, &[], "r.toml").unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains('\n'), "{error}");
        }
        let good = parse::<Section>("epochs = 1\nname = 'x'", &[], "r").unwrap();
        assert_eq!((good.epochs, good.name.as_str()), (1, "x"));
    }

    #[test]
    fn mistakes_of_assignments_name_the_assignment_and_no_line_of_the_file() {
        let set = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
            parse::<Section>("# one\nepochs = 1\nname = 'x'\n", &sets, "r.toml").unwrap_err().to_string()
        };
        let error = set(&["epochs=ten"]);
        assert!(
            error.starts_with("r.toml with --set epochs=ten: `epochs = \"ten\"`: invalid type"),
            "{error}"
        );
        assert!(set(&["epoch=3"]).contains("unknown field `epoch`"));
    }
}
