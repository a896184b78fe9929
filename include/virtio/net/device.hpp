// SPDX-License-Identifier: MIT
// Network device driver: a `link` over a virtio network card.
//
// Frames to send are copied into the driver's buffers, and leave with the next `flush` or `poll`. The driver reclaims
// sent buffers when no other is free. Received frames are looked at in the memory that the device wrote. The driver has
// one pair of queues, and of the offloads, checksums both ways. Spec: virtio 1.4, 5.1. Layer: net (may include device,
// transport, queue, platform, base).
#pragma once

#include <virtio/device/queue_set.hpp>
#include <virtio/device/session.hpp>
#include <virtio/net/receiving.hpp>
#include <virtio/net/sending.hpp>

namespace virtio::net {
/// A network device. All bytes are zero until `start`. One context owns it; an interrupt handler may call only
/// `acknowledge_interrupt`.
///
/// The device's errors are `needs_reset` and `device_misbehaved` if it fails in the call, and `not_started` if it is
/// down already. A failure takes it down; frames that were not sent or not received are lost, but kept frames still
/// belong to the program. `check`, `reset` and `start` return `device_broken` if the device does not confirm a reset
/// and so keeps the storage.
template <platform P, transport T, queue_format Q, options O = options{}>
class device {
  static_assert(O.make_sense(), "net::options: see the bounds at make_sense()");

  // A queue's number at the device is also its number in the set. A control queue, and further pairs, would follow
  // these.
  enum : u16 { receive_queue, transmit_queue, queues };
  using set = queue_set<P, T, Q, queues>;
  using ring = typename set::ring_type;
  using barriers = typename P::barriers;
  using incoming = detail::received_frames<ring, barriers, T::ring_order, O>;
  using outgoing = detail::sent_frames<ring, T::ring_order, O>;

  static constexpr usize sent_at = set::dma_bytes + incoming::dma_bytes;

 public:
  using location = typename T::location;  // what discovery returns for the device
  /// Bytes of DMA storage that this type needs: `constinit virtio::dma_storage<card_t::dma_bytes> card_dma;`
  static constexpr usize dma_bytes = sent_at + outgoing::dma_bytes;
  static_assert(u64{set::dma_bytes} + u64{incoming::dma_bytes} + u64{outgoing::dma_bytes} < 0x8000'0000,
                "the DMA storage of a net::device must stay below 2 GiB");

  /// Brings the device up: reset, features, queues, receive buffers, DRIVER_OK. `storage` belongs to the device until
  /// `reset` or `hand_off` succeeds, or until `start` fails with any error except `device_broken`.
  ///
  /// `own` is the address of a device that has none (MAC is not offered). The program chooses it, at random and locally
  /// administered (first octet 02). Without `own`, such a device is rejected with its own verdict. A device with a
  /// larger MTU than `options` have room for is driven without that feature. Errors: those of `blk::device::start`;
  /// `invalid_argument` (`own` is a group address); `device_misbehaved` also for an MTU below 68, or an address that is
  /// not unicast.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts = {}, mac_address own = {}) {
    is_showing_ = false;
    in_.forget();
    in_.end_kept();
    link_ = link_state::down;
    VIRTIO_TRY(set_.forget());
    if (own.is_group()) return errc::invalid_argument;
    feature_plan plan{.wanted = accepted_features,
                      .declined = feature_set{virtio::feature::in_order}};  // with it, lengths can be missing
    if (own == mac_address{}) plan.required.set(static_cast<u8>(feature::mac));
    if constexpr (incoming::most_buffers > 1) plan.required.set(static_cast<u8>(feature::mrg_rxbuf));
    dma_area area;
    facts_in_config config;
    for (;;) {
      VIRTIO_TRY(set_.begin(platform, where, storage, dma_bytes, device_type::network, plan, interrupts, area));
      const auto known = read_config(registers(), config, [&](facts_in_config& seen) {
        seen = {own, config::link_up, usual_mtu};
        return read(seen);
      });
      const bool wrong = config.mtu < least_mtu || config.mac == mac_address{} || config.mac.is_group();
      if (!known || wrong)
        return set_.refuse(verdict::config_unreadable, known ? errc::device_misbehaved : known.error());
      if (config.mtu <= O.mtu || !features().has(feature::mtu)) break;
      plan.wanted.clear(static_cast<u8>(feature::mtu));  // a frame of that size must have room (5.1.4.2)
    }
    mac_ = config.mac;
    mtu_ = virtio::detail::smaller(config.mtu, O.mtu);
    const bool legacy = registers().is_legacy(), mergeable = features().has(feature::mrg_rxbuf);
    const detail::header_form form{.bytes = legacy && !mergeable ? detail::short_header : detail::long_header,
                                   .mergeable = mergeable,
                                   .apart = legacy && !features().has(virtio::feature::any_layout),
                                   .checksums = features().has(feature::guest_csum)};
    const u16 chain = form.apart ? 2 : 1;
    for (u16 q = 0; q < queues; ++q) VIRTIO_TRY(set_.set_up(q, q, area, interrupts, chain));
    in_.start(area.part(set::dma_bytes, incoming::dma_bytes), form, mtu_);
    out_.start(area.part(sent_at, outgoing::dma_bytes), form);
    in_.post(set_[receive_queue]);
    starved_ = slept_ = config_changed_ = causes_known_ = false;
    looks_ = 0;
    set_.go();
    set_.kick(receive_queue);
    link_ = link_of(config.status);
    return {};
  }

