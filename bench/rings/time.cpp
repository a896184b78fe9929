// SPDX-License-Identifier: MIT
// Wall-clock time of the same batches, the device's minimal part included. Reported, never compared with a limit.
#include <benchmark/benchmark.h>

#include "rig.hpp"

namespace {

void split_single(benchmark::State& state) {
  bench::rig rig;
  for (auto _ : state) rig.turn(bench::add_single);
  state.SetItemsProcessed(state.iterations() * bench::batch);
}
BENCHMARK(split_single);

void split_triple(benchmark::State& state) {
  bench::rig rig;
  for (auto _ : state) rig.turn(bench::add_triple);
  state.SetItemsProcessed(state.iterations() * bench::batch);
}
BENCHMARK(split_triple);

}  // namespace

BENCHMARK_MAIN();
