#!/usr/bin/env python3
"""The plan of the house, read from the sources: who includes whom, file lengths, top-level folders, and that code
compiled for newer processors cannot leak into the rest of the program. Standard library only.

    python3 tests/test_structure.py        MITH_BUILD names the build folder whose objects are checked
"""
import os
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROOMS = ["kernels", "engine", "nets", "attacks", "defenses", "data", "apps", "tests"]
# docs/architecture.md, section 1: a room and the rooms it may include. Apps and tests may include anything.
ARROWS = {
    "kernels": {"kernels"},
    "engine": {"engine", "kernels"},
    "nets": {"nets", "engine", "kernels"},
    "attacks": {"attacks", "nets", "engine", "kernels"},
    "defenses": {"defenses", "attacks", "nets", "engine", "kernels"},
    "data": {"data", "engine", "kernels"},
}
# What a room above the engine may take from kernels: names and values, no kernel.
VOCABULARY = {f"kernels/launch/{name}.h" for name in ("dtype", "error", "num", "philox", "runtime", "table")}
GENERATED = re.compile(r"^mith_\w+\.h$")  # written by the build
CUDA_HEADER = re.compile(r"^(cuda|cublas|cudnn|curand|cusparse|nv|cub/|thrust/|mma\.h|cooperative_groups|device_)")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
LINES = 600


def sources(room, *endings):
    return [path for path in sorted((ROOT / room).rglob("*")) if path.suffix in endings]


def includes(path):
    """(is quoted, name) of every #include line."""
    return [(mark == '"', name) for mark, name in INCLUDE.findall(path.read_text())]


def shared_words(name):
    """Whether a header of kernels holds the structs and enumerations of a call alone, no kernel."""
    return bool(re.fullmatch(r"kernels/(map|row)/\w+\.h", name)) and "launch/launch.h" not in (ROOT / name).read_text()


class Includes(unittest.TestCase):
    def test_arrows_run_downward_only(self):
        for room, allowed in ARROWS.items():
            for path in sources(room, ".h", ".cpp", ".cu"):
                for quoted, name in includes(path):
                    if not quoted or GENERATED.match(name):
                        continue
                    with self.subTest(file=str(path.relative_to(ROOT)), include=name):
                        self.assertTrue((ROOT / name).is_file(), "quoted includes are paths from the project's root")
                        target = name.split("/")[0]
                        self.assertIn(target, allowed, f"{room} may include {', '.join(sorted(allowed))} only")
                        if target == "kernels" and room not in ("kernels", "engine"):
                            self.assertTrue(name in VOCABULARY or shared_words(name),
                                            "above the engine only the launch vocabulary is open, and the words that "
                                            "a kernel shares with its caller")

    def test_cuda_headers_stay_in_kernels(self):
        for room in set(ROOMS) - {"kernels"}:
            for path in sources(room, ".h", ".cpp", ".cu"):
                for quoted, name in includes(path):
                    with self.subTest(file=str(path.relative_to(ROOT)), include=name):
                        self.assertFalse(not quoted and CUDA_HEADER.match(name), "CUDA headers appear in kernels/ only")

    def test_includes_are_found_at_all(self):
        found = [name for room in ARROWS for path in sources(room, ".h") for _, name in includes(path)]
        self.assertGreater(len(found), 50)


class Tree(unittest.TestCase):
    def test_top_level_folders(self):
        folders = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.iterdir())}
        folders = {name for name in folders if not re.fullmatch(r"\.git|\.cache|build.*|runs", name)}
        self.assertEqual(folders - {".ci"}, {*ROOMS, "docs"})

    def test_no_file_is_too_long(self):
        for room in [*ROOMS, "docs"]:
            for path in sources(room, ".h", ".cpp", ".cu", ".py", ".cmake", ".md"):
                with self.subTest(file=str(path.relative_to(ROOT))):
                    self.assertLessEqual(len(path.read_text().splitlines()), LINES)


class Objects(unittest.TestCase):
    """Kernels of the v3 and v4 passes contain AVX2 and AVX-512 instructions. If such an object defined an inline
    function that others define too, the linker might keep this copy, and an older processor would meet it."""

    FUNCTIONS = set("TWi")  # global, weak, chosen at load time; V and u are data

    def foreign_functions(self, path, space):
        listing = subprocess.run(["nm", "-C", "--defined-only", str(path)], capture_output=True, text=True, check=True)
        for line in listing.stdout.splitlines():
            kind, symbol = line.split(maxsplit=2)[1:]
            if kind in self.FUNCTIONS and f"mith::{space}::" not in symbol:
                yield symbol

    def test_passes_define_only_their_own_functions(self):
        build = os.environ.get("MITH_BUILD")
        if not build:
            self.skipTest("MITH_BUILD is not set")
        for space in ("cpu_v3", "cpu_v4"):
            for path in sorted((pathlib.Path(build) / "kernels").rglob(f"mith_kernels_{space}.dir/**/*.o")):
                with self.subTest(object=path.name, space=space):
                    self.assertEqual(list(self.foreign_functions(path, space)), [])


if __name__ == "__main__":
    unittest.main()
