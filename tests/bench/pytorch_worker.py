#!/usr/bin/env python3
"""PyTorch's side of compare_pytorch.py and compare_attacks.py, in its best form. Reads one JSON request, finds the fastest configuration (or
takes the one given), prints it as a line of JSON, and then answers every line on stdin with one measured round.

Request: {"work": "train" | "attack" | "network", "net": NAME, "size": N, "data": FILE.npz, "model": FILE.safetensors,
"batch": N, "limit": N, "attack": {"eps", "alpha", "steps"}, "threads": N, "flush_denormal": bool,
"configuration": {...} or null, "quick": bool}
For {"work": "named"}, "data" is a folder with images.npy and labels.npy, "attack" has a "name", and "by" says whose code
runs: "plain" (pytorch_attacks.py), "folded" (the same on a network whose batch norms are folded), "bf16" (the same on
a network in bf16, the faster of two ways), "frozen" (the same on a frozen TorchScript of the network) or "torchattacks".
"""
import json
import pathlib
import resource
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))

import numpy as np  # noqa: E402
import pytorch_attacks  # noqa: E402
import reference  # noqa: E402
import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

CAN_COMPILE = hasattr(torch, "compile")


def part(archive, name):
    """Images [n,c,h,w] f32 in [0, 1] and labels [n]."""
    images = archive[f"{name}_images"].astype(np.float32) / 255
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    labels = archive[f"{name}_labels"].reshape(-1)
    return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels).long()


def laid_out(tensor, configuration):
    return tensor.contiguous(memory_format=torch.channels_last if configuration["channels_last"] else
                             torch.contiguous_format)


def compiled(function, configuration):
    return torch.compile(function, dynamic=False) if configuration["compile"] != "no" else function


class Train:
    """An epoch of `cnn`: shuffled batches, weighted cross-entropy, Adam 1e-3, running loss and accuracy."""

    choices = {
        "channels_last": [False, True],
        "optimizer": ["default", "foreach"] + (["fused"] if CAN_COMPILE else []),
        "compile": ["no", "model"] if CAN_COMPILE else ["no"],
    }

    def __init__(self, request, configuration):
        torch.manual_seed(0)
        archive = np.load(request["data"])
        x, self.y = part(archive, "train")
        self.x = laid_out(x, configuration)
        count = torch.bincount(self.y)
        self.weights = len(self.y) / (len(count) * count.float())
        mean, deviation = x.mean((0, 2, 3)).tolist(), x.std((0, 2, 3), unbiased=False).tolist()
        network = reference.make_network("cnn", *x.shape[1:], len(count), mean, deviation)
        if configuration["channels_last"]:
            network = network.to(memory_format=torch.channels_last)
        network.train()
        kind = configuration["optimizer"]
        self.optimizer = torch.optim.Adam(network.parameters(), 1e-3, **({} if kind == "default" else {kind: True}))
        self.network, self.batch = compiled(network, configuration), request["batch"]

    def round(self):
        start = time.perf_counter()
        loss_sum, right = torch.zeros(()), torch.zeros((), dtype=torch.long)
        for rows in torch.randperm(len(self.y)).split(self.batch):
            x, y = self.x[rows], self.y[rows]
            logits = self.network(x)
            loss = F.cross_entropy(logits, y, weight=self.weights)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.detach() * len(rows)
            right += (logits.detach().argmax(1) == y).sum()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "images": len(self.y), "loss": loss_sum.item() / len(self.y),
                "accuracy": right.item() / len(self.y)}


