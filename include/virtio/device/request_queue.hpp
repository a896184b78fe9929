// SPDX-License-Identifier: MIT
// Requests from submit to completion, on one queue of a set. Drivers of requests share this class; a device can have
// several such queues under one lifecycle. Blocking calls and the submit/kick/poll engine can be mixed: if a blocking
// call takes another request's completion, it defers the completion in its slot, for later delivery.
// Layer: device.
#pragma once

#include <virtio/device/queue_set.hpp>

namespace virtio {

/// The end of one request, before the driver has read its contents.
struct answer {
  completion what{};      // what the ring returned
  errc error = errc::ok;  // ok: the device completed it; else the reason why not
};

namespace detail {

/// The pieces of user buffers that a platform requires to be unmapped after completion; empty for other platforms.
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

/// Who takes the completion of a request whose wait failed with `device_broken`, after a later reset succeeds: the
/// user; or a call that waited for its own request and has returned since, so that the completion is dropped.
enum class owner : u8 { user, call };

/// The state of the requests on one queue of a `queue_set`, besides its ring. Each call receives the set, which must
/// always be the same one. `Pieces` bounds the segments of one request's user buffers. All-zero: no requests, on queue
/// 0.
///
/// When the set's device is taken down for any reason, the requests of every queue end as `canceled`: the failure of
/// one queue is the failure of the device.
template <class Set, u16 Pieces>
class request_queue {
  using P = typename Set::platform_type;

 public:
  using ring_type = typename Set::ring_type;      // the queue's ring
  static constexpr u16 slots = ring_type::slots;  // maximum number of requests in flight

  /// Before `Set::begin`: takes the set's previous device down and drops its requests, whose tokens become stale. From
  /// then on this object drives queue `which` of the set. Errors: `device_broken`, the previous device keeps its
  /// storage and its requests.
  // Cold: compilers then treat the rest of a bring-up as cold, too, and optimize it for size.
  [[nodiscard, gnu::cold, gnu::noinline]] result<void> forget(Set& set, u16 which = 0) {
    VIRTIO_TRY(set.take_down_previous());
    reclaim_canceled(set);
    while (deferred_count_ != 0) finish(set, take_any_deferred(set), 0);
    idle_.end();
    which_ = which;
    return {};
  }

  /// Returns the number of requests that were published and whose completion was not taken. Staged ones count from
  /// `kick` on.
  [[nodiscard]] u16 in_flight(const Set& set) const {
    return static_cast<u16>(ring(set).in_flight() + deferred_count_);
  }

  /// Returns the slot of the next request. Errors: `queue_full`, `not_started`.
  [[nodiscard]] result<u16> reserve(Set& set) {
    if (!set.is_up()) [[unlikely]]
      return errc::not_started;
    return ring(set).reserve();
  }

  /// Appends part of a request's user data to its chain. The first `first` pieces and the last `behind` places belong
  /// to the driver. On error no user buffer of the chain stays mapped. Errors: `too_many_pieces`; those of the
  /// platform's `map`.
  template <class Range>
  VIRTIO_INLINE_FOR_SPEED [[nodiscard]] static result<void> add(const Set& set, segments& chain, u16 first, u16 behind,
                                                                const Range& range, direction way) {
    if (range.size() == 0) return {};
    const u16 before = chain.size();
    const auto mapped = set.platform().map(range.data(), range.size(), way, chain);
    const bool fits = chain.size() + behind <= chain.capacity();
    if (mapped && fits) [[likely]]
      return {};
    release_pieces(set, chain, first, static_cast<u16>((mapped ? chain.size() : before) - first));
    return mapped || mapped.error() == errc::no_space ? errc::too_many_pieces : mapped.error();
  }
  /// The same for data in several ranges.
  template <class Range>
  [[nodiscard, gnu::always_inline]] static result<void> add(const Set& set, segments& chain, u16 first, u16 behind,
                                                            const scatter<Range>& data, direction way) {
    for (const Range& range : data) VIRTIO_TRY(add(set, chain, first, behind, range, way));
    return {};
  }

  /// Stages the chain for `slot`. `payload` segments from index `first` on are user buffers; on error they are
  /// unmapped.
  [[nodiscard]] result<token> stage(Set& set, u16 slot, const segments& chain, u16 first, u16 payload, u64 cookie) {
    const result<token> staged = ring(set).stage(slot, chain, cookie);
    if (!staged) [[unlikely]]
      release_pieces(set, chain, first, payload);
    else mapped_.remember(slot, chain.begin() + first, payload);
    return staged;
  }

  /// Unmaps user buffers of a request that will not be staged.
  static void release_pieces(const Set& set, const segments& chain, u16 first, u16 payload) {
    detail::unmap(set.platform(), chain.begin() + first, payload, 0);
  }

