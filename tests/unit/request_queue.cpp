// SPDX-License-Identifier: MIT
// Several request queues under one lifecycle: each has its own answers, and the failure of one ends the requests of
// all.
#include <catch2/catch_test_macros.hpp>

#include <array>

#include <virtio/device/request_queue.hpp>

#include "machine.hpp"

using namespace virtio;

namespace {

/// A device with one other queue and two request queues, which fill a buffer with the queue's number.
struct two_request_queues {
  static constexpr u16 control = 1, data = 2;
  using set = queue_set<rig::platform_type, rig::modern_pci, split_queue<8>, 3>;
  using requests = request_queue<set, 4>;

  rig::machine m{};
  device_model& model = m.add<device_model>(seat::modern, 4, u16{4}, std::vector<u16>(3, 8));
  std::unique_ptr<dma_storage<set::dma_bytes>> storage = std::make_unique<dma_storage<set::dma_bytes>>();
  std::unique_ptr<set> all = std::make_unique<set>();
  requests of_control{}, of_data{};
  std::array<std::array<u8, 64>, 8> buffers{};

  two_request_queues() {
    model.on_request = [this](u16 queue, virtio::testing::chain& buffer) {
      u32 written = 0;
      for (const auto& piece : buffer.elements)
        for (u32 i = 0; i < piece.length; ++i, ++written) {
          const u8 byte = static_cast<u8>(0xc0 + queue);
          (void)m.memory.memory.write(piece.at + i, &byte, 1);
        }
      return written;
    };
    start();
  }

  void start() {
    REQUIRE(of_control.forget(*all, control));
    REQUIRE(of_data.forget(*all, data));
    dma_area area;
    REQUIRE(all->forget());
    REQUIRE(all->begin({&m.memory}, m.where(4), *storage, set::dma_bytes, device_type::entropy, {}, {}, area));
    for (u16 q = 0; q < 3; ++q) REQUIRE(all->set_up(q, q, area, {}));
    all->go();
  }

  token submit(requests& to, u32 buffer) {
    segment_list<4> chain;
    REQUIRE(all->platform().map(buffers[buffer].data(), 64, direction::from_device, chain));
    const auto slot = to.reserve(*all);
    REQUIRE(slot);
    const auto staged = to.stage(*all, *slot, chain, 0, chain.size(), buffer);
    REQUIRE(staged);
    return *staged;
  }
  /// The next answer of a queue; its buffer is free again.
  answer next(requests& of) {
    answer ended;
    REQUIRE(of.next(*all, ended) == errc::ok);
    of.finish(*all, ended, ended.what.length);
    return ended;
  }
  errc error(requests& of) {
    answer ended;
    return of.next(*all, ended);
  }
  void lie(u16 queue) {
    model.ring(queue).push(7, 0);  // an id of no request
    model.ring(queue).publish();
  }
  void require_nothing_mapped() { CHECK(m.memory.live() == 0); }
};

}  // namespace

TEST_CASE("request queues: two under one lifecycle each answer their own requests", "[device]") {
  two_request_queues r;
  const token a = r.submit(r.of_control, 0), b = r.submit(r.of_data, 1), c = r.submit(r.of_data, 2);
  r.of_control.kick(*r.all);
  r.of_data.kick(*r.all);
  CHECK(r.model.doorbells(1) == 1);
  CHECK(r.model.doorbells(2) == 1);
  r.model.step();
  CHECK(r.of_control.in_flight(*r.all) == 1);
  CHECK(r.of_data.in_flight(*r.all) == 2);

  answer ended;
  REQUIRE(r.of_data.wait(*r.all, c, waiting::request, ended, owner::call) == errc::ok);  // b is deferred
  CHECK(ended.what.which == c);
  r.of_data.finish(*r.all, ended, ended.what.length);
  CHECK(r.buffers[2][63] == 0xc2);
  CHECK(r.of_data.arm(*r.all));
  CHECK(r.next(r.of_control).what.which == a);
  CHECK(r.buffers[0][63] == 0xc1);
  CHECK(r.next(r.of_data).what.which == b);
  CHECK(r.error(r.of_control) == errc::not_ready);
  CHECK(r.error(r.of_data) == errc::not_ready);
  r.require_nothing_mapped();
  CHECK(r.m.objections().empty());
}

