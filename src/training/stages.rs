//! Training in stages, one after the other, as one run: the recipe's list `[[stages]]`.
//!
//! (A network's stages, which [`crate::models::Stage`] names, are parts of it; these are parts of its training.)

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::recipe::{Recipe, TrainingConfig};
use super::{Error, Prepared};
use crate::augment::Augmentation;
use crate::config::{self, ConfigError};
use crate::dataset::Filter;
use crate::seed::{Purpose, Seed};

/// One entry of `[[stages]]`: what is otherwise in this stage than the recipe's own tables say. Validation and test clips
/// are the same in all stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingStage {
    /// Its name, in `results.csv` and in that of the file with its best weights.
    pub name: String,
    /// Which of the training clips it has, as in `{ subset = ["noisy"] }`. Default: all.
    #[serde(default, skip_serializing_if = "Filter::is_empty")]
    pub keep: Filter,
    /// Share of those that it has, above 0 to 1: so much of every class, at least one clip, drawn by the seed; a larger share
    /// has the clips of a smaller one and more. Default 1.
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub share: f64,
    /// Takes the place of the recipe's `[[augment]]`; the empty list switches it off. Default: the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<Vec<Augmentation>>,
    /// Keys that take the place of those of `[training]`. `weights` is what the stage begins with; without it, the best
    /// weights of the stage before, and in the first stage those of `[training]`.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub training: Table,
}

fn whole() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_whole(share: &f64) -> bool {
    *share >= 1.0
}

/// What a run does from one set of starting weights to its best weights: a whole recipe, and which training clips.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned<'a> {
    /// The entry of the list, where there is one.
    pub stage: Option<&'a TrainingStage>,
    /// The recipe with the stage's own keys in place, and without a list.
    pub recipe: Recipe,
}

impl Planned<'_> {
    /// Its name, where there is a list.
    pub fn name(&self) -> Option<&str> {
        self.stage.map(|stage| stage.name.as_str())
    }

    /// The training clips of this stage, as indices into the manifest in the order of the split; never one that
    /// validates or tests.
    ///
    /// # Errors
    ///
    /// A filter that no training clip passes.
    pub fn clips(&self, prepared: &Prepared) -> Result<Vec<usize>, Error> {
        let train = &prepared.splits.train;
        let Some(stage) = self.stage else { return Ok(train.clone()) };
        let (entries, field) = (&prepared.manifest.entries, format!("stages.{}.keep", stage.name));
        stage.keep.check(entries, &field)?;
        let mut drawn = train.clone();
        drawn.shuffle(&mut Seed(self.recipe.seed).rng(Purpose::Share, 0, 0));
        drawn.retain(|&clip| stage.keep.matches(&entries[clip]));
        if drawn.is_empty() {
            return Err(ConfigError::field(
                field,
                format!("no training clip has {}; ask for less", stage.keep),
            )
            .into());
        }
        // Of clips with several labels, the first counts.
        let class = |clip: usize| entries[clip].labels.first();
        let mut room: BTreeMap<_, f64> = BTreeMap::new();
        drawn.iter().for_each(|&clip| *room.entry(class(clip)).or_default() += stage.share);
        drawn.retain(|&clip| {
            let room = room.entry(class(clip)).or_default();
            *room -= 1.0;
            *room > -1.0
        });
        let chosen: BTreeSet<usize> = drawn.into_iter().collect();
        Ok(train.iter().copied().filter(|clip| chosen.contains(clip)).collect())
    }
}

