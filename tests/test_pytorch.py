"""What this project writes loads in PyTorch, with strict=True, and computes the same there; and the other way round
with real weights. Needs MITH_BIN, the folder of the binaries, and PyTorch and torchvision, in this Python or in the
system's."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SYSTEM_PYTHON = "/usr/bin/python3"


def find_pytorch():
    """Starts over with the system's Python where this one lacks PyTorch; a skip where both do."""
    if all(importlib.util.find_spec(module) for module in ("numpy", "torch", "torchvision")):
        return
    if os.path.exists(SYSTEM_PYTHON) and os.environ.get("MITH_PYTORCH") != SYSTEM_PYTHON:
        os.environ["MITH_PYTORCH"] = SYSTEM_PYTHON
        os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON, "-B", *sys.argv])
    print("skipped: no Python here has numpy, torch and torchvision")
    sys.exit(77)


find_pytorch()
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "golden"))

import numpy as np  # noqa: E402
import reference  # noqa: E402
import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

BIN = pathlib.Path(os.environ.get("MITH_BIN", "build/bin")).resolve()
REAL = pathlib.Path(__file__).resolve().parent.parent.parent / "shared/data"
SEED = 2024
SMOOTH = 1e-5  # relative, for the gradients of networks without kinks


def run(*command):
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=300, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def evaluate(network, pixels, labels):
    """Logits [n,k], or images [n,h,w,c], and the gradient [n,h,w,c] of the summed cross-entropy or mean squares."""
    x = pixels.clone().requires_grad_(True)
    output = network(x)
    if output.dim() == 4:
        output = output.permute(0, 2, 3, 1)
        loss = output.square().mean(dim=(1, 2, 3)).sum()
    else:
        loss = F.cross_entropy(output, labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    return output.detach().numpy(), gradient.permute(0, 2, 3, 1).numpy()


class PyTorch(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mith-pytorch-"))
        os.environ["MITH_CACHE"] = str(self.dir / "cache")

    def tearDown(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def compare(self, network, folder, share=2, bound=5e-2):
        """The folder's images through PyTorch's network, by the rule of docs/architecture.md, section 9: logits within
        `share` times PyTorch's own distance from f64, gradients within `bound`, relative."""
        pixels, labels, ours, our_gradient = (torch.from_numpy(np.load(folder / f"{name}.npy"))
                                              for name in ("images", "labels", "logits", "input_gradient"))
        pixels, ours, our_gradient = pixels.permute(0, 3, 1, 2), ours.double().numpy(), our_gradient.double().numpy()
        logits_f32, _ = evaluate(network, pixels, labels)
        logits, gradient = evaluate(network.double(), pixels.double(), labels)
        self.assertEqual(ours.shape, logits.shape)
        self.assertEqual(our_gradient.shape, gradient.shape)
        distance, largest = np.abs(ours - logits).max(), np.abs(logits).max()
        allowed = share * np.abs(logits_f32 - logits).max() + 1e-6 * min(1, largest)  # fresh networks may give 1e-9
        size, our_size = np.linalg.norm(gradient), np.linalg.norm(our_gradient)
        relative = np.linalg.norm(our_gradient - gradient) / size
        cosine = (our_gradient * gradient).sum() / (size * our_size)
        print(f"logits to {largest:.1e}: {distance:.1e} from f64, {allowed:.1e} allowed; "
              f"gradient: {relative:.1e} relative, 1 - cosine {1 - cosine:.1e}", flush=True)
        self.assertGreater(size, 0)
        self.assertLessEqual(distance, allowed)
        self.assertLessEqual(relative, bound)
        self.assertGreaterEqual(cosine, 0.999)

    def written(self, path):
        """PyTorch's network with all of a written file's tensors, in the state dict's order of each type."""
        network = reference.load_network(path).eval()  # strict: nothing missing, nothing left over
        tensors, metadata = reference.read_safetensors(path)
        self.assertEqual(metadata["format"], "pt")
        state = network.state_dict()
        self.assertEqual(tensors.keys(), state.keys())
        floats = [name for name, value in state.items() if value.dtype == torch.float32]
        self.assertEqual([name for name in tensors if tensors[name].dtype == np.float32], floats)
        return network


class FreshNetworks(PyTorch):
    """Every architecture as it is initialised, C, H and W all different where a linear layer follows a flatten."""

    def check(self, net, height, width, channels=3, classes=5, n=2, **tolerances):
        np.save(self.dir / "images.npy", reference.images(n, height, width, channels, SEED))
        np.save(self.dir / "labels.npy", np.arange(n) % classes)
        run(BIN / "mith-export-network", net, classes, self.dir)
        self.compare(self.written(self.dir / "model.safetensors"), self.dir, **tolerances)

    def test_cnn(self):
        self.check("cnn", 20, 33)
        self.check("cnn", 41, 28, channels=1, classes=2)
        self.check("cnn-seed000", 180, 148)

    def test_rdmaa(self):
        self.check("rdmaa-lung", 27, 36, channels=1, classes=2)
        self.check("rdmaa-lung", 24, 33, classes=3)
        self.check("rdmaa-leukemia", 24, 40, classes=4)
        self.check("rdmaa-brain", 40, 24, classes=3)

    def test_networks_that_give_an_image(self):
        self.check("dcae", 27, 36, channels=1)
        self.check("autoencoder", 33, 50)
        self.check("autoencoder:bottleneck=spatial,units=20", 33, 50)
        self.check("unet", 17, 26)
        self.check("cyclegan_generator:blocks=2", 18, 27)
        self.check("patchgan", 40, 50, channels=1, share=3)  # oneDNN sums a score's 8192 products in one chain

    def test_resnet(self):
        self.check("resnet18", 44, 56)
        self.check("resnet18:stem=3x3", 20, 28, channels=1)
        self.check("resnet18:head=20-7", 44, 56)
        self.check("resnet34", 44, 56)
        self.check("resnet50", 56, 44)

    def test_vgg(self):
        for net in ("vgg16", "vgg19", "vgg16_bn", "vgg19_bn"):
            with self.subTest(net):
                self.check(net, 36, 68)

    def test_densenet121(self):
        self.check("densenet121", 64, 72)

    def test_inception_v3(self):
        self.check("inception_v3", 75, 107)

    def test_efficientnet_b0(self):
        self.check("efficientnet_b0", 44, 56, bound=SMOOTH)

    def test_mobilenet_v2(self):
        self.check("mobilenet_v2", 44, 56)

    def test_vit(self):
        self.check("vit:patch=8,layers=2,heads=2,hidden=24,mlp=40", 40, 40, channels=1, bound=SMOOTH)
        self.check("vit:patch=8,layers=1,heads=2,hidden=24,mlp=40,head=12", 16, 16, bound=SMOOTH)
        self.check("vit_tiny", 48, 48, bound=SMOOTH)
        self.check("vit_b_16", 48, 48, bound=SMOOTH)


class Programs(PyTorch):
    """mith-train's file and what mith-evaluate computes with it."""

    def test_trained_network(self):
        data = "synthetic:histology:n=60,size=40"
        for net in ("cnn", "mobilenet_v2"):
            run(BIN / "mith-train", "--data", data, "--net", net, "--epochs", 1, "--quiet", "--out", self.dir / net)
            run(BIN / "mith-evaluate", "--model", self.dir / net, "--data", data, "--limit", 6, "--dump",
                self.dir / "dump", "--quiet")
            with self.subTest(net):
                self.compare(self.written(self.dir / net / "model.safetensors"), self.dir / "dump")
            shutil.rmtree(self.dir / "dump")

    def test_imagenet_weights(self):
        weights, cells = REAL / "weights/mobilenet_v2_imagenet.safetensors", REAL / "bloodmnist_28.npz"
        if not (weights.exists() and cells.exists()):
            self.assertNotEqual(os.environ.get("MITH_REQUIRE_DATA"), "1", f"required real data is not in {REAL}")
            self.skipTest(f"no real data in {REAL}")
        with np.load(cells) as real:  # real images, six to look at, under a thousand labels as the weights have them
            parts = {"train": (real["train_images"][:1000], np.arange(1000)),
                     "val": (real["val_images"][:8], np.arange(8)),
                     "test": (real["test_images"][:6], np.arange(6) * 199)}
        np.savez(self.dir / "cells.npz", **{f"{part}_images": images for part, (images, _) in parts.items()},
                 **{f"{part}_labels": labels for part, (_, labels) in parts.items()})
        run(BIN / "mith-evaluate", "--model", f"mobilenet_v2:normalize=half,size=96@{weights}", "--data",
            self.dir / "cells.npz", "--dump", self.dir / "dump", "--quiet")
        images = np.load(self.dir / "dump/images.npy")
        self.assertEqual(images.shape, (6, 96, 96, 3))
        network = reference.make_network("mobilenet_v2", 3, 96, 96, 1000, [0.5] * 3, [0.5] * 3).eval()
        tensors, _ = reference.read_safetensors(weights)
        network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
        self.compare(network, self.dir / "dump")


if __name__ == "__main__":
    if not (BIN / "mith-export-network").exists():
        sys.exit("MITH_BIN names no folder with mith-export-network")
    torch.set_num_threads(1)
    unittest.main(verbosity=2)
