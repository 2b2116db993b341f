#!/usr/bin/env python3
"""Makes tests/golden/*.safetensors: what PyTorch says of the small CNNs. Needs PyTorch and numpy; the tests do not.

    python3 tests/golden/make_golden.py

Weights and images are drawn by the project's own generator on both sides (reference.py: fill, images), so only results
are stored, each case in one file:
    first_pixels      [16] f32   of image 0: a change of the generator shows here first
    labels            [n] i32
    logits_f64, logits_f32   [n,k]   eval mode
    input_gradient    f64        of the summed cross-entropy, eval mode, in NHWC order
    train_loss        [1] f64    mean cross-entropy in training mode, without dropout (cases that train)
    gradient.NAME     f64        of train_loss with respect to a parameter, in PyTorch's order
    running_mean, running_var   [64] f64   after that one training pass
Tensors of more than 4096 elements keep every 7th element; 7 divides no row length of those, so all columns take part.
"""
import pathlib

import numpy as np
import reference
import torch
from torch.nn import functional as F

CASES = [
    dict(file="cnn", net="cnn", n=4, channels=1, height=28, width=28, classes=2, train=True),
    dict(file="cnn_colour", net="cnn", n=3, channels=3, height=20, width=33, classes=5, train=True),
    dict(file="cnn-seed000", net="cnn-seed000", n=2, channels=3, height=180, width=180, classes=5, train=False),
]
SEED = 2024
MEAN, DEVIATION = [0.48, 0.52, 0.45], [0.24, 0.26, 0.23]


def sampled(value):
    flat = np.ascontiguousarray(value).reshape(-1)
    return flat[::7].copy() if flat.size > 4096 else flat.copy()


def evaluate(network, x, y):
    """Logits [n,k] and the input gradient in NHWC order."""
    x = x.clone().requires_grad_(True)
    logits = network(x)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), x)
    return logits.detach().numpy(), gradient.permute(0, 2, 3, 1).numpy()


def make(case):
    c = case["channels"]
    network = reference.make_network(case["net"], c, case["height"], case["width"], case["classes"], MEAN[:c],
                                     DEVIATION[:c], dropout=0.0)
    reference.fill(network, SEED)
    pixels = reference.images(case["n"], case["height"], case["width"], c, SEED)
    labels = np.arange(case["n"], dtype=np.int32) % case["classes"]
    x, y = torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels).long()

    network.eval()
    logits_f32, gradient_f32 = evaluate(network, x, y)
    network.double()
    logits_f64, gradient = evaluate(network, x.double(), y)
    stored = {"first_pixels": pixels.reshape(-1)[:16].copy(), "labels": labels, "logits_f32": logits_f32,
              "logits_f64": logits_f64, "input_gradient": sampled(gradient)}
    if case["train"]:
        network.train()
        loss = F.cross_entropy(network(x.double()), y)
        loss.backward()
        stored["train_loss"] = loss.detach().numpy().reshape(1)
        for name, parameter in network.named_parameters():
            stored[f"gradient.{name}"] = sampled(parameter.grad.numpy())
        stored["running_mean"] = network.bn.running_mean.numpy()
        stored["running_var"] = network.bn.running_var.numpy()
    metadata = {key: str(value) for key, value in case.items()}
    metadata.update(seed=str(SEED), torch=torch.__version__)
    path = pathlib.Path(__file__).with_name(case["file"] + ".safetensors")
    reference.write_safetensors(path, stored, metadata)
    print(f"{path.name}: {path.stat().st_size} bytes, logits {np.round(logits_f64[0], 3)}, "
          f"f32 errors: logits {np.abs(logits_f32 - logits_f64).max():.1e}, "
          f"gradient {np.linalg.norm(gradient_f32 - gradient) / np.linalg.norm(gradient):.1e} relative")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in CASES:
        make(each)
