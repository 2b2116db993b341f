#include "apps/common/inputs.h"
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

/// The options of the run that this folder holds. UsageError if it holds none that --resume could go on with.
Json options_to_continue(const fs::path& folder) {
  Json const previous = configuration_of(folder);
  require(previous.is_object() && previous.value("program", Json()) == "mith-train" && previous.contains("options"),
          "--resume: ", folder.string(), " holds no run to continue");
  return previous["options"];
}

}  // namespace

RunFolder::RunFolder(const TrainOptions& options, const Json& now) : path_(options.out) {
  std::vector<fs::path> const found = run_files(path_);
  std::error_code hidden;
  if (options.resume) {
    require_same_run(path_ / "config.json", options_to_continue(path_), now);
    resuming_ = fs::exists(path_ / "last.safetensors", hidden);
    require(resuming_ || !has_checkpoint(path_), "--resume: ", path_.string(),
            " has no last.safetensors to go on from");
    if (!resuming_) say(cat("note: ", path_.string(), " ended before its first epoch did; starting anew"));
  } else if (!found.empty()) {
    require(options.force, "--out ", path_.string(), " already holds ",
            has_checkpoint(path_) ? "a run (--resume continues it, --force replaces it)"
                                  : found[0].filename().string() + ", which a run would replace (--force does)");
  }
  created_ = !fs::exists(path_, hidden);
  make_writable_folder(path_);
  if (!resuming_) remove_run(path_);
}

RunFolder::~RunFolder() {
  std::error_code ignored;
  if (!fs::is_directory(path_, ignored) || has_checkpoint(path_)) return;
  remove_run(path_);
  if (created_) fs::remove_all(path_, ignored);
}

void RunFolder::write_config(const Json& config) { write_text(path_ / "config.json", json_text(config, 2) + "\n"); }

}  // namespace mith