impl Recipe {
    /// The stages of training in order, each with its whole recipe; a recipe without a list is one stage.
    ///
    /// # Errors
    ///
    /// A key of a stage that `[training]` does not have, or an impossible value, named `stages.NAME.training.KEY`.
    pub fn plan(&self) -> Result<Vec<Planned<'_>>, ConfigError> {
        if self.stages.is_empty() {
            return Ok(vec![Planned { stage: None, recipe: self.clone() }]);
        }
        let planned = |(i, stage)| Ok(Planned { stage: Some(stage), recipe: self.patched(stage, i == 0)? });
        self.stages.iter().enumerate().map(planned).collect()
    }

    /// The recipe of a stage.
    fn patched(&self, stage: &TrainingStage, first: bool) -> Result<Self, ConfigError> {
        let of_stage = |e| config::within(&format!("stages.{}", stage.name), e);
        let mut training = as_table(&self.training)?;
        if !first {
            training.remove("weights");
        }
        // Two words for one thing: whichever the stage says takes the place of both.
        if ["frozen", "trainable"].iter().any(|key| stage.training.contains_key(*key)) {
            training.remove("frozen");
            training.remove("trainable");
        }
        training.extend(stage.training.clone());
        let training = training.try_into().map_err(|e: toml::de::Error| {
            of_stage(ConfigError::field("training", config::one_line(e.message())))
        })?;
        let augment = stage.augment.as_ref().unwrap_or(&self.augment).clone();
        let recipe = Self { training, augment, stages: Vec::new(), ..self.clone() };
        recipe.validate().map_err(of_stage)?;
        Ok(recipe)
    }

    pub(super) fn validate_stages(&self) -> Result<(), ConfigError> {
        for (i, TrainingStage { name, share, .. }) in self.stages.iter().enumerate() {
            let refuse =
                |key: &str, reason: String| Err(ConfigError::field(format!("stages.{name}.{key}"), reason));
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if name.is_empty() || !name.chars().all(plain) {
                return refuse(
                    "name",
                    format!("`{name}` cannot name a file of weights; use letters, digits, - and _"),
                );
            }
            if self.stages[..i].iter().any(|stage| stage.name == *name) {
                return refuse("name", "two stages have this name; give each its own".to_owned());
            }
            if !(*share > 0.0 && *share <= 1.0) {
                return refuse("share", format!("{share} must be above 0 and at most 1"));
            }
        }
        self.plan().map(|_| ())
    }

    /// The list with every number of the keys that a stage has written out.
    pub(super) fn resolved_stages(&self) -> Vec<TrainingStage> {
        let mut stages = self.stages.clone();
        for (stage, planned) in stages.iter_mut().zip(self.plan().unwrap_or_default()) {
            let written = as_table(&planned.recipe.training.resolved(self.task)).unwrap_or_default();
            for (key, value) in &mut stage.training {
                *value = written.get(key).unwrap_or(value).clone();
            }
        }
        stages
    }
}

