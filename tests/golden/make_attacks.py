#!/usr/bin/env python3
"""Makes tests/golden/attacks/*.safetensors: what plain PyTorch attacks (tests/bench/pytorch_attacks.py) make of the golden
networks of make_golden.py. Needs PyTorch and numpy; the tests do not.

    python3 tests/golden/make_attacks.py [NAME...]

Every attack runs in f64 and in f32. Networks and images are drawn (reference.py), labels are the network's own
predictions. A case is one file:
    labels        [n] i32
    adversarial   [n,h,w,c] f32, of the f64 run
    logits        [n,k] f64, of these images
    f32           [3] f64   how far the f32 run is from that: share of the pixels that differ by more than 1e-5;
                  |d - d'| / |d| of the perturbations; |z - z'|_inf / |z|_inf of the logits. A gradient's sign flips where
                  it is zero up to rounding, and such a pixel is a whole step away
Metadata: the network, how drawn pixels u become images, the attack's options.
fab_projection.safetensors holds x, w [n,D], b [n] and the projections l1, l2, linf [n,D], all f64.
"""
import functools
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "bench"))

import numpy as np  # noqa: E402
import pytorch_attacks as attacks  # noqa: E402
import reference  # noqa: E402
import torch  # noqa: E402
from make_golden import CASES, DEVIATION, MEAN, SEED  # noqa: E402

EPS, ALPHA, STEPS = 16 / 255, 1.6 / 255, 10
MOMENTUM = dict(eps=EPS, alpha=ALPHA, steps=STEPS)
SMALL, LARGE = 4 / 255, 30 / 255  # radii at which no decision of APGD on step sizes hangs on rounding
SCALED = dict(eps=24 / 255, alpha=2.4 / 255, steps=STEPS)  # for SI-FGSM: no ReLU of its five copies hangs on rounding
INNER = ["deepfool"]  # on images in [0.25, 0.75), because a limit to [0, 1] at the end undoes what it has just reached


def apgd_start(x, eps, attack):
    """x + eps t / |t|_inf, t uniform in [-1, 1): the draws that attacks/draws.h gives the attack of that name for images
    0, 1, ... and the run's seed 0."""
    n, c, h, w = x.shape
    seed = reference.attack_seed(attack)
    u = np.stack([reference.uniform(h * w * c, seed, 0, "attack_start", i) for i in range(n)])
    t = torch.from_numpy(2 * u - 1).to(x.dtype)
    return torch.clamp(x + (eps * t / t.abs().amax(1, keepdim=True)).reshape(n, h, w, c).permute(0, 3, 1, 2), 0, 1)


def apgd(name, loss):
    def attack(model, x, y, eps, steps):
        return attacks.apgd(model, x, y, eps, steps, apgd_start(x, eps, name), loss)["best"]
    return attack


def deepfool(model, x, y, **options):
    return attacks.deepfool(model, x, **options)[0]


def carlini_wagner(model, x, y, **options):
    return attacks.carlini_wagner(model, x, y, **options)[0]


# name: network of make_golden.py, attack, its options
ATTACKS = {
    "fgsm": ("cnn_colour", attacks.fgsm, dict(eps=EPS)),
    "bim": ("cnn_colour", attacks.pgd, MOMENTUM),
    "pgd": ("cnn", attacks.pgd, dict(eps=0.03, alpha=0.01, steps=5)),
    "mifgsm": ("cnn_colour", attacks.mifgsm, MOMENTUM),
    "nifgsm": ("cnn_colour", attacks.nifgsm, MOMENTUM),
    "tifgsm": ("cnn_colour", attacks.tifgsm, dict(MOMENTUM, kernel=7)),
    "sifgsm": ("cnn_colour", attacks.sifgsm, SCALED),
    "apgd-ce": ("cnn_colour", apgd("apgd-ce", attacks.cross_entropy), dict(eps=LARGE, steps=20)),
    "apgd-dlr": ("cnn_colour", apgd("apgd-dlr", attacks.dlr), dict(eps=SMALL, steps=20)),
    "apgd-dlr-2": ("cnn", apgd("apgd-dlr", attacks.dlr), dict(eps=SMALL, steps=20)),
    "deepfool": ("cnn_colour", deepfool, dict(steps=50, overshoot=0.02)),
    "cw": ("cnn_colour", carlini_wagner, dict(c=1.0, steps=40, lr=0.01)),
}


