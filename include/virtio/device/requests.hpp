// SPDX-License-Identifier: MIT
// Requests of a device with one queue, from submit to completion: what block and entropy drivers share. Blocking calls and
// the submit/kick/poll engine mix freely: a completion that a blocking call meets on its way and that is not its own is
// parked in its slot and delivered later.
// Layer: device.
#pragma once

#include <virtio/device/life.hpp>

namespace virtio {

/// The end of one request, before the driver has looked at its contents.
struct answer {
  completion what{};
  errc error = errc::ok;  // ok: the device completed it; else why it did not
};

namespace detail {

/// The pieces of user buffers that a platform wants unmapped after completion; nothing at all for a platform that does not.
template <class P, u16 Slots, u16 Pieces>
class mapped_pieces {
 public:
  void remember(u16 slot, const segment* first, u16 count) {
    counts_[slot] = count;
    for (u16 i = 0; i < count; ++i) pieces_[slot][i] = first[i];
  }
  void unmap(const P& platform, u16 slot, u32 written) {
    detail::unmap(platform, pieces_[slot], counts_[slot], written);
    counts_[slot] = 0;
  }

 private:
  u16 counts_[Slots]{};
  segment pieces_[Slots][Pieces]{};
};

template <class P, u16 Slots, u16 Pieces>
  requires(!unmaps<P>)
class mapped_pieces<P, Slots, Pieces> {
 public:
  void remember(u16, const segment*, u16) {}
  void unmap(const P&, u16, u32) {}
};

}  // namespace detail

/// Who hears of a request that is waited for when the device keeps its buffers and a later reset gives them back: whoever takes
/// completions, or nobody, since a call that waits for a request of its own is over by then.
enum class owner : u8 { user, call };

/// A session with one queue. `Pieces` bounds the segments of one request's user buffers.
template <platform P, transport T, queue_format Q, u16 Pieces>
class request_device {
 public:
  using ring_type = typename Q::template ring<typename P::barriers>;
  using location = typename T::location;
  static constexpr u16 slots = ring_type::slots;

  /// Steps up to the queue. `storage` is the driver's whole DMA storage; the ring takes the first `ring_type::dma_bytes`.
  /// `area` says where the device sees the storage. Requests of before are gone, their tokens stale.
  /// Requests need chains of up to `chain` descriptors.
  [[nodiscard, gnu::always_inline]] result<void> bring_up(const P& platform, const location& where, dma_region storage,
                                                          usize needed, device_type type, u16 chain, feature_plan plan,
                                                          const interrupt_vectors& interrupts, dma_area& area) {
    // Whatever the device of before still has comes back first; if it will not let go, this object stays with it.
    if (life_.has_memory()) {
      recover(errc::canceled);
      if (life_.has_memory()) return device().refuse(verdict::former_device_stuck, errc::device_broken);
    }
    forget_requests();
    quiet_.end();
    VIRTIO_TRY(life_.begin(platform, where, storage, needed, type, plan.with_queue<ring_type>(), interrupts, area));
    return device().set_up(0, ring_, area.part(0, ring_type::dma_bytes), interrupts.of_queue(0), bell_, chain);
  }

  /// Step 8.
  void go() { life_.go(); }
  /// Instead of step 8: the driver cannot do with what the device is. Returns `error`, and the storage is the caller's; or
  /// `device_broken`, the device will not reset and keeps it.
  [[nodiscard]] errc refuse(verdict why, errc error) { return device().refuse(why, error); }

  [[nodiscard]] session<P, T>& device() { return life_.device(); }
  [[nodiscard]] const session<P, T>& device() const { return life_.device(); }
  [[nodiscard]] u16 longest_chain() const { return ring_.longest_chain(); }
  [[nodiscard]] u16 in_flight() const { return static_cast<u16>(ring_.in_flight() + parked_count_); }

  /// Whether requests can be made now. Error: `not_started`.
  [[nodiscard]] result<void> ready() const { return life_.ready(); }

  /// The slot of the next request. Errors: `queue_full`, `not_started`.
  [[nodiscard]] result<u16> reserve() {
    if (!life_.is_up()) [[unlikely]] return errc::not_started;
    return ring_.reserve();
  }