  /// The result of the last `start`: bound, or the reason why not.
  [[nodiscard]] const report& why() const { return session().why(); }
  /// The features that `start` accepted.
  [[nodiscard]] const feature_set& features() const { return session().features(); }

  /// The device's address, or the one that `start` received.
  [[nodiscard]] mac_address mac() const { return mac_; }
  /// `link` concept.
  [[nodiscard]] capabilities facts() const {
    capabilities what{.mtu = mtu_, .most_pieces = 0xffff, .most_kept = incoming::most_kept};
    if (features().has(feature::csum)) what.does |= offload::checksum;
    if (features().has(feature::guest_csum)) what.does |= offload::received_checksum;
    return what;
  }
  /// The state that was read last; up, if the device has no STATUS. The next `poll` reads it again after
  /// `acknowledge_interrupt` has returned `config`. With MSI-X, where an interrupt has no cause, the first `poll` after
  /// `arm` that finds nothing else reads it, and so does one in 4,096 of those that find nothing.
  [[nodiscard]] link_state state() const { return link_; }
  /// Received frames that were dropped since `start`, by reason.
  [[nodiscard]] const drop_counts& counts() const { return in_.counts(); }

  // Frames. The calls are those of `link`, with its errors and the device's ----------------------------------------

  /// `link` concept. Cost: one load from memory for each queue; sometimes a register read, see `state`.
  [[nodiscard]] result<bool> poll() {
    VIRTIO_TRY(set_.ready());
    bool came = false, changed = false;
    if (const errc problem = look(came, changed); problem != errc::ok) return problem;
    return changed;
  }

  /// `link` concept: copies the frame. It leaves at the next `flush`, `poll` or wait, or when no buffer is free.
  [[nodiscard]] result<void> try_send(scatter<const_bytes> pieces, to_compute compute = {}) {
    VIRTIO_TRY(set_.ready());
    if (link_ == link_state::down) return errc::not_ready;
    const u64 size = pieces.size();
    if (size > u32{mtu_} + header_bytes) return errc::too_long;
    if (size < header_bytes) return errc::invalid_argument;
    if (compute.start != 0 && !can_compute(compute, static_cast<u32>(size))) return errc::invalid_argument;
    ring& queue = set_[transmit_queue];
    for (bool collected = false;; collected = true) {
      if (out_.stage(queue, pieces, static_cast<u32>(size), compute)) [[likely]]
        return {};
      bool some = false;
      if (!collected) {
        flush();
        if (const errc problem = out_.collect(queue, some); problem != errc::ok) return bring_down(problem);
      }
      if (some) continue;
      starved_ = true;
      set_.found_nothing();
      return errc::queue_full;
    }
  }
  /// `link` concept. Cost: none if nothing was staged; otherwise a fence, and a register write if the device requires
  /// it.
  void flush() {
    if (set_.is_up()) set_.kick(transmit_queue);
  }

