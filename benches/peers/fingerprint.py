"""Fingerprinting: oido and librosa on the same recordings, in one run. Run from the root of the repository:

    python benches/peers/fingerprint.py [--processes 2] [--oido target/release/oido] MANIFEST

Needs librosa and numpy. Both decode every recording of the manifest, bring it to 8 kHz and make a fingerprint of 32 bits
every 8 ms (Haitsma & Kalker 2002; frames, bands and lag of src/dataset/inspect/fingerprint.rs). librosa stops there, in
`--processes` worker processes that were started and warmed up before. oido is timed as a whole `oido inspect` on as
many threads, from the start of the process to its last byte: it also hashes the samples, looks for clipping, padding, band
limits and loops, finds the pairs that sound alike among all clips, and compares their waves. The best of three rounds
counts, of each; processor seconds are given too, because they say the same on a busy machine.
"""

import argparse
import csv
import json
import multiprocessing
import os
import resource
import subprocess
import time
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # One worker process a core.

import librosa
import numpy as np

RATE, FRAME, HOP, LAG, BANDS, LOW, HIGH = 8_000, 1_024, 64, 4, 33, 200.0, 3_600.0
MEL = np.linspace(np.log1p(LOW / 700), np.log1p(HIGH / 700), BANDS + 1)
EDGES = np.round(700 * np.expm1(MEL) * FRAME / RATE).astype(int)


def fingerprint(path):
    start = time.process_time()
    samples, _ = librosa.load(path, sr=RATE)
    power = np.abs(librosa.stft(samples, n_fft=FRAME, hop_length=HOP)) ** 2
    energy = np.add.reduceat(power[: EDGES[-1]], EDGES[:-1], axis=0)
    slope = energy[:-1] - energy[1:]
    np.packbits(slope[:, LAG:] > slope[:, :-LAG], axis=0)
    return time.process_time() - start


def processor_seconds_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("manifest", type=Path)
arguments.add_argument("--processes", type=int, default=2)
arguments.add_argument("--oido", default="target/release/oido")
args = arguments.parse_args()

with args.manifest.open(newline="") as file:
    paths = [str(args.manifest.parent / row["path"]) for row in csv.DictReader(file)]
command = [args.oido, "inspect", str(args.manifest), "--json", "-q"]
environment = {**os.environ, "RAYON_NUM_THREADS": str(args.processes)}
theirs, ours = [], []
with multiprocessing.Pool(args.processes) as pool:
    pool.map(fingerprint, paths[: 2 * args.processes], chunksize=1)
    for _ in range(3):
        start = time.perf_counter()
        processor = sum(pool.map(fingerprint, paths, chunksize=4))
        theirs.append((time.perf_counter() - start, processor))
        start, before = time.perf_counter(), processor_seconds_of_children()
        found = subprocess.run(command, env=environment, stdout=subprocess.PIPE).stdout
        ours.append((time.perf_counter() - start, processor_seconds_of_children() - before))

found = json.loads(found)
print(f"{found['clips']} recordings, {found['seconds']['total']:.0f} s of sound, {args.processes} processes or threads")
best = [[min(column) for column in zip(*rounds)] for rounds in (theirs, ours)]
for name, (seconds, processor) in zip(("librosa", "oido"), best):
    print(f"{name:8}{seconds:8.2f} s   {len(paths) / seconds:8.1f} recordings/s   {processor:8.2f} processor seconds")
print(f"ratio   {best[0][0] / best[1][0]:8.1f}   {best[0][1] / best[1][1]:.1f} of the processor seconds")
