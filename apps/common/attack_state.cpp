#include "apps/common/attack_state.h"

#include <algorithm>
#include <cstdio>

#include "data/hash.h"
#include "engine/files/files.h"
#include "engine/files/safetensors.h"
#include "engine/train/progress.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

constexpr const char* key_file = "state.json";
constexpr const char* chunk_key = "mithridate.chunk";
constexpr const char* crafting_stem = "crafting-";

bool is_chunk(const fs::path& file) {
  std::string const name = file.stem().string();
  return file.extension() == ".safetensors" && name.find('-') != std::string::npos &&
         name.find_first_not_of("0123456789-") == std::string::npos;
}

bool is_crafting(const fs::path& file) {
  return file.extension() == ".safetensors" && file.stem().string().starts_with(crafting_stem);
}

/// What a write that was killed leaves beside its target.
bool is_leftover(const fs::path& file) {
  std::string const name = file.filename().string();
  return name.starts_with(".") && file.extension() == ".tmp" &&
         (name.find(".safetensors.") != std::string::npos || name.starts_with(cat(".", key_file, ".")));
}

/// The files that a state is made of.
std::vector<fs::path> state_files(const fs::path& folder) {
  std::vector<fs::path> ours;
  std::error_code hidden;
  for (auto const& entry : fs::directory_iterator(folder, hidden))
    if (entry.path().filename() == key_file || is_chunk(entry.path()) || is_crafting(entry.path()) ||
        is_leftover(entry.path()))
      ours.push_back(entry.path());
  return ours;
}

/// "1 perturbation and 3 chunks of images"; empty if nothing is finished.
std::string kept_in(const fs::path& folder) {
  auto const files = state_files(folder);
  int64_t const crafted = std::ranges::count_if(files, is_crafting), chunks = std::ranges::count_if(files, is_chunk);
  std::string text;
  if (crafted > 0) text = cat(crafted, crafted == 1 ? " perturbation" : " perturbations");
  if (crafted > 0 && chunks > 0) text += " and ";
  if (chunks > 0) text += cat(chunks, chunks == 1 ? " chunk" : " chunks", " of images");
  return text;
}

void remove_state(const fs::path& folder) {
  std::error_code ignored;
  for (const fs::path& file : state_files(folder)) fs::remove(file, ignored);
  fs::remove(folder, ignored);  // only if nothing else is in it
}

/// Names the first thing in which two commands differ.
void require_same_key(const fs::path& file, const Json& before, const Json& now) {
  auto const shown = [](const Json& json, const std::string& name) {
    return json.contains(name) ? json_text(json[name]) : "none";
  };
  for (auto const& [name, value] : now.items())
    require(before.contains(name) && before[name] == value, "--resume: ", file.string(), " was started with ", name,
            " ", shown(before, name), ", not ", json_text(value));
  for (auto const& [name, value] : before.items())
    require(now.contains(name), "--resume: ", file.string(), " was started with ", name, " ", json_text(value),
            ", not without");
}

/// What state.json says; null if there is none or it is no JSON.
Json read_state(const fs::path& file) {
  std::error_code hidden;
  return fs::exists(file, hidden) ? Json::parse(read_text(file), nullptr, false) : Json();
}

bool is_state_of(const Json& state, const std::string& program) {
  return state.is_object() && state.value("program", Json()) == program && state.contains("options") &&
         state["options"].is_object();
}

/// A state that holds nothing finished may be replaced, but not another file of that name.
void require_free(const fs::path& out, const fs::path& folder) {
  require(kept_in(folder).empty(), out.string(),
          " holds an interrupted run (--resume continues it, --force starts anew)");
  Json const state = read_state(folder / key_file);
  require(state.is_null() || is_state_of(state, "mith-attack") || is_state_of(state, "mith-evaluate"),
          (folder / key_file).string(), " is no interrupted run's, and a run would replace it (--force does)");
}

void require_continues(const fs::path& out, const fs::path& file, const std::string& program, const Json& key) {
  Json const previous = read_state(file);
  require(is_state_of(previous, program), "--resume: ", out.string(), " holds no interrupted ", program,
          " to continue");
  require_same_key(file, previous["options"], key);
}

