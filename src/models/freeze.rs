//! Parts of a network that training leaves as they are.

use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};

use super::weights::{Path, is_measured};
use super::{Model, ModelConfig, Stage};
use crate::config::ConfigError;
use crate::features::FeatureShape;

/// All stages but the last one, which is the head.
const BACKBONE: &str = "backbone";

impl ModelConfig {
    /// The parts of the network that can be frozen, in the order in which a clip passes them; the last one is the head.
    pub fn stages(&self) -> Vec<Stage> {
        self.architecture().stages()
    }

    /// The stages that a recipe's `training.frozen` or `training.trainable` freezes.
    ///
    /// An item is the name of a stage; a range with both its ends, `layer1..layer3`, `..layer3` or `layer2..`; the last
    /// stages in front of the head, `last 2`; or `backbone`, all in front of the head. `trainable` names stages in front
    /// of the head that train with it; the others are frozen.
    ///
    /// # Errors
    ///
    /// An unknown stage, with the list of those there are; both keys at once; nothing left to train.
    pub fn frozen_stages(&self, frozen: &[String], trainable: &[String]) -> Result<Vec<Stage>, ConfigError> {
        let (key, items) = match (frozen, trainable) {
            ([], []) => return Ok(Vec::new()),
            (frozen, []) => ("training.frozen", frozen),
            ([], trainable) => ("training.trainable", trainable),
            _ => {
                let reason = "says the same as training.frozen in other words; give one of them";
                return Err(ConfigError::field("training.trainable", reason));
            }
        };
        let stages = self.stages();
        let refuse = |reason: String| ConfigError::field(key, reason);
        let Some(head) = stages.len().checked_sub(1) else {
            return Err(refuse(format!("{} has no stages that can be frozen; leave it out", self.name())));
        };
        let mut named = vec![false; stages.len()];
        for item in items {
            let (first, last) = range(item, &stages).map_err(|reason| {
                let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
                refuse(format!("`{item}` {reason}; the stages of {} are {}", self.name(), names.join(", ")))
            })?;
            named[first..=last].fill(true);
        }
        if key == "training.trainable" {
            named.iter_mut().for_each(|named| *named = !*named);
            named[head] = false;
        }
        if named.iter().all(|named| *named) {
            return Err(refuse("nothing is left to train; leave the head out".to_owned()));
        }
        Ok(stages.into_iter().zip(named).filter(|(_, named)| *named).map(|(stage, _)| stage).collect())
    }

    /// Numbers that training changes when these stages are frozen. Builds the network unless none is.
    pub fn trainable_parameters(
        &self,
        input: FeatureShape,
        num_classes: usize,
        frozen: &[Stage],
        device: &Device,
    ) -> Result<usize, ConfigError> {
        if frozen.is_empty() {
            return Ok(self.count(input, num_classes).trainable);
        }
        Ok(self.blank(input, num_classes, device)?.trainable_parameters(frozen))
    }
}

/// First and last stage, both included, that an item means.
fn range(item: &str, stages: &[Stage]) -> Result<(usize, usize), &'static str> {
    let find = |name: &str| stages.iter().position(|stage| stage.name == name).ok_or("is no stage");
    let head = stages.len() - 1;
    if item == BACKBONE && head > 0 {
        return Ok((0, head - 1));
    }
    if let Some(number) = item.strip_prefix("last ") {
        return match number.trim().parse::<usize>() {
            Ok(number) if (1..=head).contains(&number) => Ok((head - number, head - 1)),
            _ => Err("is no number of stages in front of the head"),
        };
    }
    let Some((first, last)) = item.split_once("..") else {
        return find(item).map(|stage| (stage, stage));
    };
    let first = if first.is_empty() { 0 } else { find(first)? };
    let last = if last.is_empty() { head } else { find(last)? };
    if first <= last { Ok((first, last)) } else { Err("ends before it begins") }
}

