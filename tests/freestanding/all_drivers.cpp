// SPDX-License-Identifier: MIT
// Every driver on every transport with every kind of queue, for boards of every kind. Explicit instantiation compiles
// all members, called or not. The program is never run; all_drivers.py checks the object: its undefined symbols and its
// sections.
// With EVERY_COMBINATION that is the whole product, for a compiler that only checks; without, each board, transport and
// queue occurs once or twice. With TURN, for an optimizer, each board has one driver, and the next one at the next
// turn: three turns are all of it, and each of them has every driver and every board. With both, each combination of
// driver x transport x queue occurs, each board x transport x queue, each board x driver x queue and each board x
// driver x transport.
#include <virtio/blk/select.hpp>
#include <virtio/virtio.hpp>

#include "boards.hpp"

using virtio::native_order;
using virtio::split_queue;

// Legacy rings have the guest's byte order, so that a big-endian guest needs a ring for each interface;
// `pci::transport`, which decides at run time, is for little-endian guests.
using small_ring = split_queue<8>;
using ring_with_tables = split_queue<64, virtio::ring_options{.indirect = 18}>;
using large_ring = split_queue<256>;
using small_native_ring = split_queue<8, virtio::ring_options{.order = native_order}>;
using native_ring_with_tables = split_queue<64, virtio::ring_options{.indirect = 18, .order = native_order}>;
using native_ring_of_the_device = split_queue<16, virtio::ring_options{.ring_entries = 1024, .order = native_order}>;

constexpr virtio::console::limits one_port{.name_bytes = 8},
    some_ports{.ports = 3, .receive_bytes = 64, .send_bytes = 64};
constexpr virtio::scsi::options few_units{.segments = 4, .units = 12};
constexpr virtio::net::options few_frames{.receive_buffers = 8, .receive_bytes = 500, .send_buffers = 4};
constexpr virtio::vsock::limits few_sockets{
    .connections = 3, .receive_buffer = 4096, .send_packets = 2, .messages = true};

// The templates in the classes, which explicit instantiation omits.
template <class T>
virtio::u64 all_fields(T& transport) {
  virtio::u64 sum = transport.template config<virtio::u8>(0).value_or(0);
  sum += transport.template config<virtio::u16, virtio::by_byte>(0).value_or(0);
  sum += transport.template config<virtio::u32, virtio::by_dword>(0).value_or(0);
  sum += transport.template config<virtio::u64>(0).value_or(0);
  sum += transport.template config<virtio::u64, virtio::by_byte>(3).value_or(0);
  sum += transport.template config<virtio::u64, virtio::by_dword>(3).value_or(0);
  bool good = bool{transport.template config_write<virtio::u8>(0, 1)};
  good = good && transport.template config_write<virtio::u16, virtio::by_byte>(0, 1);
  good = good && transport.template config_write<virtio::u32, virtio::by_dword>(0, 1);
  good = good && transport.template config_write<virtio::u64>(0, 1);
  good = good && transport.template config_write<virtio::u64, virtio::by_dword>(3, 1);
  return good ? sum : 0;
}

template <class Disk>
virtio::usize all_of_a_disk(Disk& disk) {
  virtio::u64 sum = 0;
  virtio::usize count = disk.poll([&](const virtio::blk::done& one) { sum += one.cookie; });
  if (disk.drain([&](const virtio::blk::done& one) { sum += one.cookie; })) ++count;
  return count + static_cast<virtio::usize>(sum);
}

template <class Sockets>
virtio::errc all_of_sockets(Sockets& sockets, virtio::bytes into) {
  virtio::vsock::socket last;
  VIRTIO_TRY(sockets.poll([&](const virtio::vsock::event& one) { last = one.which; }));
  VIRTIO_TRY(sockets.receive_with(last, [](virtio::const_bytes bytes) { return bytes.size() / 2; }));
  VIRTIO_TRY_ASSIGN(auto stream, sockets.connect({virtio::vsock::host_cid, 1}));
  sockets.tick({.connecting = 1, .closing = 2, .idle = 3});
  VIRTIO_TRY(sockets.probe(last));
  VIRTIO_TRY(stream.send(into));
  VIRTIO_TRY(stream.receive_all(into));
  VIRTIO_TRY(stream.send_message(into));
  VIRTIO_TRY(stream.receive_message(into));
  return stream.close().error();
}

