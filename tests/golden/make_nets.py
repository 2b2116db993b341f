#!/usr/bin/env python3
"""Makes tests/golden/nets/*: what torchvision's networks, and the papers' own, are called inside and what they compute.
Needs PyTorch, numpy and torchvision; the tests do not.

    python3 tests/golden/make_nets.py [--errors-only] [NAME...]

state_dicts.txt lists every network at its published size: a line "# name parameters", with the spec's keys behind it
where they are not torchvision's 1000 classes and image, then one line for each tensor of the state dict in order, its
name and shape.

As in make_golden.py, weights and images are drawn again by whoever compares. A file NAME.safetensors holds
    batch_norm_scales [layers] f32   for reference.py: fill
    logits_f64, logits_f32 [n,k]     eval mode; of an image, in NHWC order, about 256 elements, evenly spaced
    input_gradient f64               of the summed cross-entropy, or mean square of each image, in NHWC order; about 256
                                     elements, evenly spaced
    input_gradient_norm [1] f64      of the whole
    input_gradient_f32_error [1] f64 how far PyTorch's in f32 is from it, relative to its norm
and for networks with batch norm, or where `parameters` is set, the same of training mode, each beginning with train_, of
the mean cross-entropy, auxiliary head included, with
    statistics [2 layers] f64        norms of the running means and variances after that pass, in order
    gradient_norms, gradient_samples [parameters] f64   of each parameter: its gradient's norm, and one element of it
PyTorch's kernels for processors without AVX-512 add in other orders and lose more in f32. With --errors-only, on such a
processor, nothing is written but golden/nets_without_avx512.safetensors: NAME and NAME/train_ [2] f64, the largest error
of the logits and the gradient's as above.
"""
import argparse
import pathlib

import numpy as np
import paper_nets
import reference
import torch
from torch.nn import functional as F

SEED = 2024
MEAN, DEVIATION = [0.48, 0.52, 0.45], [0.24, 0.26, 0.23]
FOLDER = pathlib.Path(__file__).with_name("nets")
CASES = [
    dict(net="resnet18", parameters=True),
    dict(net="resnet18", file="resnet18_small", options=dict(stem="3x3"), height=20, width=28),
    dict(net="resnet34", channels=1),
    dict(net="resnet50"),
    dict(net="vgg16", n=1, options=dict(dropout=0.0), height=36, width=68),
    dict(net="vgg19", n=1, options=dict(dropout=0.0), channels=1, means=3, height=32, width=32),
    dict(net="vgg16_bn", options=dict(dropout=0.0), height=68, width=36),
    dict(net="vgg19_bn", options=dict(dropout=0.0), height=32, width=64),
    dict(net="mobilenet_v2", options=dict(dropout=0.0)),
    dict(net="densenet121", n=4, height=64, width=72, parameters=True),
    dict(net="inception_v3", n=4, options=dict(dropout=0.0), height=75, width=107),
    dict(net="inception_v3", file="inception_v3_whole", n=4, options=dict(dropout=0.0), height=299, width=299),
    dict(net="efficientnet_b0", options=dict(dropout=0.0, stochastic_depth=0.0), parameters=True),
    dict(net="vit_tiny", height=48, width=48, parameters=True),
    dict(net="vit", file="vit_small", options=dict(patch=8, layers=2, heads=2, hidden=24, mlp=40), channels=1, means=3,
         height=40, width=40),
    dict(net="rdmaa-lung", n=8, channels=1, height=27, width=36, classes=2, parameters=True),
    dict(net="rdmaa-lung", file="rdmaa-lung_three", n=8, height=16, width=33, classes=3),
    dict(net="rdmaa-leukemia", n=2, options=dict(dropout=0.0), height=24, width=40, classes=4, parameters=True),
    dict(net="rdmaa-brain", n=8, height=40, width=24, classes=3, parameters=True),
    dict(net="dcae", means=0, height=20, width=24, parameters=True),
    dict(net="dcae", file="dcae_odd", channels=1, means=0, height=15, width=21),
    dict(net="autoencoder", means=0, n=4, height=32, width=48, parameters=True),
    dict(net="autoencoder", file="autoencoder_spatial", options=dict(units=24, bottleneck="spatial"), channels=1, means=0,
         height=37, width=50),
    dict(net="unet", means=0, height=36, width=45, parameters=True),
    dict(net="cyclegan_generator", options=dict(blocks=2), means=0, height=16, width=24, parameters=True),
    dict(net="cyclegan_generator", file="cyclegan_odd", channels=1, means=0, height=21, width=18),
    dict(net="patchgan", n=4, means=0, height=56, width=64, parameters=True),
]
TORCHVISION = ["resnet18", "resnet34", "resnet50", "vgg16", "vgg19", "vgg16_bn", "vgg19_bn", "mobilenet_v2", "densenet121",
               "inception_v3", "efficientnet_b0", "vit_tiny", "vit_b_16"]
