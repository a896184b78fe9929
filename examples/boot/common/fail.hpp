// SPDX-License-Identifier: MIT
// Error messages: the error, and for a device its verdict, the BAR or sizes in question, and the remedy. The boards of
// examples/boot inherit it as `board::fail`.
#pragma once

#include <virtio/balloon/protocol.hpp>
#include <virtio/blk/protocol.hpp>
#include <virtio/console/protocol.hpp>
#include <virtio/mmio.hpp>
#include <virtio/net/protocol.hpp>
#include <virtio/pci.hpp>
#include <virtio/scsi/protocol.hpp>
#include <virtio/vmmci/protocol.hpp>
#include <virtio/vsock/protocol.hpp>

#include "runtime.hpp"

namespace boot {

/// Hexadecimal, of fixed width.
inline void print_digits(virtio::u32 value, unsigned width) {
  while (width-- != 0) put("0123456789abcdef"[value >> 4 * width & 15]);
}

/// Returns the name of a feature bit, or nullptr if the library has no name for it.
[[nodiscard]] inline const char* feature_name(virtio::u8 bit, virtio::device_type type) {
  if (const char* const common = virtio::name(static_cast<virtio::feature>(bit)); common != nullptr) return common;
  switch (type) {
    case virtio::device_type::balloon: return virtio::balloon::name(static_cast<virtio::balloon::feature>(bit));
    case virtio::device_type::block: return virtio::blk::name(static_cast<virtio::blk::feature>(bit));
    case virtio::device_type::console: return virtio::console::name(static_cast<virtio::console::feature>(bit));
    case virtio::device_type::network: return virtio::net::name(static_cast<virtio::net::feature>(bit));
    case virtio::device_type::scsi: return virtio::scsi::name(static_cast<virtio::scsi::feature>(bit));
    case virtio::device_type::vmmci: return virtio::vmmci::name(static_cast<virtio::vmmci::feature>(bit));
    case virtio::device_type::vsock: return virtio::vsock::name(static_cast<virtio::vsock::feature>(bit));
    default: return nullptr;
  }
}

inline void print_feature(virtio::u8 bit, virtio::device_type type) {
  if (const char* const known = feature_name(bit, type); known != nullptr) print(known);
  else print("bit ", bit);
}

inline void print_type(virtio::device_type type) {
  const char* const known = virtio::name(type);
  if (type == virtio::device_type::none) print("device");
  else if (text{known, 6} == "device")
    print("device of type ", static_cast<unsigned>(type));  // the library has no name
  else print(known, " device");
}

/// Prints the details of a report and the remedy, each after `line`.
inline void print_details(const virtio::report& seen, const char* line) {
  using virtio::verdict;
  switch (seen.why) {
    case verdict::usable:
    case verdict::bound: return;  // nothing is wrong
    case verdict::bar_unassigned:
    case verdict::bar_out_of_reach:
    case verdict::bar_too_small:
      print(line, "BAR ", seen.bar, ": ");
      if (seen.bar_size != 0) print(hex(seen.bar_size), " bytes, ");
      if (seen.bar_address != 0) print("at ", hex(seen.bar_address));
      else print("no address");
      [[fallthrough]];
    case verdict::capability_missing:
    case verdict::capability_bar_invalid:
    case verdict::capability_too_short:
    case verdict::capability_misaligned:
      if (seen.capability != 0) print(line, "capability: ", virtio::pci::name(virtio::pci::structure{seen.capability}));
      if (seen.why == verdict::bar_too_small || seen.why == verdict::capability_too_short)
        print(line, seen.wanted, " bytes wanted, ", seen.available, " there");
      break;
    case verdict::version_unknown: print(line, "version ", seen.available); break;
    case verdict::feature_missing:
    case verdict::feature_unsupported:
      print(line, "feature: ");
      print_feature(seen.feature, seen.type);
      break;
    case verdict::queue_missing:
    case verdict::queue_too_small:
    case verdict::queue_size_invalid:
    case verdict::ring_too_small:
    case verdict::queue_unusable:
    case verdict::vector_refused:
      if (seen.queue == 0xffff) print(line, "of the configuration");
      else print(line, "queue ", seen.queue);
      if (seen.wanted != 0) print(": ", seen.wanted, " entries wanted, ", seen.available, " there");
      break;
    case verdict::limits_unusable:
    case verdict::block_size_invalid: print(line, "blocks of ", seen.available, " bytes"); break;
    case verdict::reset_timed_out:
    case verdict::features_refused: print(line, "its status: ", hex(seen.status)); break;
    default: break;
  }
  print(line, "what to do: ", virtio::advice(seen.why));
}

using virtio::is_virtio;

/// Prints one device that discovery has found: its location, its type, its verdict, and the details.
template <class Found>
void print_device(const Found& one) {
  print("  ");
  if constexpr (requires { one.slot; }) {
    print("slot ", one.slot);
  } else {
    print_digits(one.id.bus, 2);
    print(":");
    print_digits(one.id.slot, 2);
    print(".", one.id.function, " ");
    print_digits(one.who.vendor, 4);
    print(":");
    print_digits(one.who.device, 4);
  }
  print("  ");
  print_type(one.seen.type);
  if (one.seen.via != virtio::transport_kind::none) print(", ", virtio::name(one.seen.via));
  print(": ", virtio::describe(one.seen.why));
  print_details(one.seen, "\n    ");
  print("\n");
}

/// Prints what failed and why. Returns the guest's exit status, as the next two do.
template <class Each>
int fail(const char* what, Each&&, virtio::errc why) {
  print(what, ": ", virtio::describe(why), "\n");
  return 1;
}

/// The same for a start: with the device's verdict.
template <class Each>
int fail(const char* what, Each&& each, virtio::errc why, const virtio::report& seen) {
  fail(what, each, why);
  print("  ");
  print_type(seen.type);
  print(": ", virtio::describe(seen.why));
  print_details(seen, "\n    ");
  print("\n");
  return 1;
}

/// The same for a search: with every virtio device of the machine. `each(visit)` calls `visit` for each one.
template <class Each, class Found>
int fail(const char* what, Each&& each, const virtio::result<Found>& where) {
  fail(what, each, where.error());
  unsigned others = 0, devices = 0;
  each([&](const auto& one) {
    if (!is_virtio(one.seen.why)) {
      ++others;
      return;
    }
    ++devices;
    print_device(one);
  });
  if (devices == 0) print("  no virtio device: ", others, " other functions or empty slots\n");
  return 1;
}

/// `Board` inherits `fail` from it.
template <class Board>
struct reports_failures {
  /// Prints what failed and why. Returns the guest's exit status. `why` is an error, followed by a driver's `why()` if
  /// a start failed; or the result of a search: then all virtio devices are listed.
  template <class... Why>
  static int fail(const char* what, const Why&... why) {
    return boot::fail(
        what,
        [](auto visit) {
          if constexpr (virtio::pci::host<Board>) virtio::pci::for_each(Board{}, visit);
          else virtio::mmio::for_each(Board{}, visit);
        },
        why...);
  }
};

}  // namespace boot
