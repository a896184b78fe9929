// SPDX-License-Identifier: MIT
// How a command failed: the transport's response, SAM's status and the unit's sense data in one value, and the error
// that a call returns for it.
// Spec: virtio 1.4, 5.6.6.1; SPC-4, 4.5 (sense data). Layer: scsi.
#pragma once

#include <virtio/scsi/protocol.hpp>

namespace virtio::scsi {

/// A unit's reason why a command failed.
enum class sense_key : u8 {
  none = 0,
  recovered = 1,
  not_ready = 2,
  medium_error = 3,
  hardware_error = 4,
  illegal_request = 5,
  unit_attention = 6,
  data_protect = 7,
  blank_check = 8,
  vendor = 9,
  copy_aborted = 10,
  aborted_command = 11,
  volume_overflow = 13,
  miscompare = 14,
  completed = 15,
};

/// Sense data that drivers use: the key, and the additional code with its qualifier.
struct sense {
  sense_key key = sense_key::none;  // the key
  /// Additional sense code.
  u8 asc = 0, ascq = 0;  // its qualifier
  [[nodiscard]] friend constexpr bool operator==(const sense&, const sense&) = default;
};

/// How a command ended. All-zero: it succeeded.
struct failure {
  scsi::response response = scsi::response::ok;  // of the transport
  scsi::status status = scsi::status::good;      // of SAM
  scsi::sense sense{};                           // with `check_condition`
  bool is_short = false;                         // it reported success, but transferred less data than requested