PAPERS = [("rdmaa-lung", 52, 1, 2), ("rdmaa-leukemia", 64, 3, 4), ("rdmaa-brain", 64, 3, 3), ("dcae", 52, 1, 2),
          ("autoencoder", 224, 3, 2), ("unet", 224, 3, 2), ("cyclegan_generator", 256, 3, 2), ("patchgan", 256, 3, 2)]


def sampled(value):
    flat = np.ascontiguousarray(value).reshape(-1)
    return flat[:: max(1, flat.size // 256)].copy()


def batch_norms(network):
    return [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def measured_scales(network, x):
    """The variance of what reaches each batch norm, those before it already following theirs."""
    layers = batch_norms(network)
    scales = np.ones(len(layers), np.float32)

    def measure(i):
        def hook(module, inputs):
            scales[i] = inputs[0].var(dim=(0, 2, 3), unbiased=False).mean().item()
            module.running_var.mul_(float(scales[i]))
            module.running_mean.mul_(float(scales[i]) ** 0.5)
        return hook

    hooks = [layer.register_forward_pre_hook(measure(i)) for i, layer in enumerate(layers)]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return scales


def total_loss(output, y, reduction):
    if isinstance(output, tuple):  # inception_v3 in training
        return F.cross_entropy(output[0], y, reduction=reduction) + \
            0.4 * F.cross_entropy(output[1], y, reduction=reduction), output[0]
    if output.dim() == 4:
        return getattr(torch, reduction)(output.square().mean(dim=(1, 2, 3))), output
    return F.cross_entropy(output, y, reduction=reduction), output


def evaluate(network, x, y, reduction):
    """Logits [n,k], or some of an image, and the input gradient in NHWC order; parameters keep their gradients."""
    x = x.clone().requires_grad_(True)
    loss, logits = total_loss(network(x), y, reduction)
    loss.backward()
    logits = logits.detach()
    logits = sampled(logits.permute(0, 2, 3, 1).numpy()) if logits.dim() == 4 else logits.numpy()
    return logits, x.grad.permute(0, 2, 3, 1).numpy()


def results(prefix, network, x, y, reduction):
    network.float()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    logits_f32, gradient_f32 = evaluate(network, x, y, reduction)
    network.load_state_dict(state)
    network.double().zero_grad()
    logits, gradient = evaluate(network, x.double(), y, reduction)
    size = np.linalg.norm(gradient)
    error = np.linalg.norm(gradient_f32 - gradient) / size
    print(f"  {prefix}logits {np.round(logits.reshape(-1)[:5], 3)}, f32 errors: logits "
          f"{np.abs(logits_f32 - logits).max():.1e}, gradient {error:.1e} of {size:.1e}")
    return {f"{prefix}logits_f64": logits, f"{prefix}logits_f32": logits_f32,
            f"{prefix}input_gradient": sampled(gradient),
            f"{prefix}input_gradient_f32_error": np.array([error]), f"{prefix}input_gradient_norm": np.array([size])}


def made(net, file=None, n=2, channels=3, means=None, height=44, width=56, classes=5, options={}, parameters=False):
    """The tensors of a file, and its metadata."""
    means = channels if means is None else means
    network = reference.make_network(net, channels, height, width, classes, MEAN[:means], DEVIATION[:means],
                                     **options).eval()
    x = torch.from_numpy(reference.images(n, height, width, channels, SEED)).permute(0, 3, 1, 2)
    y = torch.arange(n) % classes
    if net == "inception_v3" and min(height, width) < 299:  # here too, such images train without the auxiliary head
        network.aux_logits, network.AuxLogits.forward = False, lambda x: None
    reference.fill(network, SEED)
    scales = measured_scales(network, x)
    reference.fill(network, SEED, scales)

    print(file or net)
    stored = {"batch_norm_scales": scales, **results("", network, x, y, "sum")}
    if parameters or len(scales):
        network.train()
        stored.update(results("train_", network, x, y, "mean"))
        stored["train_statistics"] = np.array([getattr(layer, name).norm().item() for layer in batch_norms(network)
                                               for name in ("running_mean", "running_var")])
    if parameters:
        gradients = [parameter.grad.numpy().reshape(-1) for parameter in network.parameters()]
        stored["train_gradient_norms"] = np.array([np.linalg.norm(g) for g in gradients])
        stored["train_gradient_samples"] = np.array([g[g.size * 5 // 8] for g in gradients])
    spec = ",".join(f"{key}={value}" for key, value in options.items())
    metadata = dict(net=f"{net}:{spec}" if spec else net, n=n, channels=channels, means=means, height=height, width=width,
                    classes=classes, seed=SEED, torch=torch.__version__)
    return stored, {key: str(value) for key, value in metadata.items()}


def errors(stored, prefix):
    logits = np.abs(stored[f"{prefix}logits_f32"] - stored[f"{prefix}logits_f64"]).max()
    return np.array([logits, stored[f"{prefix}input_gradient_f32_error"][0]])


def has_avx512():
    return "avx512f" in pathlib.Path("/proc/cpuinfo").read_text().split()


def state_dict_lines(network, name, *keys):
    count = sum(parameter.numel() for parameter in network.parameters())
    return [" ".join(["#", name, str(count), *keys]),
            *(" ".join([key, *map(str, value.shape)]) for key, value in network.state_dict().items())]


def list_state_dicts():
    lines = []
    for name in TORCHVISION:
        size = 299 if name == "inception_v3" else 224
        network = reference.torchvision_network(name, 3, size, size, 1000, [0.0] * 3, [1.0] * 3)
        lines += state_dict_lines(network, name)
    for name, size, channels, classes in PAPERS:
        network = paper_nets.make(name, channels, size, size, classes)
        lines += state_dict_lines(network, name, f"size={size},channels={channels},classes={classes}")
    (FOLDER / "state_dicts.txt").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--errors-only", action="store_true")
    parser.add_argument("name", nargs="*")
    options = parser.parse_args()
    if options.errors_only == has_avx512():
        raise SystemExit("the networks are made on a processor with AVX-512, --errors-only on one without")
    if options.errors_only and options.name:
        raise SystemExit("--errors-only writes the one file of all networks")
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    all_errors = {}
    for case in CASES:
        name = case.get("file", case["net"])
        if options.name and name not in options.name:
            continue
        stored, metadata = made(**case)
        if not options.errors_only:
            reference.write_safetensors(FOLDER / f"{name}.safetensors", stored, metadata)
            continue
        all_errors[name] = errors(stored, "")
        if "train_logits_f32" in stored:
            all_errors[f"{name}/train_"] = errors(stored, "train_")
    if options.errors_only:
        reference.write_safetensors(FOLDER.with_name("nets_without_avx512.safetensors"), all_errors,
                                    {"torch": torch.__version__})
    else:
        list_state_dicts()


if __name__ == "__main__":
    main()
