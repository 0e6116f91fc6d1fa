#!/usr/bin/env python3
"""oido and its peers in turn, in one run on a quiet machine: measures rows and writes docs/performance.md from all of them.

    cargo build --release && cargo bench --no-run
    python benches/performance.py --list                          # the rows
    python benches/performance.py --only "train step cnn"         # measures one row again (below a minute)
    python benches/performance.py --only "inference *" --only "batch *"
    python benches/performance.py --recordings UrbanSound8K ESC-50-master   # everything
    python benches/performance.py --only ""                       # only writes the page again

Needs Python with torch, torchaudio, torchvision, transformers, onnx, onnxscript, onnxruntime, librosa and safetensors. Every
pass is a process of its own; the contestants of a row take turns (A B A B ...), and the median of the passes counts. Before
each row, matrix products tell what the machine reaches at that moment; far below its best, other work seems to run, and the
row waits for a while. Numbers are kept in docs/performance.json, so that rows can be measured one by one; it refuses numbers of
another machine.
"""

import argparse
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

from performance_page import page
from performance_rows import OURS, rows, shown

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Share of the best limit seen so far, below which other work seems to run on the machine.
QUIET = 0.85
# How often to look again, and seconds in between.
LOOKS, PAUSE = 8, 15


class Runner:
    """Runs contestants in turn."""

    def __init__(self, args, stored):
        self.args, self.stored = args, stored
        self.words = {"python": [args.python], "oido": [str(args.oido)]}
        self.words |= {name: [path] for name, path in map(lambda pair: pair.split("="), args.bench)} or built()

    def measure(self, row):
        command = row.contestants[0].command
        if "{recordings}" in command:
            self.words["recordings"] = recordings(self.args.recordings)
            self.stored["recordings"] = [folder.name for folder in self.args.recordings]
        if "{manifest}" in command:
            self.words["out"] = [str(self.args.scratch / "epoch")]
            self.words["manifest"] = [manifest(recordings(self.args.recordings), self.args.scratch / "epoch.csv")]
        if "first answer" in row.name:
            self.words |= first_answer(self.words, self.args.scratch)
        limit = self.limit(row.threads)
        passes, load = {contestant.peer: [] for contestant in row.contestants}, os.getloadavg()[0]
        # Whole processes are noisier than passes inside of one.
        rounds = min(row.rounds or self.args.rounds, self.args.rounds)
        for _ in range(rounds * (3 if row.contestants[0].outside and len(row.contestants) > 1 else 1)):
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
        """What the machine reaches on so many threads, as soon as it seems quiet."""
        earlier = [row["limit"]["f32"] for row in self.stored["rows"].values() if row["threads"] == threads]
        for look in range(LOOKS):
            [limit] = self.lines(f"{{python}} benches/peers/limit.py --threads {threads}")
            if limit["f32"] >= QUIET * max(earlier, default=0):
                return limit
            print(f"{limit['f32']:.0f} of {max(earlier):.0f} GFLOP/s: the machine is not quiet", flush=True)
            time.sleep(PAUSE if look + 1 < LOOKS else 0)
        return limit

    def once(self, contestant):
        if not contestant.outside:
            lines = self.lines(contestant.command, contestant.environment)
            mine = (line for line in lines if line["peer"] == contestant.peer and line["work"].startswith(contestant.work))
            return next(mine)
        if "{out}" in contestant.command:
            shutil.rmtree(self.words["out"][0], ignore_errors=True)
        start = time.perf_counter()
        answer = self.lines(contestant.command, contestant.environment)[0]
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


def manifest(paths, file):
    """A manifest of these recordings, in ten folds of ten labels that mean nothing."""
    rows = [f"{path},{index % 10},{index // 100 + 1}" for index, path in enumerate(paths)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(["path,labels,fold", *rows, ""]))
    return str(file)


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
    """A bundle of the study's cnn, trained for a moment on the demo city; the same network for ONNX Runtime; a clip."""
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
        ]:
            step(command, known)
        join(sorted((scratch / "city").rglob("*.wav"))[:2], clip)
    # Packed again by the program that is measured: the format may have changed since the last time.
    step("{oido} bundle {scratch}/run --out {bundle} -q", known)
    if not pathlib.Path(made["onnx"][0]).exists():
        step("tar xzf {bundle} -C {scratch}", known)
        step("{python} benches/peers/inference.py cnn --weights {scratch}/model.safetensors --export {onnx}", known)
    return made


def step(command, known):
    """A step of the preparation."""
    subprocess.run(list(words(command, known)), check=True, cwd=ROOT, stdout=sys.stderr)


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
    arguments.add_argument("--store", type=pathlib.Path, default=ROOT / "docs/performance.json",
                           help="the page and its charts are written beside it")  # fmt: skip
    arguments.add_argument("--oido", type=pathlib.Path, default=ROOT / "target/release/oido")
    arguments.add_argument("--bench", action="append", default=[], metavar="NAME=PATH",
                           help="binaries of benchmarks, those of another version perhaps; default: cargo's")  # fmt: skip
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
    if any("{recordings}" in peer.command or "{manifest}" in peer.command for row in chosen for peer in row.contestants):
        recordings(args.recordings)
    runner = Runner(args, stored) if chosen else None
    for row in chosen:
        stored["rows"][row.name] = runner.measure(row)
        args.store.write_text(json.dumps(stored, indent=1) + "\n")
    if stored["rows"]:
        page(stored, args.store)


if __name__ == "__main__":
    main()
