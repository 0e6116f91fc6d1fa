"""What the machine can do: matrix products of PyTorch, which calls the vendor's library.

    python benches/peers/limit.py [--threads 2]

The best of many products of two 2048 x 2048 matrices, in f32 and in bf16, in GFLOP/s (a multiplication and an addition are
two). Prints a line of JSON.
"""

import argparse
import json
import time

import torch

SIDE, SECONDS = 2048, 1.0

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--threads", type=int, default=2)
threads = arguments.parse_args().threads
torch.set_num_threads(threads)


def gflops(dtype):
    a, b = torch.rand(2, SIDE, SIDE).to(dtype)
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - start)
    return 2 * SIDE**3 / best / 1e9


f32, bf16 = gflops(torch.float32), gflops(torch.bfloat16)
print(json.dumps({"f32": f32, "bf16": bf16, "threads": threads, "version": torch.__version__}))
