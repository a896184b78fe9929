// SPDX-License-Identifier: MIT
#include EVERYTHING

#include "unit.hpp"

#include <cstdio>

constinit disk_t disk;

facts facts_of_one() { return facts_here(); }

int main() {
  virtio::u8 sector[512];
  if (disk.read(0, sector).error() != virtio::errc::not_started) return 1;
  const facts one = facts_of_one();
  const facts two = facts_of_two();
  if (one.dma_page != two.dma_page || one.find != two.find) return 2;
  if (one.disk_bytes != two.disk_bytes || one.dma_bytes != two.dma_bytes) return 3;
  if (one.wrong != nullptr || two.wrong != nullptr) return 4;
  std::printf("two translation units, one library: %s\n", two.sentence);
}
