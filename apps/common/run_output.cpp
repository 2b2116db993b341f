#include "apps/common/training.h"
#include "engine/files/files.h"
#include "engine/train/progress.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

/// Names the first option in which two runs differ; more epochs are no difference unless the rate's curve ends there.
void require_same_run(const fs::path& file, const Json& before, const Json& now) {
  for (auto const& [key, value] : now.items()) {
    if (key == "epochs" && now.at("schedule") != "cosine") continue;
    require(before.contains(key) && before[key] == value, "--resume: ", file.string(), " was started with ", key, " ",
            before.contains(key) ? json_text(before[key]) : "unset", ", not ", json_text(value));
  }
}

/// The files that a run writes; nothing else is ever removed.
std::vector<fs::path> run_files(const fs::path& folder) {
  std::vector<fs::path> ours;
  std::error_code hidden;
  for (auto const& entry : fs::directory_iterator(folder, hidden)) {
    std::string const name = entry.path().filename().string();
    if (name == "config.json" || name == "model.safetensors" || name == "last.safetensors" || name == "metrics.jsonl" ||
        name == "split.json" || name.rfind("events.out.tfevents", 0) == 0)
      ours.push_back(entry.path());
  }
  return ours;
}

void remove_run(const fs::path& folder) {
  std::error_code ignored;
  for (const fs::path& file : run_files(folder)) fs::remove(file, ignored);
}

bool has_checkpoint(const fs::path& folder) {
  std::error_code hidden;
  return fs::exists(folder / "model.safetensors", hidden) || fs::exists(folder / "last.safetensors", hidden);
}

}  // namespace

RunFolder::RunFolder(const TrainOptions& options, const Json& now) : path_(options.out) {
  fs::path const config = path_ / "config.json";
  std::vector<fs::path> const found = run_files(path_);
  bool const holds_run = !found.empty(), killed_at_once = holds_run && !has_checkpoint(path_);
  std::error_code hidden;
  if (options.resume && killed_at_once) {
    say(cat("note: ", path_.string(), " ended before its first epoch did; starting anew"));
  } else if (options.resume) {
    require(fs::exists(path_ / "last.safetensors", hidden), "--resume: ", path_.string(), " holds no run to continue");
    Json const previous = Json::parse(read_text(config), nullptr, false);
    require(previous.is_object() && previous.contains("options"), config.string(), ": not a run's configuration");
    require_same_run(config, previous["options"], now);
    resuming_ = true;
  } else if (holds_run) {
    require(options.force, "--out ", path_.string(), " already holds ",
            has_checkpoint(path_) ? "a run (--resume continues it, --force replaces it)"
                                  : found[0].filename().string() + ", which a run would replace (--force does)");
  }
  created_ = !fs::exists(path_, hidden);
  make_writable_folder(path_);
  if (holds_run && !resuming_) remove_run(path_);
}

RunFolder::~RunFolder() {
  std::error_code ignored;
  if (!fs::is_directory(path_, ignored) || has_checkpoint(path_)) return;
  remove_run(path_);
  if (created_) fs::remove_all(path_, ignored);
}

void RunFolder::write_config(const Json& config) { write_text(path_ / "config.json", json_text(config, 2) + "\n"); }

}  // namespace mith
