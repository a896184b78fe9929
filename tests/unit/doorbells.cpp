// SPDX-License-Identifier: MIT
// Lost doorbells: every driver rings again after a long idle time, and not otherwise.
#include <catch2/generators/catch_generators.hpp>

#include "balloon.hpp"
#include "console.hpp"
#include "disk.hpp"
#include "entropy.hpp"
#include "scsi.hpp"
#include "vsock.hpp"

using namespace virtio;

namespace {

template <bool Sleeps>
struct board : rig::platform_type {
  static constexpr bool sleeps = Sleeps;
};

template <bool Sleeps>
using disk = rig::driver<blk::device<board<Sleeps>, rig::modern_pci, queue<8>>>;
template <bool Sleeps>
using entropy = rig::driver<rng::device<board<Sleeps>, rig::modern_pci, queue<8>>>;
template <bool Sleeps>
using sockets_on = rig::driver<vsock::device<board<Sleeps>, rig::modern_pci, split_queue<64>>>;

template <bool Sleeps>
struct host_on : rig::driver<scsi::device<board<Sleeps>, rig::modern_pci, split_queue<8>>> {
  using device_type = scsi::device<board<Sleeps>, rig::modern_pci, split_queue<8>>;
};
template <bool Sleeps>
using balloon_on = rig::driver<balloon::device<board<Sleeps>, rig::modern_pci, split_queue<8>>>;
template <bool Sleeps>
using console_on = rig::driver<console::device<board<Sleeps>, rig::modern_pci, split_queue<8>, rig::one_small_port>>;

/// A machine that loses the next doorbells of its device: each was written, but does not arrive.
struct machine : rig::machine {
  u32 lose = 0;
  u64 attempts = 0;  // of waits for a request

  machine() {
    for (auto& limit : memory.wait_limit) limit = 1'000'000;
    memory.on_wait = [this](waiting why, u64) {
      attempts += why != waiting::reset;
      for (auto& one : models) {
        for (usize q = 0; lose != 0 && q < one->queue_count(); ++q)
          if (one->at(q).rung.exchange(false)) --lose;
        if (running) (void)one->step();
      }
    };
  }
  template <bool Sleeps, class Driver>
  result<void> begin(Driver& d) {
    return rig::bring_up(*d, board<Sleeps>{{&memory}}, where(4), d.storage());
  }
};

template <bool Sleeps>
void lost_doorbell() {
  const bool packed = GENERATE(false, true);
  const bool event_idx = GENERATE(false, true);
  CAPTURE(packed, event_idx);
  const auto set = [&](device_model& model) {
    if (packed) model.offer({34});
    if (event_idx) model.offer({29});
  };
  const u64 enough = Sleeps ? 8 : 65536;
  machine m;
  u8 data[512];
  SECTION("blk") {
    auto& model = m.add<blk_model>(seat::modern, 4);
    set(model);
    disk<Sleeps> d;
    REQUIRE(m.begin<Sleeps>(d));
    m.lose = 1;
    REQUIRE(d->read(0, data));
    CHECK(model.doorbells() == 2);
    CHECK(model.resets() == 1);
    CHECK(m.attempts <= enough + 1);
    REQUIRE(d->submit_read(1, data));
    m.lose = 2;  // the second one, too
    REQUIRE(d->wait_next());
    CHECK(model.doorbells() == 5);
    CHECK(m.attempts <= 4 * enough + 4);
  }
  SECTION("rng") {
    auto& model = m.add<rng_model>(seat::modern, 4);
    set(model);
    entropy<Sleeps> e;
    REQUIRE(m.begin<Sleeps>(e));
    m.lose = 1;
    REQUIRE(e->fill(data));
    CHECK(model.doorbells() == 2);
    CHECK(model.resets() == 1);
  }
}

}  // namespace

TEST_CASE("doorbells: a lost one costs a wait, but no reset", "[blk][rng]") { lost_doorbell<false>(); }
TEST_CASE("doorbells: a lost one costs some sleeps, but no reset", "[blk][rng]") { lost_doorbell<true>(); }

