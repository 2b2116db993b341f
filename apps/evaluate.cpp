// mith-evaluate: how well models stand up to attacks, as a table and a report.
#include <iostream>
#include <memory>
#include <optional>

#include "apps/common/attack_state.h"
#include "apps/common/command_line.h"
#include "apps/common/crafting.h"
#include "apps/common/double_normalised.h"
#include "apps/common/evaluation.h"
#include "apps/common/inputs.h"
#include "apps/common/masking.h"
#include "apps/common/output_folder.h"
#include "apps/common/registry_help.h"
#include "apps/common/surrogates.h"
#include "engine/files/files.h"

namespace mith {
namespace {

constexpr const char* examples =
    "  mith-evaluate --model runs/baseline --data synthetic:histology --attack pgd:eps=8/255,steps=20 --report out\n"
    "  mith-evaluate --model runs/a --label Before --model runs/b --label After --data d.npz:test \\\n"
    "                --attack fgsm:eps=8/255 --attack pgd:eps=8/255,steps=20 --attack noise:eps=8/255 --report out\n"
    "  mith-evaluate --model runs/a --surrogate runs/b --data d.npz --attack pgd:eps=8/255 --report transfer\n"
    "  mith-evaluate --attack help           the attacks; --attack help:pgd describes one\n";

struct EvaluateOptions {
  std::vector<std::string> models, labels, attacks, surrogates;
  std::string data, craft, report, dump;
  int64_t batch = 128, limit = 0;
  bool oblivious = false, eager = false, ensemble = false, resume = false, force = false, divide_twice = false;
};

void declare(CommandLine& line, EvaluateOptions& o) {
  line.texts("--model", o.models, "MODEL", "run folder or NET@weights.safetensors; may be repeated");
  line.text("--data", o.data, "DATA[:part]", "images; the test part unless train or val is named");
  line.texts("--attack", o.attacks, "ATTACK", "NAME:key=value,...; help lists all; may be repeated");
  line.texts("--surrogate", o.surrogates, "MODEL", "craft on this model instead (transfer); may be repeated");
  line.flag("--ensemble", o.ensemble, "craft on all surrogates at once");
  line.text("--craft", o.craft, "DATA:part", "what universal attacks are crafted on; else the train part of --data");
  line.text("--report", o.report, "DIR", "folder for report.html, report.json and predictions.csv");
  line.text("--dump", o.dump, "DIR", "write images, labels, logits and input gradients as .npy (one model)");
  line.texts("--label", o.labels, "TEXT", "a heading for each model's rows, e.g. Before, After");
  line.integer("--batch", o.batch, 1, 65536, "images at a time");
  line.integer("--limit", o.limit, 0, 1000000000, "only N images, each class in proportion; 0: all");
  line.flag("--oblivious", o.oblivious, "attack without knowing the defence");
  line.flag("--resume", o.resume, "go on where the same command was interrupted");
  line.flag("--force", o.force, "start anew over what an interrupted run left in --report");
  line.flag("--eager", o.eager, "run networks operator by operator instead of frozen");
  line.flag("--repeat-seed000-error", o.divide_twice,
            "for docs/findings.md only: wrong on purpose, divides the images by 255 before the model does");
}

void check_options(const EvaluateOptions& o) {
  require(!o.models.empty(), "--model is missing");
  require(!o.data.empty(), "--data is missing");
  require(!o.report.empty() || !o.dump.empty(), "--report is missing");
  require(o.dump.empty() || o.models.size() == 1, "--dump takes one --model, not ", o.models.size());
  require(o.labels.empty() || o.labels.size() == o.models.size(), "--label: ", o.labels.size(), " labels for ",
          o.models.size(), " models");
  require(!o.resume || (!o.report.empty() && !o.attacks.empty()),
          "--resume: only attacks are continued, and only with --report, where an interrupted run is kept");
  require(!o.ensemble || o.surrogates.size() > 1, "--ensemble: needs more than one --surrogate");
  require(!o.divide_twice || o.surrogates.empty(), "--repeat-seed000-error takes no --surrogate");
  require(!o.oblivious, "--oblivious: only a defended model can be attacked without knowing its defence");
}

template <class T>
std::vector<const T*> pointers_to(const std::vector<T>& things) {
  std::vector<const T*> pointers;
  pointers.reserve(things.size());
  for (const T& thing : things) pointers.push_back(&thing);
  return pointers;
}

/// Images, labels, logits and the gradient of the summed cross-entropy, in the data's order.
void dump(const Model& model, const ImageSource& images, int64_t batch, const std::filesystem::path& folder) {
  std::vector<float> pixels, logits, gradients;
  Want want;
  want.logits = want.input_gradient = true;
  for (int64_t first = 0; first < images.size(); first += batch) {
    Batch const b = images.batch(positions_from(first, std::min(batch, images.size() - first)), false, {});
    Outputs const out = model.classifier->evaluate(b, Loss{.labels = b.y}, want);
    auto const extend = [](std::vector<float>& all, const Tensor& t) {
      auto const values = t.to_host<float>();
      all.insert(all.end(), values.begin(), values.end());
    };
    extend(pixels, b.x);
    extend(logits, out.logits);
    extend(gradients, out.input_gradient);
  }
  Shape const one = images.image_shape(), all{images.size(), one[0], one[1], one[2]};
  write_npy(folder / "images.npy", pixels, all);
  write_npy(folder / "labels.npy", std::vector<int64_t>(images.labels().begin(), images.labels().end()),
            {images.size()});
  write_npy(folder / "logits.npy", logits, {images.size(), images.classes()});
  write_npy(folder / "input_gradient.npy", gradients, all);
}

/// Rows model by model: the clean one, then one an attack (and surrogate). Every surrogate is attacked once for all
/// models.
std::vector<ReportRow> all_rows(const std::vector<Model>& models, const std::vector<ImageSet>& images,
                                const Surrogates& surrogates, const EvaluateOptions& o,
                                const EvaluationOptions& options, Crafter& crafter) {
  std::vector<ImageSource> sources;
  sources.reserve(models.size());
  for (const ImageSet& set : images) sources.emplace_back(set);
  std::vector<Evaluation> evaluations;
  evaluations.reserve(models.size());
  std::vector<std::unique_ptr<DoubleNormalised>> twice;
  std::vector<const Evaluation*> targets;
  std::vector<std::vector<ReportRow>> rows(models.size());
  for (size_t i = 0; i < models.size(); ++i) {
    EvaluationOptions own = options;
    if (!o.labels.empty()) own.group = o.labels[i];
    Classifier* attacked = models[i].classifier.get();
    if (o.divide_twice) {
      rows[i].push_back(Evaluation(*attacked, sources[i], own).clean());
      attacked = twice.emplace_back(std::make_unique<DoubleNormalised>(*attacked)).get();
    }
    targets.push_back(&evaluations.emplace_back(*attacked, sources[i], own));
    rows[i].push_back(evaluations.back().clean());
  }
  auto const add = [&](size_t i, ReportRow row, const Attack& attack) {
    crafter.finish(row, attack, models[i], images[i]);
    rows[i].push_back(std::move(row));
  };
  for (const std::string& spec : o.attacks) {
    for (size_t i = 0; surrogates.empty() && i < models.size(); ++i) {
      auto const attack = crafter.make(spec, evaluations[i].model(), models[i], options.state);
      add(i, evaluations[i].attack(*attack).row, *attack);
    }
    for (Classifier* surrogate : surrogates.classifiers()) {
      auto const attack = crafter.make(spec, *surrogate, models.front(), options.state);
      auto outcomes = attack_all(*attack, targets, surrogate);
      for (size_t i = 0; i < models.size(); ++i) add(i, std::move(outcomes[i].row), *attack);
    }
  }
  std::vector<ReportRow> all;
  for (auto& of_model : rows)
    for (ReportRow& row : of_model) all.push_back(std::move(row));
  return all;
}

int evaluate(int argc, char** argv) {
  CommandLine line("mith-evaluate", "Evaluates medical image classifiers, clean and under attack.", examples);
  EvaluateOptions o;
  declare(line, o);
  if (!line.parse(argc, argv)) return 0;
  if (auto const help = attack_help(o.attacks, line.common.json)) {
    std::cout << *help;
    return 0;
  }
  check_options(o);
  for (const std::string& spec : o.attacks) make_attack(spec);
  require_universal(o.craft, o.attacks);

  std::vector<Model> models;
  Executor const executor = executor_for(o.eager, line.common.precision);
  for (const std::string& name : o.models) models.push_back(open_model(name, executor));
  auto const targets = pointers_to(models);
  Surrogates const surrogates(o.surrogates, o.ensemble, executor, targets);
  PartOptions const part{.limit = o.limit, .strict = line.common.strict};
  std::vector<ImageSet> images;
  images.reserve(models.size());
  for (const Model& model : models) images.push_back(open_part(o.data, model, part));
  for (const ImageSet& set : images) {
    require(set.ids == images.front().ids, "--data ", o.data,
            ": the models' runs split it differently; evaluate them apart");
    require(surrogates.empty() || set.labels == images.front().labels,
            "--surrogate: the models have their classes in different orders; evaluate them apart");
  }
  Crafter crafter({.craft = o.craft,
                   .data = o.data,
                   .seed = static_cast<uint64_t>(line.common.seed),
                   .batch = o.batch,
                   .strict = line.common.strict});
  AttackCommand const command{.attacks = o.attacks,
                              .models = targets,
                              .surrogates = surrogates.models(),
                              .data = o.data,
                              .craft = o.craft,
                              .images = pointers_to(images),
                              .crafting_images = crafter.sets_for(targets, o.attacks),
                              .batch = o.batch,
                              .ensemble = o.ensemble,
                              .divide_twice = o.divide_twice,
                              .eager = o.eager};
  std::optional<OutputFolder> report_folder, dump_folder;
  if (!o.report.empty()) report_folder.emplace(o.report);
  if (!o.dump.empty()) dump_folder.emplace(o.dump);
  std::optional<AttackState> state;
  if (report_folder && !o.attacks.empty())
    state.emplace(*report_folder, "mith-evaluate", key_of(command, line.common), o.resume, o.force);

  Report report =
      make_report("Evaluation", images.front(), o.data, part.default_part, static_cast<uint64_t>(line.common.seed));
  report.rows = all_rows(
      models, images, surrogates, o,
      {.batch = o.batch, .seed = report.seed, .strict = line.common.strict, .state = state ? &*state : nullptr},
      crafter);
  add_masking_warnings(report.rows);
  report.configuration = build_information();
  report.configuration["executor"] = executors_of(targets, surrogates.models());
  if (!crafter.report().empty()) report.configuration["crafting"] = crafter.report();
  if (dump_folder) dump(models.front(), ImageSource(images.front()), o.batch, dump_folder->path());
  if (report_folder) {
    write_report(report, report_folder->path());
    write_predictions(report, images.front(), report_folder->path());
  }
  for (auto* folder : {&report_folder, &dump_folder})
    if (*folder) (*folder)->keep();
  if (state) state->remove();

  std::cout << (line.common.json ? json_text(to_json(report), 2) + "\n" : to_table(report));
  if (!line.common.json && !o.report.empty())
    std::cout << (std::filesystem::path(o.report) / "report.html").string() << "\n";
  return 0;
}

}  // namespace
}  // namespace mith

int main(int argc, char** argv) {
  return mith::run_app("mith-evaluate", [&] { return mith::evaluate(argc, argv); });
}