TEST_CASE("request queues: an invalid entry on one ends the requests of all as canceled", "[device][hostile]") {
  two_request_queues r;
  r.model.hold();
  for (u32 i = 0; i < 4; ++i) (void)r.submit(i % 2 == 0 ? r.of_control : r.of_data, i);
  r.of_control.kick(*r.all);
  r.of_data.kick(*r.all);
  r.model.step();
  r.lie(two_request_queues::control);
  CHECK(r.error(r.of_control) == errc::device_misbehaved);

  CHECK(r.of_data.arm(*r.all));  // something is ready: no sleep
  for (u32 i = 0; i < 2; ++i) {
    CHECK(r.next(r.of_control).error == errc::canceled);
    CHECK(r.next(r.of_data).error == errc::canceled);
  }
  CHECK(r.error(r.of_control) == errc::not_started);
  CHECK(r.error(r.of_data) == errc::not_started);
  CHECK(r.of_data.reserve(*r.all).error() == errc::not_started);
  CHECK_FALSE(r.of_data.arm(*r.all));
  r.require_nothing_mapped();

  r.model.release();
  r.start();
  const token again = r.submit(r.of_data, 1);
  answer ended;
  REQUIRE(r.of_data.wait(*r.all, again, waiting::request, ended, owner::call) == errc::ok);
  r.of_data.finish(*r.all, ended, 64);
  CHECK(r.buffers[1][0] == 0xc2);
}

TEST_CASE(
    "request queues: a wait on one returns at once after another has taken the device down, with any requests in flight",
    "[device][hostile]") {
  two_request_queues r;
  r.model.hold();
  const token first = r.submit(r.of_data, 1), mine = r.submit(r.of_data, 2);
  r.of_data.kick(*r.all);
  r.model.step();
  r.lie(two_request_queues::control);
  CHECK(r.error(r.of_control) == errc::device_misbehaved);

  answer ended;
  REQUIRE(r.of_data.wait(*r.all, mine, waiting::request, ended, owner::call) == errc::ok);
  CHECK(ended.what.which == mine);
  CHECK(ended.error == errc::canceled);
  r.of_data.finish(*r.all, ended, 0);
  CHECK(r.of_data.wait(*r.all, mine, waiting::request, ended, owner::call) == errc::stale_handle);
  REQUIRE(r.of_data.wait_next(*r.all, waiting::request, ended) == errc::ok);
  CHECK(ended.what.which == first);
  r.of_data.finish(*r.all, ended, 0);
  CHECK(r.of_data.wait_next(*r.all, waiting::request, ended) == errc::not_started);
  r.require_nothing_mapped();
}

TEST_CASE("request queues: a device that does not reset keeps the requests of all queues until a reset",
          "[device][hostile]") {
  two_request_queues r;
  r.model.hold();
  const token given_up = r.submit(r.of_data, 1);
  (void)r.submit(r.of_data, 2);
  (void)r.submit(r.of_control, 3);
  r.of_data.kick(*r.all);
  r.of_control.kick(*r.all);
  r.model.step();
  r.model.reset_reads = device_model::forever;
  answer ended;
  // timed out, and no reset
  CHECK(r.of_data.wait(*r.all, given_up, waiting::request, ended, owner::call) == errc::device_broken);
  CHECK(r.error(r.of_control) == errc::device_broken);
  CHECK(r.error(r.of_data) == errc::device_broken);
  CHECK(r.m.memory.live() == 3);
  CHECK(r.of_data.forget(*r.all).error() == errc::device_broken);
  CHECK(r.m.memory.live() == 3);

  r.model.reset_reads = 0;
  CHECK(r.all->reset([&](errc why) { return r.of_control.bring_down(*r.all, why); }));
  CHECK(r.next(r.of_control).error == errc::canceled);
  answer other = r.next(r.of_data);
  CHECK(other.error == errc::canceled);
  CHECK(other.what.cookie == 2);  // the request of the call that gave up has no completion
  CHECK(r.error(r.of_data) == errc::not_started);
  r.require_nothing_mapped();
}
