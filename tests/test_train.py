"""mith-train as a user runs it. Needs MITH_BIN, the folder of the binaries."""

import array
import json
import math
import signal
import subprocess
import time

from apps_support import BIN, DATA, Scratch, bmp, run, safetensors, main, setUpModule, tearDownModule, write_safetensors


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

    def test_resume_after_a_kill_gives_the_same_bytes(self):
        arguments = ("--epochs", 6, "--threads", 1)
        self.train(*arguments, out="whole")
        parts = self.dir / "parts"
        command = [BIN / "mith-train", "--data", DATA, "--net", "cnn", "--batch", 32, "--out", parts, *arguments]
        process = subprocess.Popen([*map(str, command)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.time() + 60
        while not (parts / "last.safetensors").exists() and time.time() < deadline:
            time.sleep(0.002)
        process.kill()
        self.assertEqual(process.wait(timeout=60), -signal.SIGKILL)
        self.train(*arguments, "--resume", out="parts")
        for name in ("model.safetensors", "last.safetensors"):
            self.assertEqual((self.dir / "whole" / name).read_bytes(), (parts / name).read_bytes())

    def test_resume_of_a_run_that_was_killed_in_its_first_epoch(self):
        self.train("--epochs", 1)
        for name in ["model.safetensors", "last.safetensors"]:
            (self.dir / "run" / name).unlink()
        (self.dir / "run/events.out.tfevents.1").write_text("")
        self.assertIn("lr", self.train("--epochs", 1, "--lr", "0.1", "--resume", code=2).stderr)
        said = self.train("--epochs", 1, "--resume").stderr
        self.assertIn("ended before its first epoch did; starting anew", said)
        self.assertFalse((self.dir / "run/events.out.tfevents.1").exists())
        self.assertTrue((self.dir / "run/model.safetensors").exists())

    def test_init_from_a_run_with_a_damaged_configuration(self):
        self.train("--epochs", 1)
        (self.dir / "run/config.json").write_text("{")
        said = self.train("--epochs", 1, "--init", self.dir / "run", out="next", code=2).stderr
        self.assertIn("config.json: not valid JSON", said)
        self.assertEqual(said.count("\n"), 1)

    def test_resume_leaves_what_is_no_run_alone(self):
        for i, text in enumerate(["mine", "{}", '{"program": "another", "options": {}}', None]):
            folder = self.dir / f"notes{i}"
            folder.mkdir()
            (folder / "split.json").write_text("split")
            if text is not None:
                (folder / "config.json").write_text(text)
            said = self.train("--epochs", 1, "--resume", out=folder.name, code=2).stderr
            self.assertIn("not valid JSON" if text == "mine" else "holds no run to continue", said)
            self.assertEqual((folder / "split.json").read_text(), "split")
            if text is not None:
                self.assertEqual((folder / "config.json").read_text(), text)

    def test_resume_refuses_other_options(self):
        self.train("--epochs", 1)
        self.assertIn("lr", self.train("--epochs", 2, "--lr", "0.1", "--resume", code=2).stderr)
        self.train("--epochs", 1, "--schedule", "cosine", out="annealed")
        self.assertIn("epochs", self.train("--epochs", 2, "--schedule", "cosine", "--resume", out="annealed",
                                           code=2).stderr)
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
        for word in ("conv1", "fc2", "parameters", "multiply-adds", "[1, 32, 32, 32]", "total"):
            self.assertIn(word, text)

    def test_summary_needs_no_data(self):
        def summary(*arguments):
            return json.loads(run("mith-train", "--summary", "--json", *arguments).stdout)

        # Multiply-adds in G as torchvision publishes them with its weights, but vit_tiny's, by hand:
        # (196 * 768 + 12 * 197 * (12 * 192 + 2 * 197)) * 192 + 192 * 1000.
        for net, published in (("resnet18", 1.81), ("resnet50", 4.09), ("vgg16", 15.47), ("mobilenet_v2", 0.30),
                               ("densenet121", 2.83), ("efficientnet_b0", 0.39), ("inception_v3:size=299", 5.71),
                               ("vit_b_16", 17.56), ("vit_tiny", 1.2537)):
            with self.subTest(net=net):
                table = summary("--net", net)
                self.assertLess(abs(table["multiply_adds"] / 1e9 / published - 1), 0.02)
                for total in ("parameters", "multiply_adds", "activation_bytes"):
                    self.assertEqual(sum(layer[total] for layer in table["layers"]), table[total])
        for net in ("autoencoder", "unet", "cyclegan_generator", "patchgan", "dcae"):
            with self.subTest(net=net):
                self.assertGreater(summary("--net", net, "--size", 64)["multiply_adds"], 0)

        first, second = summary("--net", "cnn:channels=1,classes=3", "--size", 20)["layers"][:2]
        self.assertEqual((first["layer"], first["output"], first["parameters"]), ("conv1", "[1, 20, 20, 32]", 320))
        self.assertEqual((first["multiply_adds"], first["activation_bytes"]), (20 * 20 * 9 * 32, 20 * 20 * 32 * 4))
        self.assertEqual((second["operator"], second["multiply_adds"]), ("max_pool2d", 0))
        token, *layers = summary("--net", "vit_tiny:channels=1,normalize=half", "--size", 32)["layers"]
        self.assertEqual((token["layer"], token["operator"], token["parameters"]), ("class_token", "(parameter)", 192))
        first = {layer["operator"]: layer["parameters"] for layer in reversed(layers) if layer["layer"] == ""}
        self.assertEqual((first["repeat_channels"], first["channel_affine"]), (0, 0))
        self.assertEqual(summary("--init", self.baseline)["input"], "[1, 32, 32, 3]")

    def test_frozen_summary(self):
        def frozen(*arguments):
            return json.loads(run("mith-train", "--summary", "--frozen", "--json", *arguments).stdout)

        resnet = frozen("--net", "resnet50")
        steps = [(step["layer"], step["operator"]) for step in resnet["steps"][:3]]
        self.assertEqual(steps, [("conv1", "conv2d + batch_norm"), ("", "max_pool2d + relu"),
                                 ("layer1.0.conv1", "conv2d + batch_norm + relu")])
        self.assertNotIn("batch_norm", {step["operator"] for step in resnet["steps"]})
        # A bit of each of the ReLUs' elements, of stages in rows of 32 pixels, and a byte of the max-pool's.
        self.assertLess(resnet["kept_bytes"], 2e6)
        self.assertGreater(resnet["kept_bytes"], 1.1e6)
        kept = {step["kept_bytes"] for step in frozen("--net", "vit_tiny")["steps"] if step["by"] == "eager"}
        self.assertEqual(kept, {None})
        self.assertIn("at least", run("mith-train", "--net", "vit_tiny", "--summary", "--frozen").stdout.splitlines()[-1])
        self.assertIn("in place", {step["by"] for step in frozen("--net", "densenet121")["steps"]})
        table = run("mith-train", "--net", "cnn", "--summary", "--frozen").stdout
        self.assertIn("linear + batch_norm + relu", table)
        self.assertIn("--summary", run("mith-train", "--net", "cnn", "--frozen", "--out", self.dir / "frozen",
                                       "--data", DATA, code=2).stderr)

    def test_summary_is_aligned(self):
        title, *lines = run("mith-train", "--net", "vit_tiny", "--size", 32, "--summary").stdout.splitlines()
        self.assertIn("vit_tiny", title)
        ends = lines[0].index("multiply-adds") + len("multiply-adds")
        self.assertGreater(lines[0].index("operator"), len("encoder.layers.encoder_layer_11.self_attention.out_proj"))
        for line in lines:
            self.assertEqual(len(line), len(lines[0]))
            self.assertEqual(line[ends:ends + 2], "  ")

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
        self.assertIn("--freeze", self.train("--unfreeze-after", 2, code=2, out="other").stderr)
        self.assertIn("--lr-for", self.train("--lr-for", "fc9=1", code=2, out="other").stderr)
        self.assertFalse((self.dir / "other").exists())

    def test_a_run_with_fixed_statistics_is_continued_with_them(self):
        def statistics(folder):
            header, data = safetensors(folder / "model.safetensors")
            return [data[slice(*header[name]["data_offsets"])] for name in sorted(header) if "running_" in name]

        fixed = ("--init", self.baseline, "--fixed-statistics", "--epochs", 1)
        self.assertNotIn("--fixed-statistics", self.train(*fixed, out="fixed", net=()).stderr)
        said = self.train("--init", self.dir / "fixed", "--epochs", 1, out="on", net=()).stderr
        self.assertIn("fixed was trained with --fixed-statistics, and so is this", said)
        self.assertTrue(statistics(self.baseline))
        self.assertEqual(statistics(self.dir / "on"), statistics(self.baseline))

    def test_weights_without_a_head(self):
        self.train("--epochs", 1, net=("--net", "resnet18", "--size", 32))
        header, data = safetensors(self.dir / "run/model.safetensors")
        ends = min(header.pop(f"fc.{part}")["data_offsets"][0] for part in ("weight", "bias"))
        self.assertEqual(ends, max(header[name]["data_offsets"][1] for name in header if name != "__metadata__"))
        del header["__metadata__"]
        backbone = write_safetensors(self.dir / "backbone.safetensors", header, data[:ends])
        for head, anew in (((), "fc.weight, fc.bias"),
                           (("--head", 8), "fc.0.weight, fc.0.bias, fc.2.weight, fc.2.bias")):
            said = self.train("--init", backbone, "--epochs", 1, *head, "--force",
                              net=("--net", "resnet18", "--size", 32)).stderr
            self.assertIn(f"backbone.safetensors has no head: {anew} start anew", said)

    def test_head_is_replaced_for_other_classes(self):
        folder = self.dir / "images"
        for i in range(24):
            bmp(folder / ("dark" if i % 2 else "light") / f"{i}.bmp", 60 + 5 * i if i % 2 else 250 - 5 * i)
        done = run("mith-train", "--data", folder, "--init", self.baseline, "--epochs", 1, "--out", self.dir / "run")
        self.assertIn("fc2.weight", done.stderr)
        header, data = safetensors(self.baseline / "model.safetensors")
        del header["__metadata__"]  # weights of other origin do not say how many classes they know
        foreign = write_safetensors(self.dir / "foreign.safetensors", header, data)
        done = run("mith-train", "--data", folder, "--net", "cnn:channels=3", "--size", 32, "--init", foreign,
                   "--epochs", 1, "--out", self.dir / "foreign")
        self.assertIn("has 5 classes, the data 2: fc2.weight, fc2.bias start anew", done.stderr)

    def test_one_sigmoid_for_two_classes_is_a_head_of_another_size(self):
        def image_folder(name, classes):
            for i in range(12 * classes):
                bmp(self.dir / name / str(i % classes) / f"{i}.bmp", 20 + 70 * (i % classes) + i)
            return self.dir / name

        def last_layer(file):
            header, data = safetensors(file)
            first, last = header["classifier.2.weight"]["data_offsets"]
            return header["classifier.4.weight"]["shape"][0], data[first:last]

        def train(data, out, *arguments):
            text = run("mith-train", "--data", data, "--epochs", 1, "--lr", 1e-12, "--out", self.dir / out,
                       *arguments).stderr
            return [line for line in text.splitlines() if line.startswith("note:")]

        two, three = image_folder("two", 2), image_folder("three", 3)
        for first, second, rows in ((two, three, (1, 3)), (three, two, (3, 1))):
            start, file = self.dir / f"{first.name}-run", self.dir / f"{first.name}.safetensors"
            train(first, start.name, "--net", "rdmaa-lung")
            header, data = safetensors(start / "model.safetensors")
            del header["__metadata__"]
            for origin in (start, write_safetensors(file, header, data)):
                out = f"{first.name}-{origin.is_dir()}"
                [said] = train(second, out, "--net", "rdmaa-lung", "--init", origin)
                classes = (2, 3) if first == two else (3, 2)
                self.assertIn("has {} classes, the data {}: classifier.4.weight, classifier.4.bias start anew".format(
                    *classes), said)
                (before, kept), (after, value) = (last_layer(run_folder / "model.safetensors")
                                                  for run_folder in (start, self.dir / out))
                self.assertEqual((before, after), rows)
                self.assertLess(max(abs(a - b) for a, b in zip(array.array("f", kept), array.array("f", value))), 1e-6)

    def test_rdmaa_nets_start_from_one_encoder(self):
        def dcae(name, filters=64, metadata=None):
            shapes, size = {}, 0
            for layer, out, taken in (("encoder.0", filters, 1), ("encoder.3", filters, filters),
                                      ("encoder.6", filters, filters), ("decoder.0", 64, filters),
                                      ("decoder.3", 64, 64), ("decoder.6", 16, 64), ("decoder.9", 1, 16)):
                shapes |= {f"{layer}.weight": [out, taken, 3, 3], f"{layer}.bias": [out]}
            header = {"__metadata__": metadata} if metadata else {}
            for tensor, shape in shapes.items():
                header[tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [size, size + 4 * math.prod(shape)]}
                size += 4 * math.prod(shape)
            values = array.array("f", (math.sin(i) / 10 for i in range(size // 4)))
            return write_safetensors(self.dir / f"{name}.safetensors", header, values.tobytes())

        def encoder(file):
            header, data = safetensors(file)
            return {name: data[slice(*header[name]["data_offsets"])] for name in header if name.startswith("encoder.")}

        ours = {"mithridate.net": "dcae", "mithridate.image": "[8, 8, 1]", "mithridate.classes": '["a", "b"]',
                "mithridate.normalize": '{"how": "none", "mean": [], "deviation": []}'}
        for i in range(24):
            bmp(self.dir / "images" / str(i % 2) / f"{i}.bmp", 60 + 100 * (i % 2) + i)
        train = ("mith-train", "--data", self.dir / "images", "--epochs", 1, "--freeze", "encoder")
        for out, net, file in (("lung", "rdmaa-lung:channels=1", dcae("pytorch")),
                               ("brain", "rdmaa-brain:channels=1", dcae("ours", metadata=ours)),
                               ("on", "rdmaa-brain:channels=1", self.dir / "lung/model.safetensors")):
            with self.subTest(out):
                done = run(*train, "--net", net, "--init", file, "--out", self.dir / out)
                [said] = [line for line in done.stderr.splitlines() if line.startswith("note:")]
                self.assertIn(f"{file} has encoder in common with the net: classifier.0.weight, classifier.0.bias, ",
                              said)
                self.assertTrue(said.endswith(" start anew"))
                self.assertEqual(encoder(self.dir / out / "model.safetensors"), encoder(file))
                self.assertEqual(len(encoder(file)), 6)
        done = run(*train, "--net", "rdmaa-lung:channels=1", "--init", dcae("narrow", 32), "--out", self.dir / "x",
                   "--quiet", code=2)
        [line] = done.stderr.splitlines()
        self.assertIn("other shape of encoder.0.weight: file [32, 1, 3, 3], network [64, 1, 3, 3]", line)

    def test_head(self):
        def shapes(file):
            header = safetensors(file)[0]
            return {name: header[name]["shape"] for name in header if name.startswith("heads")}

        def value(file, name):
            header, data = safetensors(file)
            first, last = header[name]["data_offsets"]
            return data[first:last]

        def train(out, *arguments, **more):
            return run("mith-train", "--data", DATA, "--epochs", 1, "--out", self.dir / out, *arguments, **more).stderr

        def note(text):
            return [line for line in text.splitlines() if line.startswith("note:")]

        net = "vit:layers=1,heads=2,hidden=16,mlp=16,patch=8"
        plain, deep = (self.dir / f"{name}/model.safetensors" for name in ("plain", "deep"))
        train("plain", "--net", net)
        # Weights of other origin: nothing but tensors, for other classes.
        header, data = safetensors(plain)
        del header["__metadata__"]
        foreign = write_safetensors(self.dir / "foreign.safetensors", header, data)

        [said] = note(train("deep", "--init", self.dir / "plain", "--head", "12,8", "--freeze", "conv_proj,encoder"))
        self.assertIn("a head of 5, the net in 12-8-5: heads.head.0.weight, ", said)
        self.assertEqual(shapes(deep), {
            "heads.head.0.weight": [12, 16], "heads.head.0.bias": [12], "heads.head.2.weight": [8, 12],
            "heads.head.2.bias": [8], "heads.head.4.weight": [5, 8], "heads.head.4.bias": [5]})
        self.assertEqual(value(deep, "conv_proj.weight"), value(plain, "conv_proj.weight"))
        self.assertTrue(json.loads((self.dir / "deep/config.json").read_text())["net"]["spec"].endswith("head=12-8"))

        # The head goes on with its run, is exchanged for another, and taken away.
        self.assertEqual(note(train("on", "--init", self.dir / "deep")), [])
        [said] = note(train("wide", "--init", self.dir / "deep", "--head", "16"))
        self.assertIn("a head of 12-8-5, the net in 16-5", said)
        [said] = note(train("back", "--init", self.dir / "deep", "--net", net))
        self.assertIn("heads.head.weight, heads.head.bias start anew", said)
        run("mith-evaluate", "--model", self.dir / "wide", "--data", DATA, "--report", self.dir / "report")

        images = self.dir / "images"
        for i in range(24):
            bmp(images / ("dark" if i % 2 else "light") / f"{i}.bmp", 60 + 5 * i if i % 2 else 250 - 5 * i)
        grey = ("--data", images, "--epochs", 1, "--size", 32, "--net", net + ",channels=3")
        [assumed, said] = note(run("mith-train", *grey, "--init", foreign, "--out", self.dir / "a").stderr)
        self.assertIn("normalize=imagenet", assumed)
        self.assertIn("has 5 classes, the data 2: heads.head.weight, heads.head.bias start anew", said)
        grey = (*grey[:-1], grey[-1] + ",normalize=none")
        [said] = note(run("mith-train", *grey, "--init", foreign, "--head", 4, "--out", self.dir / "b").stderr)
        self.assertIn("a head of 5, the net in 4-2", said)

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


if __name__ == "__main__":
    main()
