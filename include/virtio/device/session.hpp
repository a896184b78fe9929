// SPDX-License-Identifier: MIT
// One device from reset to DRIVER_OK and back: the initialization sequence of the specification, a verdict for each
// failure, and the reset that returns buffers. Drivers combine it with their queues; it is independent of the device
// type.
//
// Usual bring-up, with the specification's step numbers:
//   open()       the transport finds the registers
//   negotiate()  1 reset, and wait until it is done   2 ACKNOWLEDGE   3 DRIVER
//                4 read the offer, write the choice   5 FEATURES_OK   6 read it back
//   set_up()     7 one call per queue; then the driver reads its config and fills receive queues
//   go()         8 DRIVER_OK
// After that, restart_queue() takes one queue down and up again while the others run. A step that fails ends the
// bring-up: refuse() writes FAILED, resets the device and leaves its bus as open() found it.
// Spec: virtio 1.4, 3.1 (3.1.2 for legacy). Layer: device.
#pragma once

#include <virtio/config.hpp>
#include <virtio/platform/concepts.hpp>
#include <virtio/queue/concepts.hpp>
#include <virtio/transport/concepts.hpp>

namespace virtio {

/// The features that a driver negotiates.
struct feature_plan {
  feature_set wanted{};                 // accepted if offered
  feature_set required{};               // if one is not offered, the start fails and the report names it
  feature_set declined{};               // not accepted, even if the queue can use them
  feature_set refused{};                // if one is offered, the start fails and the report names the lowest
  const feature_rule* rules = nullptr;  // prerequisites among the device type's own features
  usize rule_count = 0;                 // number of rules

  /// The same plan, with the features that queues of this kind use and require.
  template <virtqueue Q>
  [[nodiscard, gnu::always_inline]] constexpr feature_plan with_queue() const {
    feature_plan out = *this;
    out.wanted = wanted | (Q::wanted - declined);
    out.required = required | Q::required;
    return out;
  }
};

/// One device from reset to DRIVER_OK and back, without its queues. All-zero: no device.
template <platform P, transport T>
class session {
 public:
  using location = typename T::location;  // what discovery returns for the device
  using doorbell = typename T::doorbell;  // a queue's doorbell

  /// Opens the transport and checks the device's type. For a session that is all zeros. Writes no virtio register, and
  /// leaves the device's bus as it is. Errors: `wrong_device`; those of the transport.
  [[nodiscard]] result<void> open(const P& platform, const location& where, device_type type) {
    platform_ = platform;
    // Checked before any access: another driver may be using the device. For `none`, open() reports the reason.
    report_.type = T::type_of(where);
    if (report_.type != device_type::none && report_.type != type)
      return refuse(verdict::wrong_type, errc::wrong_device);
    if (const auto opened = transport_.open(where, report_); !opened) return refuse(report_.why, opened.error());
    return {};
  }

