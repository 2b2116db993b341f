// Patches: nothing outside their place, bounded by their blend inside, crafted in passes that can be interrupted.
#include "attacks/patch.h"

#include <algorithm>
#include <cmath>

#include "tests/provider_fixtures.h"
#include "tests/universal_fixtures.h"

using namespace mith;

namespace {

std::vector<float> host(const Tensor& t) { return t.to_host<float>(); }

AttackOptions every_image() {
  AttackOptions o;
  o.evaluation = false;
  return o;
}

Tensor attacked(const UniversalAttack& attack, const Universal& u, const Batch& b) {
  return attack.attack(trained_model(), u, b, every_image()).adversarial;
}

double variance(const Tensor& patch) {
  auto const p = host(patch);
  double mean = 0, square = 0;
  for (float v : p) mean += double(v) / double(p.size());
  for (float v : p) square += (double(v) - mean) * (double(v) - mean) / double(p.size());
  return square;
}

}  // namespace

TEST_CASE("patch: pixels outside its window stay to the bit, those inside move by at most beta") {
  NetworkClassifier& model = trained_model();
  Batch const b = unseen_images();
  auto const x = host(b.x);
  for (float beta : {0.f, 0.05f, 1.f})
    for (int64_t place : {-1, 0, 5}) {
      CAPTURE(beta);
      CAPTURE(place);
      Patch const attack({.size = 3, .beta = beta, .passes = 2, .row = place, .col = place < 0 ? place : 1});
      Universal const u = attack.craft(model, crafting_images(), {});
      auto const window = attack.window({8, 8, 1});
      CHECK(window.row == (place < 0 ? 2 : place));
      auto const p = host(u.values), a = host(attacked(attack, u, b));
      int64_t wrong = 0;
      for (size_t i = 0; i < a.size(); ++i) {
        int64_t const r = int64_t(i) % 64 / 8 - window.row, c = int64_t(i) % 8 - window.col;
        if (r < 0 || r >= 3 || c < 0 || c >= 3) {
          wrong += a[i] != x[i];
          continue;
        }
        float const texel = p[size_t(3 * r + c)];
        wrong += !(texel >= 0 && texel <= 1);
        wrong += !(a[i] >= std::min(x[i], texel) && a[i] <= std::max(x[i], texel));
        wrong += !(std::abs(a[i] - x[i]) <= beta + 1e-6f);
        wrong += (beta == 0 && a[i] != x[i]) || (beta == 1 && a[i] != texel);
      }
      CHECK(wrong == 0);
    }
  CHECK_THROWS_WITH_AS(Patch({.size = 3, .row = 6}).craft(model, crafting_images(), {}), doctest::Contains("row 6"),
                       UsageError);
  CHECK(Patch({}).window({6, 8, 3}).size == 6);
}

TEST_CASE("patch: crafting raises the loss and fools images it was not crafted on") {
  NetworkClassifier& model = trained_model();
  Batch const b = unseen_images();
  auto const attack = make_universal("patch:size=4,beta=1,rate=0.05,smooth_sigma=0");
  Universal const u = attack->craft(model, crafting_images(), {});
  REQUIRE(u.passes.size() == 20);
  CHECK(u.passes.back().objective > u.passes.front().objective + 0.1);
  double const fooled = share_wrong(model, attacked(*attack, u, b), b);
  // The same place under the patch that crafting began with.
  Universal start = u;
  make_universal("patch:size=4,beta=1,rate=0,passes=1,smooth_sigma=0")
      ->craft(model, crafting_images(), {}, [&](const Universal& s) { start.values = s.values; });
  CHECK(host(start.values) != host(u.values));
  CHECK(fooled >= share_wrong(model, attacked(*attack, start, b), b));
  CHECK(fooled >= 0.25);
}

