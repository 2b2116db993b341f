// mith-bench attack: the real attack on the real classifier, and what a frozen network's passes spend their time on.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <map>

#include "apps/bench/ceilings.h"
#include "apps/bench/task.h"
#include "apps/common/command_line.h"
#include "attacks/attack.h"
#include "engine/files/files.h"
#include "engine/frozen/plan.h"
#include "engine/ops/arithmetic.h"
#include "engine/report/text.h"

namespace mith::bench {
namespace {

/// The attack in its training form: every image is attacked with all steps and the last iterate returned.
class AttackTask final : public Task {
 public:
  AttackTask(Network& network, const ImageSet& test, const AttackTaskOptions& o)
      : network_(network),
        executor_(o.executor),
        attack_(make_attack(o.attack)),
        source_(test.source),
        batch_(o.batch) {
    make_classifier();
    options_.evaluation = false;
    options_.seed = static_cast<uint64_t>(o.seed);
    ImageSource const images(test);
    images_ = std::min(o.limit, images.size());
    require(images_ > 0, "--data ", source_, ": its test part is empty");
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
            .peak_resident_mib = peak_resident_mib(),
            .forwards = static_cast<double>(forwards) / static_cast<double>(images_)};
  }

  Json describe() const override {
    return {{"benchmark", "attack"},
            {"net", network_.spec()},
            {"data", source_},
            {"attack", attack_->spec()},
            {"images", images_},
            {"batch", batch_},
            {"executor", name_of(executor_)},
            {"counted", "all steps on every image; no evaluation bookkeeping"}};
  }

  Json profile(const std::string& trace_file) override {
    if (!frozen_) return nullptr;
    const Batch& batch = batches_.front();
    frozen::Timeline timeline;
    {
      Recording const recording(*frozen_, timeline);
      attack_->run(*classifier_, batch, options_);
    }
    std::chrono::duration<double> const all = std::chrono::steady_clock::now() - timeline.origin;
    if (!trace_file.empty()) write_text(trace_file, json_text(chrome_trace(timeline)));
    Json found = layers(timeline, all.count());
    if (mixed_) found["agreement"] = agreement(batch);
    return found;
  }

 private:
  struct Recording {
    Recording(FrozenNetwork& n, frozen::Timeline& timeline) : network(n) { n.record(&timeline); }
    ~Recording() { network.record(nullptr); }
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;
    FrozenNetwork& network;
  };
  /// Of one operator in one direction, whatever the batch sizes of its passes.
  struct Sum {
    double seconds = 0, floor = 0, flops = 0, bytes = 0;
    int64_t passes = 0;
    double mean(double total) const { return passes ? total / static_cast<double>(passes) : 0; }
  };

  void make_classifier() try {
    if (executor_ == Executor::eager) {
      classifier_ = std::make_unique<NetworkClassifier>(network_, "network", NetworkClassifier::fixed);
    } else if (executor_ == Executor::mixed) {
      auto mixed = make_mixed(network_, network_.spec());
      mixed_ = mixed.get();
      frozen_ = &mixed->narrow();
      classifier_ = std::move(mixed);
    } else {
      auto frozen = std::make_unique<FrozenNetwork>(network_);
      frozen_ = frozen.get();
      classifier_ = std::move(frozen);
    }
  } catch (const UsageError&) {
    throw;
  } catch (const Error& e) {
    throw Error(cat(e.what(), "; --eager measures it operator by operator"));
  }

