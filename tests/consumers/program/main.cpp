// SPDX-License-Identifier: MIT
// A program of somebody who uses the library on an ordinary machine: it looks for a disk on a bus where nobody answers.
#include <virtio/virtio.hpp>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <vector>

using disk_t = virtio::blk::device<virtio::identity_platform<>, virtio::pci::transport<virtio::pci::ecam>, virtio::split_queue<16>>;
constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;

int main() {
  char version[32];
  std::snprintf(version, sizeof version, "%d.%d.%d", VIRTIO_VERSION_MAJOR, VIRTIO_VERSION_MINOR, VIRTIO_VERSION_PATCH);
  if (std::strcmp(version, EXPECTED_VERSION) != 0) {
    std::printf("headers of %s, package of %s\n", version, EXPECTED_VERSION);
    return 1;
  }

  std::vector<virtio::u8> bus(std::size_t{1} << 20, 0xff);
  virtio::pci::ecam host;
  host.base = reinterpret_cast<virtio::uptr>(bus.data());
  const auto where = virtio::pci::find(host, virtio::device_type::block);
  if (where || where.error() != virtio::errc::not_found) return 2;

  virtio::u8 sector[512];
  const auto read = disk.read(0, sector);
  if (read || read.error() != virtio::errc::not_started) return 3;
  std::printf("virtio %s: %s; %s\n", version, virtio::describe(where.error()), virtio::describe(read.error()));
  return 0;
}
