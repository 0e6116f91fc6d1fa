//! Metrics against scikit-learn; `oido compare` as a program.

use assert_cmd::Command;
use oido::metrics::{
    ClassificationReport, Confusion, Lwlrap, accuracy, average_precision, binary_log_loss, log_loss,
    top_k_accuracy,
};
use serde_json::{Value, json};

const GOLDEN: &str = include_str!("../fixtures/metrics/golden.json");
const MULTI_LABEL: &str = include_str!("../fixtures/metrics/multi_label.json");

/// One case of a golden file.
struct Case {
    golden: Value,
    labels: Vec<String>,
    targets: Vec<f32>,
    scores: Vec<f32>,
}

fn cases() -> Vec<Case> {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    golden["cases"].as_array().unwrap().iter().map(Case::new).collect()
}

fn multi_label_cases() -> Vec<Case> {
    let golden: Value = serde_json::from_str(MULTI_LABEL).unwrap();
    golden["cases"].as_array().unwrap().iter().map(Case::new).collect()
}

impl Case {
    fn new(golden: &Value) -> Self {
        let labels: Vec<String> = serde_json::from_value(golden["labels"].clone()).unwrap();
        // One index a clip, or a list of them.
        let row = |target: &Value| -> Vec<f32> {
            let list = target.as_array().cloned().unwrap_or_else(|| vec![target.clone()]);
            (0..labels.len()).map(|class| f32::from(u8::from(list.contains(&json!(class))))).collect()
        };
        let targets = golden["targets"].as_array().unwrap().iter().flat_map(row).collect();
        let scores = serde_json::from_value(golden["scores"].clone()).unwrap();
        Self { golden: golden.clone(), labels, targets, scores }
    }

    fn assert_close(&self, key: &str, ours: f64) {
        let golden = self.golden[key].as_f64().unwrap();
        assert!((ours - golden).abs() < 1e-12, "{}: {key} is {ours}, not {golden}", self.golden["name"]);
    }

    fn confusion(&self) -> Confusion {
        Confusion::from_scores(&self.scores, &self.targets, self.labels.len())
    }
}

#[test]
fn figures_agree_with_scikit_learn() {
    assert_eq!(cases().len(), 6);
    for case in cases() {
        let n = case.labels.len();
        case.assert_close("accuracy", accuracy(&case.scores, &case.targets, n));
        case.assert_close("accuracy", case.confusion().accuracy());
        case.assert_close("top_2", top_k_accuracy(&case.scores, &case.targets, n, 2));
        // scikit-learn sums f32 scores in f32.
        let golden = case.golden["log_loss"].as_f64().unwrap();
        let ours = log_loss(&case.scores, &case.targets, n);
        assert!((ours - golden).abs() < 1e-6 * golden.max(1.0), "{}: {ours} {golden}", case.golden["name"]);
        let interval = case.confusion().interval();
        for (ours, golden) in
            [interval.low, interval.high].iter().zip(case.golden["wilson"].as_array().unwrap())
        {
            assert!((ours - golden.as_f64().unwrap()).abs() < 1e-12, "{interval:?} {golden}");
        }
    }
}

#[test]
fn the_confusion_matrix_is_scikit_learns() {
    for case in cases() {
        let n = 0..case.labels.len();
        let confusion = case.confusion();
        let ours: Vec<Vec<u64>> =
            n.clone().map(|t| n.clone().map(|p| confusion.count(t, p)).collect()).collect();
        assert_eq!(json!(ours), case.golden["confusion"], "{}", case.golden["name"]);
    }
}

#[test]
fn the_report_is_scikit_learns_byte_for_byte() {
    for case in cases() {
        let report = ClassificationReport::new(&case.confusion(), &case.labels);
        assert_eq!(report.to_text(2), case.golden["report_2"].as_str().unwrap());
        assert_eq!(report.to_text(4), case.golden["report_4"].as_str().unwrap());
    }
}

#[test]
fn the_report_as_json_is_scikit_learns_dictionary() {
    for case in cases() {
        let ours = ClassificationReport::new(&case.confusion(), &case.labels).to_json();
        let (ours, golden) = (ours.as_object().unwrap(), case.golden["report_dict"].as_object().unwrap());
        assert!(ours.keys().eq(golden.keys()), "{:?}", ours.keys());
        for (name, golden) in golden {
            match golden {
                Value::Object(columns) => {
                    assert!(ours[name].as_object().unwrap().keys().eq(columns.keys()));
                    for (column, golden) in columns {
                        let difference = ours[name][column].as_f64().unwrap() - golden.as_f64().unwrap();
                        assert!(difference.abs() < 1e-12, "{}: {name} {column}", case.golden["name"]);
                    }
                }
                golden => assert!((ours[name].as_f64().unwrap() - golden.as_f64().unwrap()).abs() < 1e-12),
            }
        }
    }
}

