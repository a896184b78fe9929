// SPDX-License-Identifier: MIT
// The device side of a packed ring, with a driver written by hand: raw bytes, a slot and a wrap counter for each
// direction, without the library and without the model's arithmetic. This tests the model that tests the drivers.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include <virtio/testing/rng_model.hpp>

using namespace virtio::testing;

namespace {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u64 ring_at = 0x1'0000, driver_at = 0x20'0000, device_at = 0x30'0000, data_at = 0x40'0000;
constexpr u16 next_flag = 1, write_flag = 2, indirect_flag = 4, available_flag = 0x80, used_flag = 0x8000;

struct piece {
  u32 length;
  u16 flags = 0;
  u64 at = data_at;
};

/// A driver that follows 2.8, unless a test changes its ring.
struct hand_driver {
  struct place {
    u16 slot = 0;
    bool wrap = true;
    void step(u16 n, u16 entries) {
      for (u16 i = 0; i < n; ++i)
        if (++slot == entries) {
          slot = 0;
          wrap = !wrap;
        }
    }
    [[nodiscard]] u16 word() const { return static_cast<u16>(slot | (wrap ? 0x8000u : 0u)); }
  };
  struct used {
    u16 id;
    u32 length;
    u16 flags;
  };

  device_memory memory;
  packed_device device;
  std::vector<u8> ring;
  alignas(4) u8 driver_event[4] = {}, device_event[4] = {};
  std::vector<u8> data = std::vector<u8>(4096);
  u16 size;
  place next, back;
  u16 room;
  std::map<u16, u16> lengths;  // descriptors by id
  std::deque<u16> order;

  explicit hand_driver(u16 entries, ring_features features = {}, u16 start = 0x8000)
      : ring(16u * entries), size{entries}, room{entries} {
    windows();
    device.configure(memory, size, ring_at, driver_at, device_at, features);
    if (start != 0x8000) device.start_at(start);
    next = back = {static_cast<u16>(start & 0x7fff), (start & 0x8000) != 0};
  }
  void windows() {
    const auto both = device_memory::permission::read_write;
    REQUIRE(memory.add(ring_at, ring.data(), ring.size(), both));
    REQUIRE(memory.add(driver_at, driver_event, 4, device_memory::permission::read_only));
    REQUIRE(memory.add(device_at, device_event, 4, both));
    REQUIRE(memory.add(data_at, data.data(), data.size(), both));
  }

  [[nodiscard]] u8* slot(u16 n) { return ring.data() + 16u * n; }
  [[nodiscard]] static u16 available(bool wrap) { return wrap ? available_flag : used_flag; }

  void flags(u16 at, unsigned value) { wire::atomic_put32(slot(at) + 12, value << 16 | wire::get16(slot(at) + 12)); }
  [[nodiscard]] u16 flags(u16 at) { return static_cast<u16>(wire::atomic_get32(slot(at) + 12) >> 16); }

  /// Makes a list available, its first descriptor last. Id and flags are one store, since the device reads both at
  /// once.
  void make(u16 id, const std::vector<piece>& list) {
    const u16 first = next.slot;
    u32 first_word = 0;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const bool last = i + 1 == list.size();
      wire::put64(slot(next.slot), list[i].at);
      wire::put32(slot(next.slot) + 8, list[i].length);
      const u32 f = list[i].flags | u32{available(next.wrap)} | (last ? 0u : next_flag);
      const u32 word = f << 16 | (last ? id : 0xdeadu);  // FACT-22: the other ids have no meaning
      if (i == 0) first_word = word;
      else wire::atomic_put32(slot(next.slot) + 12, word);
      next.step(1, size);
    }
    room = static_cast<u16>(room - list.size());
    lengths[id] = static_cast<u16>(list.size());
    order.push_back(id);
    wire::atomic_put32(slot(first) + 12, first_word);
  }
  std::optional<used> take() {
    const u16 f = flags(back.slot);
    if (((f & available_flag) != 0) != back.wrap || ((f & used_flag) != 0) != back.wrap) return std::nullopt;
    const used one{wire::get16(slot(back.slot) + 12), wire::get32(slot(back.slot) + 8), f};
    if (lengths.count(one.id) == 0) return one;
    drop(one.id);
    return one;
  }
  void drop(u16 id) {
    const u16 n = lengths.at(id);
    lengths.erase(id);
    order.erase(std::find(order.begin(), order.end(), id));
    back.step(n, size);
    room = static_cast<u16>(room + n);
  }
  /// With IN_ORDER: all lists up to the id of the used descriptor.
  std::vector<u16> take_batch() {
    const u16 f = flags(back.slot);
    if (((f & available_flag) != 0) != back.wrap || ((f & used_flag) != 0) != back.wrap) return {};
    const u16 last = wire::get16(slot(back.slot) + 12);
    std::vector<u16> all;
    while (all.empty() || all.back() != last) {
      all.push_back(order.front());
      drop(order.front());
    }
    return all;
  }
  void ask(u16 event_flags, u16 position = 0) { wire::atomic_put32(driver_event, u32{event_flags} << 16 | position); }

