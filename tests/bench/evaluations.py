"""What attack_strength.py and seed000.py share: trainings and evaluations by this project's programs, each done once and
kept as a file, so that a run that was stopped goes on where it was. Standard library only.
"""
import ast
import hashlib
import json
import pathlib
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile

from compare_pytorch import ROOT

DATA = ROOT.parent / "shared" / "data"


class Programs:
    """`options` has bin, runs, threads, batch."""

    def __init__(self, options):
        self.options = options

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

    def flags(self, surrogate, target, data, attack, limit):
        """Image by image: labels, the target's predictions of the clean images and of those crafted on the surrogate."""
        kept = self.kept("flags", target, data, attack, limit, f"surrogate {fingerprint(surrogate)}")
        if not kept.exists():
            with tempfile.TemporaryDirectory() as scratch:
                out = pathlib.Path(scratch) / "attack"
                self.run("mith-attack", "--model", target, "--surrogate", surrogate, "--data", data, "--attack", attack,
                         "--limit", limit, "--out", out, "--quiet", "--batch", self.options.batch)
                (folder,) = (each for each in out.iterdir() if (each / "labels.npy").exists())
                result = {name: integers(folder / f"{name}.npy")
                          for name in ("labels", "clean_predictions", "adversarial_predictions")}
                shutil.rmtree(out)
            write(kept, result)
        return json.loads(kept.read_text())

    def kept(self, kind, model, data, attack, limit, *more):
        """Where the result of these inputs is kept; another network of the same name has another file."""
        everything = json.dumps([fingerprint(model), str(data), attack, limit, [str(each) for each in more]])
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


def integers(path):
    """The values of an .npy file of i64."""
    content = path.read_bytes()
    (length,) = struct.unpack("<H", content[8:10])
    header = ast.literal_eval(content[10 : 10 + length].decode())
    if header["descr"] != "<i8":
        raise SystemExit(f"{path}: {header['descr']}, not <i8")
    (count,) = header["shape"]
    return list(struct.unpack(f"<{count}q", content[10 + length : 10 + length + 8 * count]))


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
