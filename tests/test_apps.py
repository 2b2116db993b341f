"""The other programs as a user runs them: whole jobs on a small phantom. Needs MITH_BIN, the folder of the binaries."""

import csv
import json
import shutil
import subprocess
import unittest

from apps_support import BIN, DATA, EPS, Scratch, npy, read_npy, run, main, setUpModule, tearDownModule


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


class Benchmarks(Scratch):
    def test_every_benchmark_measures(self):
        for work, *arguments in (("train", "--data", DATA, "--batch", 32), ("attack", "--data", DATA, "--limit", 20),
                                 ("attack", "--data", DATA, "--limit", 20, "--model", self.baseline),
                                 ("network", "--net", "mobilenet_v2", "--size", 32, "--batch", 2)):
            result = json.loads(run("mith-bench", work, *arguments, "--rounds", 2, "--json").stdout)
            self.assertEqual(len(result["seconds"]), 2)
            self.assertGreater(result["median_seconds"], 0)
            self.assertEqual(result["benchmark"], work)
        self.assertIn("features.0.0", [layer["layer"] for layer in result["layers"]])
        self.assertGreater(result["peak_resident_mib"], 1)

    def test_an_attack_says_where_its_time_goes(self):
        trace = self.dir / "trace.json"
        result = json.loads(run("mith-bench", "attack", "--data", DATA, "--limit", 20, "--rounds", 1, "--trace", trace,
                                "--attack", "pgd:steps=3", "--json").stdout)
        self.assertEqual((result["executor"], result["beside"]["executor"]), ("frozen", "eager"))
        steps = {(s["layer"], s["operator"]): s for s in result["profile"]["steps"]}
        conv = steps["conv2", "conv2d"]  # its ReLU is behind the pooling
        self.assertGreater(conv["forward_seconds"], 0)
        self.assertEqual(conv["forward_flops"], conv["backward_flops"])
        self.assertGreater(conv["forward_flops"], 0)
        shares = sum(s["share"] for s in steps.values())
        self.assertGreater(shares, 0)
        self.assertLessEqual(shares, 1)
        events = json.loads(trace.read_text())["traceEvents"]
        for name in ("conv2 conv2d", "max_pool2d + relu"):  # of a layer, and of none
            self.assertIn(name, [e["name"] for e in events])
        self.assertEqual(len([e for e in events if e["name"] == "conv2 conv2d"]), 6)
        self.assertEqual({e["cat"] for e in events}, {"forward", "backward"})
        table = run("mith-bench", "attack", "--data", DATA, "--limit", 20, "--rounds", 1, "--layers", 2).stdout
        self.assertIn("the 2 slowest of", table)
        for wrong in ("--eager", "--wait"):
            self.assertIn("--trace", run("mith-bench", "attack", "--trace", trace, wrong, code=2).stderr)
        self.assertIn("not both", run("mith-bench", "attack", "--eager", "--frozen", code=2).stderr)

    def test_every_kernel_has_a_case(self):
        for device in ("cpu", "simt"):
            with self.subTest(device=device):
                result = json.loads(run("mith-bench", "kernels", "--device", device, "--filter", "no such kernel",
                                        "--json").stdout)
                self.assertEqual(result["rows"], [])
                self.assertEqual(result["not_measured"], [])

    def test_unknown_benchmark(self):
        self.assertIn("train", run("mith-bench", "trian", code=2).stderr)


