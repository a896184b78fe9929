// SPDX-License-Identifier: MIT
// An archetype for each concept of the library: a type with exactly the members that the concept requires. It is
// copyable and const only where the concept requires it. It has no comparison, no conversion and no address operator.
// Every driver is compiled with each archetype, so that no concept requires less than its users need.
#include <catch2/catch_test_macros.hpp>

#include <virtio/blk/select.hpp>
#include <virtio/virtio.hpp>

using namespace virtio;

namespace {

// Operations that no user may need.
struct bare_value {
  void operator&() const = delete;
  template <class T>
  void operator,(T&&) const = delete;
  template <class T>
  void operator==(const T&) const = delete;
  explicit operator bool() const = delete;
};

// --- barrier_set ---

struct barriers : bare_value {
  barriers() = delete;
  static constexpr bool orders_platform = true;
  static u8 load(const u8* from) { return *from; }
  static u16 load(const u16* from) { return *from; }
  static u32 load(const u32* from) { return *from; }
  static u16 load_acquire(const u16* from) { return *from; }
  static u32 load_acquire(const u32* from) { return *from; }
  static void store(u16* to, u16 value) { *to = value; }
  static void store(u32* to, u32 value) { *to = value; }
  static void store_release(u16* to, u16 value) { *to = value; }
  static void store_release(u32* to, u32 value) { *to = value; }
  static void full() {}
};
static_assert(barrier_set<barriers>);

// --- platform ---

struct board : bare_value {
  using barriers = ::barriers;
  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return out.push(dma_addr{reinterpret_cast<uptr>(va)}, n, way);
  }
  bool keep_waiting(waiting, u64 attempt) const { return attempt < 3; }
};
static_assert(platform<board>);

// --- register_space: no registers, so that every read returns the same value ---

struct registers_of_nowhere : bare_value {
  template <class T>
    requires(same_as<T, u8> || same_as<T, u16> || same_as<T, u32>)
  T read(usize) const {
    return static_cast<T>(~T{0});
  }
  template <class T>
    requires(same_as<T, u8> || same_as<T, u16> || same_as<T, u32>)
  void write(usize, T) const {}
  unsigned size() const { return 0x1000; }
  registers_of_nowhere part(usize, usize) const { return {}; }
};
static_assert(register_space<registers_of_nowhere>);

// --- pci::host, and with a window ---

struct function_name : bare_value {};

struct bus_of_pci : bare_value {
  using function_id = function_name;
  using bar_space = registers_of_nowhere;
  u32 config_read32(const function_name&, u16) const { return ~u32{0}; }
  void config_write32(const function_name&, u16, u32) const {}
  result<registers_of_nowhere> bar(const function_name&, u8) const { return errc::not_found; }
  template <class F>
  void each_function(F&& f) const {
    const bool more = f(function_name{});
    (void)more;
  }
};
static_assert(pci::host<bus_of_pci> && !pci::windowed_host<bus_of_pci>);

struct windowed_bus : bus_of_pci {
  result<registers_of_nowhere> bar_through_window(const function_name&, u8) const { return errc::not_found; }
};
static_assert(pci::windowed_host<windowed_bus>);

// Functions with addresses, for walks that need them.
struct configuration : bare_value {
  using function_id = pci::address;
  u32 config_read32(pci::address, u16) const { return ~u32{0}; }
  void config_write32(pci::address, u16, u32) const {}
};
static_assert(pci::config_space<configuration>);

// --- mmio::bus ---

struct bus_of_slots : bare_value {
  using slot_space = registers_of_nowhere;
  registers_of_nowhere slot(usize) const { return {}; }
  usize slot_count() const { return 1; }
};
static_assert(mmio::bus<bus_of_slots>);

// --- transport ---

struct place : bare_value {};
struct doorbell : bare_value {
  void ring(u16) const {}
};

template <device_type Type>
struct wire : bare_value {
  using location = place;
  using doorbell = ::doorbell;
  static constexpr byte_order ring_order = byte_order::little;
  static constexpr feature_set wanted{};

