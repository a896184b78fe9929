// SPDX-License-Identifier: MIT
// The only C++ file of a firmware in C: the drivers' types, their memory, and a C function for each call.
// With -ffunction-sections, -fdata-sections and --gc-sections, the linker drops drivers that the C files never start.
#include "drivers.h"

#include <virtio/blk.hpp>
#include <virtio/console.hpp>
#include <virtio/rng.hpp>
#include <virtio/vsock.hpp>

#include "board.hpp"  // the machine: memory, waits, and `bus`, which is virtio::pci or virtio::mmio

namespace {

using virtio::errc;
using virtio::u32;
using virtio::usize;

// A type in the unnamed namespace: compilers then emit no unused out-of-line copies of inlined functions.
struct machine : board {};

// Each call has one request in flight. Legacy devices set the ring size: up to 256 entries on QEMU.
using ring = virtio::split_queue<16, virtio::ring_options{.ring_entries = 256}>;
using transport = bus::transport<machine>;
using disk_t = virtio::blk::device<machine, transport, ring, virtio::blk::options{.segments = 1}>;
using entropy_t = virtio::rng::device<machine, transport, ring>;
using console_t = virtio::console::device<machine, transport, ring>;
using vsock_t = virtio::vsock::device<
    machine, transport, virtio::split_queue<8>,
    virtio::vsock::limits{
        .connections = 2, .listeners = 1, .receive_packet = 2048, .receive_buffer = 8192, .send_packets = 2}>;

// All memory that devices may access, except the callers' buffers.
constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;
constinit virtio::dma_storage<entropy_t::dma_bytes> entropy_dma;
constinit virtio::dma_storage<console_t::dma_bytes> console_dma;
constinit virtio::dma_storage<vsock_t::dma_bytes> vsock_dma;
alignas(32) constinit virtio::u8 serial_number[virtio::blk::id_bytes];

constinit disk_t disk;
constinit entropy_t entropy;
constinit console_t console;
constinit vsock_t sockets;
constinit virtio::report last_start;
using stop_call = virtio_status (*)();
constinit stop_call to_stop[4];  // set by each start: a direct call would link the drivers that are never started

enum place : unsigned { at_console, at_vsock, at_entropy, at_disk };

constexpr bool same(int status, errc error) { return status == static_cast<int>(error); }
static_assert(same(VIRTIO_OK, errc::ok) && same(VIRTIO_NOT_READY, errc::not_ready) &&
              same(VIRTIO_INVALID_ARGUMENT, errc::invalid_argument) && same(VIRTIO_MISALIGNED, errc::misaligned) &&
              same(VIRTIO_OUT_OF_RANGE, errc::out_of_range) && same(VIRTIO_READ_ONLY, errc::read_only) &&
              same(VIRTIO_STALE_HANDLE, errc::stale_handle) && same(VIRTIO_NO_SPACE, errc::no_space) &&
              same(VIRTIO_NOT_STARTED, errc::not_started) && same(VIRTIO_NOT_FOUND, errc::not_found) &&
              same(VIRTIO_UNSUPPORTED, errc::unsupported) && same(VIRTIO_IO_ERROR, errc::io_error) &&
              same(VIRTIO_TIMED_OUT, errc::timed_out) && same(VIRTIO_REFUSED, errc::refused) &&
              same(VIRTIO_PEER_SILENT, errc::peer_silent) && same(VIRTIO_PEER_CLOSED, errc::peer_closed) &&
              same(VIRTIO_PEER_RESET, errc::peer_reset) && same(VIRTIO_DEVICE_BROKEN, errc::device_broken) &&
              VIRTIO_HOST_CID == virtio::vsock::host_cid);

virtio_status status_of(errc error) { return static_cast<virtio_status>(error); }
virtio_status status_of(virtio::result<void> what) { return status_of(what.error()); }

template <class Device, class... More>
virtio_status start(Device& device, place at, stop_call stop, virtio::device_type type, usize number,
                    virtio::dma_region storage, const More&... more) {
  last_start = {};
  const auto where = bus::find_nth(machine{}, type, number);
  if (!where) return status_of(where.error());
  to_stop[at] = stop;
  const auto up = device.start(machine{}, *where, storage, more...);
  if (!up) last_start = device.why();
  return status_of(up);
}

// A device that is down already needs no hand-off.
template <class Device>
virtio_status quiet(Device& device) {
  const errc done = device.hand_off().error();
  return done == errc::not_started ? VIRTIO_OK : status_of(done);
}

/// Checks the arguments of a receiving call, makes it, and stores the number of bytes.
template <class Call>
virtio_status count_into(size_t* got, const void* to, size_t room, Call&& call) {
  if (got == nullptr) return VIRTIO_INVALID_ARGUMENT;
  *got = 0;
  if (to == nullptr || room == 0) return VIRTIO_INVALID_ARGUMENT;
  const virtio::result<usize> count = call();
  if (count) *got = *count;
  return status_of(count.error());
}

virtio_status transfer(const void* memory, size_t count, auto&& call) {
  if (memory == nullptr && count != 0) return VIRTIO_INVALID_ARGUMENT;
  if (count > ~size_t{0} / virtio::sector_bytes) return VIRTIO_OUT_OF_RANGE;
  return status_of(call(count * virtio::sector_bytes));
}

// Truncating an invalid slot could give a valid one.
virtio::vsock::socket socket_of(virtio_socket which) {
  if (which.slot > 0xffff) return {};
  return {static_cast<virtio::u16>(which.slot), which.generation};
}

class text_out {
 public:
  text_out(virtio_print* print, void* context) : print_{print}, context_{context} {}

