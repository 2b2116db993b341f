// The Square attack (Andriushchenko et al. 2020), f32 images [n,h,w,c]: a block an image.
//
// `candidate` and `best` differ in the windows of the last query only. square_settle makes them agree again, and the
// next windows are written into the candidate alone, so that a query touches little more than its windows. Signatures:
//
//   square_settle      (float* candidate, float* best, const int32_t* moves, int64_t images, int64_t h, int64_t w,
//                       int64_t c)
//   square_linf_window (float* candidate, const float* best, const float* x, const int64_t* ids, const int32_t* moves,
//                       DrawKey key, int64_t query, float eps, int64_t images, int64_t h, int64_t w, int64_t c)
//   square_l2_window   (float* candidate, const float* best, const float* x, const float* bump, const int64_t* ids,
//                       const int32_t* moves, DrawKey key, int64_t query, float eps, int64_t images, int64_t h,
//                       int64_t w, int64_t c)
//   square_l2_start    (float* adv, const float* x, const float* bump, const int64_t* ids, DrawKey key, float factor,
//                       int64_t side, int64_t images, int64_t h, int64_t w, int64_t c)
#include "kernels/row/square.h"

#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"
#include "kernels/launch/philox.h"

namespace mith::MITH_SPACE {

struct WindowedImage {
  int64_t h, w, c;
  MITH_DEVICE int64_t size() const { return h * w * c; }
  MITH_DEVICE int64_t at(int64_t row, int64_t col) const { return (row * w + col) * c; }
};

/// A square of pixels.
struct WindowSquare {
  int64_t row, col, side;
  MITH_DEVICE bool has(int64_t r, int64_t k) const { return r >= row && r < row + side && k >= col && k < col + side; }
};
MITH_DEVICE WindowSquare first_window(const SquareWindows& s) { return {s.row, s.col, s.side}; }
MITH_DEVICE WindowSquare second_window(const SquareWindows& s) { return {s.other_row, s.other_col, s.side}; }

MITH_DEVICE float window_sign(const DrawKey& key, uint64_t image, uint64_t element) {
  return random_bits(key, image, element) >> 31 ? 1.0f : -1.0f;
}

/// visit(row, column) for this thread's pixels of a window.
template <class Visit>
__device__ void for_window(WindowSquare window, Visit visit) {
  for (int64_t row = window.row; row < window.row + window.side; ++row)
    for (auto col : block_stride(window.side)) visit(row, window.col + col);
}

/// visit(row, column, whether the pixel lies in `a`) for this thread's pixels of the union of a and b, each once.
template <class Visit>
__device__ void for_union(WindowSquare a, WindowSquare b, Visit visit) {
  for_window(a, [&](int64_t row, int64_t col) { visit(row, col, true); });
  if (a.row == b.row && a.col == b.col) return;
  for_window(b, [&](int64_t row, int64_t col) {
    if (!a.has(row, col)) visit(row, col, false);
  });
}

/// Takes the candidate over where it was accepted, and back where it was not.
__global__ void square_settle(float* __restrict__ candidates, float* __restrict__ bests,
                              const SquareMove* __restrict__ moves, int64_t images, WindowedImage s) {
  for (auto image : block_items(images)) {
    SquareMove const move = moves[image];
    float* const to = (move.accepted ? bests : candidates) + image * s.size();
    const float* const from = (move.accepted ? candidates : bests) + image * s.size();
    for_union(first_window(move.last), second_window(move.last), [=](int64_t row, int64_t col, bool) {
      for (int64_t at = s.at(row, col), end = at + s.c; at < end; ++at) to[at] = from[at];
    });
  }
}

constexpr int sign_attempts = 16;

/// candidate = clamp(x +- eps) in the window, one sign a channel, drawn again while that changes nothing.
__global__ void square_linf_window(float* __restrict__ candidates, const float* __restrict__ bests,
                                   const float* __restrict__ xs, const int64_t* __restrict__ ids,
                                   const SquareMove* __restrict__ moves, DrawKey key, int64_t query, float eps,
                                   int64_t images, WindowedImage s) {
  for (auto image : block_items(images)) {
    float* const candidate = candidates + image * s.size();
    const float *const best = bests + image * s.size(), *const x = xs + image * s.size();
    WindowSquare const window = first_window(moves[image].next);
    for (int attempt = 0; window.side > 0 && attempt < sign_attempts; ++attempt) {
      int32_t changed = 0;
      for (int64_t ch = 0; ch < s.c; ++ch) {
        uint64_t const draw = static_cast<uint64_t>((query * sign_attempts + attempt) * s.c + ch);
        float const change = eps * window_sign(key, static_cast<uint64_t>(ids[image]), draw);
        for_window(window, [&](int64_t row, int64_t col) {
          int64_t const at = s.at(row, col) + ch;
          float const v = clamp(x[at] + change, 0.0f, 1.0f);
          changed += v != best[at];
          candidate[at] = v;
        });
      }
      if (block_sum(changed) > 0) break;
    }
  }
}

/// Two windows: the second is emptied, and its budget and what is left of the ball go to the first, whose new content
/// is the bump with a random sign plus the old one (Andriushchenko et al. 2020, algorithm 3). With what the windows
/// gain, |adv - x|_2 becomes eps.
__global__ void square_l2_window(float* __restrict__ candidates, const float* __restrict__ bests,
                                 const float* __restrict__ xs, const float* __restrict__ bump,
                                 const int64_t* __restrict__ ids, const SquareMove* __restrict__ moves, DrawKey key,
                                 int64_t query, float eps, int64_t images, WindowedImage s) {
  for (auto image : block_items(images)) {
    float* const candidate = candidates + image * s.size();
    const float *const best = bests + image * s.size(), *const x = xs + image * s.size();
    SquareWindows const windows = moves[image].next;
    if (windows.side == 0) continue;
    WindowSquare const first = first_window(windows), second = second_window(windows);
    uint64_t const id = static_cast<uint64_t>(ids[image]), draw = static_cast<uint64_t>(query * (s.c + 1));
    bool const transposed = random_bits(key, id, draw + static_cast<uint64_t>(s.c)) >> 31;

    double whole = 0;
    for (auto i : block_stride(s.size())) whole += square(static_cast<double>(best[i]) - static_cast<double>(x[i]));
    whole = block_sum(whole);
    double const free_share = (static_cast<double>(eps) * eps - whole) / static_cast<double>(s.c);

    for (int64_t ch = 0; ch < s.c; ++ch) {
      double in_union = 0, in_first = 0;
      for_union(first, second, [&](int64_t row, int64_t col, bool is_first) {
        int64_t const at = s.at(row, col) + ch;
        double const v = square(static_cast<double>(best[at]) - static_cast<double>(x[at]));
        in_union += v;
        in_first += is_first ? v : 0.0;
      });
      in_union = block_sum(in_union);
      float const keep = static_cast<float>(1 / (1e-12 + std::sqrt(block_sum(in_first))));
      float const size = window_sign(key, id, draw + static_cast<uint64_t>(ch));
      auto const fresh_at = [=](int64_t row, int64_t col) {
        int64_t const at = s.at(row, col) + ch, i = row - first.row, j = col - first.col;
        return size * bump[transposed ? j * first.side + i : i * first.side + j] + keep * (best[at] - x[at]);
      };
      double fresh = 0;
      for_window(first, [&](int64_t row, int64_t col) { fresh += square(static_cast<double>(fresh_at(row, col))); });
      fresh = block_sum(fresh);
      double const budget = in_union + free_share;
      float const factor = fresh > 0 && budget > 0 ? static_cast<float>(std::sqrt(budget / fresh)) : 0.0f;
      for_union(first, second, [&](int64_t row, int64_t col, bool is_first) {
        int64_t const at = s.at(row, col) + ch;
        candidate[at] = clamp(x[at] + (is_first ? factor * fresh_at(row, col) : 0.0f), 0.0f, 1.0f);
      });
    }
  }
}

/// adv = x + factor * bump, clamped to [0, 1], in tiles of side * side pixels, as many as fit, centred; each tile and
/// channel with a sign of its own, each tile transposed or not.
__global__ void square_l2_start(float* __restrict__ adv, const float* __restrict__ x, const float* __restrict__ bump,
                                const int64_t* __restrict__ ids, DrawKey key, float factor, int64_t side,
                                int64_t images, WindowedImage s) {
  int32_t const n = static_cast<int32_t>(side), down = static_cast<int32_t>(s.h) / n,
                across = static_cast<int32_t>(s.w) / n;
  int32_t const top = (static_cast<int32_t>(s.h) - down * n) / 2, left = (static_cast<int32_t>(s.w) - across * n) / 2;
  for (auto image : block_items(images)) {
    uint64_t const id = static_cast<uint64_t>(ids[image]);
    for (int32_t row = 0; row < s.h; ++row) {
      for (auto col : block_stride(s.w)) {
        int32_t const i = row - top, j = static_cast<int32_t>(col) - left;
        bool const inside = i >= 0 && j >= 0 && i < down * n && j < across * n;
        uint64_t const draw = inside ? static_cast<uint64_t>((i / n * across + j / n) * (s.c + 1)) : 0;
        bool const transposed = random_bits(key, id, draw + static_cast<uint64_t>(s.c)) >> 31;
        int32_t const u = inside ? i % n : 0, v = inside ? j % n : 0;
        float const height = inside ? factor * bump[transposed ? v * n + u : u * n + v] : 0.0f;
        for (int64_t ch = 0; ch < s.c; ++ch) {
          int64_t const at = image * s.size() + s.at(row, col) + ch;
          adv[at] = clamp(x[at] + height * window_sign(key, id, draw + static_cast<uint64_t>(ch)), 0.0f, 1.0f);
        }
      }
    }
  }
}

const SquareMove* as_moves(const int32_t* words) { return reinterpret_cast<const SquareMove*>(words); }

void launch_square_settle(const Stream& stream, float* candidate, float* best, const int32_t* moves, int64_t images,
                          int64_t h, int64_t w, int64_t c) {
  launch_row(stream, {"square_settle", images, bytes_of<float>(2, images * h * w * c)}, w, square_settle, candidate,
             best, as_moves(moves), images, WindowedImage{h, w, c});
}

void launch_square_linf_window(const Stream& stream, float* candidate, const float* best, const float* x,
                               const int64_t* ids, const int32_t* moves, DrawKey key, int64_t query, float eps,
                               int64_t images, int64_t h, int64_t w, int64_t c) {
  launch_row(stream, {"square_linf_window", images, bytes_of<float>(3, images * h * w * c)}, w, square_linf_window,
             candidate, best, x, ids, as_moves(moves), key, query, eps, images, WindowedImage{h, w, c});
}

void launch_square_l2_window(const Stream& stream, float* candidate, const float* best, const float* x,
                             const float* bump, const int64_t* ids, const int32_t* moves, DrawKey key, int64_t query,
                             float eps, int64_t images, int64_t h, int64_t w, int64_t c) {
  launch_row(stream, {"square_l2_window", images, bytes_of<float>(4, images * h * w * c)}, w, square_l2_window,
             candidate, best, x, bump, ids, as_moves(moves), key, query, eps, images, WindowedImage{h, w, c});
}

void launch_square_l2_start(const Stream& stream, float* adv, const float* x, const float* bump, const int64_t* ids,
                            DrawKey key, float factor, int64_t side, int64_t images, int64_t h, int64_t w, int64_t c) {
  launch_row(stream, {"square_l2_start", images, bytes_of<float>(2, images * h * w * c)}, w, square_l2_start, adv, x,
             bump, ids, key, factor, side, images, WindowedImage{h, w, c});
}

KERNEL(square_settle, launch_square_settle);
KERNEL(square_linf_window, launch_square_linf_window);
KERNEL(square_l2_window, launch_square_l2_window);
KERNEL(square_l2_start, launch_square_l2_start);

}  // namespace mith::MITH_SPACE