  /// Publishes all staged requests and rings the doorbell if the device requests it: at most one register write.
  void kick(Set& set) {
    if (set.is_up()) set.kick(which());  // a device that did not reset receives no more requests
  }

  /// Returns the next request that has ended, in any order, without waiting. Call `finish()` after reading its slot's
  /// cells. Errors: `not_ready`; `device_misbehaved` once, after an invalid entry: the device is then reset, and
  /// requests in flight end as `canceled`; `not_started`; `device_broken` instead of the last two while the device does
  /// not reset and holds a request.
  [[nodiscard]] errc next(Set& set, answer& ended) {
    if (!set.is_up()) [[unlikely]]
      reclaim_canceled(set);
    if (deferred_count_ == 0) [[likely]]
      return take(set, ended);
    ended = take_any_deferred(set);
    return errc::ok;
  }

  /// Kicks, and waits for the next request that ends, as `next()`. Additional errors: `timed_out`, `dma_unanswered` or
  /// `needs_reset`, each once: the device was reset for it, and requests in flight end as `canceled`; `not_ready` if no
  /// request is in flight.
  [[nodiscard]] errc wait_next(Set& set, waiting why, answer& ended) {
    kick(set);
    bool over = false;
    const auto step = [&](wait_state&) VIRTIO_INLINE_LAMBDA_ON_GCC {
      const errc got = next(set, ended);
      if (got == errc::not_ready && ring(set).in_flight() != 0) return errc::ok;
      over = true;
      return got;
    };
    const errc waited = wait_until(set, why, step, over);
    return over ? waited : bring_down(set, waited);
  }

  /// Waits for one request; others that end in the meantime are deferred. If the device was reset, the answer has the
  /// error, and the caller owns the buffers again. Errors: `stale_handle`; `device_broken`: the device did not reset
  /// and keeps the buffers. The request then ends at a later reset: as `canceled` for a user, without a completion for
  /// a call.
  [[nodiscard]] errc wait(Set& set, token mine, waiting why, answer& ended, owner whose) {
    if (!is_live(set, mine)) return errc::stale_handle;
    const errc problem = watch(set, mine, why, ended);
    return problem == errc::ok ? problem : give_up(set, mine, problem, ended, whose);
  }

  /// Returns whether the request was staged and its completion was not taken: `wait` accepts only such requests.
  [[nodiscard]] bool is_live(Set& set, token mine) {
    if (!set.is_up()) [[unlikely]]
      reclaim_canceled(set);
    return ring(set).is_live(mine);
  }
  /// The first half of `wait`, for a request that `is_live` and drivers that can end a request themselves. If `watch`
  /// returns `timed_out`, the driver may try to end the request, and then use `look_for` and `watch` again. If the
  /// request still has not ended, the driver calls `give_up`. Errors: the reason why the wait is over without the
  /// request's end.
  [[nodiscard]] errc watch(Set& set, token mine, waiting why, answer& ended) {
    if (is_deferred(mine.slot)) {
      ended = take_deferred(set, mine.slot);
      return errc::ok;
    }
    kick(set);
    bool over = false;
    const auto step = [&](wait_state& state) VIRTIO_INLINE_LAMBDA_ON_GCC {
      const errc got = take(set, ended);
      if (got != errc::ok) return got == errc::not_ready ? errc::ok : got;
      over = ended.what.which == mine;
      if (over) return errc::ok;
      defer(ended);
      state.start_over();
      return errc::ok;
    };
    return wait_until(set, why, step, over);
  }
  /// The second half of `wait`: takes the device down for `problem`, unless it is down. Errors: `device_broken`.
  [[nodiscard]] errc give_up(Set& set, token mine, errc problem, answer& ended, owner whose) {
    if (set.is_up()) problem = bring_down(set, problem);
    if (!is_deferred(mine.slot)) {
      deferred_[mine.slot].abandoned = whose == owner::call;
      return errc::device_broken;
    }
    ended = take_deferred(set, mine.slot);
    ended.error = problem;
    return errc::ok;
  }

  /// Returns whether a request has ended, without waiting. It and others that have ended are deferred. Errors:
  /// `not_ready`, it has not ended; those of `next`.
  [[nodiscard, gnu::cold, gnu::noinline]] errc look_for(Set& set, token mine) {
    for (answer ended;;) {
      const errc got = take(set, ended);
      if (got != errc::ok) return got == errc::not_ready && is_deferred(mine.slot) ? errc::ok : got;
      defer(ended);
    }
  }

  /// Ends a request: unmaps its buffers and frees its slot. The device wrote the first `written` bytes of the writable
  /// ones.
  void finish(Set& set, const answer& ended, u32 written) {
    mapped_.unmap(set.platform(), ended.what.which.slot, written);
    ring(set).release(ended.what.which);
  }

