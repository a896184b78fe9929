// SPDX-License-Identifier: MIT
// What a drive requires of a disk: requests that are taken now and end later, with a reason if they fail.
// Spec: SPC-4, 4.5 (sense data). Layer: storage (may include device, engine, codec, base).
#pragma once

#include <usbip/base/types.hpp>

namespace usbip::storage {

/// Why a request failed, in SCSI's terms: key, code, qualifier. All zeros is success. A disk that is a SCSI device
/// passes its own values on.
struct sense {
  u8 key = 0;        // sense key
  u8 code = 0;       // additional sense code
  u8 qualifier = 0;  // its qualifier

  /// Whether the request succeeded.
  [[nodiscard]] constexpr bool is_good() const { return key == 0; }
};

inline constexpr sense good{};                        // success
inline constexpr sense no_medium{2, 0x3a, 0};         // no disk is present, or it has no blocks
inline constexpr sense not_ready{2, 4, 0};            // the disk does not run
inline constexpr sense read_error{3, 0x11, 0};        // the medium failed a read
inline constexpr sense write_error{3, 0x0c, 0};       // the medium failed a write
inline constexpr sense hardware_error{4, 0x44, 0};    // the disk itself failed
inline constexpr sense unknown_command{5, 0x20, 0};   // the command is not supported
inline constexpr sense out_of_range{5, 0x21, 0};      // the block is outside the disk
inline constexpr sense wrong_field{5, 0x24, 0};       // a field of the command is invalid
inline constexpr sense not_saved{5, 0x39, 0};         // saved mode pages do not exist
inline constexpr sense capacity_changed{6, 0x2a, 9};  // the number of blocks has changed
inline constexpr sense write_protected{7, 0x27, 0};   // the disk is read-only
inline constexpr sense aborted{0x0b, 0, 0};           // the request was aborted; it may succeed when repeated

/// Whether a disk has taken a request. `later`: it has no room now. `refused`: it rejects the request, and `why` is the
/// reason.
struct submitted {
  /// Whether it has the request.
  enum class kind : u8 { taken, later, refused };
  kind what = kind::taken;  // whether it has the request
  sense why{};              // for `refused`

  /// The disk has the request.
  [[nodiscard]] static constexpr submitted taken() { return {}; }
  /// The disk has no room now.
  [[nodiscard]] static constexpr submitted later() { return {kind::later, {}}; }
  /// The disk rejects the request.
  [[nodiscard]] static constexpr submitted refused(sense reason) { return {kind::refused, reason}; }
};

/// A request that has ended.
struct completion {
  u64 cookie = 0;  // as submitted
  sense result{};  // how it ended
};

/// A disk. None of the calls waits. A disk belongs to one drive, which receives every completion.
///
/// 1. `blocks()`, of `block_bytes()` each: a power of two from 512 to 4096. The number may change between commands. 0:
///    no medium.
/// 2. `submit_read(block, bytes, cookie)` and `submit_write(block, const_bytes, cookie)`: whole blocks of the disk. The
///    memory belongs to the disk until the request ends. `submit_flush(cookie)` makes written data stable; a disk
///    without a cache refuses it with `good`.
/// 3. `kick()`: called after requests were submitted.
/// 4. `next_completion(completion&)`: false if no request has ended. Each taken request ends once, in any order.
template <class D>
concept disk = requires(D& disk, const D& unchanged, u64 number, bytes into, const_bytes from, completion& ended) {
  { unchanged.blocks() } -> same_as<u64>;
  { unchanged.block_bytes() } -> same_as<u32>;
  { unchanged.is_read_only() } -> same_as<bool>;
  { disk.submit_read(number, into, number) } -> same_as<submitted>;
  { disk.submit_write(number, from, number) } -> same_as<submitted>;
  { disk.submit_flush(number) } -> same_as<submitted>;
  disk.kick();
  { disk.next_completion(ended) } -> same_as<bool>;
};

}  // namespace usbip::storage
