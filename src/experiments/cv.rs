//! Cross-validation: one run for each fold, which is judged on it, and the figures over all of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::plan::{read_json, write_json};
use super::{Error, Figures, Kind, Member, Part, Parts, Plan, Planned, Series};
use crate::config::ConfigError;
use crate::dataset::{Folds, Fractions, Manifest, Split, SplitConfig};
use crate::decision::Task;
use crate::evaluation::{Figure, Predictions, ReportInput, write_report};
use crate::files::{sha256, write_file};
use crate::metrics::MeanAndDeviation;
use crate::seed::Seed;
use crate::training::{self, Observer, Recipe};

/// How the interval of the mean is made, for the record.
const METHOD: &str =
    "95 %, Student's t over the folds; folds share training clips, so it is rather too narrow";

/// A cross-validation of `recipe` on `data`: over the folds of its split, or, with `k`, over that many grouped folds that are
/// dealt by the seed. A recipe whose split has no folds is taken over those of the data, with the share of the training folds
/// that it validates on. `command` is what makes all of it, for the record. Nobody trains or chooses on the fold that is
/// judged.
///
/// # Errors
///
/// When neither the recipe nor the data has folds, and what [`training::read_data`] refuses.
pub fn cross_validation(
    recipe: &Recipe,
    data: Option<&Path>,
    k: Option<u32>,
    command: &str,
    (observer, stop): (&dyn Observer, &AtomicBool),
) -> Result<Series, Error> {
    let (manifest, _) = training::read_data(recipe, data, observer, stop)?;
    let manifest = recipe.data.keep.apply(manifest, "data.keep").map_err(training::Error::from)?;
    let recipe = Recipe { split: in_folds(&recipe.split, k, &manifest)?, ..recipe.clone() };
    recipe.validate()?;
    let member = |fold: u32| {
        let recipe = recipe.clone().with_test_fold(fold)?;
        Ok(Member { planned: Planned { name: format!("fold-{fold}"), settings: Vec::new() }, recipe })
    };
    let folds = folds_of(&recipe.split, &manifest);
    let members: Vec<Member> = folds.into_iter().map(member).collect::<Result<_, ConfigError>>()?;
    // The test fold is what the runs differ in.
    let first = members.first().map_or(&recipe, |member| &member.recipe);
    let plan = Plan::new(Kind::CrossValidation, first, &manifest, &members, command)?;
    Ok(Series { plan, members, part: Split::Test })
}

/// The split with folds.
fn in_folds(split: &SplitConfig, k: Option<u32>, manifest: &Manifest) -> Result<SplitConfig, ConfigError> {
    if let Some(k) = k {
        let from = match split {
            SplitConfig::Folds(folds) => folds.from.clone(),
            SplitConfig::Grouped(f) | SplitConfig::Stratified(f) | SplitConfig::Shuffled(f) => f.from.clone(),
            SplitConfig::Official { .. } | SplitConfig::Manifest { .. } => Default::default(),
        };
        return Ok(SplitConfig::Folds(Folds { k, test_fold: 1, valid: valid_share(split), from }));
    }
    if matches!(split, SplitConfig::Official { .. } | SplitConfig::Folds(_)) {
        return Ok(split.clone());
    }
    match manifest.entries.iter().filter_map(|entry| entry.fold).min() {
        Some(first) => Ok(SplitConfig::Official {
            train_folds: Vec::new(),
            valid_folds: Vec::new(),
            test_folds: vec![first],
            valid: Some(valid_share(split)),
        }),
        None => Err(ConfigError::field(
            "split.protocol",
            "neither the recipe's split nor the data has folds; give --folds 5 to deal grouped ones",
        )),
    }
}

/// Share of the training folds that validates.
fn valid_share(split: &SplitConfig) -> f64 {
    match split {
        SplitConfig::Official { valid: Some(valid), .. } => *valid,
        SplitConfig::Folds(folds) => folds.valid,
        SplitConfig::Grouped(f) | SplitConfig::Stratified(f) | SplitConfig::Shuffled(f) => f.valid,
        SplitConfig::Official { valid: None, .. } | SplitConfig::Manifest { .. } => {
            Fractions::default().valid
        }
    }
}