  static device_type type_of(const place&) { return Type; }
  result<void> open(const place&, report&) { return {}; }
  device_type type() const { return Type; }
  transport_kind kind() const { return {}; }
  bool is_legacy() const { return false; }
  u8 status() const { return 0; }
  void set_status(u8) {}
  feature_set device_features(u32) { return {}; }
  void accept_features(const feature_set&, u32) {}
  queue_limits queue(u16) { return {8, false}; }
  result<void> enable_queue(u16, const queue_areas&, const feature_set&, u16, ::doorbell&) const { return {}; }
  result<void> begin_queue_reset(u16) { return {}; }
  bool queue_reset_done(u16) { return true; }
  result<void> set_config_vector(u16) { return {}; }
  template <class T>
    requires register_value<T>
  result<T> config(usize) const {
    return T{};
  }
  template <class T>
    requires(register_value<T> && sizeof(T) <= 4)
  result<void> config_write(usize, T) {
    return {};
  }
  u32 config_generation() const { return 0; }
  interrupt_cause acknowledge_interrupt() { return {}; }
  void close() {}
};
static_assert(transport<wire<device_type::block>>);

// --- virtqueue and queue_format ---

struct slot_facts : bare_value {
  u64 cookie = 0;
  u32 generation = 0;
};

template <barrier_set>
struct ring : bare_value {
  ring() = default;
  ring(const ring&) = delete;
  ring& operator=(const ring&) = delete;

  static constexpr u16 slots = 8;
  static constexpr usize dma_bytes = 4096;
  static constexpr feature_set wanted{};
  static constexpr feature_set required{};
  static constexpr byte_order order = byte_order::little;
  static constexpr u16 fit(u16 maximum, ring_size) { return maximum; }
  result<ring_layout> attach(const dma_area&, u16, const feature_set&) { return ring_layout{}; }
  u16 longest_chain() const { return 8; }
  u16 in_flight() const { return 0; }
  result<u16> reserve() { return errc::queue_full; }
  result<token> stage(u16, const segments&, u64) { return errc::queue_full; }
  bool publish() { return false; }
  bool needs_kick() { return false; }
  u16 position() const { return 0; }
  result<completion> next_completion() { return errc::not_ready; }
  errc take(completion&) { return errc::not_ready; }
  void release(token) {}
  bool is_live(token) const { return false; }
  const slot_facts& record(u16) const { return facts; }
  bool arm() { return false; }
  void disarm() {}
  result<completion> reclaim() { return errc::not_ready; }
  void limit(u16) {}

 private:
  slot_facts facts{};
};
struct format {
  format() = delete;
  template <barrier_set B>
  using ring = ::ring<B>;
};
static_assert(virtqueue<ring<barriers>> && queue_format<format>);

// --- every driver through each ---

constexpr console::limits two_ports{.ports = 2};
constexpr vsock::limits few{.connections = 2, .receive_buffer = 4096, .send_packets = 2, .messages = true};

template <class P, class T, class Q>
struct drivers {
  blk::device<P, T, Q> disk{};
  rng::device<P, T, Q> entropy{};
  balloon::device<P, T, Q> memory{};
  console::device<P, T, Q> terminal{};
  console::device<P, T, Q, two_ports> ports{};
  vsock::device<P, T, Q, few> sockets{};
  vmmci::device<P, T> control{};
};

}  // namespace

// Instantiates all members, called or not.
#define DRIVERS(P, T, Q)                                                                  \
  template class virtio::blk::device<P, T, Q>;                                            \
  template class virtio::blk::extras<virtio::blk::device<P, T, Q>>;                       \
  template class virtio::request_driver<virtio::blk::device<P, T, Q>, virtio::blk::done>; \
  template class virtio::rng::device<P, T, Q>;                                            \
  template class virtio::request_driver<virtio::rng::device<P, T, Q>, virtio::rng::done>; \
  template class virtio::balloon::device<P, T, Q>;                                        \
  template class virtio::console::device<P, T, Q>;                                        \
  template class virtio::console::device<P, T, Q, two_ports>;                             \
  template class virtio::vsock::device<P, T, Q, few>

DRIVERS(board, wire<device_type::block>, format);
DRIVERS(board, wire<device_type::block>, split_queue<8>);
DRIVERS(board, wire<device_type::block>, packed_queue<8>);
DRIVERS(board, wire<device_type::block>, queue<8>);
DRIVERS(board, pci::modern<bus_of_pci>, format);
DRIVERS(board, pci::legacy<bus_of_pci>, format);
DRIVERS(board, pci::transport<bus_of_pci>, format);
DRIVERS(board, pci::transport<windowed_bus>, format);
DRIVERS(board, mmio::transport<bus_of_slots>, format);
template class virtio::vmmci::device<board, wire<device_type::vmmci>>;
template class virtio::vmmci::device<board, pci::modern<bus_of_pci>>;
template class virtio::vmmci::device<board, pci::legacy<bus_of_pci>>;
template class virtio::vmmci::device<board, pci::transport<windowed_bus>>;
template class virtio::vmmci::device<board, mmio::transport<bus_of_slots>>;