  void complete(u32 written = 0) {
    const auto one = device.pop();
    REQUIRE(one);
    device.push(one->head, written);
    device.publish();
  }
  [[nodiscard]] bool objected(const std::string& what) const {
    for (const auto& v : device.violations()) UNSCOPED_INFO(v);
    return std::any_of(device.violations().begin(), device.violations().end(),
                       [&](const std::string& v) { return v.find(what) != std::string::npos; });
  }
  void fine() const {
    for (const auto& v : device.violations()) UNSCOPED_INFO(v);
    for (const auto& v : memory.faults()) UNSCOPED_INFO("memory: " << v);
    REQUIRE(device.violations().empty());
    REQUIRE(memory.faults().empty());
  }
};

// A later position, by counting.
u16 walk(u16 from, unsigned steps, u16 size) {
  hand_driver::place p{static_cast<u16>(from & 0x7fff), (from & 0x8000) != 0};
  for (unsigned i = 0; i < steps; ++i) p.step(1, size);
  return p.word();
}
// Whether `event` is one of the `count` positions from `from` on, by counting.
bool among(u16 event, u16 from, unsigned count, u16 size) {
  for (unsigned i = 0; i < count; ++i)
    if (walk(from, i, size) == event) return true;
  return false;
}
std::vector<u16> positions(u16 size) {
  std::vector<u16> all;
  for (unsigned i = 0; i < 2u * size; ++i) all.push_back(walk(0x8000, i, size));
  return all;
}

}  // namespace

TEST_CASE("packed device: lists of every length round trip at every size, out of order and across the wrap",
          "[testing][packed]") {
  const u16 size = GENERATE(as<u16>{}, 1, 2, 3, 4, 5, 7, 8, 13, 256, 1000);
  hand_driver d{size};
  std::mt19937 random{size};
  std::vector<chain> at_device;
  std::map<u16, std::pair<u16, u32>> sent;  // id: readable pieces, writable bytes
  unsigned descriptors = 0, returned = 0;
  while (descriptors < 20u * size || returned < 50) {
    for (const auto tries = random() % 4; d.room != 0 && sent.size() < 4u + tries;) {
      const u16 n = static_cast<u16>(1 + random() % d.room);
      const u16 readable = static_cast<u16>(random() % (n + 1));
      std::vector<piece> list;
      for (u16 i = 0; i < n; ++i) list.push_back({1u + i % 7, i < readable ? u16{0} : write_flag});
      u16 id = 0;
      do id = static_cast<u16>(random());  // any id that is free
      while (d.lengths.count(id) != 0);
      u32 writable = 0;
      for (u16 i = readable; i < n; ++i) writable += list[i].length;
      d.make(id, list);
      sent[id] = {readable, writable};
      descriptors += n;
    }
    if (random() % 2 == 0) (void)d.device.pending();  // a look ahead has no effect
    while (auto one = d.device.pop()) {
      const auto& [readable, writable] = sent.at(one->head);
      REQUIRE(one->descriptors == d.lengths.at(one->head));
      REQUIRE(one->elements.size() == one->descriptors);
      for (std::size_t i = 0; i < one->elements.size(); ++i) REQUIRE(one->elements[i].writable == (i >= readable));
      REQUIRE(one->writable() == writable);
      at_device.push_back(*one);
    }
    REQUIRE(d.device.in_flight() == sent.size());
    REQUIRE(d.device.next_available() == d.next.word());
    std::shuffle(at_device.begin(), at_device.end(), random);
    for (auto n = random() % (at_device.size() + 1); n != 0; --n) {
      d.device.push(at_device.back().head, static_cast<u32>(at_device.back().writable()));
      at_device.pop_back();
      if (random() % 2 == 0) d.device.publish();
    }
    d.device.publish();
    while (const auto used = d.take()) {
      REQUIRE(sent.count(used->id) == 1);
      REQUIRE(used->length == sent[used->id].second);
      REQUIRE(((used->flags & write_flag) != 0) == (sent[used->id].second != 0));
      sent.erase(used->id);
      ++returned;
    }
    REQUIRE(sent.size() == at_device.size());
    REQUIRE(d.device.next_used() == d.back.word());
    d.fine();
  }
}

