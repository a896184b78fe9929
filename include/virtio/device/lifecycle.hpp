// SPDX-License-Identifier: MIT
// The parts that every driver has, with any number of queues: a session that is up or down, the state of a wait, and
// one way to take the device down. They enforce one rule: a buffer returns to its owner only by its completion, or by a
// reset that the device has confirmed. Layer: device.
#pragma once

#include <virtio/device/session.hpp>

namespace virtio {

/// The progress of one wait.
struct wait_state {
  u64 attempts = 0;           // calls of keep_waiting since start_over()
  bool looked = false;        // a queue reported that something is ready: it is polled once more without a sleep
  bool slept = false;         // on platforms that sleep: the interrupt about a failure may have ended the sleep
  u8 looks = 0;               // polls after such a report, without an attempt in between
  bool started_over = false;  // more may be ready: no time passes before the next poll

  /// One request of many has ended, so the device is working. The wait starts over.
  void start_over() {
    attempts = 0;
    progress();
    looks = 0;
    started_over = true;
  }
  /// A completion was taken, awaited or not: the requested interrupt is used up.
  void progress() { looked = false; }
};

/// Publishes all staged chains of a queue, and rings its doorbell if the device requests it: at most one register
/// write. Returns whether it rang.
template <platform P, virtqueue Ring, class Doorbell>
bool kick(const P& platform, Ring& ring, const Doorbell& bell, u16 queue) {
  if (!ring.publish() || !ring.needs_kick()) return false;
  bell.ring(ring.position());
  detail::trace(platform, {event::kind::doorbell, queue});
  return true;
}

/// Rings the doorbell again if published chains are in flight.
template <platform P, virtqueue Ring, class Doorbell>
void ring_again(const P& platform, const Ring& ring, const Doorbell& bell, u16 queue) {
  if (ring.in_flight() == 0) return;
  bell.ring(ring.position());
  detail::trace(platform, {event::kind::doorbell, queue, 1});
}

/// Counts polls of a device's queues that found nothing. A doorbell can be lost: a device that was restored from a
/// snapshot waits for one, and vhost-device-vsock 0.3.0 leaves packets in the queue if another connection had none. So
/// the doorbell is rung again after 65,536 idle polls, then after twice as many each time, up to 2^22: some
/// milliseconds of polling at first, without a measurable cost. All-zero is the initial state.
class idle_polls {
  static constexpr u32 first = 65536;
  static constexpr u32 most_doublings = 6;

 public:
  /// The number of polls for which a poll before a sleep counts, if the sleep ends without a completion. Eight of them
  /// ring the doorbell.
  static constexpr u32 sleep = first >> 3;

  /// Ends the idle period.
  void end() { looks_ = rings_ = 0; }
  /// Whether a whole sleep ended without a completion.
  [[nodiscard]] bool slept_idle() const { return looks_ >= sleep; }
  /// Counts `looks` more polls that found nothing. True: ring again.
  [[nodiscard]] bool count(u32 looks) {
    looks_ += looks;
    if (looks_ >> rings_ < first) return false;
    looks_ = 0;
    if (rings_ < most_doublings) ++rings_;
    return true;
  }

 private:
  u32 looks_ = 0;
  u32 rings_ = 0;
};

/// A session, and whether its device is up. All-zero until `begin`.
template <platform P, transport T>
class device_lifecycle {
 public:
  using location = typename T::location;  // what discovery returns for the device

  /// Performs the steps before the queues, for a device that is down and holds no memory of the driver. `storage` is
  /// the driver's whole DMA storage, of which it uses the first `needed` bytes. Sets `area` to the storage as the
  /// device sees it. Errors: `no_space`, `misaligned`, `dma_unreachable` (storage); those of `session::open`,
  /// `negotiate` and `route_config`.
  [[nodiscard, gnu::always_inline]] result<void> begin(const P& given, const location& where, dma_region storage,
                                                       usize needed, device_type type, const feature_plan& plan,
                                                       const interrupt_vectors& interrupts, dma_area& area) {
    const P& platform = detail::platform_for(given, where);
    session_.forget();  // otherwise the state that this session set on the bus would count as the state found there
    if (const auto placed = place(platform, storage, needed, area); !placed)
      return session_.refuse(verdict::storage_unusable, placed.error());
    if constexpr (detail::has_quirks<location>)
      if (!ends_below(area, needed, where.quirks().storage_end))
        return session_.refuse(verdict::storage_unusable, errc::dma_unreachable);
    VIRTIO_TRY(session_.open(platform, where, type));
    VIRTIO_TRY(session_.negotiate(plan, interrupts.line));
    return session_.route_config(interrupts.config);
  }
  /// The same for a device without queues and vectors, which requires no storage.
  [[nodiscard, gnu::always_inline]] result<void> begin(const P& platform, const location& where, device_type type,
                                                       const feature_plan& plan, line_state line) {
    session_.forget();
    VIRTIO_TRY(session_.open(detail::platform_for(platform, where), where, type));
    return session_.negotiate(plan, line);
  }