  /// `link` concept. Additional error: `in_use` (inside its own callback, or the callback has started or reset the
  /// device).
  template <callable_with<const frame&> F>
  [[nodiscard]] result<void> receive_with(F&& look) {
    VIRTIO_TRY(set_.ready());
    if (is_showing_) return errc::in_use;
    bool came = false;
    if (const errc got = in_.fetch(set_[receive_queue], came); got != errc::ok) {
      if (got == errc::device_misbehaved) return bring_down(got);
      show_buffers();
      came ? set_.found_something() : set_.found_nothing();
      return got;
    }
    is_showing_ = true;
    after_look what{};
    const buffer_index first = in_.show(look, what);
    if (!is_showing_) return errc::in_use;
    is_showing_ = false;
    const bool up = set_.is_up();
    in_.finish_look(first, what, up ? &set_[receive_queue] : nullptr);
    if (!up) return {};
    set_.found_something();
    if (++unshown_ >= show_at) show_buffers();
    return {};
  }
  /// `link` concept: returns a kept frame. The device gets its buffers at the next `poll`, or when no frame is left to
  /// receive. Errors: `stale_handle`.
  [[nodiscard]] result<void> give_back(kept_frame name) {
    VIRTIO_TRY(in_.give_back(name));
    if (set_.is_up()) in_.post(set_[receive_queue]);
    return {};
  }

  /// `link` concept: polls until `done()`. Errors: `peer_silent`, `canceled`, the device's.
  template <class Done, class GiveUp = virtio::detail::never>
  [[nodiscard]] errc wait_until(waiting why, Done&& done, GiveUp&& give_up = {}) {
    if (!set_.is_up()) return errc::not_started;
    const auto step = [this](bool& came) {
      bool changed = false;
      return look(came, changed);
    };
    return set_.wait_for_peer(
        why, step, [this] { return ask(); }, done, give_up, [this](errc problem) { return bring_down(problem); });
  }

  // Interrupts and the end --------------------------------------------------------------------------------------------

