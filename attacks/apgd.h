// APGD, PGD whose step sizes follow the loss (Croce & Hein 2020, algorithm 1), on cross-entropy, DLR and targeted DLR.
#pragma once
#include <string>
#include <vector>

#include "attacks/attack.h"

namespace mith {

struct ApgdOptions {
  std::string norm = "linf";  ///< linf | l2
  float eps = 8 / 255.f;
  int steps = 100, restarts = 1;
  int eot = 1;        ///< passes that are averaged for each step
  float rho = 0.75f;  ///< the share of steps of a window that must raise the loss, or its images step half as far
  void fields(Fields&);
};

/// Against each of the classes that come next for the clean image.
struct ApgdTargetOptions : ApgdOptions {
  int targets = 9;  ///< or all but the label, if those are fewer
  void fields(Fields&);
};

/// A random start that lies at the distance eps but for [0, 1].
Tensor apgd_start(const Batch&, const std::string& norm, float eps, const DrawKey&);

/// The iterations, counted from 1, after which step sizes may halve: windows of 22 % of the steps, each shorter than
/// the last by 3 % down to 6 %, and of 1 at least.
std::vector<int> apgd_checkpoints(int steps);

/// The step size of each of several images, from the course of its loss.
class ApgdSchedule {
 public:
  /// `losses` of the start, one an image; a step begins at 2 eps.
  ApgdSchedule(int steps, double rho, float eps, const std::vector<float>& losses);

  struct Move {
    std::vector<int64_t> improved;  ///< images whose best iterate this is
    std::vector<int64_t> halved;    ///< images that go on from their best iterate, in steps half as long
  };
  /// Enters the losses after the next iteration. At checkpoints an image's step halves if the loss rose in at most
  /// rho of the window's iterations, or if neither its best loss nor its step has changed since the last checkpoint.
  Move enter(const std::vector<float>& losses);
  const std::vector<float>& step_sizes() const { return step_; }
  const std::vector<float>& best() const { return best_; }
  /// Goes on with some of the images, by position.
  void keep(const std::vector<int64_t>& kept);

 private:
  std::vector<int> checkpoints_;
  double rho_;
  int iteration_ = 0, checked_ = 0;  // iterations done; at the last checkpoint
  std::vector<float> step_, last_, best_, best_then_;
  std::vector<int> rises_;            // of the loss since the last checkpoint
  std::vector<uint8_t> halved_then_;  // at the last checkpoint; true at first, so that a start has time
};

}  // namespace mith
