#!/usr/bin/env python3
"""What JSMA's exact search over all pairs of values costs on images of 224 x 224 x 3: time and peak memory of 20 steps.

    python3 tests/bench/jsma_size.py

`resnet18`, trained for an epoch on a phantom; steps so small that no image is fooled, so that all are taken. Writes
docs/performance.md. Standard library only.
"""
import argparse
import datetime
import json
import pathlib
import subprocess
import tempfile

from compare_pytorch import ROOT, commit, processor, replace_on_page

DATA = "synthetic:xray:n=60,size=224"
SIZE, STEPS, IMAGES = 224, 20, 4
ATTACK = f"jsma:theta=0.001,gamma={2 * STEPS}/{SIZE * SIZE * 3}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build" / "bin", help="folder of the programs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-page", action="store_true", help="leave docs/performance.md alone")
    options = parser.parse_args()

    def run(program, *arguments):
        command = [str(part) for part in (options.bin / program, *arguments, "--quiet", "--threads", options.threads)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "model"
        run("mith-train", "--data", DATA, "--net", "resnet18:channels=3", "--epochs", 2, "--out", model)
        # A process of its own: the peak of all children would be the training's.
        script = ("import json, resource, subprocess, sys; "
                  "text = subprocess.run(sys.argv[1:], check=True, stdout=subprocess.PIPE, text=True).stdout; "
                  "print(json.dumps([json.loads(text), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))")
        command = ["python3", "-c", script, options.bin / "mith-evaluate", "--model", model, "--data", f"{DATA}:train",
                   "--attack", ATTACK, "--limit", IMAGES, "--batch", 1, "--report", pathlib.Path(folder) / "report",
                   "--json", "--quiet", "--threads", options.threads]
        report, peak = json.loads(subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE,
                                                 text=True).stdout)
    row = report["rows"][1]
    taken = row["gradients_mean"] * row["n"] / max(row["attacked"], 1) / 2
    if not (row["attacked"] > 0 and taken == STEPS):
        raise SystemExit(f"{row['attacked']} images were attacked with {taken} steps, not {STEPS}")
    content = (f"{datetime.date.today().isoformat()}, commit {commit()}, {processor()}, {options.threads} threads: "
               f"{STEPS} steps on one image take {row['seconds'] / row['attacked']:.1f} s (mean of {row['attacked']}), and "
               f"the whole program {peak / 1024:.0f} MiB.")
    if not options.no_page:
        replace_on_page("jsma", content)
    print(content)


if __name__ == "__main__":
    main()
