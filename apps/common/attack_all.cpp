// The loop over chunks of images: attack them, keep what is finished, evaluate it on every target.
#include <algorithm>
#include <chrono>

#include "apps/common/evaluation.h"
#include "apps/common/registry_help.h"
#include "engine/ops/arithmetic.h"
#include "engine/spec/spec.h"
#include "engine/train/progress.h"

namespace mith {
namespace {

constexpr int64_t gate_images = 32;

/// An attack is given several batches at once where images that are fooled make room for others: passes are filled up
/// whatever is left. Else one, because a chunk is what an interruption costs.
int64_t batches_a_call(const Attack& attack, bool transfer) {
  std::string const name = Spec::parse(attack.spec()).name;
  std::string const group = attack_group(AttackRegistry::find(name, "attack").entry);
  bool const makes_room = group == iterative_attacks || group == score_attacks || group == ensemble_attacks;
  return makes_room && !transfer ? 4 : 1;
}

/// "10 steps of 0.00784 reach 0.0784 of eps=0.1" where the border is out of reach; empty elsewhere. An alpha of 0
/// follows eps and the steps.
std::string short_steps(const Attack& attack) {
  Spec spec = Spec::parse(attack.spec());
  auto const value = [&](const char* key) {
    auto const text = spec.take(key);
    return text ? parse_number(*text, key) : 0.0;
  };
  double const eps = value("eps"), alpha = value("alpha"), steps = value("steps"), reach = alpha * steps;
  if (reach == 0 || reach >= 0.999 * eps) return {};
  return cat(steps, " steps of ", format_number(alpha), " reach ", format_number(reach), " of the radius ",
             format_number(eps), ": it may look more robust than it is");
}

/// The gate of attacks.md 0.8 on the first images.
std::vector<std::string> gate(Classifier& model, const ImageSource& images, uint64_t seed) {
  auto const positions = positions_from(0, std::min(gate_images, images.size()));
  auto warnings = sanity_gate(model, images.batch(positions, false, {}), {.seed = seed});
  for (const std::string& warning : warnings) warn(model.name() + ": " + warning);
  return warnings;
}

/// A transfer attack must not be credited for an image that the model had wrong, nor repair one: those stay clean.
Tensor with_mistakes_kept(const Tensor& adversarial, const Evaluation& target, const Batch& batch, int64_t first) {
  std::vector<int64_t> wrong;
  for (int64_t i = 0; i < batch.size(); ++i) {
    size_t const at = static_cast<size_t>(first + i);
    if (target.clean_predictions().classes[at] != target.images().labels()[at]) wrong.push_back(i);
  }
  if (wrong.empty()) return adversarial;
  Tensor kept = adversarial.clone();
  scatter_rows(kept, gather_rows(batch.x, wrong), wrong);
  return kept;
}

/// One attack on all images.
class AttackLoop {
 public:
  AttackLoop(const Attack& attack, const std::vector<const Evaluation*>& targets, Classifier* surrogate)
      : attack_(attack),
        targets_(targets),
        first_(*targets.front()),
        crafted_on_(surrogate ? *surrogate : first_.model()),
        transfer_(surrogate != nullptr),
        threat_(attack.threat()),
        warnings_(gate(crafted_on_, first_.images(), first_.options().seed)),
        progress_(attack.spec() + " on " + crafted_on_.name(), first_.images().size()) {
    check(transfer_ || targets.size() == 1, "several targets without a surrogate");
    for (const Evaluation* target : targets)
      books_.emplace_back(
          target->images(), target->clean_predictions(),
          Books::Options{.threat = threat_, .transfer = transfer_, .keep_images = target->options().keep_images});
    options_.seed = first_.options().seed;
    // A surrogate's own mistakes and successes say nothing of the model: every image is attacked, to the last step.
    options_.evaluation = !transfer_;
    options_.strict = first_.options().strict;
    options_.batch = first_.options().batch;
    options_.partners = mixing_partners(first_.images());
    if (std::string const text = short_steps(attack); !text.empty()) warnings_.push_back(text);
  }

  std::vector<AttackOutcome> run() {
    AttackState* const state = first_.options().state;
    if (state) state->begin(attack_.spec(), crafted_on_.name());
    int64_t const n = first_.images().size(), chunk = batches_a_call(attack_, transfer_) * options_.batch;
    for (int64_t first = 0; first < n; first += chunk) {
      Batch const batch = first_.images().batch(positions_from(first, std::min(chunk, n - first)), false, {});
      std::optional<Crafted> crafted;
      if (state) crafted = state->load(first, batch.size(), batch.x.device());
      int64_t shown = 0;
      if (!crafted) {
        crafted = craft(batch, first, shown);
        if (state) state->save(first, batch.size(), *crafted);
      }
      enter(*crafted, batch, first);
      progress_.advance(batch.size() - shown, note(first + batch.size(), 0));
    }
    progress_.finish(note(n, 0));
    return outcomes();
  }