TEST_CASE("packed device: used descriptors are written in order of completion, one per list, and nothing else is",
          "[testing][packed]") {
  hand_driver d{5};
  d.make(7, {{8}, {8, write_flag}, {8, write_flag}});
  d.make(9, {{4, write_flag}});
  const auto first = d.device.pop(), second = d.device.pop();
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->head == 7);
  CHECK(second->head == 9);
  std::vector<u8> before = d.ring;
  d.device.push(9, 4);
  d.device.publish();  // out of order: over the first descriptor of the other one
  wire::put32(before.data() + 8, 4);
  wire::put16(before.data() + 12, 9);
  wire::put16(before.data() + 14, available_flag | used_flag | write_flag);
  CHECK(d.ring == before);  // not even the address
  REQUIRE(d.take()->id == 9);
  CHECK(!d.take());
  // The driver may use the returned slot, at the end of the ring: the list in flight was copied.
  d.make(1, {{4}});
  d.make(2, {{4}});
  CHECK(d.room == 0);
  CHECK(d.device.pending() == 2);
  d.device.push(7, 0);
  d.device.publish();
  CHECK(d.take()->id == 7);
  d.complete();
  d.complete();
  CHECK(d.take()->id == 1);
  CHECK(d.take()->id == 2);
  CHECK(d.back.word() == walk(0x8000, 6, 5));
  d.fine();
}

TEST_CASE("packed device: a batch is invisible until its first flags are written, which is last", "[testing][packed]") {
  hand_driver d{3, {}, walk(0x8000, 2, 3)};  // across the wrap
  for (u16 id = 0; id < 3; ++id) d.make(id, {{4}});
  CHECK(d.device.pending() == 3);
  for (u16 id = 0; id < 3; ++id) d.device.push(d.device.pop()->head, 0);
  CHECK(!d.take());
  d.device.publish_rest();
  CHECK(!d.take());
  CHECK(d.flags(0) == 0);  // the second list, in the lap with wrap counter 0
  CHECK(d.flags(1) == 0);
  d.device.publish();
  for (u16 id = 0; id < 3; ++id) CHECK(d.take()->id == id);
  d.fine();
}

