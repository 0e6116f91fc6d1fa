//! The model card: Markdown with the YAML front matter model hubs read.

use std::fmt::Write;

use serde_json::Value;

use super::config::BundleConfig;
use super::pack::BundleParts;
use crate::audio::AudioConfig;
use crate::decision::Task;

/// Numbers of `metrics.json` worth a place on the card, when they are there.
const HEADLINES: [&str; 5] = ["lwlrap", "accuracy", "macro_f1", "weighted_f1", "log_loss"];

/// The card of a bundle; a pure function of its parts.
pub(super) fn card(parts: &BundleParts) -> String {
    let config = &parts.config;
    let headlines: Vec<(&str, f64)> =
        HEADLINES.iter().filter_map(|name| Some((*name, find(&parts.metrics, name)?))).collect();
    let mut text = String::from(
        "---\nlibrary_name: oido\npipeline_tag: audio-classification\ntags:\n- audio\n- audio-classification\n",
    );
    if !headlines.is_empty() {
        text.push_str("metrics:\n");
        for (name, _) in &headlines {
            let _ = writeln!(text, "- {name}");
        }
        let _ = write!(
            text,
            "model-index:\n- name: {}\n  results:\n  - task:\n      type: audio-classification\n      name: Audio \
             classification\n    dataset:\n      type: {}\n      name: {}\n    metrics:\n",
            quoted(&config.name),
            quoted(&config.name),
            quoted(&config.name)
        );
        for (name, value) in &headlines {
            let _ = writeln!(text, "    - type: {name}\n      value: {value}\n      name: {name}");
        }
    }
    let _ = write!(
        text,
        "---\n\n# {}\n\nAn audio classifier of the {} family, trained with oido.\n\n\
         | | |\n|---|---|\n| input | {} |\n| decision | {} |\n",
        one_line(&config.name),
        config.model.name(),
        input(&config.audio),
        decision(config),
    );
    if let Some(started) = &parts.started_from {
        let _ = writeln!(text, "| trained from | {} |", one_line(&started.to_string()));
    }
    for (name, value) in &headlines {
        let _ = writeln!(text, "| {} | {value:.4} |", name.replace('_', " "));
    }
    let _ = write!(text, "\n## Labels ({})\n\n", parts.labels.len());
    for name in parts.labels.names() {
        let _ = writeln!(text, "- {}", one_line(name));
    }
    text.push_str(
        "\n## Use\n\n```sh\noido predict BUNDLE recording.wav\noido serve BUNDLE\n```\n\n\
         Full numbers are in `metrics.json`; every setting of the front end and the network is in `config.json`.\n",
    );
    text
}

/// What becomes of a recording before the features.
fn input(audio: &AudioConfig) -> String {
    let silence = if audio.silence.is_empty() { "" } else { " silence is removed;" };
    format!(
        "mono, {} Hz, {} s;{silence} shorter recordings are {}, of longer ones the network hears {}",
        audio.sample_rate,
        audio.clip_seconds,
        audio.shorter.describe(),
        audio.longer.describe(audio.clip_seconds)
    )
}

/// How scores become an answer.
fn decision(config: &BundleConfig) -> String {
    let (threshold, word) = (config.decision.threshold, one_line(&config.decision.indeterminate));
    match config.task {
        Task::SingleLabel => format!("below a score of {threshold} the answer is `{word}`"),
        Task::MultiLabel => {
            format!("every label with a score of at least {threshold}; when there is none, `{word}`")
        }
    }
}

/// The number called `name`, at the top level or one below.
fn find(metrics: &Value, name: &str) -> Option<f64> {
    let object = metrics.as_object()?;
    object.get(name).and_then(Value::as_f64).or_else(|| {
        object.values().filter_map(Value::as_object).find_map(|inner| inner.get(name).and_then(Value::as_f64))
    })
}

/// A YAML scalar: JSON strings are valid YAML.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Markdown text that cannot break out of its line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().replace('|', "\\|")
}
