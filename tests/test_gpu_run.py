#!/usr/bin/env python3
"""tests/gpu/run on the checker: what passes, fails and is refused is told apart. Standard library only."""
import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("MITH_BIN", ROOT / "build/bin"))


def run(out, *arguments, binaries=BIN, path=None):
    environment = dict(os.environ, **({"PATH": path} if path else {}))
    done = subprocess.run([sys.executable, ROOT / "tests/gpu/run", "--bin", binaries, "--out", out, *arguments],
                          capture_output=True, text=True, env=environment, timeout=300, check=False)
    report = json.loads(out.read_text()) if out.exists() else None
    return done, report


def program(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Run(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)

    def test_the_checker_passes_and_has_no_compute_sanitizer(self):
        done, report = run(self.path / "r.json", "--device", "simt", "--files", "kernels,loss", "--budget", "0")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        outcomes = {row["group"]: row["outcome"] for row in report["groups"]}
        self.assertEqual(outcomes["suite kernels"], "passed")
        self.assertEqual(outcomes["suite loss"], "passed")
        self.assertEqual([outcomes[f"compute-sanitizer {tool}"] for tool in
                          ("memcheck", "racecheck", "initcheck", "synccheck")], ["refused"] * 4)
        self.assertEqual((report["passed"], report["failed"], report["refused"]), (2, 0, 4))
        self.assertIn("assertions:", report["groups"][0]["detail"])

    def test_a_machine_without_the_device_is_no_failure(self):
        program(self.path / "mith-tests", 'echo "mith-tests: device cuda is not available here" >&2; exit 2\n')
        program(self.path / "mith-train", "echo mith-train 0\n")
        done, report = run(self.path / "r.json", "--files", "kernels", "--only", "suite", binaries=self.path)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(report["groups"][0]["outcome"], "refused")

    def test_failures_of_tests_and_of_the_sanitizer_are_failures(self):
        program(self.path / "mith-tests", "echo '[doctest] assertions: 5 | 4 passed | 1 failed |'; exit 1\n")
        program(self.path / "mith-train", "echo mith-train 0\n")
        program(self.path / "compute-sanitizer", 'echo "========= ERROR SUMMARY: 3 errors"; exit 99\n')
        done, report = run(self.path / "r.json", "--files", "kernels", "--only", "suite", "--only", "sanitizer",
                           binaries=self.path, path=f"{self.path}:{os.environ['PATH']}")
        self.assertEqual(done.returncode, 1)
        self.assertEqual([row["outcome"] for row in report["groups"]], ["failed"] * 5)
        self.assertEqual(report["groups"][1]["detail"], "ERROR SUMMARY: 3 errors")
        self.assertIn("1 failed", report["groups"][0]["output"])

    def test_wrong_arguments(self):
        done, _ = run(self.path / "r.json", "--files", "kernel")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no kernel", done.stderr)
        done, _ = run(self.path / "r.json", binaries=self.path)
        self.assertEqual(done.returncode, 2)
        self.assertIn("holds no mith-tests", done.stderr)

    def test_benchmarks_add_rows_and_resume(self):
        done, report = run(self.path / "r.json", "--device", "simt", "--only", "bench", "--budget", "0.01")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(report["groups"][0]["outcome"], "passed")


if __name__ == "__main__":
    unittest.main()
