// SPDX-License-Identifier: MIT
// The entropy driver: it returns only bytes that the device wrote.
#include <catch2/generators/catch_generators.hpp>

#include "entropy.hpp"

using namespace virtio;

TEST_CASE("rng: fill() requests the whole buffer at once [RNG-01][RNG-02]", "[rng]") {
  rig::machine m;
  auto& model = m.add<rng_model>(GENERATE(seat::modern, seat::transitional, seat::legacy, seat::crosvm, seat::vmd), 4);
  rig::entropy<split_queue<8>> e;
  REQUIRE(e.start(m, m.where(4)));
  std::vector<u8> data(10000);
  REQUIRE(e->fill(data));
  for (usize i = 0; i < data.size(); ++i) REQUIRE(data[i] == rng_model::pattern(i));
  CHECK(model.requests() == 1);
}

TEST_CASE("rng: fill() never returns bytes that the device did not write [RNG-02][SPLIT-17][SPLIT-18]", "[rng]") {
  rig::machine m;
  auto& model = m.add<rng_model>(seat::modern, 4);
  model.answers = {3, 0, 1, 0, 0, 50, 0, 7};
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  std::vector<u8> data(200);
  REQUIRE(e->fill(data));
  for (usize i = 0; i < data.size(); ++i) REQUIRE(data[i] == rng_model::pattern(i));
}

TEST_CASE("rng: a device that never returns a byte ends fill() with an error", "[rng][hostile]") {
  rig::machine m;
  auto& model = m.add<rng_model>(seat::modern, 4);
  model.answers.assign(1000, 0);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  u8 data[8];
  CHECK(e->fill(data).error() == errc::io_error);
  CHECK(model.requests() < 100);
}

TEST_CASE("rng: fill() accepts 15 empty answers in a row, any number of times, and fails after 16", "[rng][hostile]") {
  rig::machine m;
  auto& model = m.add<rng_model>(seat::modern, 4);
  const auto nothing = [&](int times) { model.answers.insert(model.answers.end(), static_cast<usize>(times), 0); };
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  u8 data[8];
  for (int i = 0; i < 4; ++i) {
    nothing(15);
    model.answers.push_back(1);
  }
  REQUIRE(e->fill(data));
  CHECK(model.requests() == 4 * 16 + 1);
  for (usize i = 0; i < sizeof data; ++i) CHECK(data[i] == rng_model::pattern(i));
  model.answers.push_back(3);
  nothing(16);
  CHECK(e->fill(data).error() == errc::io_error);
  CHECK(model.requests() == 4 * 16 + 1 + 1 + 16);
  CHECK(model.answers.empty());
}

TEST_CASE("rng: a request reports the random bytes, and a used length beyond the buffer is cut [RNG-02][SPLIT-17]",
          "[rng]") {
  rig::machine m;
  auto& model = m.add<rng_model>(seat::modern, 4);
  model.answers = {5, 100000};
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  u8 first[16], second[16];
  REQUIRE(e->submit(first, 1));
  REQUIRE(e->submit(second, 2));
  e->kick();
  auto one = e->wait_next();
  REQUIRE(one);
  CHECK(one->cookie == 1);
  CHECK(one->length == 5);
  CHECK(first[5] == virtio::testing::strict_machine::poison);  // unchanged after the bytes that the device wrote
  one = e->next_completion();
  REQUIRE(one);
  CHECK(one->length == 16);
  CHECK(e->submit(bytes{}).error() == errc::invalid_argument);
}

TEST_CASE("rng: poll takes at most its budget of completions; drain takes all, and returns why the device failed",
          "[rng]") {
  rig::machine m;
  auto& model = m.add<rng_model>(seat::modern, 4);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  u8 rooms[6][8];
  for (u64 i = 0; i < 6; ++i) REQUIRE(e->submit(rooms[i], i));
  e->kick();
  (void)model.step();
  u64 sum = 0;
  const auto count = [&](const rng::done& one) { sum += one.cookie + (one.status == errc::ok ? one.length : 0); };
  CHECK(e->poll(count, 2) == 2);
  CHECK(sum == 0 + 1 + 2 * 8);
  CHECK(e->poll(count) == 4);
  CHECK(e->poll(count) == 0);
  CHECK(sum == 15 + 6 * 8);
  CHECK(e->drain(count));  // nothing is in flight

  model.hold();
  for (u64 i = 0; i < 3; ++i) REQUIRE(e->submit(rooms[i], 10 + i));
  sum = 0;
  CHECK(e->drain(count).error() == errc::timed_out);
  CHECK(sum == 10 + 11 + 12);  // canceled
  CHECK(e->in_flight() == 0);
}

TEST_CASE("rng: scattered memory is filled by several requests", "[rng]") {
  rig::machine m;
  m.add<rng_model>(seat::modern, 4);
  m.memory.largest_piece = 7;
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  std::vector<u8> data(333);
  REQUIRE(e->fill(data));
  for (usize i = 0; i < data.size(); ++i) REQUIRE(data[i] == rng_model::pattern(i));
}

TEST_CASE("rng: a queue of one entry works", "[rng]") {
  rig::machine m;
  m.add<rng_model>(seat::modern, 4, u16{1});
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  u8 data[64];
  for (int i = 0; i < 100; ++i) REQUIRE(e->fill(data));
}

TEST_CASE("rng: a device that never answers is reset, which returns the buffer", "[rng]") {
  rig::machine m;
  auto& model = m.add<rng_model>(seat::modern, 4);
  model.drop_requests = 1;
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  u8 data[8];
  CHECK(e->fill(data).error() == errc::timed_out);
  CHECK(m.memory.live() == 0);
  REQUIRE(e.start(m, m.where(4)));
  CHECK(e->fill(data));
}
