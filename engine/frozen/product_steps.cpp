// Convolutions and dense layers, by the providers.
#include "engine/frozen/step.h"
#include "kernels/launch/table.h"
#include "kernels/map/depth_to_space.h"

namespace mith::frozen {
namespace {

template <class T>
const Kernel<T*, const T*, int64_t, int64_t, int64_t, int64_t, PixelBlocks> depth_to_space{"depth_to_space",
                                                                                           dtype_of<T>};

template <class T>
const Kernel<T*, const T*, int64_t, int64_t, int64_t, int64_t, int64_t, bool> spread_pixels{"spread_pixels",
                                                                                            dtype_of<T>};

/// One call of a provider, chosen when it is planned.
template <class Problem>
class Call {
 public:
  void plan(Planner& p, const Stream& stream, const Problem& problem) {
    problem_ = problem;
    problem_.fixed_weights = true;
    provider_ = &choose(stream.device, problem_);
    size_t const bytes = provider_->workspace(stream.device, problem_);
    if (bytes) scratch_ = p.scratch(bytes);
  }
  std::string_view by() const { return provider_ ? provider_->name() : ""; }
  int64_t flops() const { return problem_.flops(); }
  /// The three operands in the provider's order; the residual of the epilogue, if it was planned.
  void run(const Memory& m, void* a, void* b, void* c, const void* residual = nullptr) const {
    Problem problem = problem_;
    problem.epilogue.residual = residual;
    provider_->run(m.stream(), problem, a, b, c, scratch_ < 0 ? nullptr : m.at(scratch_));
  }

 private:
  Problem problem_;
  decltype(&choose(Device::cpu, Problem())) provider_ = nullptr;
  Buffer scratch_ = -1;
};

std::string names_of(std::string_view forward, std::string_view backward) {
  return backward.empty() || forward == backward ? std::string(forward) : cat(forward, ", ", backward);
}

/// What both products share: y = ReLU(product + residual), and the gradient that reaches the product.
class ProductStep : public Step {
 public:
  using Step::Step;

  size_t kept_bytes() const final { return operator_.relu ? bytes_of_signs(y_) : 0; }

  void backward(const Memory& m) final {
    const void* const signs = operator_.relu ? m.at(signs_) : nullptr;
    if (signs || masked_ != dy_) affine_relu_gradient(m, {masked_, false}, dy_, signs);
    if (operator_.residual >= 0) residual_gradient_.run(m);
    input_gradient(m, masked_);
  }

 protected:
  virtual void input_gradient(const Memory&, const Place& dy) const = 0;

  /// The product may lie in scratch; what others read of this step lies in y.
  void plan_result(Planner& p, const Place& product, const Place& y) {
    product_ = product;
    y_ = y;
    if (operator_.relu) signs_ = p.keep(bytes_of_signs(y));
  }
  void finish(const Memory& m) const {
    void* const signs = operator_.relu && m.backward_follows ? m.at(signs_) : nullptr;
    if (operator_.relu || product_ != y_) affine_relu(m, y_, signs, product_, {}, operator_.relu);
  }
  /// Where the gradient behind the ReLU lies: in place, if products can read it there.
  void plan_gradient(Planner& p) {
    dy_ = p.gradient(operator_.output);
    masked_ = dy_.dense() ? dy_ : p.scratch_like(dy_);
    if (operator_.relu) p.hold(signs_);
    if (operator_.residual >= 0)
      residual_gradient_.plan(p, operator_.output, masked_, operator_.residual,
                              operator_.residual != operator_.inputs[0]);
  }

 private:
  Place product_, y_, dy_, masked_;
  Buffer signs_ = -1;
  PassedOn residual_gradient_;
};

class ConvolutionStep final : public ProductStep {
 public:
  explicit ConvolutionStep(const Operator& o) : ProductStep(o), conv_(*o.as<Convolution>()) {}

  void plan_forward(Planner& p) override {
    x_ = p.read(operator_.inputs[0]);
    check(x_.dense(), "frozen: a convolution reads a slice");
    Conv2dProblem problem{.dtype = x_.dtype, .shape = with_images(conv_.shape, p)};
    if (operator_.residual >= 0) residual_ = p.read(operator_.residual);
    if (conv_.bias.defined()) problem.epilogue.bias = conv_.bias.raw();
    if (adds_to_residual(problem) && p.write_over(operator_.output, operator_.residual)) {
      problem.epilogue.accumulate = true;
      y_ = residual_;
      forward_.plan(p, conv_.weight.stream(), problem);
      return plan_result(p, y_, y_);
    }
    Place const y = p.write(operator_.output);
    y_ = writes_slice(problem, y) ? y : p.scratch_like(y);
    if (!y_.dense()) problem.epilogue.row_pitch = y_.pitch;
    adds_in_epilogue_ = operator_.residual >= 0 && residual_.pitch == y_.pitch;
    if (adds_in_epilogue_) problem.epilogue.residual = this;  // for the choice; the run has the address
    forward_.plan(p, conv_.weight.stream(), problem);
    plan_result(p, y_, y);
  }

  std::string by() const override { return names_of(forward_.by(), backward_.by()); }
  int64_t flops(bool) const override { return forward_.flops(); }
  void forward(const Memory& m) override {
    forward_.run(m, m.address(x_), conv_.weight.raw(), m.address(y_),
                 adds_in_epilogue_ ? m.address(residual_) : nullptr);
    if (operator_.residual >= 0 && !adds_in_epilogue_ && y_ != residual_)
      affine_relu_gradient(m, {y_, true}, residual_, nullptr);
    finish(m);
  }

