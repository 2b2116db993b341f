// What a long attack leaves on disk, finished chunks of images and passes of crafting, so that --resume goes on where
// it was stopped.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/command_line.h"
#include "apps/common/inputs.h"
#include "apps/common/interrupt.h"
#include "apps/common/output_folder.h"
#include "attacks/attack.h"
#include "attacks/universal.h"

namespace mith {

/// What one chunk's attack gave, and how long it took.
struct Crafted {
  AttackResult result;
  double seconds = 0;
};

/// DIR/state: state.json says what the results depend on, <attack>-<chunk>.safetensors and crafting-<n>.safetensors
/// hold what is finished. Every file is whole at any time. Nothing but these files is ever removed. While it lives, an
/// interruption waits until somebody asks interrupted().
class AttackState {
 public:
  /// `program` and `key`, everything that shapes the results, must be those of the state that `resume` continues; a
  /// state is otherwise refused unless `force` replaces it. UsageError, before anything is changed. Does not own `out`.
  AttackState(OutputFolder& out, const std::string& program, const Json& key, bool resume, bool force);
  /// A state that holds nothing finished is of no use and goes.
  ~AttackState();
  AttackState(const AttackState&) = delete;
  AttackState& operator=(const AttackState&) = delete;

  /// The chunks that follow are this attack's. Attacks must come in the same order when resumed.
  void begin(const std::string& attack, const std::string& crafted_on);
  /// The result for images [first, first + count), if it was finished before. UsageError on a damaged file.
  std::optional<Crafted> load(int64_t first, int64_t count, Device) const;
  void save(int64_t first, int64_t count, const Crafted&);
  /// What the command's crafting of that number had reached when it was stopped; without values if it had not begun.
  Universal load_crafting(int number, const std::string& attack) const;
  void save_crafting(int number, const std::string& attack, const Universal&);
  /// "interrupted; ..." and what to do about it.
  std::string interruption() const;
  /// Removes it, once the results are kept.
  void remove();

 private:
  std::filesystem::path chunk_file(int64_t first) const;
  std::filesystem::path crafting_file(int number) const;
  InterruptGuard guard_;
  OutputFolder& out_;
  std::filesystem::path folder_;
  std::string attack_, crafted_on_;
  int attacks_begun_ = 0;
};

/// Throws Interrupted if the user has asked for the end; the state may be null.
void stop_if_interrupted(const AttackState*);

/// What the results of a command's attacks depend on, by the names of its options: attack specs in full, networks and
/// images with hashes of what they hold, seed, batch, device and providers.
struct AttackCommand {
  std::vector<std::string> attacks;
  std::vector<const Model*> models, surrogates;
  std::string data, craft;
  std::vector<const ImageSet*> images, crafting_images;  ///< as each of the models takes them
  int64_t batch = 0;
  bool ensemble = false, divide_twice = false, eager = false;
};
Json key_of(const AttackCommand&, const CommonOptions&);

}  // namespace mith
