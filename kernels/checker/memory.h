// The simt device's memory: one reserved range of addresses, closed to everybody but kernels and copies.
#pragma once
#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace mith::checker {

class Arena {
 public:
  static Arena& instance();

  void* allocate(size_t bytes, const char* label);
  void release(void*);

  /// Opens the memory for as long as it lives; they may nest.
  class Access {
   public:
    Access() { instance().open(); }
    ~Access() { instance().close(); }
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;
  };

  /// "'conv2d' (4096 bytes), 16 bytes behind its end" if a guard band was written; else empty. Needs access.
  std::string damage() const;

 private:
  struct Allocation {
    size_t bytes, reserved;
    std::string label;
  };
  Arena();
  void open();
  void close();
  char* take(size_t reserved);
  void give_back(char* block, size_t reserved);
  friend struct FaultHandler;

  char* base_ = nullptr;
  size_t used_ = 0;          ///< bytes from base_ on that were ever handed out and not given back at the end
  size_t opened_bytes_ = 0;  ///< bytes from base_ on that kernels can reach now
  int opened_ = 0;
  std::map<char*, Allocation> live_;
  std::map<char*, size_t> free_;  ///< ranges below used_; neighbours are merged, so that little has to be opened
};

}  // namespace mith::checker
