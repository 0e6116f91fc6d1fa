//! Prometheus text. One recorder a server, not one a process, so that servers in one process do not mix.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use metrics::{
    counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram, with_local_recorder,
};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::bundle::{Prediction, Predictor};

/// Upper bounds of time buckets, in seconds.
const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Upper bounds of batch sizes.
const CLIPS: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
/// Labels beyond this many are counted as `other`: each is a time series somebody must store.
const MAX_LABELS: usize = 200;
/// So many panics within [`PANIC_WINDOW`] make a server unfit.
const MAX_PANICS: usize = 3;
const PANIC_WINDOW: Duration = Duration::from_secs(60);

/// Counters of one server.
pub(super) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    started: f64,
    in_flight: AtomicUsize,
    panics: Mutex<VecDeque<Instant>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(super) fn new() -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)?
            .set_buckets_for_metric(Matcher::Full("audio_batch_size".to_owned()), &CLIPS)?
            .build_recorder();
        let handle = recorder.handle();
        with_local_recorder(&recorder, describe);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let metrics = Self {
            recorder,
            handle,
            started,
            in_flight: AtomicUsize::new(0),
            panics: Mutex::new(VecDeque::new()),
        };
        // Present from the start, so that a rate over them needs no first event.
        metrics.record(|| {
            for place in ["inference", "decode"] {
                counter!("audio_panics_total", "where" => place).absolute(0);
            }
            for reason in ["queue_full", "too_large", "undecodable", "timeout", "abandoned"] {
                counter!("audio_rejected_total", "reason" => reason).absolute(0);
            }
        });
        Ok(metrics)
    }

    fn record(&self, work: impl FnOnce()) {
        with_local_recorder(&self.recorder, work);
    }

    /// The text of `/metrics`.
    pub(super) fn render(&self) -> String {
        self.record(|| {
            gauge!("audio_queue_depth").set(self.in_flight.load(Ordering::Relaxed) as f64);
            gauge!("process_start_time_seconds").set(self.started);
            process();
        });
        self.upkeep();
        self.handle.render()
    }

    /// Folds recorded samples into buckets; to be called now and then.
    pub(super) fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    pub(super) fn model(&self, predictor: &Predictor) {
        let (name, manifest) = (predictor.name().to_owned(), predictor.manifest().clone());
        self.record(|| {
            gauge!("audio_model_info", "name" => name, "version" => manifest.tool_version, "sha256" => manifest.sha256)
                .set(1.0);
        });
    }

    pub(super) fn request(&self, route: &'static str, method: &'static str, status: u16, took: Duration) {
        self.record(|| {
            histogram!("audio_http_request_duration_seconds", "route" => route).record(took);
            counter!("audio_http_requests_total", "route" => route, "method" => method, "status" => status.to_string())
                .increment(1);
        });
    }

    pub(super) fn rejected(&self, reason: &'static str) {
        self.record(|| counter!("audio_rejected_total", "reason" => reason).increment(1));
    }

    pub(super) fn queue_wait(&self, waited: Duration) {
        self.record(|| histogram!("audio_queue_wait_seconds").record(waited));
    }

    pub(super) fn batch(&self, clips: usize) {
        self.record(|| histogram!("audio_batch_size").record(clips as f64));
    }

    /// `stage`: `decode` (with features), `forward` (with the decision).
    pub(super) fn stage(&self, stage: &'static str, took: Duration) {
        self.record(|| histogram!("audio_inference_duration_seconds", "stage" => stage).record(took));
    }

    pub(super) fn prediction(&self, prediction: &Prediction, label_index: usize) {
        let label = if label_index < MAX_LABELS { prediction.best_label.clone() } else { "other".to_owned() };
        let indeterminate = if prediction.indeterminate { "true" } else { "false" };
        self.record(|| {
            counter!("audio_predictions_total", "label" => label, "indeterminate" => indeterminate)
                .increment(1);
        });
    }

    /// One request more in the house.
    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// One request less in the house.
    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn panic(&self, place: &'static str) {
        self.record(|| counter!("audio_panics_total", "where" => place).increment(1));
        let mut panics = self.panics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        panics.push_back(Instant::now());
        if panics.len() > MAX_PANICS {
            panics.pop_front();
        }
    }

    /// Whether panics are so frequent that an orchestrator should replace this server.
    pub(super) fn unfit(&self) -> bool {
        let panics = self.panics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        panics.len() == MAX_PANICS && panics.front().is_some_and(|first| first.elapsed() < PANIC_WINDOW)
    }
}

fn describe() {
    describe_counter!("audio_http_requests_total", "HTTP requests answered.");
    describe_histogram!("audio_http_request_duration_seconds", "From the request's head to its answer.");
    describe_histogram!("audio_inference_duration_seconds", "Time of one stage: decode a clip, run a batch.");
    describe_gauge!("audio_queue_depth", "Requests in the house, waiting or running.");
    describe_histogram!("audio_queue_wait_seconds", "From prepared clips to the model thread.");
    describe_histogram!("audio_batch_size", "Clips in one batch.");
    describe_counter!("audio_rejected_total", "Requests refused, by reason.");
    describe_counter!("audio_predictions_total", "Predictions, by best label.");
    describe_gauge!("audio_model_info", "The loaded bundle.");
    describe_counter!("audio_panics_total", "Panics that were contained.");
    describe_gauge!("process_start_time_seconds", "Start of the process since the Unix epoch.");
    describe_gauge!("process_resident_memory_bytes", "Memory in use.");
    describe_gauge!("process_open_fds", "Open file descriptors.");
}

/// What Linux knows about this process; absent elsewhere.
fn process() {
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let kib = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<u32>().ok()
        });
        if let Some(kib) = kib {
            gauge!("process_resident_memory_bytes").set(f64::from(kib) * 1024.0);
        }
    }
    if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(fds.count() as f64);
    }
}
