// What the provider tests share: guarded device memory, data, and one call of any provider.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels/launch/error.h"
#include "kernels/launch/philox.h"
#include "kernels/launch/runtime.h"
#include "kernels/providers/fixed_weights.h"
#include "kernels/providers/provider.h"

namespace mith::provider_tests {

inline Device device_under_test() {
  const char* const name = std::getenv("MITH_DEVICE");
  for (Device d : {Device::simt, Device::cuda})
    if (name && std::string_view(name) == name_of(d)) return d;
  return Device::cpu;
}
inline Stream stream() { return {device_under_test()}; }

/// Device memory between two guard bands, which tell whether anything was written outside.
class Buffer {
 public:
  static constexpr size_t band = 256;
  explicit Buffer(size_t bytes, int fill = 0xFF) : bytes_(bytes) {
    memory_ = static_cast<char*>(raw_allocate(device_under_test(), bytes + 2 * band));
    fill_bytes(stream(), memory_, 0xA5, bytes + 2 * band);
    fill_bytes(stream(), memory_ + band, fill, bytes);  // 0xFF in every byte is a NaN
  }
  template <class T>
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size() * sizeof(T)) {
    copy_bytes(stream(), data(), values.data(), bytes_, Copy::host_to_device);
    synchronize(stream());
  }
  ~Buffer() { raw_release(device_under_test(), memory_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return memory_ + band; }
  template <class T>
  std::vector<T> read() const {
    std::vector<T> values(bytes_ / sizeof(T));
    copy_bytes(stream(), values.data(), data(), bytes_, Copy::device_to_host);
    synchronize(stream());
    return values;
  }
  bool guarded() const {
    std::vector<unsigned char> all(bytes_ + 2 * band);
    copy_bytes(stream(), all.data(), memory_, all.size(), Copy::device_to_host);
    synchronize(stream());
    for (size_t i = 0; i < band; ++i)
      if (all[i] != 0xA5 || all[band + bytes_ + i] != 0xA5) return false;
    return true;
  }

 private:
  size_t bytes_;
  char* memory_;
};

/// Scratch full of NaN between guard bands.
struct TestScratch {
  std::vector<std::unique_ptr<Buffer>> buffers;
  operator Scratch() {
    return {[](void* context, size_t bytes) {
              auto& self = *static_cast<TestScratch*>(context);
              self.buffers.push_back(std::make_unique<Buffer>(bytes));
              return self.buffers.back()->data();
            },
            this};
  }
  bool guarded() const {
    for (auto const& b : buffers)
      if (!b->guarded()) return false;
    return true;
  }
};

/// Restores the static policy however a test ends.
struct Forced {
  Forced(std::string_view op, std::string_view name) { force_provider(op, name); }
  ~Forced() { clear_forced_providers(); }
};

template <class T>
std::vector<T> normals(int64_t count, uint16_t tensor) {
  std::vector<T> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<T>(normal(DrawKey{.seed = 7, .stream = tensor}, 0, i));
  return values;
}

/// Integers of at most 3: all sums in these tests are exact in f32, so results can be compared bit for bit.
template <class T>
std::vector<T> integers(int64_t count, uint16_t tensor) {
  std::vector<T> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<T>(static_cast<int>(random_bits(DrawKey{.seed = 9, .stream = tensor}, 0, i) % 7) - 3);
  return values;
}

inline std::vector<uint8_t> random_bytes(int64_t count, uint16_t tensor) {
  std::vector<uint8_t> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<uint8_t>(random_bits(DrawKey{.seed = 11, .stream = tensor}, 0, i));
  return values;
}

template <class T>
inline double relative_l2(const std::vector<T>& got, const std::vector<T>& want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    double const d = static_cast<double>(got[i]) - static_cast<double>(want[i]);
    error += d * d;
    norm += static_cast<double>(want[i]) * static_cast<double>(want[i]);
  }
  return norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
}

