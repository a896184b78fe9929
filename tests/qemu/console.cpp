// SPDX-License-Identifier: MIT
// A guest with a console: it sends the host as many bytes as requested, checks the same number in return, and writes in
// an emergency. console_cells.py is the host.
#include <virtio/console.hpp>

#include "guest.hpp"

namespace {

using namespace cell;
namespace console = virtio::console;

// QEMU's ports have rings of 128 entries, and its legacy devices require that size.
using ring = virtio::queue<16, virtio::ring_options{.ring_entries = 128}>;
using place = bus::found<board>;
template <u16 Ports>
using driver = console::device<
    board, bus::transport<board>, ring,
    console::limits{
        .ports = Ports, .receive_buffers = 16, .receive_bytes = 4096, .send_buffers = 16, .send_bytes = 4096}>;

constexpr u32 window = 32768;  // bytes in flight: QEMU drops what its console cannot write at once
constinit u32 crc_table[256]{};

void make_crc_table() {
  for (u32 i = 0; i < 256; ++i) {
    u32 value = i;
    for (int bit = 0; bit < 8; ++bit) value = value & 1 ? value >> 1 ^ 0xedb88320 : value >> 1;
    crc_table[i] = value;
  }
}

// zlib's crc32, over several calls.
u32 crc(u32 before, const_bytes data) {
  u32 value = ~before;
  for (usize i = 0; i < data.size(); ++i) value = value >> 8 ^ crc_table[(value ^ data.data()[i]) & 255];
  return ~value;
}

template <class Console>
void receive_all(Console& device, bytes into, u16 port) {
  while (!into.empty()) {
    const auto got = device.receive(into, port);
    CHECK_OK(got);
    into = into.part(*got, into.size());
  }
}
template <class Console>
u32 receive_number(Console& device, u16 port) {
  u8 raw[4];
  receive_all(device, raw, port);
  return raw[0] | u32{raw[1]} << 8 | u32{raw[2]} << 16 | u32{raw[3]} << 24;
}
template <class Console>
void send_number(Console& device, u32 number, u16 port) {
  const u8 raw[] = {static_cast<u8>(number), static_cast<u8>(number >> 8), static_cast<u8>(number >> 16),
                    static_cast<u8>(number >> 24)};
  CHECK_EQUAL(*device.send(raw, port), usize{4});
}

/// The host sends the number of bytes; this many are sent and, with their checksums, returned.
template <class Console>
void exchange(Console& device, u16 port) {
  static u8 data[window];
  const u32 amount = receive_number(device, port);
  u32 sum = 0;
  for (u32 done = 0; done < amount;) {
    const bytes part{data, virtio::detail::smaller(window, amount - done)};
    for (usize i = 0; i < part.size(); i += 8) {
      const u64 word = cell::random();
      __builtin_memcpy(data + i, &word, virtio::detail::smaller(usize{8}, part.size() - i));
    }
    sum = crc(sum, part);
    CHECK_EQUAL(*device.send(part, port), part.size());
    done += static_cast<u32>(part.size());
    CHECK_EQUAL(receive_number(device, port), done);
  }
  send_number(device, sum, port);

  sum = 0;
  for (u32 left = amount; left != 0;) {
    const auto got = device.receive(bytes{data, virtio::detail::smaller(window, left)}, port);
    CHECK_OK(got);
    sum = crc(sum, {data, *got});
    left -= static_cast<u32>(*got);
  }
  CHECK_EQUAL(receive_number(device, port), sum);
  send_number(device, ~sum, port);
  CHECK_OK(device.flush(port));
  boot::print("port ", port, ": ", amount, " bytes each way\n");
}

/// The host does not read until it receives, on the console, that the port is full.
template <class Console>
void fill_up(Console& device, u16 port) {
  static u8 data[window];
  for (u8& one : data) one = static_cast<u8>(cell::random());
  bool is_full = false;
  u32 sum = 0;
  for (u32 block = 0; block < 32; ++block) {
    sum = crc(sum, data);
    for (const_bytes rest{data}; !rest.empty();) {
      const auto taken = is_full ? device.send(rest, port) : device.try_send(rest, port);
      if (taken) {
        rest = rest.part(*taken, rest.size());
        continue;
      }
      CHECK_ERROR(taken, errc::queue_full);
      is_full = true;
      send_number(device, block, 0);
    }
  }
  CHECK(is_full);
  send_number(device, sum, port);
  CHECK_OK(device.flush(port));
}

template <u16 Ports>
driver<Ports>& start(const place& where) {
  static constinit driver<Ports> device{};
  static constinit virtio::dma_storage<driver<Ports>::dma_bytes> storage{};
  if (const auto up = device.start(board{}, where, storage); !up)
    boot::exit(board::fail("start", up.error(), device.why()));
  boot::print("up with ", boot::hex(u64{device.features().word(1)} << 32 | device.features().word(0)), "\n");
  return device;
}

void one_port(const place& where) {
  CHECK_OK(driver<1>::emergency_write(where, virtio::text("early")));
  auto& device = start<1>(where);
  exchange(device, 0);
  CHECK_OK(driver<1>::emergency_write(where, virtio::text("emergency")));
  exchange(device, 0);
  CHECK_OK(device.hand_off());
}

template <class Device>
u16 wait_for(Device& device, virtio::const_bytes name) {
  virtio::result<u16> found = errc::not_found;
  CHECK(device.wait_until(virtio::waiting::request, [&] {
    return (found = device.find_named(name)) && device.facts(*found).host_is_open;
  }) == errc::ok);
  return *found;
}

void several_ports(const place& where) {
  auto& device = start<4>(where);
  const u16 echo = wait_for(device, virtio::text("org.example.echo"));
  const u16 other = wait_for(device, virtio::text("a name that is longer than what "));  // 32 characters of it
  CHECK(!device.facts(echo).is_console);
  CHECK(device.facts(0).is_console);
  CHECK_OK(device.open(echo));
  exchange(device, echo);
  exchange(device, 0);
  fill_up(device, echo);
  boot::print("take port ", other, "\n");
  CHECK(device.wait_until(virtio::waiting::request, [&] { return !device.facts(other).is_present; }) == errc::ok);
  boot::print("it is gone\n");
  const u16 back = wait_for(device, virtio::text("again"));
  CHECK_EQUAL(back, other);
  CHECK_OK(device.open(back));
  exchange(device, back);
  CHECK_OK(device.close(back));
  CHECK_OK(device.hand_off());
}

}  // namespace

extern "C" int guest_main(const char*) {
  make_crc_table();
  const auto where = bus::find(board{}, device_type::console);
  if (!where) return board::fail("no console", where);
  if (number("ports") == 1) one_port(*where);
  else several_ports(*where);
  return 0;
}
