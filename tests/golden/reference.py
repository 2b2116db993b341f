"""The networks in PyTorch, this project's random numbers in numpy, and the safetensors format in a few lines.

Shared by make_golden.py, make_nets.py, make_vit.py, test_pytorch.py and tests/bench. Runs with PyTorch 1.13 and newer;
torchvision is needed for its own networks only, resnet18 excepted.
"""
import json
import math
import struct
from collections import OrderedDict

import numpy as np
import paper_nets
import resnet
import torch
from torch import nn
from torch.nn import functional as F

PURPOSE = {"initialise": 1, "attack_start": 5, "noise": 8}  # kernels/launch/philox.h: enum class Purpose


def philox4x32(counter, key0, key1):
    """Ten rounds over four words, each an array of uint64 below 2^32; as in kernels/launch/philox.h."""
    mask, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * counter[0]
        p1 = np.uint64(0xCD9E8D57) * counter[2]
        counter = [
            (p1 >> high) ^ counter[1] ^ np.uint64(key0),
            p1 & mask,
            (p0 >> high) ^ counter[3] ^ np.uint64(key1),
            p0 & mask,
        ]
        key0, key1 = (key0 + 0x9E3779B9) & 0xFFFFFFFF, (key1 + 0xBB67AE85) & 0xFFFFFFFF
    return counter


def uniform(count, seed, step, purpose, image=0, stream=0):
    """Elements 0 .. count-1 of a stream: uniform(DrawKey, image, element) of kernels/launch/philox.h, bit for bit."""
    lanes = np.arange((count + 3) // 4, dtype=np.uint64)
    counter = [
        lanes & np.uint64(0xFFFFFFFF),
        np.full_like(lanes, image & 0xFFFFFFFF),
        np.full_like(lanes, step ^ ((image >> 32) * 0x9E3779B9 & 0xFFFFFFFF)),
        np.full_like(lanes, PURPOSE[purpose] << 16 ^ stream),
    ]
    counter = philox4x32(counter, seed & 0xFFFFFFFF, seed >> 32)
    bits = np.stack(counter, axis=1).reshape(-1)[:count]
    return (bits >> np.uint64(8)).astype(np.float64) / 16777216.0


def fnv1a(text):
    """32-bit FNV-1a hash, which names a parameter's stream."""
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value


def attack_seed(attack, seed=0, restart=0, iteration=0):
    """The seed of draw_key(attack, ...) of attacks/draws.h."""
    words = [np.array([word], dtype=np.uint64) for word in (fnv1a(attack), restart, iteration, 0)]
    mixed = philox4x32(words, seed & 0xFFFFFFFF, seed >> 32)
    return int(mixed[0][0]) << 32 | int(mixed[1][0])


class Normalise(nn.Module):
    """The first layer of every model: (x - mean) / deviation. Not part of the state dict."""

    def __init__(self, mean, deviation):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, x):
        return (x - self.mean) / self.deviation


class Cnn(nn.Module):
    """nets/cnn.cpp: [3x3 convolution, ReLU, max-pool 2] a width, batch norm, flatten, dense + ReLU, dropout, dense."""

    def __init__(self, widths, padding, dense, dropout, channels, height, width, classes, mean, deviation):
        super().__init__()
        self.normalise = Normalise(mean, deviation)
        self.blocks = len(widths)
        for i, out in enumerate(widths):
            setattr(self, f"conv{i + 1}", nn.Conv2d(channels, out, 3, padding=padding))
            channels, height, width = out, (height + 2 * padding - 2) // 2, (width + 2 * padding - 2) // 2
        self.bn = nn.BatchNorm2d(channels)
        self.fc1 = nn.Linear(channels * height * width, dense)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(dense, classes)

    def forward(self, x):
        x = self.normalise(x)
        for i in range(self.blocks):
            x = F.max_pool2d(F.relu(getattr(self, f"conv{i + 1}")(x)), 2)
        x = torch.flatten(self.bn(x), 1)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


VIT_TINY = dict(patch=16, layers=12, heads=3, hidden=192, mlp=768)
VIT_B_16 = dict(patch=16, layers=12, heads=12, hidden=768, mlp=3072)


def vision_transformer(size, classes, patch, layers, heads, hidden, mlp, dropout=0.0):
    from torchvision.models import VisionTransformer
    return VisionTransformer(size, int(patch), int(layers), int(heads), int(hidden), int(mlp), dropout=dropout,
                             num_classes=classes)


def dense_head(last, widths):
    """nets/blocks.h: classifier_head()."""
    layers, inputs = [], last.in_features
    for units in widths:
        layers += [nn.Linear(inputs, units), nn.ReLU()]
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, last.out_features))


def torchvision_constructor(name):
    try:
        import torchvision
    except ImportError:
        if name == "resnet18":
            return resnet.ResNet18
        raise
    return getattr(torchvision.models, name)