template <class T>
void store(std::vector<StoredTensor>& tensors, const char* name, const std::vector<T>& values) {
  if (!values.empty())
    tensors.push_back({name, Tensor::from(values, {static_cast<int64_t>(values.size())}, Device::cpu)});
}

/// Empty if the file has none.
template <class T>
std::vector<T> stored(const SafetensorsFile& file, const char* name) {
  const Tensor* const tensor = file.find(name);
  return tensor ? tensor->to_host<T>() : std::vector<T>();
}

Json chunk_json(const std::string& attack, const std::string& crafted_on, int64_t first, int64_t count) {
  return {{"attack", attack}, {"crafted_on", crafted_on}, {"first", first}, {"count", count}};
}

void read_books(const Json& books, Crafted& crafted) {
  crafted.seconds = books.at("seconds").get<double>();
  crafted.result.nan_gradients = books.at("nan_gradients").get<int64_t>();
  for (auto const& stage : books.at("stages"))
    crafted.result.stages.push_back({stage.at("attack").get<std::string>(), stage.at("standing").get<int64_t>()});
  crafted.result.warnings = books.at("warnings").get<std::vector<std::string>>();
}

Json books_json(const Crafted& crafted) {
  Json stages = Json::array();
  for (const AttackStage& stage : crafted.result.stages)
    stages.push_back({{"attack", stage.attack}, {"standing", stage.standing}});
  return {{"seconds", crafted.seconds},
          {"nan_gradients", crafted.result.nan_gradients},
          {"stages", stages},
          {"warnings", crafted.result.warnings}};
}

std::string hex(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

template <class T>
uint64_t hash_of(const std::vector<T>& values, uint64_t seed) {
  return hash_bytes(values.data(), values.size() * sizeof(T), seed);
}

/// "runs/a (cnn, weights 1f0c...)": the same text stands for the same network.
std::string fingerprint(const Model& model) {
  uint64_t hash = 0;
  for (const StoredTensor& tensor : state_of(*model.network)) {
    hash = hash_bytes(tensor.name.data(), tensor.name.size(), hash);
    hash = hash_bytes(tensor.value.raw(), tensor.value.bytes(), hash);
  }
  const NetworkOptions& o = model.network->network_options();
  hash = hash_of(o.deviation, hash_of(o.mean, hash));
  return cat(model.name, " (", model.network->spec(), ", weights ", hex(hash), ")");
}

/// Of ids, labels and pixels.
std::string fingerprint(const ImageSet& images) {
  uint64_t hash = hash_of(images.labels, hash_of(images.ids, 0));
  for (int64_t i = 0; i < images.size(); ++i)
    hash = hash_bytes(images.image(i), static_cast<size_t>(images.image_bytes()), hash);
  return cat(images.size(), " images ", hex(hash));
}

template <class T>
Json fingerprints(const std::vector<const T*>& things) {
  Json all = Json::array();
  for (const T* thing : things) all.push_back(fingerprint(*thing));
  return all;
}

}  // namespace

AttackState::AttackState(OutputFolder& out, const std::string& program, const Json& key, bool resume, bool force)
    : out_(out), folder_(out.path() / "state") {
  if (resume) {
    require_continues(out.path(), folder_ / key_file, program, key);
    std::string const kept = kept_in(folder_);
    say(cat("note: going on from ", folder_.string(), ", which keeps ", kept.empty() ? "nothing yet" : kept));
  } else {
    if (!force) require_free(out.path(), folder_);
    remove_state(folder_);
  }
  make_writable_folder(folder_);
  if (!resume) write_text(folder_ / key_file, json_text(Json{{"program", program}, {"options", key}}, 2) + "\n");
}

AttackState::~AttackState() {
  if (kept_in(folder_).empty()) remove_state(folder_);
}

void AttackState::begin(const std::string& attack, const std::string& crafted_on) {
  ++attacks_begun_;
  attack_ = attack;
  crafted_on_ = crafted_on;
}

fs::path AttackState::chunk_file(int64_t first) const {
  return folder_ / cat(attacks_begun_, "-", first, ".safetensors");
}

