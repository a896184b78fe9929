// SPDX-License-Identifier: MIT
// Requests from submit to completion, on one queue of a set: what drivers of requests share, of which there can be several under one
// lifecycle. Blocking calls and the submit/kick/poll engine mix freely: a completion that a blocking call meets on its way and that is not
// its own is deferred in its slot and delivered later.
// Layer: device.
#pragma once

#include <virtio/device/queue_set.hpp>

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

/// What becomes of a request that was waited for, when the device keeps its buffers and a later reset gives them back: the user takes its
/// completion, or it is dropped, since a call that waits for a request of its own is over by then.
enum class owner : u8 { user, call };

/// What is known of the requests on one queue of a `queue_set`, besides its ring. Each call is given the set, which must always be the
/// same one. `Pieces` bounds the segments of one request's user buffers. All-zero: no requests, on queue 0 of the set.
///
/// Whoever takes the set's device down, the requests of every queue end as `canceled`: one queue's failure is the device's.
template <class Set, u16 Pieces>
class request_queue {
  using P = typename Set::platform_type;

 public:
  using ring_type = typename Set::ring_type;
  static constexpr u16 slots = ring_type::slots;

  /// Ahead of `Set::begin`: a device that the set drove before is taken down, the requests are gone and their tokens stale. From here on
  /// they are those of queue `which` of the set. Errors: `device_broken`, the former device keeps its storage and its requests.
  /// Cold: a compiler takes what comes after it in a bring-up to be so, too, and makes it small.
  [[nodiscard, gnu::cold, gnu::noinline]] result<void> forget(Set& set, u16 which = 0) {
    VIRTIO_TRY(set.take_down_previous());
    reclaim_canceled(set);
    while (deferred_count_ != 0) finish(set, take_any_deferred(set), 0);
    idle_.end();
    which_ = which;
    return {};
  }

  /// Requests that the device was shown and whose end was not taken: staged ones count from `kick` on.
  [[nodiscard]] u16 in_flight(const Set& set) const { return static_cast<u16>(ring(set).in_flight() + deferred_count_); }

  /// The slot of the next request. Errors: `queue_full`, `not_started`.
  [[nodiscard]] result<u16> reserve(Set& set) {
    if (!set.is_up()) [[unlikely]] return errc::not_started;
    return ring(set).reserve();
  }

  /// Appends some of a request's user data to its chain: the first `first` pieces, and `behind` of the places at the end, are the
  /// driver's. On error no user buffer of the chain is mapped any more. Errors: `too_many_pieces`; those of the platform's `map`.
  template <class Range>
  VIRTIO_INLINE_FOR_SPEED [[nodiscard]] static result<void> add(const Set& set, segments& chain, u16 first, u16 behind,
                                                                const Range& range, direction way) {
    if (range.size() == 0) return {};
    const u16 before = chain.size();
    const auto mapped = set.platform().map(range.data(), range.size(), way, chain);
    const bool fits = chain.size() + behind <= chain.capacity();
    if (mapped && fits) [[likely]] return {};
    release_pieces(set, chain, first, static_cast<u16>((mapped ? chain.size() : before) - first));
    return mapped || mapped.error() == errc::no_space ? errc::too_many_pieces : mapped.error();
  }
  template <class Range>
  [[nodiscard, gnu::always_inline]] static result<void> add(const Set& set, segments& chain, u16 first, u16 behind,
                                                            const scatter<Range>& data, direction way) {
    for (const Range& range : data) VIRTIO_TRY(add(set, chain, first, behind, range, way));
    return {};
  }

  /// Stages the chain for `slot`. `payload` segments from index `first` on are user buffers; on error they are unmapped.
  [[nodiscard]] result<token> stage(Set& set, u16 slot, const segments& chain, u16 first, u16 payload, u64 cookie) {
    const result<token> staged = ring(set).stage(slot, chain, cookie);
    if (!staged) [[unlikely]] release_pieces(set, chain, first, payload);
    else mapped_.remember(slot, chain.begin() + first, payload);
    return staged;
  }

  /// Unmaps user buffers that were mapped for a request that is not going to be.
  static void release_pieces(const Set& set, const segments& chain, u16 first, u16 payload) {
    detail::unmap(set.platform(), chain.begin() + first, payload, 0);
  }

  /// Publishes what is staged and rings the doorbell if the device wants it: at most one register write.
  void kick(Set& set) {
    if (set.is_up()) set.kick(which());  // a device that will not reset is shown nothing more
  }

  /// The next request to end, in any order, without waiting. Call `finish()` once its slot's cells have been read. Errors:
  /// `not_ready`; `device_misbehaved` once, when the device lies: it is then reset, and what was in flight ends as
  /// `canceled`; `not_started`; `device_broken` instead of both for as long as the device will not reset and has a request.
  [[nodiscard]] errc next(Set& set, answer& ended) {
    if (!set.is_up()) [[unlikely]] reclaim_canceled(set);
    if (deferred_count_ == 0) [[likely]] return take(set, ended);
    ended = take_any_deferred(set);
    return errc::ok;
  }

