"""What `performance.py` measures: every row with its contestants and what is asked of it."""

import dataclasses

OURS = "oido"
# Networks with the ask of the training step: PyTorch's seconds over ours.
TRAINED = {
    "cnn": 2.0, "crnn": 1.5, "lstm": 1.5, "m5": 1.5, "m18": 1.5, "simple": 1.5,
    "resnet50": 1.0, "mobilenet_v2": 1.0, "ast": 1.0, "ast_base": None,
}  # fmt: skip
# Networks that are also compared with PyTorch's other modes; another layout is for convolutions over pictures.
MODES = ["PyTorch channels_last", "PyTorch bf16"]
MODES_OF = {"cnn": MODES, "crnn": MODES, "lstm": MODES[1:], "resnet50": MODES, "mobilenet_v2": MODES, "ast": MODES[1:]}
# Networks with the ask of inference: ONNX Runtime's seconds over ours.
INFERRED = {
    "cnn": 1.0, "crnn": None, "lstm": None, "m5": None, "m18": None, "simple": None,
    "resnet50": None, "mobilenet_v2": None,
}  # fmt: skip
BATCHES = [1, 2, 4, 8, 16, 32, 64]
FRAMES = [44, 87, 173, 345, 690]
# Networks whose loader is watched: the slowest, one that keeps its state, and the fastest.
EPOCHS = ["cnn", "lstm", "dense"]
CLIPS = [1, 2, 4, 8, 16, 32, 64, 128]
FRAMES_A_SECOND = 22_050 / 512
# A log-mel frame: real FFT of 2,048 samples, power, and two bands a bin.
LOG_MEL_FRAME = 2.5 * 2048 * 11 + 3 * 1025 + 2 * 2 * 1025


@dataclasses.dataclass
class Contestant:
    """Somebody who does the work: a command that prints a line of JSON, or that is timed from outside."""

    peer: str
    command: str
    # Of several lines the one whose work begins like this.
    work: str = ""
    outside: bool = False
    environment: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Row:
    """A line of the table or a point of a chart."""

    name: str
    contestants: list
    # Least ratio of the peer's seconds over ours, and most seconds of ours.
    ask: float | None = None
    ask_seconds: float | None = None
    threads: int = 2
    chart: str | None = None
    # Passes over the network: forward is 1, forward and backward are 3.
    passes: int = 0
    # Floating-point operations, where no network tells them.
    flop: float | None = None
    # Most rounds; a point of a chart needs fewer than a line of the table.
    rounds: int | None = None

    def __post_init__(self):
        self.rounds = self.rounds or (2 if self.chart else None)


def ours(arguments, threads=2, mode="f32"):
    command = f"{{train_step}} {arguments} --json" + ("" if mode == "f32" else f" --precision {mode}")
    peer = OURS if mode == "f32" else f"{OURS} {mode}"
    return Contestant(peer, command, environment={"RAYON_NUM_THREADS": str(threads)})


def torch(arguments, threads=2, mode="f32"):
    command = f"{{python}} benches/peers/train_step.py {arguments} --threads {threads}"
    return Contestant(f"PyTorch {mode}", command + ("" if mode == "f32" else f" --mode {mode}"))


def onnx(arguments, threads=2):
    return Contestant("ONNX Runtime", f"{{python}} benches/peers/inference.py {arguments} --threads {threads}")


def pipeline(work, threads, recordings=""):
    return Contestant(OURS, f"{{pipeline}} {recordings}", work, environment={"RAYON_NUM_THREADS": str(threads)})


def features(peer, work, recordings=""):
    return Contestant(peer, f"{{python}} benches/peers/features.py {recordings}", work)


def rows():
    for name, ask in TRAINED.items():
        rounds = 1 if name == "ast_base" else None
        yield Row(f"train step {name}", [ours(name), torch(name)], ask, passes=3, rounds=rounds)
    for name, ask in INFERRED.items():
        for batch in (1, 32):
            contest = [ours(f"{name} --infer --batch {batch}"), onnx(f"{name} --batch {batch}")]
            yield Row(f"inference {name}, batch {batch}", contest, ask, passes=1)
    for peer, ask in [("librosa", 8.0), ("torchaudio", 4.0)]:
        contest = [pipeline("log-mel", 1), features(peer, "log-mel")]
        yield Row(f"log-mel, 4 s clip, 1 thread ({peer})", contest, ask, threads=1, flop=173 * LOG_MEL_FRAME)
    contest = [pipeline("decode", 2, "{recordings}"), features("librosa", "decode", "{recordings}")]
    yield Row("decode + resample + log-mel, 1,000 clips", contest, ask=5.0, rounds=2)
    yield Row("first answer, cold process, cnn bundle", [
        Contestant(OURS, "{oido} predict {bundle} {clip} --format json", outside=True),
        Contestant("Python", "{python} benches/peers/first_answer.py {onnx} {scratch} {clip}", outside=True),
    ], ask=20.0, ask_seconds=0.15)  # fmt: skip
    for name in EPOCHS:
        command = f"{{oido}} train urbansound8k/{name} --data {{manifest}} --out {{out}} --set training.epochs=1 --json"
        yield Row(f"epoch: {name}", [Contestant(OURS, command, outside=True)], chart="epoch", rounds=1)
    for name in ("cnn", "lstm", "m5"):
        for threads in (1, 2):
            row = f"threads: train step {name}, {threads}"
            yield Row(row, [ours(name, threads), torch(name, threads)], threads=threads, chart="threads", passes=3)
    for threads in (1, 2):
        contest = [ours("cnn --infer --batch 32", threads), onnx("cnn --batch 32", threads)]
        yield Row(f"threads: inference cnn, {threads}", contest, threads=threads, chart="threads", passes=1)
    for name, modes in MODES_OF.items():
        contest = [ours(name), ours(name, mode="bf16"), *(torch(name, mode=mode.split()[1]) for mode in modes)]
        yield Row(f"modes: train step {name}", contest, chart="modes", passes=3)
    for batch in BATCHES:
        arguments = f"cnn --batch {batch} --seconds 1"
        yield Row(f"batch: train step cnn, {batch}", [ours(arguments), torch(arguments)], chart="batch", passes=3)
    for frames in FRAMES:
        arguments = f"cnn --batch 8 --frames {frames} --seconds 1"
        yield Row(f"length: train step cnn, {frames}", [ours(arguments), torch(arguments)], chart="length", passes=3)
    for clips in CLIPS:
        arguments = f"cnn --batch {clips} --seconds 1"
        contest = [ours(f"{arguments} --infer"), onnx(arguments)]
        yield Row(f"clips: inference cnn, {clips}", contest, chart="clips", passes=1)


def shown(contestant):
    """The command as a reader would type it."""
    names = {
        "python": "python", "oido": "oido", "train_step": "cargo bench --bench train_step --",
        "pipeline": "cargo bench --bench pipeline --", "recordings": "RECORDING...", "manifest": "MANIFEST.csv", "out": "RUN", "bundle": "cnn.tar.gz", "clip": "clip.wav", "onnx": "cnn.onnx", "scratch": "cnn",
    }  # fmt: skip
    settings = [f"{key}={value}" for key, value in contestant.environment.items()]
    return " ".join([*settings, contestant.command.format(**names)]).strip()