TEST_CASE("doorbells: one that a socket device loses costs a wait, asleep or awake", "[vsock]") {
  const auto connects = [](auto sleeps, u64 enough) {
    machine m;
    auto& model = m.add<vsock_model>(seat::modern, 4);
    model.ports[rig::open_port] = vsock_model::reception::accepts;
    sockets_on<sleeps.value> s;
    REQUIRE(m.begin<sleeps.value>(s));
    (void)model.step();
    m.lose = 1;
    CHECK(s->connect(rig::echo));
    CHECK(m.attempts <= enough);
    CHECK(model.doorbells(1) == 2);
  };
  connects(std::false_type{}, 1030);
  connects(std::true_type{}, 12);
}

TEST_CASE("doorbells: one that a balloon or a console loses costs a wait, asleep or awake", "[balloon][console]") {
  const auto inflates = [](auto sleeps, u64 enough) {
    machine m;
    auto& model = m.add<rig::balloon_model>(seat::modern, 4);
    balloon_on<sleeps.value> d;
    REQUIRE(m.begin<sleeps.value>(d));
    m.lose = 1;
    CHECK(d->inflate(3, rig::pages_from{10}));
    CHECK(m.attempts <= enough + 1);
    CHECK(model.doorbells(0) == 2);
  };
  inflates(std::false_type{}, 65536);
  inflates(std::true_type{}, 8);
  const auto prints = [](auto sleeps, u64 enough) {
    machine m;
    auto& model = m.add<rig::console_model>(seat::modern, 4);
    console_on<sleeps.value> d;
    REQUIRE(m.begin<sleeps.value>(d));
    (void)model.step();
    m.lose = 1;
    REQUIRE(d->try_send(text("x")));
    CHECK(d->flush());
    CHECK(m.attempts <= enough + 1);
    CHECK(model.doorbells(1) == 2);
  };
  prints(std::false_type{}, 65536);
  prints(std::true_type{}, 8);
}

TEST_CASE("doorbells: a lost one of SCSI's request or control queue costs a wait and no reset, awake or asleep",
          "[scsi]") {
  const auto works = [](auto sleeps, u64 enough) {
    machine m;
    auto& model = m.add<rig::scsi_model>(seat::modern, 4);
    host_on<sleeps.value> host;
    REQUIRE(m.begin<sleeps.value>(host));
    scsi::reader<typename host_on<sleeps.value>::device_type> disk{};
    REQUIRE(disk.open(*host, {}));
    u8 data[512];
    const auto before = model.doorbells(2);
    m.lose = 1;
    m.attempts = 0;
    CHECK(disk.read(0, data));
    CHECK(m.attempts <= enough + 1);
    CHECK(model.doorbells(2) == before + 2);
    m.lose = 1;
    m.attempts = 0;
    CHECK(host->reset_unit({}));
    CHECK(m.attempts <= enough + 1);
    CHECK(model.doorbells(0) == 2);
    CHECK(model.resets() == 1);
  };
  works(std::false_type{}, 65536);
  works(std::true_type{}, 8);
}

