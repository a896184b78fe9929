// SPDX-License-Identifier: MIT
// Several queues under one lifecycle: the rings and doorbells of a device, brought up, polled and taken down together.
// A queue may be absent, and its number may differ from its index here: both can depend on the device's features
// (balloon, network control). Layer: device.
#pragma once

#include <virtio/device/lifecycle.hpp>

namespace virtio {
namespace detail {

/// The condition of a wait that only the platform bounds.
struct never {
  bool operator()() const { return false; }
};

}  // namespace detail

/// `Count` queues of one device. All-zero until `begin`. The rings take the first `dma_bytes` of the driver's storage;
/// the driver uses the rest.
template <platform P, transport T, queue_format Q, u16 Count>
class queue_set {
 public:
  using ring_type = typename Q::template ring<typename P::barriers>;  // each queue's ring
  using platform_type = P;                                            // the board
  using doorbell_type = typename T::doorbell;                         // each queue's doorbell
  using location = typename T::location;                              // what discovery returns for the device
  static constexpr u16 count = Count;                                 // number of queues
  static constexpr usize ring_bytes = detail::round_up(ring_type::dma_bytes, dma_page);  // bytes of one ring, in pages
  static constexpr usize dma_bytes = Count * ring_bytes;                                 // bytes of all rings

  /// Before `begin`: takes down the device that this object drove before. Error: `device_broken`, it keeps its storage.
  [[nodiscard]] result<void> take_down_previous() {
    if (lifecycle_.has_memory() && lifecycle_.take_down(errc::canceled) == errc::device_broken)
      return session().refuse(verdict::former_device_stuck, errc::device_broken);
    idle_.end();
    ring_next_ = 0;
    for (queue_entry& one : queues_) one.present = false;
    return {};
  }
  /// The same, and drops the requests in the rings. First call `forget` of each `request_queue` of the set. Not needed
  /// if every queue has a `request_queue`.
  // Cold: compilers then treat the rest of a bring-up as cold, too, and optimize it for size.
  [[nodiscard, gnu::cold, gnu::noinline]] result<void> forget() {
    VIRTIO_TRY(take_down_previous());
    reclaim();
    return {};
  }

  /// Performs the steps before the queues, after `forget`. Sets `area` to the whole storage as the device sees it.
  /// Errors: as `device_lifecycle::begin`.
  // Inlined, so that a plan known at compile time leaves only its constants.
  [[nodiscard, gnu::always_inline]] result<void> begin(const P& platform, const location& where, dma_region storage,
                                                       usize needed, device_type type, const feature_plan& plan,
                                                       const interrupt_vectors& interrupts, dma_area& area) {
    return lifecycle_.begin(platform, where, storage, needed, type, plan.template with_queue<ring_type>(), interrupts,
                            area);
  }

  /// Step 7 for queue `which` of the set, which has number `number` at the device. It must accept chains of `chain`
  /// descriptors. A queue that is not set up is absent. Errors: those of `session::set_up`, which has ended the
  /// bring-up.
  [[nodiscard]] result<void> set_up(u16 which, u16 number, const dma_area& area, const interrupt_vectors& interrupts,
                                    u16 chain = 1) {
    queue_entry& one = queues_[which];
    VIRTIO_TRY(session().set_up(number, one.ring, area.part(ring_bytes * which, ring_bytes),
                                interrupts.of_queue(number), one.bell, chain));
    one.number = number;
    one.present = true;
    return {};
  }

  /// Step 8: DRIVER_OK. No doorbell is written yet.
  void go() { lifecycle_.go(); }
  /// Ends a bring-up, instead of step 8 or after a failed `set_up`. Returns `error`: the storage belongs to the caller;
  /// or `device_broken`: the device did not reset and keeps the storage.
  [[nodiscard]] errc refuse(verdict why, errc error) { return session().refuse(why, error); }

  [[nodiscard]] device_lifecycle<P, T>& lifecycle() { return lifecycle_; }              // the lifecycle of the device
  [[nodiscard]] const device_lifecycle<P, T>& lifecycle() const { return lifecycle_; }  // the same, const
  [[nodiscard]] virtio::session<P, T>& session() { return lifecycle_.session(); }       // the device's session
  [[nodiscard]] const virtio::session<P, T>& session() const { return lifecycle_.session(); }  // the same, const
  [[nodiscard]] const P& platform() const { return session().platform(); }                     // the board
  [[nodiscard]] bool is_up() const { return lifecycle_.is_up(); }            // whether requests are possible now
  [[nodiscard]] result<void> ready() const { return lifecycle_.ready(); }    // the same; error: `not_started`
  [[nodiscard]] bool has_memory() const { return lifecycle_.has_memory(); }  // see `session::has_memory`

  [[nodiscard]] ring_type& operator[](u16 which) { return queues_[which].ring; }              // ring of a queue
  [[nodiscard]] const ring_type& operator[](u16 which) const { return queues_[which].ring; }  // the same, const
  /// Whether the queue was set up since the last `forget`. The device may be down: see `ready`.
  [[nodiscard]] bool has(u16 which) const { return queues_[which].present; }

