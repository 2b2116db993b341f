// mith-bench: how fast training and attacks are here.
#include <algorithm>
#include <chrono>
#include <iomanip>
#include <iostream>

#include "apps/bench/kernel_case.h"
#include "apps/bench/task.h"
#include "apps/common/command_line.h"
#include "apps/common/inputs.h"
#include "apps/common/registry_help.h"
#include "apps/common/training.h"
#include "attacks/attack.h"
#include "data/dataset.h"
#include "engine/frozen/frozen.h"
#include "engine/ops/arithmetic.h"
#include "engine/train/progress.h"

namespace mith {
namespace {

using bench::Round;
using bench::Task;

struct Options {
  std::string data = "synthetic:histology", net = "cnn", model, attack = "pgd:eps=8/255,alpha=2/255,steps=10";
  int64_t batch = 0, rounds = 5, limit = 512, size = 224;
  bool wait = false, eager = false;
  bench::KernelOptions kernels;
};

/// An epoch of the real training loop without callbacks: batches, forward and backward passes, Adam, class-balanced
/// loss. Epochs go on from one another, as in a training; validation is not counted.
class TrainTask final : public Task {
 public:
  TrainTask(const Options& o, const DataParts& parts, int64_t seed)
      : network_(build_network({.net = o.net}, nullptr, parts, seed)),
        optimizer_(build_optimizer(*network_, {})),
        train_(parts.train),
        validation_(parts.validation) {
    options_.batch = o.batch ? o.batch : 64;
    options_.seed = static_cast<uint64_t>(seed);
    options_.class_weights = balanced_class_weights(parts.train);
  }

  Round run() override {
    options_.epochs = done_ + 1;
    EpochReport const report = Trainer(*network_, *optimizer_, options_).fit(train_, validation_, done_).at(0);
    ++done_;
    return {.seconds = report.seconds, .images = train_.size(), .accuracy = report.train.accuracy};
  }

  Json describe() const override {
    return {{"benchmark", "train"},    {"net", network_->spec()}, {"data", train_.set().source},
            {"images", train_.size()}, {"batch", options_.batch}, {"counted", "one epoch, validation left out"}};
  }

 private:
  std::unique_ptr<Network> network_;
  std::unique_ptr<Optimizer> optimizer_;
  ImageSource train_, validation_;
  TrainerOptions options_;
  int64_t done_ = 0;
};

/// The attack in its training form: every image is attacked with all steps and the last iterate returned.
class AttackTask final : public Task {
 public:
  AttackTask(const Options& o, std::unique_ptr<Network> network, const ImageSet& test, int64_t seed)
      : network_(std::move(network)),
        classifier_(classifier_of(*network_, o.eager)),
        eager_(o.eager),
        attack_(make_attack(o.attack)),
        source_(test.source) {
    options_.evaluation = false;
    options_.seed = static_cast<uint64_t>(seed);
    ImageSource const images(test);
    batch_ = o.batch ? o.batch : 128;
    images_ = std::min(o.limit, images.size());
    require(images_ > 0, "--data ", o.data, ": its test part is empty");
    for (int64_t first = 0; first < images_; first += batch_) {
      std::vector<int64_t> positions;
      for (int64_t i = first; i < std::min(first + batch_, images_); ++i) positions.push_back(i);
      batches_.push_back(images.batch(positions, false, {}));
    }
  }

  Round run() override {
    std::vector<Tensor> adversarial;
    int64_t const before = classifier_->usage().forwards;
    auto const start = std::chrono::steady_clock::now();
    for (const Batch& batch : batches_) adversarial.push_back(attack_->run(*classifier_, batch, options_).adversarial);
    synchronize(stream_of(default_device()));
    std::chrono::duration<double> const seconds = std::chrono::steady_clock::now() - start;
    int64_t const forwards = classifier_->usage().forwards - before;
    return {.seconds = seconds.count(),
            .images = images_,
            .accuracy = accuracy(adversarial),
            .peak_resident_mib = bench::peak_resident_mib(),
            .forwards = static_cast<double>(forwards) / static_cast<double>(images_)};
  }

