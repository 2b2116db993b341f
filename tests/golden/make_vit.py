#!/usr/bin/env python3
"""Makes tests/golden/vit/timm.safetensors: a vision transformer under timm's names, and its positions for other sizes.
Needs PyTorch, numpy and torchvision; the tests do not.

    python3 tests/golden/make_vit.py

As in make_golden.py, weights and images are drawn again by whoever compares. The metadata hold the sizes and, under
"tensors", a line for each tensor of the state dict: its name and shape. The file holds, all f64,
    logits [n,k], input_gradient     eval mode; of the summed cross-entropy, in NHWC order, every 31st element
    positions_HxW [1,1+HW,hidden]    of the drawn ones, bicubic between corners that stay (torchvision does it so)
    logits_HxW [n,k]                 of torchvision's network of H x H patches with those positions
"""
import pathlib

import numpy as np
import reference
import torch
from timm_vit import TimmVit
from torch.nn import functional as F
from torchvision.models.vision_transformer import interpolate_embeddings

SEED = 2024
LAYOUT = dict(patch=8, layers=2, heads=2, hidden=12, mlp=20)
N, SIZE, CLASSES = 3, 40, 5
GRIDS = [(7, 7), (3, 3), (3, 7), (1, 6)]  # of patches; the drawn positions are those of 5 x 5
NAMES = [("cls_token", "class_token"), ("pos_embed", "encoder.pos_embedding"), ("patch_embed.proj", "conv_proj"),
         ("head", "heads.head"), ("blocks.", "encoder.layers.encoder_layer_"), ("norm1", "ln_1"), ("norm2", "ln_2"),
         ("norm", "encoder.ln"), ("attn.qkv.", "self_attention.in_proj_"), ("attn.proj", "self_attention.out_proj"),
         ("mlp.fc1", "mlp.0"), ("mlp.fc2", "mlp.3")]


def torchvision_name(name):
    for theirs, other in NAMES:
        name = name.replace(theirs, other)
    return name


def images(size):
    return torch.from_numpy(reference.images(N, size, size, 3, SEED)).permute(0, 3, 1, 2).double()


def resized(positions, h, w):
    token, grid = positions[:, :1], positions[:, 1:].unflatten(1, (SIZE // LAYOUT["patch"], -1)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(h, w), mode="bicubic", align_corners=True)
    return torch.cat([token, grid.flatten(2).transpose(1, 2)], 1)


def main():
    network = TimmVit(SIZE, CLASSES, **LAYOUT).eval()
    reference.fill(network, SEED)
    network.double()
    x = images(SIZE).requires_grad_(True)
    logits = network(x)
    F.cross_entropy(logits, torch.arange(N) % CLASSES, reduction="sum").backward()
    stored = {"logits": logits.detach(), "input_gradient": x.grad.permute(0, 2, 3, 1).reshape(-1)[::31]}
    for h, w in GRIDS:
        stored[f"positions_{h}x{w}"] = resized(network.pos_embed.detach(), h, w)
        if h != w:
            continue
        size = h * LAYOUT["patch"]
        other = reference.vision_transformer(size, CLASSES, **LAYOUT).eval().double()
        state = {torchvision_name(name): value for name, value in network.state_dict().items()}
        other.load_state_dict(interpolate_embeddings(size, LAYOUT["patch"], state))
        assert torch.equal(other.encoder.pos_embedding, stored[f"positions_{h}x{w}"])
        stored[f"logits_{h}x{w}"] = other(images(size)).detach()
    tensors = "\n".join(" ".join([name, *map(str, value.shape)]) for name, value in network.state_dict().items())
    metadata = dict(LAYOUT, n=N, size=SIZE, classes=CLASSES, seed=SEED, torch=torch.__version__, tensors=tensors)
    path = pathlib.Path(__file__).with_name("vit") / "timm.safetensors"
    path.parent.mkdir(exist_ok=True)
    reference.write_safetensors(path, {name: np.ascontiguousarray(value) for name, value in stored.items()},
                                {key: str(value) for key, value in metadata.items()})
    print(f"{path.name}: {path.stat().st_size} bytes, logits {np.round(stored['logits'][0].numpy(), 3)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
