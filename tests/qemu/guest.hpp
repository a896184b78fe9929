// SPDX-License-Identifier: MIT
// Shared by the cells of the QEMU matrix: a board whose behaviour a cell can set, a journal of the library's trace,
// checks that end the guest at the first failure, and the pattern in every sector of a test disk.
#pragma once

#include <virtio/mmio.hpp>
#include <virtio/pci.hpp>
#include <virtio/queue/either.hpp>
#include <virtio/queue/split.hpp>

#include "board.hpp"
#include "host_word.hpp"

namespace cell {

using virtio::bytes;
using virtio::const_bytes;
using virtio::device_type;
using virtio::errc;
using virtio::result;
using virtio::u16;
using virtio::u32;
using virtio::u64;
using virtio::u8;
using virtio::uptr;
using virtio::usize;

/// The events of the library's trace hook since the last `clear`.
struct journal {
  u8 statuses[32];
  u32 status_count;
  u32 doorbells;      // without repeats for the same buffers
  u32 queue_entries;  // of the last queue set up

  void clear() { status_count = doorbells = 0; }
};
inline constinit journal seen{};

/// The examples' board, with a cell's settings.
struct bench : board {
  u64 patience = 0;  // if not 0: turns until an unanswered request is given up
  u32 page = 0;      // if not 0: memory is contiguous for the device only in pages of this size

  result<void> map(const volatile void* va, usize n, virtio::direction way, virtio::segments& out) const {
    if (page == 0 || way == virtio::direction::shared) return checked(board::map(va, n, way, out), out);
    for (uptr at = reinterpret_cast<uptr>(va); n != 0;) {
      const usize here = virtio::detail::smaller(n, page - at % page);
      VIRTIO_TRY(out.push(virtio::dma_addr{at}, here, way));
      at += here;
      n -= here;
    }
    return {};
  }

  // If devices are restricted to a pool, they must not receive other addresses.
  static result<void> checked(result<void> outcome, [[maybe_unused]] const virtio::segments& out) {
#if defined(__aarch64__)
    const boot::range& pool = boot::machine.dma_pool;
    for (const virtio::segment& one : out)
      if (pool.size != 0 && (raw(one.at) < pool.base || raw(one.at) + one.length > pool.base + pool.size)) {
        boot::print("outside of the pool: ", boot::hex(raw(one.at)), "\n");
        boot::exit(1);
      }
#endif
    return outcome;
  }

  bool keep_waiting(virtio::waiting why, u64 attempt) const {
    boot::pause();
    // Waits for expected events have no limit here: the duration of so many turns depends on the machine. The host ends
    // a hanging guest.
    return patience == 0 || why == virtio::waiting::reset || attempt < patience;
  }

