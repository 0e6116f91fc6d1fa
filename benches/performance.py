#!/usr/bin/env python3
"""oido and its peers in turn, in one run on a quiet machine: measures rows and writes docs/performance.md from all of them.

    cargo build --release && cargo bench --no-run
    python benches/performance.py --list                          # the rows
    python benches/performance.py --only "train step cnn"         # measures one row again (below a minute)
    python benches/performance.py --only "inference *" --only "batch *"
    python benches/performance.py                                 # everything
    python benches/performance.py --only ""                       # only writes the page again

Needs Python with torch, torchvision, transformers, onnx, onnxscript, onnxruntime, librosa and safetensors. Every pass is a
process of its own; the contestants of a row take turns (A B A B ...), and the median of the passes counts. Numbers are kept
in docs/performance.json, so that rows can be measured one by one; it refuses numbers of another machine.
"""

import argparse
import dataclasses
import datetime
import fnmatch
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import wave

import charts

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
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
    ask: float | None = None
    threads: int = 2
    chart: str | None = None
    # Passes over the network: forward is 1, forward and backward are 3.
    passes: int = 0
    # Floating-point operations, where no network tells them.
    flop: float | None = None
    rounds: int | None = None


def ours(arguments, threads=2):
    command = f"{{train_step}} {arguments} --json"
    return Contestant(OURS, command, environment={"RAYON_NUM_THREADS": str(threads)})


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
        yield Row(f"train step {name}", [ours(name), torch(name)], ask, passes=3)
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
    ], ask=20.0)  # fmt: skip
    for name in ("cnn", "lstm", "m5"):
        for threads in (1, 2):
            row = f"threads: train step {name}, {threads}"
            yield Row(row, [ours(name, threads), torch(name, threads)], None, threads, "threads", 3)
    for threads in (1, 2):
        contest = [ours("cnn --infer --batch 32", threads), onnx("cnn --batch 32", threads)]
        yield Row(f"threads: inference cnn, {threads}", contest, None, threads, "threads", 1)
    for name, modes in MODES_OF.items():
        contest = [ours(name), *(torch(name, mode=mode.split()[1]) for mode in modes)]
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