namespace {

// Member templates, which an explicit instantiation does not include.
template <class Drivers, class Where>
void use(const Where& where) {
  static Drivers all;
  static dma_storage<262144> storage;
  const auto tell = [](const auto&) {};
  u8 data[512] = {};
  for (int i = 0; i < 2; ++i) {
    if (all.disk.start(board{}, where, storage)) {
      CHECK_FALSE(all.disk.read(0, data));
      CHECK(all.disk.poll(tell) == 0);
      CHECK((all.disk.drain(tell) || true));
      (void)all.disk.arm();
      all.disk.disarm();
      (void)all.disk.hand_off();
    }
    if (all.entropy.start(board{}, where, storage)) {
      CHECK_FALSE(all.entropy.fill(data));
      (void)all.entropy.hand_off();
    }
    if (all.memory.start(board{}, where, storage)) {
      CHECK_FALSE(all.memory.inflate(1, [](u32& page) { return page = 1, true; }));
      (void)all.memory.hand_off();
    }
    if (all.terminal.start(board{}, where, storage)) {
      CHECK_FALSE(all.terminal.receive(data));
      (void)all.terminal.receive_with([](const_bytes bytes) { return bytes.size(); });
      (void)all.terminal.hand_off();
    }
    if (all.ports.start(board{}, where, storage)) {
      (void)all.ports.poll();
      (void)all.ports.hand_off();
    }
    if (all.sockets.start(board{}, where, storage, vsock::seed{1})) {
      (void)all.sockets.poll(tell);
      (void)all.sockets.receive_with({}, [](const_bytes bytes) { return bytes.size(); });
      (void)all.sockets.hand_off();
    }
    if (all.control.start(board{}, where)) {
      CHECK(all.control.clock().error() == errc::unsupported);
      CHECK(all.control.next_request().error() == errc::not_ready);
      (void)all.control.hand_off();
    }
  }
}

}  // namespace

TEST_CASE("concepts: every driver works with a transport, a queue and a platform that have only the required members",
          "[unit][concepts]") {
  use<drivers<board, wire<device_type::block>, format>>(place{});
  use<drivers<board, wire<device_type::entropy>, format>>(place{});
  use<drivers<board, wire<device_type::balloon>, format>>(place{});
  use<drivers<board, wire<device_type::console>, format>>(place{});
  use<drivers<board, wire<device_type::vsock>, format>>(place{});
  use<drivers<board, wire<device_type::vmmci>, format>>(place{});
}

TEST_CASE("concepts: discovery and every transport work with hosts and buses that have only the required members",
          "[unit][concepts]") {
  usize seen = 0;
  pci::for_each(bus_of_pci{}, [&](const auto&) { ++seen; });
  pci::for_each(windowed_bus{}, [&](const auto&) { ++seen; });
  mmio::for_each(bus_of_slots{}, [&](const auto&) { ++seen; });
  CHECK(seen <= 3);
  CHECK(pci::detect(bus_of_pci{}) == nullptr);
  CHECK_FALSE(pci::find(pci::detected(windowed_bus{}), device_type::vmmci));
  CHECK_FALSE(mmio::find(mmio::detected(bus_of_slots{}), device_type::vmmci));
  CHECK_FALSE(pci::find(bus_of_pci{}, device_type::block));
  CHECK_FALSE(pci::find_nth(windowed_bus{}, device_type::block, 1));
  CHECK_FALSE(mmio::find(bus_of_slots{}, device_type::block));
  use<drivers<board, pci::modern<bus_of_pci>, format>>(pci::found<bus_of_pci>{});
  use<drivers<board, pci::legacy<bus_of_pci>, format>>(pci::found<bus_of_pci>{});
  use<drivers<board, pci::transport<windowed_bus>, format>>(pci::found<windowed_bus>{});
  use<drivers<board, mmio::transport<bus_of_slots>, format>>(mmio::found<bus_of_slots>{});
  static blk::device<board, pci::transport<bus_of_pci>, format> disk;
  static dma_storage<65536> storage;
  CHECK_FALSE(blk::start_by_serial(disk, board{}, bus_of_pci{}, text("serial"), storage));
  pci::each_numbered_function(configuration{}, 0, [&](pci::address) { return true; });
}
