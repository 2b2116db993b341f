#include "attacks/attack_books.h"

#include "engine/ops/arithmetic.h"

namespace mith {

void check_goals(const std::string& attack, const Batch& batch, int64_t target, int64_t classes) {
  require(target < classes, "attack ", attack, ": target ", target, " for a model of ", classes, " classes");
  for (int32_t label : batch.y.to_host<int32_t>())
    require(label >= 0 && label < classes, "attack ", attack, ": label ", label, " for a model of ", classes,
            " classes");
}

AttackBooks::AttackBooks(const std::string& attack, const Batch& batch, int64_t target, int64_t classes)
    : batch_(batch), target_(target), labels_(batch.y.to_host<int32_t>()) {
  check_goals(attack, batch, target, classes);
}

void AttackBooks::open(const Tensor& logits, const Tensor& loss, int queries, int gradients) {
  size_t const n = labels_.size();
  auto const predictions = argmax(logits).to_host<int32_t>();
  for (size_t i = 0; i < n; ++i) result_.clean_correct.push_back(predictions[i] == labels_[i]);
  result_.adversarial = batch_.x.clone();
  result_.loss = loss.to_host<float>();
  result_.success.assign(n, 0);
  result_.queries.assign(n, queries);
  result_.gradients.assign(n, gradients);
}

std::vector<int64_t> AttackBooks::open_rows() const {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < labels_.size(); ++i)
    if (result_.clean_correct[i] && !result_.success[i] && labels_[i] != target_)
      rows.push_back(static_cast<int64_t>(i));
  return rows;
}

std::vector<int64_t> AttackBooks::enter(const std::vector<int64_t>& rows, const Tensor& adv, const Tensor& logits,
                                        const std::vector<float>& loss, bool only_better) {
  auto const predictions = argmax(logits).to_host<int32_t>();
  std::vector<int64_t> entered, entered_rows, kept;
  for (size_t i = 0; i < rows.size(); ++i) {
    size_t const row = static_cast<size_t>(rows[i]);
    bool const fooled = target_ < 0 ? predictions[i] != labels_[row] : predictions[i] == target_;
    bool const better = fooled || (!result_.success[row] && loss[i] > result_.loss[row]);
    if (better || !only_better) {
      entered.push_back(static_cast<int64_t>(i));
      entered_rows.push_back(rows[i]);
      result_.loss[row] = loss[i];
      result_.success[row] = fooled;
    }
    if (!fooled) kept.push_back(static_cast<int64_t>(i));
  }
  if (!entered.empty()) scatter_rows(result_.adversarial, gather_rows(adv, entered), entered_rows);
  return kept;
}

void AttackBooks::count(const std::vector<int64_t>& rows, int queries, int gradients) {
  for (int64_t row : rows) {
    result_.queries[static_cast<size_t>(row)] += queries;
    result_.gradients[static_cast<size_t>(row)] += gradients;
  }
}

}  // namespace mith
