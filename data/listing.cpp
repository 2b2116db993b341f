// Which image files a folder or a CSV list names, with their classes, parts and patients.
#include <algorithm>
#include <fstream>
#include <regex>
#include <set>

#include "data/pixels.h"
#include "data/source.h"
#include "engine/train/progress.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

std::vector<fs::path> subfolders(const fs::path& folder) {
  std::vector<fs::path> found;
  for (auto const& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory() && !hidden(entry.path())) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// Image files at any depth, sorted; UsageError if there is none.
std::vector<fs::path> images_below(const fs::path& class_folder) {
  std::vector<fs::path> found;
  std::string other;
  for (auto const& entry : fs::recursive_directory_iterator(class_folder)) {
    if (!entry.is_regular_file() || hidden(entry.path())) continue;
    if (is_image_name(entry.path())) {
      found.push_back(entry.path());
    } else {
      other = entry.path().filename().string();
    }
  }
  require(!found.empty(), "class folder ", class_folder.string(), " holds no JPEG, PNG or BMP image",
          other.empty() ? "" : ", only files such as " + other);
  std::sort(found.begin(), found.end());
  return found;
}

/// A class folder before its class has a number.
struct ClassFolder {
  fs::path path;
  Part part;
};

/// The class folders of the root, or of its train, val and test folders.
std::vector<ClassFolder> class_folders(const fs::path& root) {
  std::vector<fs::path> const folders = subfolders(root);
  auto const names_part = [](const fs::path& p) { return part_named(p.filename().string()) != Part::none; };
  bool const has_parts = std::any_of(folders.begin(), folders.end(), names_part);
  std::vector<ClassFolder> found;
  for (auto const& folder : folders) {
    if (!has_parts) {
      found.push_back({folder, Part::none});
    } else if (names_part(folder)) {
      Part const part = part_named(folder.filename().string());
      for (auto const& inner : subfolders(folder)) found.push_back({inner, part});
    } else {
      warn(cat(root.string(), ": folder ", folder.filename().string(), " beside the parts is not read"));
    }
  }
  require(!found.empty(), root.string(), " holds no class folders");
  return found;
}

int32_t index_of(const std::vector<std::string>& names, const std::string& name) {
  return static_cast<int32_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

/// One row of a CSV file: fields in quotes may hold commas, and "" for a quote.
std::vector<std::string> csv_fields(const std::string& line, const std::string& where) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    char const c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      fields.back() += line[++i];
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  require(!quoted, where, ": a quote is not closed");
  return fields;
}

/// Which column holds what; -1 for an absent one.
struct Columns {
  int path = 0, label = 1, group = 2, split = 3;
};

Columns columns_of(const std::vector<std::string>& header, const std::string& where) {
  Columns columns{-1, -1, -1, -1};
  for (size_t i = 0; i < header.size(); ++i) {
    std::string const name = lower(header[i]);
    int* const column = name == "path"    ? &columns.path
                        : name == "label" ? &columns.label
                        : name == "group" ? &columns.group
                        : name == "split" ? &columns.split
                                          : nullptr;
    require(column, where, ": unknown column '", header[i], "'",
            suggestion(header[i], {"path", "label", "group", "split"}));
    *column = static_cast<int>(i);
  }
  require(columns.label >= 0, where, ": the header has no column 'label'");
  return columns;
}

std::string field(const std::vector<std::string>& fields, int column) {
  return column >= 0 && column < static_cast<int>(fields.size()) ? fields[static_cast<size_t>(column)] : "";
}

/// A row of the list before its class has a number.
struct CsvRow {
  ListedImage image;
  std::string label;
};

CsvRow csv_row(const fs::path& file, const std::vector<std::string>& fields, const Columns& columns,
               const std::string& where) {
  CsvRow row;
  row.image.name = field(fields, columns.path);
  row.label = field(fields, columns.label);
  require(!row.image.name.empty() && !row.label.empty(), where, ": path or label is missing");
  row.image.path = file.parent_path() / row.image.name;
  require(fs::is_regular_file(row.image.path), where, ": ", row.image.path.string(), " does not exist");
  row.image.group = field(fields, columns.group);
  if (row.image.group.empty()) row.image.group = group_of_name(row.image.path.filename().string());
  std::string const part = field(fields, columns.split);
  row.image.part = part_named(part);
  require(part.empty() || row.image.part != Part::none, where, ": split is '", part, "', not train, val or test");
  return row;
}

std::vector<CsvRow> csv_rows(const fs::path& file) {
  std::ifstream in(file);
  require(in.is_open(), file.string(), " cannot be read");
  Columns columns;
  std::vector<CsvRow> rows;
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    std::string const where = cat(file.string(), " line ", number);
    if (line.ends_with('\r')) line.pop_back();
    if (number == 1 && line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);  // a byte order mark
    if (line.empty()) continue;
    std::vector<std::string> const fields = csv_fields(line, where);
    if (number == 1 && lower(fields[0]) == "path") {
      columns = columns_of(fields, where);
    } else {
      require(fields.size() >= 2, where, ": expected path,label");
      rows.push_back(csv_row(file, fields, columns, where));
    }
  }
  require(!rows.empty(), file.string(), " lists no images");
  return rows;
}

}  // namespace

