// SPDX-License-Identifier: MIT
// What driver and balloon say to each other: feature bits, config fields, statistics.
// Spec: virtio 1.4, 5.5. Layer: balloon.
#pragma once

#include <virtio/base/features.hpp>
#include <virtio/transport/config_field.hpp>

namespace virtio::balloon {

/// Feature bits of balloons (5.5.3).
enum class feature : u8 {
  must_tell_host = 0,
  stats_vq = 1,
  deflate_on_oom = 2,
  free_page_hint = 3,
  page_poison = 4,
  page_reporting = 5,
};
constexpr void feature_bits_of(feature) {}

[[nodiscard]] constexpr const char* name(feature bit) {
  switch (bit) {
    case feature::must_tell_host: return "BALLOON_MUST_TELL_HOST";
    case feature::stats_vq: return "BALLOON_STATS_VQ";
    case feature::deflate_on_oom: return "BALLOON_DEFLATE_ON_OOM";
    case feature::free_page_hint: return "BALLOON_FREE_PAGE_HINT";
    case feature::page_poison: return "BALLOON_PAGE_POISON";
    case feature::page_reporting: return "BALLOON_PAGE_REPORTING";
  }
  return nullptr;
}

/// Fields of device config (5.5.4).
namespace config {
using field = config_field<u32, field_order::little>;
inline constexpr field num_pages{0};  // the pages that the host wants in the balloon
inline constexpr field actual{4};     // the pages in it, which the driver writes
inline constexpr field free_page_hint_cmd_id{8};  // the round of hints that is open, or a hint_command
inline constexpr field poison_val{12};  // what free pages hold, which the driver writes
}  // namespace config

/// Command ids that are no round of hints (5.5.6.4).
namespace hint_command {
inline constexpr u32 stop = 0;  // no hints are wanted; the driver sends it when it has no more
inline constexpr u32 done = 1;  // what was hinted is needed no more
}  // namespace hint_command

/// The balloon's page, whatever the guest's own is. A page number is a guest-physical address divided by it.
inline constexpr u32 page_bytes = 4096;

/// What the program's free pages hold, for programs that rely on it. Without `page` the program relies on the contents of no free page.
struct poison {
  u32 value = 0;                      // in every four bytes
  u8* (*page)(u32 number) = nullptr;  // where the program sees the page of that number
};

/// What a guest may tell of its memory (5.5.6.3). Bytes, where nothing else is said.
enum class statistic : u16 {
  swap_in = 0,
  swap_out = 1,
  major_faults = 2,  // a number
  minor_faults = 3,  // a number
  free_memory = 4,
  total_memory = 5,
  available_memory = 6,
  disk_caches = 7,
  huge_page_allocations = 8,  // a number
  huge_page_failures = 9,     // a number
};

/// One statistic and its value now.
struct sample {
  statistic what{};
  u64 value = 0;
};

/// Several, in the program's memory.
struct samples {
  const sample* data = nullptr;
  u16 count = 0;

  constexpr samples() = default;
  template <usize N>
  constexpr samples(const sample (&list)[N]) : data{list}, count{N} {}
};

}  // namespace virtio::balloon
