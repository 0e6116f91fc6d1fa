//! Every recipe inside the program, on synthetic recordings in the layout of its data set.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::{Tensor, TensorData};
use oido::audio::{WavFormat, write_wav};
use oido::dataset::prepare::Source;
use oido::dataset::{Backgrounds, ClipLoader, ClipSet, Order, Split};
use oido::models::device;
use oido::training::{BUILT_IN, Planned, Prepared, Recipe, prepare, start};
use tempfile::TempDir;

use crate::fsdkaggle2019::Folder;
use crate::mix::{OFFICIAL, librispeech};
use crate::tiny::tone;

/// Networks of more numbers than this are counted and not built; `backbones` and `audio_networks` train narrow ones.
const LARGE: usize = 8_000_000;

/// A folder in the layout of each data set.
struct DataSets {
    folder: TempDir,
    fsdkaggle2019: Folder,
    librispeech: TempDir,
}

impl DataSets {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        urbansound8k(&folder.path().join("urbansound8k"));
        esc50(&folder.path().join("esc50"));
        let librispeech = librispeech(&OFFICIAL, 3);
        Self { folder, fsdkaggle2019: Folder::zenodo(), librispeech }
    }

    fn of(&self, source: Option<Source>) -> PathBuf {
        match source {
            Some(Source::UrbanSound8k) => self.folder.path().join("urbansound8k"),
            Some(Source::Esc50) => self.folder.path().join("esc50"),
            Some(Source::Fsdkaggle2019) => self.fsdkaggle2019.path(""),
            Some(Source::LibrispeechMix) => self.librispeech.path().to_owned(),
            _ => self.folder.path().join("esc50/manifest.csv"),
        }
    }
}

fn clip(path: &Path, number: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_wav(path, &tone(100.0 + 7.0 * number as f32, 0.5, 8_000), WavFormat::Pcm16).unwrap();
}

/// Ten folds of two classes, one recording of each.
fn urbansound8k(root: &Path) {
    let mut table = String::from("slice_file_name,fsID,start,end,salience,fold,classID,class\n");
    for fold in 1..=10 {
        for (class, label) in [(3, "dog_bark"), (8, "siren")] {
            let name = format!("{fold}{class}-{class}-0-0.wav");
            table += &format!("{name},{fold}{class},0.0,0.5,1,{fold},{class},{label}\n");
            clip(&root.join(format!("audio/fold{fold}/{name}")), 10 * fold + class);
        }
    }
    fs::create_dir_all(root.join("metadata")).unwrap();
    fs::write(root.join("metadata/UrbanSound8K.csv"), table).unwrap();
}

/// Five folds of two classes, four recordings of each, and a manifest of them.
fn esc50(root: &Path) {
    let mut table = String::from("filename,fold,target,category,esc10,src_file,take\n");
    let mut manifest = String::from("path,labels,fold\n");
    for fold in 1..=5 {
        for (class, label) in [(0, "dog"), (10, "rain")] {
            for take in 0..4 {
                let recording = 1_000 * fold + 10 * class + take;
                let name = format!("{fold}-{recording}-A-{class}.wav");
                table += &format!("{name},{fold},{class},{label},True,{recording},A\n");
                manifest += &format!("audio/{name},{label},{fold}\n");
                clip(&root.join("audio").join(name), recording);
            }
        }
    }
    fs::create_dir_all(root.join("meta")).unwrap();
    fs::write(root.join("meta/esc50.csv"), table).unwrap();
    fs::write(root.join("manifest.csv"), manifest).unwrap();
}

#[test]
fn every_recipe_says_what_it_is_and_whether_a_figure_was_published() {
    for (name, text) in BUILT_IN {
        let comment: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        let comment = comment.join(" ");
        assert!(!comment.is_empty(), "{name} has no comment");
        let own = name.starts_with("quickstart/") || *name == "urbansound8k/cnn_shuffled";
        let said = ["Published", "prints", "figure"].iter().any(|word| comment.contains(word));
        assert!(own || said, "{name} does not say the study's figure");
        let command = format!("oido train {name} --data ");
        assert!(name.starts_with("quickstart/") || comment.contains(&command), "{name} has no `{command}`");
    }
}

#[test]
fn names_of_recipes_are_different_as_run_directories_are_called_after_them() {
    let names: BTreeSet<String> =
        BUILT_IN.iter().map(|(name, _)| Recipe::find(Path::new(name), &[]).unwrap().name).collect();
    assert_eq!(names.len(), BUILT_IN.len());
}

/// What a run does before its first epoch, and its first step where the network is small.
#[test]
fn every_recipe_runs_dry() {
    let data = DataSets::new();
    let mut stepped = BTreeSet::new();
    for (name, _) in BUILT_IN {
        let recipe = Recipe::find(Path::new(name), &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut sets = Vec::new();
        if recipe.training.weights.is_some() {
            // Weights are not to be had here.
            sets.push("training.weights=random".to_owned());
        }
        if recipe.data.source == Some(Source::LibrispeechMix) {
            sets.extend(["train=6", "valid=3", "test=3"].map(|size| format!("data.mix.{size}")));
        }
        let recipe = Recipe::find(Path::new(name), &sets).unwrap();
        let root = data.of(recipe.data.source);
        let prepared = prepare(&recipe, Some(&root), &(), &AtomicBool::new(false));
        let prepared = prepared.unwrap_or_else(|e| panic!("{name}: {e}"));
        for (part, clips) in prepared.splits.parts() {
            assert!(!clips.is_empty(), "{name} has no {} clips", part.name());
        }
        for planned in recipe.plan().unwrap() {
            let clips = planned.clips(&prepared).unwrap();
            let parts = clips.iter().map(|&clip| prepared.manifest.entries[clip].split);
            assert!(!clips.is_empty() && parts.into_iter().all(|part| part == Some(Split::Train)), "{name}");
            let network = toml::to_string(&planned.recipe.model).unwrap();
            let step = format!("{network} {:?} {:?}", planned.recipe.features, planned.recipe.audio);
            if prepared.parameters < LARGE && stepped.insert(step) {
                first_step(name, &planned, &prepared, &clips[..2]);
            }
        }
    }
    assert!(stepped.len() > 20, "{}", stepped.len());
}

/// Two clips through the network and back.
fn first_step(name: &str, planned: &Planned, prepared: &Prepared, clips: &[usize]) {
    let device = device("cpu").unwrap().autodiff();
    let (model, _) = start(&planned.recipe, prepared, None, &device).unwrap();
    let Prepared { manifest, labels, extractor, .. } = prepared;
    let set =
        ClipSet::new(manifest.clone(), clips.to_vec(), labels.clone(), extractor.clone(), None).unwrap();
    let set = set.with_augmentations(planned.recipe.augment.clone(), Backgrounds::default()).unwrap();
    let order = Order::Shuffled(oido::seed::Seed(planned.recipe.seed));
    let batch = ClipLoader::new(set.into(), 2, order).epoch(1, 0).next().unwrap();
    let batch = batch.unwrap_or_else(|e| panic!("{name}: {e}"));
    let inputs = Tensor::<3>::from_data(TensorData::new(batch.inputs, batch.shape), &device);
    let logits = model.forward(inputs);
    assert_eq!(logits.dims(), [2, labels.len()], "{name}");
    let loss = logits.square().mean();
    let value = loss.clone().into_data().iter::<f32>().next().unwrap();
    assert!(value.is_finite(), "{name}: {value}");
    let _ = loss.backward();
}
