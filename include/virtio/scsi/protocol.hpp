// SPDX-License-Identifier: MIT
// The interface between driver and SCSI host device: feature bits, configuration fields, addresses of units, command
// and control requests, events. Fields of the transport have the interface's byte order; bytes inside a command are
// SCSI's, and big-endian.
// Spec: virtio 1.4, 5.6; SAM-5 for addresses. Layer: scsi.
#pragma once

#include <virtio/base/cells.hpp>
#include <virtio/base/features.hpp>
#include <virtio/transport/config_field.hpp>

namespace virtio::scsi {

/// Feature bits of SCSI host devices (5.6.3).
enum class feature : u8 {
  inout = 0,
  hotplug = 1,
  change = 2,
  t10_pi = 3,
};
/// Makes `feature_set` accept these bits.
constexpr void feature_bits_of(feature) {}

/// The specification's name of a feature bit; null for other values.
[[nodiscard]] constexpr const char* name(feature bit) {
  switch (bit) {
    case feature::inout: return "SCSI_INOUT";
    case feature::hotplug: return "SCSI_HOTPLUG";
    case feature::change: return "SCSI_CHANGE";
    case feature::t10_pi: return "SCSI_T10_PI";
  }
  return nullptr;
}

/// Fields of the device configuration (5.6.4).
namespace config {
inline constexpr config_field<u32> num_queues{0x00};       // request queues
inline constexpr config_field<u32> seg_max{0x04};          // pieces of data in one command
inline constexpr config_field<u32> max_sectors{0x08};      // of 512 bytes, in one command
inline constexpr config_field<u32> cmd_per_lun{0x0c};      // maximum commands in flight of one unit
inline constexpr config_field<u32> event_info_size{0x10};  // bytes of an event
inline constexpr config_field<u32> sense_size{0x14};       // bytes; the driver may write this field
inline constexpr config_field<u32> cdb_size{0x18};         // bytes; the driver may write this field
inline constexpr config_field<u16> max_channel{0x1c};      // not used by drivers
inline constexpr config_field<u16> max_target{0x1e};       // the last possible one
inline constexpr config_field<u32> max_lun{0x20};          // the last possible one
}  // namespace config

/// Numbers of the queues at the device; request queues start at the last one.
enum queue_number : u16 { control_queue, event_queue, request_queue_number, queue_numbers };

inline constexpr u32 sense_bytes = 96;      // after a reset of the device
inline constexpr u32 cdb_bytes = 32;        // after a reset of the device
inline constexpr u32 longest_command = 16;  // bytes, of those that the driver sends
inline constexpr u16 last_target = 255;     // the last possible one
inline constexpr u16 last_lun = 16383;      // the last possible one

/// Names a logical unit.
struct address {
  u16 lun = 0;    // at most 16383
  u8 target = 0;  // of the host
  [[nodiscard]] friend constexpr bool operator==(const address&, const address&) = default;
};

/// A unit's address in requests, eight bytes, of which these are the first four as a little-endian number. They are 1,
/// the target, and the number in SAM's flat form.
[[nodiscard]] constexpr u32 lun_of(address unit) {
  return 1 | u32{unit.target} << 8 | (0x40u | unit.lun >> 8) << 16 | u32{unit.lun} << 24;
}
/// The address of a unit from those bytes; impossible bits are dropped.
[[nodiscard]] constexpr address address_of(u32 first) {
  return {.lun = static_cast<u16>(((first >> 8 & 0xff00) | first >> 24) & last_lun),
          .target = static_cast<u8>(first >> 8)};
}

/// An address in memory.
struct lun_cells {
  /// Bytes, in each byte order of the interface.
  to_device<u32> first, rest;  // zero

