"""What the tests of the programs share: running them, reading and writing their files, a trained baseline.

Needs only Python's standard library and MITH_BIN, the folder of the binaries.
"""

import array
import ast
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zipfile

BIN = pathlib.Path(os.environ.get("MITH_BIN", "build/bin")).resolve()
COMMAND_SECONDS = int(os.environ.get("MITH_COMMAND_SECONDS", 120))  # a sanitizer needs more
DATA = "synthetic:histology:n=200,size=32"
EPS = 8 / 255
SCRATCH = None  # made by setUpModule, with a trained baseline in it


def run(program, *arguments, code=0, **options):
    """Runs a program and requires its exit code; returns the finished process with text output."""
    done = subprocess.run([BIN / program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=COMMAND_SECONDS, **options)
    if done.returncode != code:
        raise AssertionError(f"{program} {' '.join(map(str, arguments))}\nexit code {done.returncode}, not {code}\n"
                             f"{done.stdout}{done.stderr}")
    return done


def setUpModule():
    global SCRATCH
    SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="mith-apps-"))
    os.environ["MITH_CACHE"] = str(SCRATCH / "cache")
    run("mith-train", "--data", DATA, "--net", "cnn", "--epochs", 3, "--batch", 32, "--out", SCRATCH / "baseline")


def tearDownModule():
    shutil.rmtree(SCRATCH, ignore_errors=True)


def read_npy(path):
    """(dtype text, shape, values) of a .npy file of f32 or i64."""
    raw = pathlib.Path(path).read_bytes()
    assert raw[:6] == b"\x93NUMPY", path
    length = struct.unpack("<H", raw[8:10])[0]
    header = ast.literal_eval(raw[10:10 + length].decode())
    values = array.array({"<f4": "f", "<i8": "q"}[header["descr"]])
    values.frombytes(raw[10 + length:])
    return header["descr"], header["shape"], values


def npy(descr, shape, content):
    header = repr({"descr": descr, "fortran_order": False, "shape": tuple(shape)})
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


def npz(path, **changes):
    """A small, valid file of MedMNIST's layout with some of its arrays replaced."""
    arrays = {}
    for part, n in (("train", 40), ("val", 10), ("test", 10)):
        pixels = bytes((i * 7 + (i // 784) % 2 * 100) % 256 for i in range(n * 784))
        arrays[part + "_images"] = npy("|u1", (n, 28, 28), pixels)
        arrays[part + "_labels"] = npy("|u1", (n, 1), bytes(i % 2 for i in range(n)))
    arrays.update(changes)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in arrays.items():
            archive.writestr(name + ".npy", content)
    return path


def bmp(path, value):
    """An 8 x 8 grey image."""
    pixels = bytes([value] * 3) * 64
    head = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 24, 0, len(pixels), 0, 0, 0, 0) + pixels)


def safetensors(path):
    """(header, data) of a safetensors file."""
    raw = pathlib.Path(path).read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8:8 + length]), raw[8 + length:]


def write_safetensors(path, header, data, length=None):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


class Scratch(unittest.TestCase):
    """Gives every test a folder of its own."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(dir=SCRATCH))
        self.baseline = SCRATCH / "baseline"

    def tearDown(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def image_folder(self):
        folder = self.dir / "images"
        for i in range(40):
            bmp(folder / ("dark" if i % 2 else "light") / f"{i}.bmp", 60 + 3 * i if i % 2 else 250 - 3 * i)
        return folder


def main():
    if not (BIN / "mith-train").exists():
        print("MITH_BIN names no folder with mith-train")
        sys.exit(1)
    unittest.main(verbosity=2)
