// SPDX-License-Identifier: MIT
// A small shell on the console: it lists the devices of the machine, shows sectors of the disk and random bytes, and
// ends with `exit`.
#include <virtio/blk.hpp>
#include <virtio/console.hpp>
#include <virtio/rng.hpp>

#include "board.hpp"
#include "terminal.hpp"

namespace {

using ring = virtio::queue<16, virtio::ring_options{.ring_entries = 256}>;  // QEMU's legacy devices: up to 256 entries
using console_t = virtio::console::device<board, bus::transport<board>, ring>;
using disk_t = virtio::blk::device<board, bus::transport<board>, ring>;
using rng_t = virtio::rng::device<board, bus::transport<board>, ring>;

constinit virtio::dma_storage<console_t::dma_bytes> console_dma;
constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;
constinit virtio::dma_storage<rng_t::dma_bytes> rng_dma;
constinit console_t console;
constinit disk_t disk;
constinit rng_t entropy;
constinit terminal<console_t> screen{console};

/// Starts a driver at the first command that needs it.
template <class Driver>
virtio::result<void> need(Driver& driver, virtio::device_type type, virtio::dma_region storage) {
  if (driver.check()) return {};
  const auto where = bus::find(board{}, type);
  if (!where) return where.error();
  return driver.start(board{}, *where, storage);
}

void list() {
  bus::for_each(board{}, [](const auto& one) {
    if (one.seen.type == virtio::device_type::none) return;
    if constexpr (requires { one.slot; }) screen.print("slot ", decimal{static_cast<virtio::u32>(one.slot)});
    else screen.print(hex{one.id.bus, 2}, ":", hex{one.id.slot, 2}, ".", decimal{one.id.function});
    screen.print("  ", virtio::name(one.seen.type), ", ", virtio::name(one.seen.via), ": ",
                 virtio::describe(one.seen.why), "\n");
  });
}

/// Returns 512 bytes: a sector of the disk, or random bytes.
virtio::result<void> read(word source, word sector, virtio::u8 (&into)[512]) {
  virtio::u64 number = 0;
  if (source == "random") {
    VIRTIO_TRY(need(entropy, virtio::device_type::entropy, rng_dma));
    return entropy.fill(into);
  }
  if (source != "disk" || !sector.number(number)) return virtio::errc::invalid_argument;
  VIRTIO_TRY(need(disk, virtio::device_type::block, disk_dma));
  return disk.read(number, into);
}

void show_hex(const virtio::u8 (&data)[512]) {
  for (unsigned line = 0; line < 512; line += 16) {
    screen.print(hex{line, 3}, " ");
    for (unsigned i = line; i < line + 16; ++i) screen.print(" ", hex{data[i], 2});
    screen.print("  ");
    for (unsigned i = line; i < line + 16; ++i) screen.print(printable(data[i]));
    screen.print("\n");
  }
}

void show_text(const virtio::u8 (&data)[512]) {
  for (const virtio::u8 byte : data) screen.print(byte == '\n' ? '\n' : printable(byte));
  screen.print("\n");
}

/// Returns whether another command follows.
bool run(word line) {
  const word command = line.next();
  if (command.empty()) return true;
  if (command == "help") {
    screen.print(
        "ls                   the devices of the machine\n"
        "cat disk SECTOR      a sector as text; also: cat random\n"
        "hexdump disk SECTOR  a sector in hexadecimal; also: hexdump random\n"
        "size                 columns and rows of this console\n"
        "echo WORDS           the words\n"
        "exit                 ends the machine\n");
  } else if (command == "ls") {
    list();
  } else if (command == "echo") {
    screen.print(line, "\n");
  } else if (command == "size") {
    const auto size = console.size();
    if (size) screen.print(decimal{size->columns}, " columns, ", decimal{size->rows}, " rows\n");
    else screen.print(virtio::describe(size.error()), "\n");
  } else if (command == "cat" || command == "hexdump") {
    alignas(512) static virtio::u8 data[512];
    const word source = line.next();
    if (const auto got = read(source, line.next(), data); !got) screen.print(virtio::describe(got.error()), "\n");
    else if (command == "cat") show_text(data);
    else show_hex(data);
  } else if (command == "exit") {
    return false;
  } else {
    screen.print(command, ": there is no such command; try help\n");
  }
  return true;
}

}  // namespace

extern "C" int guest_main(const char*) {
  const auto where = bus::find(board{}, virtio::device_type::console);
  if (!where) return board::fail("no console", where);
  if (const auto up = console.start(board{}, *where, console_dma); !up)
    return board::fail("start", up.error(), console.why());

  screen.print("virtio shell: try help\n");
  do screen.print("> ");
  while (run(screen.read_line()));
  if (const auto sent = screen.end(); !sent) return board::fail("console", sent.error());
  return 0;
}
