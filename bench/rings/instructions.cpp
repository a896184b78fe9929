// SPDX-License-Identifier: MIT
// Runs the counted functions under callgrind, which starts and stops counting at them (tools/bench). Prints the number
// of requests.
// usage: ring_instructions RING single|triple TURNS BATCH
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "rig.hpp"

namespace {

template <class Ring>
int run(bool single, unsigned long turns, unsigned batch) {
  const auto rig = std::make_unique<bench::rig<Ring>>(batch);
  for (unsigned long i = 0; i < turns; ++i) rig->turn(single ? bench::add_single<Ring> : bench::add_triple<Ring>);
  if (!rig->complete(turns)) {
    std::puts("requests were lost");
    return 1;
  }
  std::printf("requests %lu\n", turns * batch);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const bool single = std::strcmp(argv[2], "single") == 0;
  const unsigned long turns = std::strtoul(argv[3], nullptr, 10);
  const auto batch = static_cast<unsigned>(std::strtoul(argv[4], nullptr, 10));
  if (batch < 1 || batch > bench::most) return 2;
#define RUN(name, ...) \
  if (std::strcmp(argv[1], name) == 0) return run<__VA_ARGS__>(single, turns, batch);
  BENCH_RINGS(RUN)
#undef RUN
  return 2;
}
