// SPDX-License-Identifier: MIT
// Several queues under one lifecycle: the rings and doorbells of a device, brought up, watched and taken down together. A queue may be
// missing, and its number be another one than its place here: both may depend on what the device offers (the balloon, network
// control). Layer: device.
#pragma once

#include <virtio/device/lifecycle.hpp>

namespace virtio {
namespace detail {

/// The condition of a wait that nothing but the platform bounds.
struct never {
  bool operator()() const { return false; }
};

}  // namespace detail

/// `Count` queues of one device. All-zero until `begin`. The rings take the first `dma_bytes` of the driver's storage; what follows
/// is the driver's own.
template <platform P, transport T, queue_format Q, u16 Count>
class queue_set {
 public:
  using ring_type = typename Q::template ring<typename P::barriers>;
  using platform_type = P;
  using doorbell_type = typename T::doorbell;
  using location = typename T::location;
  static constexpr u16 count = Count;
  static constexpr usize ring_bytes = detail::round_up(ring_type::dma_bytes, dma_page);
  static constexpr usize dma_bytes = Count * ring_bytes;

  /// Ahead of `begin`, takes a device down that this object drove before. Error: `device_broken`, it keeps its storage.
  [[nodiscard]] result<void> take_down_previous() {
    if (lifecycle_.has_memory() && lifecycle_.take_down(errc::canceled) == errc::device_broken)
      return session().refuse(verdict::former_device_stuck, errc::device_broken);
    idle_.end();
    ring_next_ = 0;
    for (queue_entry& one : queues_) one.present = false;
    return {};
  }
  /// The same, and forgets what the rings had. Each `request_queue` of the set has its requests taken out by its own `forget` before.
  /// Not needed where all queues are such.
  /// Cold: a compiler takes what comes after it in a bring-up to be so, too, and makes it small.
  [[nodiscard, gnu::cold, gnu::noinline]] result<void> forget() {
    VIRTIO_TRY(take_down_previous());
    reclaim();
    return {};
  }

  /// Steps up to the queues, after `forget`. `area` is the whole storage, as the device sees it. Errors: as `device_lifecycle::begin`.
  /// Inlined, so that a plan known at compile time leaves only its constants.
  [[nodiscard, gnu::always_inline]] result<void> begin(const P& platform, const location& where, dma_region storage, usize needed,
                                                       device_type type, const feature_plan& plan,
                                                       const interrupt_vectors& interrupts, dma_area& area) {
    return lifecycle_.begin(platform, where, storage, needed, type, plan.template with_queue<ring_type>(), interrupts, area);
  }

  /// Step 7 for queue `which` of the set, which is number `number` at the device. It needs chains of up to `chain` descriptors. A queue
  /// that is never set up is not there. Errors: those of `session::set_up`, which has refused the
  /// device then.
  [[nodiscard]] result<void> set_up(u16 which, u16 number, const dma_area& area, const interrupt_vectors& interrupts, u16 chain = 1) {
    queue_entry& one = queues_[which];
    VIRTIO_TRY(session().set_up(number, one.ring, area.part(ring_bytes * which, ring_bytes), interrupts.of_queue(number), one.bell,
                                     chain));
    one.number = number;
    one.present = true;
    return {};
  }

  /// Step 8. No doorbell rings.
  void go() { lifecycle_.go(); }
  /// Instead of step 8, or after a failed `set_up`: returns `error`, and the storage is the caller's; or `device_broken`, the device
  /// will not reset and keeps it.
  [[nodiscard]] errc refuse(verdict why, errc error) {
    return session().refuse(why, error);
  }

  [[nodiscard]] device_lifecycle<P, T>& lifecycle() { return lifecycle_; }
  [[nodiscard]] const device_lifecycle<P, T>& lifecycle() const { return lifecycle_; }
  [[nodiscard]] virtio::session<P, T>& session() { return lifecycle_.session(); }
  [[nodiscard]] const virtio::session<P, T>& session() const { return lifecycle_.session(); }
  [[nodiscard]] const P& platform() const { return session().platform(); }
  [[nodiscard]] bool is_up() const { return lifecycle_.is_up(); }
  [[nodiscard]] result<void> ready() const { return lifecycle_.ready(); }
  [[nodiscard]] bool has_memory() const { return lifecycle_.has_memory(); }

