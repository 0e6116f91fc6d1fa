"""One training step in PyTorch: the peer of `benches/train_step.rs`, network by network.

    python benches/peers/train_step.py cnn crnn lstm m5 m18 simple resnet50 mobilenet_v2 ast ast_base
    python benches/peers/train_step.py cnn --mode channels_last
    python benches/peers/train_step.py cnn --mode bf16 --batch 8 --threads 1

Forward, cross-entropy, backward, Adam, and the loss read back. Eager mode in f32; `channels_last` lays pictures out that
way, `bf16` runs the forward pass under autocast. Every network runs in a process of its own, so that the peak of resident
memory is its own. Prints lines of JSON.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

WARM_UP, RUNS = 2, 200
# So small that the network stays as it is. The same batch over and over would soon be fitted, and its gradients would become
# denormal numbers, with which processors are slow.
LEARNING_RATE = 1e-8

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("names", nargs="+", metavar="NAME")
arguments.add_argument("--mode", choices=["f32", "channels_last", "bf16"], default="f32")
arguments.add_argument("--infer", action="store_true", help="forward only, without gradients")
arguments.add_argument("--batch", type=int)
arguments.add_argument("--frames", type=int)
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--seconds", type=float, default=2.0)
args = arguments.parse_args()

if len(args.names) > 1:
    rest = [word for word in sys.argv[1:] if word not in args.names]
    for name in args.names:
        subprocess.run([sys.executable, __file__, name, *rest], check=True)
    sys.exit()

import torch

import networks


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


torch.set_num_threads(args.threads)
torch.manual_seed(42)
name = args.names[0]
batch = args.batch or networks.SHAPES[name][3]
base = peak_bytes()
network, (bins, frames) = networks.build(name, args.frames)
inputs, targets = networks.clips(name, batch, args.frames)
if args.mode == "channels_last":
    network = network.to(memory_format=torch.channels_last)
autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.mode == "bf16")
trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
optimizer = torch.optim.Adam(trained, lr=LEARNING_RATE, eps=1e-7)


def train():
    optimizer.zero_grad()
    with autocast:
        loss = torch.nn.functional.cross_entropy(network(inputs).float(), targets)
    loss.item()
    loss.backward()
    optimizer.step()


def infer():
    with torch.inference_mode(), autocast:
        network(inputs)


network.train(not args.infer)
step = infer if args.infer else train


def repeat(most):
    """Seconds of each pass, for about so many seconds in all."""
    times, begin = [], time.perf_counter()
    while not times or (len(times) < most and time.perf_counter() - begin < args.seconds):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


repeat(WARM_UP)
times = repeat(RUNS)
print(json.dumps({
    "work": f"{'inference' if args.infer else 'train step'} {name}", "peer": f"PyTorch {args.mode}", "batch": batch,
    "bins": bins, "frames": frames, "seconds": statistics.median(times), "min": min(times), "runs": len(times),
    "threads": torch.get_num_threads(), "peak_bytes": peak_bytes(), "base_bytes": base,
    "parameters": networks.parameters(network), "version": torch.__version__,
}))
