// SPDX-License-Identifier: MIT
// Several queues under one life: the rings and doorbells of a device, brought up, watched and taken down together. A queue may be
// missing, and its number be another one than its place here: both may depend on what the device offers (the balloon, network
// control). Layer: device.
#pragma once

#include <virtio/device/life.hpp>

namespace virtio {

/// `Count` queues of one device. All-zero until `begin`. The rings take the first `dma_bytes` of the driver's storage; what follows
/// is the driver's own.
template <platform P, transport T, queue_format Q, u16 Count>
class queue_set {
 public:
  using ring_type = typename Q::template ring<typename P::barriers>;
  using location = typename T::location;
  static constexpr usize ring_bytes = detail::round_up(ring_type::dma_bytes, dma_page);
  static constexpr usize dma_bytes = Count * ring_bytes;

  /// Steps up to the queues. A device that this object drove before is let go first. `area` is the whole storage, as the device sees it.
  /// Errors: as `device_life::begin`; `device_broken`, the former device keeps its storage.
  [[nodiscard]] result<void> begin(const P& platform, const location& where, dma_region storage, usize needed, device_type type,
                                   const feature_plan& plan, const interrupt_vectors& interrupts, dma_area& area) {
    if (life_.has_memory() && take_down(errc::canceled) == errc::device_broken)
      return life_.device().refuse(verdict::former_device_stuck, errc::device_broken);
    for (lane& one : lanes_) one.present = false;
    return life_.begin(platform, where, storage, needed, type, plan.template with_queue<ring_type>(), interrupts, area);
  }

  /// Step 7 for queue `which` of the set, which is number `number` at the device. It needs chains of up to `chain` descriptors. A queue
  /// that is never set up is not there.
  [[nodiscard]] result<void> set_up(u16 which, u16 number, const dma_area& area, const interrupt_vectors& interrupts, u16 chain = 1) {
    lane& one = lanes_[which];
    VIRTIO_TRY(life_.device().set_up(number, one.ring, area.part(ring_bytes * which, ring_bytes), interrupts.of_queue(number), one.bell,
                                     chain));
    one.number = number;
    one.present = true;
    return {};
  }

  /// Step 8. No doorbell rings.
  void go() { life_.go(); }
  /// Instead of step 8, or after a failed `set_up`: returns `error`, and the storage is the caller's; or `device_broken`, the device
  /// will not reset and keeps it.
  [[nodiscard]] errc refuse(verdict why, errc error) {
    error = life_.device().refuse(why, error);
    if (!life_.has_memory()) reclaim();
    return error;
  }

  [[nodiscard]] device_life<P, T>& life() { return life_; }
  [[nodiscard]] const device_life<P, T>& life() const { return life_; }

  [[nodiscard]] ring_type& operator[](u16 which) { return lanes_[which].ring; }
  [[nodiscard]] const ring_type& operator[](u16 which) const { return lanes_[which].ring; }
  [[nodiscard]] bool has(u16 which) const { return lanes_[which].present; }

  /// Shows the device what was staged: at most one register write.
  void kick(u16 which) {
    lane& one = lanes_[which];
    virtio::kick(life_.device().platform(), one.ring, one.bell, one.number);
  }
  /// Shows what was staged, and rings whether the device wants it or not: one that was restored from a snapshot waits for it.
  void insist(u16 which) {
    lane& one = lanes_[which];
    (void)one.ring.publish();
    (void)one.ring.needs_kick();
    one.bell.ring(one.ring.position());
  }
  /// Rings once, for each queue in its turn of which the device has something: whichever doorbell was lost.
  void ring_again() {
    for (u16 tried = 0; tried < Count; ++tried) {
      turn_ = turn_ + 1 < Count ? static_cast<u16>(turn_ + 1) : u16{0};
      lane& one = lanes_[turn_];
      if (one.ring.in_flight() == 0) continue;
      return virtio::ring_again(life_.device().platform(), one.ring, one.bell, one.number);
    }
  }

  /// A look at every queue has found something, or nothing: after many of those a doorbell may have been lost.
  void looked(bool quiet, u32 looks) {
    if (!quiet) quiet_.end();
    else if (quiet_.goes_on(looks)) ring_again();
  }
  /// Whether a whole sleep has brought nothing.
  [[nodiscard]] bool outlasts_sleep() const { return quiet_.outlasts_sleep(); }

  /// Asks every queue for an interrupt. True: something is there already, look again before sleeping.
  [[nodiscard]] bool arm() {
    bool something = false;
    for (lane& one : lanes_)
      if (one.present) something |= one.ring.arm();
    return something;
  }
  void disarm() {
    for (lane& one : lanes_)
      if (one.present) one.ring.disarm();
  }

  /// The one loop in which a driver of several queues waits. `turn(came)` takes what has come in any queue, and says so; `arm()` asks
  /// for interrupts ahead of a sleep, as `arm` above; `done()` ends it. Whatever a turn took after an `arm`, from whichever queue, has
  /// spent that interrupt: the next sleep comes after a new one. Errors: those of `turn`; `needs_reset`, the device has failed;
  /// `timed_out`, the platform has waited enough. The device is as it was.
  template <class Turn, class Arm, class Done>
  [[nodiscard]] errc wait_until(waiting why, Turn&& turn, Arm&& ask, Done&& done) {
    for (patience left;;) {
      bool came = false;
      if (const errc problem = turn(came); problem != errc::ok) return problem;
      if (done()) return errc::ok;
      if (came) left.came();
      if (const errc passed = life_.pass_time(why, left, ask); passed != errc::ok) return passed;
    }
  }

  /// Takes the device down, as `device_life::take_down`; what the rings had is gone, unless the device keeps it.
  errc take_down(errc why) {
    why = life_.take_down(why);
    if (!life_.has_memory()) reclaim();
    return why;
  }

  // What a driver's face passes on. `fall(why)` takes the driver down and returns what `take_down` does.

  /// Reads the status: `needs_reset` when the device has failed; it is then taken down. Errors also: `not_started`; `device_broken`, it
  /// will not reset and keeps the storage.
  template <class Fall>
  [[nodiscard]] result<void> check(Fall&& fall) {
    const errc problem = life_.check();
    return problem == errc::needs_reset ? fall(problem) : problem;
  }
  /// Resets the device. Errors: `not_started`; it will not reset: `device_broken`, and keeps the storage; `timed_out`, and has nothing,
  /// since it confirmed another reset before.
  template <class Fall>
  [[nodiscard]] result<void> reset(Fall&& fall) {
    if (!life_.device().is_open()) return errc::not_started;
    const errc how = fall(errc::canceled);
    return how == errc::canceled ? errc::ok : how;
  }
  /// As `reset`, and takes the device off the bus.
  template <class Fall>
  [[nodiscard]] result<void> hand_off(Fall&& fall) {
    const auto done = reset(fall);
    life_.close();
    return done;
  }

 private:
  struct lane {
    ring_type ring{};
    typename T::doorbell bell{};
    u16 number = 0;
    bool present = false;
  };

  void reclaim() {
    for (lane& one : lanes_)
      while (one.ring.reclaim()) {}
  }

  u16 turn_ = 0;  // the queue that was rung again last
  quiet_spell quiet_{};
  device_life<P, T> life_{};
  lane lanes_[Count]{};
};

}  // namespace virtio
