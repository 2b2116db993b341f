#include "apps/common/command_line.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>
#include <new>

#include "apps/common/interrupt.h"
#include "engine/spec/spec.h"
#include "engine/tensor/tensor.h"
#include "engine/train/progress.h"
#include "kernels/launch/runtime.h"
#include "kernels/providers/provider.h"

namespace mith {
namespace {

/// All long option names, with their dashes.
std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// The key in CLI11's "INI was not able to parse <key>".
[[noreturn]] void throw_unknown_config_key(const CLI::App& app, const std::string& message) {
  std::string const key = message.substr(message.rfind(' ') + 1);
  throw UsageError(cat("--config: unknown option '", key, "'", suggestion("--" + key, option_names(app))));
}

/// The parser takes whatever follows an option for its value, even another option.
void require_value(const std::string& name, const std::string& given) {
  require(!given.starts_with("--"), name, " needs a value, not the option ", given);
}

std::string joined_devices() {
  std::vector<std::string> names;
  for (Device d : {Device::cpu, Device::simt, Device::cuda})
    if (available(d)) names.emplace_back(name_of(d));
  return joined(names);
}

Device device_named(const std::string& name) {
  if (name == "auto") return available(Device::cuda) ? Device::cuda : Device::cpu;
  for (Device d : {Device::cpu, Device::simt, Device::cuda})
    if (name == name_of(d)) {
      require(available(d), "--device ", name, ": not available here; available: ", joined_devices());
      return d;
    }
  throw UsageError(cat("--device: unknown device '", name, "'", suggestion(name, {"auto", "cpu", "cuda", "simt"})));
}

}  // namespace

CommandLine::CommandLine(std::string program, const std::string& purpose, const std::string& examples)
    : program_(std::move(program)), app_(std::make_unique<CLI::App>()) {
  app_->name(program_);
  app_->description(purpose + "\n\nExamples:\n" + examples);
  app_->get_formatter()->column_width(34);
  app_->set_help_flag();
  app_->allow_config_extras(CLI::config_extras_mode::error);
}
CommandLine::~CommandLine() = default;

CLI::Option* CommandLine::add(const std::string& name, const std::string& value, const std::string& shown_default,
                              const std::string& help, const std::function<void(const std::string&)>& set) {
  std::string const described = shown_default.empty() ? help : help + " [" + shown_default + "]";
  auto const checked = [name, set](const std::string& given) {
    require_value(name, given);
    set(given);
  };
  return app_->add_option_function<std::string>(name, checked, described)->option_text(value);
}

void CommandLine::text(const std::string& name, std::string& target, const std::string& value,
                       const std::string& help) {
  add(name, value, target, help, [&target](const std::string& given) { target = given; });
}

void CommandLine::texts(const std::string& name, std::vector<std::string>& target, const std::string& value,
                        const std::string& help) {
  auto const set = [name, &target](const std::vector<std::string>& given) {
    for (const std::string& one : given) require_value(name, one);
    target = given;
  };
  app_->add_option_function<std::vector<std::string>>(name, set, help)->option_text(value + " ...");
}

void CommandLine::choice(const std::string& name, std::string& target, const std::vector<std::string>& choices,
                         const std::string& help) {
  std::string shown;
  for (const std::string& c : choices) shown += (shown.empty() ? "" : "|") + c;
  add(name, shown, target, help, [=, &target](const std::string& given) {
    require(std::find(choices.begin(), choices.end(), given) != choices.end(), name, ": unknown value '", given, "'",
            suggestion(given, choices));
    target = given;
  });
}

void CommandLine::number(const std::string& name, double& target, double low, double high, const std::string& help) {
  add(name, "X", target < low ? "" : format_number(target), help, [=, &target](const std::string& given) {
    target = parse_number(given, name);
    require(target >= low && target <= high, name, ": ", given, " is outside ", format_number(low), " to ",
            format_number(high));
  });
}

void CommandLine::integer(const std::string& name, int64_t& target, int64_t low, int64_t high,
                          const std::string& help) {
  add(name, "N", target < low ? "" : std::to_string(target), help, [=, &target](const std::string& given) {
    target = parse_integer(given, name);
    require(target >= low && target <= high, name, ": ", given, " is outside ", low, " to ", high);
  });
}

void CommandLine::flag(const std::string& name, bool& target, const std::string& help) {
  app_->add_flag(name, target, help);
}

bool CommandLine::given(const std::string& name) const { return app_->count(name) > 0; }

void CommandLine::add_common() {
  size_t const own = app_->get_options().size();
  for (CLI::Option* option : app_->get_options()) option->group("Options of " + program_);
  choice("--device", common.device, {"auto", "cpu", "cuda", "simt"},
         "where to compute; auto takes a GPU if there is one");
  integer("--seed", common.seed, 0, INT64_MAX, "of every random draw");
  integer("--threads", common.threads, 0, 1024, "of the cpu device; 0: all cores");
  choice("--precision", common.precision, {"f32", "tf32", "bf16"},
         "of the network's arithmetic; bf16, for attacks: of gradients, f32 confirms what they find");
  texts("--provider", common.providers, "OP=NAME", "force who computes an operator, e.g. conv2d=native");
  flag("--strict", common.strict, "broken images and NaN gradients stop the run");
  flag("--quiet", common.quiet, "no progress on stderr");
  flag("--json", common.json, "one JSON document on stdout instead of tables");
  app_->set_config("--config", "", "read these options from a TOML file; the command line wins")->option_text("FILE");
  app_->set_help_flag("-h,--help", "print this");
  app_->set_version_flag(
      "--version", [this] { return version_text(program_); }, "print version, build and devices");
  auto const options = app_->get_options();
  for (size_t i = own; i < options.size(); ++i) options[i]->group("Common options");
}

bool CommandLine::parse(int argc, char** argv) {
  add_common();
  try {
    app_->parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::cout << app_->help();
    return false;
  } catch (const CLI::CallForVersion&) {
    std::cout << version_text(program_);
    return false;
  } catch (const CLI::ExtrasError&) {
    std::string const extra = app_->remaining().front();
    std::string const name = extra.substr(0, extra.find('='));
    throw UsageError(cat("unknown option '", name, "'", suggestion(name, option_names(*app_)), " (--help lists all)"));
  } catch (const CLI::ConfigError& error) {
    throw_unknown_config_key(*app_, first_line(error.what()));
  } catch (const CLI::ParseError& error) {
    throw UsageError(first_line(error.what()));
  }
  apply_common();
  return true;
}

void CommandLine::apply_common() {
  set_quiet(common.quiet);
  if (common.threads > 0) set_threads(static_cast<int>(common.threads));
  set_default_device(device_named(common.device));
  for (const std::string& text : common.providers) {
    size_t const equals = text.find('=');
    require(equals != std::string::npos, "--provider '", text, "': expected OP=NAME, e.g. conv2d=native");
    force_provider(text.substr(0, equals), text.substr(equals + 1));
  }
}

void require_f32(const std::string& precision, const std::string& what) {
  require(precision == "f32", "--precision ", precision, ": ", what, " runs in f32 only");
}

int run_app(const std::string& program, const std::function<int()>& body) {
  auto const fail = [&](const std::string& message, int code) {
    std::cout.flush();
    std::cerr << program << ": " << first_line(message) << std::endl;
    return code;
  };
  // Writing past a file size limit is an error like a full disk, not a reason to be killed.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    int const code = body();
    std::cout.flush();
    check(std::cout.good(), "cannot write to stdout");
    return code;
  } catch (const UsageError& error) {
    return fail(error.what(), 2);
  } catch (const Interrupted& error) {
    return fail(error.what(), 130);
  } catch (const std::bad_alloc&) {
    return fail("out of memory; a smaller --batch or --limit needs less", 1);
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
}

std::string version_text(const std::string& program) {
  Json const build = build_information();
  std::string text = program + "\n";
  for (auto const& [key, value] : build.items())
    text += "  " + key + ": " + (value.is_string() ? value.get<std::string>() : value.dump()) + "\n";
  return text;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::vector<std::string> split_list(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

}  // namespace mith
