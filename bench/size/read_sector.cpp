// SPDX-License-Identifier: MIT
// The smallest honest programs that read a disk: bring it up through the modern registers with a split ring of 256, read a
// sector and wait for it. Linked alone, without a C library, what the link
// keeps is what a boot loader would pay. Nothing here is stubbed: feature negotiation, all checks of what the device says, the
// reset that takes buffers back.
// COUNTED_PROGRAM selects: 0 a disk at a known place, polled with submit, kick and next_completion; 1 the buses are walked
// for the one disk, and the blocking call waits, with its bound.
// COUNTED_HOST selects the host: 0 memory BARs only, 1 the ready-made pci::cf8 whose BARs may be ports too.
#include <virtio/blk.hpp>
#include <virtio/pci.hpp>
#include <virtio/platform/concepts.hpp>

#ifndef COUNTED_HOST
#define COUNTED_HOST 0
#endif
#ifndef COUNTED_PROGRAM
#define COUNTED_PROGRAM 0
#endif

namespace {

using namespace virtio;

// Configuration space through ports, BARs in memory: what a machine without port BARs needs.
struct memory_bars {
  using function_id = pci::address;
  using bar_space = mmio_space;

  [[nodiscard]] u32 config_read32(pci::address at, u16 offset) const { return ports.config_read32(at, offset); }
  void config_write32(pci::address at, u16 offset, u32 value) const { ports.config_write32(at, offset, value); }

  [[nodiscard]] result<mmio_space> bar(pci::address at, u8 index) const {
    VIRTIO_TRY_ASSIGN(const pci::bar_info found, pci::probe_bar(*this, at, index));
    if (found.kind != pci::bar_kind::memory || found.base == 0) return errc::not_found;
    if (found.base >> 32 != 0 || found.size > (u64{1} << 32) - found.base) return errc::out_of_range;
    return mmio_space{static_cast<uptr>(found.base), static_cast<usize>(found.size)};
  }

  template <class Visit>
  void each_function(Visit&& visit) const { pci::each_numbered_function(*this, 0, visit); }

  VIRTIO_EMPTY_MEMBER pci::cf8<> ports;
};

#if COUNTED_HOST == 0
using host = memory_bars;
#else
using host = pci::cf8<>;
#endif

struct board : host {
  using barriers = smp_barriers;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return out.push(dma_addr{reinterpret_cast<uptr>(va)}, n, way);
  }
  bool keep_waiting(waiting, u64 attempt) const {
    __builtin_ia32_pause();
    return attempt < 500'000'000;
  }
};

using disk_t = blk::device<board, pci::modern<board>, split_queue<256>>;
constinit dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;

}  // namespace

extern "C" int read_sector(u64 sector, u8* to) {
#if COUNTED_PROGRAM == 0
  const auto where = pci::at(board{}, {.slot = 3});
  if (const auto up = disk.start(board{}, where, disk_dma); !up) return static_cast<int>(up.error());
  if (const auto sent = disk.submit_read(sector, bytes{to, 512}); !sent) return static_cast<int>(sent.error());
  disk.kick();
  for (;;) {
    const auto done = disk.next_completion();
    if (done) return static_cast<int>(done->status);
    if (done.error() != errc::not_ready) return static_cast<int>(done.error());
  }
#else
  const auto where = pci::find(board{}, device_type::block);
  if (!where) return static_cast<int>(where.error());
  if (const auto up = disk.start(board{}, *where, disk_dma); !up) return static_cast<int>(up.error());
  return static_cast<int>(disk.read(sector, bytes{to, 512}).error());
#endif
}
