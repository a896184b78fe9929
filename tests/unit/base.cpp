// SPDX-License-Identifier: MIT
// The basic types: results, byte views, untrusted values, cells, feature sets, suppression arithmetic.
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <cstddef>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <virtio/base/bytes.hpp>
#include <virtio/base/cells.hpp>
#include <virtio/base/features.hpp>
#include <virtio/base/meta.hpp>
#include <virtio/base/report.hpp>
#include <virtio/base/result.hpp>
#include <virtio/base/untrusted.hpp>
#include <virtio/platform/barriers.hpp>
#include <virtio/platform/dma.hpp>
#include <virtio/queue/suppression.hpp>

#include "processor.hpp"

using namespace virtio;

TEST_CASE("result: zero is success, an error keeps its reason", "[base]") {
  constexpr result<u32> zero;
  static_assert(zero && *zero == 0);
  constexpr result<u32> failed = errc::io_error;
  static_assert(!failed && failed.error() == errc::io_error && failed.value_or(7) == 7);
  CHECK(result<u32>{5}.transform([](u32 v) { return v + 1; }).value_or(0) == 6);
  CHECK(result<u32>{errc::queue_full}.and_then([](u32) { return result<void>{}; }).error() == errc::queue_full);
  CHECK(result<void>{}.and_then([] { return result<void>{errc::io_error}; }).error() == errc::io_error);
  static_assert(sizeof(result<u32>) == 2 * sizeof(void*));  // two registers
}

TEST_CASE("errors and verdicts: each has a distinct sentence", "[base]") {
  std::set<std::string> seen;
  for (int i = 0; i <= static_cast<int>(errc::device_broken); ++i) seen.insert(describe(static_cast<errc>(i)));
  CHECK(seen.size() == static_cast<std::size_t>(errc::device_broken) + 1);
  CHECK(!seen.contains(describe(static_cast<errc>(255))));
  seen.clear();
  for (int i = 0; i <= static_cast<int>(verdict::storage_unusable); ++i) seen.insert(describe(static_cast<verdict>(i)));
  CHECK(seen.size() == static_cast<std::size_t>(verdict::storage_unusable) + 1);
}

TEST_CASE("bytes: a view converts from containers of bytes, and from nothing else", "[base]") {
  std::array<std::byte, 7> array{};
  std::vector<unsigned char> vector(9);
  char raw[5];
  CHECK(bytes{array}.size() == 7);
  CHECK(bytes{vector}.data() == vector.data());
  CHECK(bytes{raw}.size() == 5);
  CHECK(const_bytes{std::span<const std::byte>{array}}.size() == 7);
  const std::string words = "abc";
  CHECK(const_bytes{words}.size() == 3);
  CHECK(text("hello").size() == 5);
  static_assert(!converts_to<const std::string&, bytes>, "constant bytes are not writable");
  static_assert(!converts_to<std::vector<u8>, bytes>, "a temporary is gone before the device is done");
  static_assert(converts_to<std::span<u8>, bytes>, "a temporary view is only a view");
  static_assert(!converts_to<std::vector<int>&, const_bytes>, "integers are not bytes");
  CHECK(bytes{vector}.part(4, 100).size() == 5);
  CHECK(bytes{vector}.part(9, 1).empty());
}

TEST_CASE("untrusted: a value is returned checked or limited", "[base][hostile]") {
  const untrusted<u32> seven{7};
  CHECK(*seven.below(8) == 7);
  CHECK(seven.below(7).error() == errc::device_misbehaved);
  CHECK(seven.clamped(5) == 5);
  CHECK(seven.clamped(100) == 7);
}

TEST_CASE("cells: little and big endian are bytes in memory, whatever the CPU", "[base]") {
  to_device<u32> little;
  to_device<u32, byte_order::big> big;
  little.store(0x11223344);
  big.publish<smp_barriers>(0x11223344);
  const u8 expect_little[4] = {0x44, 0x33, 0x22, 0x11};
  const u8 expect_big[4] = {0x11, 0x22, 0x33, 0x44};
  CHECK(std::memcmp(&little, expect_little, 4) == 0);
  CHECK(std::memcmp(&big, expect_big, 4) == 0);
  from_device<u16, byte_order::big> in;
  std::memcpy(&in, expect_big, 2);
  CHECK(in.fetch<smp_barriers>().unchecked() == 0x1122);
  CHECK(in.observe<rig::hardware_barriers>().unchecked() == 0x1122);
}

