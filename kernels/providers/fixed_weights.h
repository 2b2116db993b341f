// Weights that no longer change, each also in the layouts in which the libraries want them.
//
// A library that keeps weights in a layout of its own reorders them on every call, because training changes them
// between calls. An attack does not: at 64 pixels a tenth of a forward pass of ResNet-18 is spent on it.
#pragma once
#include <cstddef>
#include <map>
#include <vector>

namespace mith {

class FixedWeights {
 public:
  /// What lies at these addresses stays as it is for as long as this object is used.
  explicit FixedWeights(const std::vector<const void*>& weights);
  ~FixedWeights();
  FixedWeights(const FixedWeights&) = delete;
  FixedWeights& operator=(const FixedWeights&) = delete;

  /// While one lives, providers that this thread calls use `weights`, if there are any.
  class Use {
   public:
    explicit Use(FixedWeights* weights);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    FixedWeights* previous_;
  };

  /// Host memory for a second form of weights, and whether the caller has yet to write it.
  struct Packed {
    void* data = nullptr;  ///< null: these weights may change
    bool fresh = false;
  };
  /// The form of `weights` in the layout that the caller numbers so, of `bytes`, from what is in use on this thread.
  static Packed find(const void* weights, int layout, size_t bytes);

  /// Forms that were made so far.
  size_t forms() const;

 private:
  std::map<const void*, std::map<int, void*>> packed_;
};

}  // namespace mith