template <class Balloon>
virtio::errc all_of_a_balloon(Balloon& balloon, virtio::bytes memory) {
  const auto page = [](virtio::u32& number) { return number++ < 100; };
  VIRTIO_TRY(balloon.follow(page, page));
  const auto hinted = balloon.hint([&](virtio::bytes& stretch) { return stretch = memory, true; });
  balloon.initialize(memory);
  return hinted.error();
}

template <class Host>
virtio::errc all_of_a_host(Host& host, virtio::bytes into) {
  virtio::scsi::unit<Host> unit{};
  static_assert(virtio::block_storage<virtio::scsi::unit<Host>>);
  VIRTIO_TRY(host.scan([&](const virtio::scsi::found& one) { (void)unit.open(host, one.where); }));
  const virtio::bytes pieces[] = {into, into};
  VIRTIO_TRY(unit.submit_read(0, virtio::scatter<virtio::bytes>{pieces}));
  VIRTIO_TRY(unit.submit_discard(virtio::extent{.sector = 0, .count = 8}));
  if (const auto serial = host.get_serial({}, into); !serial) return serial.error();
  return unit.drain([](const virtio::scsi::done&) {}).error();
}

template <class Console>
virtio::errc all_of_a_console(Console& console, virtio::bytes into) {
  const auto done = [&] { return console.find_named(into).has_value(); };
  if (const virtio::errc waited = console.wait_until(virtio::waiting::connect, done); waited != virtio::errc::ok)
    return waited;
  return console.receive_with([](virtio::const_bytes here) { return here.size() / 2; }, console.port_count()).error();
}

template <class Card>
virtio::errc all_of_a_card(Card& card, virtio::bytes into) {
  const virtio::const_bytes pieces[] = {into, into};
  VIRTIO_TRY(card.try_send(pieces, {.start = 34, .offset = 16}));
  const auto done = [&] { return card.state() == virtio::net::link_state::up; };
  if (const virtio::errc waited = card.wait_until(virtio::waiting::peer, done); waited != virtio::errc::ok)
    return waited;
  return card
      .receive_with([&](const virtio::net::frame& one) {
        return one.copy_to(0, into) == 0 ? virtio::net::after_look::keep : virtio::net::after_look::done;
      })
      .error();
}

template <class Board, class Disk>
virtio::errc all_of_discovery(const Board& board, Disk& disk, virtio::dma_region storage) {
  static constexpr virtio::pci::id_row rows[] = {{0x0b5d, 0x0777, virtio::device_type::vmmci}};
  virtio::usize usable = 0;
  virtio::pci::for_each(board, [&](const auto& one) { usable += one.seen.why == virtio::verdict::usable; }, rows);
  VIRTIO_TRY_ASSIGN(const auto where, virtio::pci::find(board, virtio::device_type::block));
  VIRTIO_TRY_ASSIGN(const auto other, virtio::pci::find_nth(board, virtio::device_type::entropy, usable, rows));
  if (other.id == where.id) return virtio::errc::ambiguous;
  if (const auto up = disk.start(board, where, storage); !up) return up.error();
  return virtio::blk::start_by_serial(disk, board, board, virtio::text("serial"), storage, rows).error();
}

// One driver: all its members, and an object without constructor and destructor calls.
#define OBJECT(name, ...)                                             \
  template class __VA_ARGS__;                                         \
  static_assert(virtio::detail::trivially_destructible<__VA_ARGS__>); \
  constinit __VA_ARGS__ name

// The inherited calls of a driver, too: an instantiation omits base classes.
#define DISK_OBJECT(name, ...)                                           \
  template class virtio::blk::extras<__VA_ARGS__>;                       \
  template class virtio::request_driver<__VA_ARGS__, virtio::blk::done>; \
  OBJECT(name, __VA_ARGS__)
#define ENTROPY_OBJECT(name, ...)                                        \
  template class virtio::request_driver<__VA_ARGS__, virtio::rng::done>; \
  OBJECT(name, __VA_ARGS__)

