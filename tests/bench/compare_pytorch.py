#!/usr/bin/env python3
"""Compares the speed of this project with PyTorch's on the CPU: a training epoch and PGD-10 of `cnn`, and forward and
full backward of torchvision's networks, with the memory that takes.

    python3 tests/bench/compare_pytorch.py --python /usr/bin/python3 --python OTHER_ENV/bin/python3
    python3 tests/bench/compare_pytorch.py --work network --net resnet18 --net resnet50 --rounds 5

Every engine is a process that stays; rounds alternate between them, one engine at work at a time, and medians are
compared. PyTorch runs in its best form (pytorch_worker.py: memory format, optimiser, torch.compile, each chosen by
measuring here), with denormals flushed and without. Writes a JSON file and the tables of docs/performance.md.
"""
import argparse
import contextlib
import datetime
import json
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "performance.md"
WORKER = pathlib.Path(__file__).with_name("pytorch_worker.py")
ATTACK = {"eps": 8 / 255, "alpha": 2 / 255, "steps": 10}
ATTACK_SPEC = "pgd:eps=8/255,alpha=2/255,steps=10"
TITLES = {
    "train": "Training: one epoch of `cnn` on {data}, batch {train_batch}, Adam, class-weighted cross-entropy",
    "attack": "Attack: `{attack_spec}` on {limit} images of {data}, batch {attack_batch}",
    "network": "Network: forward and full backward of `{net}`, batch {network_batch}, {size} x {size} pixels",
}


def kind_of(work):
    """"network resnet18" is of the kind "network"."""
    return work.split()[0]


class Engine:
    """A process that answers every line with one round, as a line of JSON."""

    def __init__(self, label, command, request=None):
        self.label = label
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.ready = self.ask(json.dumps(request)) if request else self.answer()
        self.rounds = []

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"compare_pytorch: {self.label} ended with exit code {self.process.wait()}")
        return json.loads(line)

    def ask(self, line="go"):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def row(self):
        seconds = [each["seconds"] for each in self.rounds]
        median = statistics.median(seconds)
        return {"engine": self.label, "ready": self.ready, "seconds": seconds, "median_seconds": median,
                "images_per_second": self.rounds[0]["images"] / median,
                "accuracy": self.rounds[-1].get("accuracy"),
                "peak_resident_mib": self.rounds[-1].get("peak_resident_mib")}


def mithridate(options, work, model):
    for extra in [""] + options.mith:
        kind = kind_of(work)
        command = [options.bin / "mith-bench", kind, "--wait", "--threads", options.threads,
                   "--batch", getattr(options, kind + "_batch"), *extra.split()]
        command += ["--net", work.split()[1], "--size", options.size] if kind == "network" else ["--data", options.data]
        if kind == "attack":
            command += ["--model", model, "--attack", ATTACK_SPEC, "--limit", options.limit]
        yield Engine(f"Mithridate {extra}".strip(), command)


def pytorch(options, work, model):
    kind = kind_of(work)
    for python in options.python:
        configuration = None
        # The first process tries the candidates, so that what they leave in memory is in nobody's figures.
        for flush in (None, True, False):
            request = {"work": kind, "net": work.split()[-1], "size": options.size, "data": str(options.data),
                       "model": str(model / "model.safetensors"), "batch": getattr(options, kind + "_batch"),
                       "limit": options.limit, "attack": ATTACK, "threads": options.threads,
                       "flush_denormal": flush is not False, "configuration": configuration, "quick": options.quick}
            engine = Engine(python, [python, "-B", WORKER], request)
            if flush is None:
                configuration = engine.ready["configuration"]
                engine.close()
                continue
            engine.label = f"PyTorch {engine.ready['torch'].split('+')[0]}" + ("" if flush else ", denormals kept")
            yield engine


