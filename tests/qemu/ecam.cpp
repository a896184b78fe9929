// SPDX-License-Identifier: MIT
// Configuration space in memory, at the address in ACPI's MCFG table.
#include <virtio/blk.hpp>
#include <virtio/rng.hpp>

#include "acpi.hpp"
#include "guest.hpp"

namespace cell {
namespace {

/// The cells' machine, accessed through memory instead of ports.
struct express : bench {
  virtio::pci::ecam_with_ports<device_memory> space{};

  u32 config_read32(virtio::pci::address at, u16 offset) const { return space.config_read32(at, offset); }
  void config_write32(virtio::pci::address at, u16 offset, u32 value) const { space.config_write32(at, offset, value); }
  void config_write16(virtio::pci::address at, u16 offset, u16 value) const { space.config_write16(at, offset, value); }
  result<virtio::pci::bar_info> locate(virtio::pci::address at, u8 index) const { return space.locate(at, index); }
  result<bar_space> bar(virtio::pci::address at, u8 index) const { return space.bar(at, index); }
  template <class Visit>
  void each_function(Visit&& visit) const {
    space.each_function(visit);
  }
};
static_assert(virtio::platform<express> && virtio::pci::host<express>);

using either = virtio::pci::transport<express>;
using disk_t = virtio::blk::device<express, either, usual_queue>;
using rng_t = virtio::rng::device<express, either, usual_queue>;
constinit disk_t the_disk;
constinit rng_t the_rng;
constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;
constinit virtio::dma_storage<rng_t::dma_bytes> rng_dma;
alignas(4096) u8 data[64 * 1024];

express found() {
  const auto space = boot::find_ecam();
  CHECK_OK(space);
  boot::print("ECAM at ", boot::hex(space->base), ", ", space->buses, " buses\n");
  CHECK_EQUAL(space->base, number("ecam"));
  CHECK_EQUAL(space->buses, number("buses"));
  CHECK_EQUAL(space->segment_number, 0u);
  express out{};
  static_cast<bench&>(out) = machine();
  out.space = *space;
  return out;
}

/// Ports and memory show the same functions, in the same order.
void same_bus(const express& host) {
  virtio::pci::address ports[64], memory[64];
  usize port_count = 0, memory_count = 0;
  machine().each_function([&](virtio::pci::address at) { return ports[port_count++] = at, port_count < 64; });
  host.each_function([&](virtio::pci::address at) { return memory[memory_count++] = at, memory_count < 64; });
  CHECK_EQUAL(memory_count, port_count);
  for (usize i = 0; i < memory_count; ++i) {
    CHECK(memory[i] == ports[i]);
    for (u16 offset = 0; offset < 256; offset = static_cast<u16>(offset + 4))
      CHECK_EQUAL(host.config_read32(memory[i], offset), machine().config_read32(ports[i], offset));
  }
}

void ecam() {
  const express host = found();
  same_bus(host);
  const auto disk_at = virtio::pci::find(host, device_type::block);
  CHECK_OK(disk_at);
  CHECK_OK(the_disk.start(host, *disk_at, disk_dma));
  const u64 capacity = the_disk.capacity();
  CHECK_EQUAL(capacity, number("sectors"));
  for (u64 at = 0; at < capacity; at += sizeof data / 512) {
    const bytes piece{data, virtio::detail::smaller<usize>(sizeof data, static_cast<usize>(capacity - at) * 512)};
    CHECK_OK(the_disk.read(at, piece));
    check_pattern(piece, at, number("seed"));
  }
  for (u64 at = number("write_first"), end = at + 2 * number("write_count"); at < end; ++at) {
    fill_pattern({data, 512}, at, number("write_seed"));
    CHECK_OK(the_disk.write(at, {data, 512}));
  }
  CHECK_OK(the_disk.flush());
  const auto rng_at = virtio::pci::find(host, device_type::entropy);
  CHECK_OK(rng_at);
  CHECK_OK(the_rng.start(host, *rng_at, rng_dma));
  fill(data, 0);
  CHECK_OK(the_rng.fill({data, 4096}));
  for (usize at = 0; at < 4096; at += 32) CHECK(!all_are({data + at, 32}, 0));
}

/// A machine with tables, but without MCFG.
void no_ecam() {
  CHECK_ERROR(boot::find_ecam(), errc::not_found);
  const auto processors = boot::find_table(virtio::text("APIC"));
  CHECK_OK(processors);
  CHECK(processors->size() > virtio::pci::acpi::header_bytes);
}

/// A segment that the machine does not have.
void other_segment() { CHECK_ERROR(boot::find_ecam(1), errc::not_found); }

}  // namespace

bool run_ecam(boot::text word) {
  if (word == "ecam") ecam();
  else if (word == "no_ecam") no_ecam();
  else if (word == "other_segment") other_segment();
  else return false;
  return true;
}

}  // namespace cell