  void put(const char* text) const { print_(context_, text); }
  void put(u32 value, unsigned base, unsigned least = 1) const { digits(value, base, least); }
  void put_hex(virtio::u64 value) const {
    put("0x");
    const u32 high = static_cast<u32>(value >> 32);
    if (high != 0) digits(high, 16, 1);
    digits(static_cast<u32>(value), 16, high != 0 ? 8 : 1);
  }

 private:
  void digits(u32 value, unsigned base, unsigned least) const {
    char text[11];
    char* first = text + sizeof text - 1;
    *first = '\0';
    do {
      *--first = "0123456789abcdef"[value % base];
      value /= base;
    } while (value != 0 || first + least > text + sizeof text - 1);
    put(first);
  }

  virtio_print* print_;
  void* context_;
};

/// Prints a device's type, its verdict, and the numbers that belong to the verdict.
void print_report(const text_out& out, const virtio::report& seen) {
  using virtio::verdict;
  out.put(virtio::name(seen.type));
  out.put(" (type ");
  out.put(static_cast<u32>(seen.type), 10);
  out.put(")");
  if (seen.via != virtio::transport_kind::none) {
    out.put(", ");
    out.put(virtio::name(seen.via));
  }
  out.put(": ");
  out.put(virtio::describe(seen.why));
  if (seen.why != verdict::usable && seen.why != verdict::bound) {
    const bool has_bar = seen.bar_address != 0 || seen.bar_size != 0;
    if (has_bar) {
      out.put("\n  BAR ");
      out.put(seen.bar, 10);
      out.put(": ");
      out.put_hex(seen.bar_size);
      out.put(" bytes, at ");
      out.put_hex(seen.bar_address);
    }
    if (seen.why == verdict::feature_missing || seen.why == verdict::feature_unsupported) {
      out.put("\n  feature bit ");
      out.put(seen.feature, 10);
    }
    if ((seen.wanted != 0 || seen.available != 0) && (!has_bar || seen.why == verdict::bar_too_small)) {
      out.put("\n  wanted ");
      out.put(seen.wanted, 10);
      out.put(", there ");
      out.put(seen.available, 10);
    }
    out.put("\n  what to do: ");
    out.put(virtio::advice(seen.why));
  }
  out.put("\n");
}

}  // namespace

const char* virtio_error(virtio_status why) {
  return why < 0 || why > 0xff ? "unknown error" : virtio::describe(static_cast<errc>(why));
}

virtio_status virtio_disk_start(unsigned number) {
  return start(disk, at_disk, virtio_disk_stop, virtio::device_type::block, number, disk_dma);
}
uint64_t virtio_disk_sectors() { return disk.capacity(); }
uint32_t virtio_disk_block_size() { return disk.capacity() != 0 ? disk.block_size() : 0; }
int virtio_disk_is_read_only() { return disk.capacity() != 0 && disk.is_read_only(); }
virtio_status virtio_disk_serial(char* to, size_t room) {
  if (to == nullptr) return VIRTIO_INVALID_ARGUMENT;
  if (room <= virtio::blk::id_bytes) return VIRTIO_NO_SPACE;
  const auto got = disk.get_id(serial_number);
  usize length = 0;
  for (; got && length < virtio::blk::id_bytes && serial_number[length] != 0; ++length)
    to[length] = static_cast<char>(serial_number[length]);
  to[length] = '\0';
  return status_of(got);
}
virtio_status virtio_disk_read(uint64_t sector, void* to, size_t count) {
  return transfer(to, count, [&](usize size) { return disk.read(sector, virtio::bytes{to, size}); });
}
virtio_status virtio_disk_write(uint64_t sector, const void* from, size_t count) {
  return transfer(from, count, [&](usize size) { return disk.write(sector, virtio::const_bytes{from, size}); });
}
virtio_status virtio_disk_flush() { return status_of(disk.flush()); }
virtio_status virtio_disk_stop() { return quiet(disk); }

