// mith-attack: makes adversarial images and saves them.
#include <iostream>

#include "apps/common/attack_output.h"
#include "apps/common/attack_state.h"
#include "apps/common/command_line.h"
#include "apps/common/crafting.h"
#include "apps/common/inputs.h"
#include "apps/common/masking.h"
#include "apps/common/output_folder.h"
#include "apps/common/registry_help.h"
#include "apps/common/surrogates.h"
#include "engine/files/files.h"

namespace mith {
namespace {

constexpr const char* examples =
    "  mith-attack --model runs/baseline --data synthetic:histology --attack pgd:eps=8/255,steps=20 --out adv\n"
    "  mith-attack --model runs/baseline --data xrays/:test --attack fgsm:eps=4/255 --png --out adv\n"
    "  mith-attack --model runs/a --data d.npz:train --attack pgd:eps=8/255 --out twins    for --adversarial-data\n"
    "  mith-attack --model runs/a --data d.npz --attack autoattack --out adv --resume     after Ctrl-C, with the same "
    "rest\n"
    "  mith-attack --attack help             the attacks; --attack help:pgd describes one\n";

struct AttackAppOptions {
  std::string model, data, craft, out;
  std::vector<std::string> attacks, surrogates;
  int64_t limit = 0, batch = 128;
  bool png = false, eager = false, ensemble = false, resume = false, force = false;
};

void declare(CommandLine& line, AttackAppOptions& o) {
  line.text("--model", o.model, "MODEL", "run folder or NET@weights.safetensors");
  line.text("--data", o.data, "DATA[:part]", "images; the test part unless train or val is named");
  line.texts("--attack", o.attacks, "ATTACK", "NAME:key=value,...; help lists all; may be repeated");
  line.text("--out", o.out, "DIR", "folder for the results, one sub-folder an attack");
  line.texts("--surrogate", o.surrogates, "MODEL", "craft on this model instead (transfer); several with --ensemble");
  line.flag("--ensemble", o.ensemble, "craft on all surrogates at once");
  line.text("--craft", o.craft, "DATA:part", "what universal attacks are crafted on; else the train part of --data");
  line.integer("--limit", o.limit, 0, 1000000000, "only N images, each class in proportion; 0: all");
  line.flag("--png", o.png, "also as 8-bit images in class folders, rounded inside the ball");
  line.integer("--batch", o.batch, 1, 65536, "images at a time");
  line.flag("--resume", o.resume, "go on where the same command was interrupted");
  line.flag("--force", o.force, "start anew over what an interrupted run left in --out");
  line.flag("--eager", o.eager, "run networks operator by operator instead of frozen");
}

void check_options(const AttackAppOptions& o) {
  require(!o.model.empty(), "--model is missing");
  require(!o.data.empty(), "--data is missing");
  require(!o.attacks.empty(), "--attack is missing (--attack help lists all)");
  require(!o.out.empty(), "--out is missing");
  require(o.surrogates.size() <= 1 || o.ensemble,
          "--surrogate: one here, or several with --ensemble; mith-evaluate compares several");
  for (const std::string& spec : o.attacks) make_attack(spec);
  require_universal(o.craft, o.attacks);
}

/// Runs every attack and writes its files; `json` is the report's text with what was saved where.
struct Saved {
  Report report;
  Json json;
};
Saved attack_and_save(const AttackAppOptions& o, const CommonOptions& common, const Model& model, Classifier* surrogate,
                      const Json& executors, const ImageSet& images, Crafter& crafter, OutputFolder& out,
                      AttackState& state) {
  ImageSource const source(images);
  Saved saved{make_report("Attack", images, o.data, PartOptions{}.default_part, static_cast<uint64_t>(common.seed)),
              {}};
  Evaluation evaluation(
      *model.classifier, source,
      {.batch = o.batch, .seed = saved.report.seed, .strict = common.strict, .keep_images = true, .state = &state});
  saved.report.rows.push_back(evaluation.clean());
  std::vector<std::string> const folders = attack_folders(o.attacks);
  std::vector<Json> extras;
  for (size_t i = 0; i < o.attacks.size(); ++i) {
    auto const attack = crafter.make(o.attacks[i], surrogate ? *surrogate : *model.classifier, model, &state);
    AttackOutcome outcome = evaluation.attack(*attack, surrogate);
    crafter.finish(outcome.row, *attack, model, images);
    auto const folder = out.subfolder(folders[i]);
    write_attack(outcome, images, folder);
    Json extra{{"folder", folders[i]}};
    if (const auto* const crafted = dynamic_cast<const CraftedAttack*>(attack.get()))
      extra["crafted"] = write_crafted(*crafted, *model.classifier, source, evaluation.options(), folder);
    if (o.png) {
      PngExport const png = write_pngs(*model.classifier, outcome, source, evaluation.options().batch, folder / "png");
      extra["png"] = {{"folder", folders[i] + "/png"},
                      {"written", png.written},
                      {"successes_before", png.successes_before},
                      {"successes_after", png.successes_after}};
    }
    extras.push_back(extra);
    saved.report.rows.push_back(outcome.row);
  }
  add_masking_warnings(saved.report.rows);
  saved.report.configuration = build_information();
  saved.report.configuration["executor"] = executors;
  if (!crafter.report().empty()) saved.report.configuration["crafting"] = crafter.report();
  saved.json = to_json(saved.report);
  for (size_t i = 0; i < extras.size(); ++i) saved.json["rows"][i + 1].update(extras[i]);
  return saved;
}

void print_result(const Saved& saved, const std::filesystem::path& out, bool json) {
  if (json) {
    std::cout << json_text(saved.json, 2) << "\n";
    return;
  }
  std::cout << to_table(saved.report);
  for (const Json& row : saved.json["rows"])
    if (row.contains("png"))
      std::cout << row["folder"].get<std::string>() << ": " << row["png"]["successes_after"] << " of "
                << row["png"]["successes_before"] << " successes survive 8-bit saving\n";
  std::cout << out.string() << "\n";
}

int attack(int argc, char** argv) {
  CommandLine line("mith-attack", "Attacks a medical image classifier and saves the adversarial images.", examples);
  AttackAppOptions o;
  declare(line, o);
  if (!line.parse(argc, argv)) return 0;
  if (auto const help = attack_help(o.attacks, line.common.json)) {
    std::cout << *help;
    return 0;
  }
  check_options(o);
  Executor const executor = executor_for(o.eager, line.common.precision);
  Model const model = open_model(o.model, executor);
  Surrogates const surrogates(o.surrogates, o.ensemble, executor, {&model});
  ImageSet const images = open_part(o.data, model, {.limit = o.limit, .strict = line.common.strict});
  Crafter crafter({.craft = o.craft,
                   .data = o.data,
                   .seed = static_cast<uint64_t>(line.common.seed),
                   .batch = o.batch,
                   .strict = line.common.strict});
  auto const crafting_images = crafter.sets_for({&model}, o.attacks);
  OutputFolder out(o.out);
  Json const key = key_of({.attacks = o.attacks,
                           .models = {&model},
                           .surrogates = surrogates.models(),
                           .data = o.data,
                           .craft = o.craft,
                           .images = {&images},
                           .crafting_images = crafting_images,
                           .batch = o.batch,
                           .ensemble = o.ensemble,
                           .eager = o.eager},
                          line.common);
  AttackState state(out, "mith-attack", key, o.resume, o.force);
  Classifier* const surrogate = surrogates.empty() ? nullptr : surrogates.classifiers().front();
  Saved const saved = attack_and_save(o, line.common, model, surrogate, executors_of({&model}, surrogates.models()),
                                      images, crafter, out, state);
  write_text(out.path() / "attack.json", json_text(saved.json, 2) + "\n");
  out.keep();
  state.remove();
  print_result(saved, out.path(), line.common.json);
  return 0;
}

}  // namespace
}  // namespace mith

int main(int argc, char** argv) {
  return mith::run_app("mith-attack", [&] { return mith::attack(argc, argv); });
}
