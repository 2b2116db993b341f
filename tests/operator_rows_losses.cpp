// Rows of the losses over logits: cross-entropy, margins, divergence.
#include <algorithm>
#include <cmath>
#include <utility>

#include "tests/operator_rows.h"

namespace mith {
namespace {

OperatorRow margin_row(int64_t n, int64_t k, bool by_rank, bool against_other) {
  std::vector<int32_t> labels, others;
  for (int64_t i = 0; i < n; ++i) {
    labels.push_back(int32_t((7 * i + 2) % k));
    others.push_back(int32_t((7 * i + 3) % k));
  }
  Values logits = apart(n * k, 52);
  for (double& z : logits) z *= 8;  // spreads of at least 0.8: what divides by them is smooth enough for differences
  auto const apply = [=](const std::vector<Tensor>& in) {
    MarginOptions options{.by_rank = by_rank};
    if (against_other) options.others = Tensor::from(others, {n});
    return margin_loss(in[0], Tensor::from(labels, {n}), options);
  };
  auto const reference = [=](const std::vector<Values>& in) {
    Values out;
    for (size_t i = 0; i < size_t(n); ++i) {
      Values z(in[0].begin() + long(i) * k, in[0].begin() + long(i + 1) * k);
      double const own = z[size_t(labels[i])], other = z[size_t(others[i])];
      if (std::any_of(z.begin(), z.end(), [](double v) { return std::isnan(v); }) && (by_rank || !against_other)) {
        out.push_back(std::nan(""));
        continue;
      }
      double rival = -INFINITY;
      for (size_t j = 0; j < z.size(); ++j)
        if (int32_t(j) != labels[i]) rival = std::max(rival, z[j]);
      std::sort(z.rbegin(), z.rend());
      double spread = 1;
      if (by_rank && k == 3) spread = z[0] - z[2] + 1e-12;
      if (by_rank && k > 3) spread = z[0] - (against_other ? (z[2] + z[3]) / 2 : z[2]) + 1e-12;
      out.push_back(((against_other ? other : rival) - own) / spread);
    }
    return out;
  };
  return {cat("margin_loss [", n, ", ", k, "]", by_rank ? " by rank" : "", against_other ? " against another" : ""),
          {{{n, k}, logits}},
          apply,
          reference,
          1e-5};  // the spread is a difference of f32 logits up to 40 times its size
}

/// Against probabilities that are multiples of 1/64, some of them 0, so that they sum to 1 in any precision.
OperatorRow divergence_row(int64_t n, int64_t k) {
  Values p(size_t(n * k), 0);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t part = 0; part < 64; ++part) p[size_t(i * k + part * part * (i + 3) % k)] += 1 / 64.0;
  return {cat("kl_divergence [", n, ", ", k, "]"),
          {{{n, k}, draw(n * k, 53, -3, 3)}},
          [=](const std::vector<Tensor>& in) {
            return kl_divergence(Tensor::from(p, {n, k}).cast(DType::f32), in[0]);
          },
          [=](const std::vector<Values>& in) {
            Values out;
            for (int64_t i = 0; i < n; ++i) {
              double sum = 0, loss = 0;
              for (int64_t j = 0; j < k; ++j) sum += std::exp(in[0][size_t(i * k + j)]);
              for (int64_t j = 0; j < k; ++j) {
                size_t const at = size_t(i * k + j);
                double const log_q = in[0][at] - std::log(sum);
                loss += p[at] > 0 ? p[at] * (std::log(p[at]) - log_q) : 0 * log_q;
              }
              out.push_back(loss);
            }
            return out;
          }};
}

}  // namespace

std::vector<OperatorRow> loss_rows() {
  std::vector<OperatorRow> rows;
  struct Case {
    int64_t n, k;
    double smoothing;
    bool weighted;
  };
  for (Case const& o : {Case{1, 2, 0, false}, Case{4, 5, 0, false}, Case{3, 4, 0.1, false}, Case{5, 3, 0, true},
                        Case{2, 40, 0.2, true}, Case{2, 1, 0, false}}) {
    std::vector<int32_t> labels;
    for (int64_t i = 0; i < o.n; ++i) labels.push_back(int32_t((7 * i + 2) % o.k));
    Values const weights = o.weighted ? draw(o.k, 51, 0.5, 2) : Values(size_t(o.k), 1);
    auto const apply = [=](const std::vector<Tensor>& in) {
      CrossEntropyOptions options{.label_smoothing = o.smoothing};
      if (o.weighted) options.class_weights = Tensor::from(weights, {o.k}).cast(DType::f32);
      return cross_entropy(in[0], Tensor::from(labels, {o.n}), options);
    };
    auto const reference = [=](const std::vector<Values>& in) {
      Values out;
      for (int64_t i = 0; i < o.n; ++i) {
        const double* const z = in[0].data() + i * o.k;
        double sum = 0, loss = 0;
        for (int64_t j = 0; j < o.k; ++j) sum += std::exp(z[j]);
        for (int64_t j = 0; j < o.k; ++j) {
          double const target = (1 - o.smoothing) * (j == labels[size_t(i)]) + o.smoothing / double(o.k);
          loss -= target * (z[j] - std::log(sum));
        }
        // The engine holds class weights in f32.
        out.push_back(double(float(weights[size_t(labels[size_t(i)])])) * loss);
      }
      return out;
    };
    rows.push_back({cat("cross_entropy [", o.n, ", ", o.k, "] smoothing ", o.smoothing, o.weighted ? " weighted" : ""),
                    {{{o.n, o.k}, draw(o.n * o.k, 50, -3, 3)}},
                    apply,
                    reference});
  }
  for (bool by_rank : {false, true})
    for (bool against_other : {false, true})
      for (auto const& [n, k] : {std::pair{3, 2}, {4, 3}, {5, 4}, {6, 9}, {1, 70}})
        rows.push_back(margin_row(n, k, by_rank, against_other));
  for (auto const& [n, k] : {std::pair{1, 1}, {3, 2}, {4, 7}, {2, 70}}) rows.push_back(divergence_row(n, k));
  return rows;
}

}  // namespace mith
