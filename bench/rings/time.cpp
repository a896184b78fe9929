// SPDX-License-Identifier: MIT
// Wall-clock time of the same batches, including the device's minimal part. Reported, never compared with a limit.
#include <benchmark/benchmark.h>

#include "rig.hpp"

namespace {

template <class Ring>
void single(benchmark::State& state) {
  const auto rig = std::make_unique<bench::rig<Ring>>();
  for (auto _ : state) rig->turn(bench::add_single<Ring>);
  state.SetItemsProcessed(state.iterations() * rig->batch);
}
template <class Ring>
void triple(benchmark::State& state) {
  const auto rig = std::make_unique<bench::rig<Ring>>();
  for (auto _ : state) rig->turn(bench::add_triple<Ring>);
  state.SetItemsProcessed(state.iterations() * rig->batch);
}

using split = virtio::split_ring<256>;
using packed = virtio::packed_ring<256>;
BENCHMARK(single<split>)->Name("split_single");
BENCHMARK(triple<split>)->Name("split_triple");
BENCHMARK(single<packed>)->Name("packed_single");
BENCHMARK(triple<packed>)->Name("packed_triple");

}  // namespace

BENCHMARK_MAIN();
