//! A sweep: one run for each combination of settings, judged on the validation clips.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::series::monitor_of;
use super::{Error, Figures, Kind, Member, Part, Parts, Plan, Planned, Series};
use crate::config::ConfigError;
use crate::dataset::Split;
use crate::evaluation::Comparison;
use crate::files::write_file;
use crate::training::recipe::Monitor;
use crate::training::{self, Observer, Recipe};

/// Longest name of a folder.
const LONGEST_NAME: usize = 100;

/// Values of one field that are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// Full name, `section.key`.
    pub key: String,
    /// As they are written after `--set section.key=`.
    pub values: Vec<String>,
}

impl std::str::FromStr for Grid {
    type Err = String;

    /// Reads `section.key=a,b,c`. Commas within quotes, brackets and braces separate nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        let usage = "give section.key=a,b,c, as in training.learning_rate=1e-2,1e-3";
        let (key, values) = text.split_once('=').ok_or(usage)?;
        let values: Vec<String> = split(values).into_iter().map(|value| value.trim().to_owned()).collect();
        if key.trim().is_empty() || values.iter().any(String::is_empty) {
            return Err(usage.to_owned());
        }
        if let Some(twice) = (1..values.len()).find(|&i| values[..i].contains(&values[i])) {
            return Err(format!("the value {} is there twice", values[twice]));
        }
        Ok(Self { key: key.trim().to_owned(), values })
    }
}

/// `text` at the commas outside of quotes, brackets and braces.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth, mut quote) = (Vec::new(), 0, 0_usize, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// All combinations, the last grid changing fastest: one assignment `section.key=value` for each grid.
fn combinations(grids: &[Grid]) -> Vec<Vec<String>> {
    grids.iter().fold(vec![Vec::new()], |combinations, grid| {
        let longer = |combination: &Vec<String>| {
            let longer = |value: &String| {
                let mut longer = combination.clone();
                longer.push(format!("{}={value}", grid.key));
                longer
            };
            grid.values.iter().map(longer).collect::<Vec<_>>()
        };
        combinations.iter().flat_map(longer).collect()
    })
}