std::optional<Crafted> AttackState::load(int64_t first, int64_t count, Device device) const {
  fs::path const path = chunk_file(first);
  std::error_code hidden;
  if (!fs::exists(path, hidden)) return std::nullopt;
  SafetensorsFile const file = read_safetensors(path);
  const Tensor* const adversarial = file.find("adversarial");
  auto const metadata = file.metadata.find(chunk_key);
  Json const chunk = metadata == file.metadata.end() ? Json() : Json::parse(metadata->second, nullptr, false);
  require(adversarial && adversarial->dtype() == DType::f32 && adversarial->shape().rank() == 4 &&
              adversarial->dim(0) == count && chunk.is_object() &&
              chunk.value("images", Json()) == chunk_json(attack_, crafted_on_, first, count),
          "cannot go on from ", path.string(), ": it holds other images or another attack's");
  Crafted crafted;
  try {
    read_books(chunk.at("books"), crafted);
    crafted.result.clean_correct = stored<uint8_t>(file, "clean_correct");
    crafted.result.success = stored<uint8_t>(file, "success");
    crafted.result.loss = stored<float>(file, "loss");
    crafted.result.queries = stored<int64_t>(file, "queries");
    crafted.result.gradients = stored<int64_t>(file, "gradients");
  } catch (const std::exception& e) {
    throw UsageError(cat("cannot go on from ", path.string(), ": ", e.what()));
  }
  crafted.result.adversarial = adversarial->to(device);
  return crafted;
}

void AttackState::save(int64_t first, int64_t count, const Crafted& crafted) {
  const AttackResult& r = crafted.result;
  std::vector<StoredTensor> tensors{{"adversarial", r.adversarial.to(Device::cpu)}};
  store(tensors, "clean_correct", r.clean_correct);
  store(tensors, "success", r.success);
  store(tensors, "loss", r.loss);
  store(tensors, "queries", r.queries);
  store(tensors, "gradients", r.gradients);
  Json const chunk{{"images", chunk_json(attack_, crafted_on_, first, count)}, {"books", books_json(crafted)}};
  write_safetensors(chunk_file(first), tensors, {{chunk_key, json_text(chunk)}});
  out_.keep_folder();
}

fs::path AttackState::crafting_file(int number) const { return folder_ / cat(crafting_stem, number, ".safetensors"); }

Universal AttackState::load_crafting(int number, const std::string& attack) const {
  std::error_code hidden;
  return fs::exists(crafting_file(number), hidden) ? read_universal(crafting_file(number), attack) : Universal();
}

void AttackState::save_crafting(int number, const std::string& attack, const Universal& universal) {
  write_universal(crafting_file(number), universal, attack);
  out_.keep_folder();
}

std::string AttackState::interruption() const {
  std::string const kept = kept_in(folder_);
  if (kept.empty()) return "interrupted before anything was finished; nothing is kept";
  return cat("interrupted; ", folder_.string(), " keeps ", kept,
             ", and the same command with --resume goes on from there");
}

void AttackState::remove() { remove_state(folder_); }

void stop_if_interrupted(const AttackState* state) {
  if (interrupted()) throw Interrupted(state ? state->interruption() : "interrupted; nothing is kept");
}

Json key_of(const AttackCommand& command, const CommonOptions& common) {
  Json attacks = Json::array();
  for (const std::string& spec : command.attacks) attacks.push_back(make_attack(spec)->spec());
  return {{"version", version()},
          {"attack", attacks},
          {"model", fingerprints(command.models)},
          {"surrogate", fingerprints(command.surrogates)},
          {"ensemble", command.ensemble},
          {"repeat-seed000-error", command.divide_twice},
          {"data", command.data},
          {"craft", command.craft},
          {"images", fingerprints(command.images)},
          {"crafting images", fingerprints(command.crafting_images)},
          {"batch", command.batch},
          {"eager", command.eager},
          {"precision", common.precision},
          {"seed", common.seed},
          {"device", name_of(default_device())},
          {"provider", common.providers}};
}

}  // namespace mith
