#!/usr/bin/env python3
"""Compares the speed of this project's attacks with the same attacks in plain PyTorch (pytorch_attacks.py) on the CPU:
PGD-10, MI-FGSM and the Square attack, on `cnn` at 28 and `resnet18` at 64 pixels, with the weights of a short training.

    python3 tests/bench/compare_attacks.py --python /usr/bin/python3 --newest OTHER_ENV/bin/python3
    python3 tests/bench/compare_attacks.py --only cnn,square --no-page

Every engine is a process that stays; rounds alternate between them, one at work at a time, and medians are compared.
PyTorch runs in eval mode, without weight gradients, with denormals flushed, in the better memory format; a newer one also
compiled where that is faster; and once more with the network traced and frozen by TorchScript. torchattacks has a row
where a Python has it. All sides attack the same images with the same weights: gradient attacks take every step on every
image, Square asks of those that stand. The passes of all sides must agree, or nothing is compared.
Writes a JSON file and the tables of docs/performance.md.
"""
import argparse
import contextlib
import datetime
import json
import pathlib
import subprocess
import sys
import time

from compare_pytorch import ROOT, WORKER, Engine, commit, measure, processor, replace_on_page, timing

DATA = ROOT.parent / "shared" / "data"
NETS = {  # trained with these; the number of images of a round and of Square's queries
    "cnn": {"data": DATA / "pneumoniamnist.npz", "size": 28, "train": ["--epochs", 3], "limit": 512, "queries": 1000},
    "resnet18": {"data": DATA / "bloodmnist_28.npz", "size": 64, "train": ["--size", 64, "--epochs", 1], "limit": 128,
                 "queries": 100},
}
ROWS = ["plain", "frozen", "torchattacks"]  # whose attacks PyTorch runs, and on what
CODE = ROWS + ["folded"]
TITLES = {"plain": "", "folded": ", batch norms folded", "frozen": ", TorchScript frozen", "bf16": ", bf16",
          "torchattacks": ", torchattacks"}
EPS = 8 / 255
SMALL = 1 / 2550  # so small that Square fools next to no image, and all queries are spent on those that were right
# By which the engines' passes may differ: the clean pass that not all make, and images that other rounding fools.
PASSES_APART, SHARE_APART = 2, 0.02
ATTACKS = {
    "pgd": {"spec": "pgd:eps=8/255,alpha=2/255,steps=10", "options": {"eps": EPS, "alpha": EPS / 4, "steps": 10}},
    "mifgsm": {"spec": "mifgsm:eps=8/255,alpha=0.8/255,steps=10,mu=1",
               "options": {"eps": EPS, "alpha": EPS / 10, "steps": 10, "mu": 1.0}},
    "square": {"spec": "square:eps=0.1/255,queries={queries}", "options": {"eps": SMALL, "stop": True}},
}


def run(options, program, *arguments):
    command = [options.bin / program, *arguments]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def prepared(options, net):
    """A trained run, and the folder with the images of its test part as both sides see them."""
    model, images = options.runs / net, options.runs / f"{net}-images"
    if not (model / "model.safetensors").exists():
        run(options, "mith-train", "--data", NETS[net]["data"], "--net", net, *NETS[net]["train"], "--out", model,
            "--force", "--quiet", "--threads", options.threads)
    if not (images / "images.npy").exists():
        run(options, "mith-evaluate", "--model", model, "--data", NETS[net]["data"], "--dump", images, "--quiet",
            "--threads", options.threads)
    return model, images


def mithridate(options, work, model):
    spec = work["spec"]
    for extra in [""] + work["mith"]:
        yield Engine(f"Mithridate {extra}".strip(),
                     [options.bin / "mith-bench", "attack", "--wait", "--threads", options.threads, "--batch",
                      work["batch"], "--data", work["data"], "--model", work.get("model", model), "--attack", spec,
                      "--limit", work["limit"], *extra.split()])


def has_torchattacks(python):
    return subprocess.run([python, "-c", "import torchattacks"], capture_output=True).returncode == 0


def pytorch(options, work, model, images):
    for python in dict.fromkeys(options.python + options.newest):
        for by in work["by"]:
            if by == "torchattacks" and not has_torchattacks(python):
                continue
            request = {"work": "named", "by": by, "data": str(images), "model": str(model / "model.safetensors"),
                       "batch": work["batch"], "limit": work["limit"], "threads": options.threads,
                       "attack": {"name": work["attack"], **work["options"]}, "flush_denormal": True,
                       "configuration": None, "quick": work["attack"] == "square"}
            # The first process tries the candidates, so that what they leave in memory is in nobody's figures.
            short = {**request["attack"], **work.get("trial", {})}
            trial = Engine(python, [python, "-B", WORKER], {**request, "attack": short})
            trial.close()
            request["configuration"] = trial.ready["configuration"]
            engine = Engine(python, [python, "-B", WORKER], request)
            engine.label = f"PyTorch {engine.ready['torch'].split('+')[0]}" + TITLES[by]
            yield engine