/// A folder's name that tells the settings: `03-learning_rate=0.001-optimizer=sgd`.
fn name(number: usize, settings: &[String]) -> String {
    let mut name = format!("{number:02}");
    for setting in settings {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        name += &format!("-{}={value}", key.rsplit('.').next().unwrap_or(key));
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-=._+".contains(c) { c } else { '_' };
    name.chars().map(plain).take(LONGEST_NAME).collect()
}

/// A sweep over all combinations of `grids` on `data`. `recipe` gives the recipe with further assignments, as
/// [`Recipe::find`] does; `command` is what makes all of it. The runs are judged on the validation clips, as they are
/// there to choose among; nobody looks at the test clips.
///
/// # Errors
///
/// [`Error::Config`] when a combination is impossible, naming its setting, or two monitors differ; what
/// [`training::read_data`] refuses.
pub fn sweep(
    recipe: &dyn Fn(&[String]) -> Result<Recipe, ConfigError>,
    grids: &[Grid],
    data: Option<&Path>,
    command: &str,
    (observer, stop): (&dyn Observer, &AtomicBool),
) -> Result<Series, Error> {
    if let Some(twice) = (1..grids.len()).find(|&i| grids[..i].iter().any(|grid| grid.key == grids[i].key)) {
        let reason = "is there twice; name all its values in one --grid";
        return Err(ConfigError::field(format!("--grid {}", grids[twice].key), reason).into());
    }
    let base = recipe(&[])?;
    let monitor = monitor_of(&base)?;
    let (manifest, _) = training::read_data(&base, data, observer, stop)?;
    let member = |(number, settings): (usize, Vec<String>)| {
        let recipe = recipe(&settings)?;
        if monitor_of(&recipe)? != monitor {
            let reason =
                "runs that are told apart by different figures cannot be compared; leave it out of --grid";
            return Err(ConfigError::field("training.monitor", reason));
        }
        Ok(Member { planned: Planned { name: name(number, &settings), settings }, recipe })
    };
    let members: Vec<Member> =
        (1..).zip(combinations(grids)).map(member).collect::<Result<_, ConfigError>>()?;
    let plan = Plan::new(Kind::Sweep, &base, &manifest, &members, command)?;
    Ok(Series { plan, members, part: Split::Valid })
}

/// All runs of a sweep, best first.
#[derive(Debug)]
pub struct Sweep {
    monitor: Monitor,
    keys: Vec<String>,
    members: Vec<Part>,
    settings: Vec<Vec<String>>,
}

impl Sweep {
    /// Of runs that are complete; of equal ones the earlier combination comes first.
    pub fn new(parts: Parts) -> Result<Self, Error> {
        let recipe = Recipe::parse(&parts.plan.recipe, &[], "the recipe in plan.json")?;
        let monitor = monitor_of(&recipe)?;
        let value =
            |setting: &String| setting.split_once('=').map_or(String::new(), |(_, value)| value.to_owned());
        let key = |setting: &String| setting.split('=').next().unwrap_or_default().to_owned();
        let keys = parts.plan.members.first().map_or_else(Vec::new, |m| m.settings.iter().map(key).collect());
        let values = parts.plan.members.iter().map(|member| member.settings.iter().map(value).collect());
        let mut rows: Vec<(Vec<String>, Part)> = values.zip(parts.members).collect();
        // Lower is better for a loss; what was not measured comes last.
        let rank = |part: &Part| match (monitor, part.record.monitored) {
            (_, None) => f64::INFINITY,
            (Monitor::Loss, Some(value)) => value,
            (_, Some(value)) => -value,
        };
        rows.sort_by(|(_, a), (_, b)| rank(a).total_cmp(&rank(b)));
        let (settings, members) = rows.into_iter().unzip();
        Ok(Self { monitor, keys, members, settings })
    }

    /// Writes `sweep.csv`, `sweep.md` and `compare.html`, which has the curves of all runs, into `dir`.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        let write =
            |name: &str, text: String| write_file(&dir.join(name), text).map_err(Error::io(dir.join(name)));
        write("sweep.csv", self.to_csv(&dir.join("sweep.csv"))?)?;
        write("sweep.md", self.to_markdown())?;
        let comparison = Comparison::read(self.members.iter().map(|part| &part.dir))?;
        write("compare.html", comparison.to_html()?)
    }

    /// One object a run: `run`, the settings, `monitor`, its value, and the figures.
    pub fn to_json(&self) -> Vec<serde_json::Value> {
        let object = |(settings, part): (&Vec<String>, &Part)| {
            let settings: serde_json::Map<String, serde_json::Value> =
                self.keys.iter().cloned().zip(settings.iter().map(|value| value.as_str().into())).collect();
            serde_json::json!({"run": part.dir.display().to_string(), "settings": settings,
                "monitor": self.column(), "value": part.record.monitored, "figures": part.record.figures,
                "epochs": part.record.epochs, "best_epoch": part.record.best_epoch})
        };
        self.settings.iter().zip(&self.members).map(object).collect()
    }

    /// The table for people.
    pub fn to_text(&self) -> String {
        crate::text::table(&self.rows(&|value| format!("{value:.4}")), self.keys.len()).join("\n")
    }

    fn to_csv(&self, path: &Path) -> Result<String, Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in self.rows(&|value| format!("{value:?}")) {
            writer.write_record(row).map_err(|e| Error::io(path)(std::io::Error::other(e)))?;
        }
        let bytes = writer.into_inner().map_err(|e| Error::io(path)(e.into_error()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn to_markdown(&self) -> String {
        let escape = |cell: &String| cell.replace('|', "\\|");
        let line =
            |row: &Vec<String>| format!("| {} |\n", row.iter().map(escape).collect::<Vec<_>>().join(" | "));
        let rows = self.rows(&|value| format!("{value:.4}"));
        let rule = format!("|{}\n", "---|".repeat(rows[0].len()));
        let (header, rest) = (line(&rows[0]), rows[1..].iter().map(line).collect::<String>());
        format!("{header}{rule}{rest}\nValidation clips; the best first by {}.\n", self.column())
    }

    /// Header and a row for each run: the settings, the monitored figure, the others, and what it cost.
    fn rows(&self, number: &dyn Fn(f64) -> String) -> Vec<Vec<String>> {
        let mut header = self.keys.clone();
        header.push(self.column());
        header.extend(Figures::NAMES.map(str::to_owned));
        header.extend(["epochs", "best_epoch", "parameters", "seconds_per_epoch", "run"].map(str::to_owned));
        let mut rows = vec![header];
        for (settings, Part { dir, record }) in self.settings.iter().zip(&self.members) {
            let cell = |value: Option<f64>| value.map_or_else(String::new, number);
            let mut row = settings.clone();
            row.push(cell(record.monitored));
            row.extend(record.figures.values().map(cell));
            row.extend([
                record.epochs.to_string(),
                record.best_epoch.to_string(),
                record.parameters.to_string(),
            ]);
            row.push(cell(seconds_per_epoch(dir)));
            row.push(record.name.clone());
            rows.push(row);
        }
        rows
    }

    fn column(&self) -> String {
        let name = serde_json::to_value(self.monitor).unwrap_or_default();
        format!("val/{}", name.as_str().unwrap_or_default())
    }
}

/// From the run's `run.json`; it is not part of the record, as it differs from machine to machine.
fn seconds_per_epoch(dir: &Path) -> Option<f64> {
    let info: training::RunInfo = super::plan::read_json(&training::RunDir::new(dir).info()).ok()?;
    Some(info.seconds_per_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(text: &str) -> Grid {
        text.parse().unwrap()
    }

    #[test]
    fn values_may_hold_commas_in_brackets_and_quotes() {
        let values = grid("training.optimizer=adam, {name='sgd',momentum=0.9},[1,2],'a,b'").values;
        assert_eq!(values, ["adam", "{name='sgd',momentum=0.9}", "[1,2]", "'a,b'"]);
        for (text, expected) in [
            ("training.epochs", "give section.key=a,b,c"),
            ("=1", "give section.key=a,b,c"),
            ("training.epochs=1,,2", "give section.key=a,b,c"),
            ("training.epochs=1,2,1", "the value 1 is there twice"),
        ] {
            let error = text.parse::<Grid>().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn every_combination_has_a_name_that_tells_it() {
        let grids = [grid("training.learning_rate=1e-2,1e-3"), grid("training.optimizer=adam,{name='sgd'}")];
        let all = combinations(&grids);
        assert_eq!(all.len(), 4);
        assert_eq!(all[1], ["training.learning_rate=1e-2", "training.optimizer={name='sgd'}"]);
        assert_eq!(name(2, &all[1]), "02-learning_rate=1e-2-optimizer=_name=_sgd__");
        assert!(name(7, &["a.b=../../etc".to_owned()]).starts_with("07-b=.._.._etc"));
    }
}
