"""One answer from a fresh process in Python: the peer of `oido predict BUNDLE CLIP`, timed from outside by
`performance.py`.

    python benches/peers/first_answer.py NETWORK.onnx FOLDER CLIP.wav

Does what a Python service of the same network does first: NumPy, librosa and ONNX Runtime are imported, the recording is
decoded and resampled, cut or padded with zeros, turned into a standardised log-mel spectrogram and scored. `FOLDER` is
oido's bundle, unpacked. Prints the best label and its score.
"""

import json
import pathlib
import sys

import librosa
import numpy
import onnxruntime

network, bundle, clip = sys.argv[1:]
read = lambda name: json.loads((pathlib.Path(bundle) / name).read_text())
config, labels = read("config.json"), read("labels.json")
audio, features, stats = config["audio"], config["features"], config["stats"]

samples, rate = librosa.load(clip, sr=audio["sample_rate"])
samples = librosa.util.fix_length(samples, size=round(audio["clip_seconds"] * rate))
mel = librosa.feature.melspectrogram(
    y=samples, sr=rate, n_fft=features["n_fft"], hop_length=features["hop_length"], n_mels=features["n_mels"]
)
decibels = librosa.power_to_db(mel, ref=numpy.max)
inputs = (decibels - stats["mean"]) / stats["std"]

session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
[logits] = session.run(None, {"clips": inputs[None].astype(numpy.float32)})
scores = numpy.exp(logits[0] - logits[0].max())
print(json.dumps({"label": labels[scores.argmax()], "score": float(scores.max() / scores.sum())}))
