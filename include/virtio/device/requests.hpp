// SPDX-License-Identifier: MIT
// Requests of a device with one queue, from submit to completion: what block and entropy drivers share. Blocking calls and
// the submit/kick/poll engine mix freely: a completion that a blocking call meets on its way and that is not its own is
// parked in its slot and delivered later.
//
// The rule that everything here serves: a buffer goes back to its owner by its completion, or by a reset that the device has
// confirmed, and in no other way. Layer: device.
#pragma once

#include <virtio/device/session.hpp>

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
    for (u16 i = 0; i < counts_[slot]; ++i) {
      const segment& piece = pieces_[slot][i];
      const u32 here = piece.way == direction::from_device ? smaller(written, piece.length) : 0;
      written -= here;
      platform.unmap(piece, here);
    }
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

/// A session with one queue. `Pieces` bounds the segments of one request's user buffers.
template <platform P, transport T, queue_format Q, u16 Pieces>
class request_device {
 public:
  using ring_type = typename Q::template ring<typename P::barriers>;
  using location = typename T::location;
  static constexpr u16 slots = ring_type::slots;

  /// Steps up to the queue. `storage` is the driver's whole DMA storage; the ring takes the first `ring_type::dma_bytes`.
  /// `area` says where the device sees the storage. Requests of before are gone, their tokens stale.
  [[nodiscard, gnu::always_inline]] result<void> bring_up(const P& platform, const location& where, dma_region storage,
                                                          usize needed, device_type type, feature_plan plan,
                                                          dma_area& area) {
    // Whatever the device of before still holds comes back first; if it will not let go, this object stays with it.
    if (up_ || broken_) VIRTIO_TRY(reset());
    forget_requests();
    VIRTIO_TRY(session_.open(platform, where, type));
    if (storage.size < needed) return session_.refuse(verdict::storage_unusable, errc::no_space);
    if (reinterpret_cast<uptr>(storage.data) % dma_page != 0)
      return session_.refuse(verdict::storage_unusable, errc::misaligned);
    if (const auto located = locate(platform, storage, area); !located)
      return session_.refuse(verdict::storage_unusable, located.error());

    plan.wanted = plan.wanted | ring_type::wanted;
    plan.required = plan.required | ring_type::required;
    VIRTIO_TRY(session_.negotiate(plan));
    VIRTIO_TRY_ASSIGN(bell_, session_.set_up(0, ring_, area.part(0, ring_type::dma_bytes)));
    return {};
  }

  /// Step 8.
  void go() {
    session_.go();
    up_ = true;
  }

  [[nodiscard]] session<P, T>& device() { return session_; }
  [[nodiscard]] const session<P, T>& device() const { return session_; }
  [[nodiscard]] u16 longest_chain() const { return ring_.longest_chain(); }
  [[nodiscard]] u16 in_flight() const { return ring_.in_flight(); }

  /// Whether requests can be made now. Errors: why not.
  [[nodiscard]] result<void> ready() const { return up_ ? result<void>{} : result<void>{down()}; }

  /// The slot of the next request. Errors: `queue_full`, or why the device is down.
  [[nodiscard]] result<u16> reserve() const {
    if (!up_) [[unlikely]] return down();
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
    for (u16 i = 0; i < payload; ++i) detail::unmap(session_.platform(), chain[first + i], 0);
  }

  /// Publishes what is staged and rings the doorbell if the device wants it: at most one register write.
  void kick() {
    ring_.publish();
    if (!up_ || !ring_.needs_kick()) return;
    bell_.ring({.queue = 0, .next_offset = ring_.position()});
    detail::trace(session_.platform(), {event::kind::doorbell, 0});
  }

  /// The next request to end, in any order, without waiting. Call `finish()` once its slot's cells have been read. Errors:
  /// `not_ready`; `device_misbehaved` once, when the device lies: it is then reset, and what was in flight ends as
  /// `canceled`; then why the device is down.
  [[nodiscard]] result<answer> next() {
    if (first_parked_ != 0) [[unlikely]] return unpark(static_cast<u16>(first_parked_ - 1));
    return next_from_ring();
  }

  /// As `next()`, and waits for it. Errors also: `timed_out` or `needs_reset` once, when the device was reset for it, and
  /// what was in flight ends as `canceled`; `not_ready` when nothing is in flight.
  [[nodiscard]] result<answer> wait_next(waiting why) {
    kick();
    for (u64 attempt = 0;; ++attempt) {
      const result<answer> got = next();
      if (got || got.error() != errc::not_ready || ring_.in_flight() == 0) return got;
      if (const errc problem = pass_time(why, attempt); problem != errc::ok) return recover(problem);
    }
  }

  /// Waits for one request; others that end meanwhile are parked. The answer's error is set when the device was reset, its
  /// buffers are safe then. Errors: `stale_handle`; `device_broken` when the device will not reset and keeps the buffers.
  [[nodiscard]] result<answer> wait(token mine, waiting why) {
    if (!ring_.is_live(mine)) return errc::stale_handle;
    if (is_parked(mine.slot)) return unpark(mine.slot);
    kick();
    for (u64 attempt = 0;; ++attempt) {
      const result<answer> got = next_from_ring();
      errc problem = got.error();
      if (got) {
        if (got->what.which == mine) return got;
        park(*got);
        attempt = 0;
        continue;
      }
      if (problem == errc::not_ready) {
        problem = pass_time(why, attempt);
        if (problem == errc::ok) continue;
        problem = recover(problem);
      }
      if (!is_parked(mine.slot)) return errc::device_broken;
      answer end = unpark(mine.slot);
      end.error = problem;
      return end;
    }
  }