Part part_named(const std::string& name) {
  std::string const n = lower(name);
  if (n == "train" || n == "training") return Part::train;
  if (n == "val" || n == "valid" || n == "validation") return Part::validation;
  return n == "test" || n == "testing" ? Part::test : Part::none;
}

std::string group_of_name(const std::string& file_name) {
  // The first group of the expression is the patient. docs/data.md lists the same rules.
  static std::regex const rules[] = {
      std::regex(R"((person\d+)_.*)"),                         // Kermany: person1_virus_6.jpeg
      std::regex(R"(((NORMAL\d*-)?IM-\d+)-.*)"),               // Kermany: NORMAL2-IM-0501-0001.jpeg
      std::regex(R"((\d{8})_\d{3}\..*)"),                      // NIH ChestX-ray14: 00000001_000.png
      std::regex(R"((SOB_[BM]_[A-Z]+-\d+-\w+)-\d+-\d+\..*)"),  // BreakHis: SOB_B_A-14-22549AB-40-001.png
  };
  std::smatch match;
  for (auto const& rule : rules) {
    if (std::regex_match(file_name, match, rule)) return match[1];
  }
  return "";
}

void sort_class_names(std::vector<std::string>& names) {
  auto const is_number = [](const std::string& s) {
    return s.size() <= 9 && std::all_of(s.begin(), s.end(), [](unsigned char c) { return std::isdigit(c); });
  };
  std::sort(names.begin(), names.end());
  if (!std::all_of(names.begin(), names.end(), is_number)) return;
  std::stable_sort(names.begin(), names.end(),
                   [](const std::string& a, const std::string& b) { return std::stol(a) < std::stol(b); });
}

Listing list_folder(const fs::path& root) {
  std::vector<ClassFolder> const folders = class_folders(root);
  std::set<std::string> names;
  for (auto const& folder : folders) names.insert(folder.path.filename().string());
  Listing listing{root.string(), {names.begin(), names.end()}, {}};
  sort_class_names(listing.class_names);
  for (auto const& folder : folders) {
    int32_t const label = index_of(listing.class_names, folder.path.filename().string());
    for (auto const& path : images_below(folder.path)) {
      std::string const group = group_of_name(path.filename().string());
      listing.images.push_back({path, path.lexically_relative(root).string(), group, label, folder.part});
    }
  }
  return listing;
}

Listing list_csv(const fs::path& file) {
  std::vector<CsvRow> rows = csv_rows(file);
  std::set<std::string> names;
  for (auto const& row : rows) names.insert(row.label);
  Listing listing{file.string(), {names.begin(), names.end()}, {}};
  sort_class_names(listing.class_names);
  for (auto& row : rows) {
    row.image.label = index_of(listing.class_names, row.label);
    listing.images.push_back(std::move(row.image));
  }
  return listing;
}

}  // namespace mith
