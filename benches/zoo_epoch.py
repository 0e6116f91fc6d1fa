#!/usr/bin/env python3
"""One training epoch of every network on ESC-10: seconds and peak memory, as the table in docs/models.md.

    python benches/zoo_epoch.py ESC-50-master [--oido target/release/oido] [--only NAME,NAME] [--out FOLDER]

Needs nothing but Python. Fold 1 is kept for the test, a fifth of the others validates (260 clips train, 60 validate). Every
network gets the front end of its study, from random weights, all of them trained, in batches of 8. The seconds are those of
`results.csv` (training and validation, the features being there), the memory is the largest of the whole process,
decoding and features included.
"""

import argparse
import csv
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

BASE = """name = "epoch"
[data]
source = "esc50"
[split]
protocol = "official"
test_folds = [1]
valid = 0.2
[audio]
sample_rate = {rate}
clip_seconds = 5.0
[features]
{features}
[model]
name = "{name}"
{model}
[training]
epochs = 1
batch_size = 8
"""
IMAGE = 'kind = "log_mel"\nscale = "image"\nstandardize = "none"'
FAMILIES = {
    "m": (16_000, 'kind = "waveform"', ""),
    "spec": (16_000, 'kind = "log_mel"\nn_fft = 1024\nhop_length = 512\nn_mels = 80', ""),
    "simple": (16_000, IMAGE + "\nn_fft = 1024\nhop_length = 512\nn_mels = 80", ""),
    "vggish": (16_000, 'kind = "log_mel"\npreset = "vggish"', ""),
    "conformer": (16_000, 'kind = "log_mel"\npreset = "kaldi"\nn_mels = 80', ""),
    "ast": (16_000, 'kind = "log_mel"\npreset = "ast"\nframes = 512', ""),
    "picture": (22_050, IMAGE, "pixels = true"),
    "other": (22_050, 'kind = "log_mel"', ""),
}
PICTURES = ["resnet50", "mobilenet-v2", "inception-v3", "efficientnet-b3"]


def family(name):
    if name in PICTURES:
        return "picture"
    if name[0] == "m" and name[1].isdigit():
        return "m"
    return next((kind for kind in FAMILIES if name.startswith(kind) and len(kind) > 1), "other")


arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("data", type=pathlib.Path)
arguments.add_argument("--oido", default="target/release/oido")
arguments.add_argument("--only", default="")
arguments.add_argument("--out", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "zoo_epoch")
args = arguments.parse_args()

listed = subprocess.run([args.oido, "models", "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout
names = [json.loads(line)["name"] for line in listed.splitlines()]
args.out.mkdir(parents=True, exist_ok=True)
print("| network | features | parameters | seconds an epoch | peak memory in MB |\n|---|---|---|---|---|")
for name in names:
    if args.only and name not in args.only.split(","):
        continue
    rate, features, model = FAMILIES[family(name)]
    recipe, run = args.out / f"{name}.toml", args.out / name
    recipe.write_text(BASE.format(name=name, rate=rate, features=features, model=model))
    command = [args.oido, "train", str(recipe)]
    said = subprocess.run([*command, "--dry-run"], check=True, capture_output=True, text=True)
    shape = re.search(r"features (\d+ x \d+)", said.stdout + said.stderr)[1]
    command += ["--data", str(args.data), "--out", str(run), "-q"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{name}: {said}")
    row = next(csv.DictReader((run / "results.csv").open()))
    info = json.loads((run / "run.json").read_text())
    print(f"| `{name}` | {shape} | {info['parameters']:,} | {float(row['time']):.1f} | {used.ru_maxrss / 1024:,.0f} |", flush=True)
