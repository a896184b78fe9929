// SPDX-License-Identifier: MIT
// What every driver has, however many queues it drives: a session that is up or down, the state of a wait, and one way
// down. The rule that it serves: a buffer goes back to its owner by its completion, or by a reset that the device has confirmed,
// and in no other way. Layer: device.
#pragma once

#include <virtio/device/session.hpp>

namespace virtio {

/// How long a wait has lasted.
struct wait_state {
  u64 attempts = 0;     // calls of keep_waiting, since renew()
  bool looked = false;  // a queue said that something is there: worth one look, not a habit
  bool slept = false;   // on platforms that do: the interrupt about a failure may have been the one that ended it
  u8 looks = 0;         // that were worth it, without an attempt in between
  bool started_over = false; // there may be more at once: no time passes ahead of the next look

  /// One request of many came back: the device is alive. The wait begins anew.
  void start_over() {
    attempts = 0;
    progress();
    looks = 0;
    started_over = true;
  }
  /// Something came, if only a buffer that no call waits for: the interrupt that was asked for is spent.
  void progress() { looked = false; }
};

/// Publishes what is staged in a queue and rings its doorbell if the device wants it: at most one register write. True: it has rung.
template <platform P, virtqueue Ring, class Doorbell>
bool kick(const P& platform, Ring& ring, const Doorbell& bell, u16 queue) {
  if (!ring.publish() || !ring.needs_kick()) return false;
  bell.ring(ring.position());
  detail::trace(platform, {event::kind::doorbell, queue});
  return true;
}

/// Rings again for buffers that the device was shown already; for none, not.
template <platform P, virtqueue Ring, class Doorbell>
void ring_again(const P& platform, const Ring& ring, const Doorbell& bell, u16 queue) {
  if (ring.in_flight() == 0) return;
  bell.ring(ring.position());
  detail::trace(platform, {event::kind::doorbell, queue, 1});
}

/// How long looks at a device's queues have found nothing. A doorbell can get lost: a device that was restored from a snapshot waits
/// for one, and vhost-device-vsock 0.3.0 leaves packets where they are when another connection had none. So after 65,536 of them
/// it is rung once more, then after twice as many each time, until that is 2^22: some milliseconds of polling at first, and never
/// felt. All-zero is the beginning.
class idle_polls {
  static constexpr u32 first = 65536;
  static constexpr u32 most_doublings = 6;

 public:
  /// What a look ahead of a sleep counts for, which by the next one has brought nothing: eight of them are enough.
  static constexpr u32 sleep = first >> 3;

  void end() { looks_ = rings_ = 0; }
  /// Whether a whole sleep has brought nothing.
  [[nodiscard]] bool slept_idle() const { return looks_ >= sleep; }
  /// So many more looks that found nothing. True: ring again.
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
  using location = typename T::location;

  /// Steps up to the queues, for a device that is down and has no memory of ours. `storage` is the driver's whole DMA storage, of which
  /// it uses the first `needed` bytes; `area` says where the device sees it.
  [[nodiscard, gnu::always_inline]] result<void> begin(const P& given, const location& where, dma_region storage,
                                                       usize needed, device_type type, const feature_plan& plan,
                                                       const interrupt_vectors& interrupts, dma_area& area) {
    const P& platform = detail::platform_for(given, where);
    session_.forget();  // or what is switched on the bus would be taken for what was found there
    if (const auto placed = place(platform, storage, needed, area); !placed)
      return session_.refuse(verdict::storage_unusable, placed.error());
    if constexpr (detail::has_quirks<location>)
      if (!ends_below(area, needed, where.quirks().storage_end))
        return session_.refuse(verdict::storage_unusable, errc::dma_unreachable);
    VIRTIO_TRY(session_.open(platform, where, type));
    VIRTIO_TRY(session_.negotiate(plan, interrupts.line));
    return session_.route_config(interrupts.config);
  }
  /// The same for a device without queues and vectors, which needs no storage.
  [[nodiscard, gnu::always_inline]] result<void> begin(const P& platform, const location& where, device_type type,
                                                       const feature_plan& plan, line_state line) {
    session_.forget();
    VIRTIO_TRY(session_.open(detail::platform_for(platform, where), where, type));
    return session_.negotiate(plan, line);
  }

