#!/usr/bin/env python3
"""The gallery of wrong kernels (simt/gallery.cu): each must be caught by the means named here, with the lines marked
in the source, and its correct twin must pass 200 orders of its threads without a word. Standard library only.

    MITH_BIN=build/bin python3 tests/test_gallery.py
"""
import os
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("MITH_BIN", ROOT / "build/bin"))
SOURCE = (ROOT / "tests/simt/gallery.cu").read_text().splitlines()
VARIANTS = ("", "-ucontext", "-asan", "-tsan")

# wrong kernel: [(variant, what its report must contain)]; {name} is the number of the line marked "here: name".
EXPECTED = {
    "missing_barrier": [
        ("", r"seed 1: \d+ of 64 elements are wrong"),
        ("-tsan", r"data race"),
        ("-tsan", r"gallery\.cu:{missing_barrier write}\b"),
        ("-tsan", r"gallery\.cu:{missing_barrier read}\b"),
        ("-tsan", r"reverse<false>\(.*\)::held"),
    ],
    "divergent_barrier": [
        ("", r"divergent barrier: .*40 at __syncthreads, gallery\.cu:{divergent_barrier one};"
             r" 24 at __syncthreads, gallery\.cu:{divergent_barrier other}\)"),
    ],
    "stuck": [
        ("", r"stuck: .*33 at __syncthreads, gallery\.cu:{stuck barrier};"
             r" 31 in a warp operation, gallery\.cu:{stuck warp}\)"),
    ],
    "shared_out_of_bounds": [
        ("-asan", r"global-buffer-overflow .*gallery\.cu:{shared_out_of_bounds}\b"),
        ("-asan", r"0 bytes to the right of global variable 'held'"),
    ],
    "dynamic_out_of_bounds": [
        ("-asan", r"heap-buffer-overflow .*gallery\.cu:{dynamic_out_of_bounds}\b"),
    ],
    "tensor_overrun": [
        ("", r"gallery_kernel wrote outside its tensors: 'the gallery's y' \(256 bytes\), 0 bytes behind its end"),
        ("-asan", r"use-after-poison .*gallery\.cu:{tensor_overrun}\b"),
    ],
    "uninitialised": [("", r"seed 0: 1 of 64 elements are wrong")],
    "host_read": [
        ("", r"host code touched device memory of 'the gallery's weights' \(16 bytes\) at byte 8"),
        ("-asan", r"SEGV .*gallery\.cu:{host_read}\b"),
    ],
    "warp_synchronous": [
        ("", r"seed 1: \d+ of 64 elements are wrong"),
        ("-tsan", r"gallery\.cu:{warp_synchronous write}\b"),
        ("-tsan", r"gallery\.cu:{warp_synchronous read}\b"),
    ],
    "block_size": [("", r"seed 0: wrong at block sizes 1 32\b")],
}
CORRECT_ONLY = {"legal"}


def marked(name):
    lines = [number for number, text in enumerate(SOURCE, 1) if text.endswith(f"// here: {name}")]
    assert len(lines) == 1, f"{name} is marked on {len(lines)} lines"
    return lines[0]


def run(variant, *arguments):
    return subprocess.run([BIN / f"simt-gallery{variant}", *arguments], capture_output=True, text=True, timeout=120)


class Gallery(unittest.TestCase):
    def setUp(self):
        self.variants = [v for v in VARIANTS if (BIN / f"simt-gallery{v}").exists()]
        self.assertIn("", self.variants)

    def test_every_kernel_is_expected(self):
        self.assertEqual(set(run("", "list", "right", "0", "0").stdout.split()), EXPECTED.keys() | CORRECT_ONLY)

    def test_wrong_kernels_are_caught_and_named(self):
        for name, reports in EXPECTED.items():
            for variant, pattern in reports:
                pattern = re.sub(r"\{([a-z_ ]+)\}", lambda m: str(marked(m[1])), pattern)
                for variant in [variant] if variant else ["", "-ucontext"]:
                    if variant not in self.variants:
                        continue
                    with self.subTest(kernel=name, variant=variant or "plain", report=pattern):
                        # Race reports depend on what TSan's history still holds; a few orders are shown to it.
                        result = run(variant, name, "wrong", "0", "3")
                        self.assertNotEqual(result.returncode, 0)
                        self.assertRegex(result.stdout + result.stderr, pattern)

    def test_correct_twins_pass_in_any_order(self):
        for name in EXPECTED.keys() | CORRECT_ONLY:
            for variant in self.variants:
                with self.subTest(kernel=name, variant=variant or "plain"):
                    result = run(variant, name, "right", "0", "200")
                    self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))


if __name__ == "__main__":
    unittest.main()
