#include "attacks/onepixel.h"

#include <algorithm>
#include <cmath>

#include "engine/ops/arithmetic.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<float*, const int32_t*, const float*, int64_t, int64_t, int64_t, int64_t> write_pixels{"write_pixels"};

/// Genes in [0, 1): for each pixel its row and column, as shares of the extents, and its values.
using Genome = std::vector<float>;

/// The population of one image.
struct Population {
  std::vector<Genome> members;
  std::vector<Score> scores;
  size_t best = 0;
};

/// Fooled or nearer to it. Of two that fool, the one further past it.
bool precedes(const Score& a, const Score& b) { return a.fooled != b.fooled ? a.fooled : a.value < b.value; }

class Evolution {
 public:
  Evolution(const OnePixel& attack, ScoreRun& run, int64_t at_once)
      : attack_(attack),
        run_(run),
        at_once_(at_once),
        image_{run.clean().x.dim(1), run.clean().x.dim(2), run.clean().x.dim(3)},
        genes_(attack.pixels * (2 + image_[2])),
        size_(attack.population(genes_)),
        key_(run.draws(0)) {}
  AttackResult operator()();

 private:
  /// A uniform draw of this generation; each member has a run of draws to itself.
  float draw(int64_t image, int64_t member, int64_t index) const {
    int64_t const element = ((generation_ * size_ + member) * (2 * genes_ + 4)) + index;
    return uniform(key_, run_.id(image), static_cast<uint64_t>(element));
  }
  int64_t draw_index(int64_t image, int64_t member, int64_t index, int64_t n) const {
    return std::min(static_cast<int64_t>(draw(image, member, index) * static_cast<float>(n)), n - 1);
  }
  Genome trial(int64_t image, int64_t member) const;
  std::vector<Score> evaluate(const std::vector<Genome>&, const std::vector<int64_t>& owners) const;
  Tensor candidates(const std::vector<Genome>&, const std::vector<int64_t>& owners) const;
  Tensor best_images() const;
  void select(const std::vector<Genome>&, const std::vector<Score>&);
  void remove_finished();
  bool converged(const Population&) const;

  const OnePixel& attack_;
  ScoreRun& run_;
  int64_t at_once_;
  Shape image_;
  int64_t genes_, size_, generation_ = 0;
  DrawKey key_;
  std::vector<Population> populations_;
};

/// best/1/bin: best + F (a - b) of two other members, crossed with the parent.
Genome Evolution::trial(int64_t image, int64_t member) const {
  const Population& p = populations_[static_cast<size_t>(image)];
  if (p.members.empty()) {
    Genome first;
    for (int64_t g = 0; g < genes_; ++g) first.push_back(draw(image, member, g));
    return first;
  }
  // Two different members, neither this one: counted on from it.
  int64_t const a = 1 + draw_index(image, member, 0, size_ - 1);
  int64_t b = 1 + draw_index(image, member, 1, size_ - 2);
  b += b >= a;
  const Genome &left = p.members[static_cast<size_t>((member + a) % size_)],
               &right = p.members[static_cast<size_t>((member + b) % size_)], &best = p.members[p.best];
  // One factor for the generation, as the first member draws it.
  float const f = attack_.f_low + (attack_.f_high - attack_.f_low) * draw(image, 0, 2);
  int64_t const certain = draw_index(image, member, 3, genes_);
  Genome child = p.members[static_cast<size_t>(member)];
  for (int64_t g = 0; g < genes_; ++g) {
    if (g != certain && attack_.cr < 1 && draw(image, member, 4 + g) >= attack_.cr) continue;
    size_t const at = static_cast<size_t>(g);
    float const v = best[at] + f * (left[at] - right[at]);
    child[at] = v >= 0 && v <= 1 ? v : draw(image, member, 4 + genes_ + g);
  }
  return child;
}

/// The owners' images with the genomes' pixels in place.
Tensor Evolution::candidates(const std::vector<Genome>& genomes, const std::vector<int64_t>& owners) const {
  int64_t const h = image_[0], w = image_[1], c = image_[2], n = static_cast<int64_t>(genomes.size());
  std::vector<int32_t> places;
  std::vector<float> values;
  for (const Genome& genome : genomes)
    for (int64_t k = 0; k < attack_.pixels; ++k) {
      auto const gene = genome.begin() + k * (2 + c);
      auto const index = [](float share, int64_t extent) {
        return std::min(static_cast<int64_t>(share * static_cast<float>(extent)), extent - 1);
      };
      places.push_back(static_cast<int32_t>(index(gene[0], h) * w + index(gene[1], w)));
      values.insert(values.end(), gene + 2, gene + 2 + c);
    }
  Tensor images = gather_rows(run_.clean().x, owners);
  Tensor const place = Tensor::from(places, {n, attack_.pixels}, images.device()),
               value = Tensor::from(values, {n, attack_.pixels, c}, images.device());
  write_pixels(images.stream(), images.data<float>(), place.data<int32_t>(), value.data<float>(), n, attack_.pixels,
               h * w, c);
  return images;
}

/// As many candidates at a time as the network sees images, so that memory does not grow with the population.
std::vector<Score> Evolution::evaluate(const std::vector<Genome>& genomes, const std::vector<int64_t>& owners) const {
  std::vector<Score> scores;
  for (size_t first = 0; first < genomes.size(); first += static_cast<size_t>(at_once_)) {
    auto const part = [&](auto const& all) {
      auto const from = all.begin() + static_cast<std::ptrdiff_t>(first);
      auto const left = static_cast<int64_t>(all.size() - first);
      return std::decay_t<decltype(all)>(from, from + std::min(at_once_, left));
    };
    auto const owner = part(owners);
    auto const some = run_.query(candidates(part(genomes), owner), generation_, owner);
    scores.insert(scores.end(), some.begin(), some.end());
  }
  return scores;
}

