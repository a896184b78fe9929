// SPDX-License-Identifier: MIT
// A guest that plays the firmware: on a machine without bus numbers and BAR addresses, or after undoing the firmware's
// work, it lets the library assign everything, prints the results of discovery, and uses every disk and entropy device.
// It accesses configuration space through ECAM; matrix.py passes its address and the available ranges.
#include <virtio/blk.hpp>
#include <virtio/bus/pci/assign.hpp>
#include <virtio/rng.hpp>

#include "guest.hpp"

namespace {

using namespace cell;
namespace pci = virtio::pci;

/// The library's ECAM host, and a CPU that polls.
struct firmware_board : pci::ecam, virtio::identity_platform<virtio::smp_barriers, 30'000'000> {};
static_assert(virtio::platform<firmware_board> && pci::host<firmware_board>);

using transport = pci::modern<firmware_board>;
using disk_t = virtio::blk::device<firmware_board, transport, virtio::split_queue<16>>;
using rng_t = virtio::rng::device<firmware_board, transport, virtio::split_queue<8>>;

constinit disk_t disk{};
constinit rng_t entropy{};
constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma{};
constinit virtio::dma_storage<rng_t::dma_bytes> rng_dma{};

firmware_board machine_with_ecam() {
  firmware_board out;
  out.base = static_cast<uptr>(number("ecam"));
  out.buses = 256;
  out.bars.reach = u64{1} << 39;  // mapped by the start code
  return out;
}

/// The state after a hardware reset: no BAR has an address, no bus a number, bridges forward nothing.
void undo(const firmware_board& board) {
  board.each_function([&](pci::address at) {
    const bool bridge = (board.config_read32(at, pci::config::header) >> 16 & 0x7f) == 1;
    pci::change_command(board, at, 0, pci::command::io | pci::command::memory | pci::command::bus_master);
    for (u8 index = 0; index < (bridge ? 2 : 6); ++index)
      board.config_write32(at, static_cast<u16>(pci::config::bar0 + 4 * index), 0);
    if (bridge)
      for (const auto window : pci::bridge_windows) (void)pci::shut(board, at, window);
    return true;
  });
  // The numbers last, the farthest first: nothing behind a bridge without a number can be accessed.
  for (u32 bus = 256; bus-- != 0;)
    pci::each_function_on_bus(board, 0, static_cast<u8>(bus), [&](pci::address at, u8 type) {
      if (type == 1) board.config_write32(at, pci::config::bus_numbers, 0);
      return true;
    });
}

void use_disk(const pci::found<firmware_board>& where) {
  static u8 data[64 * 512];
  CHECK_OK(disk.start(machine_with_ecam(), where, disk_dma));
  u8 id[virtio::blk::id_bytes]{};
  CHECK_OK(disk.get_id(id));
  CHECK_OK(disk.read(7, data));
  check_pattern(data, 7, number("seed"));
  CHECK_OK(disk.hand_off());
}

void use_entropy(const pci::found<firmware_board>& where) {
  u8 drawn[32]{};
  CHECK_OK(entropy.start(machine_with_ecam(), where, rng_dma));
  CHECK_OK(entropy.fill(drawn));
  CHECK(!all_are(drawn, 0));
  CHECK_OK(entropy.hand_off());
}

}  // namespace

extern "C" int guest_main(const char* command_line) {
  boot::print("cell: ", command_line, "\n");
  const firmware_board board = machine_with_ecam();
  if (boot::option("undo")) undo(board);
  const pci::windows given{.io = {number("io"), number("io_size")},
                           .memory = {number("memory"), number("memory_size")},
                           .high = {number("high"), number("high_size")}};
  const pci::assignment done = pci::assign(board, given);
  boot::print("assigned: ", done.placed, " BARs, ", done.unplaced, " without room, ", done.bridges,
              " bridges numbered\n");
  const pci::assignment again = pci::assign(board, given);
  CHECK_EQUAL(again.placed + again.bridges, 0u);
  CHECK_EQUAL(again.unplaced, done.unplaced);

  u32 disks = 0, rngs = 0;
  pci::for_each(board, [&](const pci::found<firmware_board>& one) {
    print_function(one);
    if (one.seen.why != virtio::verdict::usable) return;
    if (boot::option("above")) {  // the place of their registers
      const auto bar = pci::probe_bar(board, one.id, 4);
      CHECK_OK(bar);
      CHECK(bar->base >> 32 != 0);
    }
    if (one.seen.type == device_type::block) {
      use_disk(one);
      ++disks;
    } else if (one.seen.type == device_type::entropy) {
      use_entropy(one);
      ++rngs;
    }
  });
  boot::print("used: ", disks, " disks, ", rngs, " entropy devices\n");
  return 0;
}
