// SPDX-License-Identifier: MIT
// Why a device was bound, or why not. Discovery, transports and the session fill it in; the program prints it.
// According to field reports, a device that "is detected but does not bind" costs days if no message gives the reason.
// Layer: base.
#pragma once

#include <virtio/base/features.hpp>
#include <virtio/base/result.hpp>

namespace virtio {

/// The interface through which a device is driven.
enum class transport_kind : u8 { none, pci_modern, pci_legacy, mmio_modern, mmio_legacy };

/// Returns the name of an interface, for a log line. Static storage.
[[nodiscard]] constexpr const char* name(transport_kind which) {
  switch (which) {
    case transport_kind::none: return "no interface";
    case transport_kind::pci_modern: return "modern PCI";
    case transport_kind::pci_legacy: return "legacy PCI";
    case transport_kind::mmio_modern: return "MMIO";
    case transport_kind::mmio_legacy: return "legacy MMIO";
  }
  return "no interface";
}

/// The outcome for one device, from discovery to DRIVER_OK.
enum class verdict : u8 {
  undecided = 0,
  usable,                  // discovery: can be driven through `via`
  bound,                   // session: DRIVER_OK is written
  not_virtio,              // neither virtio's vendor id nor in the user's id table
  id_outside_ranges,       // vendor 1af4, device outside 1000-107f
  type_unknown,            // a transitional id whose subsystem id is no device type
  id_without_type,         // the id 1040, an MMIO id above ffff, or a row of the user's table without a type
  not_virtio_mmio,         // MMIO: the magic value is another one: no virtio registers
  version_unknown,         // MMIO: registers of the version `available`, which is neither 1 nor 2
  empty_slot,              // MMIO: registers without a device. No error: hosts have more slots than devices
  capability_missing,      // `capability` is not in the list
  capability_bar_invalid,  // `capability` names a reserved BAR
  capability_too_short,    // `capability` is too small for its structure
  capability_misaligned,   // `capability` starts at a misaligned offset
  bar_unassigned,          // `bar` has no address
  bar_out_of_reach,        // `bar` lies where this CPU or host cannot access it
  bar_too_small,           // `capability` reaches past the end of `bar`
  legacy_without_io_bar,   // neither virtio capabilities nor a legacy register block
  legacy_unsupported,      // a legacy device, but the transport is for modern ones only
  modern_unsupported,      // a modern device, but the transport is for legacy ones only
  wrong_type,              // the driver is for another type of device
  decoding_off,            // the command register's decoding bits stay off: the registers do not answer
  reset_timed_out,         // the status register did not return to zero; it reads `status`
  device_gone,             // the status register reads all ones: no device answers
  former_device_stuck,     // the previous device of this object does not confirm its reset and keeps the object
  feature_missing,         // the driver requires `feature`, but the device does not offer it
  feature_unsupported,     // the device requires `feature`, which the platform rejects or the driver does not implement
  features_refused,        // FEATURES_OK did not stay set
  queue_missing,           // queue `queue` does not exist
  queue_too_small,         // queue `queue` of the device has `available` entries, but a request may need `wanted`
  queue_size_invalid,      // the device requires `wanted` entries for queue `queue`, which is not a power of two
  ring_too_small,          // the driver's ring for queue `queue` has `available` entries, but `wanted` are needed
  queue_unusable,          // the ring for queue `queue` cannot be set up; `error` has the reason
  vector_refused,          // MSI-X vector for `queue` (ffff: configuration): not in the table, no room, or MSI-X is off
  config_unreadable,       // the device's configuration is missing, or never reads stably
  limits_unusable,         // the device's limits leave no room for a request of one block, `available` bytes
  block_size_invalid,      // the disk's blocks have `available` bytes, which is not a power of two
  cid_unusable,            // sockets: the guest's context id is `available`, which is reserved
  storage_unusable,        // the DMA storage is too small, misaligned or out of reach; `error` has the reason
};

/// What discovery or a start found out about one device. Numbers only; `describe` and the `name` functions return text.
struct report {
  verdict why = verdict::undecided;           // the outcome
  errc error = errc::ok;                      // the error behind it
  transport_kind via = transport_kind::none;  // the interface
  device_type type = device_type::none;       // what the device is
  u8 capability = 0;                          // PCI capability type (1 common, 2 notify, 3 ISR, 4 device config)
  u8 bar = 0;                                 // BAR number
  u8 feature = 0;                             // bit number
  u8 status = 0;                              // the device's status byte, where the verdict is about it
  u16 queue = 0;                              // queue number
  u32 wanted = 0;                             // bytes or entries that were needed, where the verdict is about a size
  u32 available = 0;                          // bytes or entries that the device or driver has, or its version
  u64 bar_address = 0;  // bus address of `bar`, where the verdict is about a BAR; 0: none assigned
  u64 bar_size = 0;     // bytes that `bar` decodes; 0: none, or the PCI host has no `locate`
};

/// Returns the error of a `start` on a device with this verdict of discovery.
[[nodiscard]] constexpr errc error_of(verdict why) {
  if (why == verdict::undecided) return errc::invalid_argument;
  if (why >= verdict::not_virtio && why <= verdict::not_virtio_mmio) return errc::wrong_device;
  if (why == verdict::empty_slot || why == verdict::capability_missing || why == verdict::legacy_without_io_bar)
    return errc::not_found;
  return errc::unsupported;
}

/// Returns whether a virtio device is present, usable or not. False for other PCI functions and for empty slots.
[[nodiscard]] constexpr bool is_virtio(verdict why) {
  return why != verdict::not_virtio && why != verdict::id_outside_ranges && why != verdict::not_virtio_mmio &&
         why != verdict::empty_slot;
}

/// Returns the remedy for a verdict: one phrase for a log line. Static storage.
[[nodiscard]] constexpr const char* advice(verdict why) {
  switch (why) {
    case verdict::undecided: return "run discovery first: it gives every device a verdict";
    case verdict::usable: return "start a driver";
    case verdict::bound: return "nothing: the driver runs";
    case verdict::not_virtio: return "nothing; a virtio device with ids of its own needs a row in the id table";
    case verdict::id_outside_ranges:
      return "nothing: QEMU's ivshmem, for example, has this vendor id but is not a virtio device";
    case verdict::type_unknown: return "configure the device type on the host, or report it there";
    case verdict::id_without_type: return "nothing; if a row of your id table has no type, add it";
    case verdict::not_virtio_mmio: return "check the board's list of slots";
    case verdict::version_unknown: return "nothing: a device of a later specification";
    case verdict::empty_slot: return "nothing: hosts have more slots than devices";
    case verdict::capability_missing: return "report it to the host, unless it is a legacy device";
    case verdict::capability_bar_invalid: return "report it to the host: a bug there";
    case verdict::capability_too_short: return "report it to the host: a bug there";
    case verdict::capability_misaligned: return "report it to the host: a bug there";
    case verdict::bar_unassigned: return "call pci::assign if no firmware ran; if one ran, give it a larger window";
    case verdict::bar_out_of_reach:
      return "map the BAR and raise the board's reach, or put pci::windowed around the host";
    case verdict::bar_too_small: return "report it to the host: a bug there";
    case verdict::legacy_without_io_bar: return "report it to the host, or give the board a way to I/O ports";
    case verdict::legacy_unsupported:
      return "drive it with pci::transport or pci::legacy (MMIO: mmio::transport or mmio::legacy)";
    case verdict::modern_unsupported:
      return "drive it with pci::transport or pci::modern (MMIO: mmio::transport or mmio::modern)";
    case verdict::wrong_type: return "start the driver for its type";
    case verdict::decoding_off:
      return "add config_write16 to the PCI host: some monitors ignore wider writes of the command register";
    case verdict::reset_timed_out:
      return "let keep_waiting wait longer for a reset; if it already waits minutes, the device is broken";
    case verdict::device_gone: return "check whether it was removed, and the board's addresses of its registers";
    case verdict::former_device_stuck:
      return "start this device with another object and other storage: the previous device keeps them";
    case verdict::feature_missing: return "configure the device so that it offers the feature";
    case verdict::feature_unsupported:
      return "switch the feature off on the host, or use a platform whose access_platform accepts it";
    case verdict::features_refused: return "compare what was offered and accepted: trace shows both";
    case verdict::queue_missing: return "configure the queue on the host, or report it there";
    case verdict::queue_too_small: return "configure the device with a larger queue";
    case verdict::queue_size_invalid: return "report it to the host: a bug there";
    case verdict::ring_too_small:
      return "give the driver a larger queue, or for a legacy device ring_options::ring_entries";
    case verdict::queue_unusable:
      return "put the storage at lower addresses if error is dma_unreachable; else report it to the host";
    case verdict::vector_refused: return "request fewer vectors, enable MSI-X first, or (MMIO) request none";
    case verdict::config_unreadable: return "try the transport's policy by_dword or by_byte, or report it to the host";
    case verdict::limits_unusable: return "report it to the host: a bug there";
    case verdict::block_size_invalid: return "report it to the host: a bug there";
    case verdict::cid_unusable: return "give the device a guest-cid from 3 to 4294967294 on the host";
    case verdict::storage_unusable: return "use dma_storage<driver::dma_bytes>, where the device can reach it";
  }
  return "";
}

/// Returns the meaning of a verdict: one phrase for a log line. Static storage.
[[nodiscard]] constexpr const char* describe(verdict why) {
  switch (why) {
    case verdict::undecided: return "not examined yet";
    case verdict::usable: return "usable";
    case verdict::bound: return "bound";
    case verdict::not_virtio: return "not a virtio device";
    case verdict::id_outside_ranges: return "virtio vendor, but the device id is outside 1000-107f";
    case verdict::type_unknown: return "transitional id, but the subsystem id names no device type";
    case verdict::id_without_type: return "an id without a device type";
    case verdict::not_virtio_mmio: return "no virtio registers here";
    case verdict::version_unknown: return "virtio registers of an unknown version";
    case verdict::empty_slot: return "a slot without a device";
    case verdict::capability_missing: return "a capability is missing from the list";
    case verdict::capability_bar_invalid: return "a capability names a reserved BAR";
    case verdict::capability_too_short: return "a capability is too short for its structure";
    case verdict::capability_misaligned: return "a capability is misaligned";
    case verdict::bar_unassigned: return "a BAR has no address assigned";
    case verdict::bar_out_of_reach: return "a BAR lies where it cannot be accessed";
    case verdict::bar_too_small: return "a capability reaches past the end of its BAR";
    case verdict::legacy_without_io_bar: return "no virtio capabilities and no legacy register block in BAR 0";
    case verdict::legacy_unsupported: return "legacy device, but the transport is for modern ones only";
    case verdict::modern_unsupported: return "modern device, but the transport is for legacy ones only";
    case verdict::wrong_type: return "a device of another type";
    case verdict::decoding_off: return "the device's decoding cannot be enabled: its registers do not answer";
    case verdict::reset_timed_out: return "the device did not finish its reset";
    case verdict::device_gone: return "no device answers: its status reads all ones";
    case verdict::former_device_stuck: return "the previous device of this driver object does not finish its reset";
    case verdict::feature_missing: return "the device lacks a feature that the driver needs";
    case verdict::feature_unsupported: return "the device needs a feature that the platform or the driver rejects";
    case verdict::features_refused: return "the device rejected the chosen features";
    case verdict::queue_missing: return "a queue is missing";
    case verdict::queue_too_small: return "the device's queue has too few entries for a request";
    case verdict::queue_size_invalid: return "the device requires a queue size that is not a power of two";
    case verdict::ring_too_small: return "the driver's ring has too few entries";
    case verdict::queue_unusable: return "a queue cannot be set up";
    case verdict::vector_refused: return "the interrupt vector does not exist, the device rejects it, or MSI-X is off";
    case verdict::config_unreadable: return "the device's configuration cannot be read";
    case verdict::limits_unusable: return "the device's limits leave no room for a request";
    case verdict::block_size_invalid: return "the disk's block size is not a power of two";
    case verdict::cid_unusable: return "the device's guest_cid is reserved";
    case verdict::storage_unusable: return "the DMA storage cannot be used";
  }
  return "unknown";
}

/// What the optional trace hooks of a platform or a bus receive.
struct event {
  /// The event, and what `a` and `b` mean for it.
  enum class kind : u8 {
    function,        // a: bus, slot and function if the host has them, or the MMIO slot, b: vendor and device id
    verdict,         // a: verdict, b: capability
    status_write,    // a: the new status
    feature_offer,   // a: word number, b: the word
    feature_accept,  // a: word number, b: the word
    queue_enabled,   // a: queue, b: entries
    doorbell,        // a: queue, b: 1 for a repeated notification
  };
  kind what;  // the event
  u32 a = 0;  // see `kind`
  u32 b = 0;  // see `kind`
};

namespace detail {

/// Passes an event to the observer's `trace`, if it has one; otherwise no code. A macro would break the one-definition
/// rule.
template <class Observer>
constexpr void trace(const Observer& observer, event happened) {
  if constexpr (requires { observer.trace(happened); }) observer.trace(happened);
}

}  // namespace detail
}  // namespace virtio
