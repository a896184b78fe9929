// SPDX-License-Identifier: MIT
#include EVERYTHING

#include "unit.hpp"

facts facts_of_two() {
  virtio::u8 sector[512];
  if (disk.write(0, sector)) return {};
  return facts_here();
}
