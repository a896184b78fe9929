// SPDX-License-Identifier: MIT
// A ring and the independent device side of its format, over the same memory at different addresses. `pair<Ring>`
// contains both with their types; `subject` is the same without types, so that a test is compiled once for all rings.
// The differences between the formats are defined here.
#pragma once

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <cstdlib>
#include <memory>
#include <random>
#include <span>
#include <type_traits>
#include <vector>

#include <virtio/queue/packed.hpp>
#include <virtio/queue/split.hpp>
#include <virtio/testing/packed_device.hpp>
#include <virtio/testing/split_device.hpp>

namespace rig {

using namespace virtio;
using virtio::testing::device_memory;

inline constexpr u64 storage_at = 0x7'0000'0000;  // where the device sees the ring; the CPU has another address
inline constexpr u64 buffers_at = 0x9'0000'0000;  // where the device sees buffers; their content is not accessed here
inline constexpr u64 buffer_bytes = 1u << 20;

/// The seed of a random test: print it, so that a failure can be reproduced.
inline u32 seed() {
  const char* given = std::getenv("VIRTIO_TEST_SEED");
  return given != nullptr ? static_cast<u32>(std::strtoul(given, nullptr, 0)) : std::random_device{}();
}

/// A chain in whose descriptors all bytes of a field differ.
struct two_pieces : segment_list<2> {
  two_pieces() {
    append(dma_addr{0x1122334455667788}, 0x19aabbcc, direction::to_device);
    append(dma_addr{0x8877665544332211}, 0x01020304, direction::from_device);
  }
};

/// The functions of a virtqueue.
struct any_ring {
  virtual ~any_ring() = default;
  virtual u16 fit(u16 maximum, bool fixed) const = 0;
  virtual result<ring_layout> attach(const dma_area& storage, u16 entries, const feature_set& features) = 0;
  virtual u16 longest_chain() const = 0;
  virtual u16 in_flight() const = 0;
  virtual result<u16> reserve() = 0;
  virtual result<token> stage(u16 slot, const segments& chain, u64 cookie) = 0;
  virtual bool publish() = 0;
  virtual bool needs_kick() = 0;
  virtual u16 position() const = 0;
  virtual result<completion> next_completion() = 0;
  virtual errc take(completion& out) = 0;
  virtual void release(token t) = 0;
  virtual bool is_live(token t) const = 0;
  virtual const slot_record& record(u16 slot) const = 0;
  virtual bool arm() = 0;
  virtual void disarm() = 0;
  virtual result<completion> reclaim() = 0;
  virtual void limit(u16 most) = 0;
};

template <class Ring>
struct erased final : any_ring {
  Ring ring{};

  u16 fit(u16 maximum, bool fixed) const override {
    return Ring::fit(maximum, fixed ? ring_size::exactly : ring_size::at_most);
  }
  result<ring_layout> attach(const dma_area& storage, u16 entries, const feature_set& features) override {
    return ring.attach(storage, entries, features);
  }
  u16 longest_chain() const override { return ring.longest_chain(); }
  u16 in_flight() const override { return ring.in_flight(); }
  result<u16> reserve() override { return ring.reserve(); }
  result<token> stage(u16 slot, const segments& chain, u64 cookie) override { return ring.stage(slot, chain, cookie); }
  bool publish() override { return ring.publish(); }
  bool needs_kick() override { return ring.needs_kick(); }
  u16 position() const override { return ring.position(); }
  result<completion> next_completion() override { return ring.next_completion(); }
  errc take(completion& out) override { return ring.take(out); }
  void release(token t) override { ring.release(t); }
  bool is_live(token t) const override { return ring.is_live(t); }
  const slot_record& record(u16 slot) const override { return ring.record(slot); }
  bool arm() override { return ring.arm(); }
  void disarm() override { ring.disarm(); }
  result<completion> reclaim() override { return ring.reclaim(); }
  void limit(u16 most) override { ring.limit(most); }
};

/// A ring and its device.
class subject {
 public:
  any_ring& ring;
  virtio::testing::ring_device& device;
  const dma_region storage;
  const u16 slots;
  const bool packed;      // false: split
  const bool has_tables;  // for indirect descriptors, with the feature
  const bool in_order;    // requests the feature
  device_memory memory;
  u16 entries = 0;
  bool event_idx = false;

  subject(const subject&) = delete;
  subject& operator=(const subject&) = delete;
  virtual ~subject() = default;