/// NaN where the golden value is null.
fn assert_all_close(ours: &[f64], golden: &Value, what: &str) {
    for (class, (ours, golden)) in ours.iter().zip(golden.as_array().unwrap()).enumerate() {
        let close = match golden.as_f64() {
            Some(golden) => (ours - golden).abs() < 1e-12,
            None => ours.is_nan(),
        };
        assert!(close, "{what} of class {class}: {ours}, not {golden}");
    }
}

#[test]
fn figures_of_several_labels_agree_with_scikit_learn_and_the_competition() {
    assert_eq!(multi_label_cases().len(), 4);
    for case in multi_label_cases() {
        let n = case.labels.len();
        let lwlrap = Lwlrap::from_scores(&case.scores, &case.targets, n);
        case.assert_close("lwlrap", lwlrap.value());
        let by_class: Vec<f64> = (0..n).map(|class| lwlrap.of_class(class)).collect();
        assert_all_close(&by_class, &case.golden["lwlrap_by_class"], "lwlrap");
        let average = average_precision(&case.scores, &case.targets, n);
        assert_all_close(&average, &case.golden["average_precision"], "average precision");
        let golden = case.golden["binary_log_loss"].as_f64().unwrap();
        let loss = binary_log_loss(&case.scores, &case.targets, n);
        // A score of 1 is kept from it by the epsilon of f32 here and of f64 there.
        if case.golden["name"] != "ties" {
            assert!((loss - golden).abs() < 1e-9, "{loss} {golden}");
        }
        let report = ClassificationReport::multi_label(&case.scores, &case.targets, 0.5, &case.labels);
        assert_eq!(report.to_text(4), case.golden["report"].as_str().unwrap());
        let (ours, golden) = (report.to_json(), case.golden["report_dict"].as_object().unwrap());
        assert!(ours.as_object().unwrap().keys().eq(golden.keys()), "{ours}");
        for (name, golden) in golden {
            for (column, golden) in golden.as_object().unwrap() {
                let difference = ours[name][column].as_f64().unwrap() - golden.as_f64().unwrap();
                assert!(difference.abs() < 1e-12, "{}: {name} {column}", case.golden["name"]);
            }
        }
    }
}

/// A run directory with only what `compare` reads.
fn run_directory(dir: &std::path::Path, manifest: &str) {
    std::fs::create_dir(dir).unwrap();
    let info = json!({"name": "cnn", "model": "cnn", "parameters": 5_634_826, "epochs": 1, "best_epoch": 1,
        "best_valid_accuracy": 0.5, "clips": {"valid": 10}, "manifest_sha256": manifest});
    std::fs::write(dir.join("run.json"), info.to_string()).unwrap();
    let rows = "epoch,time,train/loss,train/accuracy,val/loss,val/accuracy,lr,clips_per_second\n1,2,1,0.5,1,0.5,0.001,9\n";
    std::fs::write(dir.join("results.csv"), rows).unwrap();
}

#[test]
fn compare_prints_a_table_and_writes_a_page() {
    let root = tempfile::tempdir().unwrap();
    run_directory(&root.path().join("one"), "aa");
    run_directory(&root.path().join("two"), "bb");
    let compare = |more: &[&str]| {
        let mut command = Command::cargo_bin("oido").unwrap();
        command.current_dir(root.path()).args(["compare", "one", "two"]).args(more).assert().success()
    };
    let output = compare(&[]).get_output().clone();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("5,634,826") && text.contains("50.0 % (23.7–76.3)"), "{text}");
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(talk.contains("not comparable") && talk.contains("wrote compare.html"), "{talk}");
    assert!(std::fs::read_to_string(root.path().join("compare.html")).unwrap().contains("</html>"));

    let output = compare(&["--json", "--out", "page.html"]).get_output().clone();
    let lines = String::from_utf8(output.stdout).unwrap();
    let runs: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((runs[0]["data"].as_str(), runs[1]["data"].as_str()), (Some("A"), Some("B")));
    assert!(root.path().join("page.html").exists());
}

#[test]
fn compare_names_what_is_no_run() {
    let root = tempfile::tempdir().unwrap();
    let assert = Command::cargo_bin("oido").unwrap().arg("compare").arg(root.path()).assert().code(2);
    let talk = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(talk.contains("run.json") && talk.lines().count() == 1, "{talk}");
}