def network_and_images(name, inner):
    case = next(case for case in CASES if case["file"] == name)
    c = case["channels"]
    network = reference.make_network(case["net"], c, case["height"], case["width"], case["classes"], MEAN[:c],
                                     DEVIATION[:c], dropout=0.0)
    reference.fill(network, SEED)
    pixels = reference.images(case["n"], case["height"], case["width"], c, SEED)
    if inner:
        pixels = pixels / 2 + np.float32(0.25)
    return network.eval().requires_grad_(False), torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def make(name):
    net, attack, options = ATTACKS[name]
    attack = functools.partial(attack, **options)
    network, x = network_and_images(net, name in INNER)
    labels = network(x).argmax(1)
    f32 = attack(network, x, labels).double()
    network.double()
    x = x.double()
    exact = attack(network, x, labels)
    logits, delta = network(exact), exact - x
    rounding = [(f32 - exact).abs().gt(1e-5).double().mean(), (f32 - exact).norm() / delta.norm(),
                (network(f32) - logits).abs().max() / logits.abs().max()]
    stored = {"labels": labels.int().numpy(), "adversarial": exact.float().permute(0, 2, 3, 1).contiguous().numpy(),
              "logits": logits.numpy(), "f32": np.array(rounding)}
    metadata = {"network": net, "seed": str(SEED), "torch": torch.__version__,
                "images": "u / 2 + 0.25" if name in INNER else "u",
                **{key: str(value) for key, value in options.items()}}
    reference.write_safetensors(HERE / "attacks" / f"{name}.safetensors", stored, metadata)
    print(f"{name}: fooled {(logits.argmax(1) != labels).sum()} of {len(labels)}, linf {delta.abs().max():.4f}, "
          f"l2 {attacks.l2(delta).mean():.4f}, f32 {' '.join(f'{value:.1e}' for value in rounding)}")
    return net, exact


def make_projection():
    """Random hyperplanes, and the corners: coordinates that do not count, a plane beyond the box, a point on its plane."""
    n, size = 8, 45
    draw = functools.partial(reference.uniform, n * size, SEED, purpose="noise")
    x = torch.from_numpy(draw(step=1).reshape(n, size))
    w = torch.from_numpy(draw(step=2).reshape(n, size) * 4 - 2)
    x[1, :9], x[1, 9:20] = 0.0, 1.0
    w[2, ::3] = 0.0
    w[3, 5:9] = 1.5  # of equal steepness
    v = torch.from_numpy(draw(step=3).reshape(n, size))
    b = (w * v).sum(1)
    for i, share in ((0, 0.6), (7, -0.6)):  # of the way to the corners, so that many coordinates arrive at theirs
        b[i] = (w[i] * x[i]).sum() + share * (w[i] * torch.where(share * w[i] > 0, 1 - x[i], -x[i])).sum().abs()
    b[4] = 2 * w[4].clamp_min(0).sum()
    b[5] = 2 * w[5].clamp_max(0).sum()
    b[6] = (w[6] * x[6]).sum()
    stored = {"x": x, "w": w, "b": b}
    for norm in ("l1", "l2", "linf"):
        v = stored[norm] = attacks.project_on_hyperplane(x, w, b, norm)
        assert (v >= 0).all() and (v <= 1).all(), norm
        error = ((w * v).sum(1) - b).abs()
        feasible = torch.tensor([i not in (4, 5) for i in range(n)])
        assert error[feasible].max() < 1e-12 and error[~feasible].min() > 1, (norm, error)
    reference.write_safetensors(HERE / "attacks" / "fab_projection.safetensors",
                                {key: value.numpy() for key, value in stored.items()}, {"seed": str(SEED)})


def check_apart(results):
    """No attack's result may pass for another's: they differ by far more than rounding explains."""
    for name, (net, exact) in results.items():
        for other, (other_net, other_exact) in results.items():
            if name < other and net == other_net and "apgd" not in name + other:
                share = (exact - other_exact).abs().gt(1e-5).double().mean()
                assert share > 0.1, f"{name} and {other} differ in {share:.3f} of the pixels only"


def main(names):
    torch.set_num_threads(1)
    unknown = set(names) - {*ATTACKS, "fab_projection"}
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(ATTACKS)}, fab_projection")
    if not names or "fab_projection" in names:
        make_projection()
    check_apart({name: make(name) for name in ATTACKS if not names or name in names})


if __name__ == "__main__":
    main(sys.argv[1:])
