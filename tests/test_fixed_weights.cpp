// Weights that are said not to change: same results to the last bit, and packed once.
#include "kernels/providers/fixed_weights.h"

#include <functional>

#include "tests/provider_fixtures.h"

using namespace mith;
using namespace mith::provider_tests;

namespace {

/// A square matrix product, y = a w or y = a w^T, or a pass of a convolution, over weights that stay where they are.
struct Work {
  std::string what;
  int64_t weights, inputs, outputs;
  std::function<void(const void* in, void* w, void* out, Scratch)> run;
};

Work product(int64_t rows, bool transpose) {
  MatmulProblem const p{.m = rows, .n = 96, .k = 96, .transpose_b = transpose};
  return {describe(p), p.n * p.k, p.m * p.k, p.m * p.n,
          [p](const void* in, void* w, void* out, Scratch scratch) { run_matmul(stream(), p, out, in, w, scratch); }};
}

Conv2dProblem problem(int64_t images, ConvPass pass) {
  return {.pass = pass,
          .shape = {.n = images, .h = 6, .w = 6, .c = 48, .o = 48, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}};
}

Work convolution(int64_t images, ConvPass pass, bool fixed = false) {
  Conv2dProblem p = problem(images, pass);
  p.fixed_weights = fixed;
  Conv2dShape const& s = p.shape;
  bool const forward = pass == ConvPass::forward;
  return {describe(p), s.weights(), forward ? s.inputs() : s.outputs(), forward ? s.outputs() : s.inputs(),
          [p, forward](const void* in, void* w, void* out, Scratch scratch) {
            void* const read = const_cast<void*>(in);
            run_conv2d(stream(), p, forward ? read : out, w, forward ? out : read, scratch);
          }};
}

std::vector<float> result(const Work& work, const Buffer& w) {
  Buffer const in(normals<float>(work.inputs, 51)), out(static_cast<size_t>(work.outputs) * sizeof(float));
  TestScratch scratch;
  work.run(in.data(), w.data(), out.data(), scratch);
  synchronize(stream());
  CHECK(out.guarded());
  CHECK(scratch.guarded());
  return out.read<float>();
}

/// In each group all work on the same weights, in turn.
const std::vector<std::vector<Work>>& groups() {
  static const std::vector<std::vector<Work>> all{
      {product(64, false), product(64, true), product(7, false), product(7, true)},
      {convolution(8, ConvPass::forward), convolution(8, ConvPass::input_gradient), convolution(3, ConvPass::forward),
       convolution(3, ConvPass::input_gradient)}};
  return all;
}

/// How many forms of its weights a provider makes for convolutions of two batch sizes, after which it must not read the
/// weights themselves again.
size_t forms_for_two_batches(const char* provider, bool problem_says_so) {
  Forced const forced("conv2d", provider);
  Work const eight = convolution(8, ConvPass::forward, problem_says_so);
  Work const three = convolution(3, ConvPass::forward, problem_says_so);
  Buffer const w(normals<float>(eight.weights, 54));
  FixedWeights fixed({w.data()});
  FixedWeights::Use const use(&fixed);
  auto const of_eight = result(eight, w), of_three = result(three, w);
  // What is broken here is the promise: whoever still reads the weights would give zeros.
  fill_bytes(stream(), w.data(), 0, static_cast<size_t>(eight.weights) * sizeof(float));
  CHECK(result(eight, w) == of_eight);
  CHECK(result(three, w) == of_three);
  return fixed.forms();
}

}  // namespace

TEST_CASE("fixed weights give the same results to the last bit, also in another batch, pass or direction") {
  for (auto const& group : groups()) {
    Buffer const w(normals<float>(group.front().weights, 52));
    FixedWeights fixed({w.data()});
    for (int round = 0; round < 2; ++round) {
      for (const Work& work : group) {
        CAPTURE(work.what);
        auto const want = result(work, w);
        FixedWeights::Use const use(&fixed);
        CHECK(result(work, w) == want);
      }
    }
  }
}

TEST_CASE("other weights may change while some are fixed, and all may outside") {
  for (auto const& group : groups()) {
    auto const values = normals<float>(group.front().weights, 53);
    Buffer const w(values), other(values);
    FixedWeights fixed({w.data()});
    for (const Work& work : group) {
      CAPTURE(work.what);
      std::vector<float> before;
      {
        FixedWeights::Use const use(&fixed);
        before = result(work, other);
        CHECK(result(work, w) == before);
        fill_bytes(stream(), other.data(), 0, values.size() * sizeof(float));
        CHECK(result(work, other) == std::vector<float>(before.size(), 0));
        copy_bytes(stream(), other.data(), values.data(), values.size() * sizeof(float), Copy::host_to_device);
      }
      fill_bytes(stream(), w.data(), 0, values.size() * sizeof(float));
      CHECK(result(work, w) == std::vector<float>(before.size(), 0));
      copy_bytes(stream(), w.data(), values.data(), values.size() * sizeof(float), Copy::host_to_device);
    }
  }
}

TEST_CASE("oneDNN packs fixed weights once, and not for every batch size") {
  if (device_under_test() != Device::cpu || !conv_supports("onednn", problem(8, ConvPass::forward))) return;
  forms_for_two_batches("onednn", false);
}

TEST_CASE("the native provider transforms fixed filters once, for every batch size") {
  if (device_under_test() != Device::cpu) return;
  CHECK(forms_for_two_batches("native", true) == 1);
}

TEST_CASE("a use ends with its scope, and one within another gives way to it again") {
  float a = 0, b = 0;
  FixedWeights outer({&a}), inner({&b});
  auto const known = [](const void* w) { return FixedWeights::find(w, 0, 64).data != nullptr; };
  CHECK(!known(&a));
  {
    FixedWeights::Use const use(&outer);
    CHECK(FixedWeights::find(&a, 0, 64).fresh);
    CHECK(!FixedWeights::find(&a, 0, 64).fresh);
    CHECK(FixedWeights::find(&a, 1, 64).fresh);
    CHECK(!known(&b));
    {
      FixedWeights::Use const other(&inner);
      CHECK(known(&b));
      CHECK(!known(&a));
      FixedWeights::Use const none(nullptr);
      CHECK(!known(&b));
    }
    CHECK(known(&a));
  }
  CHECK(!known(&a));
}
