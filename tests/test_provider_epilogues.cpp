// Prologues and epilogues of every provider, bit for bit: the data are small integers, so all arithmetic is exact.
#include "tests/provider_fixtures.h"

using namespace mith;
using namespace mith::provider_tests;

namespace {

/// Which pieces of an epilogue a test switches on.
enum Piece { bias = 1, residual = 2, relu = 4, signs = 8, mask = 16, accumulate = 32, pitch = 64, sums = 128 };

/// Host copies of an epilogue's tensors for rows x columns results.
struct EpilogueData {
  int pieces;
  int64_t rows, columns, stride;
  std::vector<float> bias_, residual_, before;
  std::vector<uint8_t> mask_;

  EpilogueData(int which, int64_t r, int64_t c)
      : pieces(which),
        rows(r),
        columns(c),
        stride(which & pitch ? c + 3 : c),
        bias_(integers<float>(c, 21)),
        residual_(integers<float>(r * stride, 22)),
        before(integers<float>(r * stride, 23)),
        mask_(random_bytes((r * c + 7) / 8, 24)) {}

  /// The tensor as the contract of Epilogue says, from the plain results.
  std::vector<float> expected(const std::vector<float>& plain, std::vector<uint8_t>& sign, std::vector<float>& total,
                              std::vector<float>& squares) const {
    std::vector<float> y = before;
    sign.assign(mask_.size(), 0);
    total.assign(static_cast<size_t>(columns), 0);
    squares = total;
    for (int64_t i = 0; i < rows * columns; ++i) {
      auto const at = static_cast<size_t>(i / columns * stride + i % columns),
                 column = static_cast<size_t>(i % columns);
      float r = plain[static_cast<size_t>(i)];
      if (pieces & bias) r += bias_[column];
      if (pieces & residual) r += residual_[at];
      if (r > 0) sign[static_cast<size_t>(i / 8)] |= static_cast<uint8_t>(1 << (i % 8));
      if (pieces & relu) r = std::max(r, 0.0f);
      if (pieces & mask) r *= static_cast<float>(mask_[static_cast<size_t>(i / 8)] >> (i % 8) & 1);
      y[at] = pieces & accumulate ? y[at] + r : r;
      total[column] += y[at];
      squares[column] += y[at] * y[at];
    }
    return y;
  }
};

/// Runs `run(epilogue, written_before)` with an epilogue on the device and compares everything it must write.
template <class Run>
void check_epilogue(const EpilogueData& e, const std::vector<float>& plain, Run run) {
  std::vector<uint8_t> sign;
  std::vector<float> total, squares;
  auto const want = e.expected(plain, sign, total, squares);
  Buffer const b(e.bias_), r(e.residual_), m(e.mask_), s(sign.size()), t(total.size() * 4), q(total.size() * 4);
  Epilogue epilogue;
  if (e.pieces & bias) epilogue.bias = b.data();
  if (e.pieces & residual) epilogue.residual = r.data();
  if (e.pieces & relu) epilogue.activation = Activation::relu;
  if (e.pieces & signs) epilogue.sign_bits = static_cast<uint8_t*>(s.data());
  if (e.pieces & mask) epilogue.mask_bits = static_cast<uint8_t*>(m.data());
  if (e.pieces & accumulate) epilogue.accumulate = true;
  if (e.pieces & pitch) epilogue.row_pitch = e.stride;
  if (e.pieces & sums) epilogue.column_sum = static_cast<float*>(t.data());
  if (e.pieces & sums) epilogue.column_sum_squares = static_cast<float*>(q.data());
  std::vector<float> got;
  if (!run(epilogue, e.before, got)) return;
  CHECK(got == want);
  if (e.pieces & signs) CHECK(s.read<uint8_t>() == sign);
  if (e.pieces & sums) CHECK(t.read<float>() == total);
  if (e.pieces & sums) CHECK(q.read<float>() == squares);
  CHECK(s.guarded());
}

}  // namespace