  /// Writes an address.
  void store(u32 lun) {
    first.store(lun);
    rest.store(0);
  }
};
static_assert(sizeof(lun_cells) == 8);

/// The part of a command request that the device reads before the data; `cdb_size` bytes of the last field are used.
template <byte_order Order>
struct command_cells {
  lun_cells lun;                 // the unit
  to_device<u64, Order> id;      // the tag
  to_device<u8> task_attribute;  // zero: a simple task
  to_device<u8> priority;        // zero: none
  to_device<u8> reference;       // zero: none
  to_device<u8> cdb[cdb_bytes];  // the command
};
static_assert(__builtin_offsetof(command_cells<byte_order::little>, cdb) == 19);

/// The part that the device writes before the data; `sense_size` bytes of the last field are used.
template <byte_order Order>
struct response_cells {
  /// Bytes of sense data.
  from_device<u32, Order> sense_length, residual;  // bytes of data that were not transferred
  from_device<u16, Order> status_qualifier;        // not used by the driver
  /// SAM's status.
  from_device<u8> status, response;    // the transport's response
  from_device<u8> sense[sense_bytes];  // sense data
};
static_assert(sizeof(response_cells<byte_order::little>) == 108);

/// The transport's result of a request. SCSI status is valid only with `ok`.
enum class response : u8 {
  ok = 0,
  overrun = 1,
  aborted = 2,
  bad_target = 3,
  reset = 4,
  busy = 5,
  transport_failure = 6,
  target_failure = 7,
  nexus_failure = 8,
  failure = 9,
  function_succeeded = 10,
  function_rejected = 11,
  incorrect_lun = 12,
  unwritten = 0xff,  // written by the driver before the request
};

/// SAM's status of a command.
enum class status : u8 {
  good = 0x00,
  check_condition = 0x02,
  condition_met = 0x04,
  busy = 0x08,
  reservation_conflict = 0x18,
  task_set_full = 0x28,
  aca_active = 0x30,
  task_aborted = 0x40,
};

/// Task management functions.
enum class task_function : u32 { abort_task = 0, logical_unit_reset = 5 };
inline constexpr u32 task_functions = 2;  // number of functions that the driver uses
/// The index of a function, from 0 on: each has cells of its own.
[[nodiscard]] constexpr u32 index_of(task_function what) { return what == task_function::abort_task ? 0 : 1; }

/// A control request in memory.
template <byte_order Order>
struct control_cells {
  /// task_management.
  to_device<u32, Order> type, subtype;  // a task_function
  lun_cells lun;                        // the unit
  to_device<u64, Order> id;             // the command's tag
};
static_assert(sizeof(control_cells<byte_order::little>) == 24);
inline constexpr u32 task_management = 0;  // the type of control requests

/// An event in memory, written by the device.
template <byte_order Order>
struct event_cells {
  from_device<u32, Order> event;  // one of `event_bits`
  /// Bytes, in each byte order of the interface.
  from_device<u32> lun, lun_rest;  // its second half
  from_device<u32, Order> reason;  // depends on the event

  /// Clears an event before the device gets it.
  void clear() {
    event.clear_before_use();
    reason.clear_before_use();
    lun.clear_before_use();
  }
};
static_assert(sizeof(event_cells<byte_order::little>) == 16);

namespace event_bits {
inline constexpr u32 missed = 0x8000'0000;
inline constexpr u32 transport_reset = 1;
inline constexpr u32 async_notify = 2;
inline constexpr u32 parameters = 3;
inline constexpr u32 reason_rescan = 1;
inline constexpr u32 reason_removed = 2;
}  // namespace event_bits

/// An event of a unit or of the host.
struct event {
  /// Kinds of events.
  enum class kind : u8 {
    missed,   // events were lost: scan all units again
    reset,    // the unit was reset
    rescan,   // a unit is present, or may be: scan its target again
    removed,  // the unit was removed; for LUN 0, possibly the whole target
    changed,  // the unit's parameters, for example its capacity, have changed: see asc and ascq
    notify,   // the unit's own notification: see `reason`
  };
  kind what = kind::missed;  // the kind
  address where{};           // the unit
  u32 reason = 0;            // the event's field; the program needs it for `notify`
  /// Additional sense code of `changed`.
  u8 asc = 0, ascq = 0;  // its qualifier
};

}  // namespace virtio::scsi