 private:
  Crafted craft(const Batch& batch, int64_t first, int64_t& shown) {
    const AttackState* const state = first_.options().state;
    stop_if_interrupted(state);
    options_.progress = [&](const AttackProgress& p) {
      stop_if_interrupted(state);
      int64_t const reached = p.total > 0 ? batch.size() * p.done / p.total : batch.size();
      bool const known = p.standing >= 0;
      progress_.advance(reached - shown, note(first + (known ? batch.size() : 0), known ? p.standing : 0));
      shown = reached;
    };
    auto const start = std::chrono::steady_clock::now();
    Crafted crafted{.result = attack_.run(crafted_on_, batch, options_)};
    crafted.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return crafted;
  }

  void enter(const Crafted& crafted, const Batch& batch, int64_t first) {
    for (size_t t = 0; t < targets_.size(); ++t) {
      const Evaluation& target = *targets_[t];
      const Tensor& images = crafted.result.adversarial;
      Tensor const adversarial = transfer_ ? with_mistakes_kept(images, target, batch, first) : images;
      Predictions const now = predict(target.model(), {adversarial, batch.y, batch.ids}, options_.batch);
      books_[t].add(batch, crafted.result, adversarial, now, first);
      books_[t].seconds += crafted.seconds;
    }
  }

  /// "robust 43.2 %, fooled 12 of 50", of the images so far; for several targets one after the other.
  std::string note(int64_t seen, int64_t standing) const {
    std::string text;
    for (const Books& books : books_) {
      double const share = 100 * double(books.standing() + standing) / double(std::max<int64_t>(seen, 1));
      char robust[64];
      std::snprintf(robust, sizeof robust, "robust %.1f %%, ", share);
      text += (text.empty() ? "" : "; ") + (seen > 0 ? std::string(robust) : "") + books.note();
    }
    return text;
  }

  /// What the attacker sees: an attack made for transfer that follows the target's own gradients is a white-box attack.
  std::string access() const {
    if (transfer_) return "transfer";
    return threat_.access == "transfer" ? "white" : threat_.access;
  }

  std::vector<AttackOutcome> outcomes() {
    std::vector<AttackOutcome> all;
    for (size_t t = 0; t < targets_.size(); ++t) {
      AttackOutcome outcome{.row = targets_[t]->row_for(books_[t].after),
                            .target = threat_.target,
                            .clean_predictions = targets_[t]->clean_predictions().classes,
                            .success = books_[t].success,
                            .adversarial = std::move(books_[t].adversarial)};
      outcome.row.attack = attack_.spec();
      outcome.row.norm = threat_.norm;
      outcome.row.eps = threat_.eps;
      outcome.row.access = access();
      outcome.row.crafted_on = crafted_on_.name();
      outcome.row.warnings = warnings_;
      books_[t].fill(outcome.row);
      all.push_back(std::move(outcome));
    }
    return all;
  }

  const Attack& attack_;
  const std::vector<const Evaluation*>& targets_;
  const Evaluation& first_;
  Classifier& crafted_on_;
  bool transfer_;
  Threat threat_;
  std::vector<std::string> warnings_;
  Progress progress_;
  std::vector<Books> books_;
  AttackOptions options_;
};

}  // namespace

std::vector<AttackOutcome> attack_all(const Attack& attack, const std::vector<const Evaluation*>& targets,
                                      Classifier* surrogate) {
  return AttackLoop(attack, targets, surrogate).run();
}

Batch mixing_partners(const BatchSource& images) {
  constexpr int64_t wanted = 64;
  std::vector<std::vector<int64_t>> of_class(static_cast<size_t>(images.classes()));
  for (int64_t i = 0; i < images.size(); ++i)
    of_class[static_cast<size_t>(images.labels()[static_cast<size_t>(i)])].push_back(i);
  std::vector<int64_t> positions;
  // Whether there are fewer than 64, or the images of some class have fewer of others, than the set could give.
  auto const too_few = [&](int64_t rounds) {
    int64_t const n = images.size(), taken = std::ssize(positions);
    return taken < std::min(wanted, n) || std::ranges::any_of(of_class, [&](auto const& own) {
             int64_t const size = std::ssize(own);
             return size > 0 && taken - std::min(rounds, size) < std::min(wanted, n - size);
           });
  };
  for (int64_t round = 0; too_few(round); ++round)
    for (auto const& of_one : of_class)
      if (round < std::ssize(of_one)) positions.push_back(of_one[static_cast<size_t>(round)]);
  return images.batch(positions, false, {});
}

}  // namespace mith
