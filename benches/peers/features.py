"""The front end of the study in librosa and torchaudio, beside `cargo bench --bench pipeline`. Run from the root of the
repository:

    python benches/peers/features.py [--processes 2] RECORDING...

Needs librosa and torchaudio. The work is that of `recipes/urbansound8k`: 4 s at 22,050 Hz, windows of 2,048 samples every
512, 128 mel bands, decibels below the loudest down to -80. A line of JSON for each measurement, its seconds the median of
its runs. `log-mel 4 s`: one clip in memory on one thread. `decode+resample+log-mel`: all recordings from the file on,
`librosa.load` (which resamples with soxr_hq) and `melspectrogram`, in worker processes that were started and warmed up
before, one thread each.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[threads] = "1"

import librosa
import numpy as np

RATE, SECONDS, N_FFT, HOP, MELS = 22_050, 4, 2_048, 512, 128
CLIP = RATE * SECONDS


def log_mel(samples):
    mel = librosa.feature.melspectrogram(y=samples, sr=RATE, n_fft=N_FFT, hop_length=HOP, n_mels=MELS)
    return librosa.power_to_db(mel, ref=np.max)


def of_file(path):
    samples, _ = librosa.load(path, sr=RATE)
    return log_mel(librosa.util.fix_length(samples, size=CLIP)).shape


def measure(work, peer, version, runs, once):
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    line = {"work": work, "peer": peer, "seconds": median, "runs": runs, "version": version}
    print(json.dumps(line), flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("recordings", nargs="*")
    arguments = arguments.parse_args()
    paths = arguments.recordings
    if paths:
        with multiprocessing.Pool(arguments.processes) as pool:
            every = lambda: pool.map(of_file, paths, chunksize=8)
            every()
            work = f"decode+resample+log-mel {len(paths)} clips"
            measure(work, "librosa", librosa.__version__, 3, every)

    index = np.arange(CLIP, dtype=np.int64)
    clip = ((index * index % 4_001) / 2_000 - 1).astype(np.float32)
    log_mel(clip)
    measure("log-mel 4 s", "librosa", librosa.__version__, 101, lambda: log_mel(clip))

    import torch
    import torchaudio

    torch.set_num_threads(1)
    torchaudio_mel = torchaudio.transforms.MelSpectrogram(
        RATE, n_fft=N_FFT, hop_length=HOP, n_mels=MELS, mel_scale="slaney", norm="slaney", pad_mode="constant"
    )
    decibels = torchaudio.transforms.AmplitudeToDB("power", top_db=80)
    wave = torch.from_numpy(clip)
    with torch.inference_mode():
        decibels(torchaudio_mel(wave))
        version = torchaudio.__version__
        measure("log-mel 4 s", "torchaudio", version, 101, lambda: decibels(torchaudio_mel(wave)))


if __name__ == "__main__":
    main()