TEST_CASE("packed device: indirect tables have the elements, and the ring has the id", "[testing][packed]") {
  hand_driver d{3, {.indirect = true}};
  const u64 table_at = data_at + 1024;
  const auto table = [&](std::size_t i, u64 at, u32 length, u16 flags, u16 id = 0xbad) {
    u8* const to = d.data.data() + 1024 + 16 * i;
    wire::put64(to, at);
    wire::put32(to + 8, length);
    wire::put16(to + 12, id);
    wire::put16(to + 14, flags);
  };
  table(0, data_at, 3, 0);
  table(1, data_at + 100, 5, write_flag);
  table(2, data_at + 200, 6, write_flag);
  std::copy_n("abc", 3, d.data.begin());
  for (int lap = 0; lap < 7; ++lap) {
    d.make(77, {{48, indirect_flag, table_at}});
    const auto one = d.device.pop();
    REQUIRE(one);
    CHECK(one->head == 77);
    CHECK(one->descriptors == 1);
    CHECK(one->table == table_at);
    CHECK(one->read_all() == std::vector<u8>{'a', 'b', 'c'});
    CHECK(one->write(0, "hello world", 11) == 11);
    d.device.push(77, 11);
    d.device.publish();
    const auto used = d.take();
    REQUIRE(used);
    CHECK(used->length == 11);
    CHECK(std::equal(d.data.begin() + 100, d.data.begin() + 105, "hello"));
  }
  d.fine();
  SECTION("any flag but WRITE in it") {
    table(1, data_at, 5, write_flag | next_flag);
    d.make(1, {{32, indirect_flag, table_at}});
    CHECK(d.device.pop());  // ignored by devices
    CHECK(d.objected("PACKED-11"));
  }
  SECTION("AVAIL in it") {
    table(1, data_at, 5, available_flag);
    d.make(1, {{32, indirect_flag, table_at}});
    CHECK(d.device.pop());
    CHECK(d.objected("PACKED-11"));
  }
  SECTION("readable after writable") {
    table(2, data_at, 5, 0);
    d.make(1, {{48, indirect_flag, table_at}});
    CHECK(d.device.pop());
    CHECK(d.objected("PACKED-06"));
  }
  SECTION("longer than the queue") {
    table(3, data_at, 5, write_flag);
    d.make(1, {{64, indirect_flag, table_at}});
    CHECK(d.device.pop());
    CHECK(d.objected("PACKED-05"));
  }
  SECTION("together with NEXT") {
    d.make(1, {{16, indirect_flag, table_at}, {4}});
    CHECK(!d.device.pop());
    CHECK(d.objected("PACKED-13"));
  }
  SECTION("at the end of a list") {
    d.make(1, {{4}, {16, indirect_flag, table_at}});
    CHECK(!d.device.pop());
    CHECK(d.objected("PACKED-13"));
  }
  SECTION("together with WRITE") {
    d.make(1, {{16, indirect_flag | write_flag, table_at}});
    CHECK(d.device.pop());
    CHECK(d.objected("FACT-25"));
  }
  SECTION("not a whole number of descriptors") {
    d.make(1, {{40, indirect_flag, table_at}});
    CHECK(!d.device.pop());
    CHECK(d.objected("indirect table of 40 bytes"));
  }
  SECTION("outside memory") {
    d.make(1, {{16, indirect_flag, 0x99'0000}});
    CHECK(!d.device.pop());
    CHECK(d.objected("indirect table outside"));
  }
}

TEST_CASE("packed device: interrupts by the driver's event structure, every event position against every batch",
          "[testing][packed]") {
  const u16 size = GENERATE(as<u16>{}, 1, 2, 3, 5, 8);
  for (const u16 start : positions(size))
    for (const u16 event : positions(size))
      for (unsigned batch = 0; batch <= size; ++batch) {
        hand_driver d{size, {.event_idx = true}, start};
        d.ask(2, event);
        for (u16 id = 0; id < batch; ++id) d.make(id, {{4}});
        while (auto one = d.device.pop()) d.device.push(one->head, 0);
        CHECK(!d.device.should_interrupt());  // nothing is visible yet
        d.device.publish();
        REQUIRE(d.device.should_interrupt() == among(event, start, batch, size));
        CHECK(!d.device.should_interrupt());
        d.fine();
      }
}

TEST_CASE("packed device: a list counts for events with all its descriptors, and enable and disable are followed",
          "[testing][packed]") {
  hand_driver d{5, {.event_idx = true}};
  d.ask(2, 0x8002);
  d.make(0, {{4}, {4}, {4}});
  d.complete();
  CHECK(d.device.should_interrupt());
  REQUIRE(d.take());
  d.ask(2, 0x8002);  // already passed: reached again in two laps
  for (u16 round = 0; round < 7; ++round) {
    d.make(1, {{4}});
    d.complete();
    CHECK(!d.device.should_interrupt());
    REQUIRE(d.take());
  }
  for (u16 round = 0; round < 20; ++round) {
    const u16 flags = round % 2;
    d.ask(flags, static_cast<u16>(round * 7));  // the offset has no meaning now
    d.make(1, {{4}, {4}});
    d.complete();
    CHECK(d.device.should_interrupt() == (flags == 0));
    REQUIRE(d.take());
  }
  d.fine();
  SECTION("reserved flags") {
    d.ask(3);
    (void)d.device.pop();
    CHECK(d.objected("reserved flags 0x3"));
  }
  SECTION("reserved bits") {
    d.ask(4);
    (void)d.device.pop();
    CHECK(d.objected("reserved flags 0x4"));
  }
  SECTION("an offset outside the ring") {
    d.ask(2, 0x8005);
    (void)d.device.pop();
    CHECK(d.objected("offset 5"));
  }
}

TEST_CASE("packed device: it reports DESC without EVENT_IDX", "[testing][packed]") {
  hand_driver d{5};
  d.ask(2, 0x8000);
  (void)d.device.pop();
  CHECK(d.objected("without EVENT_IDX"));
}

TEST_CASE("packed device: kicks follow its event structure, every event position with every batch",
          "[testing][packed]") {
  const u16 size = GENERATE(as<u16>{}, 1, 2, 3, 5, 8);
  for (const u16 start : positions(size))
    for (const u16 event : positions(size))
      for (unsigned batch = 0; batch <= size; ++batch) {
        hand_driver d{size, {.event_idx = true}, start};
        d.device.ask_for(packed_device::suppression::at, event);
        CHECK(wire::get16(d.device_event) == event);
        CHECK(wire::get16(d.device_event + 2) == 2);
        const u16 after = walk(start, batch, size);
        const bool wanted = among(event, start, batch, size);
        CHECK(d.device.advance(start, static_cast<u16>(batch)) == after);
        REQUIRE(d.device.expects_kick(start, after) == wanted);
        for (u16 id = 0; id < batch; ++id) d.make(id, {{4}});
        CHECK(d.device.shown() == after);
        REQUIRE(d.device.check_kick() != wanted);
        CHECK(d.objected("lost_kick") == wanted);
        d.device.rang();
        CHECK(d.device.check_kick());
      }
}

TEST_CASE("packed device: an empty ring requests the next kick, unless kicks are disabled", "[testing][packed]") {
  const bool event_idx = GENERATE(false, true);
  hand_driver d{3, {.event_idx = event_idx}};
  const auto asked = [&] { return wire::get16(d.device_event + 2); };
  for (u16 round = 0; round < 20; ++round) {
    CHECK(!d.device.pop());
    CHECK(asked() == (event_idx ? 2 : 0));
    if (event_idx) CHECK(wire::get16(d.device_event) == d.next.word());
    const u16 before = d.next.word();
    d.make(0, {{4}});
    CHECK(d.device.expects_kick(before, d.next.word()));
    CHECK(!d.device.check_kick());
    d.device.rang();
    CHECK(d.device.check_kick());
    d.complete();
    REQUIRE(d.take());
  }
  d.device.clear_violations();
  d.device.set_no_notify(true);
  CHECK(!d.device.pop());
  CHECK(asked() == 1);
  d.make(0, {{4}});
  CHECK(!d.device.expects_kick(0x8000, 0x8001));
  CHECK(d.device.check_kick());
  d.complete();
  REQUIRE(d.take());
  d.device.set_no_notify(false);
  CHECK(asked() == (event_idx ? 2 : 0));
  d.device.ask_for(packed_device::suppression::enable);
  CHECK(!d.device.pop());
  CHECK(asked() == 0);  // and it stays unchanged
  d.fine();
}

TEST_CASE("packed device: with IN_ORDER one used descriptor completes a batch, and QEMU's flags lack WRITE",
          "[testing][packed]") {
  const u16 size = GENERATE(as<u16>{}, 3, 4, 7, 10);
  hand_driver d{size, {.in_order = true}};
  d.device.marks_written = size != 7;
  std::mt19937 random{size};
  u16 id = 0;
  for (int round = 0; round < 100; ++round) {
    std::vector<u16> sent;
    while (d.room != 0) {
      sent.push_back(id);
      d.make(id++, std::vector<piece>(1 + random() % d.room, piece{4, write_flag}));
    }
    std::size_t taken = 0;
    while (d.device.pop()) ++taken;
    REQUIRE(taken == sent.size());
    const std::size_t cut = random() % sent.size();
    const u16 at = d.back.slot;
    d.device.push_batch(sent[cut], 4);
    if (cut + 1 < sent.size()) d.device.push_batch(sent.back(), 4);
    CHECK(d.device.in_flight() == 0);
    d.device.publish();
    CHECK(((d.flags(at) & write_flag) != 0) == d.device.marks_written);
    auto back = d.take_batch();
    REQUIRE(back.size() == cut + 1);
    for (const u16 one : d.take_batch()) back.push_back(one);
    REQUIRE(back == sent);
  }
  d.fine();
}

TEST_CASE("packed device: it reports every violation by the driver", "[testing][packed]") {
  hand_driver d{4, {.event_idx = true}};
  SECTION("a list whose later descriptor is not available") {
    d.make(0, {{4}, {4}, {4}});
    d.flags(2, 0);
    CHECK(!d.device.pop());
    CHECK(d.objected("PACKED-09"));
  }
  SECTION("the wrong wrap counter") {
    d.flags(0, used_flag);  // available in the next lap
    CHECK(!d.device.pop());
    CHECK(d.objected("FACT-21"));
  }
  SECTION("marked used by the driver") {
    d.flags(0, used_flag | available_flag);
    CHECK(!d.device.pop());
    CHECK(d.objected("FACT-21"));
  }
  SECTION("the old wrap counter in the second lap") {
    for (u16 id = 0; id < 4; ++id) d.make(id, {{4}});
    for (u16 id = 0; id < 4; ++id) d.complete();
    d.flags(0, available_flag);
    CHECK(!d.device.pop());
    CHECK(d.objected("FACT-21"));
  }
  SECTION("a list longer than the queue") {
    d.make(0, {{4}, {4}, {4}, {4}});
    d.flags(3, d.flags(3) | next_flag);
    CHECK(!d.device.pop());
    CHECK(d.objected("PACKED-05"));
  }
  SECTION("a list that does not fit") {
    d.make(0, {{4}, {4}});
    REQUIRE(d.device.pop());
    d.make(1, {{4}, {4}, {4}});
    CHECK(!d.device.pop());
    CHECK(d.objected("PACKED-08"));
  }
  SECTION("one more than fits") {
    for (u16 id = 0; id < 4; ++id) {
      d.make(id, {{4}});
      REQUIRE(d.device.pop());
    }
    d.make(4, {{4}});
    CHECK(!d.device.pop());
    CHECK(d.objected("PACKED-08"));
  }
  SECTION("flags rewritten while the ring is full") {
    for (u16 id = 0; id < 4; ++id) {
      d.make(id, {{4}});
      REQUIRE(d.device.pop());
    }
    d.flags(0, 0);
    CHECK(!d.device.pop());
    CHECK(d.objected("PACKED-02"));
  }
  SECTION("changed while the device has it") {
    d.make(0, {{4}, {4}});
    REQUIRE(d.device.pop());
    d.slot(1)[0] ^= 1;
    d.device.push(0, 0);
    CHECK(d.objected("PACKED-02: descriptor 1"));
  }
  SECTION("changed while the device has it, returned for another one") {
    d.make(0, {{4}});
    d.make(1, {{4}});
    REQUIRE(d.device.pop());
    REQUIRE(d.device.pop());
    d.slot(0)[8] ^= 1;
    d.device.push(1, 0);
    CHECK(d.objected("PACKED-02: descriptor 0"));
  }
  SECTION("changed after it was made available") {
    d.make(0, {{4}, {4}});
    CHECK(d.device.pending() == 1);
    d.slot(1)[8] ^= 1;
    CHECK(d.device.pop());
    CHECK(d.objected("PACKED-03"));
  }
  SECTION("made unavailable again") {
    d.make(0, {{4}});
    CHECK(d.device.pending() == 1);
    d.flags(0, 0);
    CHECK(!d.device.pop());
    CHECK(d.objected("PACKED-03"));
  }
  SECTION("an id twice") {
    d.make(5, {{4}});
    d.make(5, {{4}});
    CHECK(d.device.pop());
    CHECK(!d.device.pop());
    CHECK(d.objected("FACT-23"));
  }
  SECTION("readable after writable") {
    d.make(0, {{4, write_flag}, {4}});
    CHECK(d.device.pop());
    CHECK(d.objected("PACKED-06"));
  }
  SECTION("unknown flags") {
    d.make(0, {{4, 0x10}});
    CHECK(d.device.pop());
    CHECK(d.objected("unknown flags"));
  }
  SECTION("INDIRECT without the feature") {
    d.make(0, {{16, indirect_flag}});
    CHECK(!d.device.pop());
    CHECK(d.objected("PACKED-10"));
  }
  SECTION("an element of length 0") {
    d.make(0, {{4}, {0}});
    CHECK(d.device.pop());
    CHECK(d.objected("element of length 0"));
  }
  SECTION("only elements of length 0") {
    d.make(0, {{0}});
    CHECK(!d.device.pop());
    CHECK(d.objected("empty chain"));
  }
  SECTION("an element outside memory") {
    d.make(0, {{4, write_flag, 0x99'0000}});
    CHECK(!d.device.pop());
    CHECK(d.objected("writable element outside"));
  }
  SECTION("the device's structure written") {
    CHECK(!d.device.pop());
    d.device_event[2] = 1;
    CHECK(!d.device.pop());
    CHECK(d.objected("written by the driver"));
  }
  SECTION("a used descriptor that stays in place is not available again") {
    d.make(0, {{4}, {4}});
    d.complete();
    CHECK(!d.device.pop());
    CHECK(d.device.pending() == 0);
    CHECK(d.device.shown() == d.next.word());
    d.fine();
  }
}

TEST_CASE("packed device: it rejects impossible areas and sizes", "[testing][packed]") {
  hand_driver d{4};
  const auto refused = [&](u16 size, u64 ring, u64 driver, u64 device, const char* why) {
    d.device.clear_violations();
    d.device.configure(d.memory, size, ring, driver, device, {});
    CHECK(!d.device.configured());
    CHECK(d.device.is_broken());
    CHECK(d.objected(why));
    CHECK(!d.device.pop());
    d.device.publish();
  };
  refused(0, ring_at, driver_at, device_at, "PCI-16");
  refused(32769, ring_at, driver_at, device_at, "32769");
  refused(4, ring_at + 8, driver_at, device_at, "PACKED-01: descriptor ring");
  refused(4, ring_at, driver_at + 2, device_at, "PACKED-01: event suppression");
  refused(4, ring_at, driver_at, device_at + 2, "PACKED-01: event suppression");
  refused(5, ring_at, driver_at, device_at, "descriptor ring outside of memory");
  refused(4, ring_at, 0x98'0000, device_at, "driver event suppression outside");
  refused(4, ring_at, driver_at, driver_at, "device event suppression outside");  // which it cannot write
  d.device.clear_violations();
  d.ring[3 * 16 + 15] = 0x80;
  d.ring[3 * 16 + 14] = 0x80;
  d.device.configure(d.memory, 4, ring_at, driver_at, device_at, {});
  CHECK(d.objected("FACT-20: descriptor 3"));
}

TEST_CASE("packed device: a reset drops the ring and returns memory", "[testing][packed]") {
  hand_driver d{4};
  d.make(0, {{4}});
  REQUIRE(d.device.pop());
  d.device.push(0, 0);
  d.device.reset();
  const std::vector<u8> before = d.ring;
  d.device.publish();
  CHECK(d.ring == before);
  CHECK(d.device.in_flight() == 0);
  CHECK(!d.device.pop());
  CHECK(!d.device.should_interrupt());
  CHECK(d.device.pending() == 0);
  CHECK(d.device.check_kick());
  REQUIRE(d.memory.remove(data_at));
  d.fine();
}

TEST_CASE("packed device: hostile used descriptors are written as the test made them", "[testing][packed]") {
  hand_driver d{5};
  for (u16 id = 10; id < 13; ++id) d.make(id, {{4, write_flag}});
  for (int i = 0; i < 3; ++i) REQUIRE(d.device.pop());
  auto lie = d.device.honest(10, 4);
  CHECK(lie.slot == 0);
  CHECK(lie.skip == 1);
  CHECK(lie.flags == d.device.used_flags(0x8000) + write_flag);
  SECTION("a wrong id and length") {
    lie.id = 99;
    lie.length = 0xffffffff;
    d.device.push(lie);
    d.device.publish();
    const auto used = d.take();
    REQUIRE(used);
    CHECK(used->id == 99);
    CHECK(used->length == 0xffffffff);
    CHECK(d.device.in_flight() == 3);
  }
  SECTION("the wrap counter of another lap") {
    lie.flags ^= available_flag | used_flag;
    d.device.push(lie);
    d.device.publish();
    CHECK(!d.take());
    CHECK(d.flags(0) == write_flag);
  }
  SECTION("used twice") {
    d.device.push(10, 4);
    d.device.push(d.device.honest(10, 4));
    d.device.publish();
    CHECK(d.take()->id == 10);
    CHECK(d.take()->id == 10);
  }
  SECTION("in the wrong place, leaving a gap") {
    lie.skip = 2;
    d.device.push(lie);
    d.device.push(12, 4);
    d.device.publish();
    CHECK(d.take()->id == 10);
    CHECK(!d.take());
    CHECK(wire::get16(d.slot(2) + 12) == 12);
  }
  SECTION("straight into memory, and the device continues") {
    d.device.raw_used({.slot = 3, .id = 1, .length = 2, .flags = 0x8083});
    CHECK(wire::get32(d.slot(3) + 8) == 2);
    CHECK(d.flags(3) == 0x8083);
    CHECK(!d.device.pop());
    d.make(20, {{4}});
    CHECK(d.device.pop());
  }
  SECTION("an invalid event structure") {
    d.device.raw_device_event(0xffff, 0xffff);
    CHECK(wire::get32(d.device_event) == 0xffffffff);
    CHECK(!d.device.pop());  // and corrects it
    CHECK(wire::get16(d.device_event + 2) == 0);
  }
  SECTION("anything, anywhere") {
    CHECK(d.device.descriptor_area().size() == 80);
    CHECK(d.device.driver_area().size() == 4);
    CHECK(d.device.device_area().size() == 4);
  }
  d.fine();
}

namespace {

// A device model brought up by hand, with a packed ring as its first queue.
struct hand_bring_up {
  using via = device_model::interface;
  hand_driver& d;
  device_model& model;

  void start(std::initializer_list<unsigned> more = {}) {
    model.offer({34});
    model.offer(more);
    model.write_status(0, via::modern);
    (void)model.read_status();
    for (const u8 status : {u8{1}, u8{3}}) model.write_status(status, via::modern);
    u32 low = 0, high = (1u << 0) | (1u << 2);
    for (const unsigned bit : more) (bit < 32 ? low : high) |= 1u << bit % 32;
    for (u32 word = 0; word < 2; ++word) (void)model.read_offer(word, via::modern);
    model.write_accepted(0, low, via::modern);
    model.write_accepted(1, high, via::modern);
    model.write_status(0xb, via::modern);
    REQUIRE(model.read_status() == 0xb);
    model.write_queue_size(0, d.size);
    const u64 areas[] = {ring_at, driver_at, device_at};
    for (unsigned i = 0; i < 3; ++i)
      for (unsigned half = 0; half < 2; ++half)
        model.write_queue_area(0, i, half, static_cast<u32>(areas[i] >> (32 * half)));
    model.write_queue_enable(0, 1);
    model.write_status(0xf, via::modern);
  }
  [[nodiscard]] bool objected(const std::string& what) {
    const auto all = model.violations();
    return std::any_of(all.begin(), all.end(), [&](const std::string& v) { return v.find(what) == 0; });
  }
  void fine() {
    for (const auto& v : model.violations()) UNSCOPED_INFO(v);
    REQUIRE(model.violations().empty());
    REQUIRE(d.memory.faults().empty());
  }
};

}  // namespace

TEST_CASE("device model: it serves a packed ring of any size if bit 34 was negotiated", "[testing][packed]") {
  hand_driver d{5};
  d.device.reset();
  rng_model model{d.memory, 8};
  model.fills_all = true;
  CHECK(!model.offers(34));
  hand_bring_up up{d, model};
  up.start({29});
  CHECK(model.packed_ring().configured());
  CHECK(!model.ring().configured());
  CHECK(&model.ring_in_use() == &model.packed_ring());
  for (u16 round = 0; round < 23; ++round) {
    const u32 before = model.interrupts();
    d.ask(round % 2);
    d.make(round, {{10, write_flag}, {20, write_flag, data_at + 500}});
    if (round % 5 == 1) d.make(99, {{1, write_flag}});
    model.notify_with_data(0, d.next.slot, d.next.wrap);
    CHECK(model.step() == (round % 5 == 1 ? 2u : 1u));
    const auto used = d.take();
    REQUIRE(used);
    CHECK(used->id == round);
    CHECK(used->length == 30);
    if (round % 5 == 1) CHECK(d.take()->id == 99);
    CHECK(model.interrupts() - before == (round % 2 == 0 ? 1u : 0u));
    CHECK(model.check_kicks());
  }
  up.fine();
  SECTION("a notification with the wrong position") {
    d.make(0, {{10, write_flag}});
    model.notify_with_data(0, d.next.slot, !d.next.wrap);
    CHECK(up.objected("NOTIFY-07"));
  }
  SECTION("held requests, completed in reverse order") {
    model.hold();
    d.make(1, {{10, write_flag}});
    d.make(2, {{10, write_flag}});
    model.notify(0);
    (void)model.step();
    model.complete_all_backwards();
    CHECK(d.take()->id == 2);
    CHECK(d.take()->id == 1);
    up.fine();
  }
  SECTION("a violation is reported with the queue's number") {
    d.make(1, {{10, write_flag}, {10}});
    model.notify(0);
    (void)model.step();
    CHECK(up.objected("queue 0: PACKED-06"));
  }
  SECTION("a reset, and a split ring after it") {
    model.write_status(0, device_model::interface::modern);
    CHECK(model.read_status() == 0);
    CHECK(!model.packed_ring().configured());
    up.fine();
  }
}

TEST_CASE("device model: with IN_ORDER one used descriptor returns a step's buffers, as far as they were used in full",
          "[testing][packed]") {
  hand_driver d{7, {}};
  d.device.reset();
  rng_model model{d.memory, 7};
  model.fills_all = true;
  model.batch_in_order = true;
  hand_bring_up up{d, model};
  up.start({35});
  for (u16 round = 0; round < 20; ++round) {
    for (u16 id = 0; id < 3; ++id) d.make(id, {{10, write_flag}, {10, write_flag}});
    if (round % 2 != 0) model.answers = {20, 7, 20};
    const u16 second = walk(d.back.word(), 4, 7) & 0x7fff;
    model.notify(0);
    CHECK(model.step() == 3);
    if (round % 2 == 0) {
      CHECK(d.take_batch() == std::vector<u16>{0, 1, 2});
    } else {
      CHECK(wire::get32(d.slot(d.back.slot) + 8) == 7);
      CHECK(wire::get32(d.slot(second) + 8) == 20);
      CHECK(d.take_batch() == std::vector<u16>{0, 1});
      CHECK(d.take_batch() == std::vector<u16>{2});
    }
    CHECK(d.take_batch().empty());
  }
  up.fine();
}

TEST_CASE("packed device: two threads that both sleep lose no notification", "[testing][packed]") {
  const bool event_idx = GENERATE(false, true);
  hand_driver d{5, {.event_idx = event_idx}};
  std::atomic<bool> doorbell = false, interrupt = false, stop = false;
  std::atomic<bool> lost = false;
  const auto slept = [&](std::atomic<bool>& flag) {
    for (u64 i = 0; i < 200'000'000; ++i) {  // steps, not time
      if (flag.exchange(false)) return true;
      if (stop) return false;
      if (i % 64 == 63) std::this_thread::yield();
    }
    return false;
  };
  std::thread device{[&] {
    while (!stop) {
      bool any = false;
      while (auto one = d.device.pop()) {
        any = true;
        std::vector<u8> answer = one->read_all();
        (void)one->write(0, answer.data(), answer.size());
        d.device.push(one->head, static_cast<u32>(answer.size()));
        d.device.publish();
        if (d.device.should_interrupt()) interrupt = true;
      }
      if (!any && !slept(doorbell) && !stop) {
        lost = true;
        return;
      }
    }
  }};
  // The driver's own fences: it stores, then loads the device's stores. All accesses are atomics, which checkers can
  // follow.
  const auto kick = [&](u16 before) {
    const u32 both = wire::atomic_get32(d.device_event);
    const u16 flags = static_cast<u16>(both >> 16), event = static_cast<u16>(both);
    if (flags == 1) return;
    for (u16 at = before; flags == 2 && at != event; at = walk(at, 1, 5))
      if (at == d.next.word()) return;
    if (flags == 2 && event == d.next.word()) return;
    d.device.rang();
    doorbell = true;
  };
  u32 sent = 0, back = 0;
  constexpr u32 requests = 20'000;
  while (back < requests && !lost) {
    const u16 before = d.next.word();
    while (sent < requests && d.room >= 2) {
      const u64 at = data_at + 16u * (sent % 2);
      wire::put32(d.data.data() + 16u * (sent % 2), sent);
      d.make(static_cast<u16>(sent % 2), {{4, 0, at}, {4, write_flag, at + 4}});
      ++sent;
    }
    kick(before);
    const auto drain = [&] {
      bool any = false;
      while (const auto one = d.take()) {
        any = true;
        if (wire::get32(d.data.data() + 16u * one->id) != wire::get32(d.data.data() + 16u * one->id + 4)) lost = true;
        ++back;
      }
      return any;
    };
    d.ask(1);
    if (drain() || back == requests) continue;
    if (event_idx) d.ask(2, d.back.word());
    else d.ask(0);
    if (drain()) continue;
    if (!slept(interrupt)) lost = true;
  }
  stop = true;
  device.join();
  CHECK(!lost);
  CHECK(back == requests);
  d.fine();
}
