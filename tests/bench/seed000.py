#!/usr/bin/env python3
"""Repeats the attacks of study 000 as they are meant and with its normalisation error; writes the tables of
docs/findings.md.

    python3 tests/bench/seed000.py                    may be stopped and started again
    python3 tests/bench/seed000.py --limit 20 --epochs 1 --no-page

`cnn` on PneumoniaMNIST and BloodMNIST. Universal perturbation and patch are crafted on the training part; every figure is
of the test part. Standard library only.
"""
import argparse
import datetime
import sys

from compare_pytorch import ROOT, processor, replace_on_page
from evaluations import DATA, Programs, add_options, interval

PAGE = ROOT / "docs" / "findings.md"
SETS = {"pneumoniamnist": DATA / "pneumoniamnist.npz", "bloodmnist_28": DATA / "bloodmnist_28.npz"}
ATTACKS = {
    "clean": None,
    "PGD, 0.03": "pgd:eps=0.03,alpha=0.01,steps=5,random_start=false",
    "noise, 0.03": "noise:eps=0.03",
    "patch, 10 x 10, blend 0.05": "patch:size=10,beta=0.05,rate=0.01,passes=20",
    "UAP, 0.05": "uap:eps=0.05,rate=0.01,passes=10",
    "noise, 0.05": "noise:eps=0.05",
}
UNIVERSAL = ("patch", "uap")
ERROR = "--repeat-seed000-error"
PUBLISHED = {"clean": "0.97", "PGD, 0.03": "0.22", "patch, 10 x 10, blend 0.05": "0.26", "UAP, 0.05": "0.21"}


def evaluated(options, programs, model, data, attack, error):
    craft = ["--craft", f"{data}:train"] if attack and attack.startswith(UNIVERSAL) else []
    return programs.row(model, f"{data}:test", attack, options.limit, [*craft, *([ERROR] if error else [])])


def section(options, programs, name, data):
    model = programs.trained(f"{name}-cnn", "--data", data, "--net", "cnn")
    lines = [f"### {name}, `cnn`", "",
             "| attack | accuracy [95 %] | balanced | with the error | balanced | the study, on its own images |",
             "|---|---|---|---|---|---|"]
    for title, attack in ATTACKS.items():
        right, wrong = (evaluated(options, programs, model, data, attack, error) for error in (False, True))
        lines.append(f"| {title} | {interval(right)} | {right['balanced_accuracy']:.3f} | {interval(wrong)} | "
                     f"{wrong['balanced_accuracy']:.3f} | {PUBLISHED.get(title, '')} |")
    classes = len(right["recall"])
    return "\n".join(lines + ["", f"{right['n']} images; a guess among the {classes} classes has a balanced accuracy of "
                                  f"{1 / classes:.3f}."])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "seed000")
    parser.add_argument("--limit", type=int, default=0, help="images of the test part; 0: all")
    parser.add_argument("--only", default="", help="part of a data set's name; the page is left alone")
    options = parser.parse_args()
    missing = [path for path in SETS.values() if not path.exists()]
    if missing:
        parser.error(f"{missing[0]} is not there")
    programs = Programs(options)
    sections = [section(options, programs, name, data) for name, data in SETS.items() if options.only in name]
    content = "\n\n".join([f"{datetime.date.today().isoformat()}, commit {programs.commit}, {processor()}, seed 0.", *sections])
    if not options.no_page and not options.only:
        replace_on_page("seed000", content, PAGE)
    print(content)


if __name__ == "__main__":
    sys.exit(main())
