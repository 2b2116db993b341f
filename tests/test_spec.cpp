// The spec language: parsing, numbers, suggestions, configuration structs.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "engine/spec/registry.h"

using namespace mith;

namespace {

template <class F>
std::string usage_error(F&& f) {
  try {
    f();
  } catch (const UsageError& e) {
    return e.what();
  }
  return "no UsageError";
}

struct Options {
  float eps = 8 / 255.f;
  double rate = 1e-3;
  int steps = 10;
  int64_t limit = 1LL << 40;
  bool random_start = true;
  std::string loss = "ce", note;
  void fields(Fields& f) {
    f.number("eps", eps, "radius", 0, 1);
    f.number("rate", rate, "learning rate", 1e-12, 1e300);
    f.integer("steps", steps, "iterations", 1, 1000);
    f.integer("limit", limit, "images", 0, std::numeric_limits<int64_t>::max());
    f.flag("random_start", random_start, "start in the ball");
    f.text("loss", loss, "objective", {"ce", "margin"});
    f.text("note", note, "anything");
  }
};

}  // namespace

TEST_CASE("a spec is a name and key=value pairs") {
  Spec spec = Spec::parse("pgd:eps=8/255,steps=5");
  CHECK(spec.name == "pgd");
  CHECK(spec.values == std::vector<std::pair<std::string, std::string>>{{"eps", "8/255"}, {"steps", "5"}});
  CHECK(spec.str() == "pgd:eps=8/255,steps=5");
  CHECK(Spec::parse("pgd").str() == "pgd");
  CHECK(Spec::parse("style:image=a=b,note=").values[0].second == "a=b");
  CHECK(Spec::parse("style:image=C:/x").values[0].second == "C:/x");
  CHECK(spec.take("eps") == "8/255");
  CHECK(spec.take("eps") == std::nullopt);
  CHECK(spec.str() == "pgd:steps=5");
}

TEST_CASE("malformed specs are refused and named") {
  for (const char* text : {"", ":eps=1", "pgd:", "pgd:eps", "pgd:=1", "pgd:eps=1,", "pgd:,eps=1", "pgd:eps=1,,steps=2",
                           "pgd:eps=1,eps=2", "pgd,eps=1", "eps=1"}) {
    CAPTURE(text);
    CHECK(usage_error([&] { Spec::parse(text); }).find(cat("'", text, "'")) == 0);
  }
  CHECK(usage_error([] { Spec::parse("pgd:eps=1,eps=2"); }) == "'pgd:eps=1,eps=2': eps is given twice");
}

TEST_CASE("numbers are read exactly or not at all") {
  CHECK(parse_number("0.03", "eps") == 0.03);
  CHECK(parse_number("8/255", "eps") == 8.0 / 255);
  CHECK(parse_number("-1e-3", "eps") == -1e-3);
  CHECK(parse_number("1.5/3", "eps") == 0.5);
  for (const char* text : {"", "nan", "inf", "-inf", "1e999", "1/0", "1/", "/2", "1/2/3", "0.1x", " 0.1", "0.1 ", "0,1",
                           "0x10", "1e300/1e-300"}) {
    CAPTURE(text);
    CHECK(usage_error([&] { parse_number(text, "eps"); }) == cat("eps=", text, " is not a number"));
  }
  CHECK(parse_integer("-7", "n") == -7);
  CHECK(parse_integer("9223372036854775807", "n") == std::numeric_limits<int64_t>::max());
  for (const char* text : {"", "1.0", "9223372036854775808", "1e3", "7 ", "seven"}) {
    CAPTURE(text);
    CHECK(usage_error([&] { parse_integer(text, "n"); }) == cat("n=", text, " is not an integer"));
  }
  CHECK(parse_bool("yes", "flag"));
  CHECK_FALSE(parse_bool("off", "flag"));
  CHECK_THROWS_AS(parse_bool("maybe", "flag"), UsageError);
}

TEST_CASE("numbers are written as briefly as they can be read back") {
  CHECK(format_number(8 / 255.f) == "8/255");
  CHECK(format_number(8 / 255.0) == "8/255");
  CHECK(format_number(1 / 255.f) == "1/255");
  CHECK(format_number(0.2f) == "0.2");  // also 51/255, which is longer
  CHECK(format_number(0) == "0");
  CHECK(format_number(1) == "1");
  CHECK(format_number(0.03f) == "0.03");
  CHECK(format_number(1e-5) == "1e-5");
  CHECK(format_number(1e8) == "1e8");
  CHECK(format_number(-0.5) == "-0.5");
  CHECK(format_number(1e300) == "1e300");  // no float holds it
  CHECK(format_number(1e-300) == "1e-300");
}

TEST_CASE("every written float reads back as itself") {
  uint32_t bits = 12345;
  for (int i = 0; i < 20000; ++i) {
    bits = bits * 1664525u + 1013904223u;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    CAPTURE(value);
    REQUIRE(static_cast<float>(parse_number(format_number(value), "value")) == value);
  }
  for (int k = -510; k <= 510; ++k)
    REQUIRE(static_cast<float>(parse_number(format_number(k / 255.f), "value")) == k / 255.f);
}