TEST_CASE("doorbells: a device that never answers gets a bounded number", "[blk]") {
  machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.hold();
  u8 data[512];
  SECTION("awake") {
    disk<false> d;
    REQUIRE(m.begin<false>(d));
    m.memory.wait_limit[static_cast<int>(waiting::request)] = 7 * 65536 + 100;
    CHECK(d->read(0, data).error() == errc::timed_out);
    CHECK(model.doorbells() == 1 + 3);  // after 1, 3 and 7 times 65,536
  }
  SECTION("asleep") {
    disk<true> d;
    REQUIRE(m.begin<true>(d));
    m.memory.wait_limit[static_cast<int>(waiting::request)] = 120;
    CHECK(d->read(0, data).error() == errc::timed_out);
    CHECK(model.doorbells() == 1 + 4);  // after 8, 24, 56 and 120
  }
  SECTION("asleep for long: once in 512 sleeps") {
    disk<true> d;
    REQUIRE(m.begin<true>(d));
    m.memory.wait_limit[static_cast<int>(waiting::request)] = 100'000;
    CHECK(d->read(0, data).error() == errc::timed_out);
    CHECK(model.doorbells() <= 1 + 7 + 100'000 / 511);
    CHECK(model.doorbells() >= 100'000 / 512);
  }
}

TEST_CASE("doorbells: polling without waiting also rings again, but only for requests that the device has", "[blk]") {
  machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  disk<false> d;
  REQUIRE(m.begin<false>(d));
  u8 data[512];
  for (u32 i = 0; i < 200'000; ++i) (void)d->next_completion();
  CHECK(model.doorbells() == 0);  // it has no request
  REQUIRE(d->submit_read(0, data, 5));
  for (u32 i = 0; i < 200'000; ++i) (void)d->next_completion();
  CHECK(model.doorbells() == 0);  // and none was published
  CHECK(model.ring().raw_available_idx() == 0);
  d->kick();
  CHECK(model.doorbells() == 1);
  model.at(0).rung = false;
  for (u32 i = 0; i < 65535; ++i) CHECK(d->next_completion().error() == errc::not_ready);
  CHECK(model.doorbells() == 1);
  CHECK(d->next_completion().error() == errc::not_ready);
  CHECK(model.doorbells() == 2);
  (void)model.step();
  CHECK(d->next_completion()->cookie == 5);
}

TEST_CASE("doorbells: a request that completes in time has one, with any number of polls in between", "[blk]") {
  machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  disk<false> d;
  REQUIRE(m.begin<false>(d));
  u8 data[512];
  model.counts = {};
  for (int i = 0; i < 40; ++i) {
    REQUIRE(d->submit_read(0, data));
    d->kick();
    for (u32 n = 0; n < 5000; ++n) (void)d->next_completion();  // 200,000 in total
    (void)model.step();
    REQUIRE(d->next_completion());
  }
  CHECK(model.doorbells() == 40);
  CHECK(model.counts.notify == 40);
  CHECK(model.counts.common == 0);
}

TEST_CASE("doorbells: a long idle time of a socket device costs one, of one queue", "[vsock]") {
  machine m;
  auto& model = m.add<vsock_model>(seat::modern, 4);
  sockets_on<false> s;
  REQUIRE(m.begin<false>(s));
  (void)model.step();
  m.memory.wait_limit[static_cast<int>(waiting::peer)] = 1030;
  REQUIRE(s->listen(80, 1));
  const auto rung = [&] { return model.doorbells(0) + model.doorbells(1) + model.doorbells(2); };
  const u32 before = rung();
  CHECK(s->accept(80).error() == errc::peer_silent);
  CHECK(rung() == before + 1);
}

TEST_CASE("doorbells: eight calls of arm() without a completion ring again, with any code that sleeps after them",
          "[blk][vsock][console]") {
  machine m;
  SECTION("console") {
    auto& model = m.add<rig::console_model>(seat::modern, 4);
    console_on<false> d;
    REQUIRE(m.begin<false>(d));
    (void)model.step();
    const u32 before = model.doorbells(0) + model.doorbells(1);
    for (int i = 0; i < 8; ++i) CHECK_FALSE(d->arm());
    CHECK(model.doorbells(0) + model.doorbells(1) == before + 1);
    REQUIRE(d->reset());
    for (int i = 0; i < 8; ++i) CHECK_FALSE(d->arm());
    CHECK(model.doorbells(0) + model.doorbells(1) == before + 1);
  }
  SECTION("blk") {
    auto& model = m.add<blk_model>(seat::modern, 4);
    disk<false> d;
    REQUIRE(m.begin<false>(d));
    u8 data[512];
    REQUIRE(d->submit_read(0, data));
    d->kick();
    for (int i = 0; i < 7; ++i) CHECK_FALSE(d->arm());
    CHECK(model.doorbells() == 1);
    CHECK_FALSE(d->arm());
    CHECK(model.doorbells() == 2);
    REQUIRE(d->reset());
    CHECK(d->next_completion()->status == errc::canceled);
  }
  SECTION("vsock") {
    auto& model = m.add<vsock_model>(seat::modern, 4);
    sockets_on<false> s;
    REQUIRE(m.begin<false>(s));
    (void)model.step();
    const u32 before = model.doorbells(0) + model.doorbells(2);
    for (int i = 0; i < 8; ++i) CHECK_FALSE(s->arm());
    CHECK(model.doorbells(0) + model.doorbells(2) == before + 1);
  }
}
