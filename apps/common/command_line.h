// The command line that every program shares: common options, help, suggestions, errors and exit codes.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/files/run_folder.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace mith {

/// What --device, --seed, ... of every program say.
struct CommonOptions {
  std::string device = "auto", precision = "f32";
  int64_t seed = 0, threads = 0;
  std::vector<std::string> providers;
  bool strict = false, quiet = false, json = false;
};

/// Declares options, parses argv and --config FILE (the command line wins), applies the common options to the process.
class CommandLine {
 public:
  /// `examples`: one command a line, printed first by --help.
  CommandLine(std::string program, const std::string& purpose, const std::string& examples);
  ~CommandLine();

  /// `value` is how the help calls the argument, e.g. "DATA". Targets hold the defaults.
  void text(const std::string& name, std::string& target, const std::string& value, const std::string& help);
  /// May be repeated.
  void texts(const std::string& name, std::vector<std::string>& target, const std::string& value,
             const std::string& help);
  void choice(const std::string& name, std::string& target, const std::vector<std::string>& choices,
              const std::string& help);
  /// Numbers accept what specs accept ("8/255"); outside [low, high] is a UsageError naming the option.
  void number(const std::string& name, double& target, double low, double high, const std::string& help);
  void integer(const std::string& name, int64_t& target, int64_t low, int64_t high, const std::string& help);
  void flag(const std::string& name, bool& target, const std::string& help);

  /// False if --help or --version was asked for and printed. Throws UsageError on anything unusable.
  bool parse(int argc, char** argv);
  bool given(const std::string& name) const;

  CommonOptions common;

 private:
  CLI::Option* add(const std::string& name, const std::string& value, const std::string& shown_default,
                   const std::string& help, const std::function<void(const std::string&)>& set);
  void add_common();
  void apply_common();
  std::string program_;
  std::unique_ptr<CLI::App> app_;
};

/// Throws UsageError unless --precision is f32: attacks take bf16 too, `what` does not.
void require_f32(const std::string& precision, const std::string& what);

/// Runs a program's body and turns exceptions into one line on stderr and the exit code: 0 done, 1 failed while
/// running, 2 unusable arguments or files, 130 interrupted.
int run_app(const std::string& program, const std::function<int()>& body);

/// What --version prints: the program and build_information().
std::string version_text(const std::string& program);

/// "a,b" -> {"a", "b"}; empty parts are dropped.
std::vector<std::string> split_list(const std::string& text, char separator = ',');
/// {"a", "b"} -> "a, b", for messages.
std::string joined(const std::vector<std::string>& names);

}  // namespace mith
