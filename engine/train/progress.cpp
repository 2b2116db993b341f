#include "engine/train/progress.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>

namespace mith {
namespace {

using Clock = std::chrono::steady_clock;

std::atomic<bool> is_quiet{false};

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// "41 s", "3 min 05 s", "2 h 07 min".
std::string duration(double seconds) {
  char text[64];
  long long const s = std::llround(seconds);
  if (s < 60)
    std::snprintf(text, sizeof text, "%lld s", s);
  else if (s < 3600)
    std::snprintf(text, sizeof text, "%lld min %02lld s", s / 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%lld h %02lld min", s / 3600, s / 60 % 60);
  return text;
}

std::string bar(double share) {
  constexpr int width = 24;
  int const full = static_cast<int>(share * width);
  return "[" + std::string(static_cast<size_t>(full), '=') + std::string(static_cast<size_t>(width - full), ' ') + "]";
}

}  // namespace

void set_quiet(bool quiet) { is_quiet = quiet; }
bool quiet() { return is_quiet; }

void say(const std::string& line) {
  if (!quiet()) std::fprintf(stderr, "%s\n", line.c_str());
}

void warn(const std::string& line) { std::fprintf(stderr, "warning: %s\n", line.c_str()); }

Progress::Progress(std::string title, int64_t total, std::string unit)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      start_(Clock::now()),
      drawn_(start_),
      terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  // An exception is passing: leave the bar's line to what is printed next.
  if (!finished_ && terminal_ && drawn_ != start_ && !quiet()) std::fputc('\n', stderr);
}

void Progress::advance(int64_t items, const std::string& note) {
  done_ += items;
  double const interval = terminal_ ? 0.1 : 10;
  if (seconds_between(drawn_, Clock::now()) < interval) return;
  drawn_ = Clock::now();
  draw(note, false);
}

void Progress::finish(const std::string& note) {
  if (finished_) return;
  finished_ = true;
  draw(note, true);
}

void Progress::draw(const std::string& note, bool last) {
  if (quiet()) return;
  double const elapsed = seconds_between(start_, Clock::now());
  double const rate = elapsed > 0 ? static_cast<double>(done_) / elapsed : 0;
  double const share = total_ > 0 ? std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_)) : 1;
  std::string line = title_ + "  ";
  if (terminal_ && !last) line += bar(share) + " ";
  line += std::to_string(done_) + (last ? "" : "/" + std::to_string(total_)) + " " + unit_;
  char numbers[64];
  std::snprintf(numbers, sizeof numbers, ", %.*f/s", rate < 10 ? 1 : 0, rate);
  line += numbers;
  if (last)
    line += ", " + duration(elapsed);
  else if (rate > 0)
    line += ", " + duration(static_cast<double>(std::max<int64_t>(total_ - done_, 0)) / rate) + " left";
  if (!note.empty()) line += "  " + note;
  // On a terminal: back to the line's start, and clear what a longer line left behind.
  std::fprintf(stderr, terminal_ ? "\r%s\033[K" : "%s", line.c_str());
  if (last || !terminal_) std::fputc('\n', stderr);
  std::fflush(stderr);
}

}  // namespace mith
