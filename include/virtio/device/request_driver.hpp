// SPDX-License-Identifier: MIT
// The calls that all drivers of requests have in common: the engine but for `submit`, interrupts, and the end. A driver derives from
// them and adds what its requests are.
// Layer: device.
#pragma once

#include <virtio/device/request_queue.hpp>

namespace virtio {

/// `Driver` derives from this and befriends it. It has `set_`, a `queue_set`; `requests_`, a `request_queue`; and
/// `done_of(errc, const answer&)`, which makes a `result<Done>` of what the queue returned, and lets the request go by `finish`. `Done` is
/// how a request ended: at least its token, its cookie and its status.
template <class Driver, class Done>
class request_driver {
 public:
  /// What the last `start` came to: bound, or why not.
  [[nodiscard]] const report& why() const { return driver().set_.session().why(); }
  [[nodiscard]] const feature_set& features() const { return driver().set_.session().features(); }

  // The engine -----------------------------------------------------------------------------------------------------------

  /// Requests that have been kicked and have not come back to the caller.
  [[nodiscard]] u16 in_flight() const { return driver().requests_.in_flight(driver().set_); }

  /// Shows everything staged to the device. At most one register write; none when nothing is staged or the device is busy
  /// with the queue anyway.
  void kick() { driver().requests_.kick(driver().set_); }

  /// The next request to end, in any order, without waiting. Errors: `not_ready`; once why the device was reset, `device_misbehaved` for
  /// example, and then what was in flight comes back as `canceled`, and then there is `not_started`; `device_broken` instead of all this
  /// while the device keeps some of it.
  [[nodiscard]] result<Done> next_completion() {
    answer ended;
    return driver().done_of(driver().requests_.next(driver().set_, ended), ended);
  }

  /// As `next_completion`, but waits for it. Errors also: `timed_out` (`dma_unanswered` where ACCESS_PLATFORM was accepted) and
  /// `needs_reset`, for which the device was reset; `not_ready` when nothing is in flight.
  [[nodiscard]] result<Done> wait_next() {
    answer ended;
    return driver().done_of(driver().requests_.wait_next(driver().set_, waiting::request, ended), ended);
  }

  /// Calls `take(done)` for at most `budget` requests that have ended, without waiting; returns how many. Of a device that fails only the
  /// `canceled` requests are seen: the reason, which is told once, is lost. `next_completion` and `drain` return it.
  template <callable_with<Done> F>
  usize poll(F&& take, usize budget = decltype(Driver::requests_)::slots) {
    usize count = 0;
    for (; count < budget; ++count) {
      const result<Done> one = next_completion();
      if (!one) break;
      take(*one);
    }
    return count;
  }

  /// Kicks, and calls `take(done)` for every request until none is in flight. Waits; bounded like `wait_next`. Returns the first
  /// error of the device, after every buffer has come back; `device_broken` when the device keeps some.
  template <callable_with<Done> F>
  [[nodiscard]] result<void> drain(F&& take) {
    result<void> first;
    for (;;) {
      const result<Done> one = wait_next();
      if (one) {
        take(*one);
      } else if (one.error() == errc::not_ready || !first) {
        return first;  // nothing is in flight; or the device is down, and what was in flight has come back
      } else {
        first = one.error();
        if (first.error() == errc::device_broken) return first;
      }
    }
  }

  // Interrupts and the end -----------------------------------------------------------------------------------------------

  /// Asks for an interrupt at the next completion. True: something is there already, poll again before sleeping.
  [[nodiscard]] bool arm() { return driver().requests_.arm(driver().set_); }
  /// Asks for none. A hint: one may still come.
  void disarm() { driver().set_.disarm(); }
  /// For the interrupt handler (not with MSI-X): reads the ISR, which drops the line.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return driver().set_.acknowledge_interrupt(); }
  /// For the main loop after a configuration interrupt: `needs_reset` when the device has failed. One register read. Errors also:
  /// `not_started`; `device_broken` as `reset`.
  [[nodiscard]] result<void> check() { return driver().set_.check(bring_down_call()); }
  /// Resets the device: requests in flight come back as `canceled`, the device is down until the next `start`. Waits for the
  /// device. Errors: `not_started`; it will not reset: `device_broken`, and keeps the storage and the buffers of what is in flight;
  /// `timed_out`, and has neither, since it confirmed another reset before.
  [[nodiscard]] result<void> reset() { return driver().set_.reset(bring_down_call()); }
  /// As `reset`, and takes the device off the bus: what a boot loader does before it jumps. On PCI bus mastering is off, the rest of
  /// the command register as `start` found it. After success the device is free for any use, and the object touches it no more; after
  /// `device_broken` a PCI device that keeps to its bus reaches memory no more, one in an MMIO slot does.
  [[nodiscard]] result<void> hand_off() { return driver().set_.hand_off(bring_down_call()); }

 private:
  friend Driver;
  request_driver() = default;

  /// Waits for one request. `ended` is for `done_of`, with what this returns.
  [[nodiscard]] errc await(token which, owner whose, answer& ended) {
    return driver().requests_.wait(driver().set_, which, waiting::request, ended, whose);
  }
  [[nodiscard]] auto bring_down_call() {
    return [this](errc why) { return driver().requests_.bring_down(driver().set_, why); };
  }
  [[nodiscard]] Driver& driver() { return static_cast<Driver&>(*this); }
  [[nodiscard]] const Driver& driver() const { return static_cast<const Driver&>(*this); }
};

}  // namespace virtio