class Attack:
    """PGD on the test part: random start, all steps on every image, the last iterate; input gradients only."""

    choices = {
        "channels_last": [False, True],
        "compile": ["no", "model", "step"] if CAN_COMPILE else ["no"],
    }

    def __init__(self, request, configuration):
        torch.manual_seed(0)
        x, y = part(np.load(request["data"]), "test")
        x, y = x[: request["limit"]], y[: request["limit"]]
        self.network = reference.load_network(request["model"]).eval().requires_grad_(False)
        if configuration["channels_last"]:
            self.network = self.network.to(memory_format=torch.channels_last)
        self.batches = [(laid_out(a, configuration), b) for a, b in zip(x.split(request["batch"]),
                                                                       y.split(request["batch"]))]
        self.images, self.attack = len(y), request["attack"]
        forward = compiled(self.network, configuration) if configuration["compile"] == "model" else self.network
        eps, alpha = self.attack["eps"], self.attack["alpha"]

        def step(adversarial, gradient, x):
            return torch.clamp(torch.clamp(adversarial + alpha * gradient.sign(), x - eps, x + eps), 0, 1)

        def eager_step(adversarial, x, y):
            adversarial.requires_grad_(True)
            loss = F.cross_entropy(forward(adversarial), y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, adversarial)
            with torch.no_grad():
                return step(adversarial, gradient, x)

        def functional_step(adversarial, x, y):
            gradient = torch.func.grad(lambda a: F.cross_entropy(forward(a), y, reduction="sum"))(adversarial)
            return step(adversarial, gradient, x)

        self.step = compiled(functional_step, configuration) if configuration["compile"] == "step" else eager_step

    def perturb(self, x, y):
        eps = self.attack["eps"]
        adversarial = torch.clamp(x + torch.empty_like(x).uniform_(-eps, eps), 0, 1)
        for _ in range(self.attack["steps"]):
            adversarial = self.step(adversarial, x, y).detach()
        return adversarial

    def round(self):
        start = time.perf_counter()
        adversarial = [self.perturb(x, y) for x, y in self.batches]
        seconds = time.perf_counter() - start
        with torch.no_grad():
            right = sum((self.network(a).argmax(1) == y).sum().item() for a, (_, y) in zip(adversarial, self.batches))
        return {"seconds": seconds, "images": self.images, "accuracy": right / self.images}


def torchattacks_attack(network, attack):
    import torchattacks
    options = {key: value for key, value in attack.items() if key != "name"}
    if attack["name"] == "pgd":
        return torchattacks.PGD(network, random_start=True, **options)
    if attack["name"] == "mifgsm":
        return torchattacks.MIFGSM(network, decay=options.pop("mu"), **options)
    return torchattacks.Square(network, norm="Linf", eps=options["eps"], n_queries=options["queries"], p_init=0.8,
                               resc_schedule=True)


class Counted(torch.nn.Module):
    """A network that counts the images that pass it."""

    def __init__(self, network):
        super().__init__()
        self.network, self.images = network, 0

    def forward(self, x):
        self.images += len(x)
        return self.network(x)


class InBf16(torch.nn.Module):
    """A network that computes in bf16, all of it or what autocast chooses; images and logits stay f32."""

    def __init__(self, network, way):
        super().__init__()
        self.network, self.way = network.bfloat16() if way == "all" else network, way

    def forward(self, x):
        if self.way == "all":
            return self.network(x.bfloat16()).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.network(x).float()


