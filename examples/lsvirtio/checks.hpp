// SPDX-License-Identifier: MIT
// A short check of each device that the library drives: its verdict, and one operation. It writes nothing to disks, one
// line to a console, and one frame to a network.
#pragma once

#include <virtio/balloon.hpp>
#include <virtio/blk.hpp>
#include <virtio/console.hpp>
#include <virtio/net.hpp>
#include <virtio/rng.hpp>
#include <virtio/scsi.hpp>
#include <virtio/vsock.hpp>

#include "device.hpp"

namespace lsvirtio {

/// Returns a number from the command line.
[[nodiscard]] inline u32 number_option(const char* key, u32 fallback) {
  const boot::text given = boot::option(key);
  if (!given || given.size == 0) return fallback;
  u32 value = 0;
  for (usize i = 0; i < given.size; ++i) {
    if (given.data[i] < '0' || given.data[i] > '9') return fallback;
    value = value * 10 + static_cast<u32>(given.data[i] - '0');
  }
  return value;
}

inline void show_outcome(writer& out, virtio::errc came) {
  out.text("outcome", came == virtio::errc::ok ? "ok" : virtio::describe(came));
}

/// Six bytes as a hardware address.
struct octets {
  const u8 (&all)[6];
};
inline void put(octets address) {
  for (u8 i = 0; i < 6; ++i) boot::print(i == 0 ? "" : ":", digits{address.all[i], 2});
}

// ---- one operation each ----

template <class Driver>
void use_block(writer& out, Driver& disk) {
  alignas(512) static u8 sector[virtio::blk::sector_bytes];
  out.text("tried", "read sector 0");
  const auto read = disk.read(0, sector);
  show_outcome(out, read.error());
  if (read) out.text("first_bytes", dump{sector, 16});
}

template <class Driver>
void use_scsi(writer& out, Driver& host) {
  alignas(512) static u8 block[4096];  // a CD drive has 2048 bytes in each
  out.text("tried", "look for units, read the first one's sector 0");
  virtio::scsi::address first{};
  u32 count = 0;
  const auto scanned = host.scan([&](const virtio::scsi::found& one) {
    if (count++ == 0) first = one.where;
  });
  out.number("units", count);
  if (!scanned || count == 0) return show_outcome(out, scanned.error());
  out.number("target", first.target);
  out.number("lun", first.lun);
  virtio::scsi::unit<Driver> unit;
  auto done = unit.open(host, first);
  if (done) out.number("sectors", unit.capacity());
  if (done) done = unit.read(0, virtio::bytes{block, unit.block_size()});
  show_outcome(out, done.error());
  if (done) out.text("first_bytes", dump{block, 16});
}

template <class Driver>
void use_entropy(writer& out, Driver& rng) {
  static u8 bytes[32];
  out.text("tried", "draw 32 bytes");
  const auto drawn = rng.fill(bytes);
  show_outcome(out, drawn.error());
  if (drawn) out.text("bytes", dump{bytes, sizeof bytes});
}

template <class Driver>
void use_balloon(writer& out, Driver& balloon) {
  out.text("tried", "ask what the host wants");
  const auto target = balloon.target();
  show_outcome(out, target.error());
  if (target) out.number("target_pages", *target);
}

template <class Driver>
void use_vsock(writer& out, Driver& sockets) {
  const u32 port = number_option("vsock_port", 1024);  // on which a network on the host may listen
  out.number("cid", sockets.cid());
  out.text("tried", "connect to the host, CID 2 port ", port);
  auto peer = sockets.connect({virtio::vsock::host_cid, port});
  out.text("outcome", peer ? "connected" : virtio::describe(peer.error()));
  if (peer) (void)peer->close();
}

/// Some hosts (crosvm) require all queues of a device with MULTIPORT: accepts it, and uses the first console.
constexpr virtio::console::limits console_limits{.ports = 4};

template <class Driver>
void use_console(writer& out, Driver& console) {
  u16 port = 0;
  const auto find = [&] {
    for (port = 0; port < console.port_count(); ++port)
      if (console.facts(port).is_present && console.facts(port).is_console) return true;
    return false;
  };
  if (const virtio::errc waited = console.wait_until(virtio::waiting::connect, find); waited != virtio::errc::ok)
    return out.text("outcome", "no console port: ", virtio::describe(waited));
  out.number("port", port);
  if (const auto size = console.size(port)) out.text("screen", size->columns, " columns, ", size->rows, " rows");
  out.text("tried", "write a line");
  virtio::errc came = console.send(virtio::text("lsvirtio was here\r\n"), port).error();
  if (came == virtio::errc::ok) came = console.flush(port).error();
  show_outcome(out, came);
}

/// Sends an ARP request for 10.0.2.2, QEMU's gateway, unless the command line has `arp=0`. It is a probe (RFC 5227,
/// 2.1.1): it has no sender address, so no neighbour caches one.
template <class Driver>
void use_network(writer& out, Driver& card) {
  using virtio::net::link_state;
  const virtio::net::mac_address own = card.mac();
  out.text("mac", octets{own.octets});
  out.number("mtu", card.facts().mtu);
  out.text("link", card.state() == link_state::up ? "up" : "down");
  if (card.state() != link_state::up || number_option("arp", 1) == 0) return;
  u8 frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
  __builtin_memcpy(frame + 6, own.octets, 6);
  __builtin_memcpy(frame + 22, own.octets, 6);
  constexpr u8 asked[] = {10, 0, 2, 2};
  __builtin_memcpy(frame + 38, asked, 4);
  out.text("tried", "ask by ARP who has 10.0.2.2");
  const virtio::const_bytes whole{frame, sizeof frame};
  if (const auto sent = card.try_send({&whole, 1}); !sent) return show_outcome(out, sent.error());
  card.flush();
  u8 reply[42] = {};
  bool answered = false;
  const auto look = [&](const virtio::net::frame& came) {
    answered |= came.copy_to(0, reply) == sizeof reply && reply[12] == 8 && reply[13] == 6 && reply[21] == 2 &&
                __builtin_memcmp(reply + 28, asked, sizeof asked) == 0;
    return virtio::net::after_look::done;
  };
  const virtio::errc waited = card.wait_until(virtio::waiting::connect, [&] {
    while (!answered && card.receive_with(look)) {}
    return answered;
  });
  if (!answered)
    return out.text("outcome", waited == virtio::errc::peer_silent ? "no answer" : virtio::describe(waited));
  u8 who[6];
  __builtin_memcpy(who, reply + 22, 6);
  out.text("outcome", "answered by ", octets{who});
}

// ---- all of them ----

/// The drivers for the devices of one bus, each with its own memory: a device that does not reset keeps only that
/// memory.
/// All-zero at first.
template <class Board, class Transport>
class checks {
  // A legacy device sets the size of its rings, usually up to 256 entries.
  using ring = virtio::queue<64, virtio::ring_options{.ring_entries = 256}>;