  /// Whether the sense data has this key and additional code.
  [[nodiscard]] constexpr bool has(sense_key key, u8 asc) const { return sense.key == key && sense.asc == asc; }
};

/// Reads sense data of either format from the first `length` bytes into `out`, which is all-zero; later bytes are not
/// read.
template <class Byte>
void parse_sense(const Byte& at, u32 length, sense& out) {
  if (length == 0) return;
  u32 key = 2, code = 12;  // fixed format
  switch (at(0) & 0x7e) {  // bit 7: the information field is valid; bit 0: an earlier command
    case 0x70: break;
    case 0x72: key = 1, code = 2; break;
    default: return;
  }
  if (length > key) out.key = static_cast<sense_key>(at(key) & 0xf);
  if (length <= code + 1) return;
  out.asc = at(code);
  out.ascq = at(code + 1);
}

/// Whether facts about the unit may be outdated: its medium (28h) or its capacity (2Ah/09h) may have changed.
[[nodiscard]] constexpr bool is_change(const failure& how) {
  return how.has(sense_key::unit_attention, 0x28) ||
         (how.has(sense_key::unit_attention, 0x2a) && how.sense.ascq == 0x09);
}

/// Whether DATA PROTECT means write protection: not SPACE ALLOCATION FAILED (27h/07h), ACCESS DENIED (20h) or SECURITY
/// (74h).
[[nodiscard]] constexpr bool is_write_protection(const sense& said) {
  return !(said.asc == 0x27 && said.ascq == 0x07) && said.asc != 0x20 && said.asc != 0x74;
}

namespace detail {

// By the transport's response, and by the sense key.
inline constexpr errc of_response[] = {errc::ok,        errc::io_error, errc::canceled, errc::not_found, errc::canceled,
                                       errc::not_ready, errc::io_error, errc::io_error, errc::io_error,  errc::io_error,
                                       errc::io_error,  errc::io_error, errc::not_found};
inline constexpr errc of_key[16] = {errc::io_error, errc::ok,          errc::not_ready, errc::io_error,
                                    errc::io_error, errc::unsupported, errc::not_ready, errc::read_only,
                                    errc::io_error, errc::io_error,    errc::io_error,  errc::io_error,
                                    errc::io_error, errc::io_error,    errc::io_error,  errc::io_error};

[[nodiscard]] constexpr errc error_of(const sense& said) {
  const errc how = of_key[static_cast<u8>(said.key) & 0xf];
  if (how == errc::unsupported) return said.asc == 0x21 ? errc::out_of_range : said.asc == 0x25 ? errc::not_found : how;
  return how == errc::read_only && !is_write_protection(said) ? errc::io_error : how;
}

}  // namespace detail

/// The error that a failure is:
/// - `not_ready`: not now, repeat it: NOT READY, UNIT ATTENTION, BUSY, TASK SET FULL
/// - `canceled`: aborted, by a reset of the unit or by another initiator
/// - `not_found`: no such unit
/// - `unsupported`: the unit does not support the command or these arguments
/// - `out_of_range`: past the unit's end
/// - `read_only`: the unit is write-protected
/// - `io_error`: all others, including ABORTED COMMAND, which QEMU uses for a host's EIO; DATA PROTECT of a thin disk
///   without free space, and where access is denied or locked
[[nodiscard]] constexpr errc error_of(const failure& how) {
  const u8 response = static_cast<u8>(how.response);
  if (response != 0) return response < sizeof detail::of_response ? detail::of_response[response] : errc::io_error;
  errc out = errc::ok;
  switch (how.status) {
    case status::good:
    case status::condition_met: break;
    case status::check_condition: out = detail::error_of(how.sense); break;
    case status::busy:
    case status::task_set_full: return errc::not_ready;
    case status::task_aborted: return errc::canceled;
    default: return errc::io_error;
  }
  return out == errc::ok && how.is_short ? errc::io_error : out;
}

/// The failure in the standards' terms.
[[nodiscard]] constexpr const char* describe(const failure& how) {
  switch (how.response) {
    case response::ok: break;
    case response::overrun: return "OVERRUN: more data than the request has room for";
    case response::aborted: return "ABORTED by task management";
    case response::bad_target: return "BAD TARGET: there is no such target";
    case response::reset: return "RESET: the unit or its bus was reset";
    case response::busy: return "BUSY: the host cannot take the request now";
    case response::transport_failure: return "TRANSPORT FAILURE: the unit cannot be reached";
    case response::target_failure: return "TARGET FAILURE: no other path would do better";
    case response::nexus_failure: return "NEXUS FAILURE: another path may do better";
    case response::incorrect_lun: return "INCORRECT LUN: there is no such unit";
    case response::unwritten: return "the device wrote no response";
    default: return "FAILURE";
  }
  switch (how.status) {
    case status::good:
    case status::condition_met: return how.is_short ? "less data went over than was asked for" : "GOOD";
    case status::check_condition: break;
    case status::busy: return "status BUSY";
    case status::reservation_conflict: return "RESERVATION CONFLICT: the unit is another initiator's";
    case status::task_set_full: return "TASK SET FULL";
    case status::task_aborted: return "TASK ABORTED by another initiator";
    default: return "a status that drivers do not know";
  }
  switch (how.sense.key) {
    case sense_key::none: return "CHECK CONDITION without sense data";
    case sense_key::recovered: return "RECOVERED ERROR";
    case sense_key::not_ready:
      return how.sense.asc == 0x3a   ? "NOT READY: no medium"
             : how.sense.asc == 0x04 ? "NOT READY: the unit is becoming ready, or waits to be started"
                                     : "NOT READY";
    case sense_key::medium_error: return "MEDIUM ERROR";
    case sense_key::hardware_error: return "HARDWARE ERROR";
    case sense_key::illegal_request:
      return how.sense.asc == 0x20   ? "ILLEGAL REQUEST: the unit does not know the command"
             : how.sense.asc == 0x21 ? "ILLEGAL REQUEST: the block is out of range"
             : how.sense.asc == 0x25 ? "ILLEGAL REQUEST: there is no such unit"
                                     : "ILLEGAL REQUEST";
    case sense_key::unit_attention:
      return how.sense.asc == 0x28   ? "UNIT ATTENTION: the medium may have changed"
             : how.sense.asc == 0x29 ? "UNIT ATTENTION: the unit was reset"
             : how.sense.asc == 0x2a ? "UNIT ATTENTION: parameters have changed"
             : how.sense.asc == 0x3f ? "UNIT ATTENTION: the units of the target have changed"
                                     : "UNIT ATTENTION";
    case sense_key::data_protect:
      return is_write_protection(how.sense) ? "DATA PROTECT: the unit is write-protected"
             : how.sense.asc == 0x27        ? "DATA PROTECT: no space is left for the blocks of a thin disk"
                                            : "DATA PROTECT: access is denied";
    case sense_key::aborted_command: return "ABORTED COMMAND";
    default: return "CHECK CONDITION";
  }
}

}  // namespace virtio::scsi
