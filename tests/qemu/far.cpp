// SPDX-License-Identifier: MIT
// BARs where the start code has mapped nothing: the board maps them on discovery, up to the last address.
#include "guest.hpp"
#include "pages.hpp"

namespace cell {
namespace {

namespace config = virtio::pci::config;
namespace command = virtio::pci::command;

/// Moves the disk's BAR 4 to `bar_at=`, as another firmware could place it.
void move_bar() {
  const bench host = machine();
  const location where = find(device_type::block);
  const u64 place = number("bar_at");
  virtio::pci::change_command(host, where.id, 0, command::memory);
  host.config_write32(where.id, config::bar0 + 4 * 4, static_cast<u32>(place));
  host.config_write32(where.id, config::bar0 + 4 * 5, static_cast<u32>(place >> 32));
  virtio::pci::change_command(host, where.id, command::memory, 0);
  const auto moved = virtio::pci::probe_bar(host, where.id, 4);
  CHECK_OK(moved);
  CHECK(moved->is_64bit);
  CHECK_EQUAL(moved->base, place);
  boot::print("BAR 4: ", boot::hex(place), " to ", boot::hex(place + (moved->size - 1)), "\n");
}

/// The map ends where the processor's addresses end, or at the half of the address space that is mapped to physical
/// addresses.
void map_ends() {
  const u64 end = number("end");
  constexpr u64 piece = 4096;
  CHECK(boot::map_device_memory(end - piece, piece));
  CHECK(!boot::map_device_memory(end - piece, piece + 1));
  CHECK(!boot::map_device_memory(end, piece));
  CHECK(!boot::map_device_memory(end - piece, ~u64{0}));
  CHECK(!boot::map_device_memory(~u64{0}, 1));
  CHECK(!boot::map_device_memory(end - piece, 0));
}

/// Page tables run out: earlier mappings remain.
void map_is_full() {
  const u64 end = number("end");
  constexpr u64 step = u64{1} << 39;  // at least one table for each
  u64 mapped = 0;
  while (mapped < end && boot::map_device_memory(mapped, 4096)) mapped += step;
  CHECK(mapped > step && mapped < end);
  CHECK(boot::map_device_memory(mapped - step, 4096));
  CHECK(!boot::map_device_memory(mapped, 4096));
}

}  // namespace

bool run_far(boot::text word) {
  if (word == "move_bar") move_bar();
  else if (word == "map_ends") map_ends();
  else if (word == "map_is_full") map_is_full();
  else return false;
  return true;
}

}  // namespace cell
