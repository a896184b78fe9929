// SPDX-License-Identifier: MIT
// The error alone tells whether memory is safe: after `device_broken` the device still has some of it; after any other
// error it has none. Compared with the models, which own the buffers that they took until a reset.
#include <catch2/generators/catch_generators.hpp>

#include <deque>
#include <map>
#include <random>

#include "disk.hpp"
#include "entropy.hpp"
#include "vsock.hpp"

using namespace virtio;

namespace {

using disk = rig::disk<split_queue<8>>;

void jump(device_model& model, usize queue = 0) {
  model.ring(queue).raw_used_idx(static_cast<u16>(model.ring(queue).raw_used_idx() + 100));
}

/// A disk with random calls, on a device that acts at random.
struct trial {
  rig::machine m{};
  blk_model& model;
  disk d{};
  std::mt19937 random;
  std::deque<std::vector<u8>> memory{};  // elements keep their addresses
  std::map<u64, token> out{};            // by cookie: submitted, and not completed
  usize kept = 0;                        // of blocking calls that returned device_broken
  u32 resets = 0;                        // confirmed resets, when the device received the storage
  bool has_storage = false;

  explicit trial(unsigned seed) : model{m.add<blk_model>(seat::modern, 4)}, random{seed} {
    m.expect_objections = true;  // the device acts at random
    for (auto& limit : m.memory.wait_limit) limit = 5;
  }

  u32 any(u32 below) { return static_cast<u32>(random() % below); }
  u8* fresh() { return memory.emplace_back(512).data(); }
  void take(const blk::done& one) {
    REQUIRE(out.erase(one.cookie) == 1);  // each once, and only submitted ones
  }
  /// Updates this test's records after a confirmed reset.
  void look_at_device() {
    if (model.resets() == resets) return;
    resets = model.resets();
    has_storage = model.at(0).enabled;
    kept = 0;
  }

  void about_buffers(errc how) {
    if (how == errc::device_broken) CHECK(out.size() + kept != 0);
  }
  void about_memory(errc how) {
    look_at_device();
    if (how == errc::device_broken) CHECK((has_storage || out.size() + kept != 0));
    else if (how != errc::ok && how != errc::not_ready) CHECK(!model.at(0).enabled);
  }

  void start() {
    const errc how = d.start(m, m.where(4)).error();
    look_at_device();
    if (how != errc::device_broken) out.clear();  // canceled without a completion
    if (how == errc::ok) has_storage = true;
    about_memory(how);
  }
  void blocking() {
    const bytes mine{fresh(), 512};
    const errc how =
        any(2) == 0 ? d->read(any(64), mine).error() : d->write(any(64), const_bytes{mine.data(), 512}).error();
    look_at_device();
    kept += how == errc::device_broken;
  }
  void submit() {
    const u64 cookie = memory.size() + 1;
    const auto t = d->submit_read(any(64), bytes{fresh(), 512}, cookie);
    CHECK(t.error() != errc::device_broken);
    if (t) out[cookie] = *t;
  }
  void wait() {
    if (out.empty()) return;
    const auto [cookie, t] = *out.begin();
    const errc how = d->wait(t).error();
    CHECK(how != errc::stale_handle);
    about_buffers(how);
    look_at_device();
    if (how != errc::device_broken) out.erase(cookie);
  }
  void collect() {
    const auto one = any(2) == 0 ? d->next_completion() : d->wait_next();
    if (one) take(*one);
    about_buffers(one.error());
  }
  void drain() {
    const errc how = d->drain([&](const blk::done& one) { take(one); }).error();
    look_at_device();
    about_buffers(how);
    if (how != errc::device_broken) CHECK(out.empty());
  }

  void step() {
    model.reset_reads = any(3) == 0 ? device_model::forever : 0;
    m.running = any(4) != 0;
    if (any(8) == 0) model.hold();
    else if (any(4) == 0) model.release();
    switch (any(12)) {
      case 0: start(); break;
      case 1:
      case 2: blocking(); break;
      case 3:
      case 4: submit(); break;
      case 5: d->kick(); break;
      case 6: wait(); break;
      case 7: collect(); break;
      case 8: drain(); break;
      case 9: about_memory(d->check().error()); break;
      case 10: about_memory(any(2) == 0 ? d->reset().error() : d->hand_off().error()); break;
      default:
        if (model.at(0).enabled && any(3) == 0) jump(model);
        else if (any(4) == 0) model.set_needs_reset();
    }
    look_at_device();
    REQUIRE(m.memory.live() == out.size() + kept);
    REQUIRE(m.memory.memory.faults().empty());  // none was unmapped while the device owned it
  }
};

}  // namespace

