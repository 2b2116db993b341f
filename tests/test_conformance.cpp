// Every operator row (operator_rows.h) through every check: against its definition, against central differences, f32
// against f64, by every provider, at every block size, NaN, and gradients only where asked. On simt every tensor lies
// between guard bands, and threads run in the order that MITH_SIMT_SEED draws.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <regex>
#include <set>

#include "kernels/providers/provider.h"
#include "tests/operator_rows.h"

using namespace mith;

namespace {

std::vector<Values> values_of(const OperatorRow& row) {
  std::vector<Values> values;
  for (Operand const& o : row.operands) values.push_back(o.values);
  return values;
}

std::vector<Tensor> tensors(const OperatorRow& row, const std::vector<Values>& values, DType type) {
  std::vector<Tensor> in;
  for (size_t i = 0; i < values.size(); ++i) in.push_back(Tensor::from(values[i], row.operands[i].shape).cast(type));
  return in;
}

/// sum(output * cotangent) with f64 operands of these values.
double objective(const OperatorRow& row, const std::vector<Values>& values, const Values& cotangent) {
  Values const y = on_host(row.apply(tensors(row, values, DType::f64)));
  double sum = 0;
  for (size_t i = 0; i < y.size(); ++i) sum += y[i] * cotangent[i];
  return sum;
}

/// Gradients of the operands, watching all of them.
std::vector<Values> gradients(const OperatorRow& row, DType type, const Values& cotangent) {
  std::vector<Tensor> const in = tensors(row, values_of(row), type);
  Tape tape;
  for (Tensor const& t : in) tape.watch(t);
  Tensor const y = row.apply(in);
  std::vector<Values> result;
  for (Tensor const& g : tape.gradients(y, Tensor::from(cotangent, y.shape()).cast(type), in))
    result.push_back(on_host(g));
  return result;
}

Values cotangent_for(const OperatorRow& row) { return draw(int64_t(row.reference(values_of(row)).size()), 99); }

}  // namespace

TEST_CASE("operators agree with their definitions") {
  for (OperatorRow const& row : all_rows()) {
    CAPTURE(row.name);
    Values const expected = row.reference(values_of(row));
    Values const f64 = on_host(row.apply(tensors(row, values_of(row), DType::f64)));
    Values const f32 = on_host(row.apply(tensors(row, values_of(row), DType::f32)));
    CHECK(distance(f64, expected) <= 1e-13);  // a few hundred roundings of double
    CHECK(distance(f32, f64) <= row.f32_tolerance);
  }
}

TEST_CASE("gradients agree with central differences") {
  for (OperatorRow const& row : all_rows()) {
    CAPTURE(row.name);
    Values const cotangent = cotangent_for(row);
    std::vector<Values> const f64 = gradients(row, DType::f64, cotangent);
    for (size_t o = 0; o < row.operands.size(); ++o) {
      CAPTURE(o);
      std::vector<Values> moved = values_of(row);
      Values differences;
      for (size_t i = 0; i < moved[o].size(); ++i) {
        double const value = moved[o][i], h = 1e-4;
        moved[o][i] = value + h;
        double const above = objective(row, moved, cotangent);
        moved[o][i] = value - h;
        double const below = objective(row, moved, cotangent);
        moved[o][i] = value;
        differences.push_back((above - below) / (2 * h));
      }
      // The rule's own error is h^2/6 times a third derivative of order 10 here, and 1e-16/h of rounding.
      CHECK(distance(f64[o], differences) <= 1e-6);
    }
  }
}

TEST_CASE("gradients in f32 follow those in f64") {
  for (OperatorRow const& row : all_rows()) {
    CAPTURE(row.name);
    Values const cotangent = cotangent_for(row);
    std::vector<Values> const f64 = gradients(row, DType::f64, cotangent), f32 = gradients(row, DType::f32, cotangent);
    // As many roundings as forward, on values about twice as large.
    for (size_t o = 0; o < f64.size(); ++o) CHECK(distance(f32[o], f64[o]) <= 2 * row.f32_tolerance);
  }
}

TEST_CASE("only the gradients that are asked for are given") {
  for (OperatorRow const& row : all_rows()) {
    CAPTURE(row.name);
    Values const cotangent = cotangent_for(row);
    std::vector<Values> const all = gradients(row, DType::f64, cotangent);
    for (size_t o = 0; o < row.operands.size(); ++o) {
      CAPTURE(o);
      std::vector<Tensor> const in = tensors(row, values_of(row), DType::f64);
      Tape tape;
      tape.watch(in[o]);
      Tensor const y = row.apply(in);
      std::vector<Tensor> const g = tape.gradients(y, Tensor::from(cotangent, y.shape()), in);
      for (size_t i = 0; i < in.size(); ++i) CHECK(g[i].defined() == (i == o));
      CHECK(on_host(g[o]) == all[o]);  // the same kernels ran
    }
  }
}

