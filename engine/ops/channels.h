// Joining, cutting and repeating tensors along a dimension, and gates over channels.
#pragma once
#include <vector>

#include "engine/autograd/tape.h"

namespace mith {

/// Tensors that agree in all dimensions but `dim`, one behind the other along it; by default along the channels.
Tensor concat(const std::vector<Tensor>& parts, int dim = -1);
/// The `length` elements from `start` along `dim`.
Tensor narrow(const Tensor& x, int dim, int64_t start, int64_t length);
/// x [1, ...] repeated n times -> [n, ...]: class tokens and positions for a batch.
Tensor expand(const Tensor& x, int64_t n);
/// x [..., 1] -> [..., channels]: a grey image for a network of colour images. Its gradient is the channels' sum.
Tensor repeat_channels(const Tensor& x, int64_t channels);
/// y = x * gate by image and channel: x [n,h,w,c], gate [n,c] (squeeze-and-excitation, Hu et al. 2018).
Tensor channel_gate(const Tensor& x, const Tensor& gate);

struct ConcatNode final : Node {
  int dim = 0;
  std::string_view name() const override { return "concat"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

struct NarrowNode final : Node {
  int dim = 0;
  int64_t start = 0;
  std::string_view name() const override { return "narrow"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

struct ExpandNode final : Node {
  std::string_view name() const override { return "expand"; }
  void backward(Gradients&) override;
};

struct RepeatChannelsNode final : Node {
  std::string_view name() const override { return "repeat_channels"; }
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

struct ChannelGateNode final : Node {
  Tensor input, gate;  ///< each kept if the other's gradient may be asked for
  std::string_view name() const override { return "channel_gate"; }
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

}  // namespace mith
