"""Inference in ONNX Runtime: the peer of `benches/train_step.rs --infer`, network by network.

    python benches/peers/inference.py cnn crnn lstm m5 m18 simple resnet50 mobilenet_v2 --batch 1
    python benches/peers/inference.py cnn --batch 32 --threads 1
    python benches/peers/inference.py cnn --weights model.safetensors --export cnn.onnx   # oido's weights, nothing measured

Needs onnx, onnxscript and onnxruntime, and torch to export (in another process, so that its memory is not counted). The
networks are those of `networks.py`. Prints lines of JSON.
"""

import argparse
import hashlib
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

WARM_UP, RUNS = 2, 200
HERE = pathlib.Path(__file__).resolve().parent


def export(name, frames, weights, path):
    import torch

    import networks

    network, shape = networks.build(name, frames)
    if weights:
        from safetensors.torch import load_file

        networks.load(network, load_file(weights))
    clip = torch.zeros(2, *shape)
    batch = {0: torch.export.Dim.AUTO}
    torch.onnx.export(network.eval(), (clip,), path, dynamo=True, dynamic_shapes=(batch,), input_names=["clips"],
                      external_data=False, verbose=False)


def exported(name, frames):
    """The network as a file, made once for each version of `networks.py`."""
    version = hashlib.sha256((HERE / "networks.py").read_bytes()).hexdigest()[:12]
    path = pathlib.Path(tempfile.gettempdir()) / f"oido-{name}-{frames or 'usual'}-{version}.onnx"
    if not path.exists():
        command = [sys.executable, __file__, name, "--export", path]
        command += ["--frames", str(frames)] if frames else []
        subprocess.run(command, check=True, stdout=sys.stderr)
    return path


def measure(name, args):
    import numpy
    import onnxruntime

    path = exported(name, args.frames)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    [description] = session.get_inputs()
    _, bins, frames = description.shape
    clips = numpy.random.default_rng(42).uniform(-1, 1, (args.batch, bins, frames)).astype(numpy.float32)

    def repeat(most):
        times, begin = [], time.perf_counter()
        while not times or (len(times) < most and time.perf_counter() - begin < args.seconds):
            start = time.perf_counter()
            session.run(None, {description.name: clips})
            times.append(time.perf_counter() - start)
        return times

    repeat(WARM_UP)
    times = repeat(RUNS)
    print(json.dumps({
        "work": f"inference {name}", "peer": "ONNX Runtime", "batch": args.batch, "bins": bins, "frames": frames,
        "seconds": statistics.median(times), "min": min(times), "runs": len(times), "threads": args.threads,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "base_bytes": base,
        "version": onnxruntime.__version__,
    }))


arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("names", nargs="+", metavar="NAME")
arguments.add_argument("--batch", type=int, default=32)
arguments.add_argument("--frames", type=int)
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--seconds", type=float, default=2.0)
arguments.add_argument("--export", type=pathlib.Path, metavar="FILE", help="only writes the network there")
arguments.add_argument("--weights", type=pathlib.Path, metavar="FILE", help="oido's, for --export")
args = arguments.parse_args()
if args.export:
    export(args.names[0], args.frames, args.weights, args.export)
elif len(args.names) == 1:
    measure(args.names[0], args)
else:
    rest = [word for word in sys.argv[1:] if word not in args.names]
    for name in args.names:
        subprocess.run([sys.executable, __file__, name, *rest], check=True)
