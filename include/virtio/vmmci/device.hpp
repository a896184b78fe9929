// SPDX-License-Identifier: MIT
// Driver of the control device that OpenBSD's vmd provides to every guest. The device reports the host's clock, and
// requests to shut down, to reboot and to set the clock; the guest requests to be switched off. It has no queue and
// needs no storage. Only calls that reset it wait.
// Layer: vmmci (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/device/lifecycle.hpp>
#include <virtio/transport/config_access.hpp>
#include <virtio/vmmci/protocol.hpp>

namespace virtio::vmmci {

/// The host's time of day, UTC.
struct host_time {
  u32 seconds = 0;       // since 1970; the counter wraps in 2106
  u32 microseconds = 0;  // below 1,000,000
  [[nodiscard]] friend constexpr bool operator==(const host_time&, const host_time&) = default;
};

/// A control device. All bytes are zero until `start`. One context owns it; an interrupt handler may call only
/// `acknowledge_interrupt`.
template <platform P, transport T>
class device {
 public:
  using location = typename T::location;  // what discovery returns for the device

  /// Brings the device up: from now on the host expects answers. Pass `line_state::on` if the program uses its
  /// interrupt line; no vmd offers MSI-X. Waits for the device's reset. Errors: those of all drivers; `why()` has the
  /// reason.
  [[nodiscard]] result<void> start(const P& platform, const location& where, line_state line = line_state::as_found) {
    constexpr feature_plan plan{.wanted = feature_set{feature::timesync, feature::ack, feature::syncrtc}};
    answered_ = 0;
    VIRTIO_TRY(lifecycle_.begin(platform, where, device_type::vmmci, plan, line));
    lifecycle_.go();
    return {};
  }

  /// Reads the host's clock: seconds, then microseconds, which the host has latched with them. Errors: `unsupported`
  /// (the host does not report the time); `not_started`; `device_misbehaved` once, if the value is not a time: the
  /// device was then reset; `timed_out` instead, if that reset does not finish. Cost: two register reads.
  [[nodiscard]] result<host_time> clock() {
    VIRTIO_TRY(lifecycle_.ready());
    if (!features().has(feature::timesync)) return errc::unsupported;
    const u32 seconds = read(config::seconds);
    const u32 microseconds = read(config::microseconds);
    if (microseconds >= 1'000'000) return bring_down(errc::device_misbehaved);
    return host_time{seconds, microseconds};
  }

  /// Returns a new request of the host, and acknowledges it at once. After its request the host waits 3 seconds for the
  /// acknowledgement, then half a minute to two minutes for the end of the machine. So call this function at each
  /// configuration interrupt, or every second. Errors: `not_ready` (no request); `unsupported` (an unknown request,
  /// which is not acknowledged); `not_started`. Cost: a register read, and a write for a request.
  [[nodiscard]] result<request> next_request() {
    VIRTIO_TRY(lifecycle_.ready());
    const u32 asked = read(config::command);
    // Except for resync, a command stays in the register after it was acknowledged. Each acknowledgement restarts the
    // host's wait.
    if (asked == answered_) return errc::not_ready;
    answered_ = 0;
    if (asked == 0) return errc::not_ready;
    if (asked > static_cast<u32>(request::resync)) return errc::unsupported;
    const request which{static_cast<u8>(asked)};
    const bool acknowledges = features().has(feature::ack);
    if (acknowledges) write(asked);
    if (!acknowledges || which != request::resync) answered_ = asked;
    return which;
  }

  /// Requests that the host switch the machine off, which it does within 3 seconds. If the host has requested a
  /// shutdown or a reboot before, it takes this for an acknowledgement or ignores it, and waits until the guest has
  /// left the machine. Errors: `not_started`. Cost: a register write.
  [[nodiscard]] result<void> power_off() {
    VIRTIO_TRY(lifecycle_.ready());
    write(static_cast<u32>(request::shutdown));
    return {};
  }

  /// For the interrupt handler: reads the ISR, which lowers the line. `config`: call `next_request`.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return lifecycle_.acknowledge_interrupt(); }
  /// Reads the device's status. `needs_reset`: the device has failed; `timed_out`: it was removed; it is then taken
  /// down. Other errors: `not_started`. Cost: one register read.
  [[nodiscard]] result<void> check() {
    const errc problem = lifecycle_.check();
    return problem == errc::needs_reset ? bring_down(problem) : problem;
  }
  /// Resets the device, which is down until the next `start`; the host makes no more requests. Errors: `not_started`;
  /// `timed_out` (the reset does not finish).
  [[nodiscard]] result<void> reset() {
    if (!lifecycle_.session().is_open()) return errc::not_started;
    const errc how = bring_down(errc::canceled);
    return how == errc::canceled ? errc::ok : how;
  }
  /// Resets as `reset`, and takes the device off the bus.
  [[nodiscard]] result<void> hand_off() {
    const auto done = reset();
    lifecycle_.close();
    return done;
  }

  /// The result of the last `start`: bound, or the reason why not.
  [[nodiscard]] const report& why() const { return lifecycle_.session().why(); }
  /// The features that `start` accepted.
  [[nodiscard]] const feature_set& features() const { return lifecycle_.session().features(); }

 private:
  errc bring_down(errc why) { return lifecycle_.take_down(why); }

  // A field is one access, whatever the transport's policy allows: vmd does not decode the bytes after a field's first
  // one, and reads of them return what the processor had in its register.
  [[nodiscard]] u32 read(config_field<u32> which) const {
    const T& registers = lifecycle_.session().transport();
    if constexpr (requires { registers.template config<u32, by_field>(which.offset); })
      return registers.template config<u32, by_field>(which.offset).value_or(~u32{0});
    else return read_field(registers, which).value_or(~u32{0});
  }
  void write(u32 command) {
    T& registers = lifecycle_.session().transport();
    if constexpr (requires { registers.template config_write<u32, by_field>(config::command.offset, command); })
      (void)registers.template config_write<u32, by_field>(config::command.offset, command);
    else (void)write_field(registers, config::command, command);
  }

  u32 answered_ = 0;  // a command that the host still shows and that was already returned
  device_lifecycle<P, T> lifecycle_{};
};

}  // namespace virtio::vmmci
