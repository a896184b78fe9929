// SPDX-License-Identifier: MIT
// A program of a user of the library on an ordinary machine.
#include "disk.hpp"

#include <cstdio>
#include <cstring>
#include <initializer_list>

const char* drive_from_another_unit();

int main() {
  char version[32];
  std::snprintf(version, sizeof version, "%d.%d.%d", VIRTIO_VERSION_MAJOR, VIRTIO_VERSION_MINOR, VIRTIO_VERSION_PATCH);
  if (std::strcmp(version, EXPECTED_VERSION) != 0) {
    std::printf("headers of %s, package of %s\n", version, EXPECTED_VERSION);
    return 1;
  }
  for (const char* const wrong : {memory_disk::drive(), drive_from_another_unit()}) {
    if (wrong == nullptr) continue;
    std::printf("%s\n", wrong);
    return 2;
  }
  std::printf("virtio %s: wrote and read back\n", version);
}