class Runner:
    """Runs contestants in turn."""

    def __init__(self, args):
        self.args, self.limits = args, {}
        self.words = {"python": [args.python], "oido": [str(args.oido)]} | built()

    def measure(self, row):
        if "recordings" in row.contestants[0].command:
            self.words["recordings"] = recordings(self.args.recordings)
        if "first answer" in row.name:
            self.words |= first_answer(self.words, self.args.scratch)
        limit = self.limit(row.threads)
        passes, load = {contestant.peer: [] for contestant in row.contestants}, os.getloadavg()[0]
        # Whole processes are noisier than passes inside of one.
        for _ in range((row.rounds or self.args.rounds) * (3 if row.contestants[0].outside else 1)):
            for contestant in row.contestants:
                passes[contestant.peer].append(self.once(contestant))
        if "first answer" in row.name:
            same_answer(passes)
        results = {}
        for contestant in row.contestants:
            lines = passes[contestant.peer]
            seconds = [line.pop("seconds") for line in lines]
            print(f"{row.name:42} {contestant.peer:22} {statistics.median(seconds):10.5f} s", flush=True)
            results[contestant.peer] = {
                "seconds": statistics.median(seconds), "passes": seconds, "command": shown(contestant), **lines[-1],
            }  # fmt: skip
        counts = {result["parameters"] for result in results.values() if "parameters" in result}
        if len(counts) > 1:
            sys.exit(f"{row.name}: networks of {counts} parameters are not the same")
        return {
            "date": datetime.date.today().isoformat(), "commit": commit(), "threads": row.threads,
            "load": round(load, 2), "limit": {"f32": limit["f32"], "bf16": limit["bf16"]},
            "peers": results,
        }  # fmt: skip

    def limit(self, threads):
        """The machine's limit on so many threads, measured once in a run."""
        if threads not in self.limits:
            [self.limits[threads]] = self.lines(f"{{python}} benches/peers/limit.py --threads {threads}")
        return self.limits[threads]

    def once(self, contestant):
        if not contestant.outside:
            lines = self.lines(contestant.command, contestant.environment)
            mine = (line for line in lines if line["peer"] == contestant.peer and line["work"].startswith(contestant.work))
            return next(mine)
        start = time.perf_counter()
        [answer] = self.lines(contestant.command, contestant.environment)
        return {"seconds": time.perf_counter() - start, "answer": answer}

    def lines(self, command, environment=()):
        """What a command prints, line by line."""
        command = list(words(command, self.words))
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **dict(environment)})
        if done.returncode:
            sys.exit(f"{' '.join(command)[:300]}: status {done.returncode}\n{done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]


def words(command, known):
    """The words of a command; `{name}` is one of those that are known, and may be several or part of one."""
    for word in shlex.split(command):
        name = word.strip("{}")
        yield from known[name] if f"{{{name}}}" == word else [word.format(**{key: value[0] for key, value in known.items()})]


def recordings(folders):
    """The first 1,000 recordings of the folders, in the order of their paths."""
    names = (path for folder in folders for path in folder.rglob("*") if path.suffix in (".wav", ".flac", ".ogg", ".mp3"))
    paths = sorted(map(str, names))
    if len(paths) < 1000:
        sys.exit(f"{len(paths)} recordings; name folders with at least 1,000 with --recordings")
    return paths[:1000]


def shown(contestant):
    """The command as a reader would type it."""
    names = {
        "python": "python", "oido": "oido", "train_step": "cargo bench --bench train_step --",
        "pipeline": "cargo bench --bench pipeline --", "recordings": "RECORDING...", "bundle": "cnn.tar.gz", "clip": "clip.wav", "onnx": "cnn.onnx", "scratch": "cnn",
    }  # fmt: skip
    settings = [f"{key}={value}" for key, value in contestant.environment.items()]
    return " ".join([*settings, contestant.command.format(**names)]).strip()


RECIPE = """name = "first-answer"
[split]
protocol = "official"
train_folds = [1, 2, 3]
valid_folds = [4]
test_folds = [5]
[audio]
sample_rate = 22050
clip_seconds = 4.0
[features]
kind = "log_mel"
[model]
name = "cnn"
[training]
epochs = 4
batch_size = 10
"""


def first_answer(known, scratch):
    """A bundle of the study's cnn, trained for one epoch on the demo city; the same network for ONNX Runtime; a clip."""
    files = {"bundle": "cnn.tar.gz", "onnx": "cnn.onnx", "scratch": "", "clip": "clip.wav"}
    made = {name: [str(scratch / file)] for name, file in files.items()}
    known = known | made
    [clip] = made["clip"]
    if not pathlib.Path(clip).exists():
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        (scratch / "recipe.toml").write_text(RECIPE)
        for command in [
            "{oido} prepare synth {scratch}/city --per-class 10 -q",
            "{oido} train {scratch}/recipe.toml --data {scratch}/city/manifest.csv --out {scratch}/run -q",
            "{oido} bundle {scratch}/run --out {bundle}",
            "tar xzf {bundle} -C {scratch}",
            "{python} benches/peers/inference.py cnn --weights {scratch}/model.safetensors --export {onnx}",
        ]:
            subprocess.run(list(words(command, known)), check=True, cwd=ROOT, stdout=sys.stderr)
        join(sorted((scratch / "city").rglob("*.wav"))[:2], clip)
    return made


def join(clips, path):
    """Two clips of 2 s one after the other: one of 4 s."""
    with wave.open(path, "wb") as joined:
        for clip in map(str, clips):
            with wave.open(clip) as file:
                joined.setparams(file.getparams()) if not joined.getnframes() else None
                joined.writeframes(file.readframes(file.getnframes()))


def same_answer(passes):
    """Both say the same class with the same score; otherwise they did not do the same."""
    answers = {peer: [line.pop("answer") for line in lines][0] for peer, lines in passes.items()}
    score, peer = answers[OURS]["scores"][0], answers["Python"]
    if score["label"] != peer["label"] or abs(score["score"] - peer["score"]) > 1e-3:
        sys.exit(f"oido answers {score}, Python {peer}")


def commit():
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def machine():
    """What the numbers depend on; without names of hosts."""
    info = pathlib.Path("/proc/cpuinfo").read_text() if pathlib.Path("/proc/cpuinfo").exists() else ""
    find = lambda key: (re.search(rf"^{key}\s*: (.*)$", info, re.M) or [None, "?"])[1]
    flags = [flag for flag in find("flags").split() if re.match(r"(avx|amx|fma|f16c)", flag)]
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": f"{find('model name')}, family {find('cpu family')}, model {find('model')}",
        "cores": os.cpu_count(), "cache": find("cache size"), "flags": " ".join(flags),
        "memory_gib": round(pages / 2**30), "system": f"{platform.system()} {platform.release()}",
    }  # fmt: skip


def flop(row, result):
    """Floating-point operations of one pass of a row, as far as they can be counted: those of convolutions, dense and
    recurrent layers, and of the Fourier transform. A step is counted as three times the forward pass (the first layer's input needs no gradient, so it
    is a little less)."""
    line = result["peers"][OURS]
    return 2 * line["multiply_adds"] * line["batch"] * row.passes if row.passes else row.flop


def seconds(value):
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} µs"


def main_peer(row):
    return row.contestants[1].peer


