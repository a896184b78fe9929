// SPDX-License-Identifier: MIT
// A guest that is a USB stick and a serial port: USB/IP on port 3240 of vsock, for `usbip` and tools/usbip-vsock on the
// host. The stick is a virtio disk; the serial port is a virtio console, if the machine has one. glue.hpp joins the
// libraries. Command line:
// `host=stays`: the guest never ends; without it, it ends after the first host that had a device disconnects.
// `timeout=N`: the seconds (default: 30) after which a host that does not read its replies is disconnected, and so is a
// client that has not requested a device.
#include <usbip/serial.hpp>
#include <usbip/storage.hpp>

#include "board.hpp"
#include "glue.hpp"
#include "words.hpp"

namespace vsock = virtio::vsock;
using virtio::errc, virtio::result, virtio::u16, virtio::u32, virtio::u64;

constexpr u32 usbip_port = 3240, stop_port = 3241;
constexpr u16 places = 8;  // connections, including those that are being closed

using disk_t = virtio::blk::device<board, bus::transport<board>, virtio::queue<128>>;
using console_t =
    virtio::console::device<board, bus::transport<board>, virtio::queue<16, virtio::ring_options{.ring_entries = 256}>>;
constexpr vsock::limits sizes{.connections = places,
                              .receive_packet = 16384,
                              .receive_buffer = 256 * 1024,
                              .send_packet = 65536,
                              .send_packets = 16};
using sockets_t = vsock::device<board, bus::transport<board>, virtio::queue<128>, sizes>;
constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;
constinit virtio::dma_storage<console_t::dma_bytes> console_dma;
constinit virtio::dma_storage<sockets_t::dma_bytes> sockets_dma;
constinit disk_t blk_driver;
constinit console_t console_driver;
constinit sockets_t vsock_driver;

// ---- The devices ----

using glue_disk = glue::blk_disk<disk_t>;
using glue_line = glue::console_line<console_t>;
using room_t = usbip::storage::buffers<8, 65536>;
using drive_t = usbip::storage::drive<glue_disk, room_t>;
using port_t = usbip::serial::port<glue_line>;
constinit glue_disk stick_disk{blk_driver};
constinit glue_line console_line{console_driver};
constinit room_t stick_room;
constinit drive_t stick_drive{stick_disk, stick_room};
constinit port_t console_port{console_line};

constexpr usbip::device_description about_stick{.speed = usbip::speed::super,
                                                .vendor = 0x1209,
                                                .product = 0x0001,
                                                .manufacturer = "virtio",
                                                .name = "Disk of a guest",
                                                .serial = "0000000000000001"};
constexpr usbip::device_description about_port{.speed = usbip::speed::high,
                                               .vendor = 0x1209,
                                               .product = 0x0002,
                                               .manufacturer = "virtio",
                                               .name = "Console of a guest",
                                               .serial = "0000000000000002"};
constinit usbip::device<about_stick, drive_t> usb_stick{stick_drive};
constinit usbip::device<about_port, port_t> usb_port{console_port};

// ---- Connections ----

template <class Exports>
struct client {
  usbip::connection<Exports> connection;
  glue::vsock_stream<sockets_t> stream;
  vsock::socket socket;
  bool is_open;
  bool had_device;
  u32 seconds;  // without a device
};

template <class Exports>
static void report(const client<Exports>& c) {
  const usbip::ending& e = c.connection.ending();
  boot::print(c.had_device ? "a host has gone: " : "a client has gone: ", usbip::describe(e), " (", e.received,
              " bytes received, ", e.sent, " sent)\n");
}

