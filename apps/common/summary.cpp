#include "apps/common/summary.h"

#include <cstdio>
#include <set>

#include "engine/autograd/tape.h"

namespace mith {
namespace {

/// Trained elements whose name lies directly under the scope.
int64_t parameters_of(const Network& network, const std::string& scope) {
  int64_t count = 0;
  for (auto const& [name, parameter] : network.parameters())
    if (!parameter->buffer && name.substr(0, name.rfind('.')) == scope) count += parameter->value.numel();
  return count;
}

/// "1.2 M", "35.1 G".
std::string readable(double count) {
  const char* unit = "";
  for (const char* next : {" k", " M", " G", " T"})
    if (count >= 1000) {
      count /= 1000;
      unit = next;
    }
  char text[32];
  std::snprintf(text, sizeof text, *unit ? "%.1f%s" : "%.0f%s", count, unit);
  return text;
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
  std::set<std::string> counted;
  int64_t flops = 0;
  for (auto const& node : tape.nodes()) {
    int64_t const parameters = counted.insert(node->scope).second ? parameters_of(network, node->scope) : 0;
    layers.push_back({{"layer", node->scope},
                      {"operator", std::string(node->name())},
                      {"output", node->outputs.front().shape.str()},
                      {"parameters", parameters},
                      {"flops", node->flops()}});
    flops += node->flops();
  }
  return {{"net", network.spec()}, {"layers", layers}, {"parameters", network.parameter_count()}, {"flops", flops}};
}

std::string summary_table(const Json& summary) {
  char line[160];
  auto const row = [&](const std::string& layer, const std::string& op, const std::string& output,
                       const std::string& parameters, const std::string& flops) {
    std::snprintf(line, sizeof line, "%-22s %-16s %-20s %12s %10s\n", layer.c_str(), op.c_str(), output.c_str(),
                  parameters.c_str(), flops.c_str());
    return std::string(line);
  };
  std::string text = row("layer", "operator", "output", "parameters", "flops");
  for (auto const& layer : summary["layers"])
    text += row(layer["layer"], layer["operator"], layer["output"], std::to_string(layer["parameters"].get<int64_t>()),
                readable(layer["flops"].get<double>()));
  return text + row("total", summary["net"], "", std::to_string(summary["parameters"].get<int64_t>()),
                    readable(summary["flops"].get<double>()));
}

}  // namespace mith