  /// Step 8.
  void go() {
    session_.go();
    up_ = true;
  }

  // Qualified: a member of this name hides the template's.
  [[nodiscard]] virtio::session<P, T>& session() { return session_; }
  [[nodiscard]] const virtio::session<P, T>& session() const { return session_; }

  [[nodiscard]] bool is_up() const { return up_; }
  /// Whether requests can be made now.
  [[nodiscard]] result<void> ready() const { return up_ ? result<void>{} : result<void>{errc::not_started}; }

  /// Whether the device may reach memory that it was given: it is to be taken down ahead of the next `begin`.
  [[nodiscard]] bool has_memory() const { return session_.has_memory(); }

  /// Passes some time of a wait. `arm()` asks the queues for an interrupt, and says whether something is there already. Errors:
  /// `needs_reset`, the device has failed; `timed_out`, the platform has waited enough.
  template <class Arm>
  VIRTIO_INLINE_ON_GCC [[nodiscard]] errc pass_time(waiting why, wait_state& state, Arm&& arm) {
    // A status read is an exit to the host. Where an attempt is a turn of a loop, one in many is often enough to notice a failed
    // device, and too seldom to be felt. Where it is a sleep there is one ahead of each but the first: what ended the last one may
    // have been the interrupt about the failure, and no other would come.
    constexpr u64 attempts_per_status_read = 65536;
    constexpr u8 looks_per_attempt = 64;
    if constexpr (detail::sleeps<P>()) {
      state.looked = !state.looked && arm();
      // A device that floods us always has something. So now and then a look counts as an attempt all the same, whose sleep is short.
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

  /// Takes the device down. Returns `why` (of a device that has accepted ACCESS_PLATFORM `dma_unanswered` for `timed_out`: it may be
  /// that it does not reach what map() gave), and its buffers are the driver's again: reclaim them from every ring. Or, it will not
  /// reset: `device_broken`, and it keeps the memory that it was given; `timed_out`, and it had been given none.
  [[nodiscard, gnu::cold, gnu::noinline]] errc take_down(errc why) {
    up_ = false;
    if (why == errc::device_misbehaved) session_.fail();
    if constexpr (detail::access_platform<P>() != access_policy::refuse)
      if (why == errc::timed_out && session_.features().has(feature::access_platform)) why = errc::dma_unanswered;
    const auto done = session_.reset();
    return done ? why : done.error();
  }

  /// Whether the device has failed. One register read. Errors: `needs_reset`: take it down; `not_started`; `device_broken`, it is
  /// down and keeps memory.
  [[nodiscard]] errc check() const {
    if (!up_) return has_memory() ? errc::device_broken : errc::not_started;
    return session_.needs_reset() ? errc::needs_reset : errc::ok;
  }

  /// Reads the cause of an interrupt, which drops its line.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() {
    if (!session_.answers()) return {};  // what a device that kept storage says then would be all ones, or a fault
    const interrupt_cause cause = session_.transport().acknowledge_interrupt();
    // The register before the rings: the device stores the used index, then the cause. Else a handler could collect from an index
    // that was loaded ahead of the cause, and find nothing. The same goes for the write that acknowledges on MMIO: a completion of
    // before it raises no interrupt of its own.
    detail::registers_before_memory();
    P::barriers::full();
    return cause;
  }

  /// Off the bus, after a reset.
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

  // Whether the storage ends where the host says, 0: anywhere.
  [[nodiscard]] static bool ends_below(const dma_area& area, usize needed, u64 end) {
    return end == 0 || (needed <= end && raw(area.at) <= end - needed);
  }

  bool up_ = false;
  virtio::session<P, T> session_{};
};

}  // namespace virtio
