// SPDX-License-Identifier: MIT
// Every store of a ring, in order, as observed by a device after each store: descriptors are complete before they are
// available, stored once with their final value, and not changed after that. The word that makes them available is
// last. The driver stores nothing where only the device writes. Each ring has a barrier set that passes every store to
// the device's side, which checks it.
#include <catch2/catch_template_test_macros.hpp>

#include <cstring>
#include <deque>
#include <map>

#include <virtio/queue/either.hpp>
#include <virtio/testing/hooked_barriers.hpp>

#include "ring_rig.hpp"

using namespace virtio;
using namespace rig;
using virtio::testing::barrier_hooks;
using virtio::testing::hooked_barriers;

namespace {

template <u16 N, ring_options O = ring_options{}>
using split = split_ring<N, O, hooked_barriers>;
template <u16 N, packed_options O = packed_options{}>
using packed = packed_ring<N, O, hooked_barriers>;
template <ring_options O>
using either = either_ring<8, O, hooked_barriers>;

using split_tables = split<8, ring_options{.indirect = 4}>;
using split_in_order = split<8, ring_options{.in_order = true}>;
using split_both = split<16, ring_options{.indirect = 4, .in_order = true}>;
using packed_tables = packed<8, packed_options{.indirect = 4}>;
using packed_in_order = packed<5, packed_options{.in_order = true}>;
using packed_both = packed<16, packed_options{.indirect = 4, .in_order = true}>;
struct either_as_split : either<ring_options{.in_order = true}> {};
struct either_as_packed : either<ring_options{.in_order = true}> {};

#define RINGS                                                                                                   \
  split<1>, split<8>, split_tables, split_in_order, split_both, packed<1>, packed<5>, packed<8>, packed_tables, \
      packed_in_order, packed_both, either_as_split, either_as_packed

}  // namespace

template <>
inline constexpr bool rig::is_packed<either_as_packed> = true;

namespace {

// During its lifetime the device's side receives every store.
class watch {
 public:
  explicit watch(subject& r) {
    barrier_hooks::clear();
    barrier_hooks::mine().after_store = [this, &r](const volatile void* at, usize width) {
      ++stores;
      r.device.stored(at, width);
    };
  }
  ~watch() { barrier_hooks::clear(); }
  watch(const watch&) = delete;
  watch& operator=(const watch&) = delete;