def measure(engine, steps):
    """One round: the mean of some steps, because one alone is shorter than a neighbour's bursts on a shared machine."""
    answers = [engine.ask() for _ in range(steps)]
    return answers[-1] | {"seconds": statistics.mean(answer["seconds"] for answer in answers)}


def compare(options, work, model):
    engines = []
    steps = options.steps if kind_of(work) == "network" else 1
    with contextlib.ExitStack() as stack:
        for make in (mithridate, pytorch):
            for engine in make(options, work, model):
                engines.append(engine)
                stack.callback(engine.close)
        for i in range(options.rounds):
            for engine in engines[i % len(engines):] + engines[: i % len(engines)]:
                time.sleep(options.pause)  # idle worker threads of the one before stop spinning
                engine.rounds.append(measure(engine, steps))
            print(f"{work} {i + 1}/{options.rounds}: " +
                  ", ".join(f"{e.label} {e.rounds[-1]['seconds']:.3f} s" for e in engines), file=sys.stderr)
    return [engine.row() for engine in engines]


def train_model(options, folder):
    """A short training, so that the attack meets a network with real weights."""
    command = [options.bin / "mith-train", "--data", options.data, "--net", "cnn", "--epochs", 3, "--out", folder,
               "--quiet", "--threads", options.threads]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    return folder