class Named:
    """A named attack on given images: all steps or queries on every image, the last iterate."""

    choices = {
        "channels_last": [False, True],
        "compile": ["no", "model"] if CAN_COMPILE else ["no"],
    }

    def __init__(self, request, configuration):
        torch.manual_seed(0)
        folder = pathlib.Path(request["data"])
        x = torch.from_numpy(np.load(folder / "images.npy")[: request["limit"]]).permute(0, 3, 1, 2).contiguous()
        y = torch.from_numpy(np.load(folder / "labels.npy")[: request["limit"]])
        network = reference.load_network(request["model"]).eval().requires_grad_(False)
        if request["by"] == "folded":
            from torch.fx.experimental import optimization
            network = optimization.fuse(network).requires_grad_(False)
        if configuration["channels_last"]:
            network = network.to(memory_format=torch.channels_last)
        self.batches = [(laid_out(a, configuration), b) for a, b in zip(x.split(request["batch"]),
                                                                       y.split(request["batch"]))]
        self.images = len(y)
        if request["by"] == "bf16":
            network = InBf16(network, configuration["bf16"])
        network = compiled(network, configuration)
        if request["by"] == "frozen":
            network = torch.jit.freeze(torch.jit.trace(network, self.batches[0][0]))
            for _ in range(3):  # the runs in which TorchScript looks at shapes and compiles
                pytorch_attacks.input_gradient(network, *self.batches[0])
        self.network = Counted(network).eval()
        self.perturb = self.attack(request)

    def attack(self, request):
        options = {key: value for key, value in request["attack"].items() if key != "name"}
        if request["by"] == "torchattacks":
            return torchattacks_attack(self.network, request["attack"])
        if request["attack"]["name"] == "pgd":
            return lambda x, y: pytorch_attacks.pgd(self.network, x, y, **options,
                                                    start=pytorch_attacks.uniform_start(x, options["eps"]))
        function = getattr(pytorch_attacks, request["attack"]["name"])
        return lambda x, y: function(self.network, x, y, **options)

    def round(self):
        self.network.images, start = 0, time.perf_counter()
        adversarial = [self.perturb(x, y) for x, y in self.batches]
        seconds = time.perf_counter() - start
        forwards = self.network.images / self.images
        with torch.no_grad():
            right = sum((self.network(a).argmax(1) == y).sum().item() for a, (_, y) in zip(adversarial, self.batches))
        return {"seconds": seconds, "images": self.images, "accuracy": right / self.images, "forwards": forwards,
                "peak_resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def as_tuple(output):
    """Logits, and those of inception_v3's auxiliary head behind them."""
    return output if isinstance(output, tuple) else (output,)


class Network:
    """Forward, loss and gradients of all parameters of one of torchvision's networks, on a batch of noise."""

    choices = {
        "channels_last": [False, True],
        "compile": ["no", "model"] if CAN_COMPILE else ["no"],
    }

    def __init__(self, request, configuration):
        torch.manual_seed(0)
        self.network = reference.torchvision_architecture(request["net"], request["size"], 1000).train()
        if configuration["channels_last"]:
            self.network = self.network.to(memory_format=torch.channels_last)
        self.forward = compiled(self.network, configuration)
        size, n = request["size"], request["batch"]
        self.x, self.y = laid_out(torch.rand(n, 3, size, size), configuration), torch.arange(n) % 1000

    def round(self):
        start = time.perf_counter()
        logits, *auxiliary = as_tuple(self.forward(self.x))
        loss = F.cross_entropy(logits, self.y)
        for head in auxiliary:
            loss = loss + 0.4 * F.cross_entropy(head, self.y)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "images": len(self.y),
                "peak_resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measure(kind, request, configuration, rounds):
    """Seconds of the fastest of `rounds` rounds after one that warms up."""
    task = kind(request, configuration)
    task.round()
    return min(task.round()["seconds"] for _ in range(rounds))


def fastest_configuration(kind, request):
    """One choice after the other, each decided with those before it. What fails here is left out, and said so."""
    best = {name: values[0] for name, values in kind.choices.items()}
    rounds = 1 if request["quick"] else 3
    seconds = measure(kind, request, best, rounds)
    for name, values in kind.choices.items():
        for value in values[1:]:
            candidate = {**best, name: value}
            try:
                found = measure(kind, request, candidate, rounds)
            except Exception as error:  # e.g. no compiler behind torch.compile, or a fused optimiser without a CPU form
                print(f"torch {torch.__version__}: {name}={value} does not run: {error}"[:300], file=sys.stderr)
                continue
            print(f"torch {torch.__version__} {request['work']}: {candidate} {found:.3f} s, until now {seconds:.3f} s",
                  file=sys.stderr)
            if found < seconds:
                best, seconds = candidate, found
    return best


def refuse_reference_blas():
    """Debian installs PyTorch with the reference BLAS unless another is there: dense layers of vgg16 take 30 x longer."""
    if "/blas/libblas.so" in pathlib.Path("/proc/self/maps").read_text():
        raise SystemExit("this PyTorch calls the reference BLAS, which is no fair peer: apt install libopenblas0-openmp")


def main():
    refuse_reference_blas()
    request = json.loads(sys.stdin.readline())
    # Before the first parallel region: worker threads inherit the setting.
    if not torch.set_flush_denormal(request["flush_denormal"]) and request["flush_denormal"]:
        raise SystemExit("this processor cannot flush denormals")
    torch.set_num_threads(request["threads"])
    kind = {"train": Train, "attack": Attack, "network": Network, "named": Named}[request["work"]]
    by = request.get("by", "plain")
    if by == "bf16":
        kind.choices = {"bf16": ["all", "autocast"], **kind.choices}
    elif by != "plain":
        kind.choices = {**kind.choices, "compile": ["no"]}
    configuration = request["configuration"] or fastest_configuration(kind, request)
    task = kind(request, configuration)
    task.round()
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "configuration": configuration}),
          flush=True)
    for _ in sys.stdin:
        print(json.dumps(task.round()), flush=True)


if __name__ == "__main__":
    main()
