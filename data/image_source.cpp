// Batches of an ImageSet, their augmentation, and the statistics of its channels.
#include <cmath>
#include <cstring>
#include <numbers>

#include "data/dataset.h"
#include "data/parallel.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<const uint8_t*, const int64_t*, const int64_t*, float*, int64_t, int64_t, int64_t, int64_t, bool, float,
             DrawKey>
    image_batch{"image_batch"};

/// A set of at most this many bytes stays on the device; a larger one is sent batch by batch.
constexpr int64_t most_resident_bytes = int64_t{2} << 30;

std::vector<int64_t> counted(size_t n) {
  std::vector<int64_t> rows(n);
  for (size_t i = 0; i < n; ++i) rows[i] = static_cast<int64_t>(i);
  return rows;
}

}  // namespace

Augmentation Augmentation::parse(const std::string& text) {
  Augmentation augmentation;
  for (size_t first = 0; first < text.size();) {
    size_t const comma = std::min(text.find(',', first), text.size());
    std::string const item = text.substr(first, comma - first);
    if (item == "flip") {
      augmentation.flip = true;
    } else if (item.starts_with("rotate:")) {
      augmentation.rotate = parse_number(item.substr(7), "augmentation rotate");
      require(augmentation.rotate >= 0 && augmentation.rotate <= 180, "augmentation '", item,
              "': degrees must be 0 to 180");
    } else {
      throw UsageError(cat("unknown augmentation '", item, "'", suggestion(item, {"flip", "rotate:DEGREES"})));
    }
    first = comma + 1;
  }
  return augmentation;
}

ImageSource::Gathered ImageSource::staged(const std::vector<int64_t>& positions) const {
  int64_t const n = static_cast<int64_t>(positions.size());
  size_t const bytes = static_cast<size_t>(set_.image_bytes());
  std::vector<uint8_t> pixels(positions.size() * bytes);
  for (size_t i = 0; i < positions.size(); ++i) std::memcpy(&pixels[i * bytes], set_.image(positions[i]), bytes);
  Tensor const sent = Tensor::from(pixels, {n, set_.height, set_.width, set_.channels});
  return {sent.data<uint8_t>(), counted(positions.size()), sent};
}

ImageSource::Gathered ImageSource::gather(const std::vector<int64_t>& positions) const {
  if (default_device() == Device::cpu) {
    Gathered here{set_.pixels.get(), positions, {}};
    for (int64_t& row : here.rows) row = set_.row(row);
    return here;
  }
  if (set_.size() * set_.image_bytes() > most_resident_bytes) return staged(positions);
  if (!resident_.defined() || resident_.device() != default_device()) {
    resident_ = staged(counted(static_cast<size_t>(set_.size()))).owner;
  }
  return {resident_.data<uint8_t>(), positions, resident_};
}

Batch ImageSource::batch(const std::vector<int64_t>& positions, bool augment, const DrawKey& key) const {
  std::vector<int32_t> labels;
  std::vector<int64_t> ids;
  for (int64_t position : positions) {
    check(position >= 0 && position < size(), "image ", position, " of ", set_.source, " asked for, it has ", size());
    labels.push_back(set_.labels[static_cast<size_t>(position)]);
    ids.push_back(set_.ids[static_cast<size_t>(position)]);
  }
  int64_t const n = static_cast<int64_t>(positions.size());
  Batch batch{Tensor::empty({n, set_.height, set_.width, set_.channels}), Tensor::from(labels, {n}),
              Tensor::from(ids, {n})};
  Gathered const from = gather(positions);
  Tensor const rows = Tensor::from(from.rows, {n});
  float const radians = static_cast<float>(augmentation_.rotate * std::numbers::pi / 180);
  image_batch(batch.x.stream(), from.pixels, rows.data<int64_t>(), batch.ids.data<int64_t>(), batch.x.data<float>(), n,
              set_.height, set_.width, set_.channels, augment && augmentation_.flip, augment ? radians : 0,
              key.with(Purpose::augment));
  return batch;
}

ChannelStatistics channel_statistics(const ImageSet& set) {
  size_t const channels = static_cast<size_t>(set.channels);
  // Whole numbers, so that the order of the threads does not show in the last digit.
  std::vector<uint64_t> sums(channels), squares(channels);
  uint64_t* const sum = sums.data();
  uint64_t* const square = squares.data();
#pragma omp parallel for reduction(+ : sum[:channels], square[:channels]) num_threads(threads())
  for (int64_t i = 0; i < set.size(); ++i) {
    const uint8_t* const pixels = set.image(i);
    for (size_t at = 0; at < static_cast<size_t>(set.image_bytes()); ++at) {
      uint64_t const value = pixels[at];
      sum[at % channels] += value;
      square[at % channels] += value * value;
    }
  }
  double const count = static_cast<double>(set.size() * set.height * set.width);
  ChannelStatistics statistics;
  for (size_t c = 0; c < channels; ++c) {
    double const mean = static_cast<double>(sums[c]) / count;
    double const variance = static_cast<double>(squares[c]) / count - mean * mean;
    statistics.mean.push_back(static_cast<float>(mean / 255));
    statistics.deviation.push_back(static_cast<float>(std::sqrt(std::max(variance, 1.0)) / 255));
  }
  return statistics;
}

}  // namespace mith