def processor():
    with contextlib.suppress(OSError):
        names = re.findall(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
        if names:
            return f"{names[0]}, {len(names)} logical cores"
    return platform.processor() or "unknown processor"


def commit():
    found = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def settings(row):
    configuration = row["ready"].get("configuration")
    if configuration is None:
        return "as it comes"
    words = ["channels last" if configuration["channels_last"] else "channels first"]
    if configuration.get("optimizer", "default") != "default":
        words.append(configuration["optimizer"] + " Adam")
    if "bf16" in configuration:
        words.append({"all": "all in bf16", "autocast": "autocast to bf16"}[configuration["bf16"]])
    if configuration["compile"] != "no":
        words.append("torch.compile of the " + configuration["compile"])
    return ", ".join(words)


def providers(layers):
    """Who computes what: "forward: onednn 21 layers; ..."; a pass of many providers lists the fewer by name."""
    text = []
    for each in ("forward", "input_gradient", "weight_gradient"):
        by_provider = {}
        for layer in layers:
            if each in layer:
                by_provider.setdefault(layer[each], []).append(layer["layer"])
        most = max(by_provider.values(), key=len, default=[])
        shares = [f"{provider} {len(names)}" + ("" if names is most else f" ({', '.join(names)})")
                  for provider, names in sorted(by_provider.items(), key=lambda item: -len(item[1]))]
        text.append(f"{each.replace('_', ' ')} {', '.join(shares)}")
    return "; ".join(text)


def timing(row, first, passes=1):
    """The cells that every table begins with; images/s count `passes` of an image."""
    seconds, median = row["seconds"], row["median_seconds"]
    rate = row["images_per_second"] * passes
    return (f"| {row['engine']} | {settings(row)} | {median:.3f} | {min(seconds):.3f} to {max(seconds):.3f} | "
            f"{rate:.{0 if passes == 1 else 1}f} | {median / first['median_seconds']:.2f} | ")


def table(result, work):
    rows = result[work]
    kind = kind_of(work)
    memory = kind == "network"
    lines = ["### " + TITLES[kind].format(**result, net=work.split()[-1]), "",
             "| engine | chosen | median s | range s | images/s | time relative to Mithridate | by fastest rounds |" +
             (" peak resident MiB |" if memory else ""), "|---|---|---|---|---|---|---|" + ("---|" if memory else "")]
    for row in rows:
        lines.append(timing(row, rows[0]) + f"{min(row['seconds']) / min(rows[0]['seconds']):.2f} |" +
                     (f" {row['peak_resident_mib']:.0f} |" if memory else ""))
    if memory:
        return "\n".join(lines + ["", f"Mithridate's layers: {providers(rows[0]['ready'].get('layers', []))}."])
    accuracies = ", ".join(f"{row['engine']} {row['accuracy']:.3f}" for row in rows if row["accuracy"] is not None)
    lines += ["", f"Accuracy {'in the last epoch' if work == 'train' else 'left by the attack'}: {accuracies}."]
    return "\n".join(lines)


def replace_on_page(place, content, file=PAGE):
    """Replaces what stands between the markers of a place in a page of docs/."""
    begin, end = f"<!-- {place}: begin -->", f"<!-- {place}: end -->"
    page = file.read_text()
    if begin not in page or end not in page:
        raise SystemExit(f"{file} has lost its markers of {place}")
    head, tail = page[: page.index(begin) + len(begin)], page[page.index(end):]
    file.write_text(f"{head}\n{content}\n{tail}")


def update_page(result):
    """Writes the tables into docs/performance.md."""
    summary = (f"{result['date']}, commit {result['commit']}, {result['processor']}, {result['threads']} threads, "
               f"medians of {result['rounds']} alternating rounds" +
               (f" of {result['steps']} steps." if kind_of(result["works"][0]) == "network" else "."))
    content = "\n\n".join([summary] + [table(result, work) for work in result["works"]])
    replace_on_page("networks" if kind_of(result["works"][0]) == "network" else "compare_pytorch", content)
    return content


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build" / "bin", help="folder of mith-bench")
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared" / "data" / "pneumoniamnist.npz",
                        help="a MedMNIST .npz")
    parser.add_argument("--python", action="append", default=[], help="an interpreter that has torch; may be repeated")
    parser.add_argument("--mith", action="append", default=[], metavar="OPTIONS",
                        help='one more row of ours with these options, e.g. --mith="--provider all=native"')
    parser.add_argument("--work", choices=["train", "attack", "both", "network"], default="both")
    parser.add_argument("--net", action="append", default=[], help="network: a name that torchvision knows too")
    parser.add_argument("--size", type=int, default=224, help="network: pixels each way")
    parser.add_argument("--network-batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="network: steps a round, of which the mean counts")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--train-batch", type=int, default=64)
    parser.add_argument("--attack-batch", type=int, default=128)
    parser.add_argument("--limit", type=int, default=512, help="images attacked a round")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between rounds")
    parser.add_argument("--quick", action="store_true", help="measure candidates once each: to try the script")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "build" / "compare_pytorch.json", metavar="FILE",
                        help="where the numbers go")
    parser.add_argument("--from-json", type=pathlib.Path, metavar="FILE", help="only rewrite the page")
    parser.add_argument("--no-page", action="store_true", help="leave docs/performance.md alone")
    options = parser.parse_args()
    options.python = options.python or [sys.executable]
    options.net = options.net or ["resnet18", "resnet50"]
    if options.work != "network" and not options.from_json and not options.data.is_file():
        parser.error(f"--data {options.data}: no such file")
    return options


def run(options):
    works = {"both": ["train", "attack"], "network": [f"network {net}" for net in options.net]}
    works = works.get(options.work, [options.work])
    result = {"works": works, "size": options.size, "network_batch": options.network_batch,
              "date": datetime.date.today().isoformat(), "commit": commit(), "processor": processor(),
              "threads": options.threads, "rounds": options.rounds, "steps": options.steps, "data": options.data.name,
              "limit": options.limit, "train_batch": options.train_batch, "attack_batch": options.attack_batch,
              "attack_spec": ATTACK_SPEC}
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "run"
        if "attack" in works:
            train_model(options, model)
        for work in works:
            result[work] = compare(options, work, model)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    return result


def main():
    options = parse_options()
    result = json.loads(options.from_json.read_text()) if options.from_json else run(options)
    if options.no_page:
        print("\n\n".join(table(result, work) for work in result["works"]))
    else:
        print(update_page(result))


if __name__ == "__main__":
    main()
