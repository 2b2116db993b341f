"""Attacks that take long: progress kept on disk, Ctrl-C, --resume; what the programs say of queries, distances and
transfer. Needs MITH_BIN, the folder of the binaries."""

import json
import signal
import struct
import subprocess
import time
import unittest

from apps_support import (BIN, DATA, Scratch, npy, npz, read_npy, run, safetensors, write_safetensors, main,
                          setUpModule, tearDownModule)

# So weak that no image leaves early, and so many steps that there is time to interrupt it.
SLOW = "pgd:eps=1/255,alpha=1e-6,steps=400"
NATIVE = ("--provider", "all=native")


class Long(Scratch):
    def start(self, program, *arguments):
        return subprocess.Popen([BIN / program, *map(str, arguments), "--quiet"], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for(self, process, path):
        """Until the file is there; fails if the process ends before."""
        for _ in range(6000):
            if path.exists():
                return
            self.assertIsNone(process.poll(), f"it ended without {path}")
            time.sleep(0.01)
        process.kill()
        self.fail(f"no {path} within a minute")

    def interrupt(self, program, arguments, file, how=signal.SIGINT):
        """Starts the program, stops it once the file is there, and returns (exit code, lines on stderr)."""
        process = self.start(program, *arguments)
        self.wait_for(process, file)
        process.send_signal(how)
        _, stderr = process.communicate(timeout=60)
        return process.returncode, stderr.splitlines()

    def attack_arguments(self, out, *more):
        return ["--model", self.baseline, "--data", DATA, "--batch", 2, "--attack", "fgsm", "--attack", SLOW, *NATIVE,
                *more, "--out", self.dir / out]

    def files(self, out):
        """Everything but times."""
        report = json.loads((self.dir / out / "attack.json").read_text())
        for row in report["rows"]:
            del row["seconds"], row["images_per_second"]
        return {str(path.relative_to(self.dir / out)): path.read_bytes()
                for path in (self.dir / out).rglob("*.npy")}, report


class Resuming(Long):
    def test_attack_goes_on_to_the_same_bytes(self):
        run("mith-attack", *self.attack_arguments("whole"))
        self.assertFalse((self.dir / "whole/state").exists())
        for how, code in ((signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)):
            with self.subTest(how=how):
                out = self.dir / how.name
                found, lines = self.interrupt("mith-attack", self.attack_arguments(how.name), out /
                                              "state/2-0.safetensors", how)
                self.assertEqual(found, code)
                if code == 130:
                    self.assertEqual(len(lines), 1, lines)
                    self.assertIn("--resume", lines[0])
                    self.assertIn(str(out / "state"), lines[0])
                    self.assertEqual([p.name for p in out.iterdir()], ["state"])  # no half of a result
                self.assertIn("--resume", run("mith-attack", *self.attack_arguments(how.name), code=2).stderr)
                said = run("mith-attack", *self.attack_arguments(how.name, "--resume")).stderr
                self.assertIn("going on from", said)
                self.assertEqual(self.files(how.name), self.files("whole"))
                self.assertFalse((out / "state").exists())

    def test_evaluation_goes_on_to_the_same_rows(self):
        arguments = ["--model", self.baseline, "--data", DATA, "--batch", 2, "--attack", SLOW, "--attack", "noise",
                     *NATIVE, "--report"]
        run("mith-evaluate", *arguments, self.dir / "whole")
        code, lines = self.interrupt("mith-evaluate", [*arguments, self.dir / "parts"],
                                     self.dir / "parts/state/1-0.safetensors")
        self.assertEqual((code, len(lines)), (130, 1), lines)
        self.assertFalse((self.dir / "parts/report.json").exists())
        run("mith-evaluate", *arguments, self.dir / "parts", "--resume")
        whole, parts = (json.loads((self.dir / out / "report.json").read_text())["rows"] for out in ("whole", "parts"))
        for row in whole + parts:
            del row["seconds"], row["images_per_second"]
        self.assertEqual(parts, whole)
        self.assertFalse((self.dir / "parts/state").exists())

    def resumes(self, spec, *more, file, kept):
        """Interrupts an attack once the file of its state is there; the report of one that goes on to the same bytes."""
        arguments = ["--model", self.baseline, "--data", DATA, "--batch", 2, "--attack", spec, *more, *NATIVE, "--out"]
        name = spec.split(":")[0]
        run("mith-attack", *arguments, self.dir / f"{name}-whole")
        out = self.dir / f"{name}-parts"
        code, lines = self.interrupt("mith-attack", [*arguments, out], out / "state" / file)
        self.assertEqual((code, len(lines)), (130, 1), lines)
        self.assertIn(kept, lines[0])
        self.assertEqual([p.name for p in out.iterdir()], ["state"])
        run("mith-attack", *arguments, out, "--resume")
        files, report = self.files(out.name)
        self.assertEqual((files, report), self.files(f"{name}-whole"))
        self.assertIn(f"{name}/adversarial.npy", files)
        self.assertFalse((out / "state").exists())
        return report

    def test_an_ensemble_goes_on_to_the_same_stages_and_warnings(self):
        report = self.resumes("autoattack:eps=1/255,steps=10,queries=60", file="1-0.safetensors", kept="1 chunk")
        row = report["rows"][1]
        self.assertEqual(len(row["stages"]), 4)
        self.assertGreater(row["stages"][0]["standing"], 0)
        self.assertIn("5 classes: 4 targets instead of 9", row["warnings"])

    def test_crafting_goes_on_to_the_same_bytes(self):
        for spec, passes in (("uap:passes=150,batch=1", 150), ("uap-deepfool:delta=0,passes=12", 12)):
            with self.subTest(spec=spec):
                report = self.resumes(spec, "--craft", DATA + ":val", file="crafting-1.safetensors",
                                      kept="1 perturbation")
                self.assertEqual(len(report["configuration"]["crafting"][0]["passes"]), passes)

    def test_crafting_on_other_images_of_the_same_name_is_refused(self):
        two, craft, out = npz(self.dir / "two.npz"), self.dir / "craft.npz", self.dir / "out"
        npz(craft)
        run("mith-train", "--data", two, "--net", "cnn", "--epochs", 1, "--out", self.dir / "two")
        (out / "uap/adversarial.npy").mkdir(parents=True)  # in the way of the result
        arguments = ["--model", self.dir / "two", "--data", two, "--attack", "uap:passes=1", "--craft", craft, "--out",
                     out]
        run("mith-attack", *arguments, code=2)
        self.assertTrue((out / "state/crafting-1.safetensors").exists())
        npz(craft, train_images=npy("|u1", (40, 28, 28), bytes(40 * 784)))
        self.refused(*arguments, "--resume", naming="crafting images", warnings=2)
        npz(craft)
        (out / "uap/adversarial.npy").rmdir()
        self.assertIn("1 perturbation and 1 chunk of images", run("mith-attack", *arguments, "--resume").stderr)

    def test_nothing_is_left_of_a_first_chunk(self):
        out = self.dir / "out"
        endless = ["--model", self.baseline, "--data", DATA, "--attack", SLOW.replace("400", "1000000"), "--out", out]
        code, lines = self.interrupt("mith-attack", endless, out / "state/state.json", signal.SIGTERM)
        self.assertEqual(code, 130)
        self.assertEqual(len(lines), 1, lines)
        self.assertFalse(out.exists())

    def stopped(self):
        """A folder with an interrupted attack."""
        code, _ = self.interrupt("mith-attack", self.attack_arguments("out"), self.dir / "out/state/2-0.safetensors")
        self.assertEqual(code, 130)
        return self.dir / "out"

    def refused(self, *arguments, naming, warnings=0):
        """What a program says that refuses to go on, having changed nothing; before it, warnings of the images."""
        before = {p: p.read_bytes() for p in (self.dir / "out").rglob("*") if p.is_file()}
        done = run("mith-attack", *arguments, "--quiet", code=2)
        *before_it, last = done.stderr.splitlines()
        self.assertEqual([line.startswith("warning: ") for line in before_it], warnings * [True], done.stderr)
        self.assertIn(naming, last)
        self.assertEqual({p: p.read_bytes() for p in (self.dir / "out").rglob("*") if p.is_file()}, before)

    def test_what_is_finished_is_not_made_again(self):
        chunk = self.stopped() / "state/1-0.safetensors"
        header, data = safetensors(chunk)
        first, _ = header["adversarial"]["data_offsets"]
        write_safetensors(chunk, header, data[:first] + struct.pack("<f", 0.125) + data[first + 4:])
        run("mith-attack", *self.attack_arguments("out", "--resume"))
        self.assertEqual(read_npy(self.dir / "out/fgsm/adversarial.npy")[2][0], 0.125)

    def test_other_options_are_refused(self):
        out = self.stopped()
        good = self.attack_arguments("out", "--resume")
        other = [str(a) for a in good]
        self.refused(*[a if a != "2" else "4" for a in other], naming="batch 2, not 4")
        self.refused(*good, "--seed", 5, naming="seed 0, not 5")
        self.refused(*[a.replace("steps=400", "steps=401") for a in other], naming="attack")
        self.refused(*good, "--limit", 10, naming="images")
        self.refused(*good, "--eager", naming="eager")
        self.refused(*good, "--surrogate", self.baseline, naming="surrogate")
        run("mith-train", "--data", DATA, "--net", "cnn", "--epochs", 1, "--seed", 8, "--out", self.dir / "retrained")
        moved = [str(self.dir / "retrained") if a == str(self.baseline) else a for a in other]
        self.refused(*moved, naming="weights")
        chunk = out / "state/1-0.safetensors"
        chunk.write_bytes(chunk.read_bytes()[:-8])
        self.refused(*good, naming="1-0.safetensors")
        run("mith-attack", *self.attack_arguments("out", "--force"))  # starts anew
        self.assertFalse((out / "state").exists())

    def test_what_is_no_state_is_refused_and_left_alone(self):
        good = self.attack_arguments("out", "--resume")
        out = self.dir / "out"
        self.assertIn("no interrupted mith-attack", run("mith-attack", *good, code=2).stderr)
        self.assertFalse(out.exists())
        for name, text in (("state/notes.txt", "mine"), ("state/state.json", "[1]"),
                           ("state/state.json", '{"program": "mith-train", "options": {}}')):
            (out / "state").mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text)
            self.refused(*good, naming="no interrupted mith-attack")
        self.refused(*self.attack_arguments("out"), naming="state.json is no interrupted run's")
        (out / "state/state.json").unlink()
        run("mith-attack", *self.attack_arguments("out"))  # a folder of that name is no obstacle
        self.assertEqual((out / "state/notes.txt").read_text(), "mine")

    def test_a_failure_keeps_what_is_finished(self):
        out = self.dir / "out"
        (out / "pgd").mkdir(parents=True)
        (out / "pgd/adversarial.npy").mkdir()  # in the way of the second attack's result
        run("mith-attack", *self.attack_arguments("out"), code=2)
        self.assertTrue((out / "state/2-16.safetensors").exists())
        (out / "pgd/adversarial.npy").rmdir()
        run("mith-attack", *self.attack_arguments("out", "--resume"))
        run("mith-attack", *self.attack_arguments("whole"))
        self.assertEqual(self.files("out"), self.files("whole"))


