// mith-bench kernels: every kernel's time, what it moves and computes, and its share of what this machine can do.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <set>
#include <sstream>

#include "apps/bench/ceilings.h"
#include "apps/bench/kernel_case.h"
#include "apps/common/command_line.h"
#include "engine/report/report.h"
#include "engine/tensor/tensor.h"
#include "engine/train/progress.h"
#include "kernels/launch/table.h"
#include "kernels/providers/provider.h"

namespace mith::bench {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
}

/// One measured row, ready for JSON.
Json measure_case(const Stream& stream, const KernelCase& c, int64_t rounds, const Ceilings& ceilings) {
  int64_t const shrink = shrink_of(stream.device);
  Operands operands(stream, shrink);
  Run const run = c.prepare(operands);
  double bytes = 0;
  int64_t launches = 0;
  observe_launches([&](const Stream&, const Work& work) { bytes += double(work.bytes), ++launches; });
  run();
  synchronize(stream);
  observe_launches(nullptr);

  Timer timer(stream, run);
  std::unique_ptr<Timer> plain;
  if (c.prepare_plain && stream.device == Device::cpu)
    plain = std::make_unique<Timer>(stream, c.prepare_plain(operands));
  std::vector<double> own, others, ratios;
  for (int64_t i = 0; i < rounds; ++i) {  // alternating, so that a slow moment of the machine meets both
    own.push_back(timer.reading());
    if (!plain) continue;
    others.push_back(plain->reading());
    ratios.push_back(own.back() / others.back());
  }
  double const flops = c.flops / double(shrink), time = median(own);
  double const floor = ceilings.floor_seconds(bytes, flops, c.dtype);
  Json row{{"key", c.key()},
           {"kernel", c.kernel},
           {"provider", c.provider},
           {"shape", c.shape},
           {"device", name_of(stream.device)},
           {"microseconds", 1e6 * time},
           {"launches", launches},
           {"rounds", rounds},
           {"bytes", bytes},
           {"flops", flops},
           {"gigabytes_per_second", 1e-9 * bytes / time},
           {"gigaflops_per_second", 1e-9 * flops / time},
           {"share_of_floor", floor / time}};
  if (plain) {
    row["plain_microseconds"] = 1e6 * median(others);
    row["relative_to_plain"] = median(ratios);
  }
  return row;
}

/// Kernels of the device that no case runs: must be none.
std::vector<std::string> unmeasured(Device device, const std::vector<KernelCase>& cases) {
  std::set<std::string> known;
  for (KernelCase const& c : cases) known.insert(c.kernel);
  std::vector<std::string> missing;
  for (const std::string& name : registered_kernels(device)) {
    bool const provider = name.starts_with("conv2d_") || name.starts_with("matmul_") || name.starts_with("reference_");
    if (!known.count(name) && !provider && !name.starts_with("plain_")) missing.push_back(name);
  }
  return missing;
}

bool wanted(const KernelCase& c, const std::string& filter) {
  if (filter.empty()) return true;
  for (const std::string& part : split_list(filter))
    if (c.key().find(part) != std::string::npos) return true;
  return false;
}

/// Rows of an earlier, interrupted measurement: one JSON object a line.
std::vector<Json> read_rows(const std::string& path) {
  std::vector<Json> rows;
  std::ifstream file(path);
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    Json row = Json::parse(line, nullptr, false);
    require(row.is_object() && row.contains("key") && row.contains("device"), "--resume ", path, " line ", number,
            " is no row of mith-bench kernels");
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string cell(const Json& row, const char* key, int digits) {
  if (!row.contains(key)) return "";
  double const v = row[key].get<double>();
  if (v == 0) return "";
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << v;
  return out.str();
}

void print_rows(const std::vector<Json>& rows, bool markdown) {
  std::vector<std::vector<std::string>> lines{
      {"kernel", "provider", "shape", "us", "GB/s", "GF/s", "of floor", "x plain"}};
  for (Json const& r : rows)
    lines.push_back({r["kernel"], r["provider"], r["shape"], cell(r, "microseconds", 1),
                     cell(r, "gigabytes_per_second", 1), cell(r, "gigaflops_per_second", 1),
                     cell(r, "share_of_floor", 2), cell(r, "relative_to_plain", 2)});
  std::vector<size_t> widths(lines[0].size());
  for (auto const& line : lines)
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  for (size_t n = 0; n < lines.size(); ++n) {
    if (markdown) std::cout << "| ";
    for (size_t i = 0; i < lines[n].size(); ++i) {
      bool const number = i >= 3 && n > 0;
      std::cout << (number ? std::right : std::left) << std::setw(static_cast<int>(widths[i])) << lines[n][i]
                << (markdown ? " | " : "  ");
    }
    std::cout << '\n';
    if (markdown && n == 0) {
      for (size_t i = 0; i < widths.size(); ++i) std::cout << "|" << std::string(widths[i] + 2, '-');
      std::cout << "|\n";
    }
  }
}

}  // namespace

