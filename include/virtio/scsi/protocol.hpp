// SPDX-License-Identifier: MIT
// What driver and SCSI host device say to each other: feature bits, config fields, addresses of units, command and control requests,
// events. Fields of the transport have the interface's byte order; what is inside a command is SCSI's, and big-endian.
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
constexpr void feature_bits_of(feature) {}

[[nodiscard]] constexpr const char* name(feature bit) {
  switch (bit) {
    case feature::inout: return "SCSI_INOUT";
    case feature::hotplug: return "SCSI_HOTPLUG";
    case feature::change: return "SCSI_CHANGE";
    case feature::t10_pi: return "SCSI_T10_PI";
  }
  return nullptr;
}

/// Fields of device config (5.6.4).
namespace config {
inline constexpr config_field<u32> num_queues{0x00};
inline constexpr config_field<u32> seg_max{0x04};          // pieces of data in one command
inline constexpr config_field<u32> max_sectors{0x08};      // of 512 bytes, in one command
inline constexpr config_field<u32> cmd_per_lun{0x0c};      // commands that one unit may have at once
inline constexpr config_field<u32> event_info_size{0x10};
inline constexpr config_field<u32> sense_size{0x14};       // these two the driver may write
inline constexpr config_field<u32> cdb_size{0x18};
inline constexpr config_field<u16> max_channel{0x1c};
inline constexpr config_field<u16> max_target{0x1e};       // the last one
inline constexpr config_field<u32> max_lun{0x20};          // the last one
}  // namespace config

/// The numbers that the queues have at the device; request queues follow from the last on.
enum queue_number : u16 { control_queue, event_queue, request_queue_number, queue_numbers };

inline constexpr u32 sense_bytes = 96;  // of a device that was reset
inline constexpr u32 cdb_bytes = 32;
inline constexpr u32 longest_command = 16;  // of ours
inline constexpr u16 last_target = 255;
inline constexpr u16 last_lun = 16383;

/// Names a logical unit.
struct address {
  u16 lun = 0;    // up to 16383
  u8 target = 0;
  [[nodiscard]] friend constexpr bool operator==(const address&, const address&) = default;
};

/// A unit's address as requests have it, eight bytes: the first four as a little-endian number. They are 1, the target,
/// and the number in SAM's flat form.
[[nodiscard]] constexpr u32 lun_of(address unit) {
  return 1 | u32{unit.target} << 8 | (0x40u | unit.lun >> 8) << 16 | u32{unit.lun} << 24;
}
/// Back to an address; what no unit can have is cut.
[[nodiscard]] constexpr address address_of(u32 first) {
  return {.lun = static_cast<u16>(((first >> 8 & 0xff00) | first >> 24) & last_lun), .target = static_cast<u8>(first >> 8)};
}

struct lun_cells {
  to_device<u32> first, rest;  // bytes, whatever the interface's order is

  void store(u32 lun) {
    first.store(lun);
    rest.store(0);
  }
};
static_assert(sizeof(lun_cells) == 8);

/// The part of a command request that the device reads ahead of the data: `cdb_size` bytes of the last field are used.
template <byte_order Order>
struct command_cells {
  lun_cells lun;
  to_device<u64, Order> id;
  to_device<u8> task_attribute, priority, reference;
  to_device<u8> cdb[cdb_bytes];
};
static_assert(__builtin_offsetof(command_cells<byte_order::little>, cdb) == 19);

/// What the device writes ahead of the data: `sense_size` bytes of the last field are used.
template <byte_order Order>
struct response_cells {
  from_device<u32, Order> sense_length, residual;
  from_device<u16, Order> status_qualifier;
  from_device<u8> status, response;
  from_device<u8> sense[sense_bytes];
};
static_assert(sizeof(response_cells<byte_order::little>) == 108);

/// What the transport says of a request. SCSI status counts with `ok` only.
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
  unwritten = 0xff,  // ours, put there before the device is asked
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

/// Task management.
enum class task_function : u32 { abort_task = 0, logical_unit_reset = 5 };
inline constexpr u32 task_functions = 2;
/// Their numbers from 0 on: each has cells of its own.
[[nodiscard]] constexpr u32 index_of(task_function what) { return what == task_function::abort_task ? 0 : 1; }

template <byte_order Order>
struct control_cells {
  to_device<u32, Order> type, subtype;
  lun_cells lun;
  to_device<u64, Order> id;
};
static_assert(sizeof(control_cells<byte_order::little>) == 24);
inline constexpr u32 task_management = 0;

/// What the device writes into a buffer of the event queue.
template <byte_order Order>
struct event_cells {
  from_device<u32, Order> event;
  from_device<u32> lun, lun_rest;  // bytes
  from_device<u32, Order> reason;

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

/// What has happened to a unit, or to the host.
struct event {
  enum class kind : u8 {
    missed,   // events were lost: look at all units again
    reset,    // the unit was reset
    rescan,   // a unit is there, or may be: look at its target again
    removed,  // the unit is gone; of LUN 0, it may be the whole target
    changed,  // the unit's parameters, its capacity for example: asc and ascq say which
    notify,   // the unit's own notification, `reason` says which
  };
  kind what = kind::missed;
  address where{};
  u32 reason = 0;
  u8 asc = 0, ascq = 0;  // of `changed`
};

}  // namespace virtio::scsi
