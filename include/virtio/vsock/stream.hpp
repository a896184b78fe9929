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

template <class Device>
class stream {
 public:
  stream() = default;  // of no device: only to be assigned to
  stream(Device& device, socket which) : device_{&device}, which_{which} {}

  /// The name under which `Device`'s own calls, which do not wait, know it.
  [[nodiscard]] socket id() const { return which_; }

  /// Sends all of `data`. Waits for room, bounded by `keep_waiting(waiting::peer)` each time; what is small may leave later, with
  /// `flush` at the latest, or when this connection is read from or closed. Errors: those of `try_send` but `no_credit` and `no_buffer`;
  /// `peer_silent`.
  [[nodiscard]] result<void> send(const_bytes data) { return send_off(data); }
  /// The same, and takes what was sent off the front of `data`: after an error the rest is there.
  [[nodiscard]] result<void> send_off(const_bytes& data) {
    while (!data.empty()) {
      result<usize> taken = device_->try_send(which_, data);
      if (lacks_room(taken.error())) {
        const errc waited = device_->wait_until(waiting::peer, [&] {
          taken = device_->try_send(which_, data);
          return !lacks_room(taken.error());
        });
        if (waited != errc::ok) return waited;
      }
      VIRTIO_TRY(taken);
      data = data.part(*taken, data.size());
    }
    return {};
  }
  /// Lets what was gathered leave now.
  [[nodiscard]] result<void> flush() { return device_->flush(which_); }

  /// Waits for bytes, and gives what there are; `give_up()` ends that as `canceled`. Errors: `peer_closed` at the end of the stream;
  /// `peer_silent`, which changes nothing; those of `try_receive` but `not_ready`.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<usize> receive(bytes into, GiveUp&& give_up = {}) {
    VIRTIO_TRY(flush());
    result<usize> got = device_->try_receive(which_, into);
    if (got.error() != errc::not_ready) return got;
    const errc waited = device_->wait_until(waiting::peer, [&] {
      got = device_->try_receive(which_, into);
      return got.error() != errc::not_ready;
    }, give_up);
    if (waited != errc::ok) return waited;
    return got;
  }
  /// Waits until all of `into` is filled. Errors: as `receive`; what came before is lost to the caller then.
  [[nodiscard]] result<void> receive_all(bytes into) {
    while (!into.empty()) {
      VIRTIO_TRY_ASSIGN(const usize got, receive(into));
      into = into.part(got, into.size());
    }
    return {};
  }

  /// Sends one message, on a connection that carries them. Waits for room, likewise. Errors: those of `try_send_message` but
  /// `no_credit` and `no_buffer`; `peer_silent`, and it was not sent.
  [[nodiscard]] result<void> send_message(const_bytes data, border end = border::message) {
    result<void> sent;
    const errc waited = device_->wait_until(waiting::peer, [&] {
      sent = device_->try_send_message(which_, data, end);
      return !lacks_room(sent.error());
    });
    if (waited != errc::ok) return waited;
    return sent;
  }
  /// Waits for a message. Errors: those of `try_receive_message` but `not_ready`; `peer_silent`, which changes nothing.
  [[nodiscard]] auto receive_message(bytes into) {
    auto got = device_->try_receive_message(which_, into);
    if (got.error() != errc::not_ready) return got;
    const errc waited = device_->wait_until(waiting::peer, [&] {
      got = device_->try_receive_message(which_, into);
      return got.error() != errc::not_ready;
    });
    if (waited != errc::ok) got = waited;
    return got;
  }

  /// Gives up one direction or both. Does not wait.
  [[nodiscard]] result<void> shutdown(ends what) { return device_->shutdown(which_, what); }

  /// Closes in good order: what was sent arrives, and the peer agrees. When it does not within `keep_waiting(waiting::shutdown)` the
  /// connection is reset. The handle is stale then in any case. Errors: `peer_silent`, `stale_handle`, the device's.
  [[nodiscard]] result<void> close() { return device_->close_and_wait(which_); }
  /// Ends it at once, by RST.
  [[nodiscard]] result<void> abort() { return device_->abort(which_); }

 private:
  [[nodiscard]] static bool lacks_room(errc error) { return error == errc::no_credit || error == errc::no_buffer; }

  Device* device_ = nullptr;
  socket which_{};
};

}  // namespace virtio::vsock
