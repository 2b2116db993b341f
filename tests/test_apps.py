"""The programs as a user runs them: whole jobs on a small phantom, then everything that can be wrong with the input.

Needs only Python's standard library and MITH_BIN, the folder of the binaries.
"""

import array
import ast
import io
import json
import os
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

BIN = pathlib.Path(os.environ.get("MITH_BIN", "build/bin")).resolve()
DATA = "synthetic:histology:n=200,size=32"
EPS = 8 / 255
SCRATCH = None  # made by setUpModule, with a trained baseline in it


def run(program, *arguments, code=0, **options):
    """Runs a program and requires its exit code; returns the finished process with text output."""
    done = subprocess.run([BIN / program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=120, **options)
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


class Help(unittest.TestCase):
    def test_examples_come_first(self):
        for program in ("mith-train", "mith-attack", "mith-evaluate"):
            text = run(program, "--help").stdout
            self.assertIn("Examples:", text)
            self.assertLess(text.index("Examples:"), text.index("--device"))

    def test_version_names_build_and_instruction_set(self):
        text = run("mith-evaluate", "--version").stdout
        self.assertIn("0.1.0", text)
        self.assertIn("x86-64-v", text)

    def test_registry(self):
        listed = run("mith-attack", "--attack", "help").stdout
        for name in ("fgsm", "pgd", "noise"):
            self.assertIn(name, listed)
        described = run("mith-attack", "--attack", "help:pgd").stdout
        for word in ("eps", "steps", "8/255", "Madry"):
            self.assertIn(word, described)
        self.assertIn("cnn", run("mith-train", "--net", "help").stdout)
        self.assertIn("dropout", run("mith-train", "--net", "help:cnn").stdout)

    def test_suggestions(self):
        for program, arguments, expected in (
                ("mith-train", ["--epoch", "3"], "--epochs"),
                ("mith-attack", ["--model", "m", "--data", "d", "--out", "o", "--attack", "pdg"], "pgd"),
                ("mith-attack", ["--model", "m", "--data", "d", "--out", "o", "--attack", "pgd:step=3"], "steps"),
                ("mith-attack", ["--attack", "help:fgsn"], "fgsm"),
                ("mith-train", ["--data", DATA, "--net", "cnm", "--out", "o"], "cnn"),
                ("mith-train", ["--data", "synthetic:histolgy", "--net", "cnn", "--out", "o"], "histology")):
            with self.subTest(program=program, arguments=arguments):
                done = run(program, *arguments, code=2)
                self.assertIn(expected, done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)


class Training(Scratch):
    def train(self, *arguments, code=0, out="run", net=("--net", "cnn")):
        return run("mith-train", "--data", DATA, *net, "--batch", 32, "--out", self.dir / out, *arguments, code=code)

    def test_run_folder(self):
        names = {p.name for p in self.baseline.iterdir()}
        for name in ("config.json", "model.safetensors", "last.safetensors", "metrics.jsonl", "split.json"):
            self.assertIn(name, names)
        self.assertTrue(any(n.startswith("events.out.tfevents") for n in names), names)
        config = json.loads((self.baseline / "config.json").read_text())
        self.assertEqual(config["options"]["epochs"], 3)
        self.assertEqual(len(config["data"]["classes"]), 5)
        self.assertEqual(config["result"]["rows"][0]["attack"], None)
        header, _ = safetensors(self.baseline / "model.safetensors")
        for key in ("mithridate.net", "mithridate.normalize", "mithridate.classes"):
            self.assertIn(key, header["__metadata__"])
        epochs = [json.loads(line) for line in (self.baseline / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual(len(epochs), 3)

    def test_resume_continues_exactly(self):
        self.train("--epochs", 2, out="whole")
        self.train("--epochs", 1, out="parts")
        self.train("--epochs", 2, "--resume", out="parts")
        whole, parts = (safetensors(self.dir / d / "model.safetensors") for d in ("whole", "parts"))
        self.assertEqual(whole[1], parts[1])
        whole, parts = (safetensors(self.dir / d / "last.safetensors")[1] for d in ("whole", "parts"))
        self.assertEqual(whole, parts)

    def test_resume_refuses_other_options(self):
        self.train("--epochs", 1)
        self.assertIn("lr", self.train("--epochs", 2, "--lr", "0.1", "--resume", code=2).stderr)
        self.assertIn("no run", self.train("--resume", code=2, out="nothing").stderr)
        self.assertFalse((self.dir / "nothing").exists())

    def test_a_run_is_not_overwritten_unasked(self):
        self.train("--epochs", 1)
        before = (self.dir / "run/model.safetensors").read_bytes()
        self.assertIn("--force", self.train("--epochs", 1, "--seed", 5, code=2).stderr)
        self.assertEqual((self.dir / "run/model.safetensors").read_bytes(), before)
        self.train("--epochs", 1, "--seed", 5, "--force")
        self.assertNotEqual((self.dir / "run/model.safetensors").read_bytes(), before)

    def test_interrupt_leaves_whole_files(self):
        out = self.dir / "run"
        command = [BIN / "mith-train", "--data", DATA, "--net", "cnn", "--batch", "32", "--out", str(out)]
        process = subprocess.Popen(command + ["--epochs", "100000", "--patience", "100000"],
                                   stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.time() + 60
        while not (out / "last.safetensors").exists() and time.time() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        self.assertNotEqual(process.wait(timeout=60), 0)
        safetensors(out / "model.safetensors")
        report = self.dir / "report"
        run("mith-evaluate", "--model", out, "--data", DATA, "--report", report)
        self.assertTrue((report / "report.json").exists())

    def test_config_file(self):
        config = self.dir / "options.toml"
        config.write_text(f'data = "{DATA}"\nnet = "cnn"\nepochs = 3\nbatch = 64\nlr = 0.002\n')
        run("mith-train", "--config", config, "--epochs", 1, "--out", self.dir / "run")
        options = json.loads((self.dir / "run/config.json").read_text())["options"]
        self.assertEqual((options["epochs"], options["batch"], options["lr"]), (1, 64, 0.002))
        config.write_text("epoch = 3\n")
        done = run("mith-train", "--config", config, "--data", DATA, "--net", "cnn", "--out", self.dir / "x", code=2)
        self.assertIn("--epochs", done.stderr)
        self.assertIn("absent.toml", run("mith-train", "--config", "absent.toml", code=2).stderr)

    def test_summary(self):
        text = run("mith-train", "--data", DATA, "--net", "cnn", "--summary").stdout
        for word in ("conv1", "fc2", "parameters", "total"):
            self.assertIn(word, text)

    def test_freeze_and_rates(self):
        self.train("--epochs", 1, "--init", self.baseline, "--freeze", "conv1,conv2", "--lr-for", "fc2=1e-2", net=())
        before = safetensors(self.baseline / "model.safetensors")
        after = safetensors(self.dir / "run/model.safetensors")

        def value(file, name):
            first, last = file[0][name]["data_offsets"]
            return file[1][first:last]

        self.assertEqual(value(before, "conv1.weight"), value(after, "conv1.weight"))
        self.assertEqual(value(before, "conv2.bias"), value(after, "conv2.bias"))
        self.assertNotEqual(value(before, "conv3.weight"), value(after, "conv3.weight"))
        self.assertIn("conv1", self.train("--freeze", "conf1", code=2, out="other").stderr)
        self.assertIn("--lr-for", self.train("--lr-for", "fc9=1", code=2, out="other").stderr)
        self.assertFalse((self.dir / "other").exists())

    def test_head_is_replaced_for_other_classes(self):
        folder = self.dir / "images"
        for i in range(24):
            bmp(folder / ("dark" if i % 2 else "light") / f"{i}.bmp", 60 + 5 * i if i % 2 else 250 - 5 * i)
        done = run("mith-train", "--data", folder, "--init", self.baseline, "--epochs", 1, "--out", self.dir / "run")
        self.assertIn("fc2.weight", done.stderr)

    def test_adversarial(self):
        self.train("--epochs", 1, "--init", self.baseline, "--adversarial", "fgsm:eps=8/255", "--adversarial",
                   "pgd:eps=8/255,steps=2", "--adversarial-weight", "0.7", net=())
        metrics = (self.dir / "run/metrics.jsonl").read_text()
        self.assertIn("robust", metrics)

    def test_offline_adversarial_data(self):
        run("mith-attack", "--model", self.baseline, "--data", DATA + ":train", "--attack", "fgsm:eps=8/255", "--out",
            self.dir / "twins")
        self.train("--epochs", 1, "--init", self.baseline, "--adversarial-data", self.dir / "twins", net=())
        run("mith-attack", "--model", self.baseline, "--data", DATA + ":test", "--attack", "fgsm", "--out",
            self.dir / "test")
        done = self.train("--epochs", 1, "--adversarial-data", self.dir / "test", code=2, out="leak")
        self.assertIn("twin", done.stderr)
        self.assertFalse((self.dir / "leak").exists())

    def test_offline_data_of_other_images_is_refused(self):
        run("mith-attack", "--model", self.baseline, "--data", DATA + ",seed=5:train", "--attack", "fgsm", "--out",
            self.dir / "twins")
        done = run("mith-train", "--data", DATA + ",seed=6", "--net", "cnn", "--epochs", 1, "--adversarial-data",
                   self.dir / "twins", "--out", self.dir / "out", code=2)
        self.assertIn("seed=5", done.stderr)

    def test_foreign_files_are_not_replaced_unasked(self):
        (self.dir / "notes").mkdir()
        (self.dir / "notes/config.json").write_text("mine")
        done = run("mith-train", "--data", DATA, "--net", "cnn", "--epochs", 1, "--out", self.dir / "notes", code=2)
        self.assertIn("config.json", done.stderr)
        self.assertEqual((self.dir / "notes/config.json").read_text(), "mine")

    def test_json(self):
        done = self.train("--epochs", 1, "--json")
        self.assertEqual(json.loads(done.stdout)["result"]["rows"][0]["n"], 20)


class Attacking(Scratch):
    def attack(self, *arguments, out="out", code=0):
        return run("mith-attack", "--model", self.baseline, "--data", DATA, "--out", self.dir / out, *arguments,
                   code=code)

    def test_files(self):
        done = self.attack("--attack", "fgsm:eps=8/255", "--attack", "pgd:eps=8/255,steps=3", "--png")
        self.assertIn("survive", done.stdout)
        run("mith-evaluate", "--model", self.baseline, "--data", DATA, "--report", self.dir / "r", "--dump",
            self.dir / "dump")
        clean = read_npy(self.dir / "dump/images.npy")[2]
        for name in ("fgsm", "pgd"):
            descr, shape, values = read_npy(self.dir / "out" / name / "adversarial.npy")
            self.assertEqual((descr, shape), ("<f4", (20, 32, 32, 3)))
            self.assertTrue(all(0 <= v <= 1 for v in values))
            furthest = max(abs(a - b) for a, b in zip(values, clean))
            self.assertTrue(0 < furthest <= EPS + 1e-6, furthest)  # f32 rounding of x + delta
            for array_name in ("labels", "clean_predictions", "adversarial_predictions"):
                descr, shape, values = read_npy(self.dir / "out" / name / (array_name + ".npy"))
                self.assertEqual((descr, shape), ("<i8", (20,)))
                self.assertTrue(all(0 <= v < 5 for v in values))
        manifest = json.loads((self.dir / "out/attack.json").read_text())
        self.assertEqual([row.get("folder") for row in manifest["rows"]], [None, "fgsm", "pgd"])
        for row in manifest["rows"][1:]:
            pngs = list((self.dir / "out" / row["png"]["folder"]).rglob("*.png"))
            self.assertEqual(len(pngs), 20)
            self.assertLessEqual(row["png"]["successes_after"], row["png"]["successes_before"])

    def test_saved_images_are_what_was_evaluated(self):
        self.attack("--attack", "pgd:eps=8/255,steps=3", "--png")
        row = json.loads((self.dir / "out/attack.json").read_text())["rows"][1]
        right = round(json.loads((self.dir / "out/attack.json").read_text())["rows"][0]["accuracy"] * 20)
        folder = self.dir / "images"
        shutil.copytree(self.dir / "out/pgd/png", folder / "test")
        shutil.copytree(self.dir / "out/pgd/png", folder / "train")
        shutil.copytree(self.dir / "out/pgd/png", folder / "val")
        done = run("mith-evaluate", "--model", self.baseline, "--data", f"{folder}:test", "--report", self.dir / "r",
                   "--json")
        accuracy = json.loads(done.stdout)["rows"][0]["accuracy"]
        self.assertAlmostEqual(accuracy * 20, right - row["png"]["successes_after"], places=6)

    def test_same_seed_same_bytes_at_any_batch_size(self):
        for out, batch in (("a", 20), ("b", 20), ("c", 7)):
            self.attack("--attack", "pgd:eps=8/255,steps=2", "--batch", batch, "--provider", "all=native", out=out)
        a, b, c = ((self.dir / d / "pgd/adversarial.npy").read_bytes() for d in "abc")
        self.assertEqual(a, b)
        self.assertEqual(a, c)

    def test_limit_is_stratified(self):
        self.attack("--attack", "fgsm", "--limit", 10)
        labels = read_npy(self.dir / "out/fgsm/labels.npy")[2]
        self.assertEqual([list(labels).count(c) for c in range(5)], [2] * 5)

    def test_refusals(self):
        self.assertIn("--craft", self.attack("--attack", "pgd", "--craft", DATA + ":train", code=2).stderr)
        self.assertIn("defence", run("mith-attack", "--model", f"{self.baseline}+jpeg:quality=75", "--data", DATA,
                                     "--attack", "pgd", "--out", self.dir / "out", code=2).stderr)
        self.assertIn("bf16", self.attack("--attack", "pgd", "--precision", "bf16", code=2).stderr)
        self.assertIn("cudnnn", self.attack("--attack", "pgd", "--provider", "conv2d=cudnnn", code=2).stderr)
        self.assertFalse((self.dir / "out").exists())


class Evaluating(Scratch):
    ROW = {"model": str, "defense": (str, type(None)), "attack": (str, type(None)), "adaptive": bool, "n": int, "threat": dict,
           "balanced_accuracy": float, "recall": list, "abstained": int, "certificate": type(None), "accuracy": float,
           "accuracy_ci95": list, "precision_macro": float, "recall_macro": float, "f1_macro": float,
           "auc_macro": float, "confusion": list, "attack_success_rate": float, "linf_max": float, "l2_mean": float,
           "queries_mean": float, "seconds": float, "images_per_second": float}

    def check_report(self, report):
        self.assertEqual(report["schema"], 1)
        for key in ("mithridate", "seed", "device", "data", "rows"):
            self.assertIn(key, report)
        self.assertEqual(sorted(report["data"]), ["classes", "n", "source", "split"])
        for row in report["rows"]:
            for key, kind in self.ROW.items():
                self.assertIn(key, row)
                value = float(row[key]) if kind is float and isinstance(row[key], int) else row[key]
                self.assertIsInstance(value, kind, key)
            self.assertEqual(sum(map(sum, row["confusion"])), row["n"])
            right = sum(row["confusion"][c][c] for c in range(5))
            self.assertAlmostEqual(right / row["n"], row["accuracy"], places=6)
            low, high = row["accuracy_ci95"]
            self.assertTrue(0 <= low <= row["accuracy"] <= high <= 1)
            if row["attack"]:
                for key in ("norm", "eps", "access", "crafted_on"):
                    self.assertIn(key, row["threat"])
                self.assertTrue(row["linf_max"] <= row["threat"]["eps"] + 1e-6)  # f32 rounding of x + delta

    def test_report(self):
        out = self.dir / "report"
        run("mith-train", "--data", DATA, "--net", "cnn", "--epochs", 1, "--seed", 3, "--out", self.dir / "other")
        done = run("mith-evaluate", "--model", self.baseline, "--label", "Before", "--model", self.dir / "other",
                   "--label", "After", "--data", DATA + ":test", "--attack", "fgsm:eps=8/255", "--attack",
                   "pgd:eps=8/255,steps=3", "--attack", "noise:eps=8/255", "--report", out)
        self.assertEqual(done.stdout.splitlines()[-1], str(out / "report.html"))
        report = json.loads((out / "report.json").read_text())
        self.check_report(report)
        self.assertEqual(len(report["rows"]), 8)
        html = (out / "report.html").read_text()
        for word in ("Before", "After", "data:image/png;base64", "pgd", "8/255", "colon_benign"):
            self.assertIn(word, html)
        self.assertNotIn("http://", html.replace("http://www.w3.org", ""))

    def test_transfer(self):
        run("mith-train", "--data", DATA, "--net", "cnn", "--epochs", 2, "--seed", 3, "--out", self.dir / "other")
        done = run("mith-evaluate", "--model", self.baseline, "--surrogate", self.dir / "other", "--data", DATA,
                   "--attack", "pgd:eps=8/255,steps=3", "--report", self.dir / "report", "--json")
        report = json.loads(done.stdout)
        self.check_report(report)
        threat = report["rows"][1]["threat"]
        self.assertEqual((threat["access"], threat["crafted_on"]), ("transfer", str(self.dir / "other")))
        self.assertTrue(report["rows"][1]["accuracy"] <= report["rows"][0]["accuracy"])
        self.assertGreater(report["rows"][1]["linf_max"], 0)

    def test_a_targeted_attack_is_judged_by_its_target(self):
        done = run("mith-evaluate", "--model", self.baseline, "--data", DATA, "--attack", "pgd:eps=8/255,target=2",
                   "--report", self.dir / "report", "--json")
        clean, row = json.loads(done.stdout)["rows"]
        # Rows of a confusion matrix are true classes: what landed in class 2 and did not belong there.
        landed = sum(line[2] for i, line in enumerate(row["confusion"]) if i != 2)
        right = sum(line[i] for i, line in enumerate(clean["confusion"]) if i != 2)
        self.assertLessEqual(row["attack_success_rate"] * right, landed + 1e-6)

    def test_a_phantom_drawn_again_is_warned_of(self):
        arguments = ["--model", self.baseline, "--attack", "fgsm", "--quiet", "--report"]
        same = run("mith-evaluate", "--data", DATA, *arguments, self.dir / "same")
        self.assertNotIn("draws again", same.stderr)
        self.assertIn(f"On the test part of {DATA} (20 images)", same.stdout)
        for data, warned in ((DATA.replace("n=200", "n=150"), True), (DATA + ",seed=9", False)):
            done = run("mith-evaluate", "--data", data, *arguments, self.dir / data)
            self.assertEqual("draws again" in done.stderr, warned, data)

    def test_a_run_knows_its_images_from_any_folder(self):
        images = self.image_folder()
        split = ["--split", "60/20/20"]
        run("mith-train", "--data", "images", "--net", "cnn", "--size", 16, "--epochs", 1, *split, "--out", "run",
            cwd=self.dir)
        here = json.loads(run("mith-evaluate", "--model", "run", "--data", "images", "--report", "a", "--json",
                              cwd=self.dir).stdout)
        there = json.loads(run("mith-evaluate", "--model", self.dir / "run", "--data", images, "--report",
                               self.dir / "b", "--json").stdout)
        self.assertEqual(here["data"]["n"], there["data"]["n"])
        self.assertEqual(here["rows"][0]["confusion"], there["rows"][0]["confusion"])

    def test_dump(self):
        run("mith-evaluate", "--model", self.baseline, "--data", DATA + ":val", "--report", self.dir / "r", "--dump",
            self.dir / "dump")
        self.assertEqual(read_npy(self.dir / "dump/images.npy")[:2], ("<f4", (20, 32, 32, 3)))
        self.assertEqual(read_npy(self.dir / "dump/labels.npy")[:2], ("<i8", (20,)))
        self.assertEqual(read_npy(self.dir / "dump/logits.npy")[:2], ("<f4", (20, 5)))
        descr, shape, gradient = read_npy(self.dir / "dump/input_gradient.npy")
        self.assertEqual((descr, shape), ("<f4", (20, 32, 32, 3)))
        per_image = len(gradient) // 20
        for i in range(20):
            self.assertTrue(any(v != 0 for v in gradient[i * per_image:(i + 1) * per_image]))


class BadInput(Scratch):
    """Exit code 2 (1 when it happens during the run), one line that names the thing, nothing half-written."""

    def refuse(self, program, *arguments, naming, code=2, out=None, **options):
        out = out or self.dir / "out"
        option = "--report" if program == "mith-evaluate" else "--out"
        done = run(program, *arguments, option, out, "--quiet", code=code, **options)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith(program + ": "), lines[0])
        self.assertIn(naming, lines[0])
        left = list(out.iterdir()) if out.is_dir() else []
        self.assertEqual(left, [])
        return lines[0]

    def refuse_data(self, data, naming, *more, code=2):
        return self.refuse("mith-train", "--data", data, "--net", "cnn", "--epochs", 1, *more, naming=naming, code=code)

    def refuse_model(self, model, naming):
        return self.refuse("mith-evaluate", "--model", model, "--data", DATA, "--attack", "fgsm", naming=naming)

    def test_a_good_npz_is_taken(self):
        run("mith-train", "--data", npz(self.dir / "good.npz"), "--net", "cnn", "--epochs", 1, "--out",
            self.dir / "run")

    def test_files(self):
        self.refuse_data(self.dir / "absent.npz", "absent.npz")
        self.refuse_data(self.dir / "absent", "absent")
        (self.dir / "folder.npz").mkdir()
        self.refuse_data(self.dir / "folder.npz", "folder.npz")
        (self.dir / "noise.npz").write_bytes(bytes(range(256)) * 20)
        self.refuse_data(self.dir / "noise.npz", "noise.npz")
        (self.dir / "list.csv").write_text("path,label\nabsent.png,a\n")
        self.refuse_data(self.dir / "list.csv", "absent.png", "--strict")

    def test_npz(self):
        good = npz(self.dir / "good.npz").read_bytes()
        for share in (0.2, 0.6, 0.99):
            (self.dir / "cut.npz").write_bytes(good[:int(len(good) * share)])
            self.refuse_data(self.dir / "cut.npz", "cut.npz")
        self.refuse_data(npz(self.dir / "f8.npz", train_images=npy("<f8", (40, 28, 28), bytes(40 * 784 * 8))), "f8.npz")
        self.refuse_data(npz(self.dir / "count.npz", train_labels=npy("|u1", (39, 1), bytes(39))), "count.npz")
        self.refuse_data(npz(self.dir / "bomb.npz", train_images=npy("|u1", (10**9, 28, 28), bytes(784))), "bomb.npz")
        self.refuse_data(npz(self.dir / "one.npz", **{p + "_labels": npy("|u1", (n, 1), bytes(n))
                                                       for p, n in (("train", 40), ("val", 10), ("test", 10))}),
                         "one.npz")

    def test_zip_bomb(self):
        raw = io.BytesIO(npz(self.dir / "good.npz").read_bytes()).getvalue()
        bomb = bytearray(raw)
        at = bomb.find(b"PK\x01\x02")
        while at != -1:  # every entry of the central directory claims 4 GB
            bomb[at + 24:at + 28] = struct.pack("<I", 0xFFFFFFF0)
            at = bomb.find(b"PK\x01\x02", at + 4)
        (self.dir / "bomb.npz").write_bytes(bomb)
        self.refuse_data(self.dir / "bomb.npz", "bomb.npz")

    def test_broken_jpeg(self):
        folder = self.image_folder()
        (folder / "dark/broken.jpeg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
        self.refuse_data(folder, "broken.jpeg", "--strict", "--size", 16)
        done = run("mith-train", "--data", folder, "--net", "cnn", "--size", 16, "--epochs", 1, "--quiet", "--out",
                   self.dir / "run")
        self.assertIn("broken.jpeg", done.stderr)

    def test_empty_class(self):
        folder = self.image_folder()
        (folder / "empty").mkdir()
        self.refuse_data(folder, "empty", "--size", 16)

    def test_one_class(self):
        folder = self.image_folder()
        shutil.rmtree(folder / "light")
        self.refuse_data(folder, "images", "--size", 16)

    def test_weights(self):
        header, data = safetensors(self.baseline / "model.safetensors")
        name = next(k for k in header if k != "__metadata__" and header[k]["dtype"] == "F32")
        first = header[name]["data_offsets"][0]
        nan = data[:first] + struct.pack("<f", float("nan")) + data[first + 4:]
        self.refuse_model(f"cnn@{write_safetensors(self.dir / 'nan.safetensors', header, nan)}", "nan.safetensors")
        self.refuse_model(f"cnn@{write_safetensors(self.dir / 'long.safetensors', header, data, 2**60)}",
                          "long.safetensors")
        self.refuse_model(f"cnn@{write_safetensors(self.dir / 'cut.safetensors', header, data[:-100])}",
                          "cut.safetensors")
        lie = json.loads(json.dumps(header))
        lie[name]["shape"] = [2**40, 2**40]
        self.refuse_model(f"cnn@{write_safetensors(self.dir / 'lie.safetensors', lie, data)}", "lie.safetensors")
        other = json.loads(json.dumps(header))
        other["renamed.weight"] = other.pop(name)
        self.refuse_model(f"cnn@{write_safetensors(self.dir / 'other.safetensors', other, data)}",
                          "other.safetensors")
        self.refuse_model(self.dir / "absent", "absent")
        self.refuse_model("nonet@" + str(self.baseline / "model.safetensors"), "nonet")

    def test_other_architecture(self):
        data = "synthetic:histology:n=50,size=64"
        run("mith-train", "--data", data, "--net", "cnn-seed000", "--epochs", 1, "--out", self.dir / "other")
        self.refuse_model(f"cnn@{self.dir / 'other/model.safetensors'}", "model.safetensors")
        self.refuse("mith-train", "--data", data, "--net", "cnn", "--init", self.dir / "other", naming="other")

    def test_options(self):
        model, data = ("--model", self.baseline), ("--data", DATA)
        for arguments, naming in ((["--attack", "pgd:eps=-0.1"], "eps"), (["--attack", "pgd:eps=x"], "eps"),
                                  (["--attack", "pgd:steps"], "steps"), (["--attack", "nothing"], "nothing"),
                                  (["--attack", "pgd", "--batch", "0"], "--batch"),
                                  (["--attack", "pgd", "--batch", "many"], "--batch"),
                                  (["--attack", "pgd", "--seed", "-1"], "--seed"),
                                  (["--attack", "pgd", "--device", "tpu"], "--device"),
                                  (["--attack", "pgd", "--provider", "conv2d=nobody"], "nobody"),
                                  (["--attack", "pgd", "--provider", "native"], "--provider"),
                                  (["--attack", "pgd", "--verbos"], "--verbos"), (["--attack"], "--attack"),
                                  ([], "--attack")):
            with self.subTest(arguments=arguments):
                self.refuse("mith-attack", *model, *data, naming=naming, *arguments)
        for arguments, naming in ((["--lr", "-1"], "--lr"), (["--optimizer", "adm"], "adam"),
                                  (["--augment", "flop"], "flop"), (["--split", "80/30/10"], "80/30/10"),
                                  (["--adversarial-weight", "2"], "--adversarial-weight"),
                                  (["--head", "128"], "--head"), (["--class-weights", "even"], "balanced")):
            with self.subTest(arguments=arguments):
                self.refuse("mith-train", *data, "--net", "cnn", *arguments, naming=naming)
        self.refuse("mith-evaluate", *data, naming="--model")
        self.refuse("mith-evaluate", *model, naming="--data")
        self.refuse("mith-evaluate", *model, "--data", DATA + ":tset", naming="tset")
        self.refuse("mith-evaluate", *model, *data, "--oblivious", naming="--oblivious")

    def test_unwritable_output(self):
        (self.dir / "file").write_text("in the way")
        for program, arguments in (("mith-train", ["--data", DATA, "--net", "cnn"]),
                                   ("mith-attack", ["--model", self.baseline, "--data", DATA, "--attack", "fgsm"]),
                                   ("mith-evaluate", ["--model", self.baseline, "--data", DATA])):
            self.refuse(program, *arguments, naming="file", out=self.dir / "file/out")

    @unittest.skipIf(os.name != "posix" or os.geteuid() != 0, "becomes another user, which only root can")
    def test_output_in_a_folder_of_somebody_else(self):
        closed = self.dir / "closed"
        closed.mkdir(mode=0o700)
        for above in (SCRATCH, self.dir):
            above.chmod(0o755)
        for program, option in (("mith-train", "--out"), ("mith-attack", "--out"), ("mith-evaluate", "--report")):
            arguments = ["--data", DATA, "--net", "cnn"] if program == "mith-train" else ["--model", self.baseline,
                                                                                          "--data", DATA]
            arguments += ["--attack", "fgsm"] if program == "mith-attack" else []
            # A copy: the build may lie below a folder that only root can enter.
            binary = shutil.copy(BIN / program, self.dir)
            done = subprocess.run([binary, *map(str, arguments), option, closed / "out"], text=True, user=65534,
                                  capture_output=True, timeout=120, env=dict(os.environ, MITH_CACHE=""))
            with self.subTest(program=program):
                # Folders above may be closed to that user as well; then the data or the model is refused first.
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertEqual(len([line for line in done.stderr.splitlines() if "mith-" in line]), 1, done.stderr)

    def test_disk_full(self):
        def tiny_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))

        self.refuse("mith-attack", "--model", self.baseline, "--data", DATA, "--attack", "fgsm", naming="out",
                    code=1, preexec_fn=tiny_files)
        self.refuse("mith-train", "--data", DATA, "--net", "cnn", "--epochs", 1, naming="out", code=1,
                    preexec_fn=tiny_files)
        self.refuse("mith-evaluate", "--model", self.baseline, "--data", DATA, "--attack", "fgsm", naming="out",
                    code=1, preexec_fn=tiny_files)


if __name__ == "__main__":
    if not (BIN / "mith-train").exists():
        print("MITH_BIN names no folder with mith-train")
        sys.exit(1)
    unittest.main(verbosity=2)
