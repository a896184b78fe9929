// SPDX-License-Identifier: MIT
// One end of a connection, with calls that wait. A handle: copied freely, closed by its owner, then stale.
// Layer: vsock.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/base/result.hpp>
#include <virtio/config.hpp>
#include <virtio/platform/concepts.hpp>
#include <virtio/vsock/table.hpp>

namespace virtio::vsock {

/// Each wait is bounded by `keep_waiting(waiting::peer)`, then the call returns `peer_silent`; and by `give_up()`,
/// called on each turn of the loop, then it returns `canceled`. Neither changes the connection. Other errors are those
/// of the call of `Device` with the same name that does not wait, except `no_credit`, `no_buffer` and `not_ready`.
template <class Device>
class stream {
 public:
  stream() = default;  // of no device: assign another before use
  /// A handle for a connection of `device`.
  stream(Device& device, socket which) : device_{&device}, which_{which} {}

  /// The connection's name, for the calls of `Device` that do not wait.
  [[nodiscard]] socket id() const { return which_; }

  /// Sends all of `data`. Small pieces may leave later: with `flush`, or when this connection is read or closed.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> send(const_bytes data, GiveUp&& give_up = {}) {
    return send_from(data, give_up);
  }
  /// The same, and removes what was sent from the front of `data`: after an error the rest remains.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> send_from(const_bytes& data, GiveUp&& give_up = {}) {
    while (!data.empty()) {
      VIRTIO_TRY_ASSIGN(const usize taken, with_room([&] { return device_->try_send(which_, data); }, give_up));
      data = data.part(taken, data.size());
    }
    return {};
  }
  /// Sends all of several pieces in their order, in one packet if they fit: `send_all({head, frame})`. After an error
  /// none was sent.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> send_all(scatter<const_bytes> pieces, GiveUp&& give_up = {}) {
    return with_room([&] { return device_->try_send_all(which_, pieces); }, give_up);
  }
  /// The same, with the pieces as a braced list.
  template <usize N, class GiveUp = detail::never>
  [[nodiscard]] result<void> send_all(const const_bytes (&pieces)[N], GiveUp&& give_up = {}) {
    return send_all(scatter<const_bytes>{pieces}, give_up);
  }
  /// Sends gathered bytes now.
  [[nodiscard]] result<void> flush() { return device_->flush(which_); }

  /// Waits for bytes and returns how many were copied. Additional error: `peer_closed` at the end of the stream.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<usize> receive(bytes into, GiveUp&& give_up = {}) {
    return with_data([&] { return device_->try_receive(which_, into); }, give_up);
  }
  /// Waits until `into` is full. Errors: as `receive`; bytes that arrived before the error are then lost to the caller.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> receive_all(bytes into, GiveUp&& give_up = {}) {
    while (!into.empty()) {
      VIRTIO_TRY_ASSIGN(const usize got, receive(into, give_up));
      into = into.part(got, into.size());
    }
    return {};
  }
  /// Shows what has arrived without a copy, again each time that more has arrived, until `look` returns that it has
  /// used some bytes. A `look` that returns 0 until it sees a whole frame waits for that frame. Additional errors, with
  /// the bytes that `look` left unread: the reason why no more will arrive; `too_long` (the peer may not send more
  /// until some are read).
  template <class F, class GiveUp = detail::never>
  [[nodiscard]] result<usize> receive_with(F&& look, GiveUp&& give_up = {}) {
    usize seen = 0;
    return with_data(
        [&]() -> result<usize> {
          const errc end = device_->why_no_more(which_);
          const auto there = device_->unread(which_);
          if (seen != 0 && there && *there == seen) return end;
          auto done = device_->receive_with(which_, look);
          if (!done || *done != 0) return done;
          seen = *there;
          return end;
        },
        give_up);
  }

  /// Sends one message, on a connection that carries messages. After an error it was not sent.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> send_message(scatter<const_bytes> pieces, boundary end = boundary::message,
                                          GiveUp&& give_up = {}) {
    return with_room([&] { return device_->try_send_message(which_, pieces, end); }, give_up);
  }
  /// The same, of several pieces.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> send_message(const_bytes data, boundary end = boundary::message, GiveUp&& give_up = {}) {
    return send_message(scatter<const_bytes>{&data, 1}, end, give_up);
  }
  /// The same, with the pieces as a braced list.
  template <usize N, class GiveUp = detail::never>
  [[nodiscard]] result<void> send_message(const const_bytes (&pieces)[N], boundary end = boundary::message,
                                          GiveUp&& give_up = {}) {
    return send_message(scatter<const_bytes>{pieces}, end, give_up);
  }
  /// Waits for a message and copies it.
  template <class GiveUp = detail::never>
  [[nodiscard]] auto receive_message(bytes into, GiveUp&& give_up = {}) {
    return with_data([&] { return device_->try_receive_message(which_, into); }, give_up);
  }
  /// Waits for a message and shows it without a copy: `look(arrived, boundary)`.
  template <class F, class GiveUp = detail::never>
  [[nodiscard]] auto receive_message_with(F&& look, GiveUp&& give_up = {}) {
    return with_data([&] { return device_->receive_message_with(which_, look); }, give_up);
  }

  /// Ends one direction or both. Does not wait.
  [[nodiscard]] result<void> shutdown(ends what) { return device_->shutdown(which_, what); }

  /// Closes in good order: what was sent arrives, and the peer agrees. If it does not within
  /// `keep_waiting(waiting::shutdown)`, or before `give_up()`, the connection is reset. The handle is stale in each
  /// case. Errors: `peer_silent`, `canceled`, `stale_handle`, the device's.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> close(GiveUp&& give_up = {}) {
    return device_->close_and_wait(which_, give_up);
  }
  /// Ends the connection at once, by RST.
  [[nodiscard]] result<void> abort() { return device_->abort(which_); }

 private:
  [[nodiscard]] static bool lacks_room(errc error) { return error == errc::no_credit || error == errc::no_buffer; }

  /// Returns what `attempt()` returns once it finds room. Until `writable` would be reported, `attempt` is not called.
  template <class Attempt, class GiveUp>
  [[nodiscard]] auto with_room(Attempt attempt, GiveUp& give_up) {
    auto got = attempt();
    if (lacks_room(got.error())) wait_for_room(got, attempt, give_up);
    return got;
  }
  template <class Got, class Attempt, class GiveUp>
  [[gnu::noinline]] void wait_for_room(Got& got, Attempt& attempt, GiveUp& give_up) {
    const errc waited = device_->wait_until(
        waiting::peer,
        [&] {
          if (device_->waits_for_room(which_)) return false;
          got = attempt();
          return !lacks_room(got.error());
        },
        give_up);
    if (waited != errc::ok) got = waited;
  }
  /// Returns what `attempt()` returns once bytes have arrived or the stream has ended.
  template <class Attempt, class GiveUp>
  [[nodiscard]] auto with_data(Attempt attempt, GiveUp& give_up) {
    device_->flush_unless_slow(which_);
    auto got = attempt();
    if (got.error() != errc::not_ready) return got;
    const errc waited =
        device_->wait_until(waiting::peer, [&] { return (got = attempt()).error() != errc::not_ready; }, give_up);
    if (waited != errc::ok) got = waited;
    return got;
  }

  Device* device_ = nullptr;
  socket which_{};
};

}  // namespace virtio::vsock
