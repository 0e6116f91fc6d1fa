//! One training step, or the inference of one batch, of networks of the zoo at the inputs of their studies.
//!
//! ```sh
//! cargo bench --bench train_step -- cnn crnn lstm m5 m18 simple resnet50 mobilenet_v2 ast ast_base --json
//! cargo bench --bench train_step -- cnn resnet50 --infer --batch 1
//! ```
//!
//! A training step is what `training::fit` does with a batch: forward, cross-entropy, backward, Adam, and the loss
//! read back. Inference is [`oido::models::Inference::logits`]. Every network runs in a process of its own, so that the peak of
//! resident memory is its own. `RAYON_NUM_THREADS` sets the threads. `peers/train_step.py` and `peers/inference.py` are the
//! same in PyTorch and ONNX Runtime; `performance.py` runs them in turn.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use clap::Parser;
use oido::features::FeatureShape;
use oido::files::write_file;
use oido::models::zoo::zoo;
use oido::models::{self, Inference, ModelConfig, Precision};
use oido::seed::{Purpose, Seed};
use oido::training::optimizer::Optimizer;
use rand::RngExt;
use serde_json::{Value, json};

/// Passes before the clock starts, unless they take long: memory is allocated and threads are there.
const WARM_UP: usize = 2;
/// Most passes that are measured.
const RUNS: usize = 200;
/// So small that the network stays as it is. The same batch over and over would soon be fitted, and its gradients would
/// become denormal numbers, with which processors are slow.
const LEARNING_RATE: f64 = 1e-8;
/// Clips of a batch, where a network is not too large for them.
const BATCH: usize = 32;

#[derive(Debug, Parser)]
struct Args {
    /// Networks: those of `oido models`, `ast` (two layers of it) and `ast_base` (all twelve).
    #[arg(required = true)]
    names: Vec<String>,
    /// Measures inference instead of training.
    #[arg(long)]
    infer: bool,
    /// Clips of a batch. Default 32; ast 4, ast_base 1.
    #[arg(long)]
    batch: Option<usize>,
    /// Frames (or samples of a wave) of a clip, instead of those of the study.
    #[arg(long)]
    frames: Option<usize>,
    /// Seconds to go on measuring.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Numbers that are multiplied: f32 or bf16.
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Lines of JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Writes `NAME.safetensors` with the weights, one clip (`input`) and its logits there, and measures nothing.
    #[arg(long)]
    save: Option<PathBuf>,
    /// Cargo adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured.
struct Work {
    name: String,
    config: ModelConfig,
    input: FeatureShape,
    classes: usize,
    batch: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.infer {
        models::keep_memory();
    }
    if let [name] = &args.names[..] {
        let work = Work::new(name, &args)?;
        return match &args.save {
            Some(folder) => work.save(folder),
            None => work.report(&args),
        };
    }
    let options = std::env::args().skip(1).filter(|arg| !args.names.contains(arg));
    let options: Vec<_> = options.collect();
    for name in &args.names {
        let status = Command::new(std::env::current_exe()?).arg(name).args(&options).status()?;
        if !status.success() {
            bail!("{name}: {status}");
        }
    }
    Ok(())
}

impl Work {
    fn new(name: &str, args: &Args) -> anyhow::Result<Self> {
        let row_name = match name.replace('_', "-") {
            ast if ast.starts_with("ast") => "ast".to_owned(),
            row => row,
        };
        let mut rows = zoo().into_iter();
        let row = rows.find(|row| row.config.name() == row_name);
        let row = row.with_context(|| format!("{name} is no network; `oido models` lists them"))?;
        // The peers have torchvision's networks, and at first only a pair of layers of the large transformer.
        let (config, batch) = match name {
            "resnet50" | "mobilenet_v2" | "mobilenet-v2" => {
                (serde_json::from_value(json!({ "name": row_name, "variant": "torch" }))?, BATCH)
            }
            "ast" => (serde_json::from_value(json!({ "name": "ast", "num_hidden_layers": 2 }))?, 4),
            "ast_base" => (row.config, 1),
            _ => (row.config, BATCH),
        };
        let input = FeatureShape { frames: args.frames.unwrap_or(row.input.frames), ..row.input };
        config.validate(input, row.num_classes)?;
        let batch = args.batch.unwrap_or(batch).max(1);
        Ok(Self { name: name.to_owned(), config, input, classes: row.num_classes, batch })
    }