class Reporting(Scratch):
    def evaluate(self, *arguments):
        done = run("mith-evaluate", "--data", DATA, *arguments, "--report", self.dir / "report")
        return done.stdout, json.loads((self.dir / "report/report.json").read_text())

    def test_queries_of_score_based_attacks(self):
        text, report = self.evaluate("--model", self.baseline, "--attack", "noise:eps=0.3,restarts=20", "--attack",
                                     "fgsm")
        clean, noise, fgsm = report["rows"]
        self.assertNotIn("queries_median", clean)
        curve = noise["queries_curve"]
        self.assertEqual(curve["queries"], sorted(curve["queries"]))
        self.assertEqual(curve["success"], sorted(curve["success"]))
        self.assertAlmostEqual(curve["success"][-1], noise["attack_success_rate"], places=6)
        self.assertEqual(sorted(noise["queries_at_success"]), ["25", "50", "75", "90"])
        self.assertIn("Queries until", text)
        self.assertIn("Success against queries", (self.dir / "report/report.html").read_text())
        self.assertNotIn("queries_curve", fgsm)
        self.assertEqual(noise["gradients_mean"], 0)
        self.assertEqual(fgsm["gradients_mean"], 1)
        low, high = fgsm["attack_success_ci95"]
        self.assertTrue(low <= fgsm["attack_success_rate"] <= high)
        self.assertEqual(fgsm["attacked"], round(clean["accuracy"] * 20))

    def test_distances_of_attacks_that_minimise_them(self):
        text, report = self.evaluate("--model", self.baseline, "--attack", "deepfool")
        row = report["rows"][1]
        self.assertIsNotNone(row["distances"]["l2_median"])
        curve = row["distance_curve"]
        self.assertEqual(curve["distance"], sorted(curve["distance"]))
        self.assertEqual(curve["accuracy"], sorted(curve["accuracy"], reverse=True))
        self.assertAlmostEqual(curve["accuracy"][0], report["rows"][0]["accuracy"], places=6)
        self.assertIn("Sizes of the changes", text)
        self.assertIn("Smallest changes found", (self.dir / "report/report.html").read_text())

    def test_transfer_matrix(self):
        for name, seed in (("a", 3), ("b", 4)):
            run("mith-train", "--data", DATA, "--net", "cnn", "--epochs", 2, "--seed", seed, "--out", self.dir / name)
        a, b = self.dir / "a", self.dir / "b"
        several = ["--model", self.baseline, "--model", a, "--surrogate", a, "--surrogate", b, "--attack",
                   "pgd:eps=8/255,steps=3"]
        text, report = self.evaluate(*several)
        self.assertEqual([row["threat"]["crafted_on"] for row in report["rows"] if row["attack"]],
                         [str(a), str(b)] * 2)
        [matrix] = report["transfer"]
        self.assertEqual(matrix["surrogates"], [str(a), str(b)])
        self.assertEqual(matrix["targets"], [str(self.baseline), str(a)])
        rows = {(row["threat"]["crafted_on"], row["model"]): row for row in report["rows"] if row["attack"]}
        for s, surrogate in enumerate(matrix["surrogates"]):
            for t, target in enumerate(matrix["targets"]):
                row = rows[surrogate, target]
                self.assertEqual(matrix["attack_success_rate"][s][t], row["attack_success_rate"])
                self.assertEqual(matrix["attack_success_ci95"][s][t], row["attack_success_ci95"])
            # Crafted once: both rows tell the one time it took.
            self.assertEqual(len({rows[surrogate, target]["seconds"] for target in matrix["targets"]}), 1)
        self.assertIn("crafted on", text)
        self.assertIn("<h2>Transfer</h2>", (self.dir / "report/report.html").read_text())
        one = json.loads(run("mith-evaluate", "--data", DATA, "--model", a, "--surrogate", b, "--attack",
                             "pgd:eps=8/255,steps=3", "--report", self.dir / "one", "--json").stdout)
        self.assertEqual(one["rows"][1]["confusion"], rows[str(b), str(a)]["confusion"])
        self.assertNotIn("transfer", one)
        _, together = self.evaluate(*several, "--ensemble")
        self.assertEqual([row["threat"]["access"] for row in together["rows"] if row["attack"]], ["transfer"] * 2)
        run("mith-attack", "--data", DATA, "--model", self.baseline, "--surrogate", a, "--surrogate", b, "--ensemble",
            "--attack", "fgsm", "--out", self.dir / "out")
        self.assertEqual(read_npy(self.dir / "out/fgsm/adversarial.npy")[1], (20, 32, 32, 3))


class Help(unittest.TestCase):
    def test_the_list_fits_and_is_grouped(self):
        text = run("mith-attack", "--attack", "help").stdout
        self.assertIn("\none step and iterative\n", text)
        self.assertIn("\nscore-based\n", text)
        self.assertIn("\nAutoAttack\n", text)
        self.assertIn("eps=8/255, alpha=2/255, steps=10", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_every_attack_fits_a_screen(self):
        for attack in json.loads(run("mith-attack", "--attack", "help", "--json").stdout):
            with self.subTest(attack=attack["name"]):
                text = run("mith-attack", "--attack", "help:" + attack["name"]).stdout
                lines = text.splitlines()
                self.assertLessEqual(len(lines), 40)
                self.assertLessEqual(max(map(len, lines)), 100)
                for key in attack["keys"]:
                    self.assertRegex(text, rf"(?m)^  {key['key']} ")
                for line in attack["rule"].splitlines():
                    self.assertIn(line.split()[0], text)


if __name__ == "__main__":
    main()