def torchvision_architecture(name, height, classes, **options):
    """nets/*.cpp: torchvision's network of this name. `options` are the spec's keys."""
    head = options.pop("head", None)
    if name in ("vit", "vit_tiny", "vit_b_16"):
        options.pop("image", None)  # the data's, whatever the weights were made for
        defaults = VIT_B_16 if name == "vit_b_16" else VIT_TINY
        network = vision_transformer(height, classes, **{**defaults, **options})
    else:
        stem, dropout = options.pop("stem", "7x7"), options.pop("dropout", None)
        if "stochastic_depth" in options:
            options["stochastic_depth_prob"] = options.pop("stochastic_depth")
        if name == "inception_v3":
            options["init_weights"] = False
            options.pop("auxiliary", None)  # the weight of its loss; the head is there with any
        network = torchvision_constructor(name)(num_classes=classes, **options)
        if dropout is not None:
            for module in network.modules():
                if isinstance(module, nn.Dropout):
                    module.p = dropout
        if stem == "3x3":
            network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    if head is not None:
        place, last = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
        above, _, own = place.rpartition(".")
        setattr(network.get_submodule(above), own, dense_head(last, map(int, str(head).split("-"))))
    return network


def torchvision_network(name, channels, height, width, classes, mean, deviation, **options):
    """torchvision's network behind this project's first layer."""
    network = torchvision_architecture(name, height, classes, **options)
    normalise = Normalise(mean, deviation)

    def first_layer(_, inputs):
        x = inputs[0]
        repeated = x.expand(-1, 3, -1, -1) if len(mean) == 3 else x  # a grey image under three means
        return normalise.to(x.dtype)(repeated).expand(-1, 3, -1, -1)

    network.register_forward_pre_hook(first_layer)
    return network


def paper_network(name, channels, height, width, classes, mean, deviation, **options):
    """A network of the papers' own; those that restore or judge images have no first layer of this kind."""
    network = paper_nets.make(name, channels, height, width, classes, **options)
    if isinstance(network, paper_nets.Rdmaa):
        normalise = Normalise(mean, deviation)
        network.register_forward_pre_hook(lambda _, inputs: normalise.to(inputs[0].dtype)(inputs[0]))
    return network


def make_network(name, channels, height, width, classes, mean, deviation, **options):
    image = dict(channels=channels, height=height, width=width, classes=classes, mean=mean, deviation=deviation)
    if name == "cnn":
        return Cnn([32, 64, 64], 1, 128, options.get("dropout", 0.3), **image)
    if name == "cnn-seed000":
        return Cnn([32, 64, 64, 64], 0, 64, 0.0, **image)
    if name in paper_nets.NAMES:
        return paper_network(name, **image, **options)
    return torchvision_network(name, **image, **options)


PERIOD = 1048573  # drawn values a parameter has at most; then they repeat


def fill(network, seed, scales=None):
    """Gives every parameter and buffer drawn values, so that none needs to be stored; tests/golden_fixtures.h does the
    same. He-uniform weights, and batch statistics far enough from 0 and 1 to be seen: those of the i-th batch norm are
    statistics of values of variance scales[i], or 1."""
    means = variances = 0
    state = network.state_dict()
    for name, value in state.items():
        if value.dtype != torch.float32:
            continue
        u = uniform(min(value.numel(), PERIOD), seed, fnv1a(name), "initialise")
        if value.dim() in (2, 4):
            u = (2 * u - 1) * math.sqrt(6.0 / (value.numel() // value.shape[0]))
        elif name.endswith("running_var"):
            u = (u + 0.5) * (1.0 if scales is None else float(scales[variances]))
            variances += 1
        elif name.endswith("running_mean"):
            u = (u - 0.5) * (1.0 if scales is None else math.sqrt(float(scales[means])))
            means += 1
        elif value.dim() == 1 and name.endswith("weight"):
            u = u + 0.5
        else:
            u = u - 0.5
        u = np.resize(u, value.numel())
        value.copy_(torch.from_numpy(u.astype(np.float32)).reshape(value.shape))
    network.load_state_dict(state)


def images(count, height, width, channels, seed):
    """Random images [n,h,w,c] in [0, 1), image i from stream i."""
    size = height * width * channels
    rows = [uniform(size, seed, 0, "noise", i) for i in range(count)]
    return np.stack(rows).astype(np.float32).reshape(count, height, width, channels)


TYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64, "U8": np.uint8}


def read_safetensors(path):
    """{name: array}, metadata."""
    with open(path, "rb") as file:
        content = file.read()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    tensors = OrderedDict()
    for name, entry in header.items():
        first, last = (8 + size + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(content[first:last], TYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
    return tensors, metadata


def write_safetensors(path, tensors, metadata):
    names = {np.dtype(kind): name for name, kind in TYPES.items()}
    header, blobs, offset = {"__metadata__": metadata}, [], 0
    for name, value in tensors.items():
        blob = np.ascontiguousarray(value).tobytes()
        header[name] = {"dtype": names[value.dtype], "shape": list(value.shape),
                        "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def load_network(path):
    """The PyTorch twin of a model.safetensors that mith-train wrote: its metadata names the network and the image."""
    tensors, metadata = read_safetensors(path)
    name, _, fields = metadata["mithridate.net"].partition(":")
    height, width, channels = json.loads(metadata["mithridate.image"])
    normalise = json.loads(metadata["mithridate.normalize"])
    network = make_network(name, channels, height, width, len(json.loads(metadata["mithridate.classes"])),
                           normalise["mean"] or [0.0] * channels, normalise["deviation"] or [1.0] * channels,
                           **{key: value if key == "head" else number(value)
                              for key, value in (f.split("=") for f in fields.split(",") if f)})
    network.load_state_dict({key: torch.from_numpy(value) for key, value in tensors.items()})
    return network