class Attacking(Scratch):
    def attack(self, *arguments, out="out", code=0):
        return run("mith-attack", "--model", self.baseline, "--data", DATA, "--out", self.dir / out, *arguments,
                   code=code)

    def test_networks_run_frozen_unless_asked_otherwise(self):
        reports = []
        for more, executor in ([], "frozen"), (["--eager"], "eager"):
            self.attack("--attack", "pgd:eps=8/255,steps=5", "--limit", 20, *more, out=executor)
            reports.append(json.loads((self.dir / executor / "attack.json").read_text()))
            self.assertEqual(reports[-1]["configuration"]["executor"], {str(self.baseline): executor})
        accuracies = [[row["accuracy"] for row in report["rows"]] for report in reports]
        self.assertEqual(accuracies[0][0], accuracies[1][0])
        self.assertAlmostEqual(accuracies[0][1], accuracies[1][1], delta=1 / 20 + 1e-9)  # one image on the edge

    def test_gradients_in_bf16(self):
        arguments = ("--model", self.baseline, "--data", DATA, "--attack", "pgd:eps=8/255,steps=5", "--limit", 20)
        run("mith-attack", *arguments, "--out", self.dir / "f32")
        done = subprocess.run([BIN / "mith-attack", *map(str, arguments), "--out", self.dir / "bf16", "--precision",
                               "bf16"], capture_output=True, text=True)
        if done.returncode:  # a processor that the library has no bf16 for
            self.assertEqual(done.returncode, 2)
            bench = run("mith-bench", "attack", "--data", DATA, "--limit", 20, "--precision", "bf16", code=2)
            for stderr in (done.stderr, bench.stderr):
                self.assertRegex(stderr, r"--precision bf16: \S+ cannot run in it here: .*a processor with AVX-512")
            return
        report, wide = (json.loads((self.dir / name / "attack.json").read_text()) for name in ("bf16", "f32"))
        self.assertEqual(report["configuration"]["executor"], {str(self.baseline): "frozen, gradients in bf16"})
        self.assertEqual(report["rows"][0]["confusion"], wide["rows"][0]["confusion"])
        # They would count successes that f32 does not confirm.
        self.assertEqual(report["rows"][1].get("warnings"), wide["rows"][1].get("warnings"))
        self.assertAlmostEqual(report["rows"][1]["accuracy"], wide["rows"][1]["accuracy"], delta=2 / 20 + 1e-9)

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

    def test_fewer_images_than_a_batch_are_one_batch(self):
        for out, batch in (("all", 20), ("more", 128)):  # whatever the library makes of a batch's size
            self.attack("--attack", "pgd:eps=8/255,steps=2", "--batch", batch, out=out)
        few, many = ((self.dir / out / "pgd/adversarial.npy").read_bytes() for out in ("all", "more"))
        self.assertEqual(few, many)

    def test_images_that_were_wrong_stay_as_they_are(self):
        specs = ["fgsm", "pgd:steps=3", "mifgsm:steps=3", "square:eps=0.1,queries=20", "deepfool", "apgd-ce:steps=3",
                 "uap:passes=1", "patch:passes=1", "patch-eot:passes=1"]
        self.attack(*(option for spec in specs for option in ("--attack", spec)))
        run("mith-evaluate", "--model", self.baseline, "--data", DATA, "--report", self.dir / "r", "--dump",
            self.dir / "dump")
        clean = read_npy(self.dir / "dump/images.npy")[2]
        size = len(clean) // 20
        for spec in specs:
            with self.subTest(spec=spec):
                folder = self.dir / "out" / spec.split(":")[0]
                labels, found, adversarial = (read_npy(folder / f"{name}.npy")[2] for name in
                                              ("labels", "clean_predictions", "adversarial"))
                same = [adversarial[i * size:(i + 1) * size] == clean[i * size:(i + 1) * size] for i in range(20)]
                wrong = [labels[i] != found[i] for i in range(20)]
                self.assertIn(True, wrong)
                self.assertTrue(all(same[i] for i in range(20) if wrong[i]))
                self.assertFalse(all(same))

    def test_a_single_image(self):
        self.attack("--attack", "fgsm:eps=0", "--png")
        labels, found = (read_npy(self.dir / f"out/fgsm/{name}.npy")[2] for name in ("labels", "clean_predictions"))
        right = next(i for i in range(20) if labels[i] == found[i])
        [image] = (self.dir / "out/fgsm/png").rglob(f"{right:06d}*.png")
        folder = self.dir / "images"
        for part in ("train", "val"):
            shutil.copytree(self.dir / "out/fgsm/png", folder / part)
        (folder / "test" / image.parent.name).mkdir(parents=True)
        shutil.copy(image, folder / "test" / image.parent.name)
        specs = ["pgd", "deepfool", "autoattack:steps=3,queries=5", "admix:steps=2", "uap:passes=1"]
        done = run("mith-attack", "--model", self.baseline, "--data", f"{folder}:test", "--out", self.dir / "one",
                   "--json", *(option for spec in specs for option in ("--attack", spec)))
        clean, *rows = json.loads(done.stdout)["rows"]
        self.assertEqual((clean["n"], clean["accuracy"], len(rows)), (1, 1, len(specs)))
        for row in rows:
            with self.subTest(attack=row["attack"]):
                self.assertEqual((row["n"], row["attacked"]), (1, 1))
                self.assertEqual(row["attack_success_rate"], 1 - row["accuracy"])
                if not row["attack"].startswith("autoattack"):  # which keeps an image that resists as it was
                    self.assertGreater(row["linf_max"], 0)
                self.assertEqual(read_npy(self.dir / "one" / row["folder"] / "adversarial.npy")[1], (1, 32, 32, 3))

    def test_limit_is_stratified(self):
        self.attack("--attack", "fgsm", "--limit", 10)
        labels = read_npy(self.dir / "out/fgsm/labels.npy")[2]
        self.assertEqual([list(labels).count(c) for c in range(5)], [2] * 5)

    def test_refusals(self):
        self.assertIn("--craft", self.attack("--attack", "pgd", "--craft", DATA + ":train", code=2).stderr)
        self.assertIn("defence", run("mith-attack", "--model", f"{self.baseline}+jpeg:quality=75", "--data", DATA,
                                     "--attack", "pgd", "--out", self.dir / "out", code=2).stderr)
        self.assertIn("tf32", self.attack("--attack", "pgd", "--precision", "tf32", code=2).stderr)
        self.assertIn("--eager", self.attack("--attack", "pgd", "--precision", "bf16", "--eager", code=2).stderr)
        self.assertIn("f32 only", run("mith-bench", "kernels", "--precision", "bf16", code=2).stderr)
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

    def check_predictions(self, folder, report):
        """predictions.csv says of every image what the report's confusion matrices count."""
        with open(folder / "predictions.csv", newline="") as file:
            title, *lines = csv.reader(file)
        self.assertEqual(title[:3], ["id", "name", "label"])
        self.assertEqual(len(title), 3 + len(report["rows"]))
        self.assertEqual(len({line[0] for line in lines}), report["data"]["n"])
        for column, row in enumerate(report["rows"], 3):
            self.assertIn(row["model"], title[column])
            self.assertIn(row["attack"] or "clean", title[column])
            counts = [[0] * 5 for _ in range(5)]
            for line in lines:
                counts[int(line[2])][int(line[column])] += 1
            self.assertEqual(counts, row["confusion"])

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
        self.check_predictions(out, report)

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
        self.check_predictions(self.dir / "report", report)

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


if __name__ == "__main__":
    main()