  u64 stores = 0;
};

void every_store(subject& r, u32 seed) {
  std::mt19937 random{seed};
  const auto any = [&](usize below) { return static_cast<u32>(random() % below); };
  u64 stores = 0, taken = 0, cookie = 0;
  for (int life = 0; life < 12; ++life) {
    const bool in_order = r.in_order && any(4) != 0;
    feature_set f{feature::version_1};
    if (any(2) != 0) f.set(static_cast<u8>(feature::event_idx));
    if (any(4) != 0) f.set(static_cast<u8>(feature::indirect_desc));
    if (in_order) f.set(static_cast<u8>(feature::in_order));
    const u16 entries = r.ring.fit(static_cast<u16>(any(2) != 0 ? r.slots : 1 + any(r.slots)), false);
    r.attach(entries, f, any(2) != 0 ? 65'536 / entries * entries - entries : 0);
    const watch w{r};
    std::deque<u16> heads;
    std::map<u64, token> known;
    std::vector<token> held;
    for (int i = 0; i < 1'500; ++i) {
      switch (any(10)) {
        case 0:
        case 1:
        case 2: {
          const u16 pieces = static_cast<u16>(1 + any(std::min<u32>(4, r.ring.longest_chain())));
          const u16 readable = static_cast<u16>(any(pieces + 1u));
          if (r.submit(readable, static_cast<u16>(pieces - readable), cookie)) ++cookie;
          break;
        }
        case 3: r.ring.publish(); break;
        case 4: (void)r.kick(); break;
        case 5:
          while (any(3) != 0)
            if (const auto one = r.device.pop()) heads.push_back(one->head);
            else break;
          break;
        case 6:
          if (heads.empty()) break;
          if (in_order && any(2) != 0) {
            r.device.push_batch(heads.back(), 0);
            heads.clear();
          } else {
            const usize which = in_order ? 0 : any(heads.size());
            r.device.push(heads[which], 0);
            heads.erase(heads.begin() + static_cast<std::ptrdiff_t>(which));
          }
          r.device.publish();
          break;
        case 7:
          if (const auto done = r.ring.next_completion()) {
            ++taken;
            held.push_back(done->which);
          }
          break;
        case 8:
          while (!held.empty() && any(4) != 0) {
            const usize which = any(held.size());
            r.ring.release(held[which]);
            held[which] = held.back();
            held.pop_back();
          }
          break;
        default:
          if (any(2) != 0) (void)r.ring.arm();
          else r.ring.disarm();
      }
      if (!r.device.violations().empty()) return r.require_no_violations();
    }
    stores += w.stores;
    r.device.reset();
    for (const token& one : held) r.ring.release(one);
    while (const auto back = r.ring.reclaim()) r.ring.release(back->which);
  }
  CHECK(taken > 100);
  CHECK(stores > 5 * taken);
}
TEMPLATE_TEST_CASE(
    "stores: each descriptor is stored once, complete before it is shown, and then left alone "
    "[SPLIT-11][SPLIT-26][PACKED-02][PACKED-03][PACKED-08][PACKED-09][PACKED-14][SHUTDOWN-01]",
    "[queue][contract]", RINGS) {
  const u32 start = seed();
  INFO("VIRTIO_TEST_SEED=" << start);
  every_store(*std::make_unique<pair<TestType>>(), start);
}

TEMPLATE_TEST_CASE(
    "stores: a direct list is made available from the second descriptor on, each by one final store, the first one last "
    "[PACKED-03][PACKED-09]",
    "[queue][packed]", packed<5>, packed<8>) {
  const auto r = std::make_unique<pair<TestType>>();
  r->attach(TestType::slots, {});
  std::string order;
  const watch w{*r};
  barrier_hooks::mine().after_store = [&](const volatile void* at, usize width) {
    r->device.stored(at, width);
    const usize offset = static_cast<usize>(static_cast<const volatile u8*>(at) - r->storage.data);
    if (offset % 16 != 12) return;
    const u32 word = virtio::testing::wire::get32(r->storage.data + offset);
    order += std::to_string(offset / 16) + ((word & 1u << 16) != 0 ? "n" : "") + ((word & 2u << 16) != 0 ? "w " : " ");
  };
  REQUIRE(r->submit(1, 2, 0));
  CHECK(order == "1nw 2w ");
  REQUIRE(r->submit(2, 0, 1));
  CHECK(order == "1nw 2w 4 3n ");
  r->ring.publish();
  CHECK(order == "1nw 2w 4 3n 0n ");
  r->require_no_violations();
}

// The check itself: the violations that it must detect.

template <class Ring>
std::string objection(void (*wrong)(pair<Ring>&)) {
  const auto r = std::make_unique<pair<Ring>>();
  r->attach(Ring::slots, {});
  const watch w{*r};
  REQUIRE(r->submit(1, 1, 0));
  REQUIRE(r->device.violations().empty());
  wrong(*r);
  return r->device.violations().empty() ? "" : r->device.violations().front();
}
template <class T, class Ring>
void store_at(pair<Ring>& r, usize offset, T value) {
  hooked_barriers::store_plain(reinterpret_cast<T*>(r.storage.data + offset),
                               detail::reorder<byte_order::little>(value));
}

TEST_CASE("stores: the device's side of a split ring detects each violation", "[testing][split]") {
  using ring = split<8>;
  // Descriptors at 0, the available ring at 128, the used ring at 4096.
  CHECK(objection<ring>([](auto& r) { store_at<u32>(r, 24, 1); }).find("stored to twice") != std::string::npos);
  CHECK(objection<ring>([](auto& r) { store_at<u16>(r, 132, 1); }).find("SPLIT-26: entry 0") != std::string::npos);
  CHECK(objection<ring>([](auto& r) { store_at<u16>(r, 130, 2); }).find("entry 1, which was not stored") !=
        std::string::npos);
  CHECK(objection<ring>([](auto& r) {
          store_at<u16>(r, 134, 5);
          store_at<u16>(r, 130, 2);
        }).find("descriptor 5, which was not stored") != std::string::npos);
  CHECK(objection<ring>([](auto& r) {
          r.ring.publish();
          store_at<u32>(r, 8, 1);
        }).find("SPLIT-26: descriptor 0") != std::string::npos);
  CHECK(objection<ring>([](auto& r) {
          r.ring.publish();
          REQUIRE(r.device.pop());
          store_at<u32>(r, 8, 1);
        }).find("SHUTDOWN-01") != std::string::npos);
  CHECK(objection<ring>([](auto& r) { store_at<u16>(r, 4096, 1); }).find("used ring stored to") != std::string::npos);
  CHECK(objection<ring>([](auto& r) { store_at<u16>(r, 128, 2); }).find("SPLIT-12") != std::string::npos);
  CHECK(objection<ring>([](auto& r) { store_at<u32>(r, 128, 0); }).find("not one store a word") != std::string::npos);
}

TEST_CASE("stores: the device's side of a packed ring detects each violation", "[testing][packed]") {
  using ring = packed<8>;
  constexpr u32 available = 0x80'0000, next = 0x1'0000;
  // Descriptors at 0, two of them staged; the driver's event word at 128, the device's at 4096.
  CHECK(objection<ring>([](auto& r) {
          store_at<u32>(r, 28, available);
        }).find("PACKED-03: descriptor 1: stored to after") != std::string::npos);
  CHECK(objection<ring>([](auto& r) { store_at<u32>(r, 24, 1); }).find("PACKED-03: descriptor 1") != std::string::npos);
  CHECK(objection<ring>([](auto& r) { store_at<u32>(r, 8, 1); }).find("stored to twice") != std::string::npos);
  CHECK(objection<ring>([](auto& r) { store_at<u32>(r, 44, available); }).find("before address and length") !=
        std::string::npos);
  CHECK(objection<ring>([](auto& r) { store_at<u16>(r, 46, 0x80); }).find("not one store") != std::string::npos);
  CHECK(objection<ring>([](auto& r) { store_at<u32>(r, 44, 0); }).find("FACT-21") != std::string::npos);
  CHECK(objection<ring>([](auto& r) {
          r.ring.publish();
          store_at<u64>(r, 32, 1);
          store_at<u32>(r, 40, 1);
          store_at<u32>(r, 44, available | next);
        }).find("PACKED-09") != std::string::npos);
  CHECK(objection<ring>([](auto& r) {
          r.ring.publish();
          REQUIRE(r.device.pop());
          store_at<u64>(r, 0, 1);
        }).find("PACKED-02") != std::string::npos);
  CHECK(objection<ring>([](auto& r) { store_at<u32>(r, 4096, 1); }).find("device event suppression") !=
        std::string::npos);
  CHECK(objection<ring>([](auto& r) { store_at<u32>(r, 128, 3u << 16); }).find("reserved flags") != std::string::npos);
}

}  // namespace
