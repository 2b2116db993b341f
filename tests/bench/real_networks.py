#!/usr/bin/env python3
"""Trains networks on real images and writes what they reach into docs/performance.md.

    python3 tests/bench/real_networks.py                     all, three quarters of an hour on two cores
    python3 tests/bench/real_networks.py --only resnet18     those whose title contains this
    python3 tests/bench/real_networks.py --out FOLDER        keep the runs; a finished one there is not trained again

Every training is one command line, printed below the table; the figures are mith-evaluate's on the test part. Standard
library only.
"""
import argparse
import datetime
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

from compare_pytorch import ROOT, commit, processor, replace_on_page

DATA = ROOT.parent / "shared" / "data"
BLOOD, CHEST = DATA / "bloodmnist_28.npz", DATA / "chest_xray"
WEIGHTS = DATA / "weights" / "mobilenet_v2_imagenet.safetensors"
TRAININGS = {
    "resnet18 from scratch": ["--data", BLOOD, "--net", "resnet18:stem=3x3", "--epochs", 5, "--schedule", "cosine",
                              "--augment", "flip", "--class-weights", "none"],
    "leukaemia network": ["--data", BLOOD, "--net", "rdmaa-leukemia", "--size", 64, "--epochs", 24, "--patience", 24,
                          "--schedule", "cosine", "--augment", "flip,rotate:180", "--class-weights", "none"],
    "chest: cnn": ["--data", CHEST, "--net", "cnn", "--size", 128],
    "chest: mobilenet_v2 from ImageNet": ["--data", CHEST, "--net", "mobilenet_v2:normalize=half", "--size", 128,
                                          "--init", WEIGHTS, "--fixed-statistics", "--epochs", 5, "--schedule",
                                          "cosine"],
}


def run(options, program, *arguments):
    command = [options.bin / program, *arguments]
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def trained(options, title, folder):
    """The row of the run's test part, and the seconds of its epochs."""
    arguments = TRAININGS[title]
    if not (folder / "model.safetensors").exists():
        run(options, "mith-train", *arguments, "--out", folder)
    row = json.loads(run(options, "mith-evaluate", "--model", folder, "--data", f"{arguments[1]}:test", "--report",
                         folder / "report", "--json"))["rows"][0]
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {"title": title, "accuracy": row["accuracy"], "balanced": row["balanced_accuracy"], "auc": row["auc_macro"],
            "n": row["n"], "epochs": len(epochs), "seconds": sum(epoch["seconds"] for epoch in epochs),
            "command": shlex.join(["mith-train", *(str(a).replace(str(DATA), "../shared/data") for a in arguments)])}


def table(rows):
    lines = [f"{datetime.date.today().isoformat()}, commit {commit()}, {processor()}, seed 0.", "",
             "| network | test images | accuracy | balanced accuracy | AUC | epochs | seconds |",
             "|---|---|---|---|---|---|---|"]
    lines += [f"| {r['title']} | {r['n']} | {r['accuracy']:.4f} | {r['balanced']:.4f} | {r['auc']:.4f} | "
              f"{r['epochs']} | {r['seconds']:.0f} |" for r in rows]
    return "\n".join(lines + ["", *(f"    {r['command']}" for r in rows)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build" / "bin", help="folder of the programs")
    parser.add_argument("--only", default="", help="part of a title")
    parser.add_argument("--out", type=pathlib.Path, help="folder for the runs; a temporary one if none is named")
    options = parser.parse_args()
    if not BLOOD.exists() or not CHEST.exists() or not WEIGHTS.exists():
        parser.error(f"{DATA} has not the images and weights that this needs")
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or pathlib.Path(scratch)
        titles = [title for title in TRAININGS if options.only in title]
        rows = [trained(options, title, out / title.replace(":", "").replace(" ", "-")) for title in titles]
    print(table(rows))
    if not options.only:
        replace_on_page("learned", table(rows))


if __name__ == "__main__":
    sys.exit(main())