TEST_CASE("epilogues of convolutions, every combination, exactly") {
  Conv2dShape const shapes[] = {
      {.n = 2, .h = 5, .w = 4, .c = 16, .o = 24, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1},
      {.n = 2,
       .h = 5,
       .w = 5,
       .c = 18,
       .o = 21,
       .kh = 3,
       .kw = 3,
       .stride_h = 2,
       .stride_w = 2,
       .pad_h = 1,
       .pad_w = 1,
       .groups = 3},
      {.n = 3, .h = 5, .w = 5, .c = 3, .o = 5, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1},
      {.n = 2, .h = 4, .w = 5, .c = 48, .o = 56, .kh = 3, .kw = 3, .stride_w = 2, .pad_h = 1, .pad_w = 1},
      {.n = 2, .h = 5, .w = 4, .c = 16, .o = 48, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1},
  };
  for (auto const& shape : shapes) {
    auto const data = conv_data<float>(shape, true);
    for (auto pass : passes) {
      auto const plain = run_conv("reference", {.pass = pass, .shape = shape}, data);
      // Fixed weights, which only forward takes another way, share the loop: in the upper half of the numbers.
      for (int number = 0; number < (pass == ConvPass::forward ? 512 : 256); ++number) {
        int const pieces = number % 256;
        Conv2dProblem p{.pass = pass, .fixed_weights = number >= 256, .shape = shape};
        EpilogueData const e(pieces, p.rows(), p.columns());
        for (auto const& name : conv_names()) {
          CAPTURE(name);
          CAPTURE(pieces);
          check_epilogue(e, plain, [&](const Epilogue& epilogue, const std::vector<float>& before, auto& got) {
            p.epilogue = epilogue;
            CAPTURE(describe(p));
            if (!conv_supports(name, p)) {
              // native leaves to the reference only statistics, and all but accumulation in weight gradients.
              bool const expected = name != "native" || pieces & sums || pass == ConvPass::weight_gradient;
              CHECK(expected);
              return false;
            }
            got = run_conv(name, p, data, &before);
            return true;
          });
        }
      }
    }
  }
}

TEST_CASE("prologues of convolutions, exactly; padding stays zero") {
  for (Conv2dShape const& shape :
       {Conv2dShape{.n = 2, .h = 6, .w = 5, .c = 16, .o = 18, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1, .groups = 2},
        Conv2dShape{.n = 2, .h = 6, .w = 5, .c = 3, .o = 20, .kh = 3, .kw = 3, .stride_h = 2, .pad_h = 1}}) {
    auto const data = conv_data<float>(shape, true);
    auto const scale = integers<float>(32, 31), shift = integers<float>(32, 32);
    Buffer const scales(scale), shifts(shift);
    for (auto pass : passes) {
      Conv2dProblem p{.pass = pass, .shape = shape};
      auto changed = data;
      auto& read = pass == ConvPass::input_gradient ? changed.y : changed.x;
      auto const channels = static_cast<size_t>(pass == ConvPass::input_gradient ? shape.o : shape.c);
      for (size_t i = 0; i < read.size(); ++i)
        read[i] = std::max(0.0f, read[i] * scale[i % channels] + shift[i % channels]);
      auto const want = run_conv("reference", p, changed);
      p.prologue = {scales.data(), shifts.data(), Activation::relu};
      int supported = 0;
      for (auto const& name : conv_names()) {
        CAPTURE(name);
        CAPTURE(describe(p));
        if (!conv_supports(name, p)) continue;
        ++supported;
        CHECK(run_conv(name, p, data) == want);
      }
      CHECK(supported >= 2);  // reference and native at least
    }
  }
}

TEST_CASE("epilogues and prologues of matrix products, exactly") {
  for (auto const& [m, n, k] : {MatmulCase{13, 21, 19}, MatmulCase{20, 32, 40}, MatmulCase{7, 5, 1}}) {
    for (int transposed = 0; transposed < 4; ++transposed) {
      MatmulProblem p{
          .m = m, .n = n, .k = k, .transpose_a = (transposed & 1) != 0, .transpose_b = (transposed & 2) != 0};
      auto const a = integers<float>(m * k, 41), b = integers<float>(k * n, 42);
      auto const plain = multiply("reference", p, a, b);
      for (int pieces = 0; pieces < 256; ++pieces) {
        EpilogueData const e(pieces, m, n);
        for (auto const& name : matmul_names()) {
          CAPTURE(name);
          CAPTURE(pieces);
          check_epilogue(e, plain, [&](const Epilogue& epilogue, const std::vector<float>& before, auto& got) {
            p.epilogue = epilogue;
            CAPTURE(describe(p));
            if (!matmul_supports(name, p)) {
              bool const expected = name != "native" || pieces & sums;
              CHECK(expected);
              return false;
            }
            got = multiply(name, p, a, b, &before);
            return true;
          });
        }
      }
      auto const scale = integers<float>(k, 31), shift = integers<float>(k, 32);
      Buffer const scales(scale), shifts(shift);
      auto changed = a;
      for (size_t i = 0; i < a.size(); ++i) {
        size_t const at = p.transpose_a ? i / static_cast<size_t>(m) : i % static_cast<size_t>(k);
        changed[i] = std::max(0.0f, a[i] * scale[at] + shift[at]);
      }
      p.epilogue = {};
      auto const want = multiply("reference", p, changed, b);
      p.prologue = {scales.data(), shifts.data(), Activation::relu};
      for (auto const& name : matmul_names()) {
        CAPTURE(name);
        CAPTURE(describe(p));
        if (matmul_supports(name, p)) CHECK(multiply(name, p, a, b) == want);
      }
    }
  }
}
