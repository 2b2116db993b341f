#include "engine/files/run_folder.h"
#include "engine/tensor/tensor.h"
#include "kernels/providers/provider.h"

// Written by the build (engine/git_hash.cmake); absent when a file is compiled by hand.
#if __has_include("mith_git_hash.h")
#include "mith_git_hash.h"
#endif
#ifndef MITH_GIT_HASH
#define MITH_GIT_HASH "unknown"
#endif
#ifndef MITH_VERSION
#define MITH_VERSION "0.1.0"
#endif
#ifndef MITH_BUILD_TYPE
#define MITH_BUILD_TYPE "unknown"
#endif

namespace mith {
namespace {

std::string compiler() {
#if defined(__clang__)
  return cat("clang ", __clang_major__, ".", __clang_minor__, ".", __clang_patchlevel__);
#else
  return cat("gcc ", __GNUC__, ".", __GNUC_MINOR__, ".", __GNUC_PATCHLEVEL__);
#endif
}

template <class Provider>
std::vector<std::string> names(const std::vector<const Provider*>& providers) {
  std::vector<std::string> all;
  all.reserve(providers.size());
  for (const Provider* p : providers) all.emplace_back(p->name());
  return all;
}

}  // namespace

const char* version() { return MITH_VERSION; }

Json build_information() {
  Json providers{{"conv2d", names(conv2d_providers())}, {"matmul", names(matmul_providers())}};
  if (auto const forced = forced_providers(); !forced.empty()) providers["forced"] = forced;
  return {{"mithridate", version()},
          {"git", MITH_GIT_HASH},
          {"build", MITH_BUILD_TYPE},
          {"compiler", compiler()},
          {"isa", cat("x86-64-v", isa_level())},
          {"device", name_of(default_device())},
          {"hardware", describe(default_device())},
          {"providers", providers}};
}

}  // namespace mith
