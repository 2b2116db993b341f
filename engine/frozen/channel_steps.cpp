// Activations beside ReLU, and what squeeze-and-excitation is made of: means of channels, and gates.
#include "engine/frozen/step.h"
#include "kernels/launch/table.h"
#include "kernels/row/column_groups.h"

namespace mith::frozen {
namespace {

template <class T>
const Kernel<T*, const T*, Curve, double, int64_t> activation_forward{"activation_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, Curve, double, int64_t> activation_backward{"activation_backward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, int64_t, int64_t, int64_t> channel_gate{"channel_gate", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, double, int64_t, int64_t, int64_t> broadcast_pixels{"broadcast_pixels", dtype_of<T>};
template <class T>
const Kernel<double*, const T*, const T*, int64_t, int64_t, int64_t> image_sums_partial{"image_sums_partial",
                                                                                        dtype_of<T>};
template <class T>
const Kernel<T*, const double*, double, int64_t, int64_t, int64_t> image_sums_total{"image_sums_total", dtype_of<T>};

/// factor * the sums over each image's pixels of x, or of x * other.
class ImageSums {
 public:
  void plan(Planner& p, const Place& x) {
    images_ = p.batch();
    pixels_ = x.rows / images_;
    partial_ = p.scratch(static_cast<size_t>(images_ * column_groups(pixels_) * x.columns) * sizeof(double));
  }
  template <class T>
  void run(const Memory& m, T* sums, const Place& x, const T* other, double factor) const {
    auto* const partial = static_cast<double*>(m.at(partial_));
    image_sums_partial<T>(m.stream(), partial, m.at<T>(x), other, images_, pixels_, x.columns);
    image_sums_total<T>(m.stream(), sums, partial, factor, images_, pixels_, x.columns);
  }
  int64_t pixels() const { return pixels_; }

 private:
  int64_t images_ = 0, pixels_ = 0;
  Buffer partial_ = -1;
};

class CurvedStep final : public WritingStep {
 public:
  explicit CurvedStep(const Operator& o) : WritingStep(o), curved_(*o.as<Curved>()) {}
  void forward(const Memory& m) override {
    with_type(y_.dtype, [&]<class T>(T) {
      activation_forward<T>(m.stream(), m.at<T>(y_), m.at<T>(x_), curved_.curve, curved_.parameter,
                            y_.rows * y_.columns);
    });
  }

 protected:
  void hold(Planner& p) override { p.hold(kept().buffer); }
  void write(const Memory& m, const Place& dx, const Place& dy) const override {
    with_type(y_.dtype, [&]<class T>(T) {
      activation_backward<T>(m.stream(), m.at<T>(dx), m.at<T>(dy), m.at<T>(kept()), curved_.curve, curved_.parameter,
                             y_.rows * y_.columns);
    });
  }

 private:
  const Place& kept() const { return output_tells_slope(curved_.curve) ? y_ : x_; }
  Curved curved_;
};

class GateStep final : public Step {
 public:
  using Step::Step;
  void plan_forward(Planner& p) override {
    x_ = p.read(operator_.inputs[0]);
    gate_ = p.read(operator_.inputs[1]);
    y_ = p.write(operator_.output);
    images_ = p.batch();
  }
  void forward(const Memory& m) override { gated(m, y_, x_); }
  void plan_backward(Planner& p) override {
    p.hold(x_.buffer);
    p.hold(gate_.buffer);
    dy_ = p.gradient(operator_.output);
    dgate_.plan(p, operator_.inputs[1]);
    sums_.plan(p, dy_);
    dx_.plan(p, operator_.inputs[0]);
  }
  void backward(const Memory& m) override {
    with_type(dy_.dtype, [&]<class T>(T) { sums_.run<T>(m, m.at<T>(dgate_.place()), dy_, m.at<T>(x_), 1); });
    dgate_.finish(m);
    gated(m, dx_.place(), dy_);
    dx_.finish(m);
  }

 private:
  void gated(const Memory& m, const Place& y, const Place& x) const {
    with_type(y.dtype, [&]<class T>(T) {
      channel_gate<T>(m.stream(), m.at<T>(y), m.at<T>(x), m.at<T>(gate_), images_, x.rows / images_, x.columns);
    });
  }
  Place x_, gate_, y_, dy_;
  int64_t images_ = 0;
  ImageSums sums_;
  Written dgate_, dx_;
};

class GlobalMeanStep final : public WritingStep {
 public:
  using WritingStep::WritingStep;
  void forward(const Memory& m) override {
    with_type(y_.dtype, [&]<class T>(T) { sums_.run<T>(m, m.at<T>(y_), x_, nullptr, share()); });
  }

 protected:
  void keep(Planner& p) override { sums_.plan(p, x_); }
  void write(const Memory& m, const Place& dx, const Place& dy) const override {
    with_type(dy.dtype, [&]<class T>(T) {
      broadcast_pixels<T>(m.stream(), m.at<T>(dx), m.at<T>(dy), share(), y_.rows, sums_.pixels(), y_.columns);
    });
  }

 private:
  double share() const { return 1.0 / static_cast<double>(sums_.pixels()); }
  ImageSums sums_;
};

}  // namespace

std::unique_ptr<Step> make_channel_step(const Operator& o) {
  if (o.as<Curved>()) return std::make_unique<CurvedStep>(o);
  if (o.as<Gate>()) return std::make_unique<GateStep>(o);
  if (o.as<GlobalMean>()) return std::make_unique<GlobalMeanStep>(o);
  return nullptr;
}

}  // namespace mith::frozen
