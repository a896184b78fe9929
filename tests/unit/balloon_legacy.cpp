// SPDX-License-Identifier: MIT
// A balloon from before 1.0 and a guest whose numbers are big-endian: what is in the guest's order, and what is little-endian all the
// same.
#include <cstring>
#include <map>

#include <virtio/balloon.hpp>
#include <virtio/testing/scripted_io.hpp>
#include <virtio/transport/config_access.hpp>

#include "machine.hpp"

using namespace virtio;

namespace {

// Behind no bus: its registers are members, device addresses are pointers. Written from the specification.
struct big_endian_balloon {
  struct ring {
    const u8* descriptors = nullptr;
    const u8* available = nullptr;
    u8* used = nullptr;
    u16 taken = 0;
  };
  static constexpr u16 entries = 8;
  u8 status = 0;
  u32 offered = 0;
  u32 accepted = 0;
  ring rings[5];
  virtio::testing::recording config{16};  // answers little-endian numbers, as a bus does
  std::vector<std::vector<u8>> said[5];   // what the driver sent, by queue
  std::vector<u32> given[5];              // lengths of what the device may write
  u16 stands_still = 5;                   // this queue is not served

  static u64 get(const u8* at, usize bytes) {
    u64 value = 0;
    for (usize i = 0; i < bytes; ++i) value = value << 8 | at[i];
    return value;
  }
  static void put(u8* at, u64 value, usize bytes) {
    for (usize i = bytes; i-- != 0; value >>= 8) at[i] = static_cast<u8>(value);
  }

  void serve() {
    if ((status & 4) == 0) return;
    for (u16 n = 0; n < 5; ++n) {
      ring& q = rings[n];
      while (q.used != nullptr && n != stands_still && q.taken != static_cast<u16>(get(q.available + 2, 2))) {
        const u16 head = static_cast<u16>(get(q.available + 4 + 2 * (q.taken % entries), 2));
        const u8* const d = q.descriptors + 16 * (head % entries);
        const auto length = static_cast<u32>(get(d + 8, 4));
        const u8* const data = reinterpret_cast<const u8*>(get(d, 8));
        if ((get(d + 12, 2) & 2) != 0) given[n].push_back(length);
        else said[n].emplace_back(data, data + length);
        put(q.used + 4 + 8 * (q.taken % entries), head, 4);
        put(q.used + 8 + 8 * (q.taken % entries), 0, 4);
        put(q.used + 2, ++q.taken, 2);
      }
    }
  }
};

struct big_endian_transport {
  using location = big_endian_balloon*;
  struct doorbell {
    void ring(u16) const {}
  };
  static constexpr byte_order ring_order = byte_order::big;
  static constexpr feature_set wanted{};

  [[nodiscard]] static device_type type_of(const location&) { return device_type::balloon; }
  result<void> open(const location& where, report& why) {
    at = where;
    why = {.type = device_type::balloon};
    return {};
  }
  [[nodiscard]] device_type type() const { return at ? device_type::balloon : device_type::none; }
  [[nodiscard]] transport_kind kind() const { return transport_kind::pci_legacy; }
  [[nodiscard]] bool is_legacy() const { return true; }
  [[nodiscard]] u8 status() const { return at->status; }
  void set_status(u8 value) const { at->status = value; }
  [[nodiscard]] feature_set device_features(u32) const {
    feature_set offered;
    offered.set_word(0, at->offered);
    return offered;
  }
  void accept_features(feature_set chosen, u32) const { at->accepted = chosen.word(0); }
  [[nodiscard]] queue_limits queue(u16) const { return {at->entries, true}; }
  [[nodiscard]] result<void> enable_queue(u16 q, const queue_areas& areas, const feature_set&, u16, doorbell&) const {
    at->rings[q] = {reinterpret_cast<const u8*>(raw(areas.descriptors)), reinterpret_cast<const u8*>(raw(areas.driver)),
                    reinterpret_cast<u8*>(raw(areas.device)), 0};
    return {};
  }
  [[nodiscard]] result<void> begin_queue_reset(u16) const { return errc::unsupported; }
  [[nodiscard]] bool queue_reset_done(u16) const { return false; }
  [[nodiscard]] result<void> set_config_vector(u16) const { return errc::unsupported; }
  // The bus moves bytes; what makes numbers of them is what pci::legacy and mmio::legacy use.
  template <class T>
  [[nodiscard]] result<T> config(usize offset) const {
    return virtio::detail::in_guest_order<byte_order::big>(by_field::read<T>(virtio::testing::recording_space{at->config}, offset));
  }
  template <class T>
  result<void> config_write(usize offset, T value) const {
    by_field::write<T>(virtio::testing::recording_space{at->config}, offset, virtio::detail::in_guest_order<byte_order::big>(value));
    return {};
  }
  [[nodiscard]] u32 config_generation() const { return 0; }
  [[nodiscard]] interrupt_cause acknowledge_interrupt() const { return {}; }
  void close() const {}

