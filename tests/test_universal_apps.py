"""Universal attacks as a user runs them: crafted on a set, laid over another, saved. Needs MITH_BIN."""

import json
import shutil
import unittest

from apps_support import DATA, Scratch, read_npy, run, main, setUpModule, tearDownModule

UAP = "uap:eps=0.05,passes=2"


class Crafting(Scratch):
    def attack(self, *arguments, out="out", code=0):
        return run("mith-attack", "--model", self.baseline, "--data", DATA, "--out", self.dir / out, *arguments,
                   code=code)

    def manifest(self, out="out"):
        return json.loads((self.dir / out / "attack.json").read_text())

    def crafting(self, report):
        return report["configuration"]["crafting"]

    def test_saves_one_perturbation_for_all_images(self):
        self.attack("--attack", UAP, "--attack", "patch:size=6,passes=2", "--attack", "patch-eot:passes=1")
        clean = self.clean_images()
        out = self.dir / "out"
        descr, shape, v = read_npy(out / "uap/perturbation.npy")
        self.assertEqual((descr, shape), ("<f4", (32, 32, 3)))
        self.assertTrue(0 < max(map(abs, v)) <= 0.05 + 1e-9)
        self.assertEqual(read_npy(out / "patch/patch.npy")[1], (6, 6, 3))
        for name in ("uap/perturbation.png", "patch/patch.png", "patch-eot/patch.png"):
            self.assertEqual((out / name).read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
        adversarial = read_npy(out / "uap/adversarial.npy")[2]
        size, labels = 32 * 32 * 3, read_npy(out / "uap/labels.npy")[2]
        predictions = read_npy(out / "uap/clean_predictions.npy")[2]
        attacked = 0
        for i in range(20):
            right = labels[i] == predictions[i]
            attacked += right
            for j in range(0, size, 7):
                at = i * size + j
                wanted = min(max(clean[at] + v[j], 0), 1) if right else clean[at]
                self.assertAlmostEqual(adversarial[at], wanted, places=6)
        self.assertGreater(attacked, 0)

        rows = self.manifest()["rows"]
        self.assertEqual([row["threat"]["access"] for row in rows[1:]], ["universal"] * 3)
        self.assertEqual([row["threat"]["crafted_on"] for row in rows[1:]], [str(self.baseline)] * 3)
        self.assertEqual(rows[1]["crafted"], {"perturbation": "perturbation.npy"})
        scales = rows[3]["crafted"]["success_by_scale"]
        self.assertEqual(len(scales), 5)
        self.assertTrue(all(0 <= s["attack_success_rate"] <= 1 for s in scales))

    def clean_images(self):
        run("mith-evaluate", "--model", self.baseline, "--data", DATA, "--report", self.dir / "r", "--dump",
            self.dir / "dump")
        return read_npy(self.dir / "dump/images.npy")[2]

    def test_is_crafted_on_the_train_part_unless_told_otherwise(self):
        self.attack("--attack", UAP)
        crafted = self.crafting(self.manifest())
        self.assertEqual(len(crafted), 1)
        self.assertEqual((crafted[0]["data"], crafted[0]["images"]), (DATA + ":train", 160))
        self.assertEqual(len(crafted[0]["passes"]), 2)
        self.assertEqual(crafted[0]["gradients"], 320)
        self.assertEqual(self.manifest()["rows"][1]["warnings"], [])
        self.attack("--attack", UAP, "--craft", DATA + ":test", out="seen")
        self.assertEqual(self.crafting(self.manifest("seen"))[0]["images"], 20)
        self.assertIn("crafted on 20 of the 20", " ".join(self.manifest("seen")["rows"][1]["warnings"]))

    def test_same_seed_same_bytes_at_any_batch_size(self):
        for out, batch in (("a", 20), ("b", 7)):
            self.attack("--attack", UAP, "--batch", batch, "--provider", "all=native", out=out)
        for name in ("perturbation.npy", "adversarial.npy"):
            a, b = ((self.dir / d / "uap" / name).read_bytes() for d in "ab")
            self.assertEqual(a, b)

    def test_is_crafted_once_for_each_surrogate(self):
        shutil.copytree(self.baseline, self.dir / "other")
        done = run("mith-evaluate", "--model", self.baseline, "--surrogate", self.dir / "other", "--data", DATA,
                   "--attack", UAP, "--attack", UAP, "--attack", "u-simba:steps=10", "--report", self.dir / "r",
                   "--json")
        report = json.loads(done.stdout)
        crafted = self.crafting(report)
        self.assertEqual([c["crafted_on"] for c in crafted], [str(self.dir / "other")] * 2)
        self.assertEqual([c["queries"] for c in crafted], [320, 160 * 21])
        for row in report["rows"][1:]:
            self.assertEqual((row["threat"]["access"], row["threat"]["crafted_on"]),
                             ("universal", str(self.dir / "other")))
        self.assertEqual(report["rows"][1]["confusion"], report["rows"][2]["confusion"])

    def test_surrogates_make_a_transfer_matrix(self):
        surrogates = [self.dir / name for name in ("a", "b")]
        for surrogate in surrogates:
            shutil.copytree(self.baseline, surrogate)
        done = run("mith-evaluate", "--model", self.baseline, "--surrogate", surrogates[0], "--surrogate",
                   surrogates[1], "--data", DATA, "--attack", "uap:passes=1", "--report", self.dir / "r", "--json")
        report = json.loads(done.stdout)
        [matrix] = report["transfer"]
        self.assertEqual(matrix["surrogates"], list(map(str, surrogates)))
        self.assertEqual([cell for line in matrix["attack_success_rate"] for cell in line],
                         [row["attack_success_rate"] for row in report["rows"][1:]])

    def test_refusals(self):
        self.assertIn("--craft", self.attack("--attack", "fgsm", "--craft", DATA + ":train", code=2).stderr)
        self.assertIn("needs an eps", self.attack("--attack", "u-simba:norm=l2", code=2).stderr)
        self.assertIn("target", self.attack("--attack", "uap:target=5", code=2).stderr)
        self.assertFalse((self.dir / "out").exists())


class DivisionByMistake(Scratch):
    def test_accuracy_falls_to_chance_without_any_attack(self):
        done = run("mith-evaluate", "--model", self.baseline, "--data", DATA, "--attack", "noise:eps=0",
                   "--repeat-seed000-error", "--report", self.dir / "r", "--json")
        plain, divided, attacked = json.loads(done.stdout)["rows"]
        self.assertIn("divided by 255", divided["model"])
        self.assertIsNone(divided["attack"])
        self.assertLess(divided["accuracy"], plain["accuracy"])
        # Nearly black images look alike: nearly all are taken for one class.
        taken = [sum(column) for column in zip(*divided["confusion"])]
        self.assertGreaterEqual(max(taken), 16)
        self.assertEqual(attacked["confusion"], divided["confusion"])


if __name__ == "__main__":
    main()
