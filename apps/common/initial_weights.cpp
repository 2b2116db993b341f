// --init: weights to start from, of a net that may have ended in another head or told other classes apart.
#include <algorithm>

#include "apps/common/command_line.h"
#include "apps/common/inputs.h"
#include "apps/common/training.h"
#include "engine/files/files.h"
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

/// Weights on their way into a network.
struct Transfer {
  std::vector<StoredTensor> own;     ///< all of the network's
  std::vector<StoredTensor> wanted;  ///< of these, what the file is held to
  SafetensorsFile file;              ///< what is taken from it
  std::string difference;            ///< why the others start anew: " has 5 classes, the data 2"

  Transfer(const Network& network, const InitialWeights& init)
      : own(state_of(network)), wanted(own), file(init.weights) {
    network.adapt(file.tensors);
  }
  template <class Which>
  void start_anew(const std::string& why, const Which& which) {
    difference = why;
    std::erase_if(wanted, which);
    std::erase_if(file.tensors, which);
  }
};

/// The heads of network and file, each if it is whole; none in a net that takes no other.
struct Heads {
  std::string path;
  std::optional<Head> own, stored;
  bool missing = false;  ///< the file has nothing in the head's place, as a mere backbone
  bool has(const StoredTensor& tensor) const { return is_inside(tensor.name, path); }
};

Heads heads_of(const Network& network, const Transfer& transfer) {
  Heads heads{.path = head_path(network)};
  if (heads.path.empty()) return {};
  heads.own = find_head(transfer.own, heads.path);
  heads.stored = find_head(transfer.file.tensors, heads.path);
  heads.missing = std::ranges::none_of(transfer.file.tensors, [&](const StoredTensor& t) { return heads.has(t); });
  return heads;
}

/// Leaves out the last layers where they tell other classes apart.
void leave_other_classes(Transfer& transfer, const Heads& heads, const Network& network, const InitialWeights& init) {
  int64_t const rows = rows_of_last(transfer.own, transfer.own);
  int64_t const before = heads.stored ? heads.stored->classes : rows_of_last(transfer.own, transfer.file.tensors);
  if (before == rows) return;
  int64_t const classes_before =
      init.origin ? init.origin->network_options().classes : std::max<int64_t>(before, 2);  // one row tells two
  auto const names = of_other_rows(transfer.own, transfer.file, rows, before);
  transfer.start_anew(cat(" has ", classes_before, " classes, the data ", network.network_options().classes),
                      [&](const StoredTensor& t) { return std::ranges::find(names, t.name) != names.end(); });
}

/// Leaves out a head of other dense layers.
void leave_other_head(Transfer& transfer, const Heads& heads) {
  if (!heads.own || !heads.stored || heads.own->widths == heads.stored->widths) return;
  transfer.start_anew(cat(" ends in a head of ", text_of(*heads.stored), ", the net in ", text_of(*heads.own)),
                      [&](const StoredTensor& t) { return heads.has(t); });
}

void leave_missing_head(Transfer& transfer, const Heads& heads) {
  if (heads.missing) transfer.start_anew(" has no head", [&](const StoredTensor& t) { return heads.has(t); });
}

/// Leaves out all but the shared module where the weights are of another net of the family.
void leave_all_but_shared(Transfer& transfer, const std::string& shared) {
  if (shared.empty() || same_shapes(transfer.wanted, transfer.file.tensors)) return;
  transfer.start_anew(cat(" has ", shared, " in common with the net"),
                      [&](const StoredTensor& t) { return !is_inside(t.name, shared); });
}

std::vector<std::string> names_anew(const Transfer& transfer) {
  std::vector<std::string> names;
  for (const StoredTensor& tensor : transfer.own)
    if (std::ranges::find(transfer.wanted, tensor.name, &StoredTensor::name) == transfer.wanted.end())
      names.push_back(tensor.name);
  return names;
}

/// Loads what is wanted; any other difference throws UsageError.
void load_wanted(Network& network, const Transfer& transfer, const std::vector<std::string>& anew,
                 const std::string& file) {
  LoadReport report = load_state(network, transfer.file, file, false);
  std::erase_if(report.missing, [&](const std::string& name) { return std::ranges::find(anew, name) != anew.end(); });
  for (auto const& [what, names] : {std::pair("without", report.missing), std::pair("unexpected", report.unexpected),
                                    std::pair("other shape of", report.mismatched)})
    require(names.empty(), "--init ", file, ": weights of another architecture: ", what, " ",
            names.empty() ? "" : names.front());
}

/// What a run's config.json says of --fixed-statistics; no for a file without a run around it.
bool had_fixed_statistics(const fs::path& run) {
  std::error_code error;
  Json const config = fs::is_directory(run, error) ? configuration_of(run) : Json();
  if (!config.is_object() || !config.contains("options") || !config["options"].is_object()) return false;
  return config["options"].value("fixed-statistics", Json(false)) == true;
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
  init->fixed_statistics = had_fixed_statistics(text);
  if (net != init->weights.metadata.end()) init->origin = load_network(net->second + "@" + init->file);
  return init;
}

void take_fixed_statistics(TrainOptions& options, const InitialWeights& init) {
  if (options.fixed_statistics || !init.fixed_statistics) return;
  options.fixed_statistics = true;
  say(cat("note: ", options.init, " was trained with --fixed-statistics, and so is this"));
}

void load_initial_weights(Network& network, const InitialWeights& init) {
  Transfer transfer(network, init);
  Heads const heads = heads_of(network, transfer);
  leave_other_classes(transfer, heads, network, init);
  leave_other_head(transfer, heads);
  leave_missing_head(transfer, heads);
  leave_all_but_shared(transfer, shared_module(network));
  auto const anew = names_anew(transfer);
  if (anew.empty()) {
    load_state(network, transfer.file, init.file);
    return;
  }
  load_wanted(network, transfer, anew, init.file);
  say(cat("note: ", init.file, transfer.difference, ": ", joined(anew), " start anew"));
}

}  // namespace mith