    fn report(&self, args: &Args) -> anyhow::Result<()> {
        let base = peak_bytes();
        let mut times = if args.infer { self.infer(args)? } else { self.train(args)? };
        times.sort_by(f64::total_cmp);
        let (median, peak) = (times[times.len() / 2], peak_bytes());
        let count = self.config.count(self.input, self.classes);
        let kind = if args.infer { "inference" } else { "train step" };
        let peer = if args.precision == Precision::F32 { "oido" } else { "oido bf16" };
        if args.json {
            println!(
                "{}",
                json!({
                    "work": format!("{kind} {}", self.name), "peer": peer, "batch": self.batch,
                    "bins": self.input.bins, "frames": self.input.frames, "classes": self.classes,
                    "seconds": median, "min": times[0], "runs": times.len(),
                    "threads": rayon::current_num_threads(), "peak_bytes": peak, "base_bytes": base,
                    "parameters": count.parameters(), "multiply_adds": count.multiply_adds,
                    "version": env!("CARGO_PKG_VERSION"),
                })
            );
        } else {
            let megabytes = peak.map_or_else(|| "?".to_owned(), |bytes| (bytes / 1_000_000).to_string());
            println!(
                "{kind} {}, {} clips of {} x {}: median {median:.4} s, least {:.4} s of {}; peak {megabytes} MB",
                self.name,
                self.batch,
                self.input.bins,
                self.input.frames,
                times[0],
                times.len()
            );
        }
        Ok(())
    }

    /// Seconds of each training step.
    fn train(&self, args: &Args) -> anyhow::Result<Vec<f64>> {
        let device = models::device("cpu")?;
        let precision = args.precision.on(&device)?;
        let device = device.autodiff();
        let model = self.config.init(self.input, self.classes, Seed(42), &device)?;
        let (inputs, targets) = (self.clips(), self.targets());
        let start = (model, Optimizer::default().init(), 0);
        Ok(measure(args.seconds, start, |(model, mut optimizer, step)| {
            device.seed(step);
            let targets = tensor([self.batch, self.classes], &targets, &device);
            let input = tensor(self.shape(), &inputs, &device);
            let logits = precision.run(|| model.forward(input));
            let loss = (log_softmax(logits, 1) * targets).sum_dim(1).mean().neg();
            black_box(loss.clone().inner().into_data());
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            let model = optimizer.step(LEARNING_RATE, model, gradients);
            (model, optimizer, step + 1)
        }))
    }

    /// Seconds of each batch.
    fn infer(&self, args: &Args) -> anyhow::Result<Vec<f64>> {
        let device = models::device("cpu")?;
        let network = Inference::new(self.config.init(self.input, self.classes, Seed(42), &device)?)
            .with_precision(args.precision.on(&device)?);
        let inputs = self.clips();
        Ok(measure(args.seconds, (), |()| drop(black_box(network.logits(&inputs, self.input, &device)))))
    }

    fn save(&self, folder: &std::path::Path) -> anyhow::Result<()> {
        let device = models::device("cpu")?;
        let model = self.config.init(self.input, self.classes, Seed(42), &device)?;
        write_file(&folder.join(format!("{}.safetensors", self.name)), model.to_safetensors()?)?;
        let input = &self.clips()[..self.input.bins * self.input.frames];
        let logits = Inference::new(model).logits(input, self.input, &device);
        let clip = json!({ "input": input, "logits": logits, "classes": self.classes });
        write_file(&folder.join(format!("{}.json", self.name)), Value::to_string(&clip))?;
        Ok(())
    }

    fn shape(&self) -> [usize; 3] {
        [self.batch, self.input.bins, self.input.frames]
    }

    /// Noise between -1 and 1.
    fn clips(&self) -> Vec<f32> {
        let mut rng = Seed(42).rng(Purpose::Synth, 0, 0);
        (0..self.shape().iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    /// Clip `i` is of class `i`, from the first again after the last.
    fn targets(&self) -> Vec<f32> {
        let one_hot = |clip: usize| (0..self.classes).map(move |c| f32::from(c == clip % self.classes));
        (0..self.batch).flat_map(one_hot).collect()
    }
}

/// Seconds of each pass, for about so many seconds in all and as many to warm up. A pass hands its state to the next one.
fn measure<S>(seconds: f64, start: S, mut pass: impl FnMut(S) -> S) -> Vec<f64> {
    let mut repeat = |mut state: S, most: usize| {
        let (mut times, begin) = (Vec::new(), Instant::now());
        while times.is_empty() || (times.len() < most && begin.elapsed().as_secs_f64() < seconds) {
            let start = Instant::now();
            state = pass(state);
            times.push(start.elapsed().as_secs_f64());
        }
        (state, times)
    };
    let (state, _) = repeat(start, WARM_UP);
    repeat(state, RUNS).1
}

/// Most memory this process has had resident so far; only Linux tells.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

fn tensor<const D: usize>(shape: [usize; D], values: &[f32], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}