  /// As `next()`, and waits for it. Errors also: `timed_out`, `dma_unanswered` or `needs_reset` once, when the device was reset for it, and
  /// what was in flight ends as `canceled`; `not_ready` when nothing is in flight.
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

  /// Waits for one request; others that end meanwhile are deferred. The answer's error is set when the device was reset, its
  /// buffers are safe then. Errors: `stale_handle`; `device_broken` when the device will not reset and keeps the buffers: the
  /// request ends with a later reset then, as `canceled` for a user, and without a word when it is a call's own.
  [[nodiscard]] errc wait(Set& set, token mine, waiting why, answer& ended, owner whose) {
    if (!is_live(set, mine)) return errc::stale_handle;
    const errc problem = watch(set, mine, why, ended);
    return problem == errc::ok ? problem : give_up(set, mine, problem, ended, whose);
  }

  /// Whether the request was staged, and its end has not been taken: one can be waited for.
  [[nodiscard]] bool is_live(Set& set, token mine) {
    if (!set.is_up()) [[unlikely]] reclaim_canceled(set);
    return ring(set).is_live(mine);
  }
  /// The first half of `wait`, of a request that `is_live`, for drivers that can do something else about one that takes too long: `watch`,
  /// and where it returns `timed_out` the driver may try to end the request and look for it, by `look_for` and `watch`; then `give_up`,
  /// unless it has ended. Errors: why the wait is over, and the request has not ended.
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
  /// The second half: the device is taken down for `problem`, unless it is. Errors: `device_broken`.
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

  /// Whether a request has ended, without waiting; it and others that have are deferred. Errors: `not_ready`, it has not; those of `next`.
  [[nodiscard, gnu::cold, gnu::noinline]] errc look_for(Set& set, token mine) {
    for (answer ended;;) {
      const errc got = take(set, ended);
      if (got != errc::ok) return got == errc::not_ready && is_deferred(mine.slot) ? errc::ok : got;
      defer(ended);
    }
  }

  /// Ends a request: unmaps its buffers (the device wrote the first `written` bytes of those that it may write) and frees its slot.
  void finish(Set& set, const answer& ended, u32 written) {
    mapped_.unmap(set.platform(), ended.what.which.slot, written);
    ring(set).release(ended.what.which);
  }

  /// Asks for an interrupt at the next completion. True: something is there already.
  [[nodiscard]] bool arm(Set& set) {
    if (!set.is_up()) reclaim_canceled(set);
    return deferred_count_ != 0 || (set.is_up() && arm_ring(set));
  }

  /// Takes the set's device down and this queue's requests back. Returns `why`, or what `device_lifecycle::take_down` makes of it; or
  /// `device_broken` when the device keeps some. One that will not reset and has no request keeps the storage alone, which is for those
  /// to say who give it back.
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
    if (!set.is_up()) [[unlikely]] return broken_if_kept(set, errc::not_started);
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

  // So many looks found nothing. An idle period ends by what comes and by what is shown to the device. That is seen here, by the ring,
  // where nothing is in a hurry: a request that completes pays nothing for it.
  [[gnu::noinline]] void count_idle(Set& set, u32 looks) {
    const u32 now = u32{ring(set).position()} << 16 | ring(set).in_flight();
    if (now != idle_at_) idle_.end();
    idle_at_ = now;
    if (idle_.count(looks)) set.ring_again(which());
  }

  // `why`, or device_broken when the device, which is down, has a request: staged ones count, whose descriptors are where it can read
  // them.
  [[nodiscard, gnu::cold, gnu::noinline]] errc broken_if_kept(const Set& set, errc why) const {
    for (u16 slot = 0; slot < slots; ++slot)
      if (!is_deferred(slot) && ring(set).is_live({slot, ring(set).record(slot).generation})) return errc::device_broken;
    return why;
  }

  // Once the device is down, by this queue's failure or another's, and has let go of its memory: what was in flight is deferred, but for
  // what a call had given up.
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

  // What is known of a request that has ended and has not been delivered.
  struct deferred_answer {
    u32 length;
    errc error;
    bool length_known;
    bool deferred;
    bool abandoned;  // of one that has not ended: never to be delivered
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

  // Only if there is one.
  [[gnu::cold, gnu::noinline]] answer take_any_deferred(const Set& set) {
    u16 slot = 0;
    while (!is_deferred(slot)) ++slot;
    return take_deferred(set, slot);
  }

  u16 deferred_count_ = 0;
  u16 which_ = 0;
  idle_polls idle_{};
  u32 idle_at_ = 0;  // where the ring was at the last look that found nothing
  deferred_answer deferred_[slots]{};
  VIRTIO_EMPTY_MEMBER detail::mapped_pieces<P, slots, Pieces> mapped_{};
};

}  // namespace virtio
