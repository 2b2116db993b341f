#include "attacks/dct.h"

#include <algorithm>
#include <cmath>

#include "attacks/score.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<float*, float*, const void*, const float*, const float*, int64_t, int64_t, int64_t> basis_step{
    "basis_step"};

std::vector<double> basis_matrix(Basis basis, int64_t n) {
  if (basis == Basis::dct) return dct_matrix(n);
  std::vector<double> identity(static_cast<size_t>(n * n), 0);
  for (int64_t i = 0; i < n; ++i) identity[static_cast<size_t>(i * n + i)] = 1;
  return identity;
}

}  // namespace

std::vector<double> dct_matrix(int64_t n) {
  double const pi = std::acos(-1.0), size = static_cast<double>(n);
  std::vector<double> matrix;
  matrix.reserve(static_cast<size_t>(n * n));
  for (int64_t u = 0; u < n; ++u)
    for (int64_t i = 0; i < n; ++i)
      matrix.push_back(std::sqrt((u == 0 ? 1 : 2) / size) * std::cos(pi * double((2 * i + 1) * u) / (2 * size)));
  return matrix;
}

Directions::Directions(Basis basis, const Shape& image, Device device) : image_(image) {
  int64_t const h = image[0], w = image[1], c = image[2], cols = w * c;
  auto const down = basis_matrix(basis, h), across = basis_matrix(basis, w);
  rows_ = Tensor::from(std::vector<float>(down.begin(), down.end()), {h, h}, device);
  // A row for each frequency and channel, zero in the other channels: then a step knows nothing of channels.
  std::vector<float> columns(static_cast<size_t>(cols * cols), 0);
  for (int64_t v = 0; v < w; ++v)
    for (int64_t ch = 0; ch < c; ++ch)
      for (int64_t col = 0; col < w; ++col)
        columns[static_cast<size_t>((v * c + ch) * cols + col * c + ch)] =
            static_cast<float>(across[static_cast<size_t>(v * w + col)]);
  columns_ = Tensor::from(columns, {cols, cols}, device);
}

BasisStep Directions::step(const Direction& d, float length) const {
  return {.u = static_cast<int32_t>(d.u), .k = static_cast<int32_t>(d.v * image_[2] + d.channel), .step = length};
}

void Directions::move(Tensor& candidate, Tensor& state, const std::vector<BasisMove>& moves) const {
  check(candidate.shape() == state.shape(), "basis_step: candidates ", candidate.shape(), " of ", state.shape());
  launch(candidate.data<float>(), state, moves);
}

void Directions::move(Tensor& state, const std::vector<BasisMove>& moves) const { launch(nullptr, state, moves); }

void Directions::launch(float* candidate, Tensor& state, const std::vector<BasisMove>& moves) const {
  int64_t const n = state.dim(0), cols = image_[1] * image_[2];
  check(state.shape() == Shape{n, image_[0], image_[1], image_[2]} && static_cast<int64_t>(moves.size()) == n,
        "basis_step: ", moves.size(), " moves of images ", state.shape());
  if (n == 0) return;
  int64_t const words = static_cast<int64_t>(sizeof(BasisMove) / sizeof(int32_t));
  Tensor const table = Tensor::from_bytes(moves.data(), {n, words}, DType::i32, state.device());
  basis_step(state.stream(), candidate, state.data<float>(), table.raw(), rows_.data<float>(), columns_.data<float>(),
             n, image_[0], cols);
}

DirectionOrder::DirectionOrder(const Shape& image, int64_t first, int64_t stride, const DrawKey& key, uint64_t id)
    : image_(image), stride_(stride), key_(key), id_(id) {
  open(first);
}

void DirectionOrder::open(int64_t side) {
  side_ = side;
  low_h_ = high_h_;
  low_w_ = high_w_;
  high_h_ = std::min(side, image_[0]);
  high_w_ = std::min(side, image_[1]);
  size_ = (high_h_ * high_w_ - low_h_ * low_w_) * image_[2];
  swapped_.clear();
}

Direction DirectionOrder::next() {
  // Fisher and Yates: the drawn one changes places with the last, and the list ends before it.
  int64_t const drawn = draw_below(key_, id_, draws_++, size_), last = size_ - 1;
  auto const at = [&](int64_t i) {
    auto const it = swapped_.find(i);
    return it == swapped_.end() ? i : it->second;
  };
  int64_t const index = at(drawn), moved = at(last);
  swapped_[drawn] = moved;
  swapped_.erase(last);
  --size_;
  // To the right of the last square, then below it.
  int64_t const cell = index / image_[2], width = high_w_ - low_w_, right = low_h_ * width;
  Direction const direction{.u = cell < right ? cell / width : low_h_ + (cell - right) / high_w_,
                            .v = cell < right ? low_w_ + cell % width : (cell - right) % high_w_,
                            .channel = index % image_[2]};
  if (size_ == 0 && stride_ > 0 && side_ < std::max(image_[0], image_[1])) open(side_ + stride_);
  return direction;
}

}  // namespace mith