/// A trial takes its parent's place if it is better.
void Evolution::select(const std::vector<Genome>& trials, const std::vector<Score>& scores) {
  for (size_t i = 0, at = 0; i < populations_.size(); ++i) {
    Population& p = populations_[i];
    if (p.members.empty()) {
      auto const first = static_cast<std::ptrdiff_t>(at), last = first + static_cast<std::ptrdiff_t>(size_);
      p.members.assign(trials.begin() + first, trials.begin() + last);
      p.scores.assign(scores.begin() + first, scores.begin() + last);
      at += static_cast<size_t>(size_);
    } else {
      for (size_t m = 0; m < p.members.size(); ++m, ++at) {
        if (!precedes(scores[at], p.scores[m])) continue;
        p.members[m] = trials[at];
        p.scores[m] = scores[at];
      }
    }
    for (size_t m = 0; m < p.members.size(); ++m)
      if (precedes(p.scores[m], p.scores[p.best])) p.best = m;
    run_.accept(static_cast<int64_t>(i), p.scores[p.best]);
  }
}

/// The energies are p_y, or 1 - p_t.
bool Evolution::converged(const Population& p) const {
  double mean = 0, variance = 0;
  double const n = static_cast<double>(p.scores.size());
  auto const energy = [](const Score& s) { return 1 / (1 + std::exp(-s.value)); };
  for (const Score& s : p.scores) mean += energy(s) / n;
  for (const Score& s : p.scores) variance += (energy(s) - mean) * (energy(s) - mean) / n;
  return std::sqrt(variance) <= attack_.atol + attack_.tol * std::abs(mean);
}

Tensor Evolution::best_images() const {
  std::vector<Genome> genomes;
  std::vector<int64_t> owners;
  for (size_t i = 0; i < populations_.size(); ++i) {
    genomes.push_back(populations_[i].members[populations_[i].best]);
    owners.push_back(static_cast<int64_t>(i));
  }
  return candidates(genomes, owners);
}

void Evolution::remove_finished() {
  std::vector<uint8_t> done;
  for (const Population& p : populations_) done.push_back(p.scores[p.best].fooled || converged(p));
  if (std::count(done.begin(), done.end(), 1) == 0) return;
  populations_ = pick(populations_, run_.leave(best_images(), done));
}

AttackResult Evolution::operator()() {
  populations_.resize(static_cast<size_t>(run_.size()));
  for (; generation_ <= attack_.generations && !run_.empty(); ++generation_) {
    std::vector<Genome> trials;
    std::vector<int64_t> owners;
    for (int64_t i = 0; i < run_.size(); ++i)
      for (int64_t m = 0; m < size_; ++m) {
        trials.push_back(trial(i, m));
        owners.push_back(i);
      }
    select(trials, evaluate(trials, owners));
    remove_finished();
    run_.progress(generation_, attack_.generations);
  }
  return run_.finish(run_.empty() ? run_.clean().x : best_images());
}

}  // namespace

int64_t OnePixel::population(int64_t genes) const {
  return std::max<int64_t>(5, std::max<int64_t>(1, popsize / genes) * genes);
}

AttackResult OnePixel::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  require(f_low <= f_high, "attack onepixel: f_low=", f_low, " is above f_high=", f_high);
  ScoreRun run(name, model, batch, options, Objective::probability, target);
  if (run.empty()) return run.finish(batch.x);
  return Evolution(*this, run, options.batch > 0 ? options.batch : std::max<int64_t>(batch.size(), 64))();
}

void OnePixel::fields(Fields& f) {
  f.integer("pixels", pixels, "pixels to change", 1, 100);  // the population grows with their square
  f.integer("generations", generations, "generations after the first", 0, 1 << 20);
  f.integer("popsize", popsize, "candidates of a generation, rounded down to a multiple of the genes", 1, 1 << 20);
  f.number("f_low", f_low, "least mutation factor; each generation draws its own", 0, 2);
  f.number("f_high", f_high, "greatest mutation factor", 0, 2);
  f.number("cr", cr, "chance that a gene is the mutant's", 0, 1);
  f.number("tol", tol, "stop when std(energies) <= atol + tol |mean|; the energy is p_y, or 1 - p_t", 0, 1);
  f.number("atol", atol, "see tol; below -tol it never stops", -1, 1);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

namespace {

const AttackRegistry::Add onepixel = register_score<OnePixel>({
    .name = OnePixel::name,
    .summary = "one-pixel attack: differential evolution over the place and the colour of a few pixels",
    .paper = "Su, Vargas & Sakurai, One pixel attack for fooling deep neural networks, IEEE TEVC 2019; its rand/1 "
             "replaced by best/1/bin, as in the reference implementations",
    .rule = "a genome holds n pixels (row, column, values), which replace the image's; energy p_y (targeted: 1 - p_t)\n"
            "mutant = best + F (a - b), a and b two other members, F ~ U(f_low, f_high) for each generation;\n"
            "genes outside [0, 1] are drawn anew; the trial has the mutant's gene with chance cr, one for certain\n"
            "all trials come from the last generation; a trial replaces its parent if its energy is lower\n"
            "stop when fooled, when the energies agree, or after `generations`",
    .facts = {{"norm", "l0"},
              {"access", "score"},
              {"targeted", "yes"},
              {"draws", "genomes"},
              {"cost", "at most popsize x (generations + 1) forward passes"}},
});

}  // namespace
}  // namespace mith