TEST_CASE("patch: the start is drawn from the seed, the smoothing flattens and keeps the mean") {
  NetworkClassifier& model = trained_model();
  auto const crafted = [&](const char* spec, uint64_t seed) {
    AttackOptions options;
    options.seed = seed;
    return make_universal(spec)->craft(model, crafting_images(), options).values;
  };
  const char* const still = "patch:size=8,rate=0,passes=1,smooth_sigma=0";
  Tensor const start = crafted(still, 1);
  CHECK(host(start) == host(crafted(still, 1)));
  CHECK(host(start) != host(crafted(still, 2)));
  CHECK(std::abs(variance(start) - 1.0 / 12) <= 0.03);  // of U(0, 1), 64 draws
  double before = variance(start);
  for (const char* sigma : {"0.5", "1", "3"}) {
    Tensor const smooth = crafted(cat("patch:size=8,rate=0,passes=1,batch=64,smooth_sigma=", sigma).c_str(), 1);
    double mean = 0;
    auto const s = host(smooth), p = host(start);
    for (size_t i = 0; i < s.size(); ++i) mean += double(s[i]) - double(p[i]);
    CHECK(std::abs(mean / 64) <= 1e-6);  // mirrored borders lose nothing
    CHECK(variance(smooth) < before);
    before = variance(smooth);
  }
}

TEST_CASE("patch-eot: every image has its own pose, by its id; outside the circle nothing changes") {
  NetworkClassifier& model = trained_model();
  Batch const b = unseen_images();
  PatchEot const attack({.passes = 1, .scale_min = 0.3f, .scale_max = 0.5f});
  Universal const u = attack.craft(model, crafting_images(), {});
  CHECK(u.values.shape() == Shape{4, 4, 1});
  auto const whole = host(attacked(attack, u, b)), x = host(b.x);
  std::vector<int64_t> backwards;
  for (int64_t i = b.size(); i-- > 0;) backwards.push_back(i);
  CHECK(host(gather_rows(attacked(attack, u, select(b, backwards)), backwards)) == whole);
  std::vector<size_t> firsts;
  for (size_t image = 0; image < size_t(b.size()); ++image) {
    int64_t changed = 0;
    size_t first = 64;
    for (size_t i = 0; i < 64; ++i)
      if (whole[image * 64 + i] != x[image * 64 + i]) {
        ++changed;
        first = std::min(first, i);
      }
    CHECK(changed >= 1);
    CHECK(changed <= 16);  // a circle of diameter 4
    firsts.push_back(first);
  }
  std::sort(firsts.begin(), firsts.end());
  CHECK(std::unique(firsts.begin(), firsts.end()) - firsts.begin() >= 8);  // places differ

  Universal shown = u;
  shown.values = Tensor::full({4, 4, 1}, 1);
  PatchEot const transparent({.beta = 0});
  CHECK(host(attacked(transparent, shown, b)) == x);
}

TEST_CASE("patch-eot: a larger patch reaches its target more often") {
  NetworkClassifier& model = trained_model();
  ToyImages const unseen({.n = 64, .first_id = 5000});
  for (int64_t target : {-1, 1}) {
    CAPTURE(target);
    PatchEot const attack({.rate = 0.05f, .scale_min = 0.2f, .scale_max = 0.8f, .target = target});
    Universal const u = attack.craft(model, crafting_images(), {});
    CHECK(u.passes.back().objective > u.passes.front().objective);
    double last = -1;
    for (float scale : {0.15f, 0.5f, 1.f}) {
      double const success = attack.success_at_scale(model, u, unseen, {}, scale);
      CHECK(success >= last);
      last = success;
    }
    CHECK(attack.success_at_scale(model, u, unseen, {}, 1) >
          attack.success_at_scale(model, u, unseen, {}, 0.15f) + 0.1);
  }
  CHECK_THROWS_AS(make_attack("patch-eot:scale_min=0.5,scale_max=0.2"), UsageError);
}

TEST_CASE("interrupted crafting of patches continues to the same bytes") {
  for (const char* spec : {"patch:size=4,passes=4", "patch-eot:passes=3"})
    check_resumes(trained_model(), crafting_images(), spec);
}

TEST_CASE("crafting of patches does not depend on how many images are passed at once") {
  provider_tests::Forced const native("all", "native");
  for (const char* spec : {"patch:size=4,passes=2", "patch-eot:passes=2"})
    check_batch_free(trained_model(), crafting_images(), spec);
}
