//! A client of MLflow's REST API 2.0: <https://mlflow.org/docs/latest/api_reference/rest-api.html>.
//!
//! It works in a thread of its own, so that a slow server does not hold training up, and takes whatever fails as a reason to try
//! again after the next epoch.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use ureq::Agent;

use super::scalars;
use crate::config::{self, ConfigError};
use crate::files::write_file;
use crate::training::results::EpochRow;
use crate::training::{Event, Observer, Recipe, RunOptions};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one request may hold: 1,000 metrics, of which an epoch has a dozen.
const EPOCHS_AT_ONCE: usize = 50;
const MAX_PARAMS: usize = 100;
const MAX_KEY: usize = 250;
const MAX_PARAM: usize = 500;

/// In a run directory, which run of the server it is.
const FILE: &str = "mlflow.json";

/// A server, and how to speak to it.
#[derive(Clone, PartialEq, Eq)]
pub struct MlflowConfig {
    /// `http://host:port`, without a slash at the end.
    url: String,
    /// The experiment that runs belong to; made when it is not there.
    experiment: String,
    /// The header `Authorization`.
    authorization: Option<String>,
}

impl std::fmt::Debug for MlflowConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        // The authorization is nobody's business.
        f.debug_struct("MlflowConfig")
            .field("url", &self.url)
            .field("experiment", &self.experiment)
            .finish_non_exhaustive()
    }
}

impl MlflowConfig {
    /// The server at `url`. The variables of MLflow's own client say the rest: `MLFLOW_EXPERIMENT_NAME` where `experiment` is
    /// none (and `oido` where that is not set), `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and
    /// `MLFLOW_TRACKING_PASSWORD`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Field`] for anything but an address with http or https.
    pub fn new(
        url: &str,
        experiment: Option<&str>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if host.is_none_or(|host| host.is_empty() || host.starts_with('/'))
            || url.contains(char::is_whitespace)
        {
            let reason = "is no address of a server; give one as http://localhost:5000";
            return Err(ConfigError::field(format!("--mlflow {url}"), reason));
        }
        let token = environment("MLFLOW_TRACKING_TOKEN").map(|token| format!("Bearer {token}"));
        let login = || {
            let (user, password) =
                (environment("MLFLOW_TRACKING_USERNAME")?, environment("MLFLOW_TRACKING_PASSWORD")?);
            Some(format!("Basic {}", BASE64.encode(format!("{user}:{password}"))))
        };
        let experiment = experiment.map(str::to_owned).or_else(|| environment("MLFLOW_EXPERIMENT_NAME"));
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            experiment: experiment.unwrap_or_else(|| "oido".to_owned()),
            authorization: token.or_else(login),
        })
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Finished,
    Failed,
    Killed,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }
}

/// What the thread is told.
enum Told {
    Begin,
    Rows(Vec<EpochRow>),
    End(Status),
}

/// The way to the thread that speaks to the server.
pub(super) struct Mlflow {
    to: Sender<Told>,
}

impl Mlflow {
    /// Training begins: data and recipe are in order.
    pub(super) fn begin(&self) {
        self.tell(Told::Begin);
    }

    /// All finished epochs so far.
    pub(super) fn rows(&self, rows: &[EpochRow]) {
        self.tell(Told::Rows(rows.to_vec()));
    }

    /// The run is over; the thread ends with it.
    pub(super) fn end(self, status: Status) {
        self.tell(Told::End(status));
    }

    fn tell(&self, told: Told) {
        // Without a thread there is nobody to tell.
        let _ = self.to.send(told);
    }
}

/// Starts the thread for one run.
pub(super) fn follow<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    config: &'env MlflowConfig,
    recipe: &'env Recipe,
    options: &'env RunOptions,
    observer: &'env dyn Observer,
) -> Mlflow {
    let (to, from) = channel();
    scope.spawn(move || {
        let mut worker = Worker {
            client: Client::new(config),
            recipe,
            dir: &options.out,
            resume: options.resume,
            run: None,
            rows: Vec::new(),
            last_step: 0,
        };
        worker.work(&from, observer);
    });
    Mlflow { to }
}

/// What the thread knows.
struct Worker<'a> {
    client: Client<'a>,
    recipe: &'a Recipe,
    dir: &'a Path,
    resume: bool,
    /// The server's name of the run, once it is made.
    run: Option<String>,
    rows: Vec<EpochRow>,
    /// The last epoch that the server has.
    last_step: usize,
}

