//! Augmentation as a user reaches it: in a recipe, and on a sheet of pictures.

use crate::support::oido;
use crate::tones::Tones;

const EVERYTHING: &str = "augment=[{kind='gain'},{kind='polarity'},{kind='time_shift',seconds=0.1},\
    {kind='time_stretch'},{kind='pitch_shift',probability=0.2},{kind='noise',colour='pink'},{kind='reverberation'},\
    {kind='equalizer'},{kind='telephone',probability=0.2},{kind='bit_depth'},\
    {kind='spec_augment',time_warp=3,freq_width=4,time_width=4},{kind='random_masks',freq_width=4,time_width=4},\
    {kind='rotation'},{kind='zoom'},{kind='translation'},\
    {kind='mixup'},{kind='cutmix',probability=0.2},{kind='specmix',probability=0.2}]";

#[test]
fn an_augmented_run_is_the_same_on_any_number_of_threads_and_after_resume() {
    let tones = Tones::new();
    let train = |out: &str, threads: &str, more: &[&str]| {
        let mut command = oido();
        command.current_dir(tones.path("")).env("RAYON_NUM_THREADS", threads);
        command.args(Tones::train(out, more)).assert().success();
    };
    let [one, two] = ["training.epochs=1", "training.epochs=2"];
    train("whole", "1", &["--set", EVERYTHING, "--set", two]);
    train("resumed", "4", &["--set", EVERYTHING, "--set", one, "--cache", "cache"]);
    train("resumed", "4", &["--set", EVERYTHING, "--set", two, "--cache", "cache", "--resume"]);
    assert!(tones.weights("whole") == tones.weights("resumed"));
    train("plain", "4", &["--set", two]);
    assert!(tones.weights("whole") != tones.weights("plain"));
    let recipe = |run: &str| std::fs::read_to_string(tones.path(run).join("recipe.toml")).unwrap();
    assert!(!recipe("plain").contains("augment"), "recipes of earlier runs stay as they were");
    assert_eq!(recipe("whole").matches("[[augment]]").count(), 18);

    let other = ["--set", "augment=[{kind='mixup'}]", "--set", two, "--resume"];
    let error = tones.error(2, &Tones::train("whole", &other));
    assert!(error.contains("whole"), "{error}");
    let wrong = Tones::train("new", &["--set", "augment=[{kind='mixup',labels='or'}]"]);
    assert!(tones.error(4, &wrong).contains("augment[0].labels: "));
}

#[test]
fn the_sheet_shows_what_was_done() {
    let tones = Tones::new();
    let wav = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/audio/s16.wav");
    let draw = |more: &[&str]| {
        let arguments = ["features", wav, "--augment", "--out", "sheet.svg", "--set"];
        let output = tones.ok(&[&arguments[..], more].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        (std::fs::read_to_string(tones.path("sheet.svg")).unwrap(), said)
    };
    let list = "augment=[{kind='noise'},{kind='spec_augment'},{kind='mixup'}]";
    let (sheet, said) = draw(&[list]);
    assert_eq!(sheet.matches("<svg ").count(), 1 + 6, "one before, two entries, three draws");
    assert!(sheet.contains(">spec_augment<") && sheet.contains(">draw 3: "));
    assert!(said.contains("mixup mixes clips"), "{said}");
    assert_eq!(sheet, draw(&[list]).0);
    assert_ne!(sheet, draw(&[list, "--set", "seed=1"]).0);

    for (out, set, expected) in [
        ("sheet.csv", list, ".svg"),
        ("sheet.svg", "augment=[{kind='mixup'}]", "nothing that changes a clip by itself"),
        ("sheet.svg", "augment=[{kind='gain',db=[1.0,0.0]}]", "augment[0].db: "),
    ] {
        let command = ["features", wav, "--augment", "--out", out, "--set", set];
        let output = oido().current_dir(tones.path("")).args(command).assert().failure();
        let error = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(error.contains(expected), "{error}");
    }
}