  /// Stages the chain for `slot`. `payload` segments from index `first` on are user buffers; on error they are unmapped.
  [[nodiscard]] result<token> stage(u16 slot, const segments& chain, u16 first, u16 payload, u64 cookie) {
    const result<token> staged = ring_.stage(slot, chain, cookie);
    if (!staged) [[unlikely]] release_pieces(chain, first, payload);
    else mapped_.remember(slot, chain.begin() + first, payload);
    return staged;
  }

  /// Unmaps user buffers that were mapped for a request that is not going to be.
  void release_pieces(const segments& chain, u16 first, u16 payload) const {
    detail::unmap(device().platform(), chain.begin() + first, payload, 0);
  }

  /// Publishes what is staged and rings the doorbell if the device wants it: at most one register write.
  void kick() {
    if (!life_.is_up()) return;  // a device that will not reset is shown nothing more
    virtio::kick(device().platform(), ring_, bell_, 0);
  }

  /// The next request to end, in any order, without waiting. Call `finish()` once its slot's cells have been read. Errors:
  /// `not_ready`; `device_misbehaved` once, when the device lies: it is then reset, and what was in flight ends as
  /// `canceled`; `not_started`; `device_broken` instead of both for as long as the device will not reset and has a request.
  [[nodiscard]] errc next(answer& ended) {
    if (parked_count_ == 0) [[likely]] return next_from_ring(ended);
    ended = unpark_any();
    return errc::ok;
  }

  /// As `next()`, and waits for it. Errors also: `timed_out`, `dma_unanswered` or `needs_reset` once, when the device was reset for it, and
  /// what was in flight ends as `canceled`; `not_ready` when nothing is in flight.
  [[nodiscard]] errc wait_next(waiting why, answer& ended) {
    kick();
    for (patience left;;) {
      const errc got = next(ended);
      if (got != errc::not_ready || ring_.in_flight() == 0) return got;
      if (const errc problem = pass_time(why, left); problem != errc::ok) return recover(problem);
    }
  }

  /// Waits for one request; others that end meanwhile are parked. The answer's error is set when the device was reset, its
  /// buffers are safe then. Errors: `stale_handle`; `device_broken` when the device will not reset and keeps the buffers: the
  /// request ends with a later reset then, as `canceled` for a user, and without a word when it is a call's own.
  [[nodiscard]] errc wait(token mine, waiting why, answer& ended, owner whose) {
    if (!ring_.is_live(mine)) return errc::stale_handle;
    if (is_parked(mine.slot)) {
      ended = unpark(mine.slot);
      return errc::ok;
    }
    kick();
    for (patience left;;) {
      errc problem = next_from_ring(ended);
      if (problem == errc::ok) {
        if (ended.what.which == mine) return errc::ok;
        park(ended);
        left.renew();
        continue;
      }
      if (problem == errc::not_ready) {
        problem = pass_time(why, left);
        if (problem == errc::ok) continue;
        problem = recover(problem);
      }
      if (!is_parked(mine.slot)) {
        parked_[mine.slot].disowned = whose == owner::call;
        return errc::device_broken;
      }
      ended = unpark(mine.slot);
      ended.error = problem;
      return errc::ok;
    }
  }

  /// Ends a request: unmaps its buffers (the device wrote the first `written` bytes of them) and frees its slot.
  void finish(const answer& ended, u32 written) {
    mapped_.unmap(device().platform(), ended.what.which.slot, written);
    ring_.release(ended.what.which);
  }

  [[nodiscard]] bool arm() { return parked_count_ != 0 || (life_.is_up() && arm_ring()); }
  void disarm() {
    if (life_.is_up()) ring_.disarm();
  }
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return life_.acknowledge_interrupt(); }

  /// Resets the device. What was in flight ends as `canceled`; the device is down until the next bring-up. Errors: `not_started`;
  /// it will not reset: `device_broken`, and keeps the storage and the buffers of what is in flight; `timed_out`, and has nothing,
  /// since it confirmed another reset before.
  [[nodiscard]] result<void> reset() {
    if (!device().is_open()) return errc::not_started;
    const errc how = recover(errc::canceled);
    if (life_.has_memory()) return errc::device_broken;
    return how == errc::canceled ? errc::ok : how;
  }

  /// Leaves the device quiet for whoever comes next: reset, and off the bus. Errors: as `reset()`; bus mastering is taken
  /// away in any case.
  [[nodiscard]] result<void> hand_off() {
    const auto done = reset();
    life_.close();
    return done;
  }

