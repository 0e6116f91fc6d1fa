"""What the machine can do: matrix products of PyTorch (oneDNN, MKL) and of NumPy (OpenBLAS), whichever is faster.

    python benches/peers/limit.py [--threads 2]

The best of many products of two 2048 x 2048 matrices, in f32 and in bf16 (PyTorch alone), in GFLOP/s; a multiplication and
an addition are two. Prints a line of JSON.
"""

import argparse
import json
import os
import time

SIDE, SECONDS = 2048, 1.0

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--threads", type=int, default=2)
threads = arguments.parse_args().threads
os.environ["OPENBLAS_NUM_THREADS"] = str(threads)

import numpy
import torch

torch.set_num_threads(threads)


def gflops(product, a, b):
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        product(a, b)
        best = min(best, time.perf_counter() - start)
    return 2 * SIDE**3 / best / 1e9


a, b = torch.rand(2, SIDE, SIDE)
f32 = max(gflops(torch.mm, a, b), gflops(numpy.matmul, a.numpy(), b.numpy()))
bf16 = gflops(torch.mm, a.bfloat16(), b.bfloat16())
print(json.dumps({"f32": f32, "bf16": bf16, "threads": threads, "version": torch.__version__}))