  /// Makes all staged chains visible to the device: at most one register write.
  void kick(u16 which) {
    queue_entry& one = queues_[which];
    if (virtio::kick(platform(), one.ring, one.bell, one.number)) ring_next_ = which;
  }
  /// The same, and always rings the doorbell: a device that was restored from a snapshot waits for it.
  void kick_always(u16 which) {
    queue_entry& one = queues_[which];
    (void)one.ring.publish();
    (void)one.ring.needs_kick();
    one.bell.ring(one.ring.position());
    detail::trace(platform(), {event::kind::doorbell, one.number});
  }
  /// Rings one queue's doorbell again if the device holds chains of it.
  void ring_again(u16 which) const {
    const queue_entry& one = queues_[which];
    virtio::ring_again(platform(), one.ring, one.bell, one.number);
  }
  /// Rings one doorbell again, of a queue that has chains in flight: the one that rang last; after the next idle period
  /// the next one.
  void ring_again() {
    for (u16 tried = 0; tried < Count; ++tried) {
      const u16 which = ring_next_;
      ring_next_ = which + 1 < Count ? static_cast<u16>(which + 1) : u16{0};
      if (queues_[which].ring.in_flight() != 0) return ring_again(which);
    }
  }

  /// Counts `looks` polls of every queue that found nothing. After many of them a doorbell may have been lost: rings
  /// again.
  void found_nothing(u32 looks = 1) {
    if (idle_.count(looks)) ring_again();
  }
  /// Ends the count: a poll found something.
  void found_something() { idle_.end(); }
  /// Whether a whole sleep ended without a completion.
  [[nodiscard]] bool slept_idle() const { return idle_.slept_idle(); }

  /// Requests interrupts for every queue. True: something is ready already, poll again before sleeping. False while the
  /// device is down: the rings' memory may have another owner.
  [[nodiscard]] bool arm() {
    bool something = false;
    for (u16 which = 0; which < Count; ++which)
      if (asks(which)) something = true;
    if (!something) will_sleep();
    return something;
  }
  /// The same for one queue; false if the queue is absent. Call the `arm` of a ring itself only while the device is up.
  [[nodiscard]] bool arm(u16 which) {
    const bool something = asks(which);
    if (!something) will_sleep();
    return something;
  }
  /// Requests no interrupts for any queue. A hint: one may still arrive.
  void disarm() {
    if (!is_up()) return;
    for (queue_entry& one : queues_)
      if (one.present) one.ring.disarm();
  }
  /// Reads the cause of an interrupt, which deasserts its line.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return lifecycle_.acknowledge_interrupt(); }

  /// The loop in which drivers wait. `step(state)` takes completions of any queue. It then calls `state.progress()`, or
  /// `state.start_over()` if they show that the awaited event is on its way. `ask()` requests interrupts before a
  /// sleep, as `arm` above; `done()` ends the wait. A completion of any queue that a step takes after `ask` uses that
  /// interrupt up, so the next sleep is preceded by a new `ask`. Errors: those of `step`; `needs_reset`, the device has
  /// failed; `timed_out`, the platform's limit was reached. The state of the device does not change.
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
  /// The same if completions say nothing about the awaited event. `look(came)` sets `came` if it took a completion; no
  /// step starts the wait over.
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

  /// The same for a call that waits for a peer, until `give_up()`. Both conditions may take the device down; its rings
  /// may then belong to the device. Errors: `peer_silent`, the platform's limit was reached; `canceled`, `give_up()`
  /// returned true; `not_started`, the device is down; the result of `bring_down(needs_reset)`; those of `look`.
  template <class Look, class Arm, class Done, class GiveUp, class BringDown>
  VIRTIO_INLINE_ON_GCC [[nodiscard]] errc wait_for_peer(waiting why, Look&& look, Arm&& ask, Done&& done,
                                                        GiveUp&& give_up, BringDown&& bring_down) {
    bool finished = false, gave_up = false;
    const auto ended = [&] { return (finished = done()) || (gave_up = give_up()) || !is_up(); };
    const errc waited = wait_until(why, look, ask, ended);
    if (gave_up) return errc::canceled;
    if (waited == errc::ok && !finished) return errc::not_started;
    if (waited == errc::timed_out) return errc::peer_silent;
    return waited == errc::needs_reset ? bring_down(waited) : waited;
  }

  /// Takes the device down, as `device_lifecycle::take_down`, and drops the chains in the rings, unless the device
  /// keeps them: for drivers that own their buffers.
  errc take_down(errc why) {
    why = lifecycle_.take_down(why);
    if (!lifecycle_.has_memory()) reclaim();
    return why;
  }

  // Calls that a driver passes on to its users. `bring_down(why)` takes the driver down, by `take_down` or by
  // `request_queue::bring_down`.

  /// Reads the status. Returns `needs_reset` if the device has failed, and takes it down. Additional errors:
  /// `not_started`; `device_broken`: it did not reset and keeps the storage.
  template <class BringDown>
  [[nodiscard]] result<void> check(BringDown&& bring_down) {
    const errc problem = lifecycle_.check();
    return problem == errc::needs_reset ? down(bring_down, problem) : problem;
  }
  /// Resets the device. Errors: `not_started`; `device_broken`: it did not reset and keeps the storage; `timed_out`: it
  /// did not reset and has no memory, since it confirmed an earlier reset.
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
    ring_type ring{};  // ends in long tables: members near the start are cheaper to reach
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

  u16 ring_next_ = 0;  // the queue whose doorbell is rung again first
  idle_polls idle_{};
  device_lifecycle<P, T> lifecycle_{};
  queue_entry queues_[Count]{};
};

}  // namespace virtio
