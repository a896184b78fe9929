// SPDX-License-Identifier: MIT
// A guest that is one image for OpenBSD's vmd and for hosts without a profile: the common beginning of two programs.
#pragma once

#include "programs.hpp"

namespace {

using machine = pci::profiled<board_with_ports>;
using disk_t = blk::device<board_with_ports, pci::transport<machine>, split_queue<128>>;
constinit dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;
using rng_t = rng::device<board_with_ports, pci::transport<machine>, split_queue<8, ring_options{.ring_entries = 64}>>;
constinit dma_storage<rng_t::dma_bytes> rng_dma;
constinit rng_t entropy;

[[gnu::always_inline]] inline errc read_and_fill(machine& here, u64 sector, u8* to) {
  here = pci::detected(board_with_ports{});
  const auto disk_at = pci::find(here, device_type::block);
  if (!disk_at) return disk_at.error();
  if (const auto up = disk.start(board_with_ports{}, *disk_at, disk_dma); !up) return up.error();
  if (const auto done = disk.read(sector, bytes{to, 512}); !done) return done.error();
  const auto entropy_at = pci::find(here, device_type::entropy);
  if (!entropy_at) return entropy_at.error();
  if (const auto up = entropy.start(board_with_ports{}, *entropy_at, rng_dma); !up) return up.error();
  return entropy.fill(bytes{to, 32}).error();
}

}  // namespace