def table(measured):
    """The table of the issue: a line for each row that is no point of a chart."""
    lines = ["| work | peer | peer | oido | ratio | asked | of the machine's f32 limit: peer, oido |", "|---|---|---|---|---|---|---|"]
    for row, result in measured:
        if row.chart:
            continue
        peer, mine = result["peers"][main_peer(row)]["seconds"], result["peers"][OURS]["seconds"]
        work, limit = flop(row, result), result["limit"]["f32"] * 1e9
        share = "" if not work else f"{work / peer / limit:.0%}, {work / mine / limit:.0%}"
        asked = f"≥ {row.ask:g}" if row.ask else ""
        met = row.ask is None or peer / mine >= row.ask
        ratio = f"{peer / mine:.2f}" if met else f"**{peer / mine:.2f}**"
        lines.append(f"| {row.name} | {main_peer(row)} | {seconds(peer)} | {seconds(mine)} | {ratio} | {asked} | {share} |")
    return lines


def memory_table(measured):
    lines = ["| work | PyTorch | oido | ratio | without what the program itself takes: PyTorch, oido |", "|---|---|---|---|---|"]
    megabytes = lambda line, less=0: f"{(line['peak_bytes'] - less) / 1e6:,.0f} MB"
    for row, result in measured:
        if row.chart or not row.name.startswith("train step"):
            continue
        mine, peer = result["peers"][OURS], result["peers"][main_peer(row)]
        net = ", ".join(megabytes(line, line["base_bytes"]) for line in (peer, mine))
        ratio = mine["peak_bytes"] / peer["peak_bytes"]
        lines.append(f"| {row.name} | {megabytes(peer)} | {megabytes(mine)} | {ratio:.2f} | {net} |")
    return lines


def modes_table(measured):
    lines = ["| work | oido | " + " | ".join(MODES) + " |", "|---|---|" + "---|" * len(MODES)]
    for row, result in measured:
        if row.chart == "modes":
            times = {peer: seconds(line["seconds"]) for peer, line in result["peers"].items()}
            cells = " | ".join(times.get(peer, "") for peer in [OURS, *MODES])
            lines.append(f"| {row.name.removeprefix('modes: ')} | {cells} |")
    return lines


CHARTS = {
    "clips": ("Inference of cnn", "clips", "seconds", 1),
    "length": ("Training step of cnn, 8 clips", "seconds of sound in a clip", "seconds", FRAMES_A_SECOND),
    "batch": ("Training step of cnn", "clips of a batch", "seconds", 1),
}


def charts_of(measured):
    """Writes the charts that have points; their names."""
    drawn = []
    for chart, (title, x_label, y_label, unit) in CHARTS.items():
        points = {}
        for row, result in measured:
            if row.chart == chart:
                x = float(row.name.rsplit(", ")[-1]) / unit
                for peer, line in result["peers"].items():
                    points.setdefault(peer, []).append((round(x, 2), line["seconds"]))
        drawn += draw(chart, title, x_label, y_label, points)
    sizes = {}
    for row, result in measured:
        if row.name.startswith("train step"):
            line = result["peers"][OURS]
            for peer in (OURS, "PyTorch f32"):
                point = (line["multiply_adds"] / 1e6, result["peers"][peer]["seconds"] / line["batch"])
                sizes.setdefault(peer, []).append(point)
    drawn += draw("size", "Training step of every network above", "million multiply-adds of a clip", "seconds a clip", sizes)
    threads = {}
    for row, result in measured:
        if row.chart == "threads":
            work = row.name.split(": ")[1].rsplit(", ")[0]
            for peer, line in result["peers"].items():
                if "cnn" in work:
                    threads.setdefault(f"{peer}, {work}", []).append((row.threads, line["seconds"]))
    return drawn + draw("threads", "Threads", "threads", "seconds", threads)


def draw(chart, title, x_label, y_label, points):
    if not points:
        return []
    xs = sorted({x for line in points.values() for x, _ in line})
    svg = charts.line_chart(title, x_label, y_label, points, xs if chart != "size" else None)
    (DOCS / f"performance-{chart}.svg").write_text(svg)
    return [f"![{title}: {y_label} against {x_label}](performance-{chart}.svg)"]


def threads_table(measured):
    lines = ["| work | peer | 1 thread | 2 threads | gain |", "|---|---|---|---|---|"]
    times = {}
    for row, result in measured:
        if row.chart == "threads":
            for peer, line in result["peers"].items():
                times.setdefault((row.name.split(": ")[1].rsplit(", ")[0], peer), {})[row.threads] = line["seconds"]
    for (work, peer), by in times.items():
        if len(by) == 2:
            lines.append(f"| {work} | {peer} | {seconds(by[1])} | {seconds(by[2])} | {by[1] / by[2]:.2f} |")
    return lines