  /// Attaches both sides with this many entries. Their counters have the values after `requests` of one descriptor
  /// each.
  void attach(u16 n, feature_set features, u32 requests = 0) {
    if (entries == 0) {
      REQUIRE(memory.add(storage_at, storage.data, storage.size, device_memory::permission::read_write));
      REQUIRE(memory.add(buffers_at, buffers_.get(), buffer_bytes, device_memory::permission::read_write));
    }
    entries = n;
    event_idx = features.has(feature::event_idx);
    through_tables_ = has_tables && features.has(feature::indirect_desc);
    if (packed) features.set(static_cast<u8>(feature::ring_packed));
    const auto layout = ring.attach({storage.data, storage.size, dma_addr{storage_at}}, n, features);
    REQUIRE(layout);
    device.configure(memory, n, storage_at + layout->descriptors, storage_at + layout->driver,
                     storage_at + layout->device,
                     {.event_idx = event_idx,
                      .indirect = features.has(feature::indirect_desc),
                      .in_order = features.has(feature::in_order)});
    if (requests == 0) return;
    go_on(requests);
    (void)ring.needs_kick();
  }

  /// The requests of one descriptor that fit: IN_ORDER keeps one slot free.
  [[nodiscard]] u16 room() const { return static_cast<u16>(entries - (in_order && entries > 1 ? 1 : 0)); }

  /// The address of a chain's piece.
  [[nodiscard]] static u64 piece(u64 cookie, usize i) { return buffers_at + 64 * ((cookie + i) % (buffer_bytes / 64)); }

  /// A chain of readable, then writable pieces of 64 bytes.
  result<token> submit(u16 readable, u16 writable, u64 cookie) {
    const auto slot = ring.reserve();
    if (!slot) return slot.error();
    segment_list<64> chain;
    for (u16 i = 0; i < readable + writable; ++i)
      chain.append(dma_addr{piece(cookie, i)}, 64, i < readable ? direction::to_device : direction::from_device);
    return ring.stage(*slot, chain, cookie);
  }
  /// Whether the chain that the device received is the submitted one.
  [[nodiscard]] static bool is_chain(const virtio::testing::chain& got, u16 readable, u16 writable, u64 cookie) {
    if (got.elements.size() != usize{readable} + writable) return false;
    for (usize i = 0; i < got.elements.size(); ++i) {
      const auto& one = got.elements[i];
      if (one.at != piece(cookie, i) || one.length != 64 || one.writable != (i >= readable)) return false;
    }
    return true;
  }

  /// Publishes, and writes the doorbell if the ring requires it.
  bool kick() {
    ring.publish();
    const bool wanted = ring.needs_kick();
    if (wanted) device.rang();
    return wanted;
  }
  /// The device takes one buffer and returns it.
  void serve(u32 written = 0) {
    const auto one = device.pop();
    if (!one) FAIL("nothing available");
    device.push(one->head, written);
    device.publish();
  }
  /// The driver takes the next completion and releases its slot.
  completion collect() {
    const auto done = ring.next_completion();
    if (!done) FAIL("no completion: " << describe(done.error()));
    ring.release(done->which);
    return *done;
  }

  /// Completes this many requests of one descriptor, without a decision on doorbells. None may be in flight. Fast: the
  /// device answers without a check.
  void go_on(u32 requests) {
    std::vector<token> batch;
    for (u32 left = requests; left != 0; left -= static_cast<u32>(batch.size())) {
      batch.clear();
      while (batch.size() < left && batch.size() < room() && batch.size() < 256) {
        batch.push_back(*submit(1, 0, 0));
        device.push(batch.back().slot, 0);
      }
      ring.publish();
      device.publish();
      for (const token& one : batch)
        if (collect().which != one) FAIL("while counters run up");
    }
    device.start_at(moved(device.next_available(), static_cast<int>(requests)));
  }

  // --- positions, as in ring_device: of chains in a split ring, of descriptors in a packed one ---

  /// The progress of the position by a chain of this many pieces.
  [[nodiscard]] u16 places(u16 pieces) const { return packed && !through_tables_ ? pieces : u16{1}; }
  /// The position `by` entries later or earlier.
  [[nodiscard]] u16 moved(u16 position, int by) const {
    const int round = packed ? 2 * entries : 65536;  // positions repeat after this many
    return device.advance(position, static_cast<u16>((by % round + round) % round));
  }

  // --- notifications that the device requests ---

