// mith-train: trains a network, or fine-tunes one on merged clean and attacked batches.
#include <iostream>

#include "apps/common/command_line.h"
#include "apps/common/evaluation.h"
#include "apps/common/inputs.h"
#include "apps/common/offline_twins.h"
#include "apps/common/registry_help.h"
#include "apps/common/summary.h"
#include "apps/common/training.h"
#include "defenses/adversarial_training.h"
#include "engine/train/progress.h"

namespace mith {
namespace {

constexpr const char* examples =
    "  mith-train --data synthetic:histology --net cnn --out runs/baseline\n"
    "  mith-train --data xrays/ --net cnn --size 64 --augment flip,rotate:10 --out runs/xray\n"
    "  mith-train --data d.npz --init runs/baseline --adversarial pgd:eps=8/255,steps=7 --epochs 8 --out "
    "runs/hardened\n"
    "  mith-train --net help                 the nets; --net help:cnn describes one\n"
    "  mith-train --net resnet50 --summary   its layers at 224 x 224 x 3 and 1000 classes, unless keys say otherwise\n";

void declare(CommandLine& line, TrainOptions& o) {
  line.text("--data", o.data, "DATA", "folder of class folders, .npz, .csv or synthetic:NAME[:n=..,size=..]");
  line.text("--net", o.net, "NET", "NAME:key=value,...; help lists all; optional after --init of a run");
  line.text("--out", o.out, "RUN", "folder that the run is written into");
  line.integer("--epochs", o.epochs, 1, 1000000, "at most");
  line.integer("--batch", o.batch, 1, 65536, "images a step");
  line.number("--lr", o.lr, 1e-12, 1e3, "learning rate; 0.001 from scratch, 0.0005 after --init");
  line.text("--optimizer", o.optimizer, "adam|adamw|sgd", "optimiser");
  line.choice("--schedule", o.schedule, {"plateau", "cosine"},
              "lower the rate when validation stalls, or along a cosine to 0 at --epochs");
  line.integer("--patience", o.patience, 1, 1000000, "epochs without improvement before training stops");
  line.integer("--size", o.size, 0, 16384, "resize images to N x N; 0: as they are");
  line.text("--augment", o.augment, "LIST", "random changes, e.g. flip,rotate:10");
  line.text("--split", o.split, "A/B/C", "train/val/test shares where the data has no parts");
  line.choice("--class-weights", o.class_weights, {"balanced", "none"}, "weights of the classes in the loss");
  line.text("--init", o.init, "WEIGHTS", "start from a run folder or a .safetensors file");
  line.text("--freeze", o.freeze, "PREFIX,...", "parameters that do not train, e.g. conv1,conv2");
  line.integer("--unfreeze-after", o.unfreeze_after, 0, 1000000, "epoch after which frozen parameters train too");
  line.flag("--fixed-statistics", o.fixed_statistics, "batch norms keep the statistics of --init, in training too");
  line.text("--head", o.head, "N,...", "widths of dense layers before the last, as the net's key head=N-...");
  line.texts("--lr-for", o.lr_for, "PREFIX=X", "another learning rate for some parameters");
  line.texts("--adversarial", o.adversarial, "ATTACK", "train on attacked twins too; several alternate by batch");
  line.number("--adversarial-weight", o.adversarial_weight, 0, 1, "W of (1-W) CE(clean) + W CE(adversarial)");
  line.text("--adversarial-data", o.adversarial_data, "DIR", "attacked twins made by mith-attack on DATA:train");
  line.flag("--summary", o.summary, "print the layers for one image; without --out only that, with or without --data");
  line.flag("--frozen", o.frozen, "with --summary: the steps that attacks run instead, and what was fused into them");
  line.flag("--resume", o.resume, "continue the run in --out exactly where it stopped");
  line.flag("--force", o.force, "replace a run in --out");
}

/// Attacked twins of the training batches and the attack of the robust validation.
void add_perturbations(Trainer& trainer, const TrainOptions& o, const ImageSet& train, bool strict) {
  std::vector<std::string> attacks = o.adversarial;
  if (!o.adversarial_data.empty()) {
    OfflineTwins twins = read_offline_twins(o.adversarial_data, train);
    trainer.perturbations = std::move(twins.perturbations);
    attacks.insert(attacks.end(), twins.attacks.begin(), twins.attacks.end());
  }
  for (const std::string& attack : o.adversarial)
    trainer.perturbations.push_back(adversarial_perturbation(attack, strict));
  if (!attacks.empty()) trainer.validation_attack = validation_perturbation(attacks.front(), strict);
}

void add_callbacks(Trainer& trainer, const TrainOptions& o, const std::filesystem::path& folder) {
  trainer.callbacks.push_back(metrics_log(folder));
  trainer.callbacks.push_back(best_checkpoint(folder / "model.safetensors"));
  trainer.callbacks.push_back(o.schedule == "cosine" ? cosine_annealing(learning_rate(o)) : reduce_on_plateau());
  trainer.callbacks.push_back(early_stopping(static_cast<int>(o.patience)));
  trainer.callbacks.push_back(last_checkpoint(folder / "last.safetensors"));
}

TrainerOptions trainer_options(const TrainOptions& o, const Augmentation& augmentation, const ImageSet& train,
                               int64_t seed) {
  TrainerOptions t;
  t.epochs = o.epochs;
  t.batch = o.batch;
  t.seed = static_cast<uint64_t>(seed);
  t.augment = augmentation.any();
  if (o.class_weights == "balanced") t.class_weights = balanced_class_weights(train);
  t.adversarial_weight = o.adversarial_weight;
  t.unfreeze_after = o.unfreeze_after;
  t.fixed_statistics = o.fixed_statistics;
  return t;
}

Json run_configuration(const TrainOptions& o, const Json& options, const DataParts& parts, const Network& network) {
  Json config = build_information();
  config["program"] = "mith-train";
  config["options"] = options;
  config["data"] = {{"source", o.data},
                    {"path", lasting_name(o.data)},
                    {"split", o.split},
                    {"description", parts.description},
                    {"classes", parts.train.class_names},
                    {"train", parts.train.size()},
                    {"val", parts.validation.size()},
                    {"test", parts.test.size()}};
  config["net"] = {{"spec", network.spec()}, {"parameters", network.parameter_count()}};
  return config;
}

/// The clean row of the best weights on the test part, or on the validation part if there is no test part.
Report final_report(const TrainOptions& o, Network& network, const DataParts& parts, int64_t seed) {
  bool const tested = parts.test.size() > 0;
  const ImageSet& images = tested ? parts.test : parts.validation;
  NetworkClassifier classifier(network, o.out);
  ImageSource const source(images);
  Report report = make_report("Training", images, o.data, tested ? "test" : "val", static_cast<uint64_t>(seed));
  report.rows.push_back(Evaluation(classifier, source, {}).clean());
  return report;
}

void print_result(const Report& report, const Json& result, const std::string& out, bool json) {
  if (json) {
    std::cout << json_text({{"run", out}, {"result", result}}, 2) << "\n";
    return;
  }
  std::cout << to_table(report) << out << "\n";
}

void print_summary(Network& network, bool frozen, bool json) {
  Json const summary = frozen ? summarise_frozen(network) : summarise(network);
  auto const table = frozen ? frozen_summary_table : summary_table;
  std::cout << (json ? json_text(summary, 2) + "\n" : table(summary)) << std::flush;
}

int train(int argc, char** argv) {
  CommandLine line("mith-train", "Trains a medical image classifier, or hardens one by adversarial fine-tuning.",
                   examples);
  TrainOptions o;
  declare(line, o);
  if (!line.parse(argc, argv)) return 0;
  require_f32(line.common.precision, "training");
  auto help = net_help(o.net);
  if (!help) help = attack_help(o.adversarial, line.common.json);
  if (help) {
    std::cout << *help;
    return 0;
  }
  bool const only_summary = o.summary && o.out.empty();
  require(!o.data.empty() || only_summary, "--data is missing");
  require(!o.out.empty() || only_summary, "--out is missing");
  require(!o.frozen || o.summary, "--frozen: goes with --summary");
  require(!o.fixed_statistics || !o.init.empty(), "--fixed-statistics: there are none without --init");
  require(o.unfreeze_after < 0 || !o.freeze.empty(), "--unfreeze-after: nothing is frozen without --freeze");
  Augmentation const augmentation = o.augment.empty() ? Augmentation{} : Augmentation::parse(o.augment);
  for (const std::string& attack : o.adversarial) make_attack(attack);

  auto const init = read_initial_weights(o.init);
  if (init) take_fixed_statistics(o, *init);
  if (o.data.empty()) {
    print_summary(*network_without_data(o, init.get()), o.frozen, line.common.json);
    return 0;
  }
  if (!only_summary) require_classifier(net_spec(o, init.get()));
  DataParts const parts = load_training_data(o, init.get(), line.common.strict);
  auto const network = build_network(o, init.get(), parts, line.common.seed);
  freeze(*network, o.freeze);
  auto const optimizer = build_optimizer(*network, o);
  // With --json stdout holds one document, which the run's result is.
  if (o.summary && (only_summary || !line.common.json)) print_summary(*network, o.frozen, line.common.json);
  if (only_summary) return 0;
  Trainer trainer(*network, *optimizer, trainer_options(o, augmentation, parts.train, line.common.seed));
  add_perturbations(trainer, o, parts.train, line.common.strict);

  Json const options = to_json(o, line.common.seed);
  RunFolder folder(o, options);
  Json config = run_configuration(o, options, parts, *network);
  if (!folder.resuming()) {
    folder.write_config(config);  // before anything else: by it --resume knows the folder as a run's
    write_split(parts, folder.path() / "split.json");
  }
  add_callbacks(trainer, o, folder.path());
  int64_t const done = folder.resuming() ? resume(trainer, folder.path() / "last.safetensors") : 0;

  say(cat("training ", network->spec(), " (", network->parameter_count(), " parameters) on ", parts.train.size(),
          " images of ", o.data, ", validating on ", parts.validation.size()));
  trainer.fit(ImageSource(parts.train, augmentation), ImageSource(parts.validation), done);
  Report const report = final_report(o, *network, parts, line.common.seed);
  Json const result = to_json(report);
  config["result"] = result;
  folder.write_config(config);
  print_result(report, result, o.out, line.common.json);
  return 0;
}

}  // namespace
}  // namespace mith

int main(int argc, char** argv) {
  return mith::run_app("mith-train", [&] { return mith::train(argc, argv); });
}