  void plan_backward(Planner& p) override {
    plan_gradient(p);
    dx_ = p.target(operator_.inputs[0]);
    Conv2dProblem problem{.dtype = x_.dtype};
    Turned const& t = conv_.turned;
    if (t.weight.defined() && t.stride == 1) {
      problem.shape = with_images(t.shape, p);
      problem.epilogue.accumulate = dx_.adds;
      if (!dx_.place.dense()) problem.epilogue.row_pitch = dx_.place.pitch;
      product_ = dx_.place;
    } else {
      product_ = (dx_.adds && !t.pointwise) || !dx_.place.dense() ? p.scratch_like(dx_.place) : dx_.place;
      problem.shape = with_images(t.weight.defined() ? t.shape : conv_.shape, p);
      if (t.weight.defined())
        blocks_ = p.scratch(static_cast<size_t>(problem.shape.outputs()) * size_of(x_.dtype));
      else
        problem.pass = ConvPass::input_gradient;
    }
    backward_.plan(p, conv_.weight.stream(), problem);
  }

 protected:
  void input_gradient(const Memory& m, const Place& dy) const override {
    Turned const& t = conv_.turned;
    if (!t.weight.defined()) {
      backward_.run(m, m.address(product_), conv_.weight.raw(), m.address(dy));
    } else {
      void* const y = t.stride == 1 ? m.address(product_) : m.at(blocks_);
      backward_.run(m, m.address(dy), t.weight.raw(), y);
      if (t.stride > 1) {
        Conv2dShape const& s = conv_.shape;
        int64_t const images = product_.rows / (s.h * s.w);
        PixelBlocks const blocks{
            .h = t.shape.oh(), .w = t.shape.ow(), .top = t.shift_h, .left = t.shift_w, .side = t.stride};
        bool const adds = dx_.adds && product_ == dx_.place;
        with_type(product_.dtype, [&]<class T>(T) {
          T* const dx = m.at<T>(product_);
          auto* const from = static_cast<const T*>(y);
          t.pointwise ? spread_pixels<T>(m.stream(), dx, from, images, s.h, s.w, s.c, t.stride, adds)
                      : depth_to_space<T>(m.stream(), dx, from, images, s.h, s.w, s.c, blocks);
        });
      }
    }
    if (product_ != dx_.place) affine_relu_gradient(m, dx_, product_, nullptr);
  }

 private:
  static Conv2dShape with_images(Conv2dShape s, const Planner& p) {
    s.n = p.batch();
    return s;
  }

  /// Whether the provider adds to what lies in y; that is the fastest way to add a residual, and takes no memory.
  bool adds_to_residual(const Conv2dProblem& problem) const {
    Conv2dProblem adding = problem;
    adding.epilogue.accumulate = true;
    return operator_.residual >= 0 && is_as_fast(adding, problem);
  }

  /// Whether the provider writes y where it lies: not every one writes slices.
  bool writes_slice(const Conv2dProblem& problem, const Place& y) const {
    Conv2dProblem slice = problem;
    slice.epilogue.row_pitch = y.pitch;
    return y.dense() || is_as_fast(slice, problem);
  }

  /// Whether the provider of the plain problem takes the other too, so that nothing is lost by it.
  bool is_as_fast(const Conv2dProblem& other, const Conv2dProblem& plain) const {
    Device const device = conv_.weight.device();
    return choose(device, plain).supports(device, other);
  }

  const Convolution& conv_;
  Place x_, y_, residual_, product_;
  Planner::Target dx_;
  bool adds_in_epilogue_ = false;
  Buffer blocks_ = -1;  ///< the gradient of a strided convolution before its pixels are spread
  Call<Conv2dProblem> forward_, backward_;
};

class DenseStep final : public ProductStep {
 public:
  explicit DenseStep(const Operator& o) : ProductStep(o), dense_(*o.as<Dense>()) {}

  void plan_forward(Planner& p) override {
    x_ = p.read(operator_.inputs[0]);
    check(x_.dense(), "frozen: a dense layer reads a slice");
    y_ = p.write(operator_.output);
    MatmulProblem problem{.dtype = x_.dtype, .m = y_.rows, .n = y_.columns, .k = x_.columns, .transpose_b = true};
    if (dense_.bias.defined()) problem.epilogue.bias = dense_.bias.raw();
    forward_.plan(p, dense_.weight.stream(), problem);
    plan_result(p, y_, y_);
  }

  std::string by() const override { return names_of(forward_.by(), backward_.by()); }
  int64_t flops(bool) const override { return forward_.flops(); }
  void forward(const Memory& m) override {
    forward_.run(m, m.address(y_), m.address(x_), dense_.weight.raw());
    finish(m);
  }

  void plan_backward(Planner& p) override {
    plan_gradient(p);
    dx_ = p.target(operator_.inputs[0]);
    check(dx_.place.dense(), "frozen: a dense layer writes a slice");
    MatmulProblem problem{.dtype = x_.dtype, .m = y_.rows, .n = x_.columns, .k = y_.columns};
    problem.epilogue.accumulate = dx_.adds;
    backward_.plan(p, dense_.weight.stream(), problem);
  }

 protected:
  void input_gradient(const Memory& m, const Place& dy) const override {
    backward_.run(m, m.address(dx_.place), m.address(dy), dense_.weight.raw());
  }

 private:
  const Dense& dense_;
  Place x_, y_;
  Planner::Target dx_;
  Call<MatmulProblem> forward_, backward_;
};

}  // namespace

std::unique_ptr<Step> make_product_step(const Operator& o) {
  if (o.as<Convolution>()) return std::make_unique<ConvolutionStep>(o);
  if (o.as<Dense>()) return std::make_unique<DenseStep>(o);
  return nullptr;
}

}  // namespace mith::frozen
