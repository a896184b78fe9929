// SPDX-License-Identifier: MIT
// The calls that all drivers of requests share: the engine except `submit`, interrupts, reset and hand-off. A driver
// derives from this class and adds its requests.
// Layer: device.
#pragma once

#include <virtio/device/request_queue.hpp>

namespace virtio {

/// The shared calls. `Driver` derives from this and befriends it. It has `set_`, a `queue_set`; `requests_`, a
/// `request_queue`; and `done_of(errc, const answer&)`, which turns the queue's result into a `result<Done>` and
/// releases the request by `finish`. `Done` is the end of a request: at least its token, its cookie and its status.
template <class Driver, class Done>
class request_driver {
 public:
  /// The result of the last `start`: bound, or the verdict and its numbers.
  [[nodiscard]] const report& why() const { return driver().set_.session().why(); }
  /// The features that the last `start` negotiated.
  [[nodiscard]] const feature_set& features() const { return driver().set_.session().features(); }

  // The engine --------------------------------------------------------------------------------------------------------

  /// Returns the number of requests that were kicked and whose completion the caller has not taken.
  [[nodiscard]] u16 in_flight() const { return driver().requests_.in_flight(driver().set_); }

  /// Makes all staged requests visible to the device. At most one register write; none if nothing is staged or the
  /// device is processing the queue already.
  void kick() { driver().requests_.kick(driver().set_); }

  /// Returns the next request that has ended, in any order, without waiting. Errors: `not_ready`. If the device was
  /// reset: the reason once, `device_misbehaved` for example; then requests that were in flight arrive as `canceled`;
  /// then `not_started`. `device_broken` instead of all these while the device keeps a request.
  [[nodiscard]] result<Done> next_completion() {
    answer ended;
    return driver().done_of(driver().requests_.next(driver().set_, ended), ended);
  }

  /// Kicks, and waits for the next request that ends, as `next_completion`. Additional errors: `timed_out`
  /// (`dma_unanswered` if ACCESS_PLATFORM was accepted) and `needs_reset`: the device was reset; `not_ready` if no
  /// request is in flight.
  [[nodiscard]] result<Done> wait_next() {
    answer ended;
    return driver().done_of(driver().requests_.wait_next(driver().set_, waiting::request, ended), ended);
  }

  /// Calls `take(done)` for at most `budget` requests that have ended, without waiting. Returns their number. If the
  /// device fails, `take` receives the `canceled` requests, but the reason, which is reported once, is lost:
  /// `next_completion` and `drain` return it.
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

  /// Kicks, and calls `take(done)` for every request until none is in flight. Waits, with the limits of `wait_next`.
  /// Returns the first error of the device, after every buffer was returned; `device_broken` if the device keeps one.
  template <callable_with<Done> F>
  [[nodiscard]] result<void> drain(F&& take) {
    result<void> first;
    for (;;) {
      const result<Done> one = wait_next();
      if (one) {
        take(*one);
      } else if (one.error() == errc::not_ready || !first) {
        return first;  // nothing is in flight; or the device is down, and all requests were returned
      } else {
        first = one.error();
        if (first.error() == errc::device_broken) return first;
      }
    }
  }

  // Interrupts, reset, hand-off ---------------------------------------------------------------------------------------

  /// Requests an interrupt at the next completion. True: something is ready already, poll again before sleeping.
  [[nodiscard]] bool arm() { return driver().requests_.arm(driver().set_); }
  /// Requests no interrupts. A hint: one may still arrive.
  void disarm() { driver().set_.disarm(); }
  /// For the interrupt handler (not with MSI-X): reads the ISR, which deasserts the line.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return driver().set_.acknowledge_interrupt(); }
  /// For the main loop after a configuration interrupt: returns `needs_reset` if the device has failed; it is then
  /// reset. One register read. Additional errors: `not_started`; `device_broken`, as `reset`.
  [[nodiscard]] result<void> check() { return driver().set_.check(bring_down_call()); }
  /// Resets the device. Requests in flight end as `canceled`, and the device is down until the next `start`. Waits for
  /// the device. Errors: `not_started`; `device_broken`: the device did not reset and keeps the storage and the buffers
  /// of requests in flight; `timed_out`: it did not reset and has neither, since it confirmed an earlier reset.
  [[nodiscard]] result<void> reset() { return driver().set_.reset(bring_down_call()); }
  /// As `reset`, and takes the device off the bus, as a boot loader does before it jumps. On PCI, bus mastering is off
  /// and the rest of the command register is as `start` found it. After success the device is free for any use, and
  /// this object does not access it. After `device_broken`, a PCI device that obeys its command register cannot access
  /// memory; a device in an MMIO slot can.
  [[nodiscard]] result<void> hand_off() { return driver().set_.hand_off(bring_down_call()); }

 private:
  friend Driver;
  request_driver() = default;

  /// Waits for one request. Pass the result and `ended` to `done_of`.
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