  /// Step 8: DRIVER_OK.
  void go() {
    session_.go();
    up_ = true;
  }

  // Qualified: a member of this name hides the template.
  [[nodiscard]] virtio::session<P, T>& session() { return session_; }              // the device's session
  [[nodiscard]] const virtio::session<P, T>& session() const { return session_; }  // the same, const

  [[nodiscard]] bool is_up() const { return up_; }  // from `go` until `take_down`
  /// Returns `not_started` unless the device is up.
  [[nodiscard]] result<void> ready() const { return up_ ? result<void>{} : result<void>{errc::not_started}; }

  /// Whether the device may access memory that it was given: take it down before the next `begin`.
  [[nodiscard]] bool has_memory() const { return session_.has_memory(); }

  /// Passes some time of a wait. `arm()` requests interrupts for the queues, and returns whether something is ready
  /// already. Errors: `needs_reset`, the device has failed; `timed_out`, the platform's limit was reached.
  template <class Arm>
  VIRTIO_INLINE_ON_GCC [[nodiscard]] errc pass_time(waiting why, wait_state& state, Arm&& arm) {
    // A status read is an exit to the host. If an attempt is one iteration of a loop, a read in 65,536 attempts notices
    // a failed device soon enough at a negligible cost. If an attempt is a sleep, each but the first has a read before
    // it: the interrupt about the failure may have ended the previous sleep, and no other follows.
    constexpr u64 attempts_per_status_read = 65536;
    constexpr u8 looks_per_attempt = 64;
    if constexpr (detail::sleeps<P>()) {
      state.looked = !state.looked && arm();
      // A device that floods the queue always has something ready. So one poll in 64 counts as an attempt anyway; its
      // sleep is short.
      if (state.looked && ++state.looks % looks_per_attempt != 0) return errc::ok;
      if (state.slept && session_.needs_reset()) return errc::needs_reset;
      state.slept = true;
    }
    const u64 attempt = state.attempts++;
    const bool patient = session_.platform().keep_waiting(why, attempt);
    if (!patient || (!detail::sleeps<P>() && attempt % attempts_per_status_read == attempts_per_status_read - 1))
      if (session_.needs_reset()) return errc::needs_reset;
    return patient ? errc::ok : errc::timed_out;
  }

  /// Takes the device down by a reset. After the reset the driver owns the buffers again and reclaims them from every
  /// ring; the result is `why`, or `dma_unanswered` instead of `timed_out` if ACCESS_PLATFORM was negotiated: the
  /// device may be unable to reach the addresses from map(). If the device does not reset: `device_broken`, it keeps
  /// the memory that it was given; `timed_out`, it was given none.
  [[nodiscard, gnu::cold, gnu::noinline]] errc take_down(errc why) {
    up_ = false;
    if (why == errc::device_misbehaved) session_.fail();
    if constexpr (detail::access_platform<P>() != access_policy::refuse)
      if (why == errc::timed_out && session_.features().has(feature::access_platform)) why = errc::dma_unanswered;
    const auto done = session_.reset();
    return done ? why : done.error();
  }

  /// Returns whether the device has failed. One register read. Errors: `needs_reset`: take it down; `not_started`;
  /// `device_broken`: it is down and keeps memory.
  [[nodiscard]] errc check() const {
    if (!up_) return has_memory() ? errc::device_broken : errc::not_started;
    return session_.needs_reset() ? errc::needs_reset : errc::ok;
  }

  /// Reads the cause of an interrupt, which deasserts its line.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() {
    if (!session_.answers()) return {};  // a read from a device that kept storage would return all ones, or fault
    const interrupt_cause cause = session_.transport().acknowledge_interrupt();
    // The register before the rings: the device stores the used index, then the cause. Otherwise a handler could use an
    // index that was loaded before the cause, and find no completion. The same applies to the acknowledging write on
    // MMIO: a completion before that write raises no interrupt of its own.
    detail::registers_before_memory();
    P::barriers::full();
    return cause;
  }

  /// Takes the device off the bus, after a reset.
  void close() {
    if (session_.is_open()) session_.transport().close();
    session_.leave();
  }

 private:
  [[nodiscard]] static result<void> place(const P& platform, dma_region storage, usize needed, dma_area& area) {
    if (storage.size < needed) return errc::no_space;
    if (reinterpret_cast<uptr>(storage.data) % dma_page != 0) return errc::misaligned;
    return locate(platform, storage, area);
  }

  // Whether the storage ends at or below the host's limit; 0: no limit.
  [[nodiscard]] static bool ends_below(const dma_area& area, usize needed, u64 end) {
    return end == 0 || (needed <= end && raw(area.at) <= end - needed);
  }

  bool up_ = false;
  virtio::session<P, T> session_{};
};

}  // namespace virtio