TEST_CASE("NaN comes out where it must") {
  for (OperatorRow const& row : all_rows()) {
    CAPTURE(row.name);
    for (size_t o = 0; o < row.operands.size(); ++o)
      for (size_t position : {size_t(0), row.operands[o].values.size() / 2, row.operands[o].values.size() - 1}) {
        CAPTURE(o);
        CAPTURE(position);
        std::vector<Values> spoilt = values_of(row);
        spoilt[o][position] = std::nan("");
        Values const expected = row.reference(spoilt);
        for (DType type : {DType::f32, DType::f64}) {
          Values const y = on_host(row.apply(tensors(row, spoilt, type)));
          REQUIRE(y.size() == expected.size());
          int64_t missing = 0, spread = 0;
          for (size_t i = 0; i < y.size(); ++i) {
            missing += std::isnan(expected[i]) && !std::isnan(y[i]);
            spread += std::isnan(y[i]) && !std::isnan(expected[i]);
          }
          CHECK(missing == 0);
          // A NaN weight times the zeros of the padding is nobody's mistake.
          if (o == 0) CHECK(spread == 0);
        }
      }
  }
}

TEST_CASE("results do not depend on the block size") {
  if (default_device() == Device::cpu) return;  // a block there is one thread
  struct Restore {
    int block = launch_options().block;
    ~Restore() { launch_options().block = block; }
  } const restore;
  for (OperatorRow const& row : all_rows()) {
    CAPTURE(row.name);
    Values const cotangent = cotangent_for(row), expected = row.reference(values_of(row));
    std::vector<Values> const gradient = gradients(row, DType::f64, cotangent);
    for (int block : {1, 32, 40, 96, 256, 1024}) {  // 40: a warp that is not full
      CAPTURE(block);
      launch_options().block = block;
      CHECK(distance(on_host(row.apply(tensors(row, values_of(row), DType::f32))), expected) <= row.f32_tolerance);
      std::vector<Values> const f32 = gradients(row, DType::f32, cotangent);
      for (size_t o = 0; o < f32.size(); ++o) CHECK(distance(f32[o], gradient[o]) <= 2 * row.f32_tolerance);
    }
    launch_options().block = restore.block;
  }
}

TEST_CASE("every provider computes every row") {
  std::set<std::string> names;
  for (auto const* p : conv2d_providers()) names.emplace(p->name());
  for (auto const* p : matmul_providers()) names.emplace(p->name());
  struct Restore {
    ~Restore() { clear_forced_providers(); }
  } const restore;
  int computed = 0;
  for (OperatorRow const& row : all_rows()) {
    if (!row.name.starts_with("conv") && !row.name.starts_with("linear")) continue;
    CAPTURE(row.name);
    Values const cotangent = cotangent_for(row), expected = row.reference(values_of(row));
    std::vector<Values> const gradient = gradients(row, DType::f64, cotangent);
    for (const std::string& name : names) {
      CAPTURE(name);
      clear_forced_providers();
      force_provider("all", name);
      Values forward;
      std::vector<Values> backward;
      try {
        forward = on_host(row.apply(tensors(row, values_of(row), DType::f32)));
        backward = gradients(row, DType::f32, cotangent);
      } catch (const Error& e) {  // a forced provider that cannot is an error, and says so
        CHECK(std::string(e.what()).find("forced") != std::string::npos);
        continue;
      }
      ++computed;
      CHECK(distance(forward, expected) <= row.f32_tolerance);
      for (size_t o = 0; o < backward.size(); ++o) CHECK(distance(backward[o], gradient[o]) <= 2 * row.f32_tolerance);
    }
    clear_forced_providers();
  }
  CHECK(computed > 20);
}

TEST_CASE("every operator has a row") {
  if (!std::filesystem::exists(MITH_SOURCE_DIR "/engine/ops")) {
    MESSAGE("skipped: the sources are not here");
    return;
  }
  std::set<std::string> recorded;
  for (OperatorRow const& row : all_rows()) {
    std::vector<Tensor> const in = tensors(row, values_of(row), DType::f64);
    Tape tape;
    for (Tensor const& t : in) tape.watch(t);
    row.apply(in);
    for (auto const& node : tape.nodes()) recorded.emplace(node->name());
  }
  std::regex const name_of_node("string_view name\\(\\) const override \\{ return \"(\\w+)\"; \\}");
  std::set<std::string> defined;
  for (auto const& file : std::filesystem::directory_iterator(MITH_SOURCE_DIR "/engine/ops")) {
    std::ifstream in(file.path());
    std::string const text((std::istreambuf_iterator<char>(in)), {});
    for (std::sregex_iterator it(text.begin(), text.end(), name_of_node), end; it != end; ++it)
      defined.insert((*it)[1]);
  }
  CHECK(defined.size() >= 14);
  CHECK(recorded == defined);
}
