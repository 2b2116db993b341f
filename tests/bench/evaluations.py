"""What attack_strength.py and seed000.py share: trainings and evaluations by this project's programs, each done once and
kept as a file, so that a run that was stopped goes on where it was. Standard library only.
"""
import csv
import hashlib
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

from compare_pytorch import ROOT

DATA = ROOT.parent / "shared" / "data"


class Programs:
    """`options` has bin, runs, threads, batch."""

    def __init__(self, options):
        self.options = options
        program = options.bin / "mith-evaluate"
        self.build = hashlib.sha256(program.read_bytes()).hexdigest()
        version = subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
        self.commit = re.search(r"git: (\S+)", version)[1]  # the program's, which may be older than this script's

    def run(self, program, *arguments):
        command = [str(part) for part in (self.options.bin / program, *arguments, "--threads", self.options.threads)]
        print("+ " + shlex.join(command), file=sys.stderr)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"{program} ended with exit code {done.returncode}")
        return done.stdout

    def trained(self, name, *arguments, epochs=30):
        """The run of that name; trained if it is not there yet, continued if it was stopped."""
        if self.options.epochs:
            name, epochs = f"{name}-{self.options.epochs}-epochs", self.options.epochs
        run = self.options.runs / name
        if not (run / "finished").exists():
            resume = ["--resume"] if (run / "config.json").exists() else []
            self.run("mith-train", *arguments, "--epochs", epochs, "--out", run, "--quiet", *resume)
            (run / "finished").touch()
        return run

    def row(self, model, data, attack, limit=0, extra=()):
        """The row of report.json of one attack on a run's model; of the clean images where it is None."""
        kept = self.kept("rows", model, data, attack, limit, *extra)
        if not kept.exists():
            with tempfile.TemporaryDirectory() as scratch:
                text = self.run("mith-evaluate", "--model", model, "--data", data, "--report",
                                pathlib.Path(scratch) / "report", "--json", "--quiet", "--batch", self.options.batch,
                                "--limit", limit, *(["--attack", attack] if attack else []), *extra)
            write(kept, json.loads(text)["rows"][-1])
        return json.loads(kept.read_text())

    def transferred(self, surrogate, targets, data, attack, limit):
        """One run: a list for each target of (label, prediction of the clean image, of the one crafted on the surrogate)."""
        kept = self.kept("transfers", surrogate, data, attack, limit, *map(fingerprint, targets))
        if not kept.exists():
            models = [part for target in targets for part in ("--model", target)]
            with tempfile.TemporaryDirectory() as scratch:
                report = pathlib.Path(scratch) / "report"
                self.run("mith-evaluate", *models, "--surrogate", surrogate, "--data", data, "--attack", attack, "--limit",
                         limit, "--report", report, "--quiet", "--batch", self.options.batch)
                with open(report / "predictions.csv", newline="") as file:
                    _, *lines = csv.reader(file)
            columns = [[int(value) for value in column] for column in list(zip(*lines))[2:]]  # behind id and name
            labels, *predictions = columns
            write(kept, [list(zip(labels, *pair)) for pair in zip(predictions[::2], predictions[1::2])])
        return json.loads(kept.read_text())

    def kept(self, kind, model, data, attack, limit, *more):
        """Where the result of these inputs is kept: another network of the same name, or another build of the program,
        has another file."""
        everything = json.dumps([self.build, fingerprint(model), str(data), attack, limit, [str(each) for each in more]])
        readable = re.sub(r"[^\w.-]+", "-", f"{model.name}-{(attack or 'clean').split(':')[0]}")
        return self.options.runs / kind / f"{readable}-{hashlib.sha256(everything.encode()).hexdigest()[:16]}.json"


def fingerprint(model):
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()


def write(path, value):
    """Aside and renamed: a file that is there is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(value) + "\n")
    aside.rename(path)


def right(row):
    """How many images are classified correctly."""
    return sum(row["confusion"][i][i] for i in range(len(row["confusion"])))


def interval(row):
    low, high = row["accuracy_ci95"]
    return f"{row['accuracy']:.3f} [{low:.3f}, {high:.3f}]"


def add_options(parser, runs):
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build" / "bin", help="folder of the programs")
    parser.add_argument("--runs", type=pathlib.Path, default=ROOT / "runs" / runs,
                        help="where networks and results are kept; what is there is not done again")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--batch", type=int, default=128, help="images at a time")
    parser.add_argument("--epochs", type=int, default=0, help="of every training, to try the script; 0: as it is written")
    parser.add_argument("--no-page", action="store_true", help="print the tables and leave docs/ alone")