template <class Exports>
static result<void> serve(Exports& devices, bool stays, u32 timeout) {
  static client<Exports> clients[places]{};
  VIRTIO_TRY(vsock_driver.listen(usbip_port, places));
  VIRTIO_TRY(vsock_driver.listen(stop_port, 1));
  boot::print("serving ", u32{Exports::count}, " on port ", usbip_port, " of cid ", vsock_driver.cid(), "\n");

  u64 second = boot::timestamp();
  for (bool goes_on = true; goes_on;) {
    VIRTIO_TRY(vsock_driver.poll([&](const vsock::event& e) {
      if (!e.what.has(vsock::ready::incoming)) return;  // connections are polled below
      if (e.port == stop_port) {
        goes_on = false;
        return;
      }
      while (const auto who = vsock_driver.try_accept(e.port)) {
        client<Exports>& c = clients[who->slot];
        c.socket = *who;
        c.stream = {vsock_driver, *who};
        c.connection.serve(devices);
        c.is_open = true;
        c.had_device = false;
        c.seconds = 0;
      }
    }));
    if (boot::milliseconds_since(second) >= 1000) {
      second = boot::timestamp();
      vsock_driver.tick({.closing = 10});
      for (client<Exports>& c : clients) {
        if (!c.is_open) continue;
        c.seconds = c.connection.device() == Exports::count ? c.seconds + 1 : 0;
        if (c.stream.tick() >= timeout || c.seconds >= timeout) c.connection.stop();
      }
    }
    if (Exports::count == 2) VIRTIO_TRY(console_driver.poll());
    // A host that disconnected may have left writes in flight: the flush follows them.
    if (!devices.is_taken(0)) stick_drive.poll();
    for (client<Exports>& c : clients) {
      if (!c.is_open) continue;
      const bool has_ended = c.connection.poll(c.stream) == usbip::activity::ended;
      if (c.connection.device() != Exports::count) c.had_device = true;
      if (!has_ended) continue;
      const usbip::end how = c.connection.ending().how;
      if (how == usbip::end::stopped || how == usbip::end::silent) (void)vsock_driver.abort(c.socket);
      else (void)vsock_driver.close(c.socket);
      c.is_open = false;
      report(c);
      if (c.had_device && !stays) goes_on = false;
    }
  }
  return {};
}

extern "C" int guest_main(const char* words) {
  const auto disk_at = bus::find(board{}, virtio::device_type::block);
  if (!disk_at) return board::fail("no disk", disk_at);
  if (auto up = blk_driver.start(board{}, *disk_at, disk_dma); !up)
    return board::fail("disk", up.error(), blk_driver.why());
  const auto vsock_at = bus::find(board{}, virtio::device_type::vsock);
  if (!vsock_at) return board::fail("no vsock", vsock_at);
  if (auto up = vsock_driver.start(board{}, *vsock_at, sockets_dma, vsock::seed{boot::timestamp()}); !up)
    return board::fail("vsock", up.error(), vsock_driver.why());
  const auto console_at = bus::find(board{}, virtio::device_type::console);
  const bool has_console = console_at && console_driver.start(board{}, *console_at, console_dma);

  static constinit usbip::exports only_stick{usb_stick};
  static constinit usbip::exports both{usb_stick, usb_port};
  const bool stays = boot::option_in(words, "host") == "stays";
  u32 timeout = 0;
  const boot::text number = boot::option_in(words, "timeout");
  for (virtio::usize i = 0; i < number.size; ++i) timeout = timeout * 10 + static_cast<u32>(number.data[i] - '0');
  if (timeout == 0) timeout = 30;
  const auto ended = has_console ? serve(both, stays, timeout) : serve(only_stick, stays, timeout);
  // The drive may still flush the disk, after the last host.
  while (blk_driver.in_flight() != 0) stick_drive.poll();
  boot::print("the disk: ", stick_disk.reads, " reads, ", stick_disk.writes, " writes, ", stick_disk.flushes,
              " flushes, ", stick_disk.bytes_moved, " bytes\n");
  (void)vsock_driver.hand_off();
  if (has_console) (void)console_driver.hand_off();
  (void)blk_driver.hand_off();
  return ended ? 0 : board::fail("server", ended.error());
}