  /// Ends a request: unmaps its buffers (the device wrote the first `written` bytes of them) and frees its slot.
  void finish(const answer& ended, u32 written) {
    mapped_.unmap(session_.platform(), ended.what.which.slot, written);
    ring_.release(ended.what.which);
  }

  [[nodiscard]] bool arm() { return first_parked_ != 0 || ring_.arm(); }
  void disarm() { ring_.disarm(); }

  /// Resets the device. What was in flight ends as `canceled`; the device is down until the next bring-up. Errors:
  /// `device_broken` when it will not reset: it keeps the buffers.
  [[nodiscard]] result<void> reset() {
    if (!session_.is_open()) return errc::not_started;
    if (recover(errc::canceled) == errc::device_broken) return errc::device_broken;
    broken_ = false;
    return {};
  }

  /// Leaves the device quiet for whoever comes next: reset, and off the bus. Errors: as `reset()`; bus mastering is taken
  /// away in any case.
  [[nodiscard]] result<void> hand_off() {
    const auto done = reset();
    if (session_.is_open()) session_.transport().close();
    return done;
  }

  /// Reads the status: `needs_reset` when the device has failed; it is then reset as above.
  [[nodiscard]] result<void> check() {
    if (!up_) return down();
    if (session_.needs_reset()) return recover(errc::needs_reset);
    return {};
  }

 private:
  // A status read is an exit to the host: often enough to notice a failed device, too seldom to be felt.
  static constexpr u64 attempts_per_status_read = 65536;

  [[nodiscard]] result<answer> next_from_ring() {
    if (!up_) [[unlikely]] return down();
    const result<completion> got = ring_.next_completion();
    if (got) return answer{*got, errc::ok};
    if (got.error() == errc::not_ready) return errc::not_ready;
    return recover(got.error());
  }

  [[nodiscard]] errc pass_time(waiting why, u64 attempt) {
    if constexpr (detail::sleeps<P>())
      if (ring_.arm()) return errc::ok;
    const bool patient = session_.platform().keep_waiting(why, attempt);
    if (!patient || attempt % attempts_per_status_read == attempts_per_status_read - 1)
      if (session_.needs_reset()) return errc::needs_reset;
    return patient ? errc::ok : errc::timed_out;
  }

  // Takes the device down and the buffers back. Returns `why`, or device_broken when the device keeps them.
  [[gnu::cold, gnu::noinline]] errc recover(errc why) {
    up_ = false;
    if (why == errc::device_misbehaved) session_.fail();
    if (!session_.reset()) {
      broken_ = true;
      return errc::device_broken;
    }
    broken_ = why == errc::device_misbehaved;
    for (auto taken = ring_.reclaim(); taken; taken = ring_.reclaim()) park({*taken, errc::canceled});
    return why;
  }

  [[nodiscard]] errc down() const { return broken_ ? errc::device_broken : errc::not_started; }

  [[gnu::cold, gnu::noinline]] void forget_requests() {
    while (first_parked_ != 0) finish(unpark(static_cast<u16>(first_parked_ - 1)), 0);
    for (auto taken = ring_.reclaim(); taken; taken = ring_.reclaim()) finish({*taken, errc::canceled}, 0);
  }

  // Parked answers, a list in order of arrival, by slot number plus one, so that zero is "none".
  struct parked_answer {
    u16 next;
    bool parked;
    errc error;
    u32 length;
    bool length_known;
  };

  [[nodiscard]] bool is_parked(u16 slot) const { return parked_[slot].parked; }

  [[gnu::noinline]] void park(const answer& one) {
    const u16 slot = one.what.which.slot;
    parked_[slot] = {0, true, one.error, one.what.length, one.what.length_known};
    const u16 link = static_cast<u16>(slot + 1);
    if (first_parked_ == 0) first_parked_ = link;
    else parked_[last_parked_ - 1].next = link;
    last_parked_ = link;
  }

  [[nodiscard, gnu::noinline]] answer unpark(u16 slot) {
    const parked_answer kept = parked_[slot];
    u16 before = 0;
    for (u16 at = first_parked_; at != slot + 1; at = parked_[at - 1].next) before = at;
    if (before == 0) first_parked_ = kept.next;
    else parked_[before - 1].next = kept.next;
    if (last_parked_ == slot + 1) last_parked_ = before;
    parked_[slot].parked = false;
    const auto& record = ring_.record(slot);
    return {{{slot, record.generation}, record.cookie, kept.length, kept.length_known}, kept.error};
  }

  session<P, T> session_{};
  typename T::doorbell bell_{};
  ring_type ring_{};
  parked_answer parked_[slots]{};
  VIRTIO_EMPTY_MEMBER detail::mapped_pieces<P, slots, Pieces> mapped_{};
  u16 first_parked_ = 0;
  u16 last_parked_ = 0;
  bool up_ = false;
  bool broken_ = false;  // the device has lied or will not reset: nothing but a reset counts
};

}  // namespace virtio
