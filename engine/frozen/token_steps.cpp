// What a transformer has between its products: layer norms and attention.
#include "engine/frozen/step.h"
#include "engine/ops/attention.h"
#include "kernels/launch/table.h"

namespace mith::frozen {
namespace {

const Kernel<float*, float*, float*, const float*, const float*, const float*, double, int64_t, int64_t>
    layer_norm_forward{"layer_norm_forward", DType::f32};
const Kernel<float*, const float*, const float*, const float*, const float*, const float*, int64_t, int64_t>
    layer_norm_backward{"layer_norm_backward", DType::f32};

class LayerNormStep final : public WritingStep {
 public:
  explicit LayerNormStep(const Operator& o) : WritingStep(o), norm_(*o.as<LayerNorm>()) {}
  size_t kept_bytes() const override { return 2 * static_cast<size_t>(y_.rows) * sizeof(float); }
  void forward(const Memory& m) override {
    layer_norm_forward(m.stream(), m.at(y_), statistic(m, 0), statistic(m, 1), m.at(x_), norm_.weight.data<float>(),
                       norm_.bias.data<float>(), norm_.epsilon, y_.rows, y_.columns);
  }

 protected:
  void keep(Planner& p) override { statistics_ = p.keep(kept_bytes()); }
  void hold(Planner& p) override {
    p.hold(x_.buffer);
    p.hold(statistics_);
  }
  void write(const Memory& m, const Place& dx, const Place& dy) const override {
    layer_norm_backward(m.stream(), m.at(dx), m.at(dy), m.at(x_), statistic(m, 0), statistic(m, 1),
                        norm_.weight.data<float>(), y_.rows, y_.columns);
  }

 private:
  /// The means of the rows, then their inverse deviations.
  float* statistic(const Memory& m, int which) const {
    return static_cast<float*>(m.at(statistics_)) + which * y_.rows;
  }
  const LayerNorm& norm_;
  Buffer statistics_ = -1;
};

/// Keeps nothing but its input: the weights of a head are computed again, a few images at a time.
class AttentionStep final : public WritingStep {
 public:
  explicit AttentionStep(const Operator& o) : WritingStep(o), heads_(o.as<Attention>()->heads) {}
  std::string by() const override { return "matmul"; }
  int64_t flops(bool backward) const override { return (backward ? 10 : 4) * y_.rows * tokens_ * y_.columns; }
  void forward(const Memory& m) override { self_attention_into(tensor(m, y_), tensor(m, x_), heads_); }

 protected:
  void keep(Planner& p) override { tokens_ = p.shape(operator_.output)[1]; }
  void hold(Planner& p) override { p.hold(x_.buffer); }
  void write(const Memory& m, const Place& dx, const Place& dy) const override {
    self_attention_gradient_into(tensor(m, dx), tensor(m, x_), tensor(m, dy), heads_);
  }

 private:
  Tensor tensor(const Memory& m, const Place& p) const { return m.tensor(p, {p.rows / tokens_, tokens_, p.columns}); }
  int64_t heads_, tokens_ = 0;
};

}  // namespace

std::unique_ptr<Step> make_token_step(const Operator& o) {
  if (o.as<LayerNorm>()) return std::make_unique<LayerNormStep>(o);
  if (o.as<Attention>()) return std::make_unique<AttentionStep>(o);
  return nullptr;
}

}  // namespace mith::frozen
