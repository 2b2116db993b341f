#include "engine/files/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace mith {
namespace {

namespace fs = std::filesystem;

/// A name beside `path` that no other process or thread uses.
fs::path temporary_beside(const fs::path& path) {
  static std::atomic<int> counter{0};
  return path.parent_path() / cat(".", path.filename().string(), ".", getpid(), ".", counter++, ".tmp");
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

/// Removes the file unless it was renamed away.
struct Temporary {
  fs::path path;
  ~Temporary() {
    std::error_code ignored;
    fs::remove(path, ignored);
  }
};

[[noreturn]] void fail_to_write(const fs::path& path, int error) {
  throw Error(cat("cannot write ", path, ": ", error ? std::strerror(error) : "the stream failed"));
}

/// Syncs what the path names; returns errno, or 0.
int sync_path(const fs::path& path) {
  int const descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return errno;
  int const synced = fsync(descriptor) == 0 ? 0 : errno;
  int const closed = close(descriptor) == 0 ? 0 : errno;
  return synced ? synced : closed;
}

void fill(const fs::path& temporary, const fs::path& target, const std::function<void(std::ostream&)>& write) {
  errno = 0;
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  if (!out && (errno == ENOSPC || errno == EDQUOT)) fail_to_write(target, errno);
  require(out.is_open(), "cannot write ", target, ": ", std::strerror(errno));
  errno = 0;
  write(out);
  out.flush();
  if (!out) fail_to_write(target, errno);
  out.close();
  if (!out) fail_to_write(target, errno);
  if (int const error = sync_path(temporary)) fail_to_write(target, error);
}

}  // namespace

void write_atomically(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  std::error_code error;
  require(!fs::is_directory(path, error), "cannot write ", path, ": it is a folder");
  Temporary const temporary{temporary_beside(path)};
  fill(temporary.path, path, write);
  fs::rename(temporary.path, path, error);
  if (error) fail_to_write(path, error.value());
  // The rename itself must reach the disk. Some file systems cannot sync a folder (EINVAL); they need not.
  int const synced = sync_path(folder_of(path));
  if (synced != 0 && synced != EINVAL) fail_to_write(path, synced);
}

void write_text(const fs::path& path, const std::string& text) {
  write_atomically(path, [&](std::ostream& out) { out.write(text.data(), static_cast<std::streamsize>(text.size())); });
}

std::string read_text(const fs::path& path) {
  std::error_code error;
  require(!fs::is_directory(path, error), "cannot read ", path, ": it is a folder");
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  require(in.is_open(), "cannot read ", path, ": ", std::strerror(errno));
  std::ostringstream text;
  if (in.peek() != std::ifstream::traits_type::eof()) text << in.rdbuf();
  require(!in.bad() && !text.fail(), "cannot read ", path, ": reading failed");
  return std::move(text).str();
}

void make_writable_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  std::error_code hidden;  // a folder in one that may not be searched
  require(fs::is_directory(folder, hidden), "cannot make the folder ", folder, ": ",
          error ? error.message() : "a file of that name is in the way");
  Temporary const probe{temporary_beside(folder / "probe")};
  errno = 0;
  std::ofstream out(probe.path);
  require(out.is_open(), "cannot write into the folder ", folder, ": ", std::strerror(errno));
}

}  // namespace mith