  /// Requests an interrupt at the next completion. True: something is ready already.
  [[nodiscard]] bool arm(Set& set) {
    if (!set.is_up()) reclaim_canceled(set);
    return deferred_count_ != 0 || (set.is_up() && arm_ring(set));
  }

  /// Takes the set's device down and reclaims this queue's requests. Returns `why`, as `device_lifecycle::take_down`
  /// changes it; or `device_broken` if the device keeps a request. A device that does not reset and holds no request
  /// keeps only the storage; the functions that return the storage report that.
  [[gnu::cold, gnu::noinline]] errc bring_down(Set& set, errc why) {
    const errc how = set.lifecycle().take_down(why);
    reclaim_canceled(set);
    return set.has_memory() ? broken_if_kept(set, why) : how;
  }

 private:
  [[nodiscard]] u16 which() const { return Set::count == 1 ? u16{0} : which_; }
  [[nodiscard]] ring_type& ring(Set& set) const { return set[which()]; }
  [[nodiscard]] const ring_type& ring(const Set& set) const { return set[which()]; }

  template <class Step>
  VIRTIO_INLINE_ON_GCC [[nodiscard]] errc wait_until(Set& set, waiting why, Step& step, const bool& over) {
    return set.wait_loop(
        why, step, [this, &set]() VIRTIO_INLINE_LAMBDA_ON_GCC { return arm_ring(set); },
        [&over]() VIRTIO_INLINE_LAMBDA_ON_GCC { return over; });
  }

  [[nodiscard]] errc take(Set& set, answer& ended) {
    if (!set.is_up()) [[unlikely]]
      return broken_if_kept(set, errc::not_started);
    ended.error = errc::ok;
    const errc got = ring(set).take(ended.what);
    if (got == errc::not_ready) count_idle(set, 1);
    return got == errc::device_misbehaved ? bring_down(set, got) : got;
  }

  [[nodiscard]] bool arm_ring(Set& set) {
    if (ring(set).arm()) return true;
    count_idle(set, idle_polls::sleep);
    return false;
  }

  // Counts polls that found nothing. An idle period ends with a completion or a publish. Both are detected here from
  // the ring's counters, off the fast path: a request that completes pays nothing for it.
  [[gnu::noinline]] void count_idle(Set& set, u32 looks) {
    const u32 now = u32{ring(set).position()} << 16 | ring(set).in_flight();
    if (now != idle_at_) idle_.end();
    idle_at_ = now;
    if (idle_.count(looks)) set.ring_again(which());
  }

  // Returns `why`, or device_broken if the device, which is down, holds a request. Staged ones count: the device can
  // read their descriptors.
  [[nodiscard, gnu::cold, gnu::noinline]] errc broken_if_kept(const Set& set, errc why) const {
    for (u16 slot = 0; slot < slots; ++slot)
      if (!is_deferred(slot) && ring(set).is_live({slot, ring(set).record(slot).generation}))
        return errc::device_broken;
    return why;
  }

  // After the device is down, by the failure of any queue, and its reset is confirmed: defers the requests that were in
  // flight, except those that a call gave up.
  [[gnu::cold, gnu::noinline]] void reclaim_canceled(Set& set) {
    if (set.has_memory()) return;
    for (;;) {
      const auto taken = ring(set).reclaim();
      if (!taken) return;
      const answer ended{*taken, errc::canceled};
      bool& abandoned = deferred_[taken->which.slot].abandoned;
      if (abandoned) finish(set, ended, 0);
      else defer(ended);
      abandoned = false;
    }
  }

  // A request that has ended and has not been delivered.
  struct deferred_answer {
    u32 length;
    errc error;
    bool length_known;
    bool deferred;
    bool abandoned;  // it has not ended, and is never delivered
  };

  [[nodiscard]] bool is_deferred(u16 slot) const { return deferred_[slot].deferred; }

  void defer(const answer& one) {
    deferred_[one.what.which.slot] = {one.what.length, one.error, one.what.length_known, true, false};
    ++deferred_count_;
  }

  answer take_deferred(const Set& set, u16 slot) {
    const deferred_answer kept = deferred_[slot];
    deferred_[slot].deferred = false;
    --deferred_count_;
    const auto& record = ring(set).record(slot);
    return {{{slot, record.generation}, record.cookie, kept.length, kept.length_known}, kept.error};
  }

  // Only if a request is deferred.
  [[gnu::cold, gnu::noinline]] answer take_any_deferred(const Set& set) {
    u16 slot = 0;
    while (!is_deferred(slot)) ++slot;
    return take_deferred(set, slot);
  }

  u16 deferred_count_ = 0;
  u16 which_ = 0;
  idle_polls idle_{};
  u32 idle_at_ = 0;  // the ring's counters at the last poll that found nothing
  deferred_answer deferred_[slots]{};
  VIRTIO_EMPTY_MEMBER detail::mapped_pieces<P, slots, Pieces> mapped_{};
};

}  // namespace virtio
