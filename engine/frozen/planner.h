// Where everything lies while a frozen network runs: one arena, planned once, whose parts are used again as soon as
// what they held is no longer needed.
//
// Time is counted in steps: the forward pass of each operator, the loss, then the backward passes in the opposite
// order. Steps ask the planner, in that order, for what they read and write; it notes from when to when each buffer is
// alive, and places all of them at the end.
#pragma once
#include <algorithm>
#include <map>
#include <vector>

#include "engine/frozen/graph.h"

namespace mith::frozen {

using Buffer = int;

/// Rows of `columns` elements, `pitch` apart, that begin `offset` elements into a buffer.
struct Place {
  Buffer buffer = -1;
  int64_t offset = 0, rows = 0, columns = 0, pitch = 0;
  DType dtype = DType::f32;
  bool dense() const { return pitch == columns; }
  bool operator==(const Place&) const = default;
};

class Planner {
 public:
  /// The buffers that are not in the arena: the images, and their gradient.
  static constexpr Buffer images = 0, input_gradient = 1;

  Planner(const Graph&, int64_t batch);

  // Forward. What a step reads and writes.
  Place read(int value);
  Place write(int value);
  void write_as(int value, int other);  ///< the same memory under another shape
  /// Puts a value where another lies, for a product that adds to it: the other is lost, so true only if nobody, this
  /// product neither, reads it from now on, in the backward pass neither. If false, nothing has changed.
  bool write_over(int value, int other);
  Buffer keep(size_t bytes);         ///< from now to this step's backward pass, which holds it
  Buffer scratch(size_t bytes);      ///< now only
  Place scratch_like(const Place&);  ///< the same rows, dense, now only

  // Backward.
  bool flows(int value) const { return gradient_of(value).buffer >= 0; }  ///< whether anything has been written yet
  bool wanted(int value) const;                                           ///< false for constants
  Place gradient(int value);                                              ///< complete, of a step's output
  void hold(Buffer);                                                      ///< what was kept is read now
  struct Target {
    Place place;
    bool adds;  ///< to what other readers of the value have written
  };
  Target target(int value);  ///< where a step writes the gradient of what it read
  /// Lets the gradient of `value` be that of `output`, where it lies, which nobody needs any more; false if that
  /// cannot be: then it is added or copied to its target.
  bool hand_over(int output, int value);

  void next_step() {
    ++now_;
    read_.clear();
    written_.clear();
  }
  /// Bytes that the step at hand reads and writes, each once and scratch left out: the least that must move.
  int64_t bytes_moved() const;
  int64_t batch() const { return batch_; }
  const Shape& shape(int value) const { return graph_.values[static_cast<size_t>(value)].shape; }
  /// Whether this value lies in the memory of the one that joins it with others.
  bool in_place(int value) const { return slices_[static_cast<size_t>(value)].whole >= 0; }
  bool in_place(int value, int whole) const { return slices_[static_cast<size_t>(value)].whole == whole; }

  /// Places the buffers; returns the arena's size in bytes.
  size_t finish();
  size_t offset(Buffer b) const { return buffers_[static_cast<size_t>(b)].offset; }
  size_t bytes(Buffer b) const { return buffers_[static_cast<size_t>(b)].bytes; }
  /// Constants that steps read, and where: to be filled before the first run.
  const std::map<int, Place>& constants() const { return constants_; }

 private:
  struct Life {
    size_t bytes = 0;
    int first = 0, last = 0;
    size_t offset = 0;
  };
  /// A value that is some channels of another.
  struct Slice {
    int whole = -1;
    int64_t first = 0;
  };
  void find_slices();
  bool can_lie_in(const Operator& join, int value) const;
  Buffer born(size_t bytes);
  Place dense_place(Buffer, int64_t offset, int value) const;
  Place part_of(const Place& whole, int value) const;
  /// Where a value lies; makes room for it, or for the whole that it is part of.
  Place& placed(int value);
  size_t bytes_of(int value) const;
  void touch(Buffer b) { buffers_[static_cast<size_t>(b)].last = now_; }
  void count(std::map<Buffer, size_t>& moved, Buffer b, size_t bytes) { moved[b] = std::max(moved[b], bytes); }
  const Place& gradient_of(int value) const { return gradients_[static_cast<size_t>(value)]; }

  const Graph& graph_;
  int64_t batch_;
  int now_ = 0;
  std::vector<Life> buffers_;
  std::vector<Slice> slices_;  // by value, as all below
  std::vector<Place> places_, gradients_;
  std::map<int, Place> constants_;
  std::map<Buffer, size_t> read_, written_;  // by the step at hand, the largest part of each buffer
};

}  // namespace mith::frozen
