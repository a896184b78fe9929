// SPDX-License-Identifier: MIT
// Rounds of free page hinting. The host opens a round by a command id in the configuration, and ends it by another
// value there. It does so during a migration of the guest, to skip pages that the guest does not use.
// Spec: virtio 1.4, 5.5.6.4. Layer: balloon.
#pragma once

#include <virtio/balloon/protocol.hpp>
#include <virtio/base/bytes.hpp>

namespace virtio::balloon {

/// The host's request for hints, and the state of the memory that was hinted.
enum class hinting : u8 {
  idle,    // no hints are requested, and no memory is hinted
  wanted,  // hints are requested: call `hint`. Do not use memory that was hinted in earlier rounds
  kept,    // no hints are requested now; do not use memory that was hinted
  done,    // all hinted memory may be used again; its contents are undefined
};

/// The rounds of one device, from its configuration. All-zero at the device's start.
class hint_rounds {
 public:
  /// Returns the current state; `done` until `forget`. Errors: those of the transport.
  template <class Transport>
  [[nodiscard]] result<hinting> state(const Transport& transport) const {
    VIRTIO_TRY_ASSIGN(const u32 said, read_field(transport, config::free_page_hint_cmd_id));
    if (is_new(said)) return hinting::wanted;
    if (!out_) return hinting::idle;
    return said == hint_command::done ? hinting::done : hinting::kept;
  }
  /// Records that no memory is hinted.
  void forget() { out_ = false; }

  /// Performs a whole round, if the device has opened one: sends the command id; the stretches that `next(stretch)`
  /// returns, until it returns false or the device ends the round; and the end. `send(id)` and `lend(stretch)` each
  /// pass a buffer to the device and return after the device has used it. Returns the number of stretches that the
  /// device has used. Errors: those of `send`, `lend` and the transport. After an error the round is ended, too, unless
  /// `is_up()` returns false.
  template <class Transport, class Next, class Send, class Lend, class IsUp>
  [[nodiscard]] result<u32> run(const Transport& transport, Next&& next, Send&& send, Lend&& lend, IsUp&& is_up) {
    generation_ = transport.config_generation();
    VIRTIO_TRY_ASSIGN(const u32 said, read_field(transport, config::free_page_hint_cmd_id));
    if (!is_new(said)) return u32{0};
    round_ = said;
    errc how = send(said);
    if (how == errc::ok) at_first_ = read_field(transport, config::free_page_hint_cmd_id).value_or(hint_command::stop);
    u32 count = 0;
    for (bytes stretch; how == errc::ok && !ended(transport) && next(stretch);) {
      how = lend(stretch);
      if (how != errc::ok) break;
      out_ = true;
      ++count;
    }
    const errc closed = is_up() ? send(hint_command::stop) : errc::ok;
    if (how == errc::ok) how = closed;
    if (how != errc::ok) return how;
    return count;
  }

 private:
  /// A command id is sent once (BALLOON-26).
  [[nodiscard]] bool is_new(u32 said) const { return said > hint_command::done && said != round_; }

  /// Returns whether the device has ended the current round. Two register accesses.
  template <class Transport>
  [[nodiscard]] bool ended(const Transport& transport) {
    const u32 generation = transport.config_generation();
    const auto said = read_field(transport, config::free_page_hint_cmd_id);
    if (!said) return true;
    // QEMU's field contains STOP after it has read the command id. So the value at the start of the round ends the
    // round only with a new generation. The legacy interface has no generation, so a STOP at the start of the round is
    // not recognized there.
    const bool changed = generation != generation_ || *said != at_first_;
    return *said != round_ && changed;
  }

  u32 round_ = 0;       // the last round that was begun
  u32 at_first_ = 0;    // the field's value after the device had read the command id
  u32 generation_ = 0;  // generation of the configuration that opened the round
  bool out_ = false;    // memory was hinted, and DONE has not been read since
};

}  // namespace virtio::balloon
