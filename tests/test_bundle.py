#!/usr/bin/env python3
"""The relocatable bundle: packed by CPack, unpacked into an empty folder, and run from there. Standard library only.

    MITH_BUILD=build python3 tests/test_bundle.py
"""
import os
import pathlib
import re
import subprocess
import tarfile
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("MITH_BUILD", ROOT / "build")).resolve()
MOST_BYTES = 60 << 20
# What the machine brings: the loader, glibc and the kernel's page.
SYSTEM = re.compile(r"linux-vdso|ld-linux|/lib(c|m|dl|rt|pthread)\.so")


class Bundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        path = pathlib.Path(folder.name)
        subprocess.run(["cpack", "--config", BUILD / "CPackConfig.cmake", "-B", path / "pack"], check=True,
                       capture_output=True, cwd=path)
        cls.archive = next((path / "pack").glob("mithridate-*.tar.gz"))
        with tarfile.open(cls.archive) as archive:
            archive.extractall(path)
        cls.root = path / cls.archive.name.removesuffix(".tar.gz")
        cls.environment = {"PATH": "/usr/bin:/bin", "HOME": str(path), "OMP_NUM_THREADS": "2",
                           "MITH_CACHE": str(path / "cache")}

    def run_program(self, *command):
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=self.root,
                              env=self.environment, timeout=300, check=False)

    def test_size(self):
        self.assertLess(self.archive.stat().st_size, MOST_BYTES)

    def test_libraries_come_along(self):
        programs = list((self.root / "bin").glob("mith-*"))
        self.assertGreaterEqual({p.name for p in programs}, {"mith-train", "mith-attack", "mith-evaluate", "mith-bench",
                                                             "mith-tests"})
        for program in programs:
            for line in self.run_program("ldd", program).stdout.splitlines():
                with self.subTest(program=program.name, library=line.strip()):
                    self.assertNotIn("not found", line)
                    self.assertTrue(SYSTEM.search(line) or str(self.root) in line, "taken from outside the bundle")

    def test_it_trains_and_attacks(self):
        train = self.run_program("bin/mith-train", "--data", "synthetic:histology:n=60,size=32", "--net", "cnn",
                                 "--epochs", "1", "--device", "cpu", "--out", "run")
        self.assertEqual(train.returncode, 0, train.stderr)
        attack = self.run_program("bin/mith-evaluate", "--model", "run", "--attack", "fgsm", "--device", "cpu",
                                  "--data", "synthetic:histology:n=60,size=32", "--report", "report")
        self.assertEqual(attack.returncode, 0, attack.stderr)
        self.assertTrue((self.root / "report" / "report.html").exists())

    def test_it_tests_itself(self):
        done = self.run_program("tests/gpu/run", "--device", "cpu", "--only", "suite", "--files", "kernels,golden,ops")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("3 passed, 0 failed, 0 refused", done.stdout)


if __name__ == "__main__":
    unittest.main()