TEST_CASE(
    "hostile: device_broken means that the device has memory, any other error that it has none, on random devices [SHUTDOWN-02]",
    "[blk][hostile]") {
  for (unsigned seed = 0; seed < 150; ++seed) {
    CAPTURE(seed);
    trial t{seed};
    for (int i = 0; i < 200; ++i) t.step();
    t.model.reset_reads = 0;
    t.m.running = false;
    (void)t.d->reset();
    (void)t.d->drain([&](const blk::done& one) { t.take(one); });
    CHECK(t.out.empty());
    CHECK(t.m.memory.live() == 0);
  }
}

TEST_CASE("hostile: a device that misbehaved and was reset keeps nothing, whatever a later reset returns",
          "[blk][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  u8 a[512], b[512];
  REQUIRE(d->submit_read(0, a, 1));
  d->kick();
  jump(model);
  CHECK(d->next_completion().error() == errc::device_misbehaved);
  CHECK(m.memory.live() == 1);  // until the completion is taken
  model.reset_reads = device_model::forever;
  CHECK(d->reset().error() == errc::timed_out);
  const auto [end, back] = rig::drained(d);
  CHECK(end.error() == errc::not_started);
  CHECK(back.size() == 1);
  CHECK(d->poll([](blk::done) {}) == 0);
  CHECK(d->next_completion().error() == errc::not_started);
  CHECK(d->read(0, b).error() == errc::not_started);
  CHECK(d->check().error() == errc::not_started);
  CHECK(d->hand_off().error() == errc::timed_out);
  CHECK(d.start(m, m.where(4)).error() == errc::timed_out);
  CHECK(m.memory.live() == 0);
}

TEST_CASE(
    "hostile: a device that does not reset and has no request keeps the storage, as start, check, reset and hand_off report",
    "[blk][rng][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  model.reset_reads = device_model::forever;
  jump(model);
  CHECK(d->next_completion().error() == errc::device_misbehaved);
  CHECK(d->next_completion().error() == errc::not_started);
  CHECK(rig::drained(d).first.error() == errc::not_started);
  u8 a[512];
  CHECK(d->read(0, a).error() == errc::not_started);
  CHECK(d->submit_read(0, a).error() == errc::not_started);
  CHECK(d->check().error() == errc::device_broken);
  CHECK(d->reset().error() == errc::device_broken);
  CHECK(d->hand_off().error() == errc::device_broken);
  CHECK(d.start(m, m.where(4)).error() == errc::device_broken);
  CHECK(m.memory.live() == 0);
  model.reset_reads = 0;
  CHECK(d.start(m, m.where(4)));
  CHECK(d->read(0, a));
}

TEST_CASE("hostile: fill() returns device_broken only if the device has the buffer", "[rng][hostile]") {
  rig::machine m;
  auto& model = m.add<rng_model>(GENERATE(seat::modern, seat::legacy), 4);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  model.hold();
  u8 a[32], b[32];
  SECTION("an invalid entry, and a reset") {
    m.memory.on_wait = [&](waiting why, u64) {
      if (why == waiting::request) jump(model);
    };
    CHECK(e->fill(a).error() == errc::device_misbehaved);
    CHECK(m.memory.live() == 0);
    CHECK(e->fill(b).error() == errc::not_started);
    CHECK(e->check().error() == errc::not_started);
  }
  SECTION("no reset") {
    model.reset_reads = device_model::forever;
    CHECK(e->fill(a).error() == errc::device_broken);
    CHECK(m.memory.live() == 1);
    CHECK(e->fill(b).error() == errc::not_started);
    CHECK(m.memory.live() == 1);
    CHECK(e->next_completion().error() == errc::device_broken);  // the device has a request
    CHECK(e->wait_next().error() == errc::device_broken);
    model.reset_reads = 0;
    CHECK(e->reset());
  }
}

TEST_CASE("hostile: a socket device keeps no buffer of a caller, and no call returns device_broken for one",
          "[vsock][hostile]") {
  const bool resets = GENERATE(true, false);
  const bool lies = GENERATE(true, false);
  CAPTURE(resets, lies);
  sockets s;
  REQUIRE(s.begin());
  auto one = s->connect(rig::echo);
  REQUIRE(one);
  if (!resets) s.model.reset_reads = device_model::forever;
  if (lies) jump(s.model);
  else s.model.set_needs_reset();
  u8 byte[1] = {};
  const errc first = one->receive(byte).error();
  CHECK(first == (lies ? errc::device_misbehaved : errc::needs_reset));
  CHECK(one->send(byte).error() == first);
  CHECK(s->connect(rig::echo).error() == errc::not_started);
  CHECK(s->accept(1).error() == errc::not_started);
  CHECK(s->listen(1, 1).error() == errc::not_started);
  CHECK(s->check().error() == (resets ? errc::not_started : errc::device_broken));  // the storage
  s.forget();
  (void)s.poll();
  CHECK(s.poll().error() == errc::not_started);
  CHECK(s->reset().error() == (resets ? errc::ok : errc::device_broken));
  CHECK(s->hand_off().error() == (resets ? errc::ok : errc::device_broken));
  s.model.reset_reads = 0;
  CHECK(s.begin());
}