  /// Performs steps 1 to 6. If a feature is the reason of a failure, `why()` names it. After the reset the device can
  /// access memory, and assert its interrupt line if `line` enables it. Waits for the reset. Errors: `unsupported`;
  /// those of `reset`.
  // Inlined, so that a plan known at compile time leaves only its constants.
  [[nodiscard, gnu::always_inline]] result<void> negotiate(const feature_plan& plan,
                                                           line_state line = line_state::as_found) {
    if (const auto done = reset(); !done) {
      if (!answers_) return refuse(verdict::decoding_off, errc::unsupported);
      return refuse(report_.status == 0xff ? verdict::device_gone : verdict::reset_timed_out, done.error());
    }
    use(line == line_state::on ? bus_use::memory_and_line : bus_use::memory);
    if (!answers_) return refuse(verdict::decoding_off, errc::unsupported);
    set(status::acknowledge);
    set(status::driver);

    // Only network devices have bits above 63: other drivers do not pay four accesses for bits that they do not use.
    const u32 words = transport_.is_legacy() ? 1 : (plan.wanted | plan.required | plan.refused).words();
    const feature_set offered = transport_.device_features(words);
    for (u32 n = 0; n < words; ++n) detail::trace(platform_, {event::kind::feature_offer, n, offered.word(n)});

    feature_set required = plan.required;
    feature_set wanted = plan.wanted | T::wanted;
    // A device with modern registers must support 1.x.
    if (transport_.is_legacy()) wanted = wanted | feature_set{feature::any_layout};
    else required.set(static_cast<u8>(feature::version_1));
    if constexpr (P::barriers::orders_platform) wanted.set(static_cast<u8>(feature::order_platform));
    // Decided from the offer: some devices (crosvm's) always accept FEATURES_OK and fail later.
    if constexpr (detail::access_platform<P>() != access_policy::refuse)
      wanted.set(static_cast<u8>(feature::access_platform));
    else if (offered.has(feature::access_platform))
      return refuse_feature(verdict::feature_unsupported, static_cast<u8>(feature::access_platform));
    const feature_set foreign = offered & plan.refused;

    feature_set chosen = offered & (wanted | required);
    if (plan.rule_count != 0) chosen = apply_rules(chosen, plan.rules, plan.rule_count);
    const bool is_foreign = !foreign.empty();
    if (const feature_set wrong = is_foreign ? foreign : required - chosen; !wrong.empty())
      return refuse_feature(is_foreign ? verdict::feature_unsupported : verdict::feature_missing, wrong.first());

    transport_.accept_features(chosen, words);
    for (u32 n = 0; n < words; ++n) detail::trace(platform_, {event::kind::feature_accept, n, chosen.word(n)});
    features_ = chosen;
    if (transport_.is_legacy()) return {};

    set(status::features_ok);
    const u8 now = transport_.status();
    if ((now & status::features_ok) == 0 || now == 0xff) {
      report_.status = now;
      return refuse(verdict::features_refused, errc::unsupported);
    }
    return {};
  }

  /// Routes configuration interrupts to an MSI-X vector. After `negotiate`: a reset clears vectors. Error:
  /// `unsupported`.
  [[nodiscard]] result<void> route_config(u16 vector) {
    if (vector == no_vector || transport_.set_config_vector(vector)) return {};
    report_.queue = no_vector;  // not a queue's vector
    return refuse(verdict::vector_refused, errc::unsupported);
  }

  /// Performs step 7 for one queue: chooses its size, lays it out in `storage`, and enables it. `bell` becomes its
  /// doorbell. Requests have chains of up to `needed` descriptors. On error the bring-up has ended. Errors: `not_found`
  /// (no such queue), `no_space`, `device_misbehaved` (size), `unsupported`; those of `attach` and of the transport.
  template <virtqueue Q>
  [[nodiscard]] result<void> set_up(u16 index, Q& queue, const dma_area& storage, u16 vector, doorbell& bell,
                                    u16 needed = 1) {
    static_assert(Q::order == T::ring_order,
                  "the ring's byte order is not the transport's: choose ring_options::order");
    report_.queue = index;
    const queue_limits limits = transport_.queue(index);
    if (limits.maximum == 0) return refuse(verdict::queue_missing, errc::not_found);
    const u16 entries = Q::fit(limits.maximum, limits.fixed ? ring_size::exactly : ring_size::at_most);
    if (limits.fixed && entries == 0) {  // if the driver chooses the size, every ring fits
      const bool small = detail::is_power_of_two(limits.maximum);
      return refuse(small ? verdict::ring_too_small : verdict::queue_size_invalid,
                    small ? errc::no_space : errc::device_misbehaved, limits.maximum, Q::slots);
    }
    const auto up = hand_over(index, queue, entries, storage, vector, bell);
    if (up) {
      if (queue.longest_chain() >= needed) return {};
      const bool small = Q::slots < needed;
      return refuse(small ? verdict::ring_too_small : verdict::queue_too_small,
                    small ? errc::no_space : errc::unsupported, needed, queue.longest_chain());
    }
    const bool refused = vector != no_vector && up.error() == errc::unsupported;
    return refuse(refused ? verdict::vector_refused : verdict::queue_unusable, up.error());
  }

  /// Step 8, DRIVER_OK: the device is live.
  void go() {
    set(status::driver_ok);
    report_.why = verdict::bound;
    report_.error = errc::ok;
    report_.status = status_;
  }

