#!/usr/bin/env python3
"""Compares PGD-10 on torchvision's networks at 224 pixels, batch 16, with PyTorch on the CPU: frozen and eager here,
eager with batch norms as they are and folded there, the newest PyTorch also compiled where that is faster; the residual
networks on both sides in bf16 too, on a processor that multiplies it.

    python3 tests/bench/compare_frozen.py --python /usr/bin/python3 --newest OTHER_ENV/bin/python3
    python3 tests/bench/compare_frozen.py --net resnet50 --rounds 3 --no-page

Real images, enlarged; fresh weights, the same on both sides (a training would take days, and time does not depend on
them). The rest is as in compare_attacks.py. Writes a JSON file and the tables of docs/performance.md.
"""
import pathlib
import sys

import numpy as np

from compare_attacks import DATA, EPS, option_parser, page_of, run
from compare_pytorch import ROOT, replace_on_page, timing

NETS = ["resnet50", "resnet18", "densenet121", "efficientnet_b0", "vgg16"]
UNFOLDED = ["vgg16"]  # no batch norms
NARROW = ["resnet50", "resnet18"]  # also in bf16
BF16_FLAGS = {"amx_bf16", "avx512_bf16"}  # in /proc/cpuinfo, of a processor that multiplies it
SOURCE, SIZE, CLASSES = DATA / "bloodmnist_28.npz", 224, 8
SPEC = "pgd:eps=8/255,alpha=2/255,steps=10"


def enlarged(images):
    """u8 [n,28,28,3] -> [n,224,224,3], each pixel a square."""
    return images.repeat(SIZE // images.shape[1], axis=1).repeat(SIZE // images.shape[2], axis=2)


def folder_of(options, net):
    return options.runs / f"{net}-{options.batch}"


def prepared(options, net):
    """The folder of a network's weights, and that of the images, both as both sides read them."""
    folder = folder_of(options, net)
    if not (folder / "model.safetensors").exists():
        folder.mkdir(parents=True, exist_ok=True)
        archive = np.load(SOURCE)
        images, labels = archive["test_images"][: options.batch], archive["test_labels"][: options.batch].reshape(-1)
        np.save(folder / "images.npy", enlarged(images).astype(np.float32) / 255)
        np.save(folder / "labels.npy", labels.astype(np.int64))
        run(options, "mith-export-network", net, CLASSES, folder)
    return folder, folder


def data(options):
    """The same images as a file that mith-bench reads."""
    file = options.runs / f"images{options.batch}.npz"
    if not file.exists():
        options.runs.mkdir(parents=True, exist_ok=True)
        archive = np.load(SOURCE)
        few = {"train": 64, "val": 16, "test": options.batch}
        np.savez(file, **{f"{part}_images": enlarged(archive[f"{part}_images"][:n]) for part, n in few.items()},
                 **{f"{part}_labels": archive[f"{part}_labels"][:n] for part, n in few.items()})
    return file


def multiplies_bf16():
    return not BF16_FLAGS.isdisjoint(pathlib.Path("/proc/cpuinfo").read_text().split())


def works(options):
    for net in options.net or NETS:
        narrow = net in NARROW and multiplies_bf16()
        by = [row for row in options.by if row != "folded" or net not in UNFOLDED] + (["bf16"] if narrow else [])
        yield {"net": net, "attack": "pgd", "by": by,
               "mith": ["--eager"] + (["--precision bf16"] if narrow else []), "data": str(data(options)),
               "batch": options.batch, "limit": options.batch,
               "model": f"{net}@{folder_of(options, net) / 'model.safetensors'}",
               "spec": SPEC, "options": {"eps": EPS, "alpha": EPS / 4, "steps": 10},
               "trial": {"steps": 3},  # seconds a round, which tells layouts apart
               "title": f"`{net}`, `{SPEC}`, {SIZE} x {SIZE} pixels, batch {options.batch}"}


def table(work):
    rows = work["rows"]
    lines = [f"### {work['title']}", "",
             "| engine | chosen | median s | range s | passes/s | time relative to frozen | peak resident MiB |",
             "|---|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(timing(row, rows[0], passes=10) + f"{row['peak_resident_mib']:.0f} |")
    return "\n".join(lines)


def parse_options():
    parser = option_parser(__doc__, "compare_frozen", ["plain", "folded"], batch=16)
    parser.add_argument("--net", action="append", default=[], choices=NETS, help="may be repeated; all unless given")
    options = parser.parse_args()
    options.python = options.python or [sys.executable]
    options.by = options.by or ["plain", "folded"]
    return options


def main():
    options = parse_options()
    page = page_of(options, works, prepared, table)
    if not options.no_page and not options.net:
        replace_on_page("compare_frozen", page)
    print(page)


if __name__ == "__main__":
    main()