TEST_CASE("features: 128 bits, set by name and by word", "[base]") {
  feature_set set{feature::version_1, feature::event_idx};
  CHECK(set.has(feature::version_1));
  CHECK(!set.has(feature::ring_packed));
  CHECK(set.word(0) == 1u << 29);
  CHECK(set.word(1) == 1u);
  set.set_word(3, 0x80000000);
  CHECK(set.has_bit(127));
  CHECK((set - feature_set{feature::event_idx}).first() == 32);
  CHECK(feature_set{}.first() == 128);
  CHECK(set.word(4) == 0);
}

TEST_CASE("features: a feature without its prerequisite is removed, with all that depend on it [FEAT-02]", "[base]") {
  constexpr feature_rule rules[] = {{3, 2}, {2, 1}, {9, 8}};  // 3 needs 2 needs 1; 9 needs 8
  feature_set chosen;
  for (const u8 bit : {u8{2}, u8{3}, u8{8}, u8{9}}) chosen.set(bit);
  const feature_set settled = apply_rules(chosen, rules, 3);
  CHECK(!settled.has_bit(2));
  CHECK(!settled.has_bit(3));
  CHECK(settled.has_bit(8));
  CHECK(settled.has_bit(9));
}

TEST_CASE("suppression: need_event is right across the 65535 to 0 wrap", "[queue]") {
  // The definition without modular arithmetic: whether a walk from `before` to `after` steps from `event` to `event +
  // 1`.
  const auto walked = [](u16 event, u16 after, u16 before) {
    for (u16 at = before; at != after; ++at)
      if (at == event) return true;
    return false;
  };
  for (u32 before = 0; before < 65536; before += before > 65000 || before < 600 ? 1 : 97)
    for (u16 step = 0; step < 40; ++step)
      for (int near = -3; near < 44; ++near) {
        const u16 from = static_cast<u16>(before), to = static_cast<u16>(before + step);
        const u16 event = static_cast<u16>(from + near);
        if (need_event(event, to, static_cast<u16>(to - from)) != walked(event, to, from))
          FAIL(before << " " << step << " " << near);
      }
}

TEST_CASE("segments: a long piece is cut at the limit and never truncated", "[platform]") {
  segment_list<4> list;
  REQUIRE(list.push(dma_addr{0x1000}, 0x1'0000'0000, direction::to_device));
  REQUIRE(list.size() == 4);
  CHECK(list.bytes() == 0x1'0000'0000);
  for (usize i = 0; i < 4; ++i) {
    CHECK(list[i].length == largest_transfer);
    CHECK(list[i].at == dma_addr{0x1000 + u64{largest_transfer} * i});
  }

  segment_list<4> small;
  small.limit_pieces(100);
  REQUIRE(small.push(dma_addr{0}, 250, direction::from_device));
  CHECK(small.size() == 3);
  CHECK(small[2].length == 50);
  CHECK(small.push(dma_addr{0}, 101, direction::from_device).error() == errc::no_space);
  CHECK(small.push(dma_addr{0}, 0, direction::from_device));
}

TEST_CASE(
    "segments: pieces that the device writes come last, and the bytes of both kinds are counted [SPLIT-02][PACKED-06]",
    "[platform]") {
  segment_list<6> list;
  CHECK(list.bytes() == 0);
  REQUIRE(list.push(dma_addr{0x1000}, 16, direction::to_device));
  REQUIRE(list.push(dma_addr{0x2000}, 0xffff'ffff, direction::from_device));
  CHECK(list.push(dma_addr{0x3000}, 16, direction::to_device).error() == errc::invalid_argument);
  CHECK(list.size() == 5);
  list.append(dma_addr{0x4000}, 1, direction::from_device);
  CHECK(list.bytes() == 0x1'0000'0010);
  CHECK(list.writable_bytes() == 0x1'0000'0000);
  list.truncate(2);
  CHECK(list.bytes() == 16 + u64{list[1].length});
  CHECK(list.writable_bytes() == list[1].length);
  list.truncate(1);
  CHECK(list.push(dma_addr{0x3000}, 16, direction::to_device));
  CHECK(list.bytes() == 32);
  CHECK(list.writable_bytes() == 0);
}
