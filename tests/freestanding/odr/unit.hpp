// SPDX-License-Identifier: MIT
// What both translation units of the ODR test report about the library: the same, if there is one definition of
// everything.
#pragma once

#include "disk.hpp"

#include <cstddef>

struct facts {
  const void* dma_page;
  void (*find)();  // only its address
  std::size_t disk_bytes;
  std::size_t dma_bytes;
  const char* sentence;
  const char* wrong;  // nullptr if the disk could be driven from there
};

using disk_t = virtio::blk::device<virtio::identity_platform<>, virtio::pci::transport<virtio::pci::ecam>,
                                   virtio::split_queue<16>>;
extern constinit disk_t disk;

facts facts_of_one();
facts facts_of_two();

[[maybe_unused]] static facts facts_here() {
  return {&virtio::dma_page,
          reinterpret_cast<void (*)()>(&virtio::pci::find<virtio::pci::ecam>),
          sizeof(disk_t),
          disk_t::dma_bytes,
          virtio::describe(virtio::errc::timed_out),
          memory_disk::drive()};
}
