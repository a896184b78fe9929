// SPDX-License-Identifier: MIT
// Buffers for events, and the events that the device has written into them.
// Spec: virtio 1.4, 5.6.6.3. Layer: scsi.
#pragma once

#include <virtio/device/buffer_pool.hpp>
#include <virtio/scsi/protocol.hpp>

namespace virtio::scsi {

/// The buffers of the event queue with ring `Ring`. All-zero until `start`.
template <class Ring, class Barriers>
class event_buffers {
  // 10 to 15 buffers are enough (5.6.6.3). Their size could grow only by features that are not accepted.
  using pool = buffer_pool<16, 32>;
  using cells = event_cells<Ring::order>;

 public:
  static constexpr usize dma_bytes = pool::dma_bytes;  // bytes of memory for them

  /// Forgets all buffers before a start.
  void forget() { is_started_ = false; }
  /// Stages all buffers that the device does not have; they are in `memory`, from `offset` on. Returns whether there
  /// were any, so that the queue must be kicked.
  [[nodiscard]] bool post(Ring& ring, const dma_area& memory, usize offset) {
    if (!is_started_) pool_.start(memory.part(offset, pool::dma_bytes));
    is_started_ = true;
    if (!pool_.has_free()) return false;
    pool_.post(ring, [this](buffer_index one) { pool_.template cells<cells>(one).clear(); });
    return true;
  }
  /// The next event. Processes at most as many buffers as there are: a device may send any number of empty ones.
  /// Errors: `not_ready`; `device_misbehaved`.
  [[nodiscard]] errc next(Ring& ring, event& out) {
    for (u32 i = 0; i < pool::count; ++i) {
      buffer_index one;
      u32 length;  // not used: devices report different values, and bytes that were not written are zero
      const errc got = pool::arrived(ring, one, length);
      if (got != errc::ok) return got;
      const bool says_something = read(pool_.template cells<cells>(one), out);
      pool_.give_back(one);
      if (says_something) return errc::ok;
    }
    return errc::not_ready;
  }

 private:
  /// Reads an event. False: it is empty.
  [[nodiscard]] static bool read(const cells& from, event& out) {
    // Unchecked: compared with known numbers, or returned to a program that can only query the device about them.
    const u32 said = from.event.template fetch<Barriers>().unchecked();
    out = {};
    out.reason = from.reason.template fetch<Barriers>().unchecked();
    out.where = address_of(from.lun.template fetch<Barriers>().unchecked());
    if ((said & event_bits::missed) != 0) return true;  // the search of all units also finds the rest of this event
    switch (said) {
      case event_bits::transport_reset:
        out.what = out.reason == event_bits::reason_rescan    ? event::kind::rescan
                   : out.reason == event_bits::reason_removed ? event::kind::removed
                                                              : event::kind::reset;
        return true;
      case event_bits::async_notify: out.what = event::kind::notify; return true;
      case event_bits::parameters:
        out.what = event::kind::changed;
        out.asc = static_cast<u8>(out.reason);
        out.ascq = static_cast<u8>(out.reason >> 8);
        return true;
      default: return false;
    }
  }

  pool pool_{};
  bool is_started_ = false;
};

}  // namespace virtio::scsi
