// The test binary: any device by MITH_DEVICE=cpu|simt|cuda, warnings of the engine are failures elsewhere.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>
#include <iostream>
#include <set>
#include <string>

#include "engine/tensor/tensor.h"
#include "engine/train/progress.h"
#include "kernels/launch/table.h"

namespace {

/// With MITH_KERNEL_COVERAGE=1: names the kernels of the device that no test called; false if there are any.
bool all_kernels_called(mith::Device device) {
  const char* const asked = std::getenv("MITH_KERNEL_COVERAGE");
  if (!asked || std::string(asked) != "1") return true;
  std::set<std::string> left;
  for (const std::string& name : mith::registered_kernels(device)) left.insert(name);
  for (const mith::KernelBase* kernel : mith::declared_kernels())
    if (kernel->called(device)) left.erase(kernel->name());
  std::cout << "kernels that no test ran on " << mith::name_of(device) << ": " << left.size() << '\n';
  for (const std::string& name : left) std::cout << "  " << name << '\n';
  return left.empty();
}

}  // namespace

int main(int argc, char** argv) {
  std::string const wanted = std::getenv("MITH_DEVICE") ? std::getenv("MITH_DEVICE") : "cpu";
  try {
    for (mith::Device d : {mith::Device::cpu, mith::Device::simt, mith::Device::cuda})
      if (wanted == mith::name_of(d)) mith::set_default_device(d);
  } catch (const mith::Error& e) {
    std::cerr << "mith-tests: " << e.what() << '\n';
    return 2;
  }
  if (wanted != mith::name_of(mith::default_device())) {
    std::cerr << "mith-tests: MITH_DEVICE=" << wanted << " is none of cpu, simt, cuda\n";
    return 2;
  }
  mith::set_quiet(true);
  doctest::Context context(argc, argv);
  int const failed = context.run();
  if (!all_kernels_called(mith::default_device())) return 1;
  return failed;
}