impl Model {
    /// The same network with these stages frozen: no gradient reaches their weights, their batch normalisation uses and
    /// keeps its moving statistics, and their dropout is off, during training too.
    pub fn freeze(self, frozen: &[Stage]) -> Self {
        if frozen.is_empty() { self } else { self.map(&mut Freeze { path: Path::default(), frozen }) }
    }

    /// Numbers in this stage, those that are measured too.
    pub fn parameters_of(&self, stage: &Stage) -> usize {
        self.numbers(|name| stage.contains(name))
    }

    /// Numbers that training changes when these stages are frozen.
    pub fn trainable_parameters(&self, frozen: &[Stage]) -> usize {
        self.numbers(|name| !is_measured(name) && !frozen.iter().any(|stage| stage.contains(name)))
    }

    fn numbers(&self, of: impl Fn(&str) -> bool) -> usize {
        let shapes = self.shapes();
        shapes.iter().filter(|(name, _)| of(name)).map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

struct Freeze<'a> {
    path: Path,
    frozen: &'a [Stage],
}

impl Freeze<'_> {
    fn here(&self) -> bool {
        let name = self.path.name();
        self.frozen.iter().any(|stage| stage.contains(&name))
    }
}

impl ModuleMapper for Freeze<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.here() { param.set_require_grad(false) } else { param }
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        if self.here() { flag.with_value(false) } else { flag }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{BackboneConfig, CnnConfig};

    fn frozen(frozen: &[&str], trainable: &[&str]) -> Result<Vec<String>, String> {
        let owned = |items: &[&str]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
        let stages = ModelConfig::ResNet50(BackboneConfig::default())
            .frozen_stages(&owned(frozen), &owned(trainable))
            .map_err(|e| e.to_string())?;
        Ok(stages.into_iter().map(|stage| stage.name).collect())
    }

    #[test]
    fn stages_are_named_one_by_one_in_ranges_and_from_the_end() {
        let all = ["stem", "layer1", "layer2", "layer3", "layer4"];
        assert_eq!(frozen(&[], &[]).unwrap(), Vec::<String>::new());
        assert_eq!(frozen(&["layer2", "stem"], &[]).unwrap(), ["stem", "layer2"]);
        assert_eq!(frozen(&["..layer2"], &[]).unwrap(), all[..3]);
        assert_eq!(frozen(&["layer1..layer3"], &[]).unwrap(), all[1..4]);
        assert_eq!(frozen(&["layer3.."], &[]).unwrap(), ["layer3", "layer4", "head"]);
        assert_eq!(frozen(&["last 2"], &[]).unwrap(), all[3..]);
        assert_eq!(frozen(&["backbone"], &[]).unwrap(), all);
        // All but the study's blocks 4 and 5.
        assert_eq!(frozen(&[], &["layer3..layer4"]).unwrap(), all[..3]);
        assert_eq!(frozen(&[], &["last 2"]).unwrap(), all[..3]);
        assert_eq!(frozen(&[], &["head"]).unwrap(), all);
    }

    #[test]
    fn mistakes_list_the_stages() {
        for item in ["layer5", "last 6", "last 0", "last x", "layer3..layer1", "layer1..top", ""] {
            let error = frozen(&[item], &[]).unwrap_err();
            assert!(error.starts_with("training.frozen") && error.contains(&format!("`{item}`")), "{error}");
            assert!(error.contains("the stages of resnet50 are stem, layer1, layer2, layer3, layer4, head"));
        }
        assert!(frozen(&[".."], &[]).unwrap_err().contains("nothing is left to train"));
        assert!(frozen(&["stem"], &["head"]).unwrap_err().contains("one of them"));
        let cnn = ModelConfig::Cnn(CnnConfig::default());
        let error = cnn.frozen_stages(&["conv1".to_owned()], &[]).unwrap_err().to_string();
        assert!(error.contains("cnn has no stages"), "{error}");
    }
}
