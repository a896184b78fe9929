// SPDX-License-Identifier: MIT
// Drives the counted functions under callgrind, which starts and stops counting at them (tools/bench).
// usage: ring_instructions single|triple TURNS
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "rig.hpp"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const bool single = std::strcmp(argv[1], "single") == 0;
  const unsigned long turns = std::strtoul(argv[2], nullptr, 10);
  bench::rig rig;
  for (unsigned long i = 0; i < turns; ++i) rig.turn(single ? bench::add_single : bench::add_triple);
  if (!rig.complete(turns)) {
    std::puts("requests were lost");
    return 1;
  }
  return 0;
}
