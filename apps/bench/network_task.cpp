// mith-bench network: forward and full backward of a network, with the providers of its layers.
#include <sys/resource.h>

#include <chrono>
#include <random>

#include "apps/bench/task.h"
#include "engine/nn/network.h"
#include "engine/ops/ops.h"

namespace mith::bench {
namespace {

std::string_view provider_of(const Conv2dNode& node, ConvPass pass) {
  Conv2dProblem problem;
  problem.dtype = node.weight.dtype();
  problem.pass = pass;
  problem.shape = node.shape;
  if (pass == ConvPass::forward) problem.epilogue.activation = node.activation;
  return choose(node.weight.device(), problem).name();
}

std::string_view provider_of(const LinearNode& node) {
  MatmulProblem problem;
  problem.dtype = node.weight.dtype();
  problem.m = node.inputs[0].shape.numel() / node.weight.dim(1);
  problem.n = node.weight.dim(0);
  problem.k = node.weight.dim(1);
  problem.transpose_b = true;
  problem.epilogue.activation = node.activation;
  return choose(node.weight.device(), problem).name();
}

/// One line a convolution or linear layer: who computes its passes.
Json providers(const Tape& tape) {
  Json layers = Json::array();
  for (auto const& node : tape.nodes()) {
    Json layer{{"layer", node->scope}, {"output", node->outputs.front().shape.str()}};
    if (auto const* conv = dynamic_cast<const Conv2dNode*>(node.get())) {
      layer["forward"] = provider_of(*conv, ConvPass::forward);
      layer["input_gradient"] = provider_of(*conv, ConvPass::input_gradient);
      layer["weight_gradient"] = provider_of(*conv, ConvPass::weight_gradient);
    } else if (auto const* linear = dynamic_cast<const LinearNode*>(node.get())) {
      layer["forward"] = provider_of(*linear);
    } else {
      continue;
    }
    layers.push_back(layer);
  }
  return layers;
}

class NetworkTask final : public Task {
 public:
  NetworkTask(const std::string& net, int64_t size, int64_t batch, int64_t seed)
      : network_(
            make_network(net, {.classes = 1000, .channels = 3, .height = size, .width = size, .normalize = "none"})) {
    network_->initialise(static_cast<uint64_t>(seed));
    network_->to(default_device());
    key_ = {.seed = static_cast<uint64_t>(seed), .purpose = Purpose::dropout};
    NetworkOptions const& o = network_->network_options();
    std::mt19937 random(static_cast<unsigned>(seed));
    std::uniform_real_distribution<float> pixel;
    std::vector<float> pixels(static_cast<size_t>(batch * o.height * o.width * o.channels));
    for (float& p : pixels) p = pixel(random);
    std::vector<int32_t> labels;
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < batch; ++i) labels.push_back(static_cast<int32_t>(i % o.classes)), ids.push_back(i);
    images_ = Tensor::from(pixels, {batch, o.height, o.width, o.channels});
    labels_ = Tensor::from(labels, {batch});
    ids_ = Tensor::from(ids, {batch});
  }

  Round run() override {
    int64_t const n = images_.dim(0);
    auto const start = std::chrono::steady_clock::now();
    Tape tape;
    std::vector<Tensor> watched;
    for (auto const& named : network_->trainable()) {
      tape.watch(named.parameter->value);
      watched.push_back(named.parameter->value);
    }
    Context context{.training = true, .ids = ids_, .key = key_};
    Tensor losses = cross_entropy((*network_)(images_, context), labels_);
    for (auto const& [head, weight] : context.auxiliary)
      losses = add(losses, scale(cross_entropy(head, labels_), weight));
    if (layers_.is_null()) layers_ = providers(tape);
    auto const gradients = tape.gradients(losses, Tensor::full({n}, 1 / double(n), DType::f32), watched);
    synchronize(stream_of(default_device()));
    std::chrono::duration<double> const seconds = std::chrono::steady_clock::now() - start;
    check(count_nan(gradients.front()) == 0, network_->spec(), ": NaN in the first parameter's gradient");
    peak_ = peak_resident_mib();
    return {.seconds = seconds.count(), .images = n, .accuracy = 0, .peak_resident_mib = peak_};
  }

  Json describe() const override {
    NetworkOptions const& o = network_->network_options();
    return {{"benchmark", "network"},
            {"net", network_->spec()},
            {"data", cat("noise of ", o.height, "x", o.width, "x", o.channels)},
            {"images", images_.dim(0)},
            {"batch", images_.dim(0)},
            {"counted", "forward, loss, gradients of all parameters"},
            {"peak_resident_mib", peak_},
            {"layers", layers_}};
  }

 private:
  std::unique_ptr<Network> network_;
  DrawKey key_;
  Tensor images_, labels_, ids_;
  Json layers_;
  double peak_ = 0;
};

}  // namespace

double peak_resident_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

std::unique_ptr<Task> network_task(const std::string& net, int64_t size, int64_t batch, int64_t seed) {
  return std::make_unique<NetworkTask>(net, size, batch, seed);
}

}  // namespace mith::bench
