#include "apps/common/summary.h"

#include <algorithm>

#include "engine/autograd/tape.h"
#include "engine/frozen/frozen.h"
#include "engine/frozen/plan.h"
#include "engine/report/text.h"

namespace mith {
namespace {

/// Trained elements by the path of the module that holds them, in declaration order; the network's own are not among
/// them.
std::vector<std::pair<std::string, int64_t>> parameters_by_module(const Network& network) {
  std::vector<std::pair<std::string, int64_t>> modules;
  for (auto const& [name, parameter] : network.parameters()) {
    size_t const dot = name.rfind('.');
    if (parameter->buffer || dot == std::string::npos) continue;
    std::string const module = name.substr(0, dot);
    auto const known = std::ranges::find(modules, module, &std::pair<std::string, int64_t>::first);
    if (known != modules.end())
      known->second += parameter->value.numel();
    else
      modules.emplace_back(module, parameter->value.numel());
  }
  return modules;
}

/// A row of parameters that no operator's row has.
Json parameter_row(const std::string& layer, const std::string& instead_of_operator, int64_t parameters) {
  return {{"layer", layer},     {"operator", instead_of_operator},
          {"output", ""},       {"parameters", parameters},
          {"multiply_adds", 0}, {"activation_bytes", 0}};
}

/// "25", "1.20 M", "4.09 G".
std::string readable(double count, const std::string& unit = "") {
  std::string prefix;
  for (const char* next : {"k", "M", "G", "T"})
    if (count >= 1000) {
      count /= 1000;
      prefix = next;
    }
  std::string const suffix = prefix + unit;
  return report::fixed(count, prefix.empty() ? 0 : 2) + (suffix.empty() ? "" : " " + suffix);
}

}  // namespace

Json summarise(Network& network) {
  NetworkOptions const& o = network.network_options();
  Tape tape;
  Tensor const image = Tensor::zeros({1, o.height, o.width, o.channels});
  tape.watch(image);
  Context context;
  network(image, context);

  Json layers = Json::array();
  // The network's own have no first operator to stand with: it begins by normalising the image.
  for (auto const& [name, parameter] : network.parameters())
    if (!parameter->buffer && name.find('.') == std::string::npos)
      layers.push_back(parameter_row(name, "(parameter)", parameter->value.numel()));
  auto modules = parameters_by_module(network);
  int64_t multiply_adds = 0, bytes = 0;
  for (auto const& node : tape.nodes()) {
    if (node->name() == "reshape") continue;  // another view of its input's memory
    // A module's parameters stand in the row of its first operator.
    auto const module = std::ranges::find(modules, node->scope, &std::pair<std::string, int64_t>::first);
    int64_t const parameters = module == modules.end() ? 0 : module->second;
    const Value& output = node->outputs.front();
    int64_t const output_bytes = output.shape.numel() * static_cast<int64_t>(size_of(output.dtype));
    if (module != modules.end()) modules.erase(module);
    layers.push_back({{"layer", node->scope},
                      {"operator", std::string(node->name())},
                      {"output", output.shape.str()},
                      {"parameters", parameters},
                      {"multiply_adds", node->flops() / 2},
                      {"activation_bytes", output_bytes}});
    multiply_adds += node->flops() / 2;
    bytes += output_bytes;
  }
  for (auto const& [module, parameters] : modules)
    layers.push_back(parameter_row(module, "(only in training)", parameters));
  return {{"net", network.spec()},
          {"input", image.shape().str()},
          {"layers", layers},
          {"parameters", network.parameter_count()},
          {"multiply_adds", multiply_adds},
          {"activation_bytes", bytes}};
}

Json summarise_frozen(Network& network) {
  FrozenNetwork frozen(network);
  frozen::Plan const& plan = frozen.plan(1);
  Json steps = Json::array();
  int64_t kept = 0;
  for (auto const& step : plan.steps()) {
    frozen::Operator const& o = step->what();
    bool const eager = step->by() == "eager";  // it keeps its own tape
    auto const bytes = static_cast<int64_t>(step->kept_bytes());
    steps.push_back({{"layer", o.scope},
                     {"operator", title(o)},
                     {"output", frozen.graph().values[static_cast<size_t>(o.output)].shape.str()},
                     {"by", step->by()},
                     {"kept_bytes", eager ? Json(nullptr) : Json(bytes)}});
    kept += bytes;
  }
  NetworkOptions const& o = network.network_options();
  return {{"net", network.spec()},
          {"input", Shape{1, o.height, o.width, o.channels}.str()},
          {"steps", steps},
          {"kept_bytes", kept},
          {"arena_bytes", static_cast<int64_t>(plan.arena_bytes())}};
}

std::string frozen_summary_table(const Json& summary) {
  std::vector<report::Line> lines{{"layer", "operator", "output", "by", "kept"}};
  bool all_known = true;
  for (auto const& step : summary["steps"]) {
    bool const known = !step["kept_bytes"].is_null();
    all_known = all_known && known;
    lines.push_back({step["layer"], step["operator"], step["output"], step["by"],
                     known ? readable(step["kept_bytes"].get<double>(), "B") : "unknown"});
  }
  lines.push_back(
      {"total", "", "", "", (all_known ? "" : "at least ") + readable(summary["kept_bytes"].get<double>(), "B")});
  std::string const net = summary["net"], input = summary["input"];
  return cat(net, ", frozen, one image ", input, ", arena ", readable(summary["arena_bytes"].get<double>(), "B"), "\n",
             report::aligned(lines, 4));
}

std::string summary_table(const Json& summary) {
  auto const row = [](const std::string& layer, const std::string& op, const std::string& output, const Json& counts) {
    return report::Line{layer,
                        op,
                        output,
                        std::to_string(counts["parameters"].get<int64_t>()),
                        readable(counts["multiply_adds"].get<double>()),
                        readable(counts["activation_bytes"].get<double>(), "B")};
  };
  std::vector<report::Line> lines{{"layer", "operator", "output", "parameters", "multiply-adds", "activations"}};
  for (auto const& layer : summary["layers"])
    lines.push_back(row(layer["layer"], layer["operator"], layer["output"], layer));
  lines.push_back(row("total", "", "", summary));
  std::string const net = summary["net"], input = summary["input"];
  return net + ", one image " + input + "\n" + report::aligned(lines, 3);
}

}  // namespace mith
