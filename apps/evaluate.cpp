// mith-evaluate: how well models stand up to attacks, as a table and a report.
#include <iostream>
#include <optional>

#include "apps/common/command_line.h"
#include "apps/common/crafting.h"
#include "apps/common/double_normalised.h"
#include "apps/common/evaluation.h"
#include "apps/common/inputs.h"
#include "apps/common/masking.h"
#include "apps/common/output_folder.h"
#include "apps/common/registry_help.h"
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
  bool oblivious = false, eager = false, divide_twice = false;
};

void declare(CommandLine& line, EvaluateOptions& o) {
  line.texts("--model", o.models, "MODEL", "run folder or NET@weights.safetensors; may be repeated");
  line.text("--data", o.data, "DATA[:part]", "images; the test part unless train or val is named");
  line.texts("--attack", o.attacks, "ATTACK", "NAME:key=value,...; help lists all; may be repeated");
  line.texts("--surrogate", o.surrogates, "MODEL", "craft on this model instead (transfer); may be repeated");
  line.text("--craft", o.craft, "DATA:part", "what universal attacks are crafted on; else the train part of --data");
  line.text("--report", o.report, "DIR", "folder for report.json and report.html");
  line.text("--dump", o.dump, "DIR", "write images, labels, logits and input gradients as .npy (one model)");
  line.texts("--label", o.labels, "TEXT", "a heading for each model's rows, e.g. Before, After");
  line.integer("--batch", o.batch, 1, 65536, "images at a time");
  line.integer("--limit", o.limit, 0, 1000000000, "only N images, each class in proportion; 0: all");
  line.flag("--oblivious", o.oblivious, "attack without knowing the defence");
  line.flag("--eager", o.eager, "the network as it is, never a frozen graph (this version has no other)");
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
  require(!o.divide_twice || o.surrogates.empty(), "--repeat-seed000-error takes no --surrogate");
  require(!o.oblivious, "--oblivious: only a defended model can be attacked without knowing its defence");
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

/// The clean row and one row an attack (and surrogate) of one model.
void add_rows(Report& report, const Model& model, const ImageSet& images, const std::vector<Model>& surrogates,
              const EvaluateOptions& o, const EvaluationOptions& options, Crafter& crafter) {
  ImageSource const source(images);
  DoubleNormalised twice(*model.classifier);
  Classifier& attacked = o.divide_twice ? static_cast<Classifier&>(twice) : *model.classifier;
  if (o.divide_twice) report.rows.push_back(Evaluation(*model.classifier, source, options).clean());
  Evaluation evaluation(attacked, source, options);
  report.rows.push_back(evaluation.clean());
  auto const add = [&](const std::string& spec, Classifier* surrogate) {
    auto const attack = crafter.make(spec, surrogate ? *surrogate : attacked, model);
    report.rows.push_back(evaluation.attack(*attack, surrogate).row);
    crafter.finish(report.rows.back(), *attack, model, images);
  };
  for (const std::string& spec : o.attacks) {
    if (surrogates.empty()) add(spec, nullptr);
    for (const Model& s : surrogates) add(spec, s.classifier.get());
  }
}

int evaluate(int argc, char** argv) {
  CommandLine line("mith-evaluate", "Evaluates medical image classifiers, clean and under attack.", examples);
  EvaluateOptions o;
  declare(line, o);
  if (!line.parse(argc, argv)) return 0;
  if (auto const help = attack_help(o.attacks)) {
    std::cout << *help;
    return 0;
  }
  check_options(o);
  for (const std::string& spec : o.attacks) make_attack(spec);
  require_universal(o.craft, o.attacks);

  std::vector<Model> models, surrogates;
  for (const std::string& name : o.models) models.push_back(open_model(name));
  for (const std::string& name : o.surrogates) surrogates.push_back(open_model(name));
  PartOptions const part{.limit = o.limit, .strict = line.common.strict};
  std::vector<ImageSet> images;
  images.reserve(models.size());
  for (const Model& model : models) images.push_back(open_part(o.data, model, part));
  for (const ImageSet& set : images)
    require(set.ids == images.front().ids, "--data ", o.data,
            ": the models' runs split it differently; evaluate them apart");
  for (const Model& surrogate : surrogates)
    for (const Model& model : models) require_same_images(surrogate, model);
  std::optional<OutputFolder> report_folder, dump_folder;
  if (!o.report.empty()) report_folder.emplace(o.report);
  if (!o.dump.empty()) dump_folder.emplace(o.dump);

  Report report =
      make_report("Evaluation", images.front(), o.data, part.default_part, static_cast<uint64_t>(line.common.seed));
  Crafter crafter(
      {.craft = o.craft, .data = o.data, .seed = report.seed, .batch = o.batch, .strict = line.common.strict});
  for (size_t i = 0; i < models.size(); ++i) {
    EvaluationOptions options{.batch = o.batch, .seed = report.seed, .strict = line.common.strict};
    if (!o.labels.empty()) options.group = o.labels[i];
    add_rows(report, models[i], images[i], surrogates, o, options, crafter);
  }
  add_masking_warnings(report.rows);
  report.configuration = build_information();
  if (!crafter.report().empty()) report.configuration["crafting"] = crafter.report();
  if (dump_folder) dump(models.front(), ImageSource(images.front()), o.batch, dump_folder->path());
  if (report_folder) write_report(report, report_folder->path());
  for (auto* folder : {&report_folder, &dump_folder})
    if (*folder) (*folder)->keep();

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
