#!/usr/bin/env python3
"""Checks by hand that PyTorch reads what this project writes and computes the same. Needs PyTorch and numpy.

    build/bin/mith-train --data synthetic:histology --net cnn --epochs 1 --out runs/a
    build/bin/mith-evaluate --model runs/a --data synthetic:histology --dump runs/dump
    python3 tests/golden/check_roundtrip.py runs/a/model.safetensors runs/dump

Loads the weights, runs them on the dumped images in f32 and f64, and compares logits and input gradients by the rule of
docs/architecture.md, section 9. Then writes the state dict back and compares the two files tensor by tensor.
"""
import os
import sys
import tempfile

import numpy as np
import reference
import torch
from torch.nn import functional as F


def evaluate(network, pixels, labels):
    """Logits [n,k] and the gradient of the summed cross-entropy [n,h,w,c], 64 images at a time."""
    logits, gradients = [], []
    for x, y in zip(pixels.split(64), labels.split(64)):
        x = x.clone().requires_grad_(True)
        out = network(x)
        (gradient,) = torch.autograd.grad(F.cross_entropy(out, y, reduction="sum"), x)
        logits.append(out.detach().numpy())
        gradients.append(gradient.permute(0, 2, 3, 1).numpy())
    return np.concatenate(logits), np.concatenate(gradients)


def verdict(what, value, limit):
    fine = value <= limit
    print(f"{what}: {value:.2e}, allowed {limit:.2e}{'' if fine else '  FAILED'}")
    return fine


def check_values(network, folder):
    pixels = torch.from_numpy(np.load(os.path.join(folder, "images.npy"))).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(np.load(os.path.join(folder, "labels.npy")))
    logits_f32, _ = evaluate(network, pixels, labels)
    logits, gradient = evaluate(network.double(), pixels.double(), labels)
    ours, our_gradient = (np.load(os.path.join(folder, f"{name}.npy")).astype(np.float64)
                          for name in ("logits", "input_gradient"))
    cosine = (our_gradient * gradient).sum() / np.linalg.norm(our_gradient) / np.linalg.norm(gradient)
    return all([
        verdict("logits, distance from f64", np.abs(ours - logits).max(),
                2 * np.abs(logits_f32 - logits).max() + 1e-6),
        verdict("input gradient, relative distance from f64",
                np.linalg.norm(our_gradient - gradient) / np.linalg.norm(gradient), 5e-2),
        verdict("input gradient, 1 - cosine", 1 - cosine, 1e-3),
    ])


def check_file(network, path):
    """PyTorch's state dict, written again, is the file that was read."""
    state = {name: value.numpy() for name, value in network.float().state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "copy.safetensors")
        reference.write_safetensors(copy, state, {})
        again, _ = reference.read_safetensors(copy)
    tensors, _ = reference.read_safetensors(path)
    same = tensors.keys() == again.keys() and all(np.array_equal(tensors[name], again[name]) for name in tensors)
    print(f"state dict: {len(tensors)} tensors, {'identical' if same else 'DIFFERENT'}")
    return same


def main():
    if len(sys.argv) != 3:
        raise SystemExit("usage: check_roundtrip.py MODEL.safetensors DUMP_FOLDER")
    network = reference.load_network(sys.argv[1]).eval()
    fine = check_file(network, sys.argv[1])
    fine = check_values(network, sys.argv[2]) and fine
    raise SystemExit(0 if fine else 1)


if __name__ == "__main__":
    main()