  /// Chooses at random from all values of the device's words, with garbage where they have no meaning. A packed ring's
  /// device requests all, none, a position of this lap or the last one, or an undefined value.
  void ask(std::mt19937& random) {
    ask(static_cast<u16>(random()), static_cast<u16>(random()));
    const int reach = random() % 2 != 0 ? 4 : 40;
    if (asks_for_position()) ask(moved(device.shown(), static_cast<int>(random()) % (reach + 1)), suppression_flags_);
  }
  /// Writes these words: an event, and flags.
  void ask(u16 position, u16 flags) {
    suppression_position_ = position;
    suppression_flags_ = flags;
    show_suppression(position, flags);
  }
  /// Whether a driver that advanced by `count` must kick, given the request. Checks every position on the way.
  [[nodiscard]] bool wants_kick(u16 before, u32 count) const {
    if (count == 0) return false;
    if (!asks_for_position()) return packed ? (suppression_flags_ & 3u) != 1 : (suppression_flags_ & 1u) == 0;
    for (u16 at = before; count != 0; --count, at = device.advance(at, 1))
      if (at == suppression_position_) return true;
    return false;
  }

  // --- invalid values ---

  /// Reports the end of a request: any id, any length. The device's own record of its buffers does not change.
  virtual void claim(u32 id, u32 length) = 0;
  /// Every byte that the driver and the device share, whichever side writes it.
  virtual std::array<std::span<u8>, 3> shared() = 0;
  /// Writes garbage into descriptors and the driver's entries, except what identifies the owner of a descriptor and the
  /// number of entries.
  void scribble(std::mt19937& random) {
    const auto [descriptors, driver, unused] = shared();
    for (usize i = 0; i < descriptors.size(); ++i) {
      const u8 kept = packed && i % 16 >= 14 ? 0x80 : 0;  // AVAIL and USED
      descriptors[i] = static_cast<u8>((descriptors[i] & kept) | (random() & 0xffu & ~u32{kept}));
    }
    if (packed) return;
    for (u8& one : driver.subspan(4, 2u * entries)) one = static_cast<u8>(random());
  }

  void require_no_violations() {
    for (const auto& what : device.violations()) UNSCOPED_INFO(what);
    for (const auto& what : memory.faults()) UNSCOPED_INFO("memory: " << what);
    REQUIRE(device.violations().empty());
    REQUIRE(memory.faults().empty());
  }

 protected:
  subject(any_ring& r, virtio::testing::ring_device& d, dma_region s, u16 n, bool is_packed, feature_set wanted)
      : ring{r},
        device{d},
        storage{s},
        slots{n},
        packed{is_packed},
        has_tables{wanted.has(feature::indirect_desc)},
        in_order{wanted.has(feature::in_order)} {}

 private:
  virtual void show_suppression(u16 position, u16 flags) = 0;
  [[nodiscard]] bool asks_for_position() const { return event_idx && (!packed || (suppression_flags_ & 3u) == 2); }

  std::unique_ptr<u8[]> buffers_{new u8[buffer_bytes]()};
  bool through_tables_ = false;
  u16 suppression_position_ = 0, suppression_flags_ = 0;
};

template <class Ring>
inline constexpr bool is_packed = Ring::required.has(feature::ring_packed);

// The parts of a pair, as a base class, so that they exist before the subject refers to them.
template <class Ring>
struct parts {
  erased<Ring> own_ring;
  std::conditional_t<is_packed<Ring>, virtio::testing::packed_device, virtio::testing::split_device> own_device;
  dma_storage<Ring::dma_bytes> own_storage{};
};

/// A ring and its device, with their types. Large, so on the heap: `auto r = std::make_unique<rig::pair<Ring>>()`.
template <class Ring>
class pair final : parts<Ring>, public subject {
 public:
  Ring& ring = this->own_ring.ring;
  decltype(parts<Ring>::own_device)& device = this->own_device;

  pair() : subject{this->own_ring, this->own_device, this->own_storage, Ring::slots, is_packed<Ring>, Ring::wanted} {}

  void claim(u32 id, u32 length) override {
    if constexpr (is_packed<Ring>) {
      device.push(device.honest(static_cast<u16>(id), length));
      device.publish();
    } else {
      const u16 index = device.raw_used_idx();
      device.raw_used_element(index, id, length);
      device.raw_used_idx(static_cast<u16>(index + 1));
    }
  }
  std::array<std::span<u8>, 3> shared() override {
    if constexpr (is_packed<Ring>) return {device.descriptor_area(), device.driver_area(), device.device_area()};
    else return {device.descriptor_area(), device.available_area(), device.used_area()};
  }

 private:
  void show_suppression(u16 position, u16 flags) override {
    if constexpr (is_packed<Ring>) {
      device.raw_device_event(position, flags);
    } else {
      device.raw_avail_event(position);
      device.raw_used_flags(flags);
    }
  }
};

/// A pair for tests that do not depend on types.
template <class Ring>
std::unique_ptr<subject> untyped() {
  return std::make_unique<pair<Ring>>();
}

}  // namespace rig