  /// `link` concept: requests an interrupt for a frame that arrives and, after `queue_full`, for room. True: work is
  /// already present.
  [[nodiscard]] bool arm() { return set_.is_up() && (in_.has_next() || ask()); }
  /// Stops interrupts that `arm` requested.
  void disarm() { set_.disarm(); }
  /// Acknowledges an interrupt and returns its cause. An interrupt handler may call it.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() {
    const interrupt_cause cause = set_.acknowledge_interrupt();
    if (cause.config) __atomic_store_n(&config_changed_, true, __ATOMIC_RELAXED);
    if (cause.config || cause.queue) __atomic_store_n(&causes_known_, true, __ATOMIC_RELAXED);
    return cause;
  }
  /// Reads the device's status. `needs_reset`: the device has failed and was reset. Other errors: `not_started`;
  /// `device_broken` (the device does not reset and keeps the storage).
  [[nodiscard]] result<void> check() {
    return set_.check([this](errc why) { return bring_down(why); });
  }
  /// Resets the device. Errors: `not_started`; `device_broken` (it keeps the storage); `timed_out` (it has no memory).
  [[nodiscard]] result<void> reset() {
    return ended(set_.reset([this](errc why) { return bring_down(why); }));
  }
  /// Resets as `reset`, and takes the device off the bus.
  [[nodiscard]] result<void> hand_off() {
    return ended(set_.hand_off([this](errc why) { return bring_down(why); }));
  }

 private:
  // Receive buffers are published in groups of this size, or when no frame is left to receive.
  static constexpr u16 show_at = ring::slots < 64 ? (ring::slots + 3) / 4 : 16;
  static constexpr u32 looks_per_config_read = 4096;

  struct facts_in_config {
    mac_address mac{};
    u16 status = 0;
    u16 mtu = 0;
    [[nodiscard]] friend constexpr bool operator==(const facts_in_config&, const facts_in_config&) = default;
  };

  [[nodiscard]] const virtio::session<P, T>& session() const { return set_.session(); }
  [[nodiscard]] const T& registers() const { return session().transport(); }
  [[nodiscard]] static link_state link_of(u16 status) {
    return (status & config::link_up) != 0 ? link_state::up : link_state::down;
  }

  // Reads the configuration fields of negotiated features; others stay unchanged.
  [[nodiscard]] result<void> read(facts_in_config& seen) const {
    if (features().has(feature::mac))
      for (usize i = 0; i < 6; ++i) {
        VIRTIO_TRY_ASSIGN(seen.mac.octets[i], read_field(registers(), config_field<u8>{config::mac.offset + i}));
      }
    if (features().has(feature::status)) {
      VIRTIO_TRY_ASSIGN(seen.status, read_field(registers(), config::status));
    }
    if (features().has(feature::mtu)) {
      VIRTIO_TRY_ASSIGN(seen.mtu, read_field(registers(), config::mtu));
    }
    return {};
  }

  [[nodiscard]] bool can_compute(to_compute what, u32 size) const {
    return features().has(feature::csum) && what.start >= header_bytes && u32{what.start} + what.offset + 2 <= size;
  }

  void show_buffers() {
    unshown_ = 0;
    in_.post(set_[receive_queue]);
    set_.kick(receive_queue);
  }

  // Requests the interrupts for which a program may sleep. True: work is already present.
  [[nodiscard]] bool ask() {
    set_.kick(transmit_queue);
    set_.kick(receive_queue);
    const bool something = starved_ ? set_.arm() : set_.arm(receive_queue);
    if (something || wants_config()) return true;
    slept_ = true;
    return false;
  }
  // `came`: an interrupt that was requested may be used up. Its causes are a returned buffer, even without a useful
  // frame; a waiting frame, whose receiver may accept others; or the configuration. `changed`: a frame is present, room
  // exists after there was none, or the link's state has changed.
  [[nodiscard, gnu::noinline]] errc look(bool& came, bool& changed) {
    flush();
    if (const errc problem = out_.collect(set_[transmit_queue], came); problem != errc::ok) return bring_down(problem);
    if (came && starved_) {
      starved_ = false;
      changed = true;
      set_[transmit_queue].disarm();
    }
    const errc got = in_.fetch(set_[receive_queue], came);
    if (got == errc::device_misbehaved) return bring_down(got);
    show_buffers();
    came ? set_.found_something() : set_.found_nothing();
    if (got == errc::ok) changed = came = true;
    return look_at_config(came, changed);
  }
  // Whether an interrupt has reported a change of the configuration, or may have: with MSI-X none reports its cause.
  [[nodiscard]] bool wants_config() const {
    return __atomic_load_n(&config_changed_, __ATOMIC_RELAXED) ||
           (slept_ && !__atomic_load_n(&causes_known_, __ATOMIC_RELAXED));
  }
  [[nodiscard]] errc look_at_config(bool& came, bool& changed) {
    if (wants_config() ? changed && !__atomic_load_n(&config_changed_, __ATOMIC_RELAXED)
                       : changed || ++looks_ < looks_per_config_read)
      return errc::ok;
    looks_ = 0;
    slept_ = false;
    came = true;                                                  // interrupts are requested again
    __atomic_store_n(&config_changed_, false, __ATOMIC_RELAXED);  // before the read: a later change is reported again
    return read_state(changed);
  }
  [[nodiscard, gnu::noinline]] errc read_state(bool& changed) {
    if (session().needs_reset()) return bring_down(errc::needs_reset);  // reported by the same interrupt
    if (!features().has(feature::status)) return errc::ok;
    const auto status = read_field(registers(), config::status);
    const link_state now = link_of(status.value_or(0));
    changed = changed || now != link_;
    link_ = now;
    return errc::ok;
  }

  [[gnu::cold, gnu::noinline]] errc bring_down(errc why) {
    why = set_.take_down(why);
    in_.forget();
    link_ = link_state::down;
    return why;
  }
  [[nodiscard]] result<void> ended(result<void> how) {
    if (!how) return how;
    is_showing_ = false;
    in_.end_kept();
    return how;
  }

  mac_address mac_{};
  u16 mtu_ = 0;
  u16 unshown_ = 0;  // receive buffers that were staged and not yet published
  u32 looks_ = 0;    // number of them that found nothing since the state was read
  link_state link_{};
  bool starved_ = false;         // `try_send` has returned `queue_full`, and no buffer was reclaimed since
  bool slept_ = false;           // an interrupt was requested since the state was read
  bool config_changed_ = false;  // set by the interrupt handler
  bool causes_known_ = false;    // interrupts report their causes; set by the interrupt handler
  bool is_showing_ = false;
  incoming in_{};
  outgoing out_{};
  set set_{};
};

}  // namespace virtio::net
