"""Attacks that cannot be run as asked: one line that names the reason, exit code 2, nothing half-written. Needs
MITH_BIN, the folder of the binaries."""

import json
import unittest

from apps_support import DATA, Scratch, npz, run, main, setUpModule, tearDownModule


def attacks():
    """What is registered, by name."""
    return {a["name"]: a for a in json.loads(run("mith-attack", "--attack", "help", "--json").stdout)}


class BadAttacks(Scratch):
    def refuse(self, *arguments, naming, program="mith-attack"):
        out = self.dir / "out"
        option = "--report" if program == "mith-evaluate" else "--out"
        done = run(program, *arguments, option, out, "--quiet", code=2)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith(program + ": "), lines[0])
        self.assertIn(naming, lines[0])
        self.assertFalse(out.exists())
        return lines[0]

    def both(self, *arguments, naming):
        for program in ("mith-attack", "mith-evaluate"):
            with self.subTest(program=program, arguments=arguments):
                self.refuse("--model", self.baseline, "--data", DATA, *arguments, naming=naming, program=program)

    def test_specs(self):
        for spec, naming in (("", "is no spec"), ("pdg", "did you mean 'pgd'"), ("pgd:", "pgd"), ("pgd:steps", "steps"),
                             ("pgd:steps=", "steps"), ("pgd:=3", "pgd"), ("pgd:steps=2.5", "steps"),
                             ("pgd:steps=0", "steps"), ("pgd:eps=nan", "eps"), ("pgd:eps=inf", "eps"),
                             ("pgd:eps=1/0", "eps"), ("pgd:eps=8/255/2", "eps"), ("pgd:eps=-1/255", "eps"),
                             ("pgd:eps=1.5", "eps"), ("pgd:restarts=256", "restarts"), ("pgd:target=-2", "target"),
                             ("autoattack:norm=l2", "needs an eps"), ("square:norm=l2", "needs an eps"),
                             ("apgd-ce:norm=l2", "needs an eps"), ("onepixel:pixels=101", "pixels"),
                             ("pgd:random_start=perhaps", "random_start"), ("pgd-l2:l2_start=uniforn", "uniform"),
                             ("pgd:stpes=3", "did you mean 'steps'"), ("help:pdg", "pgd")):
            self.both("--attack", spec, naming=naming)

    def test_classes_that_the_network_lacks(self):
        for name, attack in attacks().items():
            if any(key["key"] == "target" for key in attack["keys"]):
                # uap-deepfool's own inner attack takes no target.
                inner = "inner=fgsm," if attack["facts"]["targeted"] == "with inner=fgsm" else ""
                self.both("--attack", f"{name}:{inner}target=5", naming="target 5")
        self.both("--attack", "uap-deepfool:target=1", naming="inner=fgsm")

    def test_no_budget_changes_nothing(self):
        specs = ["fgsm:eps=0", "bim:eps=0", "pgd:eps=0", "pgd-l2:eps=0", "mifgsm:eps=0", "noise:eps=0",
                 "square:eps=0,queries=5", "apgd-ce:eps=0,steps=3", "fab:eps=0,steps=3",
                 "autoattack:eps=0,steps=3,queries=5", "uap:eps=0,passes=1", "uap-deepfool:eps=0,passes=1,batch=32",
                 "u-simba:eps=0,steps=3", "patch:beta=0,passes=1", "patch-eot:beta=0,passes=1"]
        options = [option for spec in specs for option in ("--attack", spec)]
        clean, *rows = json.loads(run("mith-evaluate", "--model", self.baseline, "--data", DATA, *options, "--report",
                                      self.dir / "report", "--json").stdout)["rows"]
        self.assertEqual(len(rows), len(specs))
        for row in rows:
            with self.subTest(attack=row["attack"]):
                self.assertEqual((row["attack_success_rate"], row["linf_max"]), (0, 0))
                self.assertEqual(row["confusion"], clean["confusion"])

    def test_steps_that_cannot_reach_the_radius_are_warned_of(self):
        rows = json.loads(run("mith-evaluate", "--model", self.baseline, "--data", DATA, "--limit", 5, "--attack",
                              "bim:eps=0.1,alpha=0.005,steps=10", "--attack", "bim:eps=0.1,alpha=0.01,steps=10",
                              "--attack", "mifgsm", "--report", self.dir / "report", "--json").stdout)["rows"][1:]
        warned = [any("reach 0.05 of the radius 0.1" in text for text in row["warnings"]) for row in rows]
        self.assertEqual(warned, [True, False, False])

    def test_few_classes(self):
        two = npz(self.dir / "two.npz")
        run("mith-train", "--data", two, "--net", "cnn", "--epochs", 6, "--batch", 8, "--out", self.dir / "two")
        for spec in ("apgd-dlr:eps=0.3,steps=5", "apgd-t:eps=0.3,steps=5", "autoattack:eps=0.3,steps=5,queries=20"):
            with self.subTest(spec=spec):  # two classes have the plain margin, and one class to aim at
                out = self.dir / spec.split(":")[0]
                done = run("mith-evaluate", "--model", self.dir / "two", "--data", two, "--attack", spec, "--report",
                           out, "--json")
                clean, row = json.loads(done.stdout)["rows"]
                right = sum(clean["confusion"][c][c] for c in range(2))
                left = sum(row["confusion"][c][c] for c in range(2))
                self.assertGreater(right, 0)
                self.assertLess(row["accuracy"], clean["accuracy"])
                self.assertEqual(row["attacked"], right)
                self.assertAlmostEqual(row["attack_success_rate"] * right, right - left, places=6)
                self.assertLessEqual(row["linf_max"], 0.3 + 1e-6)  # f32 rounding of x + delta
                self.assertEqual(any("two classes" in w for w in row["warnings"]), spec.startswith("autoattack"))

    def test_surrogates(self):
        run("mith-train", "--data", npz(self.dir / "grey.npz"), "--net", "cnn", "--epochs", 1, "--out",
            self.dir / "grey")
        run("mith-train", "--data", "synthetic:histology:n=50,size=16", "--net", "cnn", "--epochs", 1, "--out",
            self.dir / "small")
        for name in ("grey", "small"):
            self.both("--attack", "fgsm", "--surrogate", self.dir / name, naming=f"--surrogate {self.dir / name} takes")
        self.both("--attack", "fgsm", "--surrogate", self.dir / "absent", naming="absent")
        self.both("--attack", "fgsm", "--ensemble", naming="--ensemble: needs more than one --surrogate")
        self.both("--attack", "fgsm", "--surrogate", self.baseline, "--ensemble", naming="--ensemble")
        self.refuse("--model", self.baseline, "--data", DATA, "--attack", "fgsm", "--surrogate", self.baseline,
                    "--surrogate", self.baseline, naming="--ensemble")

    def test_resuming_nothing(self):
        self.both("--attack", "fgsm", "--resume", naming="--resume: ")
        for program, option in (("mith-attack", "--out"), ("mith-evaluate", "--report")):
            foreign = self.dir / program
            foreign.mkdir()
            (foreign / "report.json").write_text("{}")
            done = run(program, "--model", self.baseline, "--data", DATA, "--attack", "fgsm", "--resume", option,
                       foreign, "--quiet", code=2)
            self.assertIn(f"no interrupted {program}", done.stderr)
            self.assertEqual([p.name for p in foreign.iterdir()], ["report.json"])
        done = run("mith-evaluate", "--model", self.baseline, "--data", DATA, "--attack", "fgsm", "--resume", "--dump",
                   self.dir / "dump", code=2)
        self.assertIn("--resume: ", done.stderr)


if __name__ == "__main__":
    main()