  Json describe() const override {
    return {{"benchmark", "attack"},
            {"net", network_->spec()},
            {"data", source_},
            {"attack", attack_->spec()},
            {"images", images_},
            {"batch", batch_},
            {"executor", eager_ ? "eager" : "frozen"},
            {"counted", "all steps on every image; no evaluation bookkeeping"}};
  }

 private:
  static std::unique_ptr<Classifier> classifier_of(Network& network, bool eager) {
    if (eager) return std::make_unique<NetworkClassifier>(network, "network", NetworkClassifier::fixed);
    return std::make_unique<FrozenNetwork>(network);
  }
  double accuracy(const std::vector<Tensor>& adversarial) {
    int64_t right = 0;
    for (size_t i = 0; i < batches_.size(); ++i) {
      auto const predicted = argmax(classifier_->logits({adversarial[i], batches_[i].y, batches_[i].ids}));
      auto const found = predicted.to_host<int32_t>(), wanted = batches_[i].y.to_host<int32_t>();
      for (size_t j = 0; j < found.size(); ++j) right += found[j] == wanted[j];
    }
    return static_cast<double>(right) / static_cast<double>(images_);
  }

  std::unique_ptr<Network> network_;
  std::unique_ptr<Classifier> classifier_;
  bool eager_;
  std::unique_ptr<Attack> attack_;
  std::string source_;
  AttackOptions options_;
  std::vector<Batch> batches_;
  int64_t batch_ = 0, images_ = 0;
};

/// Answers every line on stdin with one round, as a line of JSON: for scripts that alternate several programs.
void measure_on_request(Task& task) {
  task.run();
  Json ready = task.describe();
  ready["threads"] = threads();
  std::cout << ready.dump() << std::endl;
  for (std::string line; std::getline(std::cin, line);) std::cout << task.run().json().dump() << std::endl;
}

void print_table(const Json& result) {
  auto const text = [&](const char* key) { return result[key].get<std::string>(); };
  auto const number = [&](const char* key) { return result[key].get<double>(); };
  std::cout << text("benchmark") << ' ' << text("net") << " on " << text("data") << ", " << result["images"]
            << " images, batch " << result["batch"] << '\n';
  if (result.contains("attack")) std::cout << "  " << text("attack") << ", " << text("executor") << '\n';
  std::cout << std::setprecision(4) << "  median " << number("median_seconds") << " s, " << number("images_per_second")
            << " images/s (" << result["seconds"].size() << " rounds of " << number("least_seconds") << " to "
            << number("most_seconds") << " s; counted: " << text("counted") << ")";
  if (!result.contains("layers")) {
    std::cout << ", accuracy " << number("accuracy") << '\n';
    return;
  }
  std::cout << ", peak " << number("peak_resident_mib") << " MiB resident\n";
  for (const Json& layer : result["layers"])
    std::cout << "  " << std::left << std::setw(36) << layer["layer"].get<std::string>() << std::setw(20)
              << layer["output"].get<std::string>() << layer["forward"].get<std::string>() << ' '
              << layer.value("input_gradient", "") << ' ' << layer.value("weight_gradient", "") << '\n';
}

void measure(Task& task, int64_t rounds, bool json) {
  task.run();  // warms up
  std::vector<double> seconds;
  double accuracy = 0;
  for (int64_t i = 0; i < rounds; ++i) {
    Round const round = task.run();
    seconds.push_back(round.seconds);
    accuracy = round.accuracy;
  }
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  double const median = (sorted[(sorted.size() - 1) / 2] + sorted[sorted.size() / 2]) / 2;

  Json result = task.describe();
  result["seconds"] = seconds;
  result["median_seconds"] = median;
  result["least_seconds"] = sorted.front();
  result["most_seconds"] = sorted.back();
  result["images_per_second"] = result["images"].get<double>() / median;
  result["accuracy"] = accuracy;
  result["threads"] = threads();
  result["build"] = build_information();
  if (json)
    std::cout << result.dump(2) << '\n';
  else
    print_table(result);
}

int run_bench(int argc, char** argv) {
  CommandLine line(
      "mith-bench",
      "How fast training, attacks, networks and kernels are here: mith-bench train|attack|network|kernels [options]",
      "  mith-bench train --data pneumoniamnist.npz --net cnn --rounds 9\n"
      "  mith-bench attack --model runs/a --data pneumoniamnist.npz --attack pgd:steps=10\n"
      "  mith-bench network --net resnet50 --size 224 --batch 8\n"
      "  mith-bench kernels --filter linf,conv2d --markdown\n"
      "  mith-bench kernels --budget 600 --resume kernels.jsonl --json > kernels.json");
  Options o;
  line.text("--data", o.data, "DATA", "its train part for train, its test part for attack");
  line.text("--net", o.net, "NET", "network with fresh weights");
  line.text("--model", o.model, "MODEL", "attack: trained network instead of a fresh one");
  line.text("--attack", o.attack, "ATTACK", "attack: what is run on every image");
  line.integer("--batch", o.batch, 1, 1 << 20, "images a batch; 64 for train, 128 for attack, 8 for network");
  line.integer("--rounds", o.rounds, 1, 10000,
               "epochs, attack passes or readings of a kernel, after one that warms up");
  line.integer("--limit", o.limit, 1, INT64_MAX, "attack: images attacked");
  line.integer("--size", o.size, 8, 4096, "network: images of N x N x 3");
  line.flag("--eager", o.eager, "attack: the network operator by operator instead of frozen");
  line.flag("--wait", o.wait, "measure one round for every line on stdin, answered by a line of JSON");
  line.text("--filter", o.kernels.filter, "PARTS", "kernels: only rows whose name or shape contains one of these");
  line.number("--budget", o.kernels.budget, 0, 1e6, "kernels: begin no new row after this many seconds; 0: no limit");
  line.text("--resume", o.kernels.resume, "FILE",
            "kernels: rows are added to FILE, and those that it holds not repeated");
  line.flag("--markdown", o.kernels.markdown, "kernels: a table for a page");

  std::string mode;
  if (argc > 1 && argv[1][0] != '-') {
    mode = argv[1];
    --argc;
    ++argv;
  }
  if (!line.parse(argc, argv)) return 0;
  auto help = net_help(o.net);
  if (!help) help = attack_help({o.attack}, line.common.json);
  if (help) {
    std::cout << *help;
    return 0;
  }
  require(!mode.empty(), "say what to measure: train, attack, network or kernels (--help lists the options)");
  require(mode == "train" || mode == "attack" || mode == "network" || mode == "kernels", "unknown benchmark '", mode,
          "'", suggestion(mode, {"train", "attack", "network", "kernels"}));
  if (mode == "kernels") {
    if (line.given("--rounds")) o.kernels.rounds = o.rounds;
    o.kernels.json = line.common.json;
    bench::bench_kernels(o.kernels);
    return 0;
  }

  set_quiet(true);
  require_classifier(o.net);
  DataParts parts;  // tasks refer to it
  std::unique_ptr<Task> task;
  if (mode == "network") {
    task = bench::network_task(o.net, o.size, o.batch ? o.batch : 8, line.common.seed);
  } else if (mode == "attack" && !o.model.empty()) {  // images of the size that the model takes
    Model model = open_model(o.model);
    ImageSet const test = open_part(o.data, model, {.strict = line.common.strict});
    task = std::make_unique<AttackTask>(o, std::move(model.network), test, line.common.seed);
  } else {
    parts = load_data(o.data, {.strict = line.common.strict});
    if (mode == "train")
      task = std::make_unique<TrainTask>(o, parts, line.common.seed);
    else
      task = std::make_unique<AttackTask>(o, build_network({.net = o.net}, nullptr, parts, line.common.seed),
                                          parts.test, line.common.seed);
  }
  if (o.wait)
    measure_on_request(*task);
  else
    measure(*task, o.rounds, line.common.json);
  return 0;
}

}  // namespace
}  // namespace mith

int main(int argc, char** argv) {
  return mith::run_app("mith-bench", [&] { return mith::run_bench(argc, argv); });
}