Operands::~Operands() {
  synchronize(stream);
  for (void* memory : memory_) raw_release(stream.device, memory);
}

void* Operands::allocate(size_t bytes) {
  memory_.push_back(raw_allocate(stream.device, bytes > 0 ? bytes : 1, "an operand of a benchmark"));
  return memory_.back();
}

std::vector<KernelCase> kernel_cases(Device device) {
  std::vector<KernelCase> cases = provider_cases(device);
  for (auto const& more :
       {apgd_cases(), attack_cases(), copies_cases(), elementwise_cases(), minimum_norm_cases(), network_cases(),
        row_cases(), score_cases(), transfer_cases(), universal_cases(), window_cases()})
    cases.insert(cases.end(), more.begin(), more.end());
  std::stable_sort(cases.begin(), cases.end(), [](auto const& a, auto const& b) { return a.priority < b.priority; });
  return cases;
}

void bench_kernels(const KernelOptions& options) {
  Stream const stream = stream_of(default_device());
  auto const start = Clock::now();
  std::vector<KernelCase> const cases = kernel_cases(stream.device);
  Ceilings const ceilings = measure_ceilings(stream, cases);
  std::vector<Json> rows;
  if (!options.resume.empty() && std::ifstream(options.resume)) rows = read_rows(options.resume);
  std::set<std::string> done;
  for (Json const& row : rows)
    if (row["device"] == name_of(stream.device)) done.insert(row["key"].get<std::string>());
  std::ofstream log;
  if (!options.resume.empty()) {
    log.open(options.resume, std::ios::app);
    require(log.good(), "--resume ", options.resume, " cannot be written");
  }

  int64_t left = 0;
  for (KernelCase const& c : cases) {
    if (!wanted(c, options.filter) || done.count(c.key())) continue;
    if (options.budget > 0 && seconds_since(start) > options.budget) {
      ++left;
      continue;
    }
    rows.push_back(measure_case(stream, c, options.rounds, ceilings));
    if (log.is_open()) log << rows.back().dump() << std::endl;
    say(cat(c.key(), "  ", cell(rows.back(), "microseconds", 1), " us"));
  }
  if (options.json) {
    std::cout << Json{{"device", describe(stream.device)},
                      {"gigabytes_per_second", 1e-9 * ceilings.bytes_per_second},
                      {"gigaflops_per_second", 1e-9 * ceilings.flops_per_second},
                      {"bf16_gigaflops_per_second", 1e-9 * ceilings.bf16_flops_per_second},
                      {"build", build_information()},
                      {"rows", rows},
                      {"not_measured", unmeasured(stream.device, cases)},
                      {"left_out_by_budget", left}}
                     .dump(2)
              << '\n';
    return;
  }
  std::cout << describe(stream.device) << "\nmeasured ceilings: " << std::setprecision(4)
            << 1e-9 * ceilings.bytes_per_second << " GB/s, " << 1e-9 * ceilings.flops_per_second << " GF/s, "
            << 1e-9 * ceilings.bf16_flops_per_second << " GF/s in bf16\n"
            << "of floor: the least time that the bytes or the arithmetic need at those ceilings, by the time taken; "
               "x plain: time relative to a hand-written OpenMP loop\n\n";
  print_rows(rows, options.markdown);
  if (left) std::cout << '\n' << left << " rows were left out by --budget; --resume FILE goes on with them\n";
}

}  // namespace mith::bench
