// Run folders: networks and training states as files, TensorBoard's event files.
#include <doctest/doctest.h>

#include <cstring>

#include "engine/files/files.h"
#include "engine/files/run_folder.h"
#include "engine/files/safetensors.h"
#include "tests/file_fixtures.h"

using namespace mith;
using namespace mith::test;
namespace fs = std::filesystem;

namespace {

std::unique_ptr<Network> small_cnn(const std::string& keys = "") {
  NetworkOptions options{.classes = 3, .channels = 1, .height = 12, .width = 9, .class_names = {"a", "b \"c\"", "d"}};
  auto network = make_network("cnn" + keys, options);
  network->set_normalization("dataset", {0.1f}, {0.3f});
  network->initialise(3);
  return network;
}

}  // namespace

TEST_CASE("a network's file says how to build it again") {
  Folder const folder;
  auto const saved = small_cnn(":dropout=0.25");
  save_network(*saved, folder / "model.safetensors", {{"note", "kept"}});
  SafetensorsFile const file = read_safetensors(folder / "model.safetensors");
  CHECK(file.metadata.at("mithridate.net") == "cnn:dropout=0.25");
  CHECK(file.metadata.at("mithridate.image") == "[12,9,1]");
  CHECK(Json::parse(file.metadata.at("mithridate.classes")) == Json{"a", "b \"c\"", "d"});
  CHECK(Json::parse(file.metadata.at("mithridate.normalize"))["how"] == "dataset");
  CHECK(file.metadata.at("format") == "pt");
  CHECK(file.metadata.at("note") == "kept");
  std::string const path = (folder / "model.safetensors").string();
  for (std::string const& model : {folder.path.string(), path, "cnn@" + path, "cnn:classes=3@" + path}) {
    CAPTURE(model);
    auto const loaded = load_network(model);
    CHECK(loaded->spec() == "cnn:dropout=0.25");
    CHECK(values_of(*loaded) == values_of(*saved));
    const NetworkOptions& o = loaded->network_options();
    CHECK(o.class_names == std::vector<std::string>{"a", "b \"c\"", "d"});
    CHECK(o.normalize == "dataset");
    CHECK(o.mean == std::vector<float>{0.1f});
    CHECK(o.deviation == std::vector<float>{0.3f});
    CHECK(o.height == 12);
    CHECK(o.width == 9);
  }
  CHECK(load_network("cnn:dropout=0.5@" + path)->spec() == "cnn:dropout=0.5");
  CHECK(load_network("cnn:normalize=half@" + path)->network_options().mean == std::vector<float>{0.5f});
}

TEST_CASE("a network with a head of dense layers comes back from its file") {
  Folder const folder;
  auto const saved = make_network("vit:layers=1,hidden=6,mlp=6,head=4-3", {.classes = 2, .height = 16, .width = 16});
  saved->initialise(5);
  save_network(*saved, folder / "model.safetensors");
  auto const loaded = load_network(folder.path.string());
  CHECK(loaded->spec() == saved->spec());
  CHECK(loaded->spec().ends_with(",head=4-3"));
  CHECK(values_of(*loaded) == values_of(*saved));
}

TEST_CASE("models that cannot be loaded say why") {
  Folder const folder;
  std::string const path = (folder / "w.safetensors").string();
  save_network(*small_cnn(), path);
  auto const error = [](const std::string& model) { return usage_error([&] { load_network(model); }); };
  CHECK(contains(error((folder / "missing").string()), "there is no model"));
  CHECK(contains(error(folder.path.string()), "has no model.safetensors"));
  CHECK(contains(error("cnn@" + (folder / "missing").string()), "missing"));
  CHECK(contains(error("cnn-seed000@" + path), "was made for cnn, not for cnn-seed000"));
  CHECK(contains(error("cnn:classes=4@" + path), "fc2.weight: file [3, 128], network [4, 128]"));
  CHECK(contains(error("cnn:drpout=0.5@" + path), "did you mean 'dropout'?"));

  SafetensorsFile file = read_safetensors(path);
  auto const with = [&](const std::string& key, const std::string& value) {
    auto metadata = file.metadata;
    metadata[key] = value;
    write_safetensors(path, file.tensors, metadata);
    return error(path);
  };
  CHECK(contains(with("mithridate.image", "[12,9]"), "damaged"));
  CHECK(contains(with("mithridate.image", "[12,9,1e30]"), "not [height, width, channels]"));
  CHECK(contains(with("mithridate.image", "[1099511627776,1099511627776,1]"), "not [height"));
  CHECK(contains(with("mithridate.classes", "7"), "damaged"));
  CHECK(contains(with("mithridate.normalize", "{"), "damaged"));
  CHECK(contains(with("mithridate.normalize", R"({"how":"dataset","mean":[0],"deviation":[0]})"), "deviation"));
  CHECK(contains(with("mithridate.normalize", R"({"how":"dataset","mean":[0,0],"deviation":[1,1]})"), "each channel"));
  CHECK(contains(with("mithridate.normalize", R"({"how":"dataset","mean":[null],"deviation":[1]})"), "damaged"));
  CHECK(contains(with("mithridate.net", "nett"), "unknown net 'nett'"));
}

