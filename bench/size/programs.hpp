// SPDX-License-Identifier: MIT
// The common parts of the counted programs: a machine, and the loops of several programs. Nothing is stubbed: the
// programs have feature negotiation, all checks of the device's values, and the reset that reclaims buffers.
// All of it is in an unnamed namespace, as each program is one file: for types that other files might see, compilers
// keep an out-of-line copy of a function that is called once, which costs 4 % (g++) to 20 % (clang) without link-time
// optimization.
#pragma once

#include <virtio/blk.hpp>
#include <virtio/pci.hpp>
#include <virtio/platform/identity.hpp>
#include <virtio/rng.hpp>

namespace {

using namespace virtio;

// The first 4 GiB, identity-mapped, known at compile time: a board without members.
struct low {
  [[nodiscard]] result<uptr> cpu_address(u64 at, u64 size) const { return pci::linear_map{}.cpu_address(at, size); }
};

// Configuration space through ports, BARs in memory: what a machine without port BARs needs.
struct memory_bars {
  using function_id = pci::address;
  using bar_space = mmio_space;

  [[nodiscard]] u32 config_read32(pci::address at, u16 offset) const { return ports.config_read32(at, offset); }
  void config_write32(pci::address at, u16 offset, u32 value) const { ports.config_write32(at, offset, value); }

  [[nodiscard]] result<mmio_space> bar(pci::address at, u8 index) const {
    VIRTIO_TRY_ASSIGN(const pci::bar_info& found, pci::probe_bar(*this, at, index));
    if (found.kind != pci::bar_kind::memory || found.base == 0) return errc::not_found;
    if (found.base >> 32 != 0 || found.size > (u64{1} << 32) - found.base) return errc::out_of_range;
    return mmio_space{static_cast<uptr>(found.base), static_cast<usize>(found.size)};
  }

  template <class Visit>
  void each_function(Visit&& visit) const {
    pci::each_numbered_function(*this, 0, visit);
  }

  VIRTIO_EMPTY_MEMBER pci::cf8<low> ports;
};

template <class Host>
struct board_on : Host, identity_platform<> {};
using board = board_on<memory_bars>;
using board_with_ports = board_on<pci::cf8<low>>;

[[maybe_unused]] constexpr pci::address known_place{.slot = 3};

[[maybe_unused]] int code(errc why) { return static_cast<int>(why); }

/// Starts a disk at a known location, and polls for one request.
template <class Board, class Disk>
[[gnu::always_inline]] inline int read_polled(Disk& disk, dma_region storage, u64 sector, u8* to) {
  const auto where = pci::at(Board{}, known_place);
  if (const auto up = disk.start(Board{}, where, storage); !up) return code(up.error());
  if (const auto sent = disk.submit_read(sector, bytes{to, 512}); !sent) return code(sent.error());
  disk.kick();
  for (;;) {
    const auto done = disk.next_completion();
    if (done) return code(done->status);
    if (done.error() != errc::not_ready) return code(done.error());
  }
}

/// Searches the buses for the one device of its type.
template <class Board, class Device>
errc find_and_start(Device& device, device_type type, dma_region storage) {
  const auto where = pci::find(Board{}, type);
  if (!where) return where.error();
  return device.start(Board{}, *where, storage).error();
}

/// Waits by the blocking call, with its limit.
template <class Board, class Disk>
[[gnu::always_inline]] inline int find_and_read(Disk& disk, dma_region storage, u64 sector, u8* to) {
  if (const errc up = find_and_start<Board>(disk, device_type::block, storage); up != errc::ok) return code(up);
  return code(disk.read(sector, bytes{to, 512}).error());
}

}  // namespace

/// The counted function.
extern "C" int counted_program(virtio::u64 sector, virtio::u8* to);

/// The output of text, not counted.
extern "C" void counted_put(const char* text);
