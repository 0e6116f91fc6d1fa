//! What follows a run: the flags of `oido train`, `oido cv` and `oido sweep` for it.

use crate::config::ConfigError;
use crate::tracking::{MlflowConfig, Trackers};

/// Arguments of commands whose runs others may follow.
#[derive(Debug, clap::Args)]
pub struct TrackingArgs {
    /// Write an event file for TensorBoard into the run directory.
    #[arg(long)]
    pub tensorboard: bool,
    /// Tell an MLflow server, as http://localhost:5000; whatever it does, training goes on.
    #[arg(long, value_name = "URL")]
    pub mlflow: Option<String>,
    /// Its experiment, which is made when it is not there [default: MLFLOW_EXPERIMENT_NAME, or oido].
    #[arg(long, value_name = "NAME", requires = "mlflow")]
    pub mlflow_experiment: Option<String>,
}

impl TrackingArgs {
    /// Those that were asked for.
    pub fn trackers(&self) -> Result<Trackers, ConfigError> {
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mlflow = |url: &String| MlflowConfig::new(url, self.mlflow_experiment.as_deref(), environment);
        Ok(Trackers { tensorboard: self.tensorboard, mlflow: self.mlflow.as_ref().map(mlflow).transpose()? })
    }
}