def page(stored):
    """docs/performance.md from what is stored."""
    measured = [(row, stored["rows"][row.name]) for row in rows() if row.name in stored["rows"]]
    versions = {}
    for row, result in measured:
        for peer, line in result["peers"].items():
            versions[peer.split()[0] if "PyTorch" in peer else peer] = line.get("version")
    limits = [result["limit"] for row, result in measured if row.threads == 2]
    best = {kind: max(limit[kind] for limit in limits) for kind in ("f32", "bf16")}
    host = stored["machine"]
    notes = [f"- **{row.name}**: {stored['notes'][row.name]}" for row, _ in measured if row.name in stored["notes"]]
    (DOCS / "performance.md").write_text("\n".join([
        "# Performance", "",
        "Written by `benches/performance.py` from `docs/performance.json`; every number was measured by the command beside it.", "",
        "## The machine", "",
        "| | |", "|---|---|",
        f"| processor | {host['processor']}; {host['cores']} cores, cache {host['cache']} |",
        f"| instructions | {host['flags']} |",
        f"| memory, system | {host['memory_gib']} GiB, {host['system']} |",
        f"| limit of matrix products, 2 threads | {best['f32']:,.0f} GFLOP/s in f32, {best['bf16']:,.0f} in bf16 (`benches/peers/limit.py`, best of all runs) |",
        f"| versions | {', '.join(f'{peer} {version}' for peer, version in versions.items() if version)} |", "",
        "## Against peers", "",
        "Two threads, f32. The contestants took turns, each in a process of its own, and the median of the passes counts. "
        "The ratio is the peer's time over oido's: above 1 oido is faster; **bold** is below what was asked. The share of the "
        "limit counts multiply-adds (`oido models`), a training step as three forward passes, against the matrix products of "
        "the same run.", "",
        *table(measured), "",
        *(["## Where an ask is missed", "", *notes, ""] if notes else []),
        "## Memory of training", "",
        "Largest resident memory of a process that trains one network. The last column leaves out what was resident before the "
        "network was built, which for PyTorch are mostly its own libraries.", "",
        *memory_table(measured), "",
        "## PyTorch's other modes", "",
        *modes_table(measured), "",
        "## How the cost grows", "",
        *charts_of(measured), "",
        *threads_table(measured), "",
        "## Commands", "",
        "```sh",
        "cargo build --release && cargo bench --no-run",
        "python benches/performance.py                            # everything",
        "python benches/performance.py --only \"train step cnn\"    # one row again",
        "```", "",
        "| work | peer | command | measured | version of oido |", "|---|---|---|---|---|",
        *(f"| {row.name} | {peer} | `{line['command']}` | {result['date']} | {result['commit']} |"
          for row, result in measured for peer, line in result["peers"].items() if not row.chart), "",
    ]))  # fmt: skip


def built():
    """The benchmarks' binaries by name, built if they must be."""
    command = ["cargo", "bench", "--no-run", "--bench", "*", "--message-format", "json", "--quiet"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    made = (json.loads(line) for line in lines if line.startswith("{"))
    return {line["target"]["name"]: [line["executable"]] for line in made if line.get("executable")}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", action="append", metavar="ROW", help="a row, or a pattern of rows")
    arguments.add_argument("--list", action="store_true", help="only prints the rows")
    arguments.add_argument("--rounds", type=int, default=3, help="passes of each contestant")
    arguments.add_argument("--store", type=pathlib.Path, default=DOCS / "performance.json")
    arguments.add_argument("--oido", type=pathlib.Path, default=ROOT / "target/release/oido")
    arguments.add_argument("--python", default=sys.executable, help="with the peers' packages; default: this one")
    folders = {"nargs": "+", "type": pathlib.Path, "metavar": "FOLDER", "default": []}
    arguments.add_argument("--recordings", **folders, help="of the 1,000 clips that are decoded")
    scratch = pathlib.Path(tempfile.gettempdir()) / "oido-performance"
    arguments.add_argument("--scratch", type=pathlib.Path, default=scratch)
    args = arguments.parse_args()
    chosen = [row for row in rows() if args.only is None or any(fnmatch.fnmatch(row.name, only) for only in args.only)]
    if args.list:
        print("\n".join(row.name for row in chosen))
        return
    stored = {"machine": machine(), "notes": {}, "rows": {}}
    if args.store.exists():
        stored = json.loads(args.store.read_text())
        if stored["machine"]["processor"] != machine()["processor"]:
            sys.exit(f"{args.store} holds numbers of another machine; remove it, or give another --store")
    runner = Runner(args) if chosen else None
    for row in chosen:
        stored["rows"][row.name] = runner.measure(row)
        args.store.write_text(json.dumps(stored, indent=1) + "\n")
    if args.store.parent == DOCS:
        page(stored)


if __name__ == "__main__":
    main()
