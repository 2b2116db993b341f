// Where the kernels' __shared__ arrays lie. On simt they are function-local statics of namespace mith::simt, which is
// what AddressSanitizer needs to see their ends; their addresses are read from the program's own symbol table.
#pragma once
#include <string>
#include <vector>

namespace mith::checker {

struct SharedArray {
  std::string name;  ///< mangled
  void* address;
  size_t bytes;
};

/// All of the program's shared arrays; empty in a stripped binary, whose shared memory is then not spoilt.
const std::vector<SharedArray>& shared_arrays();

/// Fills every shared array with NaN, as if a block before had left it so.
void spoil_shared_memory();

}  // namespace mith::checker
