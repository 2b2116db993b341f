// Progress on stderr: a bar with rate and time left on a terminal, plain lines elsewhere, nothing when quiet.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace mith {

void set_quiet(bool);
bool quiet();

class Progress {
 public:
  /// `total` items called `unit` ("images"); `title` as in "epoch 3/30".
  Progress(std::string title, int64_t total, std::string unit = "images");
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `note` stands behind the bar, e.g. "loss 0.312".
  void advance(int64_t items, const std::string& note = "");
  void finish(const std::string& note = "");

 private:
  void draw(const std::string& note, bool last);
  std::string title_, unit_;
  int64_t total_, done_ = 0;
  std::chrono::steady_clock::time_point start_, drawn_;
  bool terminal_, finished_ = false;
};

/// A line on stderr unless quiet.
void say(const std::string& line);
/// "warning: <line>" on stderr, also when quiet.
void warn(const std::string& line);

}  // namespace mith