  /// Takes one queue down and sets it up again while the device and its other queues run: in other storage, with
  /// another size or vector, or unchanged. Waits for the device; `keep_waiting(waiting::reset)` bounds the wait. `bell`
  /// becomes the new doorbell; do not ring the old one again.
  ///
  /// This does not return buffers, and fails while the ring has any request: QEMU 7.2 writes into the buffers of a
  /// queue that it has reset. A driver that uses it has RING_RESET in its plan; other drivers do not accept that
  /// feature. Errors, without effect: `unsupported`, RING_RESET was not negotiated; `busy`, a request is staged, in
  /// flight or not released: take its completion first. Otherwise the queue is down and the other queues run:
  /// `device_broken`, the device did not finish the reset and keeps the old storage until the whole device is reset;
  /// `no_space` and those of `attach` and `enable_queue`: the call may be repeated. Spec: 2.6.1.
  template <virtqueue Q>
  [[nodiscard]] result<void> restart_queue(u16 index, Q& queue, const dma_area& storage, u16 vector, doorbell& bell) {
    if (!features_.has(feature::ring_reset)) return errc::unsupported;
    for (u16 slot = 0; slot < Q::slots; ++slot)
      if (queue.is_live({slot, queue.record(slot).generation})) return errc::busy;
    VIRTIO_TRY(transport_.begin_queue_reset(index));
    for (u64 attempt = 0; !transport_.queue_reset_done(index);)
      if (!platform_.keep_waiting(waiting::reset, attempt++)) return errc::device_broken;
    const queue_limits limits = transport_.queue(index);
    const u16 entries = Q::fit(limits.maximum, limits.fixed ? ring_size::exactly : ring_size::at_most);
    if (entries == 0) return errc::no_space;
    return hand_over(index, queue, entries, storage, vector, bell);
  }

  /// Ends a bring-up: writes FAILED to a device that was reset, resets it again, leaves its bus as `open` found it and
  /// stores the verdict. Returns `error`, for the caller to return; or `device_broken`: the device was given storage
  /// and keeps it, since it did not confirm the reset. The session then stays with the device, and `reset` tries again.
  [[gnu::cold, gnu::noinline]] errc refuse(verdict why, errc error) {
    if (status_ != 0) {
      fail();
      if (reset().error() == errc::device_broken) error = errc::device_broken;
    }
    report_.why = why;
    report_.error = error;
    leave();
    return error;
  }

  /// The same for a failure that depends on sizes: the report has both.
  [[gnu::cold, gnu::noinline]] errc refuse(verdict why, errc error, u32 wanted, u32 available) {
    report_.wanted = wanted;
    report_.available = available;
    return refuse(why, error);
  }

  /// Releases a device that was reset: its bus is as `open` found it, and the transport is closed. For a device that
  /// keeps storage only the bus is restored.
  void leave() {
    use(bus_use::as_found);
    if (!has_memory_) detail::clear(transport_);
  }
  /// Returns to the initial state, if the device holds no memory. Its bus is as `open` found it.
  void forget() {
    use(bus_use::as_found);
    detail::clear(*this);
  }

  /// Writes FAILED, if the device answers at its registers. Only a reset follows.
  void fail() {
    if (answers_) set(status::failed);
  }

  /// Resets the device and waits until its status reads 0; `keep_waiting(waiting::reset)` bounds the wait. After
  /// success the device accesses no memory of the driver. The reset fails at that limit, if the status reads all ones
  /// eight times in a row, if the device answers with FAILED, or if its registers cannot be enabled. Errors:
  /// `device_broken`: the device has memory of the driver and keeps it; `timed_out`: it has none.
  [[nodiscard]] result<void> reset() {
    use(bus_use::registers);
    if (!answers_) return has_memory_ ? errc::device_broken : errc::timed_out;
    // Some devices cannot be reset, and report that by FAILED (libkrun's vsock, always): waiting is useless, also at a
    // second reset. If FAILED was set before the reset it means nothing: a slow device may still report it.
    const bool may_refuse = refuses_reset_ || (status_ != 0 && (status_ & status::failed) == 0);
    refuses_reset_ = false;
    status_ = 0;
    transport_.set_status(0);
    detail::trace(platform_, {event::kind::status_write, 0});
    // A device that was removed reads as all ones, so do not wait for its reset either.
    u32 gone = 0;
    for (u64 attempt = 0;; ++attempt) {
      const u8 now = transport_.status();
      if (now == 0) {
        has_memory_ = false;
        return {};
      }
      gone = now == 0xff ? gone + 1 : 0;
      refuses_reset_ = may_refuse && now != 0xff && (now & status::failed) != 0;
      if (refuses_reset_ || gone == 8 || !platform_.keep_waiting(waiting::reset, attempt)) {
        report_.status = now;
        return has_memory_ ? errc::device_broken : errc::timed_out;
      }
    }
  }

