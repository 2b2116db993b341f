#include "engine/frozen/mixed.h"

#include "engine/ops/arithmetic.h"

namespace mith {
namespace {

/// Rows whose prediction is not their label; all if there are no labels.
std::vector<int64_t> misclassified(const Tensor& logits, const Tensor& labels) {
  auto const predictions = argmax(logits).to_host<int32_t>();
  auto const truth = labels.defined() ? labels.to_host<int32_t>() : std::vector<int32_t>();
  std::vector<int64_t> rows;
  for (size_t i = 0; i < predictions.size(); ++i)
    if (truth.empty() || predictions[i] != truth[i]) rows.push_back(static_cast<int64_t>(i));
  return rows;
}

}  // namespace

MixedNetwork::MixedNetwork(Network& network, const std::string& name)
    : narrow_(network, name, DType::bf16), wide_(network, name) {}

Outputs MixedNetwork::run(const Batch& b, const Cotangent& cotangent, const Want& want, const DrawKey& key) {
  if (!want.input_gradient) return wide_.evaluate(b, cotangent, want, key);
  bool const judges = want.logits || want.loss;
  Want wanted = want;
  wanted.logits |= judges;
  Outputs out = narrow_.evaluate(b, cotangent, wanted, key);
  if (!judges) return out;
  auto const rows = misclassified(out.logits, b.y);
  if (rows.empty()) return out;
  Cotangent const loss = want.loss ? select(cotangent, rows) : Loss{};
  Outputs const exact = wide_.evaluate(select(b, rows), loss, {.logits = true, .loss = want.loss}, key);
  scatter_rows(out.logits, exact.logits, rows);
  if (want.loss) scatter_rows(out.loss, exact.loss, rows);
  return out;
}

}  // namespace mith