  /// Reads the status: `needs_reset` when the device has failed; it is then reset as above. Errors also: `not_started`;
  /// `device_broken` as above.
  [[nodiscard]] result<void> check() {
    const errc problem = life_.check();
    if (problem != errc::needs_reset) return problem;
    (void)recover(problem);
    return life_.has_memory() ? errc::device_broken : problem;
  }

 private:
  [[nodiscard]] errc next_from_ring(answer& ended) {
    if (!life_.is_up()) [[unlikely]] return while_down(errc::not_started);
    ended.error = errc::ok;
    const errc got = ring_.take(ended.what);
    if (got == errc::not_ready) stay_quiet(1);
    return got == errc::device_misbehaved ? recover(got) : got;
  }

  [[nodiscard]] errc pass_time(waiting why, patience& left) {
    return life_.pass_time(why, left, [this] { return arm_ring(); });
  }
  [[nodiscard]] bool arm_ring() {
    if (ring_.arm()) return true;
    stay_quiet(quiet_spell::sleep);
    return false;
  }

  // So many looks found nothing. A spell ends by what comes and by what is shown to the device, and that is seen here, where nobody is
  // in a hurry, by the ring: a request that completes pays nothing for it.
  [[gnu::noinline]] void stay_quiet(u32 looks) {
    const u32 now = u32{ring_.position()} << 16 | ring_.in_flight();
    if (now != quiet_at_) quiet_.end();
    quiet_at_ = now;
    if (quiet_.goes_on(looks)) ring_again(device().platform(), ring_, bell_, 0);
  }

  // `why`, or device_broken when the device, which is down, has a request: staged ones count, whose descriptors are where it can read
  // them.
  [[nodiscard, gnu::cold, gnu::noinline]] errc while_down(errc why) const {
    for (u16 slot = 0; slot < slots; ++slot)
      if (!is_parked(slot) && ring_.is_live({slot, ring_.record(slot).generation})) return errc::device_broken;
    return why;
  }

  // Takes the device down and the buffers back. Returns `why`, or device_broken when the device keeps some. One that will not reset
  // and has no request keeps the storage alone, which is for those to say who give it back.
  [[gnu::cold, gnu::noinline]] errc recover(errc why) {
    const errc how = life_.take_down(why);
    if (life_.has_memory()) return while_down(why);
    for (;;) {
      const auto taken = ring_.reclaim();
      if (!taken) return how;
      const answer ended{*taken, errc::canceled};
      bool& disowned = parked_[taken->which.slot].disowned;
      if (disowned) finish(ended, 0);
      else park(ended);
      disowned = false;
    }
  }

  // The device is down, so whatever has not been delivered is parked.
  [[gnu::cold, gnu::noinline]] void forget_requests() {
    while (parked_count_ != 0) finish(unpark_any(), 0);
  }

  // What is known of a request that has ended and has not been delivered.
  struct parked_answer {
    u32 length;
    errc error;
    bool length_known;
    bool parked;
    bool disowned;  // of one that has not ended: never to be delivered
  };

  [[nodiscard]] bool is_parked(u16 slot) const { return parked_[slot].parked; }

  void park(const answer& one) {
    parked_[one.what.which.slot] = {one.what.length, one.error, one.what.length_known, true, false};
    ++parked_count_;
  }

  answer unpark(u16 slot) {
    const parked_answer kept = parked_[slot];
    parked_[slot].parked = false;
    --parked_count_;
    const auto& record = ring_.record(slot);
    return {{{slot, record.generation}, record.cookie, kept.length, kept.length_known}, kept.error};
  }

  // Only if there is one.
  [[gnu::cold, gnu::noinline]] answer unpark_any() {
    u16 slot = 0;
    while (!is_parked(slot)) ++slot;
    return unpark(slot);
  }

  u16 parked_count_ = 0;
  typename T::doorbell bell_{};
  quiet_spell quiet_{};
  u32 quiet_at_ = 0;  // where the ring was at the last quiet look
  device_life<P, T> life_{};
  ring_type ring_{};
  parked_answer parked_[slots]{};
  VIRTIO_EMPTY_MEMBER detail::mapped_pieces<P, slots, Pieces> mapped_{};
};

}  // namespace virtio