  /// Returns whether the device requires a reset or was removed. One register read.
  [[nodiscard]] bool needs_reset() const { return (transport_.status() & status::needs_reset) != 0; }

  /// Whether the device answers at its registers: not before its first reset, and not after its bus was restored.
  [[nodiscard]] bool answers() const { return answers_; }
  /// Whether this session drives a device: from a successful `open` until `refuse` or `leave`.
  [[nodiscard]] bool is_open() const { return transport_.type() != device_type::none; }
  /// Whether the device may access memory that it was given: it received the address of a queue, and has not confirmed
  /// a reset since. A removed device counts too: a status of all ones does not guarantee that the host stops writing.
  [[nodiscard]] bool has_memory() const { return has_memory_; }

  [[nodiscard]] const P& platform() const { return platform_; }            // the board
  [[nodiscard]] T& transport() { return transport_; }                      // the device's registers
  [[nodiscard]] const T& transport() const { return transport_; }          // the same, const
  [[nodiscard]] const feature_set& features() const { return features_; }  // negotiated features
  [[nodiscard]] const report& why() const { return report_; }              // the result of the last start

 private:
  // Out of line: called five times.
  [[gnu::noinline]] void use(bus_use what) {
    answers_ = what != bus_use::as_found;
    if constexpr (requires { transport_.use(what); }) {
      static_assert(same_as<decltype(transport_.use(what)), bool>,
                    "a transport's use() says whether the device answers: see item 6");
      answers_ = transport_.use(what) && answers_;
    }
  }

  // Bits are only added; the driver must not write the device's own bit (NEEDS_RESET) back. Out of line: called five
  // times, and never on a fast path.
  [[gnu::noinline]] void set(u8 bit) {
    status_ = static_cast<u8>(status_ | bit);
    transport_.set_status(status_);
    detail::trace(platform_, {event::kind::status_write, status_});
  }

  template <virtqueue Q>
  [[nodiscard]] result<void> hand_over(u16 index, Q& queue, u16 entries, const dma_area& storage, u16 vector,
                                       doorbell& bell) {
    VIRTIO_TRY_ASSIGN(const ring_layout& layout, queue.attach(storage, entries, features_));
    P::barriers::full();  // the ring's contents, before the device receives its address
    VIRTIO_TRY(transport_.enable_queue(index,
                                       {.descriptors = storage.at + layout.descriptors,
                                        .driver = storage.at + layout.driver,
                                        .device = storage.at + layout.device,
                                        .entries = entries},
                                       features_, vector, bell));
    has_memory_ = true;  // transports enable a queue last: after an error the device has none
    detail::trace(platform_, {event::kind::queue_enabled, index, entries});
    return {};
  }

  errc refuse_feature(verdict why, u8 bit) {
    report_.feature = bit;
    return refuse(why, errc::unsupported);
  }

  VIRTIO_EMPTY_MEMBER P platform_{};
  T transport_{};
  feature_set features_{};
  report report_{};
  u8 status_ = 0;
  bool has_memory_ = false;
  bool refuses_reset_ = false;
  bool answers_ = false;
};

/// Maximum number of times that `read_config` reads a configuration that changes in the meantime.
inline constexpr u32 config_attempts = 16;

/// Reads several config fields as one consistent snapshot: `read(snapshot)` fills it in and returns a `result<void>`.
/// Modern devices count generations. Legacy devices do not, so two successive reads must be equal. Errors: those of
/// `read`, and `device_misbehaved` if the snapshot is never stable. Spec: 2.5.1, 2.5.4.
template <class Snapshot, transport T, class Read>
[[nodiscard]] result<void> read_config(const T& transport, Snapshot& snapshot, Read&& read) {
  for (u32 attempt = 0; attempt < config_attempts; ++attempt) {
    const u32 before = transport.config_generation();
    VIRTIO_TRY(read(snapshot));
    if (transport.is_legacy()) {
      Snapshot again;
      if (read(again) && again == snapshot) return {};
    } else if (transport.config_generation() == before) {
      return {};
    }
  }
  return errc::device_misbehaved;
}

}  // namespace virtio
