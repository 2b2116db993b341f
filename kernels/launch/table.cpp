// The kernel table, the launch scope and the cpu device's workers.
#include "kernels/launch/table.h"

#include <omp.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <map>

#include "kernels/launch/error.h"

namespace mith {
namespace {

struct Entry {
  AnyFunction function;
  const char* signature;
  int isa;
};

std::map<std::pair<Device, std::string>, Entry>& table() {
  static std::map<std::pair<Device, std::string>, Entry> entries;
  return entries;
}

std::vector<const KernelBase*>& declarations() {
  static std::vector<const KernelBase*> all;
  return all;
}

LaunchObserver& observer() {
  static LaunchObserver function;
  return function;
}

int64_t now_ns() {
  auto const t = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(t).count();
}

}  // namespace

KernelRegistration::KernelRegistration(const char* name, const char* suffix, Device device, int isa,
                                       const char* signature, AnyFunction function) {
  if (device == Device::cpu && isa > isa_level()) return;
  auto const [it, added] =
      table().emplace(std::pair(device, std::string(name) + suffix), Entry{function, signature, isa});
  if (added) return;
  check(it->second.isa != isa, "kernel ", name, suffix, " is registered twice for ", name_of(device));
  if (it->second.isa < isa) it->second = {function, signature, isa};
}

KernelBase::KernelBase(std::string name, const char* signature) : name_(std::move(name)), signature_(signature) {
  declarations().push_back(this);
}

bool KernelBase::exists(Device device) const { return table().count({device, name_}) != 0; }

AnyFunction KernelBase::resolve(Device device) const {
  // Races are harmless: every thread stores the same pointer.
  AnyFunction& cached = found_[static_cast<int>(device)];
  AnyFunction found = __atomic_load_n(&cached, __ATOMIC_ACQUIRE);
  if (found) return found;
  auto const it = table().find({device, name_});
  check(it != table().end(), "no kernel named ", name_, " for ", name_of(device));
  check(std::string(it->second.signature) == signature_, "kernel ", name_, " is called as ", signature_,
        " but defined as ", it->second.signature);
  found = it->second.function;
  __atomic_store_n(&cached, found, __ATOMIC_RELEASE);
  return found;
}

std::vector<const KernelBase*> declared_kernels() { return declarations(); }

std::vector<std::string> registered_kernels(Device device) {
  std::vector<std::string> names;
  for (auto const& [key, entry] : table())
    if (key.first == device) names.push_back(key.second);
  return names;
}

void throw_too_many(const char* kernel, int64_t elements) {
  throw Error(cat(kernel, ": ", elements, " elements are too many for one launch"));
}

void observe_launches(LaunchObserver function) { observer() = std::move(function); }

LaunchScope::LaunchScope(const Stream& stream, const Work& work)
    : stream_(stream), work_(work), exceptions_(std::uncaught_exceptions()) {
  if (observer()) observer()(stream, work);
  if (launch_options().trace) start_ns_ = now_ns();
}

LaunchScope::~LaunchScope() noexcept(false) {
  LaunchOptions const& options = launch_options();
  if (!options.synchronize && !options.trace) return;
  if (std::uncaught_exceptions() > exceptions_) return;  // the launch failed, and says why
  synchronize(stream_);
  if (!options.trace) return;
  double const us = static_cast<double>(now_ns() - start_ns_) * 1e-3;
  std::fprintf(stderr, "%-36s %-4s %12lld items %10.1f us", work_.name, name_of(stream_.device),
               static_cast<long long>(work_.items), us);
  if (work_.bytes > 0) std::fprintf(stderr, " %8.2f GB/s", static_cast<double>(work_.bytes) / us * 1e-3);
  std::fputc('\n', stderr);
}

void parallel_workers(int count, void (*body)(void*, int, int), void* context) {
#pragma omp parallel num_threads(count)
  body(context, omp_get_thread_num(), omp_get_num_threads());
}

}  // namespace mith
