// SPDX-License-Identifier: MIT
// Lists the partitions of a disk's image as examples/bootloader sees them: index, first sector, sectors, MBR type,
// whether it is an EFI system partition.
//   partitions IMAGE [BLOCK SIZE]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fstream>
#include <memory>
#include <vector>

#include "../../examples/files/partitions.hpp"

struct image_disk {
  std::vector<u8> image;
  u32 block;

  [[nodiscard]] u64 capacity() const { return image.size() / 512; }
  [[nodiscard]] u32 block_size() const { return block; }
  virtio::result<void> read(u64 sector, bytes into) {
    if (into.size() % block != 0 || sector > capacity() || into.size() / 512 > capacity() - sector) abort();
    memcpy(into.data(), image.data() + sector * 512, into.size());
    return {};
  }
};

int main(int argc, char** argv) {
  std::ifstream file{argv[1], std::ios::binary | std::ios::ate};
  std::vector<u8> image(static_cast<usize>(file.tellg()));
  file.seekg(0).read(reinterpret_cast<char*>(image.data()), static_cast<std::streamsize>(image.size()));
  image_disk disk{image, argc > 2 ? static_cast<u32>(atoi(argv[2])) : 512};
  auto tables = std::make_unique<partitions::reader<image_disk>>();
  const auto read = tables->for_each(disk, [](const partitions::partition& one) {
    printf("%u %llu %llu %02x%s\n", one.index, static_cast<unsigned long long>(one.first),
           static_cast<unsigned long long>(one.sectors), one.mbr_type, one.is_efi_system() ? " efi" : "");
  });
  if (!read) puts(read.error() == virtio::errc::out_of_range ? "damaged" : virtio::describe(read.error()));
}
