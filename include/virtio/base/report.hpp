// SPDX-License-Identifier: MIT
// Why a device was bound, or why not: filled by discovery, by the transports and by the session, printed by the program.
// Field reports say that a device which "is detected but does not bind" costs days when nothing names the reason.
// Layer: base.
#pragma once

#include <virtio/base/features.hpp>
#include <virtio/base/result.hpp>

namespace virtio {

/// The transport through which a device is driven.
enum class transport_kind : u8 { none, pci_modern, pci_legacy, mmio_modern, mmio_legacy };

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

/// The outcome of looking at one device, from discovery to DRIVER_OK.
enum class verdict : u8 {
  undecided = 0,
  usable,                 // discovery: can be driven through `via`
  bound,                  // session: DRIVER_OK is written
  not_virtio,             // neither the vendor nor the user's id table
  id_outside_ranges,      // vendor 1af4, device outside 1000-107f
  type_unknown,           // transitional id whose subsystem id names no device type
  id_without_type,        // the id 1040, an MMIO id above ffff, or a row of the user's table that names no type
  not_virtio_mmio,        // MMIO: no virtio registers there, the magic value says something else
  version_unknown,        // MMIO: registers of a version that is neither 1 nor 2; `available` says which
  empty_slot,             // MMIO: registers without a device behind them. No error: hosts have more slots than devices
  capability_missing,     // `capability` is not in the list
  capability_bar_invalid, // `capability` names a reserved BAR
  capability_too_short,   // `capability` is too small for its structure
  capability_misaligned,  // `capability` starts at an offset its structure cannot have
  bar_unassigned,         // `bar` has no address
  bar_out_of_reach,       // `bar` lies where this CPU or host cannot access it
  bar_too_small,          // `capability` reaches past the end of `bar`
  legacy_without_io_bar,  // neither virtio capabilities nor a legacy register block
  legacy_unsupported,     // a legacy device, and the driver was built for modern ones only
  modern_unsupported,     // a modern device, and the driver was built for legacy ones only
  wrong_type,             // the driver is for another type of device
  decoding_off,           // the command register's decoding bits stay off: nothing answers at the registers
  reset_timed_out,        // status did not return to zero; it reads `status`
  device_gone,            // its status reads all ones: nothing answers there
  former_device_stuck,    // the device that this object drove before does not confirm its reset, and keeps the object
  feature_missing,        // the driver insists on `feature`, the device does not offer it
  feature_unsupported,    // the device insists on `feature`, which the platform refuses or the driver does not know
  features_refused,       // FEATURES_OK did not stay set
  queue_missing,          // queue `queue` does not exist
  queue_too_small,        // queue `queue` of the device has `available` entries, and a request may need `wanted`
  queue_size_invalid,     // the device dictates `wanted` entries for queue `queue`, which is no power of two
  ring_too_small,         // the driver's ring for queue `queue` has `available` entries, where `wanted` are needed
  queue_unusable,         // the ring for queue `queue` cannot be set up; `error` says why
  vector_refused,         // no such MSI-X vector, no room for it, or MSI-X is off; `queue` says whose, ffff: the configuration's
  config_unreadable,      // the device's configuration never gave a stable answer, or is not there
  limits_unusable,        // the device's limits leave no room for any request, one block of `available` bytes
  block_size_invalid,     // the disk's blocks have `available` bytes, which is no power of two
  cid_unusable,           // sockets: the device gives this guest the context id `available`, which no guest can have
  storage_unusable,       // the DMA storage is too small, misaligned or out of the device's reach; `error` says which
};

/// One look at one device. Numbers only; `describe` and the `name` functions turn them into words.
struct report {
  verdict why = verdict::undecided;
  errc error = errc::ok;
  transport_kind via = transport_kind::none;
  device_type type = device_type::none;
  u8 capability = 0;    // PCI capability type (1 common, 2 notify, 3 ISR, 4 device config)
  u8 bar = 0;
  u8 feature = 0;       // bit number
  u8 status = 0;        // the device's status byte when it mattered
  u16 queue = 0;
  u32 wanted = 0;       // bytes or entries that were needed, where the verdict is about a size
  u32 available = 0;    // bytes or entries that were there, or the version that was
  u64 bar_address = 0;  // on the bus, of `bar`, where the verdict is about a BAR; 0: none assigned
  u64 bar_size = 0;     // bytes that `bar` decodes; 0: none, or the PCI host cannot say
};

/// The error of a `start` on a device that discovery has found unusable.
[[nodiscard]] constexpr errc error_of(verdict why) {
  if (why == verdict::undecided) return errc::invalid_argument;
  if (why >= verdict::not_virtio && why <= verdict::not_virtio_mmio) return errc::wrong_device;
  if (why == verdict::empty_slot || why == verdict::capability_missing || why == verdict::legacy_without_io_bar) return errc::not_found;
  return errc::unsupported;
}

/// Returns whether a virtio device is present, usable or not. False for other PCI functions and for empty slots.
[[nodiscard]] constexpr bool is_virtio(verdict why) {
  return why != verdict::not_virtio && why != verdict::id_outside_ranges && why != verdict::not_virtio_mmio &&
         why != verdict::empty_slot;
}

/// What to do about a verdict, for a log line: one phrase. Static storage.
[[nodiscard]] constexpr const char* advice(verdict why) {
  switch (why) {
    case verdict::undecided: return "look at it first: discovery gives every device a verdict";
    case verdict::usable: return "start a driver";
    case verdict::bound: return "nothing: the driver runs";
    case verdict::not_virtio: return "nothing; a virtio device with ids of its own needs a row in the id table";
    case verdict::id_outside_ranges: return "nothing: QEMU's ivshmem, for one, has this vendor and is no virtio device";
    case verdict::type_unknown: return "ask the host which type it is meant to be";
    case verdict::id_without_type: return "nothing; if the row of your id table says so, give it a type";
    case verdict::not_virtio_mmio: return "check the board's list of slots";
    case verdict::version_unknown: return "nothing: a device of a later specification";
    case verdict::empty_slot: return "nothing: hosts have more slots than devices";
    case verdict::capability_missing: return "report it to the host, or it is no virtio 1 device";
    case verdict::capability_bar_invalid: return "report it to the host: a bug there";
    case verdict::capability_too_short: return "report it to the host: a bug there";
    case verdict::capability_misaligned: return "report it to the host: a bug there";
    case verdict::bar_unassigned: return "call pci::assign if no firmware ran; if one ran, give it a larger window";
    case verdict::bar_out_of_reach: return "map the BAR and raise the board's reach, or put pci::windowed around the host";
    case verdict::bar_too_small: return "report it to the host: a bug there";
    case verdict::legacy_without_io_bar: return "report it to the host, or give the board a way to I/O ports";
    case verdict::legacy_unsupported: return "drive it with pci::transport or pci::legacy (MMIO: mmio::transport or mmio::legacy)";
    case verdict::modern_unsupported: return "drive it with pci::transport or pci::modern (MMIO: mmio::transport or mmio::modern)";
    case verdict::wrong_type: return "start the driver for its type";
    case verdict::decoding_off: return "give the host config_write16: some monitors ignore wider writes of the command register";
    case verdict::reset_timed_out: return "have keep_waiting wait longer for a reset; if that is minutes already, the device is broken";
    case verdict::device_gone: return "see whether it was pulled out, or its registers are not where the board looks for them";
    case verdict::former_device_stuck: return "leave object and storage to that device: start this one with others";
    case verdict::feature_missing: return "configure the device so that it offers the feature";
    case verdict::feature_unsupported: return "switch the feature off on the host, or use a platform whose access_platform accepts it";
    case verdict::features_refused: return "compare what was offered and accepted: trace shows both";
    case verdict::queue_missing: return "configure the queue on the host, or report it there";
    case verdict::queue_too_small: return "configure the device with a queue of as many entries as are wanted";
    case verdict::queue_size_invalid: return "report it to the host: a bug there";
    case verdict::ring_too_small: return "give the driver a larger queue, or for a legacy device ring_options::ring_entries";
    case verdict::queue_unusable: return "put the storage at lower addresses if error is dma_unreachable; else report it to the host";
    case verdict::vector_refused: return "ask for fewer vectors, switch MSI-X on first, or (MMIO) ask for none";
    case verdict::config_unreadable: return "try the transport's policy by_dword or by_byte, or report it to the host";
    case verdict::limits_unusable: return "report it to the host: a bug there";
    case verdict::block_size_invalid: return "report it to the host: a bug there";
    case verdict::cid_unusable: return "give the device a guest-cid from 3 to 4294967294 on the host";
    case verdict::storage_unusable: return "use dma_storage<driver::dma_bytes>, where the device can reach it";
  }
  return "";
}

/// What a verdict means, for a log line: one phrase. Static storage.
[[nodiscard]] constexpr const char* describe(verdict why) {
  switch (why) {
    case verdict::undecided: return "not looked at";
    case verdict::usable: return "usable";
    case verdict::bound: return "bound";
    case verdict::not_virtio: return "not a virtio device";
    case verdict::id_outside_ranges: return "virtio vendor, but the device id is outside 1000-107f";
    case verdict::type_unknown: return "transitional id, but the subsystem id names no device type";
    case verdict::id_without_type: return "an id that stands for no device type";
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
    case verdict::legacy_unsupported: return "legacy device, and only modern ones are wanted";
    case verdict::modern_unsupported: return "modern device, and only legacy ones are wanted";
    case verdict::wrong_type: return "a device of another type";
    case verdict::decoding_off: return "the device's decoding cannot be switched on: it does not answer at its registers";
    case verdict::reset_timed_out: return "the device did not finish its reset";
    case verdict::device_gone: return "nothing answers: the device's status reads all ones";
    case verdict::former_device_stuck: return "the device that this driver object had before does not finish its reset";
    case verdict::feature_missing: return "the device lacks a feature that the driver needs";
    case verdict::feature_unsupported: return "the device needs a feature that the platform or the driver refuses";
    case verdict::features_refused: return "the device refused the chosen features";
    case verdict::queue_missing: return "a queue is missing";
    case verdict::queue_too_small: return "the device's queue has too few entries for a request";
    case verdict::queue_size_invalid: return "the device dictates a queue size that is no power of two";
    case verdict::ring_too_small: return "the driver's ring has too few entries";
    case verdict::queue_unusable: return "a queue cannot be set up";
    case verdict::vector_refused: return "there is no such interrupt vector, the device refuses it, or MSI-X is off";
    case verdict::config_unreadable: return "the device's configuration cannot be read";
    case verdict::limits_unusable: return "the device's limits leave no room for a request";
    case verdict::block_size_invalid: return "the disk's block size is no power of two";
    case verdict::cid_unusable: return "the device's guest_cid is reserved: no guest can have it";
    case verdict::storage_unusable: return "the DMA storage cannot be used";
  }
  return "unknown";
}

/// What the optional trace hooks of a platform or a PCI host are shown.
struct event {
  enum class kind : u8 {
    function,        // a: bus, slot and function where the host has such numbers, or the MMIO slot, b: vendor and device id
    verdict,         // a: verdict, b: capability
    status_write,    // a: the new status
    feature_offer,   // a: word number, b: the word
    feature_accept,  // a: word number, b: the word
    queue_enabled,   // a: queue, b: entries
    doorbell,        // a: queue, b: 1 when it is rung again for what the device was shown before
  };
  kind what;
  u32 a = 0;
  u32 b = 0;
};

namespace detail {

/// Shows an event to whoever wants to see it; compiles to nothing otherwise. A macro would break the one-definition rule.
template <class Observer>
constexpr void trace(const Observer& observer, event happened) {
  if constexpr (requires { observer.trace(happened); }) observer.trace(happened);
}

}  // namespace detail
}  // namespace virtio
