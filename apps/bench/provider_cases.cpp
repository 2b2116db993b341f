// Cases of matrix products and convolutions: every provider on the shapes of the project's networks.
#include "apps/bench/kernel_case.h"
#include "kernels/providers/provider.h"

namespace mith::bench {
namespace {

struct Layer {
  int64_t side, in, out, kernel, stride;
};
// The small network's layers at 28 pixels, the last of ResNet-18's at 64, then ResNet-50's at 224.
constexpr Layer small_layers[] = {{28, 1, 32, 3, 1}, {14, 32, 64, 3, 1}, {7, 64, 64, 3, 1}};
constexpr Layer short_layers[] = {{4, 256, 256, 3, 1}, {4, 256, 512, 3, 2}, {2, 512, 512, 3, 1}};
constexpr Layer large_layers[] = {{224, 3, 64, 7, 2},   {56, 64, 64, 3, 1},    {56, 64, 256, 1, 1},
                                  {28, 128, 128, 3, 1}, {14, 256, 1024, 1, 1}, {7, 512, 512, 3, 1}};

Scratch scratch_of(Operands& o) {
  return {[](void* context, size_t bytes) -> void* {
            return static_cast<Operands*>(context)->empty<char>(static_cast<int64_t>(bytes));
          },
          &o};
}

/// Scratch is taken once: the closure keeps what the first run asked for.
struct HeldScratch {
  Operands* operands;
  void* memory = nullptr;
  size_t bytes = 0;
  Scratch get() {
    return {[](void* context, size_t wanted) -> void* {
              auto& self = *static_cast<HeldScratch*>(context);
              if (wanted > self.bytes) {
                Scratch const fresh = scratch_of(*self.operands);
                self.memory = fresh.allocate(fresh.context, wanted);
                self.bytes = wanted;
              }
              return self.memory;
            },
            this};
  }
};

/// Only the named provider may run.
struct Forced {
  Forced(const char* op, const std::string& name) { force_provider(op, name); }
  ~Forced() { clear_forced_providers(); }
};

/// Random values of the type.
void* operand(Operands& o, DType type, int64_t n) {
  if (type == DType::bf16) return o.values<bf16>(n);
  return o.values<float>(n);
}

std::string shape_text(const Conv2dProblem& p) {
  std::string const all = describe(p);  // "conv2d forward f32 16x56x56x64 -> 64 kernel 3x3 pad 1x1"
  return all.substr(std::string("conv2d ").size());
}

KernelCase conv_case(const Conv2dProblem& problem, const std::string& provider, int priority) {
  KernelCase c;
  c.kernel = "conv2d";
  c.provider = provider;
  c.shape = shape_text(problem);
  c.priority = priority;
  c.flops = static_cast<double>(problem.flops());
  c.dtype = problem.dtype;
  c.prepare = [problem, provider](Operands& o) -> Run {
    Conv2dProblem p = problem;
    p.shape.n = o.extent(p.shape.n);
    void* const x = operand(o, p.dtype, p.shape.inputs());
    auto* const w = o.values<float>(p.shape.weights());
    void* const y = operand(o, p.dtype, p.shape.outputs());
    auto const scratch = std::make_shared<HeldScratch>(HeldScratch{&o});
    return [=, &o] {
      Forced const forced("conv2d", provider);
      run_conv2d(o.stream, p, x, w, y, scratch->get());
    };
  };
  return c;
}

KernelCase matmul_case(const MatmulProblem& problem, const std::string& provider, int priority) {
  KernelCase c;
  c.kernel = "matmul";
  c.provider = provider;
  c.shape = describe(problem).substr(std::string("matmul ").size());
  c.priority = priority;
  c.flops = static_cast<double>(problem.flops());
  c.dtype = problem.dtype;
  c.prepare = [problem, provider](Operands& o) -> Run {
    MatmulProblem p = problem;
    p.m = o.extent(p.m);
    void* const y = operand(o, p.dtype, p.m * p.n);
    const void* const a = operand(o, p.dtype, p.m * p.k);
    const float* const b = o.values<float>(p.k * p.n);
    auto const scratch = std::make_shared<HeldScratch>(HeldScratch{&o});
    return [=, &o] {
      Forced const forced("matmul", provider);
      run_matmul(o.stream, p, y, a, b, scratch->get());
    };
  };
  return c;
}

}  // namespace

std::vector<KernelCase> provider_cases(Device device) {
  std::vector<KernelCase> cases;
  auto const priority_of = [](std::string_view provider) { return provider == "reference" ? 9 : 0; };
  using enum ConvPass;
  auto const add = [&](const Layer& l, int64_t batch, int base, DType type, const std::vector<ConvPass>& passes) {
    int64_t const pad = l.kernel / 2;
    for (ConvPass pass : passes) {
      Conv2dProblem p{.dtype = type,
                      .pass = pass,
                      .shape = {.n = batch,
                                .h = l.side,
                                .w = l.side,
                                .c = l.in,
                                .o = l.out,
                                .kh = l.kernel,
                                .kw = l.kernel,
                                .stride_h = l.stride,
                                .stride_w = l.stride,
                                .pad_h = pad,
                                .pad_w = pad}};
      for (const Conv2dProvider* provider : conv2d_providers())
        if (provider->supports(device, p))
          cases.push_back(conv_case(p, std::string(provider->name()), base + priority_of(provider->name())));
    }
  };
  std::vector<ConvPass> const all{forward, input_gradient, weight_gradient};
  for (Layer const& l : small_layers) add(l, 128, 1, DType::f32, all);
  for (Layer const& l : short_layers) add(l, 128, 2, DType::f32, all);
  for (Layer const& l : large_layers) add(l, 16, 0, DType::f32, all);
  for (Layer const& l : large_layers) add(l, 16, 1, DType::bf16, {forward, input_gradient});
  for (MatmulProblem const& p : {MatmulProblem{.m = 128, .n = 128, .k = 576, .transpose_b = true},
                                 MatmulProblem{.m = 3152, .n = 768, .k = 768, .transpose_b = true},
                                 MatmulProblem{.m = 1024, .n = 1024, .k = 1024},
                                 MatmulProblem{.dtype = DType::bf16, .m = 1024, .n = 1024, .k = 1024}})
    for (const MatmulProvider* provider : matmul_providers())
      if (provider->supports(device, p))
        cases.push_back(matmul_case(p, std::string(provider->name()), priority_of(provider->name())));
  return cases;
}

}  // namespace mith::bench
