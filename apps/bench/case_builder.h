// Cases of registered kernels from a few lines each.
#pragma once
#include <memory>
#include <string>
#include <utility>

#include "apps/bench/kernel_case.h"
#include "kernels/launch/table.h"

namespace mith::bench {

template <class T>
std::string named(const std::string& kernel) {
  return kernel + "_" + name_of(dtype_of<T>);
}

/// `prepare` for a kernel K: gets the operands and the kernel, gives what is measured.
template <class K, class F>
KernelCase make_case(const std::string& name, std::string shape, int priority, F prepare) {
  KernelCase c;
  c.kernel = name;
  c.shape = std::move(shape);
  c.priority = priority;
  c.prepare = [name, prepare](Operands& o) -> Run {
    auto const kernel = std::make_shared<K>(name.c_str());
    return prepare(o, [kernel, &stream = o.stream](auto... args) { (*kernel)(stream, args...); });
  };
  return c;
}

/// The same with a plain loop beside it, registered for the cpu as plain_<kernel> with the same signature.
template <class K, class F>
KernelCase with_plain(const std::string& name, std::string shape, int priority, F prepare) {
  KernelCase c = make_case<K>(name, std::move(shape), priority, prepare);
  c.prepare_plain = make_case<K>("plain_" + name, "", priority, prepare).prepare;
  return c;
}

}  // namespace mith::bench
