"""The networks of `benches/train_step.rs` in PyTorch, with the same layers in the same order, and a way to check that.

    python benches/peers/networks.py [NAME...]          # prints the parameters; refuses a count that is not oido's
    cargo bench --bench train_step -- cnn lstm --save FOLDER
    python benches/peers/networks.py cnn lstm --check FOLDER   # oido's weights and input give oido's logits

Needs torch, torchvision and transformers; to check, safetensors. Modules carry the names they have in oido, so that its
weights find their place.
"""

import argparse
import json
import math
import pathlib
import sys

import torch
from torch import nn

# Network: bins, frames, classes, clips of a batch, parameters as Keras counts (SPEC; those of `oido models`).
SHAPES = {
    "cnn": (128, 173, 10, 32, 5_634_826),
    "crnn": (128, 173, 10, 32, 1_225_866),
    "lstm": (128, 173, 10, 32, 190_602),
    "m5": (1, 16_000, 3, 32, 37_507 + 2 * (32 + 32 + 64 + 128)),
    "m18": (1, 16_000, 3, 32, 924_643 + 2 * (32 + 4 * (32 + 64 + 128 + 256))),
    "simple": (80, 92, 80, 32, 37_844),
    "resnet50": (80, 92, 80, 32, None),
    "mobilenet_v2": (80, 92, 80, 32, None),
    "ast": (128, 1024, 50, 4, None),
    "ast_base": (128, 1024, 50, 1, None),
}


def keras_norm(channels, dims=2):
    """Batch normalisation with Keras' constants."""
    return (nn.BatchNorm2d if dims == 2 else nn.BatchNorm1d)(channels, eps=1e-3, momentum=0.01)


class ConvBlock(nn.Module):
    """Convolution 3 x 3 "same", ReLU, perhaps batch normalisation, maximum over 2 x 2."""

    def __init__(self, c_in, c_out, norm):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, padding="same")
        self.batch_norm = keras_norm(c_out) if norm else nn.Identity()

    def forward(self, x):
        return nn.functional.max_pool2d(self.batch_norm(torch.relu(self.conv(x))), 2)


def conv_blocks(*blocks):
    channels = [1] + [c_out for c_out, _ in blocks]
    return nn.Sequential(*(ConvBlock(c_in, *block) for c_in, block in zip(channels, blocks)))


def one_bias(lstm):
    """PyTorch's layer has two biases where Keras and oido have one: the second is zero and does not train."""
    nn.init.zeros_(lstm.bias_hh_l0)
    lstm.bias_hh_l0.requires_grad_(False)
    return lstm