def compare(options, work, prepare):
    model, images = prepare(options, work["net"])
    engines = []
    with contextlib.ExitStack() as stack:
        for make in (mithridate(options, work, model), pytorch(options, work, model, images)):
            for engine in make:
                engines.append(engine)
                stack.callback(engine.close)
        for i in range(options.rounds):
            for engine in engines[i % len(engines):] + engines[: i % len(engines)]:
                time.sleep(options.pause)  # idle worker threads of the one before stop spinning
                engine.rounds.append(measure(engine, 1))
            print(f"{work['title']} {i + 1}/{options.rounds}: " +
                  ", ".join(f"{e.label} {e.rounds[-1]['seconds']:.3f} s" for e in engines), file=sys.stderr)
    forwards = [engine.rounds[-1]["forwards"] for engine in engines]
    if not max(forwards) <= PASSES_APART + (1 + SHARE_APART) * min(forwards):
        raise SystemExit(f"{work['title']}: the engines' work differs: {forwards} passes an image")
    return [{**engine.row(), "forwards": count} for engine, count in zip(engines, forwards)]


def works(options):
    for net, setup in NETS.items():
        for name, attack in ATTACKS.items():
            if options.only and not {net, name} & set(options.only) == set(options.only):
                continue
            queries = options.queries or setup["queries"]
            limit = options.limit or (options.batch if name == "square" else setup["limit"])
            spec = attack["spec"].format(queries=queries)
            extra = {"queries": queries} if name == "square" else {}
            short = {"queries": min(queries, 50)} if name == "square" else {}  # they tell as much as a thousand
            yield {"net": net, "by": options.by or ROWS, "mith": options.mith, "data": str(setup["data"]),
                   "batch": options.batch, "attack": name, "spec": spec,
                   "options": {**attack["options"], **extra}, "trial": short, "limit": limit,
                   "title": f"`{spec}` on {limit} images of {setup['data'].name}, `{net}` at {setup['size']} pixels, "
                            f"batch {options.batch}"}


def table(work):
    rows = work["rows"]
    lines = [f"### {work['title']}", "",
             "| engine | chosen | median s | range s | images/s | time relative to Mithridate | passes an image | "
             "accuracy left |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(timing(row, rows[0]) + f"{row['forwards']:.1f} | {row['accuracy']:.3f} |")
    return "\n".join(lines)


def content(result, as_table):
    return "\n\n".join([f"{result['date']}, commit {result['commit']}, {result['processor']}, {result['threads']} "
                        f"threads, medians of {result['rounds']} alternating rounds.", *map(as_table, result["works"])])


def option_parser(description, name, rows, batch):
    """What the comparisons of attacks have in common; files are kept under the name."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build" / "bin", help="folder of the programs")
    parser.add_argument("--runs", type=pathlib.Path, default=ROOT / "runs" / name,
                        help="where networks and their images are kept")
    parser.add_argument("--python", action="append", default=[], help="an interpreter that has torch; may be repeated")
    parser.add_argument("--newest", action="append", default=[], metavar="PYTHON", help="another, with a newer torch")
    parser.add_argument("--by", action="append", default=[], choices=rows,
                        help="only these rows of PyTorch; may be repeated")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between rounds")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "build" / f"{name}.json", metavar="FILE",
                        help="where the numbers go")
    parser.add_argument("--no-page", action="store_true", help="leave docs/performance.md alone")
    parser.add_argument("--from-json", type=pathlib.Path, action="append", default=[], metavar="FILE",
                        help="only rewrite the page; may be repeated, the tables of all files follow each other")
    return parser


def parse_options():
    parser = option_parser(__doc__, "compare_attacks", CODE, batch=128)
    parser.add_argument("--mith", action="append", default=[], metavar="OPTIONS",
                        help='one more row of ours with these options, e.g. --mith="--provider all=native"')
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], metavar="NET,ATTACK",
                        help="one net, one attack, or one of each")
    parser.add_argument("--limit", type=int, default=0, help="images attacked a round; 0: as many as NETS says")
    parser.add_argument("--queries", type=int, default=0, help="of Square; 0: as many as NETS says")
    options = parser.parse_args()
    options.python = options.python or [sys.executable]
    unknown = set(options.only) - {*NETS, *ATTACKS}
    if unknown:
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join([*NETS, *ATTACKS])}")
    return options


def measured(options, works, prepare):
    result = {"date": datetime.date.today().isoformat(), "commit": commit(), "processor": processor(),
              "threads": options.threads, "rounds": options.rounds, "works": []}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    for work in works(options):
        result["works"].append({**work, "rows": compare(options, work, prepare)})
        options.json.write_text(json.dumps(result, indent=1) + "\n")  # what is measured is kept if the next one fails
    return result


def page_of(options, works=works, prepare=prepared, as_table=table):
    """What was measured, or is kept in files: of each its date and commit, then its tables."""
    results = [json.loads(file.read_text()) for file in options.from_json] or [measured(options, works, prepare)]
    return "\n\n".join(content(result, as_table) for result in results)


def main():
    options = parse_options()
    page = page_of(options)
    if not options.no_page and not options.only:
        replace_on_page("compare_attacks", page)
    print(page)


if __name__ == "__main__":
    main()
