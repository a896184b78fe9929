// SPDX-License-Identifier: MIT
// The echo device of the test kit follows its description, with chains that the test makes.
#include <catch2/catch_test_macros.hpp>

#include <cstring>

#include <virtio/device/queue_set.hpp>
#include <virtio/testing/echo_model.hpp>
#include <virtio/transport/config_field.hpp>

#include "machine.hpp"

using namespace virtio;
using virtio::testing::echo_model;

namespace {

using offers = std::initializer_list<unsigned>;

/// Both queues of the device, and a page of memory after the rings: the data that it reads and writes, and events.
struct echo_rig {
  using set = queue_set<rig::platform_type, rig::modern_pci, split_queue<8>, 2>;
  static constexpr usize echo_at = 2048, event_at = 3072;

  rig::machine m{};
  echo_model& model;
  std::unique_ptr<dma_storage<set::dma_bytes + dma_page>> storage =
      std::make_unique<dma_storage<set::dma_bytes + dma_page>>();
  std::unique_ptr<set> all = std::make_unique<set>();
  dma_area area{};

  explicit echo_rig(offers offered) : model{m.add<echo_model>(seat::modern, 4, offered, u32{64})} {
    feature_plan plan{};
    plan.wanted.set(echo_model::events_bit);
    REQUIRE(all->forget());
    REQUIRE(all->begin(m.platform(), m.where(4), *storage, set::dma_bytes + dma_page, device_type{echo_model::id}, plan,
                       {}, area));
    for (u16 q = 0; q < (offered.size() == 0 ? 1 : 2); ++q) REQUIRE(all->set_up(q, q, area, {}));
    all->go();
  }
  [[nodiscard]] u8* at(usize offset) { return area.data + set::dma_bytes + offset; }

  void send(u16 queue, u32 readable, u32 writable) {
    segment_list<2> chain;
    if (readable != 0) chain.append(area.at + set::dma_bytes, readable, direction::to_device);
    if (writable != 0) {
      const usize place = queue == echo_model::requestq ? echo_at : event_at;
      chain.append(area.at + (set::dma_bytes + place), writable, direction::from_device);
    }
    const auto slot = (*all)[queue].reserve();
    REQUIRE(slot);
    REQUIRE((*all)[queue].stage(*slot, chain, 0));
    all->kick(queue);
  }
  /// The used length of the next returned chain; empty if there is none.
  std::optional<u32> back(u16 queue) {
    model.step();
    completion one;
    if ((*all)[queue].take(one) != errc::ok) return std::nullopt;
    (*all)[queue].release(one.which);
    return one.length;
  }
  u32 event() { return virtio::testing::wire::get32(at(event_at)); }
  u32 echo(u32 readable, u32 writable) {
    send(echo_model::requestq, readable, writable);
    return back(echo_model::requestq).value_or(~u32{0});
  }
};

}  // namespace

TEST_CASE("echo device: it returns the readable bytes, as far as there is room", "[testing][echo]") {
  echo_rig r{offers{}};
  CHECK(read_field(r.all->session().transport(), config_field<u32, field_order::little>{0}).value_or(0) == 64);
  std::memcpy(r.at(0), "who calls there?", 16);
  CHECK(r.echo(16, 20) == 16);
  CHECK(std::memcmp(r.at(echo_rig::echo_at), "who calls there?", 16) == 0);
  CHECK(r.echo(16, 3) == 3);
  CHECK(r.echo(64, 64) == 64);
  CHECK(r.model.served() == 3);
}

TEST_CASE("echo device: it reports requests that break its rules, and does not count them", "[testing][echo]") {
  echo_rig r{offers{}};
  r.m.expect_objections = true;
  CHECK(r.echo(65, 65) == 0);
  CHECK(r.echo(16, 0) == 0);
  CHECK(r.echo(0, 16) == 0);
  CHECK(r.model.served() == 0);
  CHECK(r.m.objections().size() == 3);
}

TEST_CASE("echo device: every 16 requests make an event, which is lost without a buffer", "[testing][echo]") {
  echo_rig r{offers{0}};
  r.send(echo_model::eventq, 0, 4);
  for (u32 i = 0; i < 15; ++i) CHECK(r.echo(1, 1) == 1);
  CHECK(!r.back(echo_model::eventq));
  CHECK(r.echo(1, 1) == 1);
  CHECK(r.back(echo_model::eventq).value_or(0) == 4);
  CHECK(r.event() == 16);
  CHECK(!r.back(echo_model::eventq));
  for (u32 i = 0; i < 31; ++i) CHECK(r.echo(1, 1) == 1);
  CHECK(r.model.events_lost() == 1);
  r.send(echo_model::eventq, 0, 4);
  CHECK(r.echo(1, 1) == 1);
  CHECK(r.back(echo_model::eventq).value_or(0) == 4);
  CHECK(r.event() == 48);
}