TEST_CASE("the nearest name is suggested, a far one is not") {
  std::vector<std::string> const known{"pgd", "fgsm", "autoattack", "deepfool", "mobilenet_v2"};
  CHECK(nearest("pdg", known) == "pgd");
  CHECK(nearest("FGSM", known) == "fgsm");
  CHECK(nearest("fgm", known) == "fgsm");
  CHECK(nearest("auto-attack", known) == "autoattack");
  CHECK(nearest("mobilenet", known) == "mobilenet_v2");
  CHECK(nearest("square", known).empty());
  CHECK(nearest("x", {}).empty());
  CHECK(suggestion("pgdd", known) == "; did you mean 'pgd'?");
  CHECK(suggestion("zebra", known) == "; known: pgd, fgsm, autoattack, deepfool, mobilenet_v2");
  CHECK(suggestion("zebra", std::vector<std::string>(100, "long enough")).empty());
  CHECK(suggestion("zebra", {}).empty());
}

TEST_CASE("a configuration reads its spec and writes it canonically") {
  auto const o = configure<Options>(Spec::parse("pgd:eps=0.03,steps=5,random_start=no,loss=margin,note=a b"), "attack");
  CHECK(o.eps == 0.03f);
  CHECK(o.steps == 5);
  CHECK_FALSE(o.random_start);
  CHECK(o.loss == "margin");
  CHECK(o.note == "a b");
  CHECK(spec_text(Options{}, "pgd") ==
        "pgd:eps=8/255,rate=0.001,steps=10,limit=1099511627776,random_start=true,loss=ce,note=");
  auto const again = configure<Options>(Spec::parse(spec_text(o, "pgd")), "attack");
  CHECK(spec_text(again, "pgd") == spec_text(o, "pgd"));
}

TEST_CASE("reading updates the fields' own text") {
  Options o;
  Fields f;
  o.fields(f);
  f.read(Spec::parse("pgd:eps=0.03137255"), "attack pgd");
  CHECK(f.str("pgd").find("pgd:eps=8/255,") == 0);
  CHECK(f.all()[0].kind == "number");
  CHECK(f.all()[0].help == "radius");
}

TEST_CASE("a bad value names the attack, the key and the range") {
  auto const error = [](const char* text) {
    return usage_error([&] { configure<Options>(Spec::parse(text), "attack pgd"); });
  };
  CHECK(error("pgd:eps=-1") == "attack pgd: eps=-1 is outside [0, 1]");
  CHECK(error("pgd:eps=nan") == "attack pgd: eps=nan is not a number");
  CHECK(error("pgd:steps=0") == "attack pgd: steps=0 is outside [1, 1000]");
  CHECK(error("pgd:steps=1.5") == "attack pgd: steps=1.5 is not an integer");
  CHECK(error("pgd:loss=margn") == "attack pgd: loss=margn is unknown; did you mean 'margin'?");
  CHECK(error("pgd:random_start=2") == "attack pgd: random_start=2 is neither true nor false");
  CHECK(error("pgd:step=5") == "attack pgd: unknown key 'step'; did you mean 'steps'?");
  CHECK(error("pgd:zebra=5") ==
        "attack pgd: unknown key 'zebra'; known: eps, rate, steps, limit, random_start, loss, note");
}

TEST_CASE("a list of integers is written with dashes, an empty one not at all") {
  struct Layers {
    std::vector<int64_t> head;
    void fields(Fields& f) { f.integers("head", head, "widths", 1, 100); }
  };
  auto const read = [](const std::string& text) { return configure<Layers>(Spec::parse(text), "net"); };
  CHECK(read("net:head=20-100").head == std::vector<int64_t>{20, 100});
  CHECK(read("net:head=none").head.empty());
  CHECK(spec_text(read("net:head=20-100"), "net") == "net:head=20-100");
  CHECK(spec_text(Layers{}, "net") == "net");
  CHECK(default_fields<Layers>()[0].value == "none");
  for (const char* text : {"head=", "head=0", "head=20-101", "head=20-", "head=-20", "head=20+30", "head=x"}) {
    CAPTURE(text);
    CHECK(usage_error([&] { read(cat("net:", text)); }).starts_with("net: head="));
  }
}

namespace {
struct Shape2d {
  virtual ~Shape2d() = default;
  double size = 0;
};
using Shapes = Registry<Shape2d, double>;
const Shapes::Add square{Entry{.name = "square", .summary = "four sides"}, {}, [](const Spec&, double size) {
                           auto made = std::make_unique<Shape2d>();
                           made->size = size;
                           return made;
                         }};
}  // namespace

TEST_CASE("a registry makes what is known and suggests for what is not") {
  CHECK(Shapes::make(Spec::parse("square"), "shape", 2.5)->size == 2.5);
  CHECK(Shapes::names() == std::vector<std::string>{"square"});
  CHECK(usage_error([] { Shapes::make(Spec::parse("sqare"), "shape", 1); }) ==
        "unknown shape 'sqare'; did you mean 'square'?");
  CHECK_THROWS_AS(Shapes::Add(Entry{.name = "square"}, {}, nullptr), Error);
}