virtio_status virtio_entropy_start() {
  return start(entropy, at_entropy, virtio_entropy_stop, virtio::device_type::entropy, 0, entropy_dma);
}
virtio_status virtio_entropy_fill(void* to, size_t size) {
  if (to == nullptr && size != 0) return VIRTIO_INVALID_ARGUMENT;
  return status_of(entropy.fill(virtio::bytes{to, size}));
}
virtio_status virtio_entropy_stop() { return quiet(entropy); }

virtio_status virtio_console_start() {
  return start(console, at_console, virtio_console_stop, virtio::device_type::console, 0, console_dma);
}
virtio_status virtio_console_put(const void* from, size_t size) {
  if (from == nullptr && size != 0) return VIRTIO_INVALID_ARGUMENT;
  const auto taken = console.send(virtio::const_bytes{from, size});
  if (!taken) return status_of(taken.error());
  return *taken == size ? VIRTIO_OK : VIRTIO_PEER_SILENT;
}
virtio_status virtio_console_get(void* to, size_t room, size_t* got) {
  return count_into(got, to, room, [&] { return console.receive(virtio::bytes{to, room}); });
}
virtio_status virtio_console_try_get(void* to, size_t room, size_t* got) {
  return count_into(got, to, room, [&] { return console.try_receive(virtio::bytes{to, room}); });
}
virtio_status virtio_console_stop() {
  const errc taken = console.flush().error();
  const virtio_status down = quiet(console);
  return down == VIRTIO_OK && taken == errc::peer_silent ? VIRTIO_PEER_SILENT : down;
}

virtio_status virtio_vsock_start(uint64_t seed) {
  return start(sockets, at_vsock, virtio_vsock_stop, virtio::device_type::vsock, 0, vsock_dma,
               virtio::vsock::seed{seed});
}
uint32_t virtio_vsock_cid() { return sockets.cid(); }
virtio_status virtio_vsock_connect(uint32_t cid, uint32_t port, virtio_socket* made) {
  if (made == nullptr) return VIRTIO_INVALID_ARGUMENT;
  *made = {};
  const auto peer = sockets.connect({cid, port});
  if (peer) *made = {peer->id().slot, peer->id().generation};
  return status_of(peer.error());
}
virtio_status virtio_vsock_send(virtio_socket to, const void* from, size_t size) {
  if (from == nullptr && size != 0) return VIRTIO_INVALID_ARGUMENT;
  vsock_t::stream_type stream{sockets, socket_of(to)};
  return status_of(stream.send(virtio::const_bytes{from, size}).and_then([&] { return stream.flush(); }));
}
virtio_status virtio_vsock_receive(virtio_socket from, void* to, size_t room, size_t* got) {
  return count_into(got, to, room,
                    [&] { return vsock_t::stream_type{sockets, socket_of(from)}.receive(virtio::bytes{to, room}); });
}
virtio_status virtio_vsock_try_receive(virtio_socket from, void* to, size_t room, size_t* got) {
  return count_into(got, to, room, [&] {
    const auto polled = sockets.poll([](const virtio::vsock::event&) {});
    return polled ? sockets.try_receive(socket_of(from), virtio::bytes{to, room})
                  : virtio::result<usize>{polled.error()};
  });
}
virtio_status virtio_vsock_close(virtio_socket which) { return status_of(sockets.close_and_wait(socket_of(which))); }
virtio_status virtio_vsock_stop() { return quiet(sockets); }

virtio_status virtio_stop_all() {
  virtio_status first = VIRTIO_OK;
  for (const stop_call stop : to_stop)
    if (const virtio_status down = stop != nullptr ? stop() : VIRTIO_OK; first == VIRTIO_OK) first = down;
  return first;
}

void virtio_list(virtio_print* print, void* context) {
  if (print == nullptr) return;
  const text_out out{print, context};
  bus::for_each(machine{}, [&](const auto& one) {
    if (!virtio::is_virtio(one.seen.why)) return;
    if constexpr (requires { one.slot; }) {
      out.put("slot ");
      out.put(static_cast<u32>(one.slot), 10);
    } else {
      out.put(one.id.bus, 16, 2);
      out.put(":");
      out.put(one.id.slot, 16, 2);
      out.put(".");
      out.put(one.id.function, 10);
    }
    out.put("  ");
    print_report(out, one.seen);
  });
}

void virtio_why(virtio_print* print, void* context) {
  if (print == nullptr || last_start.why == virtio::verdict::undecided) return;
  print_report(text_out{print, context}, last_start);
}
