#include "engine/frozen/planner.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace mith::frozen {
namespace {

constexpr size_t alignment = 256;
constexpr int forever = std::numeric_limits<int>::max();

size_t aligned(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

}  // namespace

Planner::Planner(const Graph& graph, int64_t batch)
    : graph_(graph),
      batch_(batch),
      buffers_(2),
      slices_(graph.values.size()),
      places_(graph.values.size()),
      gradients_(graph.values.size()) {
  places_[static_cast<size_t>(graph.input)] = dense_place(images, 0, graph.input);
  find_slices();
}

/// From the last join to the first, so that what is joined again lies in the outermost: the channels of a dense block.
void Planner::find_slices() {
  for (auto join = graph_.operators.rbegin(); join != graph_.operators.rend(); ++join) {
    if (!join->as<Join>()) continue;
    int64_t first = 0;
    for (int const value : join->inputs) {
      if (can_lie_in(*join, value)) slices_[static_cast<size_t>(value)] = {join->output, first};
      first += graph_.values[static_cast<size_t>(value)].shape[-1];
    }
  }
}

/// Whoever writes the value, and reads it, must do so by rows with a pitch; and the join must be the last to read it,
/// because its gradient begins as a part of the join's.
bool Planner::can_lie_in(const Operator& join, int value) const {
  if (in_place(value) || value == graph_.input || graph_.values[static_cast<size_t>(value)].constant.defined() ||
      std::ranges::count(join.inputs, value) != 1)
    return false;
  Operator const& maker = graph_.operators[static_cast<size_t>(graph_.maker(value))];
  if (!maker.as<Convolution>() && !maker.as<Affine>() && !maker.as<Join>()) return false;
  for (int const reader : graph_.readers(value)) {
    Operator const& o = graph_.operators[static_cast<size_t>(reader)];
    if (o.residual == value || (!o.as<Affine>() && !o.as<Join>())) return false;
    if (&o > &join) return false;
  }
  return true;
}

size_t Planner::bytes_of(int value) const {
  GraphValue const& v = graph_.values[static_cast<size_t>(value)];
  return static_cast<size_t>(batch_ * v.shape.numel()) * size_of(v.dtype);
}

Place Planner::dense_place(Buffer buffer, int64_t offset, int value) const {
  GraphValue const& v = graph_.values[static_cast<size_t>(value)];
  int64_t const columns = v.shape[-1];
  return {buffer, offset, columns ? batch_ * v.shape.numel() / columns : 0, columns, columns, v.dtype};
}

Place Planner::part_of(const Place& whole, int value) const {
  Place part = whole;
  part.offset += slices_[static_cast<size_t>(value)].first;
  part.columns = graph_.values[static_cast<size_t>(value)].shape[-1];
  return part;
}

Buffer Planner::born(size_t bytes) {
  buffers_.push_back({bytes, now_, now_});
  return static_cast<Buffer>(buffers_.size() - 1);
}

Place& Planner::placed(int value) {
  Place& place = places_[static_cast<size_t>(value)];
  if (place.buffer < 0)
    place = in_place(value) ? part_of(placed(slices_[static_cast<size_t>(value)].whole), value)
                            : dense_place(born(bytes_of(value)), 0, value);
  touch(place.buffer);
  return place;
}

Place Planner::read(int value) {
  if (graph_.values[static_cast<size_t>(value)].constant.defined()) {
    auto const [at, added] = constants_.try_emplace(value);
    if (added) {
      Buffer const b = born(bytes_of(value));
      buffers_[static_cast<size_t>(b)].first = 0;
      at->second = dense_place(b, 0, value);
    }
    buffers_[static_cast<size_t>(at->second.buffer)].last = forever;
    return at->second;
  }
  check(places_[static_cast<size_t>(value)].buffer >= 0, "frozen: value ", value, " is read before it is written");
  Place const place = placed(value);
  count(read_, place.buffer, bytes_of(value));
  return place;
}

Place Planner::write(int value) {
  Place const place = placed(value);
  count(written_, place.buffer, bytes_of(value));
  return place;
}

void Planner::write_as(int value, int other) {
  Place const from = read(other);
  check(from.dense(), "frozen: a slice cannot be reshaped");
  places_[static_cast<size_t>(value)] = dense_place(from.buffer, from.offset, value);
}

bool Planner::write_over(int value, int other) {
  GraphValue const &to = graph_.values[static_cast<size_t>(value)], &from = graph_.values[static_cast<size_t>(other)];
  if (in_place(value) || in_place(other) || other == graph_.input || other == graph_.logits ||
      from.constant.defined() || to.shape != from.shape || to.dtype != from.dtype)
    return false;
  // Operators whose backward pass reads neither their inputs nor their output: ReLUs have their signs beside.
  auto const keeps_nothing = [this](int i) {
    Operator const& o = graph_.operators[static_cast<size_t>(i)];
    return o.as<Convolution>() || o.as<Affine>() || o.as<MaxPool>() || o.as<AveragePool>() || o.as<Sum>() ||
           o.as<Cast>();
  };
  auto const readers = graph_.readers(other);
  auto const& inputs = graph_.operators[static_cast<size_t>(graph_.maker(value))].inputs;
  if (!keeps_nothing(graph_.maker(other)) || !std::ranges::all_of(readers, keeps_nothing) ||
      readers.back() > graph_.maker(value) || std::ranges::find(inputs, other) != inputs.end())
    return false;
  places_[static_cast<size_t>(value)] = read(other);
  write(value);
  return true;
}

Buffer Planner::keep(size_t bytes) {
  Buffer const b = born(bytes);
  count(written_, b, bytes);
  return b;
}
Buffer Planner::scratch(size_t bytes) { return born(bytes); }
Place Planner::scratch_like(const Place& p) {
  auto const elements = static_cast<size_t>(p.rows * p.columns);
  return {scratch(elements * size_of(p.dtype)), 0, p.rows, p.columns, p.columns, p.dtype};
}
void Planner::hold(Buffer b) {
  touch(b);
  count(read_, b, bytes(b));
}

bool Planner::wanted(int value) const { return !graph_.values[static_cast<size_t>(value)].constant.defined(); }

Place Planner::gradient(int value) {
  check(flows(value), "frozen: the gradient of value ", value, " is read before it is written");
  touch(gradient_of(value).buffer);
  count(read_, gradient_of(value).buffer, bytes_of(value));
  return gradient_of(value);
}

Planner::Target Planner::target(int value) {
  Place& place = gradients_[static_cast<size_t>(value)];
  bool const adds = place.buffer >= 0;
  if (!adds) place = dense_place(value == graph_.input ? input_gradient : born(bytes_of(value)), 0, value);
  touch(place.buffer);
  count(written_, place.buffer, bytes_of(value));
  if (adds) count(read_, place.buffer, bytes_of(value));
  return {place, adds};
}

bool Planner::hand_over(int output, int value) {
  Place const from = gradient(output);
  Place& place = gradients_[static_cast<size_t>(value)];
  if (place.buffer >= 0 || value == graph_.input) return false;
  if (in_place(value, output))
    place = part_of(from, value);
  else if (from.dense() && !in_place(value))
    place = dense_place(from.buffer, from.offset, value);
  return place.buffer >= 0;
}

int64_t Planner::bytes_moved() const {
  size_t sum = 0;
  for (auto const* moved : {&read_, &written_})
    for (auto const& [buffer, bytes] : *moved) sum += bytes;
  return static_cast<int64_t>(sum);
}

size_t Planner::finish() {
  std::vector<size_t> order(buffers_.size() - 2);
  std::iota(order.begin(), order.end(), 2);
  std::ranges::stable_sort(order, std::greater<>(), [this](size_t b) { return buffers_[b].bytes; });
  size_t total = 0;
  std::vector<size_t> done;
  for (size_t const b : order) {
    Life& life = buffers_[b];
    // The lowest gap among those that are alive at the same time.
    std::vector<std::pair<size_t, size_t>> taken;
    for (size_t const other : done) {
      Life const& o = buffers_[other];
      if (o.first <= life.last && life.first <= o.last) taken.emplace_back(o.offset, o.offset + aligned(o.bytes));
    }
    std::ranges::sort(taken);
    for (auto const& [begin, end] : taken) {
      if (life.offset + aligned(life.bytes) <= begin) break;
      life.offset = std::max(life.offset, end);
    }
    total = std::max(total, life.offset + aligned(life.bytes));
    done.push_back(b);
  }
  return total;
}

}  // namespace mith::frozen