fn as_table(training: &TrainingConfig) -> Result<Table, ConfigError> {
    Table::try_from(training).map_err(|e| ConfigError::field("training", e.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::optimizer::Optimizer;
    use super::*;
    use crate::dataset::{Entry, Labels, Manifest, Split, Splits};
    use crate::features::Extractor;

    const RECIPE: &str = "name = 'two'\n[split]\nprotocol = 'manifest'\n[model]\nname = 'resnet50'\n\
        [features]\nn_mels = 64\n[training]\nweights = 'imagenet'\nfrozen = ['stem']\npatience = 3\n\
        [[augment]]\nkind = 'mixup'\n\
        [[stages]]\nname = 'noisy'\nkeep = { subset = ['noisy'] }\naugment = []\n\
        training = { learning_rate = 0.01, optimizer = 'sgd' }\n\
        [[stages]]\nname = 'curated'\nshare = 0.5\ntraining = { trainable = ['layer4'] }\n";

    fn recipe(sets: &[&str]) -> Result<Recipe, String> {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        Recipe::parse(RECIPE, &sets, "two.toml").map_err(|e| e.to_string())
    }

    #[test]
    fn a_stage_is_the_recipe_with_its_own_keys_in_place() {
        let recipe = recipe(&[]).unwrap();
        let plan = recipe.plan().unwrap();
        let [noisy, curated] = &plan[..] else { panic!("{plan:?}") };
        let (first, second) = (&noisy.recipe.training, &curated.recipe.training);
        assert_eq!((first.learning_rate, second.learning_rate), (0.01, 0.001));
        assert!(matches!(first.optimizer, Optimizer::Sgd { .. }));
        assert_eq!((first.patience, second.patience), (3, 3));
        assert_eq!((noisy.recipe.augment.len(), curated.recipe.augment.len()), (0, 1));
        // The recipe's weights are for the first stage, and `trainable` replaces `frozen`.
        assert_eq!((first.weights.as_deref(), &second.weights), (Some("imagenet"), &None));
        assert_eq!((&first.frozen, &second.frozen), (&vec!["stem".to_owned()], &Vec::new()));
        assert_eq!(second.trainable, ["layer4"]);
    }

    #[test]
    fn a_recipe_without_stages_is_one() {
        let recipe = Recipe { stages: Vec::new(), ..recipe(&[]).unwrap() };
        let plan = recipe.plan().unwrap();
        assert_eq!((plan.len(), plan[0].name(), &plan[0].recipe), (1, None, &recipe));
        assert!(!recipe.to_toml().unwrap().contains("stages"));
    }

    #[test]
    fn the_written_form_says_every_number_and_reads_back() {
        let resolved = recipe(&[]).unwrap().resolved();
        let text = resolved.to_toml().unwrap();
        assert!(text.contains("name = \"sgd\"\nmomentum = 0.0\nnesterov = false"), "{text}");
        let again = Recipe::parse(&text, &[], "again").unwrap();
        assert_eq!((again.to_toml().unwrap(), again.resolved()), (text, resolved));
    }

    #[test]
    fn mistakes_are_named_by_stage_and_field() {
        for (set, expected) in [
            ("stages.noisy.training.epoch=1", "stages.noisy.training: unknown field `epoch`"),
            ("stages.noisy.training.epochs=0", "stages.noisy.training.epochs: 0 trains nothing"),
            ("stages.curated.training.loss=bce", "stages.curated.training.loss: bce is for"),
            ("stages.curated.training.trainable=['layer9']", "stages.curated.training.trainable: `layer9`"),
            ("stages.curated.name=noisy", "stages.noisy.name: two stages have this name"),
            ("stages.curated.name=a/b", "`a/b` cannot name a file of weights"),
            ("stages.curated.share=0", "stages.curated.share: 0 must be above 0"),
            (
                "stages.curated.augment=[{kind='noise'},{kind='gain',db=[3.0,1.0]}]",
                "stages.curated.augment[1].db",
            ),
            ("stages.curated.clips=3", "unknown field `clips`"),
        ] {
            let error = recipe(&[set]).unwrap_err();
            assert!(error.contains(expected), "{set}: {error}");
        }
    }

    /// Eight training clips of two classes and two subsets, two clips that validate, two that test.
    fn prepared(recipe: &Recipe) -> Prepared {
        let entry = |i: usize| Entry {
            path: format!("{i:02}.wav").into(),
            labels: vec![["cat", "dog"][i % 2].to_owned()],
            split: Some(if i < 8 { Split::Train } else { Split::Test }),
            extra: [("subset".to_owned(), ["noisy", "curated"][i / 2 % 2].to_owned())].into(),
            ..Entry::default()
        };
        let splits =
            Splits { train: (0..8).collect(), valid: vec![8, 9], test: vec![10, 11], ..Splits::default() };
        Prepared {
            manifest: Arc::new(Manifest::new("", (0..12).map(entry).collect())),
            split: recipe.split.clone(),
            splits,
            labels: Arc::new(Labels::from_names(["cat", "dog"])),
            extractor: Arc::new(Extractor::new(&recipe.audio, &recipe.features).unwrap()),
            parameters: 0,
        }
    }

    fn clips(sets: &[&str]) -> Result<Vec<Vec<usize>>, String> {
        let recipe = recipe(sets).unwrap();
        let prepared = prepared(&recipe);
        let clips = |planned: &Planned| planned.clips(&prepared).map_err(|e| e.to_string());
        recipe.plan().unwrap().iter().map(clips).collect()
    }

    #[test]
    fn a_stage_has_no_clip_that_validates_or_tests() {
        let noisy = &clips(&[]).unwrap()[0];
        // 8 and 9 are noisy too, and validate.
        assert_eq!(noisy, &[0, 1, 4, 5]);
        assert_eq!(clips(&["stages.noisy.keep={}"]).unwrap()[0], (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn shares_have_every_class_and_grow() {
        let mut before = Vec::new();
        for (share, size) in [("0.1", 2), ("0.5", 4), ("0.7", 6), ("1.0", 8)] {
            let now = clips(&[&format!("stages.curated.share={share}")]).unwrap().remove(1);
            assert_eq!(now.len(), size, "{share}");
            assert!(before.iter().all(|clip| now.contains(clip)), "{before:?} {now:?}");
            assert!(now.iter().any(|clip| clip % 2 == 0) && now.iter().any(|clip| clip % 2 == 1));
            before = now;
        }
        assert_ne!(clips(&["seed=1"]).unwrap()[1], clips(&["seed=2"]).unwrap()[1]);
    }

    #[test]
    fn a_stage_without_clips_is_refused() {
        let error = clips(&["stages.noisy.keep={labels=['cow']}"]).unwrap_err();
        assert!(error.contains("stages.noisy.keep: no clip has `cow`"), "{error}");
        let error = clips(&["stages.noisy.keep={split=['test']}"]).unwrap_err();
        assert_eq!(error, "stages.noisy.keep: no training clip has split test; ask for less");
    }
}