class Cnn(nn.Module):
    def __init__(self, bins, frames, classes):
        super().__init__()
        self.blocks = conv_blocks((32, False), (64, True), (128, False), (256, True))
        self.dense = nn.Linear(256 * (bins // 16) * (frames // 16), 256)
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(256, classes)

    def forward(self, x):
        x = self.blocks(x.unsqueeze(1)).flatten(1)
        return self.output(self.dropout(torch.relu(self.dense(x))))


class Lstm(nn.Module):
    def __init__(self, bins, frames, classes):
        super().__init__()
        self.lstm1 = one_bias(nn.LSTM(bins, 128, batch_first=True))
        self.lstm2 = one_bias(nn.LSTM(128, 64, batch_first=True))
        self.dense = nn.Linear(64, 128)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Linear(128, classes)

    def forward(self, x):
        sequence, _ = self.lstm1(x.transpose(1, 2))
        _, (state, _) = self.lstm2(sequence)
        return self.output(self.dropout(torch.relu(self.dense(state[0]))))


class Crnn(nn.Module):
    def __init__(self, bins, frames, classes):
        super().__init__()
        self.blocks = conv_blocks((32, False), (64, True), (128, True))
        self.lstm = one_bias(nn.LSTM(128 * (bins // 8), 128, batch_first=True))
        self.dense = nn.Linear(128, 128)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Linear(128, classes)

    def forward(self, x):
        x = self.blocks(x.unsqueeze(1)).flatten(1, 2).transpose(1, 2)
        _, (state, _) = self.lstm(x)
        return self.output(self.dropout(torch.relu(self.dense(state[0]))))


class Layer(nn.Module):
    """Convolution of a wave, batch normalisation, ReLU."""

    def __init__(self, c_in, c_out, first):
        super().__init__()
        self.conv = nn.Conv1d(c_in, c_out, 80, stride=16) if first else nn.Conv1d(c_in, c_out, 3, padding=1)
        self.batch_norm = nn.BatchNorm1d(c_out)

    def forward(self, x):
        return torch.relu(self.batch_norm(self.conv(x)))


class WaveformCnn(nn.Module):
    def __init__(self, groups, classes):
        super().__init__()
        self.groups, c_in = nn.ModuleList(), 1
        for number, widths in enumerate(groups):
            self.groups.append(nn.Sequential())
            for c_out in widths:
                self.groups[-1].append(Layer(c_in, c_out, number == 0))
                c_in = c_out
        self.output = nn.Linear(c_in, classes)

    def forward(self, x):
        for number, group in enumerate(self.groups):
            x = group(x)
            if number < 4:
                x = nn.functional.max_pool1d(x, 4)
        return self.output(x.mean(2))


class Simple(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.batch_norm1 = keras_norm(1)
        self.conv1 = nn.Conv2d(1, 32, 3, padding="same")
        self.batch_norm2 = keras_norm(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding="same")
        self.batch_norm3 = keras_norm(64, dims=1)
        self.dense = nn.Linear(64, 128)
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(128, classes)

    def forward(self, x):
        pool = lambda x: nn.functional.max_pool2d(x, 2)
        x = self.batch_norm1(x.unsqueeze(1) / 255)
        x = self.batch_norm2(pool(torch.relu(self.conv1(x))))
        x = self.batch_norm3(pool(torch.relu(self.conv2(x))).mean((2, 3)))
        return self.output(self.dropout(torch.relu(self.dense(x))))


class Picture(nn.Module):
    """A network of torchvision on the features three times, with the Freesound study's head."""

    def __init__(self, name, classes):
        super().__init__()
        import torchvision

        self.network = getattr(torchvision.models, name)(weights=None)
        last = "fc" if name == "resnet50" else "classifier"
        channels = 2048 if name == "resnet50" else 1280
        head = nn.Sequential(nn.Linear(channels, 256), nn.ReLU(), nn.Linear(256, classes))
        setattr(self.network, last, head)

    def forward(self, x):
        return self.network(x.unsqueeze(1).expand(-1, 3, -1, -1))


class Ast(nn.Module):
    """Hugging Face's Audio Spectrogram Transformer with its published sizes and so many layers."""

    def __init__(self, layers, bins, frames, classes):
        super().__init__()
        # It is not needed, and one that was built for another PyTorch cannot be imported.
        sys.modules.setdefault("torchaudio", None)
        from transformers import ASTConfig, ASTForAudioClassification

        config = ASTConfig(num_hidden_layers=layers, num_mel_bins=bins, max_length=frames, num_labels=classes)
        self.network = ASTForAudioClassification(config)

    def forward(self, x):
        return self.network(x.transpose(1, 2)).logits


def build(name, frames=None):
    """The network and the shape of one clip, bins and frames; `frames` instead of those of the study."""
    bins, usual, classes, _, count = SHAPES[name]
    shape = (bins, frames or usual)
    network = {
        "cnn": lambda: Cnn(*shape, classes),
        "crnn": lambda: Crnn(*shape, classes),
        "lstm": lambda: Lstm(*shape, classes),
        "m5": lambda: WaveformCnn([[32], [32], [64], [128]], classes),
        "m18": lambda: WaveformCnn([[32], [32] * 4, [64] * 4, [128] * 4, [256] * 4], classes),
        "simple": lambda: Simple(classes),
        "resnet50": lambda: Picture(name, classes),
        "mobilenet_v2": lambda: Picture(name, classes),
        "ast": lambda: Ast(2, *shape, classes),
        "ast_base": lambda: Ast(12, *shape, classes),
    }[name]()
    if count and shape[1] == usual and parameters(network) != count:
        raise SystemExit(f"{name}: {parameters(network)} parameters, the study has {count}")
    return network, shape


def parameters(network):
    """As Keras counts: with the moving statistics of batch normalisation, without the biases that do not train."""
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return trained + sum(b.numel() for n, b in network.named_buffers() if "running" in n)


def clips(name, batch, frames=None):
    """Noise between -1 and 1, and the class of each clip."""
    bins, usual, classes, _, _ = SHAPES[name]
    noise = torch.rand(batch, bins, frames or usual, generator=torch.Generator().manual_seed(42)) * 2 - 1
    return noise, torch.arange(batch) % classes


def load(network, weights):
    """oido's weights into the network's own modules of the same names; all of them are used."""
    weights = dict(weights)
    for name, module in network.named_modules():
        take = lambda tensor: weights.pop(f"{name}.{tensor}")
        places = {}
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            names = {"weight": "gamma", "bias": "beta", "running_mean": "running_mean", "running_var": "running_var"}
            places = {place: take(tensor) for place, tensor in names.items()}
        elif isinstance(module, nn.Linear):
            places = {"weight": take("weight").T, "bias": take("bias")}
        elif isinstance(module, nn.LSTM):
            places = {"weight_ih_l0": take("kernel").T, "weight_hh_l0": take("recurrent").T, "bias_ih_l0": take("bias")}
        elif isinstance(module, (nn.Conv1d, nn.Conv2d)):
            places = {"weight": take("weight"), "bias": take("bias")}
        for place, tensor in places.items():
            with torch.no_grad():
                getattr(module, place).copy_(tensor)
    if weights:
        raise SystemExit(f"no place for {', '.join(weights)}")


def check(name, folder):
    """Largest difference between the logits of oido and those of the same weights here, over their range."""
    from safetensors.torch import load_file

    network, (bins, frames) = build(name)
    load(network, load_file(folder / f"{name}.safetensors"))
    clip = json.loads((folder / f"{name}.json").read_text())
    with torch.no_grad():
        ours = network.eval()(torch.tensor(clip["input"]).reshape(1, bins, frames))[0]
    theirs = torch.tensor(clip["logits"])
    return float((ours - theirs).abs().max() / (theirs.max() - theirs.min()))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", default=list(SHAPES), metavar="NAME")
    arguments.add_argument("--check", type=pathlib.Path, metavar="FOLDER")
    args = arguments.parse_args()
    for name in args.names:
        if args.check:
            difference = check(name, args.check)
            print(f"{name:14} logits differ by {difference:.1e} of their range")
            if not difference < 1e-4 or math.isnan(difference):
                raise SystemExit(f"{name}: another network")
        else:
            print(f"{name:14} {parameters(build(name)[0]):>12,}")