TEST_CASE("weights without metadata take the spec's keys and what the tensors show") {
  Folder const folder;
  auto const saved = small_cnn();
  std::string const path = (folder / "w.safetensors").string();
  write_safetensors(path, state_of(*saved), {});
  auto const error = [](const std::string& model) { return usage_error([&] { load_network(model); }); };
  CHECK(contains(error(path), "which network"));
  CHECK(contains(error("cnn@" + path), "cnn:size=N@"));
  CHECK(contains(error("cnn:size=28@" + path), "fc1.weight"));  // made for 12 x 9
  CHECK(contains(error("cnn:size=12,normalize=dataset@" + path), "normalize=dataset needs"));

  auto square = make_network("cnn", {.classes = 5, .channels = 3, .height = 16, .width = 16, .normalize = "half"});
  square->initialise(1);
  write_safetensors(path, state_of(*square), {{"format", "pt"}});
  auto const loaded = load_network("cnn:size=16@" + path);
  CHECK(loaded->network_options().classes == 5);
  CHECK(loaded->network_options().channels == 3);
  CHECK(loaded->network_options().normalize == "none");
  CHECK(values_of(*loaded) == values_of(*square));
}

TEST_CASE("weights of networks that give an image name no classes") {
  Folder const folder;
  std::string const path = (folder / "w.safetensors").string();
  for (const std::string& net :
       std::vector<std::string>{"dcae", "autoencoder:units=9"}) {  // without a linear layer and with two
    CAPTURE(net);
    auto const saved = make_network(net, {.height = 16, .width = 16});
    saved->initialise(1);
    write_safetensors(path, state_of(*saved), {});
    auto const loaded = load_network(cat(net, net == "dcae" ? ":" : ",", "size=16@", path));
    CHECK(loaded->network_options().classes == NetworkOptions().classes);
    CHECK(values_of(*loaded) == values_of(*saved));
  }
}

TEST_CASE("training resumes with weights, moments, counters and the loop's state") {
  Folder const folder;
  auto const network = small_cnn();
  auto const optimizer = make_adam(network->trainable(), {.learning_rate = 3e-4});
  optimizer->steps = 41;
  float first = 1;
  for (OptimizerState& s : optimizer->state()) s.value.copy_from(Tensor::full(s.value.shape(), first++));
  for (OptimizerState& s : optimizer->state())
    if (s.name == "conv1.weight.exp_avg") s.value.copy_from(counted(s.value.shape()));
  save_training_state(*network, *optimizer, {7, Json{{"patience", 2}, {"best", 0.1}}}, folder / "last.safetensors");

  auto const resumed = small_cnn();
  resumed->initialise(99);
  auto const other = make_adam(resumed->trainable(), {});
  TrainingState const state = load_training_state(*resumed, *other, folder / "last.safetensors");
  CHECK(state.epoch == 7);
  CHECK(state.loop == Json{{"patience", 2}, {"best", 0.1}});
  CHECK(other->steps == 41);
  CHECK(other->learning_rate == 3e-4);
  CHECK(values_of(*resumed) == values_of(*network));
  auto const a = optimizer->state(), b = other->state();
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) CHECK(a[i].value.to_host<float>() == b[i].value.to_host<float>());
  CHECK(read_safetensors(folder / "last.safetensors").find("optimizer.conv1.weight.exp_avg")->shape() ==
        Shape{32, 1, 3, 3});
  CHECK(values_of(*load_network((folder / "last.safetensors").string())) == values_of(*network));

  auto const sgd = make_sgd(resumed->trainable(), {});
  CHECK(contains(usage_error([&] { load_training_state(*resumed, *sgd, folder / "last.safetensors"); }), "adam"));
  save_network(*network, folder / "model.safetensors");
  CHECK(contains(usage_error([&] { load_training_state(*resumed, *other, folder / "model.safetensors"); }),
                 "no training to resume"));
}

TEST_CASE("CRC-32C has its published check values") {
  CHECK(crc32c("123456789") == 0xe3069283u);
  CHECK(crc32c("") == 0);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);    // RFC 3720, B.4
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43u);  // RFC 3720, B.4
}

TEST_CASE("event files hold the records TensorBoard reads") {
  Folder const folder;
  {
    EventWriter writer(folder / "logs");
    writer.scalar("loss/train", 0.5, 300);
  }
  fs::path const path = fs::directory_iterator(folder / "logs")->path();
  CHECK(path.filename().string().find("events.out.tfevents.") == 0);
  std::string rest = read_text(path);
  std::vector<std::string> events;
  auto const number = [](const std::string& bytes, auto zero) {
    std::memcpy(&zero, bytes.data(), sizeof zero);
    return zero;
  };
  auto const masked = [](const std::string& bytes) {
    uint32_t const crc = crc32c(bytes);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
  };
  while (!rest.empty()) {
    REQUIRE(rest.size() >= 16);
    auto const length = number(rest, uint64_t{});
    REQUIRE(rest.size() >= 16 + length);
    CHECK(number(rest.substr(8), uint32_t{}) == masked(rest.substr(0, 8)));
    events.push_back(rest.substr(12, length));
    CHECK(number(rest.substr(12 + length), uint32_t{}) == masked(events.back()));
    rest = rest.substr(16 + length);
  }
  REQUIRE(events.size() == 2);
  CHECK(events[0].substr(9) ==
        "\x1a\x0d"
        "brain.Event:2");
  CHECK(events[0][0] == 0x09);  // field 1, 64 bits: the time
  // step = 300 as a varint, summary { value { tag, simple_value = 0.5f } }
  CHECK(events[1].substr(9) == std::string("\x10\xac\x02\x2a\x13\x0a\x11\x0a\x0a"
                                           "loss/train\x15\x00\x00\x00\x3f",
                                           24));
  put(folder / "file", "");
  CHECK_THROWS_AS(EventWriter(folder / "file"), UsageError);
}

TEST_CASE("the build describes itself") {
  Json const build = build_information();
  for (const char* key : {"mithridate", "git", "build", "compiler", "isa", "device", "hardware", "providers"}) {
    CAPTURE(key);
    CHECK(build.contains(key));
  }
  CHECK(build["mithridate"] == "0.1.0");
}