  /// How far bf16 says of clean images what f32 says: the gradient's signs, which attacks step along, its direction,
  /// and the predictions.
  Json agreement(const Batch& b) {
    Loss const loss{.labels = b.y, .direction_only = true};
    Want const want{.logits = true, .input_gradient = true};
    Outputs const narrow = mixed_->narrow().evaluate(b, loss, want), wide = mixed_->wide().evaluate(b, loss, want);
    auto const g = narrow.input_gradient.to_host<float>(), h = wide.input_gradient.to_host<float>();
    auto const a = argmax(narrow.logits).to_host<int32_t>(), c = argmax(wide.logits).to_host<int32_t>();
    double signs = 0, gg = 0, hh = 0, gh = 0, predictions = 0;
    for (size_t i = 0; i < g.size(); ++i) {
      signs += (g[i] > 0 && h[i] > 0) || (g[i] < 0 && h[i] < 0) || (g[i] == 0 && h[i] == 0);
      gg += double(g[i]) * g[i], hh += double(h[i]) * h[i], gh += double(g[i]) * h[i];
    }
    for (size_t i = 0; i < a.size(); ++i) predictions += a[i] == c[i];
    return {{"gradient_signs", signs / double(g.size())},
            {"gradient_cosine", gg > 0 && hh > 0 ? gh / std::sqrt(gg * hh) : 0},
            {"predictions", predictions / double(a.size())}};
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

  const frozen::GraphValue& result_of(const frozen::Step& step) const {
    return frozen_->graph().values[static_cast<size_t>(step.what().output)];
  }

  Json named(const frozen::Step& step) const {
    frozen::Operator const& o = step.what();
    return {{"layer", o.scope}, {"operator", title(o)}, {"output", result_of(step).shape.str()}, {"by", step.by()}};
  }

  /// In the Trace Event Format, which chrome://tracing and Perfetto read.
  Json chrome_trace(const frozen::Timeline& timeline) const {
    Json events = Json::array();
    for (auto const& span : timeline.spans) {
      Json const step = named(*span.step);
      std::string const layer = step["layer"], what = step["operator"];
      events.push_back({{"name", layer.empty() ? what : cat(layer, " ", what)},
                        {"cat", span.backward ? "backward" : "forward"},
                        {"ph", "X"},
                        {"ts", 1e6 * span.begin},
                        {"dur", 1e6 * (span.end - span.begin)},
                        {"pid", 1},
                        {"tid", 1},
                        {"args", step}});
    }
    return {{"traceEvents", events}, {"displayTimeUnit", "ms"}, {"otherData", describe()}};
  }

  /// By operator and direction, means over the attack's passes of one batch.
  Json layers(const frozen::Timeline& timeline, double all) const {
    Stream const stream = stream_of(default_device());
    Ceilings const ceilings = measure_ceilings(stream, kernel_cases(stream.device));
    std::map<const frozen::Operator*, std::array<Sum, 2>> sums;
    Sum whole;
    for (auto const& span : timeline.spans) {
      auto const& cost = span.backward ? span.step->backward_cost : span.step->forward_cost;
      auto const flops = static_cast<double>(cost.flops), bytes = static_cast<double>(cost.bytes);
      for (Sum* const sum : {&sums[&span.step->what()][span.backward], &whole}) {
        sum->seconds += span.end - span.begin;
        sum->floor += ceilings.floor_seconds(bytes, flops, result_of(*span.step).dtype);
        sum->flops += flops;
        sum->bytes += bytes;
        ++sum->passes;
      }
    }
    frozen::Plan const& plan = frozen_->plan(batches_.front().size());
    Json steps = Json::array();
    for (auto const& step : plan.steps()) {
      auto const& [forward, backward] = sums[&step->what()];
      Json row = named(*step);
      double const seconds = forward.seconds + backward.seconds;
      row.update({{"forward_seconds", forward.mean(forward.seconds)},
                  {"backward_seconds", backward.mean(backward.seconds)},
                  {"forward_flops", forward.mean(forward.flops)},
                  {"backward_flops", backward.mean(backward.flops)},
                  {"forward_bytes", forward.mean(forward.bytes)},
                  {"backward_bytes", backward.mean(backward.bytes)},
                  {"share", seconds / all},
                  {"share_of_floor", seconds > 0 ? (forward.floor + backward.floor) / seconds : 0}});
      steps.push_back(row);
    }
    return {
        {"steps", steps},
        {"batch", plan.batch()},
        {"seconds", all},
        {"outside_seconds", all - whole.seconds},
        {"flops", whole.flops},
        {"bytes", whole.bytes},
        {"share_of_floor", whole.floor / all},
        {"arena_bytes", static_cast<int64_t>(plan.arena_bytes())},
        {"ceilings",
         {{"gigabytes_per_second", 1e-9 * ceilings.bytes_per_second},
          {"gigaflops_per_second", 1e-9 * ceilings.rate(executor_ == Executor::mixed ? DType::bf16 : DType::f32)}}}};
  }

  Network& network_;
  Executor executor_;
  std::unique_ptr<Classifier> classifier_;
  MixedNetwork* mixed_ = nullptr;    ///< the classifier, if it is one
  FrozenNetwork* frozen_ = nullptr;  ///< what gives the gradients, or null
  std::unique_ptr<Attack> attack_;
  std::string source_;
  AttackOptions options_;
  std::vector<Batch> batches_;
  int64_t batch_ = 0, images_ = 0;
};

}  // namespace

std::unique_ptr<Task> attack_task(Network& network, const ImageSet& test, const AttackTaskOptions& options) {
  return std::make_unique<AttackTask>(network, test, options);
}

std::string profile_table(const Json& profile, int64_t most) {
  std::vector<Json> steps = profile["steps"];
  std::ranges::stable_sort(steps, std::greater<>(), [](const Json& s) { return s["share"].get<double>(); });
  auto const shown = std::min(steps.size(), static_cast<size_t>(most));
  auto const number = [](const Json& of, const char* key) { return of[key].get<double>(); };
  std::vector<report::Line> lines{
      {"layer", "operator", "output", "by", "forward ms", "backward ms", "time %", "GFLOP", "MB", "of floor %"}};
  for (size_t i = 0; i < shown; ++i) {
    Json const& s = steps[i];
    auto const both = [&](const char* what) {
      return number(s, cat("forward_", what).c_str()) + number(s, cat("backward_", what).c_str());
    };
    lines.push_back({s["layer"], s["operator"], s["output"], s["by"],
                     report::fixed(1e3 * number(s, "forward_seconds"), 2),
                     report::fixed(1e3 * number(s, "backward_seconds"), 2), report::percent(number(s, "share")),
                     report::fixed(1e-9 * both("flops"), 2), report::fixed(1e-6 * both("bytes"), 1),
                     report::percent(number(s, "share_of_floor"))});
  }
  double const all = number(profile, "seconds");
  std::string agreement;
  if (profile.contains("agreement")) {
    Json const& found = profile["agreement"];
    agreement = cat("bf16 agrees with f32 on ", report::percent(number(found, "gradient_signs")),
                    " % of the gradient's signs (cosine ", report::fixed(number(found, "gradient_cosine"), 4), ") and ",
                    report::percent(number(found, "predictions")), " % of the predictions, on clean images\n");
  }
  std::string const rest = shown < steps.size() ? cat(" (the ", shown, " slowest of ", steps.size(), ")") : "";
  return cat("where the time of one batch of ", profile["batch"].get<int64_t>(), " went", rest, "\n",
             report::aligned(lines, 4),
             "outside the network, loss and steps: ", report::percent(number(profile, "outside_seconds") / all),
             " %; all: ", report::fixed(1e-9 * number(profile, "flops") / all, 1), " GFLOP/s, ",
             report::fixed(1e-9 * number(profile, "bytes") / all, 1), " GB/s, ",
             report::percent(number(profile, "share_of_floor")), " % of the floor (",
             report::fixed(number(profile["ceilings"], "gigaflops_per_second"), 0), " GFLOP/s, ",
             report::fixed(number(profile["ceilings"], "gigabytes_per_second"), 0), " GB/s); memory ",
             report::fixed(1e-6 * number(profile, "arena_bytes"), 1), " MB\n", agreement);
}

}  // namespace mith::bench
