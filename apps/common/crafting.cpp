#include "apps/common/crafting.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "apps/common/attack_output.h"
#include "attacks/patch.h"
#include "engine/files/files.h"
#include "engine/train/progress.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

constexpr int64_t png_width = 256;

/// Values from [-largest, largest] to [0, 1], so that an eye sees them; no change is grey.
Tensor magnified(const Tensor& v) {
  auto pixels = v.to_host<float>();
  float largest = 0;
  for (float p : pixels) largest = std::max(largest, std::abs(p));
  for (float& p : pixels) p = largest > 0 ? 0.5f + p / (2 * largest) : 0.5f;
  return Tensor::from(pixels, v.shape(), Device::cpu);
}

bool any_universal(const std::vector<std::string>& attacks) {
  return std::ranges::any_of(attacks,
                             [](const std::string& spec) { return make_attack(spec)->threat().access == "universal"; });
}

Json passes_json(const std::vector<CraftingPass>& passes) {
  Json list = Json::array();
  for (const CraftingPass& pass : passes) list.push_back({{"objective", pass.objective}, {"fooled", pass.fooled}});
  return list;
}

}  // namespace

void require_universal(const std::string& craft, const std::vector<std::string>& attacks) {
  require(craft.empty() || any_universal(attacks),
          "--craft: only universal attacks are crafted on a set, and none of these is one");
}

std::string Crafter::set_name() const {
  return options_.craft.empty() ? split_data_name(options_.data).first + ":train" : options_.craft;
}

const ImageSet& Crafter::set_for(const Model& model) {
  auto const found = sets_.find(model.name);
  if (found != sets_.end()) return found->second;
  ImageSet images = open_part(set_name(), model, {.default_part = "train", .strict = options_.strict});
  return sets_.emplace(model.name, std::move(images)).first->second;
}

std::vector<const ImageSet*> Crafter::sets_for(const std::vector<const Model*>& models,
                                               const std::vector<std::string>& attacks) {
  std::vector<const ImageSet*> sets;
  if (any_universal(attacks))
    for (const Model* model : models) sets.push_back(&set_for(*model));
  return sets;
}

std::unique_ptr<Attack> Crafter::make(const std::string& spec, Classifier& crafted_on, const Model& model,
                                      AttackState* state) {
  auto attack = make_attack(spec);
  if (!dynamic_cast<UniversalAttack*>(attack.get())) return attack;
  auto universal = make_universal(spec);
  const Universal& u = crafted(*universal, crafted_on, model, state);
  return std::make_unique<CraftedAttack>(std::move(universal), u);
}

const Universal& Crafter::crafted(const UniversalAttack& attack, Classifier& crafted_on, const Model& model,
                                  AttackState* state) {
  auto const key = std::pair(attack.spec(), crafted_on.name());
  auto const known = universal_.find(key);
  if (known != universal_.end()) return known->second;
  int const number = static_cast<int>(universal_.size()) + 1;
  const ImageSet& images = set_for(model);
  AttackOptions options;
  options.seed = options_.seed;
  options.batch = options_.batch;
  options.strict = options_.strict;
  Progress progress("crafting " + attack.spec() + " on " + crafted_on.name(), images.size());
  int64_t shown = 0;
  std::string note;
  options.progress = [&](const AttackProgress& p) {
    stop_if_interrupted(state);
    int64_t const reached = p.total > 0 ? images.size() * p.done / p.total : images.size();
    progress.advance(reached - shown, note);
    shown = reached;
  };
  auto const after_pass = [&](const Universal& u) {
    note = cat("pass ", u.passes.size(), ", fooled ", std::round(1000 * u.passes.back().fooled) / 10, " %");
    if (state) state->save_crafting(number, attack.spec(), u);
  };
  Universal u = attack.craft(crafted_on, ImageSource(images), options, after_pass,
                             state ? state->load_crafting(number, attack.spec()) : Universal());
  progress.finish(note);
  report_.push_back({{"attack", attack.spec()},
                     {"crafted_on", crafted_on.name()},
                     {"data", set_name()},
                     {"images", images.size()},
                     {"passes", passes_json(u.passes)},
                     {"steps", u.steps},
                     {"queries", u.queries},
                     {"gradients", u.gradients},
                     {"nan_gradients", u.nan_gradients}});
  return universal_.emplace(key, std::move(u)).first->second;
}

void Crafter::finish(ReportRow& row, const Attack& attack, const Model& model, const ImageSet& images) {
  if (!dynamic_cast<const CraftedAttack*>(&attack)) return;
  row.access = "universal";
  const ImageSet& set = set_for(model);
  if (!same_source(split_data_name(set_name()).first, split_data_name(options_.data).first)) return;
  std::set<int64_t> const crafted(set.ids.begin(), set.ids.end());
  auto const seen =
      std::count_if(images.ids.begin(), images.ids.end(), [&](int64_t id) { return crafted.contains(id); });
  if (seen == 0) return;
  row.warnings.push_back(cat("crafted on ", seen, " of the ", images.size(), " images it is evaluated on"));
  warn(row.attack + ": " + row.warnings.back());
}

Json write_crafted(const CraftedAttack& crafted, Classifier& model, const ImageSource& images,
                   const EvaluationOptions& options, const fs::path& folder) {
  std::string const kind = crafted.attack().kind();
  Tensor const values = crafted.universal().values.to(Device::cpu);
  write_npy(folder / (kind + ".npy"), values);
  write_png(kind == "patch" ? values : magnified(values), folder / (kind + ".png"), png_width);
  Json json{{kind, kind + ".npy"}};
  if (const auto* const eot = dynamic_cast<const PatchEot*>(&crafted.attack())) {
    AttackOptions attack_options;
    attack_options.seed = options.seed;
    attack_options.batch = options.batch;
    Json scales = Json::array();
    constexpr int points = 5;
    for (int i = 0; i < points; ++i) {
      float const share = static_cast<float>(i) / (points - 1);
      float const scale = eot->scale_min() + share * (eot->scale_max() - eot->scale_min());
      double const success = eot->success_at_scale(model, crafted.universal(), images, attack_options, scale);
      scales.push_back({{"scale", scale}, {"attack_success_rate", success}});
    }
    json["success_by_scale"] = scales;
  }
  return json;
}

}  // namespace mith
