// The test binary: any device by MITH_DEVICE=cpu|simt|cuda, warnings of the engine are failures elsewhere.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "engine/tensor/tensor.h"
#include "engine/train/progress.h"

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
  return context.run();
}
