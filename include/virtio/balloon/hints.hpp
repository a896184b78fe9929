// SPDX-License-Identifier: MIT
// Rounds of free page hinting. The host opens a round by a command id in the configuration, and ends it by another value there. It does
// so while it migrates the guest, so as not to send pages that the guest does not use.
// Spec: virtio 1.4, 5.5.6.4. Layer: balloon.
#pragma once

#include <virtio/balloon/protocol.hpp>
#include <virtio/base/bytes.hpp>

namespace virtio::balloon {

/// What the host wants of free memory, and what has become of the memory that was hinted to it.
enum class hinting : u8 {
  idle,    // nothing is wanted, and no memory is hinted
  wanted,  // hints: call `hint`. What earlier rounds hinted stays aside
  kept,    // nothing is wanted now; memory that was hinted should stay aside
  done,    // all memory that was hinted may be used again, and holds anything
};

/// The rounds of one device, as its configuration tells them. All-zero when it comes up.
class hint_rounds {
 public:
  /// How things stand: `done` until `forget`. Errors: those of the transport.
  template <class Transport>
  [[nodiscard]] result<hinting> state(const Transport& transport) const {
    VIRTIO_TRY_ASSIGN(const u32 said, read_field(transport, config::free_page_hint_cmd_id));
    if (is_new(said)) return hinting::wanted;
    if (!out_) return hinting::idle;
    return said == hint_command::done ? hinting::done : hinting::kept;
  }
  /// No memory is hinted any more.
  void forget() { out_ = false; }

  /// A whole round, if the device has opened one: the command id, what `next(stretch)` names until there is no more or the device ends the
  /// round, and the end. `send(id)` and `lend(stretch)` pass on a buffer each, and return once the device has used it. Returns how many
  /// stretches it has used. Errors: those of `send`, `lend` and the transport; the round is ended all the same, unless `is_up()` says
  /// that the device is down.
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

  /// Whether the device has ended the current round. Two register accesses.
  template <class Transport>
  [[nodiscard]] bool ended(const Transport& transport) {
    const u32 generation = transport.config_generation();
    const auto said = read_field(transport, config::free_page_hint_cmd_id);
    if (!said) return true;
    // QEMU shows STOP from when it has taken the command id. So a value that was there at first ends the round only with a new
    // generation; on the legacy interface, which has none, this cannot be told from a STOP that came at once.
    const bool changed = generation != generation_ || *said != at_first_;
    return *said != round_ && changed;
  }

  u32 round_ = 0;       // the last that was begun
  u32 at_first_ = 0;    // what the configuration said when the device had taken its command id
  u32 generation_ = 0;  // of the configuration that opened the round
  bool out_ = false;    // memory was hinted, and has not come back by DONE
};

}  // namespace virtio::balloon
