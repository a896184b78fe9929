// SPDX-License-Identifier: MIT
// case: the result of read() cannot be ignored
// says: (ignoring return|nodiscard).*\[-Werror(=|,-W)unused-result\]
#include <virtio/blk.hpp>
#include <virtio/pci.hpp>

using disk_t =
    virtio::blk::device<virtio::identity_platform<>, virtio::pci::modern<virtio::pci::ecam>, virtio::split_queue<8>>;

int read(disk_t& disk, virtio::bytes buffer) {
#if defined(FAIL)
  disk.read(0, buffer);
  return 0;
#else
  return disk.read(0, buffer) ? 0 : 1;
#endif
}
