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
#include "data/dataset.h"
#include "engine/files/files.h"
#include "engine/train/progress.h"

namespace mith {
namespace {

using bench::Round;
using bench::Task;

struct Options {
  std::string data = "synthetic:histology", net = "cnn", model, attack = "pgd:eps=8/255,alpha=2/255,steps=10";
  std::string trace;
  int64_t batch = 0, rounds = 5, limit = 512, size = 224, layers = 12;
  bool wait = false, eager = false, frozen = false;
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

struct Timing {
  std::vector<double> seconds;
  double accuracy = 0;
};

/// Rounds alternate between the tasks, so that a slow moment of the machine meets all.
std::vector<Timing> time_tasks(const std::vector<Task*>& tasks, int64_t rounds) {
  std::vector<Timing> timings(tasks.size());
  for (Task* task : tasks) task->run();  // warms up
  for (int64_t i = 0; i < rounds; ++i)
    for (size_t j = 0; j < tasks.size(); ++j) {
      Round const round = tasks[j]->run();
      timings[j].seconds.push_back(round.seconds);
      timings[j].accuracy = round.accuracy;
    }
  return timings;
}

Json result_of(const Task& task, const Timing& timing) {
  std::vector<double> sorted = timing.seconds;
  std::sort(sorted.begin(), sorted.end());
  double const median = (sorted[(sorted.size() - 1) / 2] + sorted[sorted.size() / 2]) / 2;
  Json result = task.describe();
  result["seconds"] = timing.seconds;
  result["median_seconds"] = median;
  result["least_seconds"] = sorted.front();
  result["most_seconds"] = sorted.back();
  result["images_per_second"] = result["images"].get<double>() / median;
  result["accuracy"] = timing.accuracy;
  result["threads"] = threads();
  result["build"] = build_information();
  return result;
}

/// Measures a task; in `beside` the same work otherwise done, in rounds that alternate with it.
void measure(Task& task, Task* beside, const Options& o, bool json) {
  std::vector<Task*> tasks{&task};
  if (beside) tasks.push_back(beside);
  auto const timings = time_tasks(tasks, o.rounds);
  Json result = result_of(task, timings[0]);
  if (beside) result["beside"] = result_of(*beside, timings[1]);
  Json const profile = task.profile(o.trace);
  if (!profile.is_null()) result["profile"] = profile;
  if (json) {
    std::cout << result.dump(2) << '\n';
    return;
  }
  print_table(result);
  if (beside) print_table(result["beside"]);
  if (!profile.is_null()) std::cout << bench::profile_table(profile, o.layers);
}

int run_bench(int argc, char** argv) {
  CommandLine line(
      "mith-bench",
      "How fast training, attacks, networks and kernels are here: mith-bench train|attack|network|kernels [options]",
      "  mith-bench train --data pneumoniamnist.npz --net cnn --rounds 9\n"
      "  mith-bench attack --model runs/a --data pneumoniamnist.npz --attack pgd:steps=10\n"
      "  mith-bench attack --net resnet18 --data synthetic:histology --trace steps.json\n"
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
  line.flag("--eager", o.eager, "attack: only the network operator by operator");
  line.flag("--frozen", o.frozen, "attack: only the frozen network, nothing beside it");
  line.integer("--layers", o.layers, 0, INT64_MAX, "attack: steps of the frozen network to list, the slowest first");
  line.text("--trace", o.trace, "FILE", "attack: when every step of one batch ran, for chrome://tracing or Perfetto");
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
  if (mode != "attack") require_f32(line.common.precision, mode);
  require(o.trace.empty() || (mode == "attack" && !o.eager && !o.wait),
          "--trace: goes with attack, and its frozen network");
  require(!o.eager || !o.frozen, "--eager or --frozen, not both");
  if (!o.trace.empty()) write_text(o.trace, "");  // what cannot be written is said before all is measured
  if (mode == "kernels") {
    if (line.given("--rounds")) o.kernels.rounds = o.rounds;
    o.kernels.json = line.common.json;
    bench::bench_kernels(o.kernels);
    return 0;
  }

  set_quiet(true);
  require_classifier(o.net);
  DataParts parts;  // tasks refer to these
  std::unique_ptr<Network> network;
  std::unique_ptr<Task> task, beside;
  if (mode == "network") {
    task = bench::network_task(o.net, o.size, o.batch ? o.batch : 8, line.common.seed);
  } else if (mode == "train") {
    parts = load_data(o.data, {.strict = line.common.strict});
    task = std::make_unique<TrainTask>(o, parts, line.common.seed);
  } else {
    ImageSet test;
    if (o.model.empty()) {
      parts = load_data(o.data, {.strict = line.common.strict});
      network = build_network({.net = o.net}, nullptr, parts, line.common.seed);
      test = parts.test;
    } else {  // images of the size that the model takes
      Model model = open_model(o.model, Executor::eager);
      test = open_part(o.data, model, {.strict = line.common.strict});
      network = std::move(model.network);
    }
    bench::AttackTaskOptions options{.attack = o.attack,
                                     .batch = o.batch ? o.batch : 128,
                                     .limit = o.limit,
                                     .seed = line.common.seed,
                                     .executor = executor_for(o.eager, line.common.precision)};
    task = attack_task(*network, test, options);
    options.executor = Executor::eager;
    if (!o.eager && !o.frozen && !o.wait) beside = attack_task(*network, test, options);
  }
  if (o.wait)
    measure_on_request(*task);
  else
    measure(*task, beside.get(), o, line.common.json);
  return 0;
}

}  // namespace
}  // namespace mith

int main(int argc, char** argv) {
  return mith::run_app("mith-bench", [&] { return mith::run_bench(argc, argv); });
}
