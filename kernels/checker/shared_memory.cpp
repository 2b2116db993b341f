#include "kernels/checker/shared_memory.h"

#include <elf.h>
#include <link.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string_view>

#include "kernels/checker/sanitizers.h"

namespace mith::checker {
namespace {

/// Mangled names of variables inside functions of namespace mith::simt, but not the guards of initialised ones.
constexpr std::string_view prefix = "_ZZN4mith4simt";

/// Where the program was loaded: the first object that the loader lists is the program itself.
uintptr_t load_address() {
  uintptr_t address = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        *static_cast<uintptr_t*>(result) = info->dlpi_addr;
        return 1;
      },
      &address);
  return address;
}

std::vector<SharedArray> read_symbols() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  std::string const image((std::istreambuf_iterator<char>(file)), {});
  std::vector<SharedArray> found;
  ElfW(Ehdr) header;
  if (image.size() < sizeof header) return found;
  std::memcpy(&header, image.data(), sizeof header);
  auto const section = [&](size_t i) {
    ElfW(Shdr) s;
    std::memcpy(&s, image.data() + header.e_shoff + i * sizeof s, sizeof s);
    return s;
  };
  uintptr_t const base = load_address();
  for (size_t i = 0; i < header.e_shnum; ++i) {
    ElfW(Shdr) const table = section(i);
    if (table.sh_type != SHT_SYMTAB) continue;
    const char* const names = image.data() + section(table.sh_link).sh_offset;
    for (size_t at = 0; at + sizeof(ElfW(Sym)) <= table.sh_size; at += sizeof(ElfW(Sym))) {
      ElfW(Sym) symbol;
      std::memcpy(&symbol, image.data() + table.sh_offset + at, sizeof symbol);
      std::string_view const name = names + symbol.st_name;
      if (ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT || symbol.st_size == 0 || !name.starts_with(prefix)) continue;
      found.push_back({std::string(name), reinterpret_cast<void*>(base + symbol.st_value), symbol.st_size});
    }
  }
  return found;
}

}  // namespace

const std::vector<SharedArray>& shared_arrays() {
  static std::vector<SharedArray> const arrays = read_symbols();
  return arrays;
}

void spoil_shared_memory() {
  for (SharedArray const& a : shared_arrays()) fill_unwatched(a.address, 0xFF, a.bytes);
}

}  // namespace mith::checker
