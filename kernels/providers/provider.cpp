// The registry of providers, the static policy, and the two calls that the engine makes.
#include "kernels/providers/provider.h"

#include <algorithm>

#include "kernels/launch/error.h"

namespace mith {
namespace {

/// The static policy: libraries first, this project's kernels next, the reference last. A provider that is not listed
/// here comes after all listed ones but the reference.
int rank_of(std::string_view name) {
  constexpr std::string_view order[] = {"onednn", "cudnn", "cublas", "native"};
  auto const found = std::find(std::begin(order), std::end(order), name);
  auto const place = static_cast<int>(found - std::begin(order));
  return name == "reference" ? place + 1 : place;
}

/// The providers of one operator and the one that is forced, if any.
template <class Provider>
struct Registry {
  std::vector<std::unique_ptr<Provider>> providers;
  const Provider* forced = nullptr;

  void add(std::unique_ptr<Provider> provider) {
    auto const later = [](const auto& a, const auto& b) { return rank_of(a->name()) < rank_of(b->name()); };
    auto const place = std::upper_bound(providers.begin(), providers.end(), provider, later);
    providers.insert(place, std::move(provider));
  }
  std::vector<const Provider*> in_order() const {
    std::vector<const Provider*> list;
    for (const auto& provider : providers) list.push_back(provider.get());
    return list;
  }
  const Provider& find(std::string_view op, std::string_view name) const {
    std::string names;
    for (const auto& provider : providers) {
      if (provider->name() == name) return *provider;
      names += (names.empty() ? "" : ", ") + std::string(provider->name());
    }
    throw UsageError(cat("no provider '", name, "' for ", op, "; there are: ", names));
  }
  template <class Problem>
  const Provider& choose(std::string_view op, Device device, const Problem& problem) const {
    if (forced) {
      check(forced->supports(device, problem), "provider ", forced->name(), ", forced by ", op, "=", forced->name(),
            ", does not support ", describe(problem), " on ", name_of(device));
      return *forced;
    }
    for (bool const recommended : {true, false}) {
      for (const auto& provider : providers) {
        if ((!recommended || provider->recommended(problem)) && provider->supports(device, problem)) return *provider;
      }
    }
    bool const narrow = device == Device::cpu && problem.dtype == DType::bf16;
    throw Error(cat("no provider supports ", describe(problem), " on ", name_of(device),
                    narrow ? "; in bf16 oneDNN does, on a processor with AVX-512" : ""));
  }
};

Registry<MatmulProvider>& matmul_registry() {
  static Registry<MatmulProvider> registry;
  return registry;
}
Registry<Conv2dProvider>& conv2d_registry() {
  static Registry<Conv2dProvider> registry;
  return registry;
}

void check_problem(const MatmulProblem& p) {
  check(p.m >= 0 && p.n >= 0 && p.k >= 0 && p.batch >= 0, describe(p), ": negative size");
  Epilogue const& e = p.epilogue;
  check(p.batch == 1 ||
            (p.prologue.empty() && !e.bias && e.activation == Activation::none && e.only_bias_and_activation()),
        describe(p), ": a batch has no prologue and no epilogue");
  check(!p.epilogue.row_pitch || p.epilogue.row_pitch >= p.n, describe(p), ": row pitch ", p.epilogue.row_pitch,
        " is less than a row");
}

void check_problem(const Conv2dProblem& p) {
  Conv2dShape const& s = p.shape;
  check(s.n >= 0 && s.h > 0 && s.w > 0 && s.c > 0 && s.o > 0 && s.kh > 0 && s.kw > 0, describe(p), ": empty extent");
  check(s.stride_h > 0 && s.stride_w > 0 && s.dilation_h > 0 && s.dilation_w > 0 && s.pad_h >= 0 && s.pad_w >= 0,
        describe(p), ": strides and dilations must be positive, padding must not be negative");
  check(s.groups > 0 && s.c % s.groups == 0 && s.o % s.groups == 0, describe(p), ": groups must divide the channels");
  check(s.dilation_h * (s.kh - 1) < s.h + 2 * s.pad_h && s.dilation_w * (s.kw - 1) < s.w + 2 * s.pad_w, describe(p),
        ": the kernel is larger than the padded input");
  check(!p.epilogue.row_pitch || p.epilogue.row_pitch >= p.columns(), describe(p), ": row pitch ", p.epilogue.row_pitch,
        " is less than a row");
}

/// Nothing to write, or sums of no terms: the reference does what little is left, so that no library has to.
bool degenerate(const MatmulProblem& p) { return p.m == 0 || p.n == 0 || p.k == 0; }
bool degenerate(const Conv2dProblem& p) { return p.shape.n == 0; }

void* allocate(const Scratch& scratch, size_t bytes) {
  if (bytes == 0) return nullptr;
  check(scratch.allocate != nullptr, "a provider needs ", bytes, " bytes of scratch and the caller has none");
  return scratch.allocate(scratch.context, bytes);
}

std::string extras(const Prologue& prologue, const Epilogue& e) {
  std::string text;
  auto const add = [&](bool present, const char* what) { text += present ? std::string(" +") + what : ""; };
  add(!prologue.empty(), "prologue");
  add(e.bias, "bias");
  add(e.residual, "residual");
  add(e.sign_bits, "sign_bits");
  add(e.activation == Activation::relu, "relu");
  add(e.mask_bits, "mask_bits");
  add(e.accumulate, "accumulate");
  add(e.column_sum || e.column_sum_squares, "column_sums");
  if (e.row_pitch) text += cat(" pitch ", e.row_pitch);
  return text;
}

}  // namespace

MatmulProviderRegistration::MatmulProviderRegistration(std::unique_ptr<MatmulProvider> provider) {
  matmul_registry().add(std::move(provider));
}
Conv2dProviderRegistration::Conv2dProviderRegistration(std::unique_ptr<Conv2dProvider> provider) {
  conv2d_registry().add(std::move(provider));
}

std::vector<const MatmulProvider*> matmul_providers() { return matmul_registry().in_order(); }
std::vector<const Conv2dProvider*> conv2d_providers() { return conv2d_registry().in_order(); }

void force_provider(std::string_view op, std::string_view name) {
  bool const all = op == "all";
  require(all || op == "matmul" || op == "conv2d", "no operator '", op,
          "' has providers; there are: conv2d, matmul, all");
  // Both are looked up before either is set, so that an unknown name changes nothing.
  const auto* const matmul = all || op == "matmul" ? &matmul_registry().find("matmul", name) : nullptr;
  const auto* const conv2d = all || op == "conv2d" ? &conv2d_registry().find("conv2d", name) : nullptr;
  if (matmul) matmul_registry().forced = matmul;
  if (conv2d) conv2d_registry().forced = conv2d;
}

void clear_forced_providers() {
  matmul_registry().forced = nullptr;
  conv2d_registry().forced = nullptr;
}

std::map<std::string, std::string> forced_providers() {
  std::map<std::string, std::string> forced;
  if (matmul_registry().forced) forced["matmul"] = matmul_registry().forced->name();
  if (conv2d_registry().forced) forced["conv2d"] = conv2d_registry().forced->name();
  return forced;
}

const MatmulProvider& choose(Device device, const MatmulProblem& p) {
  return matmul_registry().choose("matmul", device, p);
}
const Conv2dProvider& choose(Device device, const Conv2dProblem& p) {
  return conv2d_registry().choose("conv2d", device, p);
}

void run_matmul(const Stream& stream, const MatmulProblem& p, void* y, const void* a, const void* b, Scratch scratch) {
  check_problem(p);
  auto const& provider = degenerate(p) ? matmul_registry().find("matmul", "reference") : choose(stream.device, p);
  void* const memory = allocate(scratch, provider.workspace(stream.device, p));
  if (p.batch == 1 || provider.batches()) return provider.run(stream, p, y, a, b, memory);
  auto const part = [&](const void* whole, int64_t i, int64_t elements) {
    return static_cast<const char*>(whole) + static_cast<size_t>(i * elements) * size_of(p.dtype);
  };
  MatmulProblem one = p;
  one.batch = 1;
  for (int64_t i = 0; i < p.batch; ++i)
    provider.run(stream, one, const_cast<char*>(part(y, i, p.m * p.n)), part(a, i, p.m * p.k), part(b, i, p.k * p.n),
                 memory);
}

void run_conv2d(const Stream& stream, const Conv2dProblem& p, void* x, void* w, void* y, Scratch scratch) {
  check_problem(p);
  auto const& provider = degenerate(p) ? conv2d_registry().find("conv2d", "reference") : choose(stream.device, p);
  provider.run(stream, p, x, w, y, allocate(scratch, provider.workspace(stream.device, p)));
}

std::string describe(const MatmulProblem& p) {
  return cat("matmul ", name_of(p.dtype), " ", p.batch == 1 ? "" : cat(p.batch, " of "), p.m, "x", p.n, "x", p.k,
             p.transpose_a ? " ta" : "", p.transpose_b ? " tb" : "", extras(p.prologue, p.epilogue));
}

std::string describe(const Conv2dProblem& p) {
  Conv2dShape const& s = p.shape;
  std::string text = cat("conv2d ", name_of(p.pass), " ", name_of(p.dtype), " ", s.n, "x", s.h, "x", s.w, "x", s.c,
                         " -> ", s.o, " kernel ", s.kh, "x", s.kw);
  if (s.stride_h != 1 || s.stride_w != 1) text += cat(" stride ", s.stride_h, "x", s.stride_w);
  if (s.pad_h || s.pad_w) text += cat(" pad ", s.pad_h, "x", s.pad_w);
  if (s.dilation_h != 1 || s.dilation_w != 1) text += cat(" dilation ", s.dilation_h, "x", s.dilation_w);
  if (s.groups != 1) text += cat(" groups ", s.groups);
  return text + extras(p.prologue, p.epilogue);
}

}  // namespace mith