  big_endian_balloon* at = nullptr;
};

struct big_endian_board {
  using barriers = smp_barriers;
  big_endian_balloon* at = nullptr;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return out.push(dma_addr{reinterpret_cast<uptr>(va)}, n, way);
  }
  bool keep_waiting(waiting, u64 attempt) const {
    at->serve();
    return attempt < 1000;
  }
};
static_assert(transport<big_endian_transport> && platform<big_endian_board>);

using driver = balloon::device<big_endian_board, big_endian_transport, split_queue<8, ring_options{.order = byte_order::big}>>;
struct parts {
  dma_storage<driver::dma_bytes> storage{};
  driver device{};
};

u32 big(const std::vector<u8>& from, usize at) { return static_cast<u32>(big_endian_balloon::get(from.data() + at, 4)); }

}  // namespace

TEST_CASE("balloon: a big-endian guest's page numbers and statistics have its own order on the legacy interface, the configuration has not "
          "[BALLOONL-01][BALLOONL-04]",
          "[balloon][legacy]") {
  big_endian_balloon model;
  model.offered = 1u << 0 | 1u << 1;
  model.stands_still = 2;  // nobody asks for statistics yet
  model.config.bytes = {0x04, 0x03, 0x00, 0x00};  // 0x304 pages
  model.config.bytes.resize(16);
  const std::unique_ptr<parts> at{new parts};
  driver& d = at->device;
  const balloon::sample memory[] = {{balloon::statistic::total_memory, 0x0102'0304'0506'0708}};
  REQUIRE(d.start(big_endian_board{&model}, &model, at->storage, {}, memory));
  CHECK(*d.target() == 0x304);
  u32 next = 0x0a0b0c00;
  REQUIRE(*d.inflate(0x102, [&](u32& page) { return page = next++, true; }) == 0x102);
  REQUIRE(model.said[0].size() == 2);
  CHECK(model.said[0][0].size() == 1024);
  CHECK(big(model.said[0][0], 0) == 0x0a0b0c00);
  CHECK(big(model.said[0][1], 4) == 0x0a0b0d01);
  const std::vector<u8> actual{0x02, 0x01, 0, 0};
  CHECK(std::memcmp(&model.config.bytes[4], actual.data(), 4) == 0);

  model.stands_still = 5;
  model.serve();
  REQUIRE(model.said[2].size() == 1);
  CHECK(model.said[2][0] == std::vector<u8>{0, 5, 1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(*d.answer_statistics(memory));
}

TEST_CASE("balloon: a big-endian guest's command ids have its own order on the legacy interface, and the host's are little-endian "
          "[BALLOONL-01][BALLOONL-05]",
          "[balloon][legacy]") {
  big_endian_balloon model;
  model.offered = 1u << 0 | 1u << 3 | 1u << 4;
  model.config.bytes[8] = 0x07, model.config.bytes[11] = 0x80;  // round 0x80000007
  const std::unique_ptr<parts> at{new parts};
  driver& d = at->device;
  static u8 memory[2 * balloon::page_bytes];
  const balloon::poison held{0x01020304, [](u32) { return memory; }};
  REQUIRE(d.start(big_endian_board{&model}, &model, at->storage, {}, {}, held));
  CHECK(*d.hints() == balloon::hinting::wanted);
  u32 left = 1;
  REQUIRE(*d.hint([&](bytes& out) { return out = memory, left-- != 0; }) == 1);
  CHECK(model.said[2] == std::vector<std::vector<u8>>{{0x80, 0, 0, 7}, {0, 0, 0, 0}});
  CHECK(model.given[2] == std::vector<u32>{sizeof memory});
  CHECK(std::vector<u8>(model.config.bytes.begin() + 12, model.config.bytes.end()) == std::vector<u8>{4, 3, 2, 1});
}