impl Worker<'_> {
    fn work(&mut self, from: &Receiver<Told>, observer: &dyn Observer) {
        let (mut warned, mut begun, mut status) = (false, false, None);
        while status.is_none() {
            let Ok(first) = from.recv() else { return };
            // Only the newest state counts, however many epochs a slow server slept through.
            for told in std::iter::once(first).chain(from.try_iter()) {
                match told {
                    Told::Begin => begun = true,
                    Told::Rows(rows) => self.rows = rows,
                    Told::End(end) => status = Some(end),
                }
            }
            if !begun {
                continue;
            }
            if let Err(reason) = self.bring_up_to_date(status)
                && !warned
            {
                warned = true;
                let url = &self.client.config.url;
                let remark = format!("MLflow at {url} is not told: {reason}; training goes on");
                observer.event(&Event::Remark(&remark));
            }
        }
    }

    /// Makes the run if there is none, sends the epochs that the server lacks, and how the run ended.
    fn bring_up_to_date(&mut self, status: Option<Status>) -> Result<(), String> {
        let run = match self.run.clone() {
            Some(run) => run,
            None => self.find_or_make()?,
        };
        self.run = Some(run.clone());
        let new: Vec<&EpochRow> = self.rows.iter().filter(|row| row.epoch > self.last_step).collect();
        for rows in new.chunks(EPOCHS_AT_ONCE) {
            let metric = |step: usize, (key, value)| json!({"key": key, "value": value, "timestamp": now(), "step": step});
            let of_row = |row: &&EpochRow| {
                let step = row.epoch;
                scalars(row).into_iter().map(move |scalar| metric(step, scalar)).collect::<Vec<_>>()
            };
            let metrics: Vec<Value> = rows.iter().flat_map(of_row).collect();
            self.client.post("runs/log-batch", &json!({"run_id": run, "metrics": metrics}))?;
            self.last_step = rows.last().map_or(self.last_step, |row| row.epoch);
        }
        if let Some(status) = status {
            let end = json!({"run_id": run, "status": status.name(), "end_time": now()});
            self.client.post("runs/update", &end)?;
        }
        Ok(())
    }

    /// The run that this directory was before, going on, or a new one with the recipe as its parameters.
    fn find_or_make(&mut self) -> Result<String, String> {
        if self.resume
            && let Some(run) = self.before()
            && let Some(step) = self.client.last_step(&run)?
        {
            self.last_step = step;
            self.client.post("runs/update", &json!({"run_id": run, "status": "RUNNING"}))?;
            return Ok(run);
        }
        let experiment = self.client.experiment()?;
        let name = self
            .dir
            .file_name()
            .map_or_else(|| self.recipe.name.clone(), |n| n.to_string_lossy().into_owned());
        let version = concat!("oido ", env!("CARGO_PKG_VERSION"));
        let tags = json!([{"key": "mlflow.source.name", "value": version},
            {"key": "recipe", "value": self.recipe.name}]);
        let made = self.client.post(
            "runs/create",
            &json!({"experiment_id": experiment, "run_name": name, "start_time": now(), "tags": tags}),
        )?;
        let run = text(&made, "/run/info/run_id")?;
        let params = params(self.recipe)?;
        for params in params.chunks(MAX_PARAMS) {
            self.client.post("runs/log-batch", &json!({"run_id": run, "params": params}))?;
        }
        let note = json!({"url": self.client.config.url, "run_id": run});
        write_file(&self.file(), format!("{note:#}\n"))
            .map_err(|e| format!("{}: {e}", self.file().display()))?;
        Ok(run)
    }

    /// The run of this server that the directory was.
    fn before(&self) -> Option<String> {
        let note: Value = serde_json::from_slice(&std::fs::read(self.file()).ok()?).ok()?;
        (note["url"] == self.client.config.url).then(|| Some(note["run_id"].as_str()?.to_owned())).flatten()
    }

    fn file(&self) -> PathBuf {
        self.dir.join(FILE)
    }
}

/// Every number and word of the resolved recipe.
fn params(recipe: &Recipe) -> Result<Vec<Value>, String> {
    let text = recipe.resolved().to_toml().map_err(|e| e.to_string())?;
    let flat = config::flatten(&text).map_err(|e| e.to_string())?;
    let known = |c: char| if c.is_alphanumeric() || "_-. /:".contains(c) { c } else { '_' };
    let param = |(key, value): (String, String)| {
        let key: String = key.chars().map(known).take(MAX_KEY).collect();
        let value: String = value.trim_matches('"').chars().take(MAX_PARAM).collect();
        json!({"key": key, "value": value})
    };
    Ok(flat.into_iter().map(param).collect())
}

struct Client<'a> {
    agent: Agent,
    config: &'a MlflowConfig,
}

impl<'a> Client<'a> {
    fn new(config: &'a MlflowConfig) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("oido/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, config }
    }

