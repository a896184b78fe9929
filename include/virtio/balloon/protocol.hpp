// SPDX-License-Identifier: MIT
// The protocol of the balloon: feature bits, config fields, statistics.
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
constexpr void feature_bits_of(feature) {}  // marks the enumeration as feature bits

/// The specification's name of a feature, without VIRTIO_ and F_; null if the bit is not in the enumeration.
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
using field = config_field<u32, field_order::little>;  // little-endian, also on legacy devices
inline constexpr field num_pages{0};                   // the number of pages that the host requests in the balloon
inline constexpr field actual{4};                      // the number of pages in the balloon; the driver writes it
inline constexpr field free_page_hint_cmd_id{8};       // the open round of hints, or a hint_command
inline constexpr field poison_val{12};                 // the contents of free pages; the driver writes it
}  // namespace config

/// Command ids that are not a round of hints (5.5.6.4).
namespace hint_command {
inline constexpr u32 stop = 0;  // no hints are requested; from the driver: no more hints
inline constexpr u32 done = 1;  // the host does not need the hinted memory any more
}  // namespace hint_command

/// Bytes of a balloon page, whatever the guest's page size. A page number is a guest-physical address divided by it.
inline constexpr u32 page_bytes = 4096;

/// The contents of the program's free pages, for programs that depend on them. Without `page` the program does not
/// depend on the contents of free pages.
struct poison {
  u32 value = 0;                      // in every four bytes
  u8* (*page)(u32 number) = nullptr;  // returns the program's address of a page
};

/// Statistics of a guest's memory (5.5.6.3), in bytes except where a count is stated.
enum class statistic : u16 {
  swap_in = 0,
  swap_out = 1,
  major_faults = 2,  // a count
  minor_faults = 3,  // a count
  free_memory = 4,
  total_memory = 5,
  available_memory = 6,
  disk_caches = 7,
  huge_page_allocations = 8,  // a count
  huge_page_failures = 9,     // a count
};

/// One statistic and its current value.
struct sample {
  statistic what{};  // the statistic
  u64 value = 0;     // bytes or a count
};

/// A list of samples in the program's memory.
struct samples {
  const sample* data = nullptr;  // the first sample
  u16 count = 0;                 // number of samples

  constexpr samples() = default;
  /// Of all samples in an array.
  template <usize N>
  constexpr samples(const sample (&list)[N]) : data{list}, count{N} {}
};

}  // namespace virtio::balloon