template <class T>
inline double inner(const std::vector<T>& a, const std::vector<T>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

/// The rounding errors of a sum of `terms` random products form a random walk: about sqrt(terms) units of the last
/// place, relative to the sum; the factor of two and the constant are margin.
inline double f32_tolerance(int64_t terms) {
  return std::numeric_limits<float>::epsilon() * (4 + 2 * std::sqrt(static_cast<double>(terms)));
}

constexpr ConvPass passes[] = {ConvPass::forward, ConvPass::input_gradient, ConvPass::weight_gradient};

/// Products summed for one result.
inline int64_t terms(const Conv2dProblem& p) {
  return std::max<int64_t>(1, p.flops() / 2 / std::max<int64_t>(1, p.rows() * p.columns()));
}

template <class T>
struct ConvData {
  std::vector<T> x, w, y;
};

template <class T>
ConvData<T> conv_data(const Conv2dShape& s, bool exact = false) {
  auto const draw = [&](int64_t count, uint16_t tensor) {
    return exact ? integers<T>(count, tensor) : normals<T>(count, tensor);
  };
  return {draw(s.inputs(), 1), draw(s.weights(), 2), draw(s.outputs(), 3)};
}

/// What the pass writes, by one provider; fails if anything else was written.
template <class T>
std::vector<T> run_conv(std::string_view provider, const Conv2dProblem& p, const ConvData<T>& data,
                        const std::vector<T>* written_before = nullptr) {
  Forced const forced("conv2d", provider);
  bool const forward = p.pass == ConvPass::forward, to_input = p.pass == ConvPass::input_gradient;
  auto const nan = [](size_t count) { return std::vector<T>(count, std::numeric_limits<T>::quiet_NaN()); };
  auto const given = [&](bool written, const std::vector<T>& v) {
    return !written ? v : written_before ? *written_before : nan(v.size());
  };
  Buffer const x(given(to_input, data.x)), w(given(!forward && !to_input, data.w)), y(given(forward, data.y));
  TestScratch scratch;
  FixedWeights fixed({w.data()});
  FixedWeights::Use const use(p.fixed_weights ? &fixed : nullptr);
  run_conv2d(stream(), p, x.data(), w.data(), y.data(), scratch);
  synchronize(stream());
  CHECK(x.guarded());
  CHECK(w.guarded());
  CHECK(y.guarded());
  CHECK(scratch.guarded());
  return (forward ? y : to_input ? x : w).template read<T>();
}

inline std::vector<std::string> conv_names() {
  std::vector<std::string> names;
  for (const auto* p : conv2d_providers()) names.emplace_back(p->name());
  return names;
}

inline bool conv_supports(std::string_view name, const Conv2dProblem& p) {
  for (const auto* provider : conv2d_providers())
    if (provider->name() == name) return provider->supports(device_under_test(), p);
  return false;
}

struct MatmulCase {
  int64_t m, n, k;
};
inline const MatmulCase matmul_cases[] = {{1, 1, 1},    {1, 10, 7},   {5, 1, 9},      {13, 17, 1},   {64, 128, 576},
                                          {33, 65, 30}, {97, 48, 80}, {100, 81, 300}, {16, 200, 64}, {8, 16, 5000}};

/// Whether products in bf16 run there. oneDNN has them wherever it has AVX-512, so there this must hold.
inline bool has_bf16_products(Device device) {
  MatmulProblem const matmul{.dtype = DType::bf16, .m = 37, .n = 65, .k = 130, .transpose_b = true};
  Conv2dProblem const conv{
      .dtype = DType::bf16,
      .shape = {.n = 2, .h = 9, .w = 8, .c = 32, .o = 48, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}};
  auto const known = [&](const auto& providers, const auto& problem) {
    return std::ranges::any_of(providers, [&](auto const* p) { return p->supports(device, problem); });
  };
  bool const there = known(matmul_providers(), matmul) && known(conv2d_providers(), conv);
  bool const library = std::ranges::any_of(conv2d_providers(), [](auto const* p) { return p->name() == "onednn"; });
  if (device == Device::cpu && library && isa_level() >= 4) REQUIRE(there);
  return there;
}

inline std::vector<std::string> matmul_names() {
  std::vector<std::string> names;
  for (const auto* p : matmul_providers()) names.emplace_back(p->name());
  return names;
}
inline bool matmul_supports(std::string_view name, const MatmulProblem& p) {
  for (const auto* provider : matmul_providers())
    if (provider->name() == name) return provider->supports(device_under_test(), p);
  return false;
}

template <class T>
std::vector<T> multiply(std::string_view provider, const MatmulProblem& p, const std::vector<T>& a,
                        const std::vector<T>& b, const std::vector<T>* before = nullptr) {
  Forced const forced("matmul", provider);
  Buffer const left(a), right(b);
  Buffer const y(
      before ? *before : std::vector<T>(static_cast<size_t>(p.batch * p.m * p.n), std::numeric_limits<T>::quiet_NaN()));
  TestScratch scratch;
  run_matmul(stream(), p, y.data(), left.data(), right.data(), scratch);
  synchronize(stream());
  CHECK(y.guarded());
  CHECK(left.guarded());
  CHECK(right.guarded());
  CHECK(scratch.guarded());
  return y.template read<T>();
}

}  // namespace mith::provider_tests