    /// The number of the experiment, which is made when it is not there.
    fn experiment(&self) -> Result<String, String> {
        let name = &self.config.experiment;
        let query = [("experiment_name", name.as_str())];
        match self.get("experiments/get-by-name", &query)? {
            Some(found) => text(&found, "/experiment/experiment_id"),
            None => text(&self.post("experiments/create", &json!({"name": name}))?, "/experiment_id"),
        }
    }

    /// The last step for which the run has a metric; none when the server does not know the run.
    fn last_step(&self, run: &str) -> Result<Option<usize>, String> {
        let Some(found) = self.get("runs/get", &[("run_id", run)])? else { return Ok(None) };
        let metrics = found.pointer("/run/data/metrics").and_then(Value::as_array);
        // 64-bit numbers come as numbers or, by the rules of protocol buffers in JSON, as texts.
        let step = |metric: &Value| match &metric["step"] {
            Value::String(step) => step.parse().ok(),
            step => step.as_u64(),
        };
        Ok(Some(metrics.into_iter().flatten().filter_map(step).max().unwrap_or(0) as usize))
    }

    /// The answer; none when what is asked for does not exist.
    fn get(&self, what: &str, query: &[(&str, &str)]) -> Result<Option<Value>, String> {
        let mut request = self.agent.get(self.address(what));
        for (name, value) in query {
            request = request.query(*name, *value);
        }
        if let Some(authorization) = &self.config.authorization {
            request = request.header("Authorization", authorization);
        }
        match answer(what, request.call())? {
            (404, _) => Ok(None),
            (200, answer) => Ok(Some(answer)),
            (status, answer) => Err(refused(what, status, &answer)),
        }
    }

    fn post(&self, what: &str, body: &Value) -> Result<Value, String> {
        let mut request = self.agent.post(self.address(what)).header("Content-Type", "application/json");
        if let Some(authorization) = &self.config.authorization {
            request = request.header("Authorization", authorization);
        }
        match answer(what, request.send(body.to_string()))? {
            (200, answer) => Ok(answer),
            (status, answer) => Err(refused(what, status, &answer)),
        }
    }

    fn address(&self, what: &str) -> String {
        format!("{}/api/2.0/mlflow/{what}", self.config.url)
    }
}

type Response = ureq::http::Response<ureq::Body>;

/// Status and JSON of an answer; a body that is no JSON counts as null.
fn answer(what: &str, response: Result<Response, ureq::Error>) -> Result<(u16, Value), String> {
    let mut response = response.map_err(|e| format!("{what}: {e}"))?;
    let body = response.body_mut().read_to_vec().map_err(|e| format!("{what}: {e}"))?;
    Ok((response.status().as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

fn refused(what: &str, status: u16, answer: &Value) -> String {
    let message = answer["message"].as_str().unwrap_or("no reason given");
    let message: String = message.chars().take(200).collect();
    format!("{what}: status {status}, {message}")
}

fn text(answer: &Value, pointer: &str) -> Result<String, String> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| format!("the answer has no {pointer}; is this an MLflow server?"))
}

/// Milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_mlflows_own_client_are_read() {
        let config = |url: &str, set: &[(&str, &str)]| {
            MlflowConfig::new(url, None, |name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
            })
        };
        let plain = config("http://localhost:5000/", &[]).unwrap();
        assert_eq!(
            (plain.url.as_str(), plain.experiment.as_str(), &plain.authorization),
            ("http://localhost:5000", "oido", &None)
        );
        let token =
            config("https://m", &[("MLFLOW_TRACKING_TOKEN", "s3cret"), ("MLFLOW_EXPERIMENT_NAME", "e")])
                .unwrap();
        assert_eq!((token.authorization.as_deref(), token.experiment.as_str()), (Some("Bearer s3cret"), "e"));
        assert!(!format!("{token:?}").contains("s3cret"));
        let login = [("MLFLOW_TRACKING_USERNAME", "Aladdin"), ("MLFLOW_TRACKING_PASSWORD", "open sesame")];
        // The example of RFC 7617.
        let header = config("http://m", &login).unwrap().authorization;
        assert_eq!(header.as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        for wrong in ["localhost:5000", "ftp://x", "http://", "http:///x", "http://a b"] {
            let error = config(wrong, &[]).unwrap_err().to_string();
            assert!(error.contains(&format!("--mlflow {wrong}: is no address")), "{error}");
        }
    }

    #[test]
    fn the_parameters_are_the_resolved_recipe() {
        let recipe = Recipe::find(Path::new("quickstart/cnn"), &[]).unwrap();
        let params = params(&recipe).unwrap();
        let of =
            |key: &str| params.iter().find(|param| param["key"] == key).map(|param| param["value"].clone());
        assert_eq!(of("seed"), Some(json!("42")));
        assert_eq!(of("training.optimizer.name"), Some(json!("adam")));
        assert_eq!(of("model.name"), Some(json!("cnn")));
    }
}