/// The folds that are judged in turn: those the split names, or all.
fn folds_of(split: &SplitConfig, manifest: &Manifest) -> BTreeSet<u32> {
    match split {
        SplitConfig::Folds(folds) => (1..=folds.k).collect(),
        SplitConfig::Official { train_folds, valid_folds, test_folds, .. } if !train_folds.is_empty() => {
            [train_folds, valid_folds, test_folds].into_iter().flatten().copied().collect()
        }
        _ => manifest.entries.iter().filter_map(|entry| entry.fold).collect(),
    }
}

/// Name of a row of the table, and what stands in it.
type Statistic = (&'static str, fn(&MeanAndDeviation) -> f64);

/// All folds, judged.
#[derive(Debug)]
pub struct CrossValidation {
    plan: Plan,
    members: Vec<Part>,
    task: Task,
    recipe: Recipe,
    pooled: Predictions,
}

impl CrossValidation {
    /// Of folds that are complete.
    ///
    /// # Errors
    ///
    /// [`Error::Folder`] when folds have other labels than the first, and files that cannot be read.
    pub fn new(parts: Parts) -> Result<Self, Error> {
        let Parts { plan, members } = parts;
        let recipe = Recipe::parse(&plan.recipe, &[], "the recipe in plan.json")?;
        let mut pooled: Option<Predictions> = None;
        for member in &members {
            let predictions = Predictions::read(&member.dir.join("predictions.csv"))?;
            match &mut pooled {
                None => pooled = Some(predictions),
                Some(pooled) if pooled.labels == predictions.labels => pooled.rows.extend(predictions.rows),
                Some(_) => {
                    return Err(Error::folder(&member.dir, "its labels are not those of the first fold"));
                }
            }
        }
        let pooled = pooled.ok_or_else(|| Error::folder("plan.json", "it names no runs"))?;
        Ok(Self { plan, members, task: recipe.task, recipe, pooled })
    }

    /// The figure that the task is judged by: over the folds, and over all clips together.
    pub fn headline(&self) -> (Option<MeanAndDeviation>, Figure) {
        let figure = self.pooled_figure();
        let at = Figures::NAMES.iter().position(|name| *name == figure.name);
        (at.and_then(|at| self.over_folds()[at]), figure)
    }

    /// Writes `cv.json`, `cv.csv` and the report on the clips of all folds together into `dir`.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join("cv.csv");
        write_file(&path, self.to_csv()).map_err(Error::io(path))?;
        let (warnings, leaking) = (self.warnings(), self.members.iter().any(|part| part.record.leaking));
        write_report(
            dir,
            &ReportInput {
                title: &format!("{}, {} folds", self.plan.name, self.members.len()),
                part: Split::Test.name(),
                protocol: &self.protocol(),
                warnings: &warnings,
                leaking,
                task: self.task,
                seed: Seed(self.plan.seed),
                predictions: &self.pooled,
                epochs: &[],
                best_epoch: None,
                decision: &self.recipe.decision,
            },
        )?;
        write_json(&dir.join("cv.json"), &self.to_json(&read_json(&dir.join("report.json"))?))
    }

    /// The table for people: a line for each fold, then mean, deviation and interval.
    pub fn to_text(&self) -> String {
        let short = |cell: String| cell.parse::<f64>().map_or(cell.clone(), |_| shortened(&cell));
        let rows: Vec<Vec<String>> =
            self.rows().into_iter().map(|row| row.into_iter().map(short).collect()).collect();
        crate::text::table(&rows, 1).join("\n")
    }

    fn to_csv(&self) -> String {
        self.rows().iter().map(|row| row.join(",") + "\n").collect()
    }

    /// Header, folds, `mean`, `std`, `low` and `high`.
    fn rows(&self) -> Vec<Vec<String>> {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:?}"));
        let mut rows = vec![
            ["fold", "train", "valid", "test", "epochs", "best_epoch"]
                .into_iter()
                .chain(Figures::NAMES)
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        ];
        for Part { record, .. } in &self.members {
            let counts =
                [record.clips.train, record.clips.valid, record.clips.test, record.epochs, record.best_epoch];
            let mut row = vec![record.name.trim_start_matches("fold-").to_owned()];
            row.extend(counts.map(|count| count.to_string()));
            row.extend(record.figures.values().map(number));
            rows.push(row);
        }
        let over = self.over_folds();
        let statistics: [Statistic; 4] = [
            ("mean", |over| over.mean),
            ("std", |over| over.std),
            ("low", |over| over.interval.low),
            ("high", |over| over.interval.high),
        ];
        for (name, of) in statistics {
            let mut row = vec![name.to_owned()];
            row.extend(std::iter::repeat_n(String::new(), 5));
            row.extend(over.iter().map(|over| number(over.as_ref().map(of))));
            rows.push(row);
        }
        rows
    }

    /// Keys: `format` (1), `name`, `version`, `seed`, `recipe_sha256`, `data_sha256`, `command`, `protocol`, `leaking`,
    /// `warnings`, `interval` (how it is made), `folds` [{`fold`, `clips`, `epochs`, `best_epoch`, figures}], `over_folds`
    /// {figure: {`mean`, `std`, `interval`}}, `pooled`: of the clips of all folds together, `n`, the figures and the interval
    /// of the one that the task is judged by (Wilson's for an accuracy, by the bootstrap for lwlrap).
    pub fn to_json(&self, pooled: &Figures) -> Value {
        let named = |figures: &Figures| {
            Figures::NAMES.iter().zip(figures.values()).map(|(name, value)| (name.to_string(), json!(value)))
        };
        let folds = self.members.iter().map(|Part { record, .. }| {
            let mut fold = json!({"fold": record.name.trim_start_matches("fold-"), "clips": record.clips,
                "epochs": record.epochs, "best_epoch": record.best_epoch, "protocol": record.protocol});
            named(&record.figures).for_each(|(name, value)| fold[name] = value);
            fold
        });
        let over: serde_json::Map<String, Value> = Figures::NAMES
            .iter()
            .zip(self.over_folds())
            .map(|(name, over)| (name.to_string(), json!(over)))
            .collect();
        let figure = self.pooled_figure();
        let mut all = json!({"n": self.pooled.rows.len()});
        named(pooled).for_each(|(name, value)| all[name] = value);
        all[format!("{}_interval", figure.name)] = json!(figure.interval);
        json!({
            "format": self.plan.format, "name": self.plan.name, "version": self.plan.version, "seed": self.plan.seed,
            "task": self.task.name(), "recipe_sha256": sha256(self.plan.recipe.as_bytes()),
            "data_sha256": self.plan.data_sha256, "command": self.plan.command,
            "leaking": self.members.iter().any(|part| part.record.leaking), "warnings": self.warnings(),
            "interval": METHOD, "folds": folds.collect::<Vec<_>>(), "over_folds": over, "pooled": all,
        })
    }

    fn over_folds(&self) -> [Option<MeanAndDeviation>; 5] {
        Figures::over(&self.members.iter().map(|part| part.record.figures).collect::<Vec<_>>())
    }

    fn pooled_figure(&self) -> Figure {
        Figure::of(&self.pooled, self.task, Seed(self.plan.seed))
    }

    /// Of all folds, each once.
    fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = Vec::new();
        for warning in self.members.iter().flat_map(|part| &part.record.warnings) {
            if !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
        warnings
    }

    fn protocol(&self) -> Vec<(String, String)> {
        let folds = self.members.len();
        let mut rows = vec![
            ("recipe", self.plan.name.clone()),
            ("model", self.members.first().map_or_else(String::new, |part| part.record.model.clone())),
            ("protocol", format!("nested cross-validation, {folds} folds; every clip is tested once")),
            ("clips", self.plan.clips.to_string()),
            ("data sha256", self.plan.data_sha256.clone()),
            ("seed", self.plan.seed.to_string()),
            ("command", self.plan.command.clone()),
            ("versions", format!("oido {}", self.plan.version)),
        ];
        for (name, over) in Figures::NAMES.into_iter().zip(self.over_folds()) {
            if let Some(MeanAndDeviation { mean, std, interval }) = over {
                let low_high = format!("{:.4} to {:.4}", interval.low, interval.high);
                rows.push((
                    name,
                    format!("{mean:.4} ± {std:.4} over the folds; the mean {low_high} ({METHOD})"),
                ));
            }
        }
        for Part { record, .. } in &self.members {
            let figure =
                record.figures.main(self.task).map_or_else(String::new, |value| format!("{value:.4}, "));
            rows.push((
                "fold",
                format!("{figure}epoch {} of {}; {}", record.best_epoch, record.epochs, record.protocol),
            ));
        }
        rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// A number with a point to four decimals.
fn shortened(cell: &str) -> String {
    match cell.parse::<f64>() {
        Ok(value) if cell.contains(['.', 'N', 'i', 'e']) => format!("{value:.4}"),
        _ => cell.to_owned(),
    }
}
