// SPDX-License-Identifier: MIT
// Driver of the control device that OpenBSD's vmd gives every guest: the host's clock, its requests to shut down, to
// reboot and to set the clock anew, and the guest's own wish to be switched off. It has no queue, needs no storage, and
// no call waits but those that reset.
// Layer: vmmci (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/device/lifecycle.hpp>
#include <virtio/transport/config_access.hpp>
#include <virtio/vmmci/protocol.hpp>

namespace virtio::vmmci {

/// The time of day at the host, UTC.
struct host_time {
  u32 seconds = 0;  // since 1970; they last until 2106
  u32 microseconds = 0;
  [[nodiscard]] friend constexpr bool operator==(const host_time&, const host_time&) = default;
};

/// A control device. All-zero until `start`. One context owns it; `acknowledge_interrupt` may be called by its
/// interrupt handler.
template <platform P, transport T>
class device {
 public:
  using location = typename T::location;

  /// Brings the device up: from here on the host expects answers. `line_state::on` is for programs that use its
  /// interrupt line; it has no MSI-X in any vmd. Waits for the device's reset. Errors: as of all drivers, `why()` has
  /// the reason.
  [[nodiscard]] result<void> start(const P& platform, const location& where, line_state line = line_state::as_found) {
    constexpr feature_plan plan{.wanted = feature_set{feature::timesync, feature::ack, feature::syncrtc}};
    answered_ = 0;
    VIRTIO_TRY(lifecycle_.begin(platform, where, device_type::vmmci, plan, line));
    lifecycle_.go();
    return {};
  }

  /// What the host's clock says now: seconds, then microseconds, which the host has latched with them. Errors:
  /// `unsupported`, the host does not tell the time; `not_started`; `device_misbehaved` once, when that is no time: the
  /// device is then reset, or `timed_out`, it does not finish that. Cost: two register reads.
  [[nodiscard]] result<host_time> clock() {
    VIRTIO_TRY(lifecycle_.ready());
    if (!features().has(feature::timesync)) return errc::unsupported;
    const u32 seconds = read(config::seconds);
    const u32 microseconds = read(config::microseconds);
    if (microseconds >= 1'000'000) return bring_down(errc::device_misbehaved);
    return host_time{seconds, microseconds};
  }

  /// What the host asks for and did not ask for before. It is acknowledged at once: from its request on the host waits
  /// 3 seconds for that, then half a minute or two for the end of the machine. So call it at each interrupt about the
  /// configuration, or every second. Errors: `not_ready`, nothing; `unsupported`, it is something that this driver does
  /// not know, and nothing is acknowledged; `not_started`. Cost: a register read, and a write where there is something.
  [[nodiscard]] result<request> next_request() {
    VIRTIO_TRY(lifecycle_.ready());
    const u32 asked = read(config::command);
    // A command stays there when it was acknowledged, but for resync. Each acknowledgement has the host wait anew.
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

  /// Asks the host to switch the machine off, which it does within 3 seconds. Where the host has asked for a shutdown
  /// or a reboot before, it does not: it takes this for an acknowledgement or ignores it, and waits until the guest has
  /// left the machine. Errors: `not_started`. Cost: a register write.
  [[nodiscard]] result<void> power_off() {
    VIRTIO_TRY(lifecycle_.ready());
    write(static_cast<u32>(request::shutdown));
    return {};
  }

  /// For the interrupt handler: reads the ISR, which drops the line. `config`: ask `next_request`.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return lifecycle_.acknowledge_interrupt(); }
  /// `needs_reset` when the device has failed, `timed_out` when it has vanished; it is then taken down. One register
  /// read. Errors also: `not_started`.
  [[nodiscard]] result<void> check() {
    const errc problem = lifecycle_.check();
    return problem == errc::needs_reset ? bring_down(problem) : problem;
  }
  /// Resets the device, which is down until the next `start`: the host asks for nothing any more. Errors:
  /// `not_started`; `timed_out`, it does not finish.
  [[nodiscard]] result<void> reset() {
    if (!lifecycle_.session().is_open()) return errc::not_started;
    const errc how = bring_down(errc::canceled);
    return how == errc::canceled ? errc::ok : how;
  }
  /// As `reset`, and takes the device off the bus.
  [[nodiscard]] result<void> hand_off() {
    const auto done = reset();
    lifecycle_.close();
    return done;
  }

  [[nodiscard]] const report& why() const { return lifecycle_.session().why(); }
  [[nodiscard]] const feature_set& features() const { return lifecycle_.session().features(); }

 private:
  errc bring_down(errc why) { return lifecycle_.take_down(why); }

  // A field is one access, whatever else the transport's policy is good for: vmd does not know the bytes behind a
  // field's first one, and a read of them gives what the processor had in its register.
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

  u32 answered_ = 0;  // a command that the host still shows and that was returned
  device_lifecycle<P, T> lifecycle_{};
};

}  // namespace virtio::vmmci