#define DISK(name, board, transport, queue)                               \
  DISK_OBJECT(name##_disk, virtio::blk::device<board, transport, queue>); \
  template virtio::usize all_of_a_disk(virtio::blk::device<board, transport, queue>&)
#define HOST(name, board, transport, queue)                                                                            \
  template class virtio::request_driver<virtio::scsi::device<board, transport, queue, few_units>, virtio::scsi::done>; \
  OBJECT(name##_host, virtio::scsi::device<board, transport, queue, few_units>);                                       \
  template class virtio::scsi::reader<virtio::scsi::device<board, transport, queue, few_units>>;                       \
  template class virtio::scsi::unit<virtio::scsi::device<board, transport, queue, few_units>>;                         \
  template virtio::errc all_of_a_host(virtio::scsi::device<board, transport, queue, few_units>&, virtio::bytes)
#define CONSOLE(name, ...)   \
  OBJECT(name, __VA_ARGS__); \
  template virtio::errc all_of_a_console(__VA_ARGS__&, virtio::bytes)
#define SMALL(name, board, transport, queue)                                                                \
  ENTROPY_OBJECT(name##_entropy, virtio::rng::device<board, transport, queue>);                             \
  HOST(name, board, transport, queue);                                                                      \
  OBJECT(name##_balloon, virtio::balloon::device<board, transport, queue>);                                 \
  template virtio::errc all_of_a_balloon(virtio::balloon::device<board, transport, queue>&, virtio::bytes); \
  CONSOLE(name##_console, virtio::console::device<board, transport, queue, one_port>);                      \
  CONSOLE(name##_ports, virtio::console::device<board, transport, queue, some_ports>);                      \
  OBJECT(name##_card, virtio::net::device<board, transport, queue, few_frames>);                            \
  static_assert(virtio::net::link<virtio::net::device<board, transport, queue, few_frames>>);               \
  template virtio::errc all_of_a_card(virtio::net::device<board, transport, queue, few_frames>&, virtio::bytes)
#define SOCKETS(name, board, transport, queue)                                         \
  OBJECT(name##_sockets, virtio::vsock::device<board, transport, queue, few_sockets>); \
  template virtio::errc all_of_sockets(virtio::vsock::device<board, transport, queue, few_sockets>&, virtio::bytes)
#define DRIVERS(...)  \
  DISK(__VA_ARGS__);  \
  SMALL(__VA_ARGS__); \
  SOCKETS(__VA_ARGS__)

// The drivers of boards of the first, second and third kind, and whether anything else has its turn.
#if !defined(TURN)
#define IN_TURN(n) 1
#define FIRST DRIVERS
#define SECOND DRIVERS
#define THIRD DRIVERS
#else
#if defined(EVERY_COMBINATION)
#define IN_TURN(n) 1
#else
#define IN_TURN(n) (TURN == (n))
#endif
#if TURN == 0
#define FIRST DISK
#define SECOND SMALL
#define THIRD SOCKETS
#elif TURN == 1
#define FIRST SMALL
#define SECOND SOCKETS
#define THIRD DISK
#elif TURN == 2
#define FIRST SOCKETS
#define SECOND DISK
#define THIRD SMALL
#else
#error "there are three turns"
#endif
#endif

#define TRANSPORT(board, ...)                               \
  template class __VA_ARGS__;                               \
  static_assert(virtio::transport<__VA_ARGS__>);            \
  template virtio::u64 all_fields(__VA_ARGS__&);            \
  template class virtio::vmmci::device<board, __VA_ARGS__>; \
  template class virtio::session<board, __VA_ARGS__>

template <class Board>
using modern = virtio::pci::modern<Board>;
template <class Board>
using legacy = virtio::pci::legacy<Board>;

#define BOARD(A, B, C, name, ...)                                                                                  \
  A(name##_modern_small, __VA_ARGS__, modern<__VA_ARGS__>, small_ring);                                            \
  B(name##_modern_tables, __VA_ARGS__, modern<__VA_ARGS__>, ring_with_tables);                                     \
  C(name##_modern_large, __VA_ARGS__, modern<__VA_ARGS__>, large_ring);                                            \
  B(name##_legacy_small, __VA_ARGS__, legacy<__VA_ARGS__>, small_native_ring);                                     \
  C(name##_legacy_tables, __VA_ARGS__, legacy<__VA_ARGS__>, native_ring_with_tables);                              \
  A(name##_legacy_fixed, __VA_ARGS__, legacy<__VA_ARGS__>, native_ring_of_the_device);                             \
  TRANSPORT(__VA_ARGS__, virtio::pci::modern<__VA_ARGS__>);                                                        \
  TRANSPORT(__VA_ARGS__, virtio::pci::modern<__VA_ARGS__, virtio::by_byte>);                                       \
  TRANSPORT(__VA_ARGS__, virtio::pci::legacy<__VA_ARGS__>);                                                        \
  TRANSPORT(__VA_ARGS__, virtio::pci::legacy<__VA_ARGS__, virtio::by_dword>);                                      \
  template virtio::errc all_of_discovery(                                                                          \
      const __VA_ARGS__&, virtio::blk::device<__VA_ARGS__, modern<__VA_ARGS__>, small_ring>&, virtio::dma_region); \
  EITHER_TRANSPORT(A, B, C, name, __VA_ARGS__)

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
template <class Board>
using either = virtio::pci::transport<Board>;
#define EITHER_TRANSPORT(A, B, C, name, ...)                                           \
  C(name##_either_small, __VA_ARGS__, either<__VA_ARGS__>, small_ring);                \
  A(name##_either_tables, __VA_ARGS__, either<__VA_ARGS__>, ring_with_tables);         \
  B(name##_either_fixed, __VA_ARGS__, either<__VA_ARGS__>, native_ring_of_the_device); \
  TRANSPORT(__VA_ARGS__, virtio::pci::transport<__VA_ARGS__>);                         \
  TRANSPORT(__VA_ARGS__, virtio::pci::transport<__VA_ARGS__, virtio::by_dword>)
#else
#define EITHER_TRANSPORT(A, B, C, name, ...) static_assert(native_order == virtio::byte_order::big)
#endif

// The rings, on both sets of barriers.
#define RING(...)                                                       \
  template class virtio::split_ring<__VA_ARGS__, virtio::smp_barriers>; \
  template class virtio::split_ring<__VA_ARGS__, virtio::dma_barriers>
#if IN_TURN(0)
RING(1, virtio::ring_options{});
RING(32768, virtio::ring_options{});
#endif
#if IN_TURN(1)
constexpr virtio::ring_options little{.indirect = 4, .order = virtio::byte_order::little};
RING(8, little);
#endif
#if IN_TURN(2)
constexpr virtio::ring_options big{.indirect = 4, .order = virtio::byte_order::big};
RING(8, big);
#endif

#if defined(EVERY_COMBINATION)

#if defined(__x86_64__) || defined(__i386__)
BOARD(FIRST, SECOND, THIRD, ports, boards::ports);
#endif
BOARD(SECOND, THIRD, FIRST, paged, boards::paged);
BOARD(THIRD, FIRST, SECOND, high, boards::high);
BOARD(FIRST, SECOND, THIRD, low_reach, boards::low_reach);
BOARD(SECOND, THIRD, FIRST, bouncing, boards::bouncing);
BOARD(THIRD, FIRST, SECOND, bus, boards::bus);
BOARD(FIRST, SECOND, THIRD, uefi, boards::uefi);
BOARD(SECOND, THIRD, FIRST, sleeping, boards::sleeping);

#else

#if defined(__x86_64__) || defined(__i386__)
FIRST(ports, boards::ports, either<boards::ports>, large_ring);
#if IN_TURN(1)
TRANSPORT(boards::ports, virtio::pci::transport<boards::ports>);
#endif
#endif
SECOND(paged, boards::paged, legacy<boards::paged>, native_ring_of_the_device);
THIRD(high, boards::high, modern<boards::high>, large_ring);
FIRST(low_reach, boards::low_reach, modern<boards::low_reach>, small_ring);
SECOND(bouncing, boards::bouncing, modern<boards::bouncing>, ring_with_tables);
THIRD(bus, boards::bus, legacy<boards::bus>, native_ring_with_tables);
FIRST(uefi, boards::uefi, modern<boards::uefi>, small_ring);
SECOND(sleeping, boards::sleeping, modern<boards::sleeping>, small_ring);
#if IN_TURN(0)
TRANSPORT(boards::uefi, virtio::pci::modern<boards::uefi>);
template virtio::errc all_of_discovery(
    const boards::bouncing&, virtio::blk::device<boards::bouncing, modern<boards::bouncing>, ring_with_tables>&,
    virtio::dma_region);
#endif
#if IN_TURN(2)
TRANSPORT(boards::bus, virtio::pci::legacy<boards::bus, virtio::by_dword>);
#endif
#if IN_TURN(1)
template virtio::errc all_of_discovery(const boards::uefi&,
                                       virtio::blk::device<boards::uefi, modern<boards::uefi>, small_ring>&,
                                       virtio::dma_region);
#endif

#endif

// Devices in MMIO slots.
template <class Bus>
using mmio_modern = virtio::mmio::modern<Bus>;
template <class Bus>
using mmio_legacy = virtio::mmio::legacy<Bus>;
#define MMIO_TRANSPORT(board, which, ...) \
  TRANSPORT(board, virtio::mmio::registers_transport<board, virtio::mmio::versions::which __VA_OPT__(, ) __VA_ARGS__>)

template <class Board, class Disk>
virtio::errc all_of_the_slots(const Board& board, Disk& disk, virtio::dma_region storage) {
  virtio::usize usable = 0;
  virtio::mmio::for_each(board, [&](const auto& one) { usable += one.seen.why == virtio::verdict::usable; });
  VIRTIO_TRY_ASSIGN(const auto where, virtio::mmio::find(board, virtio::device_type::block));
  VIRTIO_TRY_ASSIGN(const auto other, virtio::mmio::find_nth(board, virtio::device_type::entropy, usable));
  if (other.slot == where.slot) return virtio::errc::ambiguous;
  if (const auto up = disk.start(board, where, storage); !up) return up.error();
  return virtio::blk::start_by_serial(disk, board, board, virtio::text("serial"), storage).error();
}

THIRD(row_modern, boards::row, mmio_modern<boards::row>, small_ring);
FIRST(row_legacy, boards::row, mmio_legacy<boards::row>, native_ring_with_tables);
#if IN_TURN(2)
MMIO_TRANSPORT(boards::row, modern);
template virtio::errc all_of_the_slots(const boards::row&,
                                       virtio::blk::device<boards::row, mmio_modern<boards::row>, small_ring>&,
                                       virtio::dma_region);
#endif
#if IN_TURN(0)
MMIO_TRANSPORT(boards::row, legacy, virtio::by_dword);
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
template <class Bus>
using mmio_either = virtio::mmio::transport<Bus>;
SECOND(row_either, boards::row, mmio_either<boards::row>, large_ring);
#if IN_TURN(1)
MMIO_TRANSPORT(boards::row, either);
MMIO_TRANSPORT(boards::row, either, virtio::by_byte);
#endif
#endif

// A platform and a host that are two objects.
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && IN_TURN(0)
DISK_OBJECT(apart_disk,
            virtio::blk::device<virtio::identity_platform<>, virtio::pci::transport<virtio::pci::ecam>, large_ring>);
#endif
#if IN_TURN(1)
OBJECT(apart_entropy, virtio::rng::device<virtio::identity_platform<virtio::dma_barriers, 1000>,
                                          virtio::pci::modern<virtio::pci::cam, virtio::by_dword>, small_ring>);
#endif
// A board with the profile of its host.
#if IN_TURN(1)
using profiled_board = virtio::pci::profiled<boards::paged>;
template profiled_board virtio::pci::detected(const boards::paged&);
ENTROPY_OBJECT(profiled_entropy, virtio::rng::device<boards::paged, modern<profiled_board>, small_ring>);
TRANSPORT(boards::paged, virtio::pci::legacy<profiled_board>);
constinit virtio::vmmci::device<boards::paged, virtio::pci::legacy<profiled_board>> profiled_control;
#endif
using one_piece =
    virtio::blk::device<boards::paged, modern<boards::paged>, small_ring, virtio::blk::options{.segments = 1}>;
#if IN_TURN(2)
DISK_OBJECT(one_piece_disk,
            virtio::blk::device<boards::paged, modern<boards::paged>, small_ring, virtio::blk::options{.segments = 1}>);
#endif

// A platform that needs no unmap has no memory for mappings.
static_assert(sizeof(virtio::blk::device<boards::bouncing, modern<boards::bouncing>, small_ring>) >
              sizeof(virtio::blk::device<boards::paged, modern<boards::paged>, small_ring>));
constinit virtio::dma_storage<one_piece::dma_bytes> some_storage;
