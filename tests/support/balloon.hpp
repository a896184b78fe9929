// SPDX-License-Identifier: MIT
// Shared by tests of the balloon driver: pages to name, free memory to inspect, and a platform that maps memory in
// place.
#pragma once

#include <virtio/balloon.hpp>
#include <virtio/testing/balloon_model.hpp>

#include "machine.hpp"

namespace rig {

using virtio::testing::balloon_model;
using balloon_offers = std::initializer_list<unsigned>;

template <class Queue = split_queue<8>, class Transport = any_pci, class Platform = platform_type>
using balloon_driver = driver<balloon::device<Platform, Transport, Queue>>;

inline constexpr balloon::sample two_samples[] = {{balloon::statistic::total_memory, 1 << 30},
                                                  {balloon::statistic::free_memory, 1 << 20}};

/// Consecutive pages.
struct pages_from {
  u32 next;
  u32 end = ~u32{0};
  bool operator()(u32& page) { return next != end && (page = next++, true); }
};
inline constexpr pages_from no_pages{0, 0};

template <class Driver>
result<void> start(Driver& d, machine& m, balloon::samples first = {}) {
  return d->start(m.platform(), m.where(4), d.storage(), {}, first);
}

/// Free memory of the guest: pages from number `first` on.
struct free_pages {
  static constexpr u32 first = 1000, count = 64;
  alignas(4096) static inline u8 memory[count * balloon::page_bytes];

  static u8* page(u32 number) { return memory + usize{number - first} * balloon::page_bytes; }
  static bytes stretch(u32 from, u32 pages) { return {page(first + from), usize{pages} * balloon::page_bytes}; }
  static void fill(u8 with) { std::fill(std::begin(memory), std::end(memory), with); }
  static bool all_are(u32 from, u32 pages, u32 word) {
    for (usize at = 0; at < usize{pages} * balloon::page_bytes; at += 4)
      if (virtio::testing::wire::get(page(first + from) + at, 4, virtio::testing::wire::native) != word) return false;
    return true;
  }
};

/// Memory is mapped in place, so that a test and the device see the same bytes. The device can address the free pages.
struct in_place {
  using barriers = smp_barriers;
  struct board {
    machine* m = nullptr;
    std::set<const volatile void*> windows{};
  };
  board* at = nullptr;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    auto& memory = at->m->memory.memory;
    if (at->windows.empty()) (void)memory.add_identity(free_pages::memory, sizeof free_pages::memory);
    if (way == direction::shared && at->windows.insert(va).second) (void)memory.add_identity(va, n);
    return out.push(dma_addr{reinterpret_cast<uptr>(va)}, n, way);
  }
  bool keep_waiting(waiting why, u64 attempt) const { return at->m->memory.keep_waiting(why, attempt); }
};

template <class Queue = split_queue<8>, class Transport = any_pci>
struct balloon_in_place : balloon_driver<Queue, Transport, in_place> {
  result<void> start(machine& m, balloon::samples first = {}, balloon::poison held = {}) {
    board.m = &m;
    return (*this)->start(in_place{&board}, m.where(4), this->storage(), {}, first, held);
  }
  in_place::board board{};
};

}  // namespace rig
