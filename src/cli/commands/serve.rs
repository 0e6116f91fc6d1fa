//! `oido serve`: a bundle → an HTTP server.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Context, bail};
use tracing_subscriber::EnvFilter;

use crate::bundle::Predictor;
use crate::cli::{Exit, Output};
use crate::models::Precision;
use crate::serve::{Options, Server, Stopped, signals};

/// Arguments of `oido serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle to serve. Without one, the model folder of SageMaker is served, when it exists.
    pub bundles: Vec<PathBuf>,
    /// Address to listen on. [default: 127.0.0.1; all interfaces when SageMaker's model folder is served]
    #[arg(long)]
    pub host: Option<String>,
    /// Port to listen on; 0 lets the system choose.
    #[arg(long, env = "SAGEMAKER_BIND_TO_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Requests in the house at once; one more is refused with 429. A small number refuses early, a large one
    /// makes clients wait.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub queue: u32,
    /// Largest request body in megabytes.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub max_body_mb: u32,
    /// Where the network runs: cpu, vulkan, wgpu or cuda:0.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Numbers that the network multiplies: f32, or bf16, less exact, on processors with AVX-512 BF16.
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
    /// Where SageMaker puts the unpacked model.
    #[arg(long, env = "SM_MODEL_DIR", default_value = "/opt/ml/model", hide = true)]
    pub model_dir: PathBuf,
}

/// Runs `oido serve`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    // Before anything slow, so that a signal while the model loads is obeyed.
    let stops = signals().context("cannot listen for signals")?;
    let (bundle, default_host) = match args.bundles.as_slice() {
        [bundle] => (bundle.clone(), "127.0.0.1"),
        [] if args.model_dir.is_dir() => (args.model_dir.clone(), "0.0.0.0"),
        [] => bail!("no bundle given; `oido serve BUNDLE` serves one written by `oido bundle`"),
        _ => bail!("one server serves one bundle; start another server, on another --port, for the next"),
    };
    log(output);
    let host = args.host.as_deref().unwrap_or(default_host);
    let options = Options {
        queue: args.queue as usize,
        max_body_bytes: args.max_body_mb as usize * 1_000_000,
        max_inflight_bytes: Options::default()
            .max_inflight_bytes
            .max(4 * args.max_body_mb as usize * 1_000_000),
        ..Options::default()
    };
    let server = Server::bind(host, args.port, options)
        .with_context(|| format!("cannot listen on {host}:{}", args.port))?;
    output.say(&format!("listening on http://{}", server.address()?));
    let (device, precision) = (args.device.clone(), args.precision);
    match server.run(move || Predictor::open(&bundle, &device)?.with_precision(precision), stops)? {
        Stopped::Drained => Ok(Exit::Done),
        Stopped::Cut => bail!("stopped with requests still running"),
        Stopped::Forced(stop) => Ok(Exit::Interrupted(u8::try_from(128 + stop.signal).unwrap_or(1))),
        Stopped::NoModel(error) => Err(error.into()),
    }
}

/// Logs to stderr: text on a terminal, JSON lines elsewhere. `RUST_LOG` chooses the level.
fn log(output: &Output) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process keeps the first log.
    let _ = if output.json() || !std::io::stderr().is_terminal() {
        log.json().flatten_event(true).try_init()
    } else {
        log.with_target(false).try_init()
    };
}
