// --init: weights to start from, of a net that may have ended in another head or told other classes apart.
#include <algorithm>

#include "apps/common/command_line.h"
#include "apps/common/training.h"
#include "engine/train/progress.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

/// A head of dense layers, as classifier_head builds it.
struct Head {
  std::vector<int64_t> widths;  ///< of the layers before the last
  int64_t classes = 0;
};

bool is_inside(const std::string& name, const std::string& module) { return name.starts_with(module + "."); }

/// Where a net's head stands, as "fc"; empty if it takes no other. A net declares its head last.
std::string head_path(const Network& network) {
  Spec spec = Spec::parse(network.spec());
  if (!takes_head(spec.name)) return {};
  std::string const bias = network.parameters().back().name;
  size_t dot = bias.rfind('.');
  if (spec.take("head")) dot = bias.rfind('.', dot - 1);
  return bias.substr(0, dot);
}

/// The head under this module path; nothing unless it is there with all weights and biases and nothing else.
std::optional<Head> find_head(const std::vector<StoredTensor>& tensors, const std::string& path) {
  auto const units = [&](const std::string& layer) -> int64_t {
    auto const rows = [&](const std::string& name, int rank) -> int64_t {
      auto const tensor = std::ranges::find(tensors, layer + name, &StoredTensor::name);
      return tensor != tensors.end() && tensor->value.shape().rank() == rank ? tensor->value.dim(0) : 0;
    };
    return rows(".weight", 2) == rows(".bias", 1) ? rows(".bias", 1) : 0;
  };
  std::vector<int64_t> widths;
  if (int64_t const alone = units(path)) widths.push_back(alone);
  int64_t n = units(cat(path, ".0"));
  for (int i = 2; n > 0; i += 2) {
    widths.push_back(n);
    n = units(cat(path, ".", i));
  }
  auto const found = std::ranges::count_if(tensors, [&](const StoredTensor& t) { return is_inside(t.name, path); });
  if (widths.empty() || found != 2 * std::ssize(widths)) return std::nullopt;
  int64_t const classes = widths.back();
  widths.pop_back();
  return Head{widths, classes};
}

/// The rows that the network's last linear layer has among these tensors: one for each class, or the single one of a
/// sigmoid; 0 if it is not there.
int64_t rows_of_last(const std::vector<StoredTensor>& own, const std::vector<StoredTensor>& tensors) {
  auto const is_matrix = [](const StoredTensor& t) { return t.value.shape().rank() == 2; };
  auto const last = std::find_if(own.rbegin(), own.rend(), is_matrix);
  if (last == own.rend()) return 0;
  auto const found = std::ranges::find(tensors, last->name, &StoredTensor::name);
  return found != tensors.end() && is_matrix(*found) ? found->value.dim(0) : 0;
}

/// Tensors whose first dimension is `rows` and was `before`: those of the last layers, for other classes.
std::vector<std::string> of_other_rows(const std::vector<StoredTensor>& own, const SafetensorsFile& file, int64_t rows,
                                       int64_t before) {
  std::vector<std::string> names;
  for (auto const& [name, value] : own) {
    const Tensor* const stored = file.find(name);
    if (!stored || stored->shape().rank() == 0 || stored->shape() == value.shape()) continue;
    if (value.shape()[0] == rows && stored->shape()[0] == before && stored->shape().with(0, rows) == value.shape())
      names.push_back(name);
  }
  return names;
}

/// The module that the net's family passes on, its entry's fact "shares"; empty for most nets.
std::string shared_module(const Network& network) {
  std::string const name = Spec::parse(network.spec()).name;
  return Registry<Network, NetworkOptions>::find(name, "net").entry.fact("shares");
}

/// Whether each list has all of the other's tensors, in the same shapes.
bool same_shapes(const std::vector<StoredTensor>& a, const std::vector<StoredTensor>& b) {
  return std::ranges::is_permutation(a, b, [](const StoredTensor& s, const StoredTensor& t) {
    return s.name == t.name && s.value.shape() == t.value.shape();
  });
}

/// "256-64-5": the units of each layer.
std::string text_of(const Head& head) {
  std::string text;
  for (int64_t const width : head.widths) text += std::to_string(width) + "-";
  return text + std::to_string(head.classes);
}

}  // namespace

std::unique_ptr<InitialWeights> read_initial_weights(const std::string& text) {
  if (text.empty()) return nullptr;
  auto init = std::make_unique<InitialWeights>();
  std::error_code error;
  require(fs::exists(text, error), "--init ", text, ": no such run folder or file");
  init->file = fs::is_directory(text, error) ? (fs::path(text) / "model.safetensors").string() : text;
  init->weights = read_safetensors(init->file);
  auto const net = init->weights.metadata.find("mithridate.net");
  if (net != init->weights.metadata.end()) init->origin = load_network(net->second + "@" + init->file);
  return init;
}

void load_initial_weights(Network& network, const InitialWeights& init) {
  SafetensorsFile file = init.weights;
  network.adapt(file.tensors);
  std::vector<StoredTensor> const own = state_of(network);
  std::vector<StoredTensor> wanted = own;  // what the file is held to
  std::string difference;
  auto const start_anew = [&](const auto& which) {
    std::erase_if(wanted, which);
    std::erase_if(file.tensors, which);
  };

  std::string const path = head_path(network), shared = shared_module(network);
  auto const head = path.empty() ? std::nullopt : find_head(own, path);
  auto const stored = path.empty() ? std::nullopt : find_head(file.tensors, path);
  int64_t const rows = rows_of_last(own, own);
  int64_t const rows_before = stored ? stored->classes : rows_of_last(own, file.tensors);
  if (rows_before != rows) {
    int64_t const classes = network.network_options().classes;
    int64_t const classes_before =
        init.origin ? init.origin->network_options().classes : std::max<int64_t>(rows_before, 2);  // one row tells two
    difference = cat(" has ", classes_before, " classes, the data ", classes);
    auto const names = of_other_rows(own, file, rows, rows_before);
    start_anew([&](const StoredTensor& t) { return std::ranges::find(names, t.name) != names.end(); });
  }
  if (head && stored && head->widths != stored->widths) {
    difference = cat(" ends in a head of ", text_of(*stored), ", the net in ", text_of(*head));
    start_anew([&](const StoredTensor& t) { return is_inside(t.name, path); });
  }
  if (!shared.empty() && !same_shapes(wanted, file.tensors)) {
    difference = cat(" has ", shared, " in common with the net");
    start_anew([&](const StoredTensor& t) { return !is_inside(t.name, shared); });
  }
  if (wanted.size() == own.size()) {
    load_state(network, file, init.file);
    return;
  }

  std::vector<std::string> anew;
  for (const StoredTensor& tensor : own)
    if (std::ranges::find(wanted, tensor.name, &StoredTensor::name) == wanted.end()) anew.push_back(tensor.name);
  LoadReport report = load_state(network, file, init.file, false);
  std::erase_if(report.missing, [&](const std::string& name) { return std::ranges::find(anew, name) != anew.end(); });
  for (auto const& [what, names] : {std::pair("without", report.missing), std::pair("unexpected", report.unexpected),
                                    std::pair("other shape of", report.mismatched)})
    require(names.empty(), "--init ", init.file, ": weights of another architecture: ", what, " ",
            names.empty() ? "" : names.front());
  say(cat("note: ", init.file, difference, ": ", joined(anew), " start anew"));
}

}  // namespace mith
