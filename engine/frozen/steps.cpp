// Every operator but the products: passes over memory, pooling, and what runs through the eager operators.
#include <optional>

#include "engine/frozen/step.h"
#include "engine/ops/ops.h"
#include "kernels/launch/table.h"

namespace mith::frozen {
namespace {

template <class T>
const Kernel<T*, uint32_t*, const T*, const float*, const float*, bool, int64_t, int64_t, int64_t, int64_t>
    affine_relu_forward{"affine_relu_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const uint32_t*, const float*, bool, int64_t, int64_t, int64_t, int64_t>
    affine_relu_backward{"affine_relu_backward", dtype_of<T>};
template <class T>
const Kernel<T*, uint8_t*, const T*, Pool2dShape, bool> max_forward{"max_pool2d_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const uint8_t*, Pool2dShape> max_backward{"max_pool2d_backward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, int64_t> add_dense{"add", dtype_of<T>};
const Kernel<bf16*, const float*, int64_t> cast_f32_bf16{"cast_f32_bf16"};
const Kernel<float*, const bf16*, int64_t> cast_bf16_f32{"cast_bf16_f32"};
template <class T>
const Kernel<T*, const T*, Pool2dShape, int> average_forward{"avg_pool2d_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, Pool2dShape, int> average_backward{"avg_pool2d_backward", dtype_of<T>};

const float* values(const Tensor& t) { return t.defined() ? t.data<float>() : nullptr; }

void copy(const Memory& m, const Place& to, const Place& from) { affine_relu(m, to, nullptr, from, {}, false); }

class AffineStep final : public Step {
 public:
  explicit AffineStep(const Operator& o) : Step(o), affine_(*o.as<Affine>()) {}

  void plan_forward(Planner& p) override {
    x_ = p.read(operator_.inputs[0]);
    if (operator_.residual >= 0) residual_ = p.read(operator_.residual);
    y_ = p.write(operator_.output);
    if (operator_.relu) signs_ = p.keep(bytes_of_signs(y_));
    if (is_narrow_scaling()) widen(p.batch());
  }
  size_t kept_bytes() const override { return operator_.relu ? bytes_of_signs(y_) : 0; }
  void forward(const Memory& m) override {
    void* const signs = operator_.relu && m.backward_follows ? m.at(signs_) : nullptr;
    if (pixels_ > 1) return affine_relu(m, wide(y_), nullptr, wide(x_), widened_, false);
    if (operator_.residual < 0) return affine_relu(m, y_, signs, x_, affine_, operator_.relu);
    affine_relu(m, y_, nullptr, x_, affine_, false);
    affine_relu_gradient(m, {y_, true}, residual_, nullptr);
    if (operator_.relu) affine_relu(m, y_, signs, y_, {}, true);
  }

  void plan_backward(Planner& p) override {
    dy_ = p.gradient(operator_.output);
    if (operator_.relu) p.hold(signs_);
    if (operator_.residual >= 0) passed_on_.plan(p, operator_.output, dy_, operator_.residual);
    dx_ = p.target(operator_.inputs[0]);
  }
  void backward(const Memory& m) override {
    const void* const signs = operator_.relu ? m.at(signs_) : nullptr;
    if (pixels_ > 1 && dy_.dense() && dx_.place.dense())
      return affine_relu_gradient(m, {wide(dx_.place), dx_.adds}, wide(dy_), nullptr, widened_.scale);
    if (operator_.residual < 0) return affine_relu_gradient(m, dx_, dy_, signs, affine_.scale);
    if (signs) affine_relu_gradient(m, {dy_, false}, dy_, signs);
    passed_on_.run(m);
    affine_relu_gradient(m, dx_, dy_, nullptr, affine_.scale);
  }

 private:
  bool is_narrow_scaling() const {
    return affine_.scale.defined() && !operator_.relu && operator_.residual < 0 && x_.dense() && y_.dense() &&
           x_.columns < few;
  }
  /// Kernels take a row's channels into vectors; images have one or three, so several pixels become one row.
  void widen(int64_t batch) {
    for (int64_t k = 1; k <= most_pixels; ++k)
      if (x_.rows / batch % k == 0) pixels_ = k;
    auto const repeated = [this](const Tensor& t) {
      std::vector<float> const once = t.to_host<float>();
      std::vector<float> all;
      for (int64_t k = 0; k < pixels_; ++k) all.insert(all.end(), once.begin(), once.end());
      return Tensor::from(all, {pixels_ * x_.columns}, t.device());
    };
    widened_ = {repeated(affine_.scale), repeated(affine_.shift)};
  }
  Place wide(Place p) const {
    p.rows /= pixels_, p.columns *= pixels_, p.pitch *= pixels_;
    return p;
  }

  static constexpr int64_t few = 8, most_pixels = 256;
  const Affine& affine_;
  Affine widened_;
  int64_t pixels_ = 1;
  Place x_, y_, residual_, dy_;
  Planner::Target dx_;
  Buffer signs_ = -1;
  PassedOn passed_on_;
};

class MaxPoolStep final : public WritingStep {
 public:
  explicit MaxPoolStep(const Operator& o) : WritingStep(o), shape_(o.as<MaxPool>()->shape) {}
  size_t kept_bytes() const override { return static_cast<size_t>(shape_.outputs()); }
  void forward(const Memory& m) override {
    with_type(y_.dtype, [&]<class T>(T) {
      max_forward<T>(m.stream(), m.at<T>(y_), static_cast<uint8_t*>(m.at(index_)), m.at<T>(x_), shape_, operator_.relu);
    });
  }

 protected:
  void keep(Planner& p) override {
    shape_.n = p.batch();
    index_ = p.keep(static_cast<size_t>(shape_.outputs()));
  }
  void hold(Planner& p) override { p.hold(index_); }
  void write(const Memory& m, const Place& dx, const Place& dy) const override {
    with_type(dy.dtype, [&]<class T>(T) {
      max_backward<T>(m.stream(), m.at<T>(dx), m.at<T>(dy), static_cast<const uint8_t*>(m.at(index_)), shape_);
    });
  }

 private:
  Pool2dShape shape_;
  Buffer index_ = -1;
};

class AveragePoolStep final : public WritingStep {
 public:
  explicit AveragePoolStep(const Operator& o)
      : WritingStep(o), shape_(o.as<AveragePool>()->shape), count_padding_(o.as<AveragePool>()->count_padding) {}
  void forward(const Memory& m) override {
    with_type(y_.dtype,
              [&]<class T>(T) { average_forward<T>(m.stream(), m.at<T>(y_), m.at<T>(x_), shape_, count_padding_); });
  }

 protected:
  void keep(Planner& p) override { shape_.n = p.batch(); }
  void write(const Memory& m, const Place& dx, const Place& dy) const override {
    with_type(dy.dtype,
              [&]<class T>(T) { average_backward<T>(m.stream(), m.at<T>(dx), m.at<T>(dy), shape_, count_padding_); });
  }

 private:
  Pool2dShape shape_;
  int count_padding_;
};

class SumStep final : public Step {
 public:
  using Step::Step;
  void plan_forward(Planner& p) override {
    a_ = p.read(operator_.inputs[0]);
    b_ = p.read(operator_.inputs[1]);
    y_ = p.write(operator_.output);
  }
  void forward(const Memory& m) override {
    if (a_.dense() && b_.dense() && y_.dense())
      return with_type(y_.dtype, [&]<class T>(T) {
        add_dense<T>(m.stream(), m.at<T>(y_), m.at<T>(a_), m.at<T>(b_), y_.rows * y_.columns);
      });
    copy(m, y_, a_);
    affine_relu_gradient(m, {y_, true}, b_, nullptr);
  }
  void plan_backward(Planner& p) override {
    Place const dy = p.gradient(operator_.output);
    bool const wants_a = p.wanted(operator_.inputs[0]), wants_b = p.wanted(operator_.inputs[1]);
    // Copied first, shared last: what shares the memory may change it.
    if (wants_b) to_b_.plan(p, operator_.output, dy, operator_.inputs[1], !wants_a);
    if (wants_a) to_a_.plan(p, operator_.output, dy, operator_.inputs[0], operator_.inputs[0] != operator_.inputs[1]);
  }
  void backward(const Memory& m) override {
    to_b_.run(m);
    to_a_.run(m);
  }

 private:
  Place a_, b_, y_;
  PassedOn to_a_, to_b_;
};

/// Both types hold every finite activation; bf16 rounds it.
class CastStep final : public WritingStep {
 public:
  using WritingStep::WritingStep;
  void forward(const Memory& m) override { cast(m, y_, x_); }

 protected:
  void write(const Memory& m, const Place& dx, const Place& dy) const override { cast(m, dx, dy); }

 private:
  static void cast(const Memory& m, const Place& to, const Place& from) {
    int64_t const n = to.rows * to.columns;
    if (to.dtype == DType::bf16)
      cast_f32_bf16(m.stream(), m.at<bf16>(to), m.at(from), n);
    else
      cast_bf16_f32(m.stream(), m.at(to), m.at<bf16>(from), n);
  }
};

/// Copies the parts that do not lie in the whole to begin with.
class JoinStep final : public Step {
 public:
  using Step::Step;
  void plan_forward(Planner& p) override {
    Place slice = p.write(operator_.output);
    for (int const value : operator_.inputs) {
      Place const part = p.read(value);
      slice.columns = part.columns;
      if (!p.in_place(value, operator_.output)) copies_.emplace_back(slice, part);
      slice.offset += part.columns;
    }
  }
  std::string by() const override { return in_place() ? "in place" : cat("copies ", copies_.size()); }
  bool in_place() const override { return copies_.empty(); }
  void forward(const Memory& m) override {
    for (auto const& [to, from] : copies_) copy(m, to, from);
  }
  void plan_backward(Planner& p) override {
    Place slice = p.gradient(operator_.output);
    for (int const value : operator_.inputs) {
      slice.columns = p.shape(value)[-1];
      if (p.in_place(value, operator_.output))
        p.hand_over(operator_.output, value);
      else if (p.wanted(value))
        gradients_.emplace_back(p.target(value), slice);
      slice.offset += slice.columns;
    }
  }
  void backward(const Memory& m) override {
    for (auto const& [to, from] : gradients_) affine_relu_gradient(m, to, from, nullptr);
  }

 private:
  std::vector<std::pair<Place, Place>> copies_;
  std::vector<std::pair<Planner::Target, Place>> gradients_;
};

class ReshapeStep final : public Step {
 public:
  using Step::Step;
  void plan_forward(Planner& p) override { p.write_as(operator_.output, operator_.inputs[0]); }
  std::string by() const override { return "in place"; }
  bool in_place() const override { return true; }
  void forward(const Memory&) override {}
  void plan_backward(Planner& p) override {
    Place from = p.gradient(operator_.output);
    check(from.dense(), "frozen: the gradient of a reshaped value is a slice");
    Shape const& shape = p.shape(operator_.inputs[0]);
    from.columns = from.pitch = shape[-1];
    from.rows = p.batch() * shape.numel() / shape[-1];
    passed_on_.plan(p, operator_.output, from, operator_.inputs[0]);
  }
  void backward(const Memory& m) override { passed_on_.run(m); }

 private:
  PassedOn passed_on_;
};

/// An operator that has no step of its own. It allocates, and its result is copied.
class EagerStep final : public Step {
 public:
  EagerStep(const Graph& graph, const Operator& o) : Step(o), graph_(graph), node_(*o.as<Eager>()->node) {}

  void plan_forward(Planner& p) override {
    for (int const value : operator_.inputs) {
      bool const parameter = !p.wanted(value) && !graph_.values[static_cast<size_t>(value)].repeated;
      inputs_.push_back(parameter ? Place{} : p.read(value));
    }
    y_ = p.write(operator_.output);
    batch_ = p.batch();
  }
  std::string by() const override { return "eager"; }
  int64_t flops(bool) const override { return node_.flops() * batch_ / traced_images; }
  void forward(const Memory& m) override {
    std::vector<Tensor> tensors;
    for (size_t i = 0; i < inputs_.size(); ++i) tensors.push_back(tensor(m, operator_.inputs[i], inputs_[i]));
    tape_.reset();
    if (m.backward_follows) {
      tape_.emplace();
      for (size_t i = 0; i < inputs_.size(); ++i)
        if (is_wanted(i)) tape_->watch(tensors[i]);
    }
    result_ = node_.again(tensors);
    if (tape_) tape_->stop();
    tensor(m, operator_.output, y_).copy_from(result_);
    watched_ = std::move(tensors);
    if (!tape_) result_ = Tensor(), watched_.clear();
  }

  void plan_backward(Planner& p) override {
    dy_ = p.gradient(operator_.output);
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (inputs_[i].buffer >= 0) p.hold(inputs_[i].buffer);  // the recorded node may have kept what it read
      targets_.push_back(is_wanted(i) ? p.target(operator_.inputs[i]) : Planner::Target{});
    }
  }
  void backward(const Memory& m) override {
    std::vector<Tensor> wanted;
    for (size_t i = 0; i < watched_.size(); ++i)
      if (is_wanted(i)) wanted.push_back(watched_[i]);
    auto const gradients = tape_->gradients(result_, tensor(m, operator_.output, dy_), wanted);
    size_t next = 0;
    for (size_t i = 0; i < watched_.size(); ++i) {
      if (!is_wanted(i)) continue;
      Tensor dx = tensor(m, operator_.inputs[i], targets_[i].place);
      Tensor const& gradient = gradients[next++];
      check(gradient.defined(), operator_.name, ": no gradient");
      targets_[i].adds ? add_in_place(dx, gradient) : dx.copy_from(gradient);
    }
    tape_.reset();
    result_ = Tensor();
    watched_.clear();
  }

 private:
  bool is_wanted(size_t i) const { return !graph_.values[static_cast<size_t>(operator_.inputs[i])].constant.defined(); }
  Tensor tensor(const Memory& m, int value, const Place& place) const {
    GraphValue const& v = graph_.values[static_cast<size_t>(value)];
    return place.buffer < 0 ? v.constant : m.tensor(place, v.shape.with(0, v.shape[0] * batch_));
  }

  const Graph& graph_;
  const Node& node_;
  std::vector<Place> inputs_;
  Place y_, dy_;
  std::vector<Planner::Target> targets_;
  int64_t batch_ = 0;
  std::optional<Tape> tape_;
  Tensor result_;
  std::vector<Tensor> watched_;
};

}  // namespace

void* Memory::at(Buffer b) const {
  if (b == Planner::images) return images.raw();
  if (b == Planner::input_gradient) return input_gradient.raw();
  return static_cast<char*>(arena_.raw()) + planner_.offset(b);
}

void* Memory::address(const Place& place) const {
  return static_cast<char*>(at(place.buffer)) + static_cast<size_t>(place.offset) * size_of(place.dtype);
}

Tensor Memory::tensor(const Place& place, const Shape& shape) const {
  check(place.dense(), "frozen: a slice as a tensor");
  check(place.dtype == DType::f32, "frozen: ", name_of(place.dtype), " as a tensor");
  auto const from = static_cast<size_t>(place.offset) * sizeof(float);
  if (place.buffer == Planner::images) return images.part(from, shape, DType::f32);
  if (place.buffer == Planner::input_gradient) return input_gradient.part(from, shape, DType::f32);
  return arena_.part(planner_.offset(place.buffer) + from, shape, DType::f32);
}

size_t bytes_of_signs(const Place& p) { return static_cast<size_t>((p.rows + 31) / 32 * p.columns) * sizeof(uint32_t); }

void affine_relu(const Memory& m, const Place& y, void* signs, const Place& x, const Affine& a, bool relu) {
  with_type(y.dtype, [&]<class T>(T) {
    affine_relu_forward<T>(m.stream(), m.at<T>(y), static_cast<uint32_t*>(signs), m.at<T>(x), values(a.scale),
                           values(a.shift), relu, y.rows, y.columns, y.pitch, x.pitch);
  });
}

void affine_relu_gradient(const Memory& m, const Planner::Target& dx, const Place& dy, const void* signs,
                          const Tensor& scale) {
  with_type(dy.dtype, [&]<class T>(T) {
    affine_relu_backward<T>(m.stream(), m.at<T>(dx.place), m.at<T>(dy), static_cast<const uint32_t*>(signs),
                            values(scale), dx.adds, dy.rows, dy.columns, dx.place.pitch, dy.pitch);
  });
}

void PassedOn::plan(Planner& p, int output, const Place& from, int value, bool may_share) {
  if (may_share && from.buffer == p.gradient(output).buffer && p.hand_over(output, value)) return;
  from_ = from;
  to_ = p.target(value);
  copies_ = true;
}

void PassedOn::run(const Memory& m) const {
  if (copies_) affine_relu_gradient(m, to_, from_, nullptr);
}

void Written::plan(Planner& p, int value) {
  target_ = p.target(value);
  place_ = target_.adds ? p.scratch_like(target_.place) : target_.place;
}

void Written::finish(const Memory& m) const {
  if (target_.adds) affine_relu_gradient(m, target_, place_, nullptr);
}

std::unique_ptr<Step> make_step(const Graph& graph, const Operator& o) {
  if (auto step = make_product_step(o)) return step;
  if (auto step = make_channel_step(o)) return step;
  if (auto step = make_token_step(o)) return step;
  if (o.as<Affine>()) return std::make_unique<AffineStep>(o);
  if (o.as<MaxPool>()) return std::make_unique<MaxPoolStep>(o);
  if (o.as<AveragePool>()) return std::make_unique<AveragePoolStep>(o);
  if (o.as<Sum>()) return std::make_unique<SumStep>(o);
  if (o.as<Join>()) return std::make_unique<JoinStep>(o);
  if (o.as<Reshape>()) return std::make_unique<ReshapeStep>(o);
  if (o.as<Cast>()) return std::make_unique<CastStep>(o);
  return std::make_unique<EagerStep>(graph, o);
}

}  // namespace mith::frozen
