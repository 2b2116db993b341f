#include "engine/report/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/launch/error.h"

namespace mith {
namespace {

constexpr double undefined = std::numeric_limits<double>::quiet_NaN();

double ratio(int64_t part, int64_t whole) {
  return whole == 0 ? undefined : static_cast<double>(part) / static_cast<double>(whole);
}

/// Mean of the values whose class occurs; an undefined precision counts as 0, as no image of the class was found.
double macro(const std::vector<double>& values, const std::vector<int64_t>& support) {
  double sum = 0;
  int64_t classes = 0;
  for (size_t i = 0; i < values.size(); ++i)
    if (support[i] > 0) {
      sum += std::isnan(values[i]) ? 0 : values[i];
      ++classes;
    }
  return classes == 0 ? undefined : sum / static_cast<double>(classes);
}

/// Scores of one class against the rest.
struct OneAgainstRest {
  std::vector<float> scores;
  std::vector<uint8_t> positive;
};

OneAgainstRest one_against_rest(std::span<const int32_t> labels, std::span<const float> scores, int64_t k, int64_t c) {
  OneAgainstRest binary;
  for (size_t i = 0; i < labels.size(); ++i) {
    binary.scores.push_back(scores[i * static_cast<size_t>(k) + static_cast<size_t>(c)]);
    binary.positive.push_back(labels[i] == c);
  }
  return binary;
}

double macro_auc(std::span<const int32_t> labels, std::span<const float> scores, int64_t k) {
  double sum = 0;
  int64_t classes = 0;
  for (int64_t c = 0; c < k; ++c) {
    bool const occurs = std::ranges::find(labels, c) != labels.end();
    if (!occurs) continue;
    auto const binary = one_against_rest(labels, scores, k, c);
    sum += roc_auc(binary.scores, binary.positive);
    ++classes;
  }
  return classes == 0 ? undefined : sum / static_cast<double>(classes);
}

/// Positions in the order of falling scores.
std::vector<size_t> by_falling_score(std::span<const float> scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  return order;
}

/// Calls visit(positives, negatives) for every distinct score, from the highest down.
template <class Visit>
void for_each_score(std::span<const float> scores, std::span<const uint8_t> positive, Visit&& visit) {
  std::vector<size_t> const order = by_falling_score(scores);
  for (size_t begin = 0; begin < order.size();) {
    int64_t positives = 0, negatives = 0;
    size_t end = begin;
    for (; end < order.size() && scores[order[end]] == scores[order[begin]]; ++end)
      ++(positive[order[end]] ? positives : negatives);
    visit(positives, negatives);
    begin = end;
  }
}

bool any_nan(std::span<const float> scores) {
  return std::ranges::any_of(scores, [](float s) { return std::isnan(s); });
}

}  // namespace

std::array<double, 2> wilson95(int64_t successes, int64_t n) {
  check(0 <= successes && successes <= n, "an interval for ", successes, " successes of ", n);
  if (n == 0) return {0, 1};
  // Wilson 1927; z is the normal distribution's 97.5 % point.
  double const z = 1.959963984540054, trials = static_cast<double>(n), p = static_cast<double>(successes) / trials;
  double const scale = 1 / (1 + z * z / trials), centre = p + z * z / (2 * trials);
  double const half = z * std::sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials));
  // The formula gives 0 and 1 at the ends but for rounding.
  return {successes == 0 ? 0 : scale * (centre - half), successes == n ? 1 : scale * (centre + half)};
}

double roc_auc(std::span<const float> scores, std::span<const uint8_t> positive) {
  check(scores.size() == positive.size(), scores.size(), " scores for ", positive.size(), " labels");
  if (any_nan(scores)) return undefined;
  double pairs = 0;  // of a positive above a negative; ties count half
  int64_t positives_above = 0, negatives = 0;
  for_each_score(scores, positive, [&](int64_t p, int64_t n) {
    pairs += (static_cast<double>(positives_above) + 0.5 * static_cast<double>(p)) * static_cast<double>(n);
    positives_above += p;
    negatives += n;
  });
  if (positives_above == 0 || negatives == 0) return undefined;
  return pairs / (static_cast<double>(positives_above) * static_cast<double>(negatives));
}

std::vector<std::array<double, 2>> roc_curve(std::span<const float> scores, std::span<const uint8_t> positive) {
  check(scores.size() == positive.size(), scores.size(), " scores for ", positive.size(), " labels");
  int64_t const positives = std::ranges::count_if(positive, [](uint8_t p) { return p != 0; });
  int64_t const negatives = std::ssize(positive) - positives;
  if (positives == 0 || negatives == 0 || any_nan(scores)) return {};
  std::vector<std::array<double, 2>> curve{{0, 0}};
  int64_t hits = 0, alarms = 0;
  for_each_score(scores, positive, [&](int64_t p, int64_t n) {
    hits += p;
    alarms += n;
    curve.push_back({ratio(alarms, negatives), ratio(hits, positives)});
  });
  return curve;
}

double mcnemar(int64_t only_a, int64_t only_b) {
  check(only_a >= 0 && only_b >= 0, "discordant pairs ", only_a, " and ", only_b);
  auto const n = static_cast<double>(only_a + only_b);
  // Both tails of Binomial(n, 1/2) at least as far out; equal counts make the tails meet.
  double tail = 0;
  for (int64_t i = 0; i <= std::min(only_a, only_b); ++i) {
    auto const k = static_cast<double>(i);
    tail += std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) - n * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

Metrics compute_metrics(std::span<const int32_t> labels, std::span<const int32_t> predictions,
                        std::span<const float> scores, int64_t k) {
  check(labels.size() == predictions.size(), labels.size(), " labels for ", predictions.size(), " predictions");
  check(scores.empty() || scores.size() == labels.size() * static_cast<size_t>(k), scores.size(), " scores for ",
        labels.size(), " images of ", k, " classes");
  Metrics m;
  m.n = std::ssize(labels);
  auto const size = static_cast<size_t>(k);
  m.confusion.assign(size, std::vector<int64_t>(size));
  std::vector<int64_t> support(size), predicted(size);
  int64_t right = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    check(0 <= labels[i] && labels[i] < k, "label ", labels[i], " of ", k, " classes");
    check(abstention <= predictions[i] && predictions[i] < k, "prediction ", predictions[i], " of ", k, " classes");
    ++support[static_cast<size_t>(labels[i])];
    if (predictions[i] == abstention) continue;
    ++predicted[static_cast<size_t>(predictions[i])];
    ++m.confusion[static_cast<size_t>(labels[i])][static_cast<size_t>(predictions[i])];
    right += labels[i] == predictions[i];
  }
  for (size_t c = 0; c < size; ++c) {
    int64_t const hits = m.confusion[c][c];
    m.recall.push_back(ratio(hits, support[c]));
    m.precision.push_back(ratio(hits, predicted[c]));
    m.f1.push_back(ratio(2 * hits, support[c] + predicted[c]));
  }
  m.accuracy = ratio(right, m.n);
  m.accuracy_ci95 = wilson95(right, m.n);
  m.recall_macro = m.balanced_accuracy = macro(m.recall, support);
  m.precision_macro = macro(m.precision, support);
  m.f1_macro = macro(m.f1, support);
  m.auc_macro = scores.empty() ? undefined : macro_auc(labels, scores, k);
  return m;
}

}  // namespace mith
