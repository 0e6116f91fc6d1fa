//! The command line as a whole: exit codes, help, and sentences instead of panics.

use crate::support::oido;
use crate::tones::{Tones, data};

#[test]
fn an_impossible_recipe_is_a_permanent_failure_that_names_the_key() {
    let tones = Tones::new();
    let with = |line: &str| {
        let text = std::fs::read_to_string(tones.path("recipe.toml")).unwrap();
        std::fs::write(tones.path("wrong.toml"), text + line).unwrap();
    };
    let fails = |args: &[&str], expected: &str| {
        let talk = crate::tones::talk(&tones.code(4, args));
        assert!(talk.starts_with("error: ") && talk.contains(expected), "{args:?}: {talk}");
    };
    with("epoch = 3\n");
    fails(&["train", "wrong.toml", "--data", "manifest.csv"], "unknown field `epoch`");
    with("[trainnig]\n");
    fails(&["train", "wrong.toml", "--dry-run"], "unknown field `trainnig`");
    with("]");
    fails(&["train", "wrong.toml"], "line 28");
    fails(&Tones::train("run", &["--set", "training.epochs=many"]), "epochs");
    fails(&["train", "missing.toml"], "missing.toml");
    assert!(!tones.path("run").exists() && !tones.path("runs").exists());
}

#[test]
fn instructions_that_are_not_there_are_refused() {
    for (asked, set, expected) in [
        ("mmx", "seed=1", "OIDO_SIMD: \"mmx\" is none of what this processor has"),
        ("portable", "training.precision=bf16", "bf16 needs AVX-512 BF16"),
    ] {
        let args = ["train", "quickstart/cnn", "--dry-run", "--set", set];
        let done = oido().env("OIDO_SIMD", asked).args(args).assert().code(2);
        let said = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let tones = Tones::new();
    for (args, expected) in [
        (&["train", "recipe.toml"][..], "--data"),
        (&["train", "urbansound8k/cnn"], "--data with the UrbanSound8K folder"),
        (&["train", "recipe.toml", "--data", "absent.csv"], "absent.csv"),
        (&["inspect", "absent.csv"], "absent.csv"),
        (&["features", "absent.wav"], "absent.wav"),
        (&["evaluate", "absent"], "absent"),
        (&["prepare", "folders", "absent"], "absent"),
        (&["compare", "absent"], "absent"),
    ] {
        let error = tones.error(2, args);
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}

#[test]
fn every_subcommand_has_help() {
    let tones = Tones::new();
    let help = data(&tones.ok(&["--help"]));
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        let text = data(&tones.ok(&[name, "--help"]));
        assert!(text.contains(&format!("Usage: oido {name}")), "{text}");
    }
    oido().assert().code(2);
    oido().arg("sing").assert().code(2);
}

#[test]
fn models_lists_the_zoo() {
    let tones = Tones::new();
    let text = data(&tones.ok(&["models"]));
    for (name, count) in
        [("dense", "108106"), ("cnn", "5634826"), ("lstm", "190602"), ("crnn", "1225866"), ("m5", "38019")]
    {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let row = text.lines().map(words).find(|words| words.first().is_some_and(|w| w == name)).unwrap();
        assert!(row.contains(&count.to_owned()), "{row:?}");
    }
    assert_eq!(data(&tones.ok(&["models", "--json"])).lines().count(), text.lines().count() - 1);
}

#[test]
fn models_with_a_name_lists_the_stages_that_can_be_frozen() {
    let tones = Tones::new();
    let text = data(&tones.ok(&["models", "mobilenet-v2"]));
    let row = |stage: &str| {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let row = text.lines().map(words).find(|words| words.first().is_some_and(|w| w == stage));
        row.unwrap_or_else(|| panic!("{stage} is not in {text}"))[1].parse::<usize>().unwrap()
    };
    // Keras' counts: 27 * 32 weights and 4 * 32 numbers of batch normalisation; all 17 blocks; 320 * 1280 and 4 * 1280.
    assert_eq!((row("stem"), row("last"), row("head")), (992, 414_720, 348_496));
    let blocks: usize = (1..=17).map(|block| row(&format!("block{block}"))).sum();
    assert_eq!(992 + blocks + 414_720, 2_257_984);
    let json: serde_json::Value =
        serde_json::from_str(&data(&tones.ok(&["models", "resnet50", "--json"]))).unwrap();
    assert_eq!(json["stages"], serde_json::json!(["stem", "layer1", "layer2", "layer3", "layer4", "head"]));
    assert!(data(&tones.ok(&["models", "cnn"])).contains("no stages"));
    let output = oido().args(["models", "vgg"]).assert().failure();
    let error = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(error.contains("`vgg` is no network") && error.contains("resnet50"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_went_away_is_no_error() {
    let tones = Tones::new();
    let oido = assert_cmd::cargo::cargo_bin!("oido");
    for command in ["models", "train recipe.toml --dry-run -q", "inspect manifest.csv -q", "--help"] {
        // The reader is gone before the first word.
        let script = format!("{{ sleep 0.2; {} {command}; echo code $? >&2; }} | true", oido.display());
        let output =
            std::process::Command::new("sh").args(["-c", &script]).current_dir(tones.path("")).output();
        let talk = crate::tones::talk(&output.unwrap());
        assert_eq!(talk.trim(), "code 0", "{command}");
    }
}

#[test]
fn no_output_replaces_what_it_was_made_from() {
    let tones = Tones::new();
    let before = std::fs::read(tones.path("manifest.csv")).unwrap();
    let talk = tones.error(2, &["prepare", "table", "manifest.csv", "--out", "./manifest.csv"]);
    assert!(talk.contains("would replace the input manifest.csv"), "{talk}");
    assert_eq!(std::fs::read(tones.path("manifest.csv")).unwrap(), before);
}