  void trace(virtio::event happened) const {
    switch (happened.what) {
      case virtio::event::kind::status_write:
        if (seen.status_count < sizeof seen.statuses) seen.statuses[seen.status_count++] = static_cast<u8>(happened.a);
        break;
      // the number of repeats depends on time
      case virtio::event::kind::doorbell: seen.doorbells += happened.b == 0 ? 1 : 0; break;
      case virtio::event::kind::queue_enabled: seen.queue_entries = happened.b; break;
      default: break;
    }
  }
};
static_assert(virtio::platform<bench>);

using location = bus::found<bench>;  // the board determines the bus

// Checks --------------------------------------------------------------------------------------------------------------

[[noreturn]] inline void fail_at(const char* file, int line, const char* what) {
  boot::print("FAIL ", file, ":", line, ": ", what, "\n");
  boot::exit(1);
}

template <class T>
errc error_of(const result<T>& outcome) {
  return outcome.error();
}
inline errc error_of(errc outcome) { return outcome; }

template <class T>
void expect(const T& outcome, errc wanted, const char* file, int line, const char* what) {
  const errc got = error_of(outcome);
  if (got == wanted) return;
  boot::print("want: ", virtio::describe(wanted), "\ngot:  ", virtio::describe(got), "\n");
  fail_at(file, line, what);
}

template <class A, class B>
void equal(const A& got, const B& wanted, const char* file, int line, const char* what) {
  if (static_cast<u64>(got) == static_cast<u64>(wanted)) return;
  boot::print("want: ", static_cast<u64>(wanted), "\ngot:  ", static_cast<u64>(got), "\n");
  fail_at(file, line, what);
}

#define CHECK(condition) ((condition) ? static_cast<void>(0) : ::cell::fail_at(__FILE_NAME__, __LINE__, #condition))
#define CHECK_EQUAL(got, wanted) ::cell::equal(got, wanted, __FILE_NAME__, __LINE__, #got " == " #wanted)
#define CHECK_OK(outcome) ::cell::expect(outcome, ::virtio::errc::ok, __FILE_NAME__, __LINE__, #outcome)
#define CHECK_ERROR(outcome, wanted) ::cell::expect(outcome, wanted, __FILE_NAME__, __LINE__, #outcome)

// The command line ----------------------------------------------------------------------------------------------------

/// `key=` as a number, decimal or 0x; `otherwise` if it is absent.
inline u64 number(const char* key, u64 otherwise = 0) {
  const boot::text t = boot::option(key);
  if (!t) return otherwise;
  u64 value = 0;
  const bool is_hex = t.size > 2 && t.data[0] == '0' && t.data[1] == 'x';
  for (usize i = is_hex ? 2 : 0; i < t.size; ++i) {
    const char c = t.data[i];
    const u64 digit = static_cast<u64>(c >= 'a' ? c - 'a' + 10 : c - '0');
    CHECK(digit < (is_hex ? 16u : 10u));
    value = value * (is_hex ? 16 : 10) + digit;
  }
  return value;
}

struct errc_name {
  const char* name;
  errc value;
};

/// `key=` as the name of an error, `ok` if it is absent.
inline errc error_named(const char* key) {
  static constexpr errc_name names[] = {{"no_space", errc::no_space},
                                        {"not_found", errc::not_found},
                                        {"ambiguous", errc::ambiguous},
                                        {"unsupported", errc::unsupported},
                                        {"timed_out", errc::timed_out},
                                        {"io_error", errc::io_error},
                                        {"wrong_device", errc::wrong_device},
                                        {"device_misbehaved", errc::device_misbehaved},
                                        {"ok", errc::ok}};
  const boot::text t = boot::option(key);
  if (!t) return errc::ok;
  for (const errc_name& one : names)
    if (t == one.name) return one.value;
  fail_at(__FILE_NAME__, __LINE__, "an error name that the guest does not know");
}

/// `page=` on the command line sets the board for the whole cell.
inline bench machine() {
  bench out;
  out.page = static_cast<u32>(number("page", 0));
  return out;
}

/// The cell's own device: devices of other cells in the same boot may come before it, first_disk= and first_rng= of
/// them.
inline location find(device_type type, usize nth = 0) {
  const usize others = static_cast<usize>(number(type == device_type::block ? "first_disk" : "first_rng"));
  const auto found = bus::find_nth(machine(), type, others + nth);
  CHECK_OK(found);
  return *found;
}

/// A device that a cell has started. After the cell it is handed off and restored to its initial state, for the next
/// cell.
struct in_use {
  void* device;
  void (*renew)(void*);
};
inline constinit in_use of_this_cell[4]{};
inline constinit usize in_use_count{};

template <class Device>
void remember(Device& device) {
  for (usize i = 0; i < in_use_count; ++i)
    if (of_this_cell[i].device == &device) return;
  CHECK(in_use_count < sizeof of_this_cell / sizeof of_this_cell[0]);
  of_this_cell[in_use_count++] = {&device, [](void* which) {
                                    auto* const old = static_cast<Device*>(which);
                                    if (const result<void> gone = old->hand_off(); gone.error() != errc::not_started)
                                      CHECK_OK(gone);
                                    __builtin_memset(which, 0, sizeof(Device));  // it is in .bss
                                  }};
}

/// Starts the device as the cell requires: through the right registers, with exactly the named features, in the right
/// order, with the given queue size; or with the expected error. False if it was expected to fail, and did.
template <class Device>
bool start(Device& device, const location& where, virtio::dma_region storage, const char* features_key) {
  remember(device);
  seen.clear();
  const bool is_restart = device.why().why == virtio::verdict::bound;  // first resets the running device
  const auto up = device.start(machine(), where, storage);
  const errc wanted = error_named("refused");
  const virtio::report& why = device.why();
  if (up.error() != wanted)
    boot::print("verdict: ", virtio::describe(why.why), "; feature ", why.feature, " queue ", why.queue, " wanted ",
                why.wanted, " available ", why.available, "\n");
  CHECK_ERROR(up, wanted);
  CHECK(why.error == wanted);
  if (wanted != errc::ok) {
    CHECK(why.why != virtio::verdict::bound);
    boot::print("refused: ", virtio::describe(wanted), ": ", virtio::describe(why.why), "; feature ", why.feature,
                " queue ", why.queue, " wanted ", why.wanted, " available ", why.available, "\n");
    return false;
  }

  CHECK(why.why == virtio::verdict::bound);
  using virtio::transport_kind;
  constexpr bool on_pci = virtio::pci::host<bench>;
  constexpr transport_kind modern_via = on_pci ? transport_kind::pci_modern : transport_kind::mmio_modern;
  constexpr transport_kind legacy_via = on_pci ? transport_kind::pci_legacy : transport_kind::mmio_legacy;
  const bool is_legacy = why.via == legacy_via;
  CHECK(is_legacy || why.via == modern_via);
  if (const boot::text via = boot::option("via")) CHECK(is_legacy == (via == "legacy"));
  const u64 got = u64{device.features().word(1)} << 32 | device.features().word(0);
  boot::print(virtio::name(why.type), " through ", virtio::name(why.via), ", ring of ", seen.queue_entries,
              ", features ", boot::hex(got), "\n");
  if (boot::option(features_key)) {
    const u64 expected = number(features_key);
    if (got != expected) boot::print("features: ", boot::hex(got), ", want ", boot::hex(expected), "\n");
    CHECK(got == expected);
    CHECK_EQUAL(device.features().word(2) | device.features().word(3), 0u);
  }

  // Reset, ACKNOWLEDGE, DRIVER, FEATURES_OK (modern only), DRIVER_OK: each bit in addition to the previous ones.
  static constexpr u8 modern[] = {0x0, 0x1, 0x3, 0xb, 0xf};
  static constexpr u8 legacy[] = {0x0, 0x1, 0x3, 0x7};
  const u32 steps = is_legacy ? sizeof legacy : sizeof modern;
  CHECK(seen.status_count == steps || (is_restart && seen.status_count == steps + 1));
  const u32 extra = seen.status_count - steps;
  CHECK_EQUAL(seen.statuses[0], 0u);
  for (u32 i = 0; i < steps; ++i) CHECK_EQUAL(seen.statuses[extra + i], is_legacy ? legacy[i] : modern[i]);
  CHECK_EQUAL(seen.doorbells, 0u);
  return true;
}

inline void put_hex(u64 value, usize digits) {
  while (digits-- != 0) boot::put("0123456789abcdef"[value >> (4 * digits) & 15]);
}

/// Prints one line about a function; the host script has the expected lines.
template <class H>
void print_function(const virtio::pci::found<H>& one) {
  boot::print("function ");
  put_hex(one.id.bus, 2);
  boot::print(":");
  put_hex(one.id.slot, 2);
  boot::print(".", one.id.function, " ");
  put_hex(one.who.vendor, 4);
  boot::print(":");
  put_hex(one.who.device, 4);
  boot::print(" ", virtio::name(one.seen.type), ", ", virtio::name(one.seen.via), ": ", virtio::describe(one.seen.why),
              "\n");
}

/// Prints one line about a slot, likewise.
template <class B>
void print_function(const virtio::mmio::found<B>& one) {
  boot::print("function slot ", one.slot, " ", virtio::name(one.seen.type), ", ", virtio::name(one.seen.via), ": ",
              virtio::describe(one.seen.why), "\n");
}

/// Ends the guest unless a function's bus mastering is `on`. An MMIO device has no such switch.
template <class Where>
void check_mastering(const Where& where, bool on) {
  if constexpr (requires { where.host; })
    CHECK(((where.host.config_read32(where.id, virtio::pci::config::command) & virtio::pci::command::bus_master) !=
           0) == on);
}

/// Runs `f(where)` with the disk's place on a PCI bus; its subject does not exist on others.
template <class F>
void on_pci_only(F&& f) {
  if constexpr (virtio::pci::host<bench>) f(find(device_type::block));
  else fail_at(__FILE_NAME__, __LINE__, "a cell for PCI on another bus");
}

inline constexpr u64 random_start = 0x9e3779b97f4a7c15;  // the same for every cell
inline constinit u64 random_state = random_start;

inline u64 random() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

/// Restores the state of a fresh boot.
inline void end_of_cell() {
  while (in_use_count != 0) {
    const in_use& last = of_this_cell[--in_use_count];
    last.renew(last.device);
  }
  random_state = random_start;
  seen = {};
}

// The pattern: word i of sector n of a disk with seed s is s << 48 | i << 40 | n. -------------------------------------

inline constexpr usize sector_words = 64;

inline u64 pattern(u64 seed, u64 sector, usize word) { return seed << 48 | u64{word} << 40 | sector; }

/// Ends the guest unless `data` is the disk's content from `sector` on.
inline void check_pattern(const_bytes data, u64 sector, u64 seed) {
  for (usize at = 0; at < data.size(); at += 8) {
    u64 word;
    __builtin_memcpy(&word, data.data() + at, 8);
    const u64 here = sector + at / 512;
    if (word == pattern(seed, here, at % 512 / 8)) continue;
    boot::print("sector ", here, " byte ", at % 512, ": ", boot::hex(word), ", want ",
                boot::hex(pattern(seed, here, at % 512 / 8)), "\n");
    fail_at(__FILE_NAME__, __LINE__, "wrong data");
  }
}

inline void fill_pattern(bytes data, u64 sector, u64 seed) {
  for (usize at = 0; at < data.size(); at += 8) {
    const u64 word = pattern(seed, sector + at / 512, at % 512 / 8);
    __builtin_memcpy(data.data() + at, &word, 8);
  }
}

inline void fill(bytes data, u8 value) { __builtin_memset(data.data(), value, data.size()); }

inline bool all_are(const_bytes data, u8 value) {
  for (usize i = 0; i < data.size(); ++i)
    if (data.data()[i] != value) return false;
  return true;
}

// Queues --------------------------------------------------------------------------------------------------------------

template <class Q>
struct queue_choice {
  using type = Q;
};

/// Calls `f(queue_choice<Q>)` for the queue on the command line: queue=SIZE indirect=N ring=ENTRIES packed=1, or
/// either=1 for the one of 256 entries that is packed if possible and requests in-order use.
template <class F>
void with_queue(F&& f) {
  using namespace virtio;
  const u64 size = number("queue", 256), indirect = number("indirect", 8), ring = number("ring", 0);
  const bool packed = number("packed") != 0;
  if (number("either") != 0)
    return f(queue_choice<virtio::queue<256, ring_options{.indirect = 8, .in_order = true}>>{});
  const auto is = [&](u64 a, u64 b, u64 c) { return !packed && size == a && indirect == b && ring == c; };
  const auto is_packed = [&](u64 a, u64 b) { return packed && size == a && indirect == b; };
  if (is(256, 8, 0)) f(queue_choice<split_queue<256, ring_options{.indirect = 8}>>{});
  else if (is(4, 8, 0)) f(queue_choice<split_queue<4, ring_options{.indirect = 8}>>{});
  else if (is(4, 0, 0)) f(queue_choice<split_queue<4>>{});
  else if (is(16, 0, 0)) f(queue_choice<split_queue<16>>{});
  else if (is(256, 0, 0)) f(queue_choice<split_queue<256>>{});
  else if (is(4, 0, 1024)) f(queue_choice<split_queue<4, ring_options{.ring_entries = 1024}>>{});
  else if (is(16, 0, 256)) f(queue_choice<split_queue<16, ring_options{.ring_entries = 256}>>{});
  else if (is(16, 0, 1024)) f(queue_choice<split_queue<16, ring_options{.ring_entries = 1024}>>{});
  else if (is(256, 0, 1024)) f(queue_choice<split_queue<256, ring_options{.ring_entries = 1024}>>{});
  else if (is(16, 8, 1024)) f(queue_choice<split_queue<16, ring_options{.indirect = 8, .ring_entries = 1024}>>{});
  else if (is_packed(256, 8)) f(queue_choice<packed_queue<256, packed_options{.indirect = 8}>>{});
  else if (is_packed(256, 0)) f(queue_choice<packed_queue<256>>{});
  else if (is_packed(100, 0)) f(queue_choice<packed_queue<100>>{});
  else if (is_packed(5, 0)) f(queue_choice<packed_queue<5>>{});
  else if (is_packed(4, 8)) f(queue_choice<packed_queue<4, packed_options{.indirect = 8}>>{});
  else fail_at(__FILE_NAME__, __LINE__, "a queue that the guest was not built with");
}

/// The queue for cells about other subjects: for any QEMU device, through any transport.
using usual_queue = virtio::split_queue<256, virtio::ring_options{.indirect = 8}>;

// Parts of the guest in other files; each runs one word of `run=`, and returns false for an unknown word.
bool run_disk(boot::text word);
bool run_entropy(boot::text word);
bool run_bus(boot::text word);
[[gnu::weak]] bool run_registers(boot::text word);  // only in guests for PCI
[[gnu::weak]] bool run_window(boot::text word);     // only in guests for x86-64
[[gnu::weak]] bool run_ecam(boot::text word);
[[gnu::weak]] bool run_loader(boot::text word);
[[gnu::weak]] bool run_far(boot::text word);

}  // namespace cell