  [[nodiscard]] ring_type& operator[](u16 which) { return queues_[which].ring; }
  [[nodiscard]] const ring_type& operator[](u16 which) const { return queues_[which].ring; }
  /// Whether the queue was set up since the last `forget`. The device may be down since: see `ready`.
  [[nodiscard]] bool has(u16 which) const { return queues_[which].present; }

  /// Shows the device what was staged: at most one register write.
  void kick(u16 which) {
    queue_entry& one = queues_[which];
    if (virtio::kick(platform(), one.ring, one.bell, one.number)) ring_next_ = which;
  }
  /// Shows what was staged, and rings whether the device wants it or not: one that was restored from a snapshot waits for it.
  void kick_always(u16 which) {
    queue_entry& one = queues_[which];
    (void)one.ring.publish();
    (void)one.ring.needs_kick();
    one.bell.ring(one.ring.position());
    detail::trace(platform(), {event::kind::doorbell, one.number});
  }
  /// Rings again for what the device has of one queue; for nothing, not.
  void ring_again(u16 which) const {
    const queue_entry& one = queues_[which];
    virtio::ring_again(platform(), one.ring, one.bell, one.number);
  }
  /// Rings one doorbell again, of a queue of which the device has something: the one that rang last, and after the next idle period
  /// the next one.
  void ring_again() {
    for (u16 tried = 0; tried < Count; ++tried) {
      const u16 which = ring_next_;
      ring_next_ = which + 1 < Count ? static_cast<u16>(which + 1) : u16{0};
      if (queues_[which].ring.in_flight() != 0) return ring_again(which);
    }
  }

  /// So many looks at every queue have found nothing: after many of those a doorbell may have been lost.
  void found_nothing(u32 looks = 1) {
    if (idle_.count(looks)) ring_again();
  }
  void found_something() { idle_.end(); }
  /// Whether a whole sleep has brought nothing.
  [[nodiscard]] bool slept_idle() const { return idle_.slept_idle(); }

  /// Asks every queue for an interrupt. True: something is there already, look again before sleeping. False while the device is down:
  /// the rings' memory may be another owner's then.
  [[nodiscard]] bool arm() {
    bool something = false;
    for (u16 which = 0; which < Count; ++which)
      if (asks(which)) something = true;
    if (!something) will_sleep();
    return something;
  }
  /// The same for one queue; false where there is no such queue. A ring's own `arm` is only for a device that is up.
  [[nodiscard]] bool arm(u16 which) {
    const bool something = asks(which);
    if (!something) will_sleep();
    return something;
  }
  void disarm() {
    if (!is_up()) return;
    for (queue_entry& one : queues_)
      if (one.present) one.ring.disarm();
  }
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return lifecycle_.acknowledge_interrupt(); }

  /// The one loop in which drivers wait. `step(state)` takes what has come in any queue, and calls `state.progress()` then, or
  /// `state.start_over()` when that shows that what is waited for is on its way. `ask()` asks for interrupts ahead of a sleep, as `arm`
  /// above; `done()` ends it. Whatever a step took after an `ask`, from whichever queue, has spent that interrupt: the next sleep comes after a new one. Errors:
  /// those of `step`; `needs_reset`, the device has failed; `timed_out`, the platform has waited enough. The device is as it was.
  template <class Step, class Arm, class Done>
  VIRTIO_INLINE_ON_GCC [[nodiscard]] errc wait_loop(waiting why, Step&& step, Arm&& ask, Done&& done) {
    for (wait_state state;;) {
      if (const errc problem = step(state); problem != errc::ok) return problem;
      if (done()) return errc::ok;
      if (state.started_over) {
        state.started_over = false;
        continue;
      }
      if (const errc passed = lifecycle_.pass_time(why, state, ask); passed != errc::ok) return passed;
    }
  }
  /// The same where what comes is no sign of what is waited for: `look(came)` says whether anything came, and no step starts the wait over.
  template <class Look, class Arm, class Done>
  [[nodiscard]] errc wait_until(waiting why, Look&& look, Arm&& ask, Done&& done) {
    const auto step = [&look](wait_state& state) {
      bool came = false;
      const errc problem = look(came);
      if (came) state.progress();
      return problem;
    };
    return wait_loop(why, step, ask, done);
  }

