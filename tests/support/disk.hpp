// SPDX-License-Identifier: MIT
// Shared by tests of the block driver: a disk with storage for every device of a test, and functions that check the
// results.
#pragma once

#include <utility>
#include <vector>

#include <virtio/blk.hpp>
#include <virtio/testing/blk_model.hpp>

#include "machine.hpp"

namespace rig {

using virtio::testing::blk_model;
using virtio::testing::blk_options;

std::unique_ptr<device_model> made(kind<blk_model>, device_memory& memory, blk_options options = {});

template <class Queue = split_queue<16>, class Transport = any_pci>
using disk = driver<blk::device<platform_type, Transport, Queue>>;
using big_queue = split_queue<16, ring_options{.indirect = 8, .ring_entries = 256}>;

inline void fill_pattern(blk_model& model) {
  for (usize i = 0; i < model.data().size(); ++i) model.data()[i] = static_cast<u8>(i / 512 * 7 + i % 251);
}

/// The contents of a model's disk.
inline std::vector<u8> expected(blk_model& model, u64 sector, usize size) {
  const auto from = model.data().begin() + static_cast<std::ptrdiff_t>(sector * 512);
  return {from, from + static_cast<std::ptrdiff_t>(size)};
}

/// The requests that have ended, without waiting.
template <class Disk>
std::vector<blk::done> polled(Disk& d) {
  std::vector<blk::done> all;
  (void)d->poll([&](blk::done one) { all.push_back(one); });
  return all;
}

/// The completions until no request is in flight, and the result.
template <class Disk>
std::pair<result<void>, std::vector<blk::done>> drained(Disk& d) {
  std::vector<blk::done> all;
  const auto end = d->drain([&](blk::done one) { all.push_back(one); });
  return {end, all};
}

}  // namespace rig

using rig::big_queue;
using rig::blk_model;
using rig::blk_options;
using rig::drained;
using rig::expected;
using rig::fill_pattern;
using rig::polled;
using virtio::testing::extent_rules;

#ifdef VIRTIO_TEST_ONE_UNIT
#include "disk.cpp"
#else  // compiled in disk.cpp
extern template class virtio::blk::device<rig::platform_type, rig::any_pci, virtio::split_queue<16>>;
extern template struct rig::driver<virtio::blk::device<rig::platform_type, rig::any_pci, virtio::split_queue<16>>>;
extern template class virtio::blk::device<rig::platform_type, rig::any_pci, rig::big_queue>;
extern template struct rig::driver<virtio::blk::device<rig::platform_type, rig::any_pci, rig::big_queue>>;
extern template std::vector<virtio::blk::done> rig::polled(rig::disk<rig::big_queue>&);
extern template std::pair<virtio::result<void>, std::vector<virtio::blk::done>> rig::drained(
    rig::disk<rig::big_queue>&);
#endif
