"""Everything that can be wrong with what the programs are given. Needs MITH_BIN, the folder of the binaries."""

import io
import json
import math
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import unittest

import apps_support
from apps_support import (BIN, DATA, Scratch, npy, npz, run, safetensors, write_safetensors, main, setUpModule,
                          tearDownModule)


def published(net, classes, only=""):
    """(header, data) of a published network's checkpoint with a head for `classes` and every value 0."""
    listing, header, size = pathlib.Path(__file__).with_name("golden") / "nets/state_dicts.txt", {}, 0
    section = listing.read_text().partition(f"# {net} ")[2].partition("\n# ")[0]
    for line in section.splitlines()[1:]:
        name, *shape = line.split()
        shape = [classes if d == "1000" else int(d) for d in shape]
        if not name.startswith(only) or name.endswith("num_batches_tracked"):
            continue
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [size, size + 4 * math.prod(shape)]}
        size += 4 * math.prod(shape)
    return header, bytes(size)


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
        first = header["bn.running_var"]["data_offsets"][0]
        negative = data[:first] + struct.pack("<f", -1) + data[first + 4:]
        line = self.refuse_model(f"cnn@{write_safetensors(self.dir / 'negative.safetensors', header, negative)}",
                                 "negative.safetensors")
        self.assertIn("bn.running_var holds negative variances", line)
        self.refuse_model(self.dir / "absent", "absent")
        self.refuse_model("nonet@" + str(self.baseline / "model.safetensors"), "nonet")

    def refuse_checkpoint(self, net, file, naming):
        """The file as a model and as weights to start from."""
        for program in ("mith-evaluate", "mith-attack", "mith-train"):
            arguments = ["--net", net, "--init", file] if program == "mith-train" else ["--model", f"{net}@{file}"]
            arguments += [] if program == "mith-train" else ["--attack", "fgsm"]
            with self.subTest(program=program, file=file.name):
                line = self.refuse(program, *arguments, "--data", DATA, naming=file.name)
                self.assertIn(naming, line)

    def test_checkpoints_of_published_networks(self):
        net, header, data = "mobilenet_v2:size=32,normalize=half", *published("mobilenet_v2", 5)
        convolution, norm = "features.2.conv.0.0.weight", "features.18.1.running_var"
        first, last = header[convolution]["data_offsets"]

        def changed(**entries):
            return {**header, convolution: {**header[convolution], **entries}}

        def without(name, *added):
            """`name` left out and the values moved up behind it, with tensors added at the end."""
            start, end = header[name]["data_offsets"]
            rest, size = dict(header), len(data) - (end - start)
            del rest[name]
            for key, entry in rest.items():
                offsets = [offset - (end - start) if offset >= end else offset for offset in entry["data_offsets"]]
                rest[key] = {**entry, "data_offsets": offsets}
            for key, shape in added:
                rest[key] = {"dtype": "F32", "shape": shape, "data_offsets": [size, size + 4 * math.prod(shape)]}
                size += 4 * math.prod(shape)
            return rest, (data[:start] + data[end:]).ljust(size, b"\0")

        def check(name, header, data, naming, length=None):
            file = write_safetensors(self.dir / f"{name}.safetensors", header, data, length)
            self.refuse_checkpoint(net, file, naming)
            file.unlink()

        check("missing", *without(norm), f"it has no {norm}")
        more = {**header, "fc.bias": {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}}
        check("extra", more, data + bytes(4), "which has no fc.bias")
        check("shape", changed(shape=[16, 96, 1, 1]), data,
              f"{convolution}: file [16, 96, 1, 1], network [96, 16, 1, 1]")
        check("rank", changed(shape=[96, 16]), data, f"{convolution}: file [96, 16], network [96, 16, 1, 1]")
        check("larger", *without(convolution, (convolution, [97, 16, 1, 1])),
              f"{convolution}: file [97, 16, 1, 1], network [96, 16, 1, 1]")
        check("integers", changed(dtype="I32"), data, f"{convolution}: file i32, network f32")
        for value in ("nan", "inf"):
            bad = data[:last - 4] + struct.pack("<f", float(value)) + data[last:]
            check(value, header, bad, f"{convolution} holds NaN or infinite values")
        check("cut", header, data[:-4], "outside the file")
        check("long", header, data + bytes(4), "4 bytes belong to no tensor")
        check("length", header, data, "its header is too long", len(data) * 2)
        check("beyond", changed(data_offsets=[first, len(data) + 4]), data, f"'{convolution}': its offsets lie outside")
        check("backwards", changed(data_offsets=[last, first]), data, f"'{convolution}': its offsets lie outside")
        check("overlap", changed(data_offsets=[first - 4, last - 4]), data, "overlaps another")
        for dtype, needed in (("F64", 12288), ("BF16", 3072)):
            check(dtype, changed(dtype=dtype), data,
                  f"'{convolution}': shape [96, 16, 1, 1] needs {needed} bytes, there are 6144")
        check("type", changed(dtype="Q4"), data, f"'{convolution}': element type Q4 is not supported")

        text = json.dumps(header)
        twice = (text[:-1] + f', "{convolution}": ' + json.dumps(header[convolution]) + "}").encode()
        (self.dir / "twice.safetensors").write_bytes(struct.pack("<Q", len(twice)) + twice + data)
        self.refuse_checkpoint(net, self.dir / "twice.safetensors", f"'{convolution}' appears twice")

    def test_checkpoint_of_a_residual_network(self):
        header, data = published("resnet18", 5)
        name = "layer3.0.downsample.0.weight"
        header[name]["shape"] = [128, 256, 1, 1]
        file = write_safetensors(self.dir / "turned.safetensors", header, data)
        naming = f"{name}: file [128, 256, 1, 1], network [256, 128, 1, 1]"
        self.refuse_checkpoint("resnet18:size=32,normalize=half", file, naming)

    def test_images_smaller_than_the_least(self):
        small = "synthetic:histology:n=50,size=16"
        for net in ("vgg16_bn", "densenet121", "inception_v3"):
            line = self.refuse("mith-train", "--data", small, "--net", net, naming=net)
            self.assertRegex(line, r"images of 16 x 16 pixels are too small; it needs (\d+) x \1")
        header, data = published("vgg16_bn", 5, only="classifier.6")  # too small whatever the weights
        file = write_safetensors(self.dir / "vgg.safetensors", header, data)
        for program in ("mith-evaluate", "mith-attack"):
            line = self.refuse(program, "--model", f"vgg16_bn:size=31,channels=3@{file}", "--data", small, "--attack",
                               "fgsm", naming="vgg16_bn")
            self.assertIn("images of 31 x 31 pixels are too small; it needs 32 x 32", line)

    def test_other_architecture(self):
        data = "synthetic:histology:n=50,size=64"
        run("mith-train", "--data", data, "--net", "cnn-seed000", "--epochs", 1, "--out", self.dir / "other")
        self.refuse_model(f"cnn@{self.dir / 'other/model.safetensors'}", "model.safetensors")
        self.refuse("mith-train", "--data", data, "--net", "cnn", "--init", self.dir / "other", naming="other")

    def test_networks_that_do_not_classify(self):
        header, data = safetensors(self.baseline / "model.safetensors")
        del header["__metadata__"]
        foreign = write_safetensors(self.dir / "foreign.safetensors", header, data)
        for net in ("dcae", "autoencoder", "unet", "cyclegan_generator", "patchgan"):
            line = self.refuse("mith-train", "--data", DATA, "--net", net, naming=net)
            self.assertIn("is no classifier: it is for", line)
            [line] = run("mith-bench", "network", "--net", net, code=2).stderr.splitlines()
            self.assertIn("is no classifier: it is for", line)
            model = f"{net}@{foreign}"
            line = self.refuse("mith-evaluate", "--model", model, "--data", DATA, naming=net)
            self.assertIn("is no classifier: it is for", line)
            [line] = run("mith-bench", "attack", "--model", model, "--data", DATA, code=2).stderr.splitlines()
            self.assertIn("is no classifier: it is for", line)

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
                                  (["--head", "128"], "net cnn takes no other head"),
                                  (["--net", "resnet18", "--head", "0"], "--head 0: "),
                                  (["--net", "resnet18", "--head", "64,65537"], "--head 64,65537: "),
                                  (["--net", "resnet18", "--head", "64,x"], "--head 64,x: "),
                                  (["--net", "resnet18", "--head", ","], "--head ,: "),
                                  (["--net", "resnet18:head=64-0"], "head=64-0"),
                                  (["--net", "unet", "--head", "64"], "unet"),
                                  (["--class-weights", "even"], "balanced")):
            with self.subTest(arguments=arguments):
                net = () if "--net" in arguments else ("--net", "cnn")
                self.refuse("mith-train", *data, *net, *arguments, naming=naming)
        for arguments, naming in (([], "--net"), (["--net", "vgg16", "--size", "16"], "16 x 16"),
                                  (["--net", "cnn", "--out", "run"], "--data"),
                                  (["--net", "cnn:size=32", "--size", "64"], "--size")):
            with self.subTest(arguments=arguments):
                [line] = run("mith-train", "--summary", *arguments, code=2).stderr.splitlines()
                self.assertIn(naming, line)
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
        for above in (apps_support.SCRATCH, self.dir):
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
    main()
