// SPDX-License-Identifier: MIT
// One end of a connection, with calls that wait. A handle: copied freely, closed by its owner, stale afterwards.
// Layer: vsock.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/base/result.hpp>
#include <virtio/config.hpp>
#include <virtio/platform/concepts.hpp>
#include <virtio/vsock/table.hpp>

namespace virtio::vsock {

/// Each wait is bounded by `keep_waiting(waiting::peer)`, then the call says `peer_silent`; and by `give_up()`, asked at each turn of the
/// loop: then it says `canceled`. Neither changes anything. Errors are those of the call of `Device` that has the same name and does not
/// wait, but `no_credit`, `no_buffer` and `not_ready`.
template <class Device>
class stream {
 public:
  stream() = default;  // of no device: only to be assigned to
  stream(Device& device, socket which) : device_{&device}, which_{which} {}

  /// The name under which `Device`'s own calls, which do not wait, know it.
  [[nodiscard]] socket id() const { return which_; }

  /// Sends all of `data`. What is small may leave later, with `flush` at the latest, or when this connection is read from or closed.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> send(const_bytes data, GiveUp&& give_up = {}) {
    return send_from(data, give_up);
  }
  /// The same, and takes what was sent off the front of `data`: after an error the rest is there.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> send_from(const_bytes& data, GiveUp&& give_up = {}) {
    while (!data.empty()) {
      VIRTIO_TRY_ASSIGN(const usize taken, with_room([&] { return device_->try_send(which_, data); }, give_up));
      data = data.part(taken, data.size());
    }
    return {};
  }
  /// Sends all of several pieces, one behind the other, in one packet where they fit: `send_all({head, frame})`. After an error none was
  /// sent.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> send_all(scatter<const_bytes> pieces, GiveUp&& give_up = {}) {
    return with_room([&] { return device_->try_send_all(which_, pieces); }, give_up);
  }
  template <usize N, class GiveUp = detail::never>
  [[nodiscard]] result<void> send_all(const const_bytes (&pieces)[N], GiveUp&& give_up = {}) {
    return send_all(scatter<const_bytes>{pieces}, give_up);
  }
  /// Lets what was gathered leave now.
  [[nodiscard]] result<void> flush() { return device_->flush(which_); }

  /// Waits for bytes, and gives what there are. Errors: also `peer_closed` at the end of the stream.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<usize> receive(bytes into, GiveUp&& give_up = {}) {
    return with_data([&] { return device_->try_receive(which_, into); }, give_up);
  }
  /// Waits until all of `into` is filled. Errors: as `receive`; what came before is lost to the caller then.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> receive_all(bytes into, GiveUp&& give_up = {}) {
    while (!into.empty()) {
      VIRTIO_TRY_ASSIGN(const usize got, receive(into, give_up));
      into = into.part(got, into.size());
    }
    return {};
  }
  /// Shows what has arrived, where it is, again each time that more has come, until `look` is done with some of it: so many bytes. A frame
  /// is waited for by a `look` that returns 0 until it sees a whole one. Errors: also, with what `look` has left unread, why no more will
  /// come; `too_long`, the peer may not send more before some of it was read.
  template <class F, class GiveUp = detail::never>
  [[nodiscard]] result<usize> receive_with(F&& look, GiveUp&& give_up = {}) {
    usize seen = 0;
    return with_data([&]() -> result<usize> {
      const errc end = device_->why_no_more(which_);
      const auto there = device_->unread(which_);
      if (seen != 0 && there && *there == seen) return end;
      auto done = device_->receive_with(which_, look);
      if (!done || *done != 0) return done;
      seen = *there;
      return end;
    }, give_up);
  }

  /// Sends one message, on a connection that carries them. After an error it was not sent.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> send_message(scatter<const_bytes> pieces, boundary end = boundary::message, GiveUp&& give_up = {}) {
    return with_room([&] { return device_->try_send_message(which_, pieces, end); }, give_up);
  }
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> send_message(const_bytes data, boundary end = boundary::message, GiveUp&& give_up = {}) {
    return send_message(scatter<const_bytes>{&data, 1}, end, give_up);
  }
  template <usize N, class GiveUp = detail::never>
  [[nodiscard]] result<void> send_message(const const_bytes (&pieces)[N], boundary end = boundary::message, GiveUp&& give_up = {}) {
    return send_message(scatter<const_bytes>{pieces}, end, give_up);
  }
  /// Waits for a message.
  template <class GiveUp = detail::never>
  [[nodiscard]] auto receive_message(bytes into, GiveUp&& give_up = {}) {
    return with_data([&] { return device_->try_receive_message(which_, into); }, give_up);
  }
  /// Waits for a message, and shows it where it is: `look(arrived, boundary)`.
  template <class F, class GiveUp = detail::never>
  [[nodiscard]] auto receive_message_with(F&& look, GiveUp&& give_up = {}) {
    return with_data([&] { return device_->receive_message_with(which_, look); }, give_up);
  }

  /// Gives up one direction or both. Does not wait.
  [[nodiscard]] result<void> shutdown(ends what) { return device_->shutdown(which_, what); }

  /// Closes in good order: what was sent arrives, and the peer agrees. When it does not within `keep_waiting(waiting::shutdown)`, or until
  /// `give_up()`, the connection is reset. The handle is stale then in any case. Errors: `peer_silent`, `canceled`, `stale_handle`, the
  /// device's.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> close(GiveUp&& give_up = {}) {
    return device_->close_and_wait(which_, give_up);
  }
  /// Ends it at once, by RST.
  [[nodiscard]] result<void> abort() { return device_->abort(which_); }

 private:
  [[nodiscard]] static bool lacks_room(errc error) { return error == errc::no_credit || error == errc::no_buffer; }

  /// What `attempt()` returns once it finds room. Meanwhile it is not called: `writable` would be told when that has changed.
  template <class Attempt, class GiveUp>
  [[nodiscard]] auto with_room(Attempt attempt, GiveUp& give_up) {
    auto got = attempt();
    if (lacks_room(got.error())) wait_for_room(got, attempt, give_up);
    return got;
  }
  template <class Got, class Attempt, class GiveUp>
  [[gnu::noinline]] void wait_for_room(Got& got, Attempt& attempt, GiveUp& give_up) {
    const errc waited = device_->wait_until(waiting::peer, [&] {
      if (device_->waits_for_room(which_)) return false;
      got = attempt();
      return !lacks_room(got.error());
    }, give_up);
    if (waited != errc::ok) got = waited;
  }
  /// What `attempt()` returns once there is something, or an end.
  template <class Attempt, class GiveUp>
  [[nodiscard]] auto with_data(Attempt attempt, GiveUp& give_up) {
    device_->flush_unless_slow(which_);
    auto got = attempt();
    if (got.error() != errc::not_ready) return got;
    const errc waited = device_->wait_until(waiting::peer, [&] { return (got = attempt()).error() != errc::not_ready; }, give_up);
    if (waited != errc::ok) got = waited;
    return got;
  }

  Device* device_ = nullptr;
  socket which_{};
};

}  // namespace virtio::vsock