 public:
  using place = typename Transport::location;

  /// Starts the driver for a device, if there is one, and uses the device. Returns whether it was bound.
  bool run(writer& out, const Board& board, const place& one) {
    using virtio::device_type;
    switch (one.seen.type) {
      case device_type::block: return with(out, board, one, disk, [](writer& w, auto& d) { use_block(w, d); });
      case device_type::entropy: return with(out, board, one, rng, [](writer& w, auto& d) { use_entropy(w, d); });
      case device_type::balloon: return with(out, board, one, balloon, [](writer& w, auto& d) { use_balloon(w, d); });
      case device_type::console: return with(out, board, one, console, [](writer& w, auto& d) { use_console(w, d); });
      case device_type::scsi: return with(out, board, one, scsi, [](writer& w, auto& d) { use_scsi(w, d); });
      case device_type::vsock:
        return with(
            out, board, one, sockets, [](writer& w, auto& d) { use_vsock(w, d); },
            virtio::vsock::seed{boot::timestamp()});
      case device_type::network:  // with an address for devices that have none
        return with(
            out, board, one, card, [](writer& w, auto& d) { use_network(w, d); }, virtio::interrupt_vectors{},
            virtio::net::mac_address{{2, 0, 0, 0, 0, 1}});
      default: return false;
    }
  }

 private:
  template <class Driver>
  struct owned {
    Driver driver{};
    virtio::dma_storage<Driver::dma_bytes> storage{};
  };
  owned<virtio::blk::device<Board, Transport, ring>> disk{};
  owned<virtio::rng::device<Board, Transport, ring>> rng{};
  owned<virtio::balloon::device<Board, Transport, ring>> balloon{};
  owned<virtio::console::device<Board, Transport, ring, console_limits>> console{};
  owned<virtio::vsock::device<Board, Transport, ring, virtio::vsock::limits{.connections = 2}>> sockets{};
  owned<virtio::net::device<Board, Transport, ring>> card{};
  owned<virtio::scsi::device<Board, Transport, ring>> scsi{};

  template <class Owned, class Use, class... More>
  bool with(writer& out, const Board& board, const place& one, Owned& with, Use&& use, const More&... more) {
    auto& driver = with.driver;
    out.open("check");
    const auto up = driver.start(board, one, with.storage, more...);
    show_report(out, driver.why());
    if (up) {
      out.words("accepted");
      for (u8 bit = 0; bit < 128; ++bit)
        if (driver.features().has_bit(bit)) show_feature(out, nullptr, bit, one.seen.type);
      out.close();
      use(out, driver);
      if (const auto off = driver.hand_off(); !off) out.text("end", virtio::describe(off.error()));
    }
    out.close();
    return bool{up};
  }
};

}  // namespace lsvirtio