  /// The same for a call that waits for what a peer does, until `give_up()`; both conditions may take the device down, and its rings
  /// are the device's then. Errors: `peer_silent`, the platform has waited enough; `canceled`, `give_up()` was true; `not_started`, the
  /// device is down; `needs_reset` as `bring_down(why)` says it; those of `look`.
  template <class Look, class Arm, class Done, class GiveUp, class BringDown>
  VIRTIO_INLINE_ON_GCC [[nodiscard]] errc wait_for_peer(waiting why, Look&& look, Arm&& ask, Done&& done, GiveUp&& give_up,
                                                          BringDown&& bring_down) {
    bool finished = false, gave_up = false;
    const auto ended = [&] { return (finished = done()) || (gave_up = give_up()) || !is_up(); };
    const errc waited = wait_until(why, look, ask, ended);
    if (gave_up) return errc::canceled;
    if (waited == errc::ok && !finished) return errc::not_started;
    if (waited == errc::timed_out) return errc::peer_silent;
    return waited == errc::needs_reset ? bring_down(waited) : waited;
  }

  /// Takes the device down, as `device_lifecycle::take_down`, and forgets what the rings had, unless the device keeps it: for drivers whose
  /// buffers are their own.
  errc take_down(errc why) {
    why = lifecycle_.take_down(why);
    if (!lifecycle_.has_memory()) reclaim();
    return why;
  }

  // What a driver passes on to its users. `bring_down(why)` takes the driver down, by `take_down` or by `request_queue::bring_down`.

  /// Reads the status: `needs_reset` when the device has failed; it is then taken down. Errors also: `not_started`; `device_broken`, it
  /// will not reset and keeps the storage.
  template <class BringDown>
  [[nodiscard]] result<void> check(BringDown&& bring_down) {
    const errc problem = lifecycle_.check();
    return problem == errc::needs_reset ? down(bring_down, problem) : problem;
  }
  /// Resets the device. Errors: `not_started`; it will not reset: `device_broken`, and keeps the storage; `timed_out`, and has nothing,
  /// since it confirmed another reset before.
  template <class BringDown>
  [[nodiscard]] result<void> reset(BringDown&& bring_down) {
    if (!session().is_open()) return errc::not_started;
    const errc how = down(bring_down, errc::canceled);
    return how == errc::canceled ? errc::ok : how;
  }
  /// As `reset`, and takes the device off the bus.
  template <class BringDown>
  [[nodiscard]] result<void> hand_off(BringDown&& bring_down) {
    const auto done = reset(bring_down);
    lifecycle_.close();
    return done;
  }

 private:
  struct queue_entry {
    doorbell_type bell{};
    u16 number = 0;
    bool present = false;
    ring_type ring{};  // ends in long tables: what is near the start is cheaper to reach
  };

  void reclaim() {
    for (queue_entry& one : queues_)
      while (one.ring.reclaim()) {}
  }

  template <class BringDown>
  [[nodiscard]] errc down(BringDown& bring_down, errc why) {
    why = bring_down(why);
    return has_memory() ? errc::device_broken : why;
  }

  [[nodiscard]] bool asks(u16 which) { return is_up() && queues_[which].present && queues_[which].ring.arm(); }
  void will_sleep() {
    if (is_up()) found_nothing(idle_polls::sleep);
  }

  u16 ring_next_ = 0;  // the queue that is rung again first
  idle_polls idle_{};
  device_lifecycle<P, T> lifecycle_{};
  queue_entry queues_[Count]{};
};

}  // namespace virtio
