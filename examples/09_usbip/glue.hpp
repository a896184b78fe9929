// SPDX-License-Identifier: MIT
// Adapters between the two libraries: a vsock connection and a console's port as byte streams, a block device as a
// disk.
// They are thin: no call of either side waits, and both show received bytes in place.
#pragma once

#include <usbip/engine/stream.hpp>
#include <usbip/storage/disk.hpp>
#include <virtio/blk.hpp>
#include <virtio/console.hpp>
#include <virtio/vsock.hpp>

namespace glue {

[[nodiscard]] inline virtio::const_bytes of(usbip::const_bytes range) { return {range.data, range.size}; }
[[nodiscard]] inline usbip::const_bytes of(virtio::const_bytes range) { return {range.data(), range.size()}; }

/// A connection of a vsock device.
template <class Sockets>
class vsock_stream {
 public:
  constexpr vsock_stream() = default;
  constexpr vsock_stream(Sockets& sockets, virtio::vsock::socket which) : sockets_{&sockets}, which_{which} {}

  [[nodiscard]] usbip::usize send(usbip::pieces list) {
    // A header and its data are sent in one packet if both fit.
    if (list.count == 2) {
      const virtio::const_bytes both[2] = {of(list.first[0]), of(list.first[1])};
      if (sockets_->try_send_all(which_, both)) {
        is_full_ = false;
        stuck_ = 0;
        return both[0].size() + both[1].size();
      }
    }
    usbip::usize gone = 0;
    for (const usbip::const_bytes& one : list) {
      const auto taken = sockets_->try_send(which_, of(one));
      if (!taken) break;
      gone += *taken;
      if (*taken != one.size) break;
    }
    is_full_ = gone == 0;
    if (gone != 0) stuck_ = 0;
    return gone;
  }

  /// Called once a second. Returns for how many seconds the peer has taken no byte of the pending data. Some hosts do
  /// not report that their program is gone while bytes are on the way to it (vhost-device-vsock).
  [[nodiscard]] virtio::u32 tick() { return is_full_ ? ++stuck_ : 0; }

  template <class Look>
  usbip::usize receive(Look&& look) {
    const auto taken = sockets_->receive_with(which_, [&](virtio::const_bytes here) { return look(of(here)); });
    return taken ? *taken : 0;
  }

  [[nodiscard]] usbip::stream_state state() const {
    if (const auto unread = sockets_->unread(which_); unread && *unread != 0) return usbip::stream_state::open;
    const virtio::errc is = sockets_->state_of(which_).error();
    if (is == virtio::errc::ok || is == virtio::errc::not_ready) return usbip::stream_state::open;
    return is == virtio::errc::peer_closed ? usbip::stream_state::closed : usbip::stream_state::broken;
  }

 private:
  Sockets* sockets_ = nullptr;
  virtio::vsock::socket which_{};
  bool is_full_ = false;
  virtio::u32 stuck_ = 0;
};

/// The first port of a console.
template <class Console>
class console_line {
 public:
  constexpr explicit console_line(Console& console) : console_{&console} {}

  [[nodiscard]] usbip::usize send(usbip::pieces list) {
    usbip::usize gone = 0;
    for (const usbip::const_bytes& one : list) {
      const auto taken = console_->try_send(of(one));
      if (!taken) break;
      gone += *taken;
      if (*taken != one.size) break;
    }
    return gone;
  }
  template <class Look>
  usbip::usize receive(Look&& look) {
    const auto taken = console_->receive_with([&](virtio::const_bytes here) { return look(of(here)); });
    return taken ? *taken : 0;
  }
  [[nodiscard]] usbip::stream_state state() const { return usbip::stream_state::open; }

 private:
  Console* console_;
};

/// A block device, with counters of its traffic.
template <class Blk>
class blk_disk {
  using submitted = usbip::storage::submitted;
  using sense = usbip::storage::sense;
  enum : usbip::u64 { read, write, flush };

 public:
  constexpr explicit blk_disk(Blk& blk) : blk_{&blk} {}

  [[nodiscard]] usbip::u64 blocks() const { return blk_->capacity() >> shift(); }
  [[nodiscard]] usbip::u32 block_bytes() const { return 512u << shift(); }
  [[nodiscard]] bool is_read_only() const { return blk_->is_read_only(); }

  [[nodiscard]] submitted submit_read(usbip::u64 block, usbip::bytes into, usbip::u64 cookie) {
    return taken(blk_->submit_read(block << shift(), virtio::bytes{into.data, into.size}, cookie << 2 | read), reads,
                 into.size);
  }
  [[nodiscard]] submitted submit_write(usbip::u64 block, usbip::const_bytes from, usbip::u64 cookie) {
    return taken(blk_->submit_write(block << shift(), of(from), cookie << 2 | write), writes, from.size);
  }
  [[nodiscard]] submitted submit_flush(usbip::u64 cookie) {
    const auto sent = blk_->submit_flush(flush);
    flush_cookie_ = cookie;  // one flush is in flight at a time
    // A disk without a cache needs no flush.
    if (sent.error() == virtio::errc::unsupported) return submitted::refused(usbip::storage::good);
    return taken(sent, flushes, 0);
  }
  void kick() { blk_->kick(); }
  [[nodiscard]] bool next_completion(usbip::storage::completion& ended) {
    const auto one = blk_->next_completion();
    if (!one) return false;
    ended.cookie = (one->cookie & 3) == flush ? flush_cookie_ : one->cookie >> 2;
    ended.result = sense_of(one->status, one->cookie & 3);
    return true;
  }

  usbip::u64 reads = 0, writes = 0, flushes = 0, bytes_moved = 0;

 private:
  /// Shift from sectors of 512 bytes to the disk's blocks: 0 to 3.
  [[nodiscard]] usbip::u32 shift() const {
    usbip::u32 shift = 0;
    while (shift < 3 && (512u << shift) < blk_->block_size()) ++shift;
    return shift;
  }
  template <class Result>
  submitted taken(const Result& sent, usbip::u64& count, usbip::usize size) {
    if (sent.error() == virtio::errc::queue_full) return submitted::later();
    if (!sent) return submitted::refused(sense_of(sent.error(), read));
    ++count;
    bytes_moved += size;
    return submitted::taken();
  }
  [[nodiscard]] static sense sense_of(virtio::errc status, usbip::u64 what) {
    switch (status) {
      case virtio::errc::ok: return usbip::storage::good;
      case virtio::errc::io_error:
        return what == write  ? usbip::storage::write_error
               : what == read ? usbip::storage::read_error
                              : usbip::storage::hardware_error;
      case virtio::errc::read_only: return usbip::storage::write_protected;
      case virtio::errc::out_of_range: return usbip::storage::out_of_range;
      case virtio::errc::not_started: return usbip::storage::not_ready;
      case virtio::errc::canceled: return usbip::storage::aborted;
      default: return usbip::storage::hardware_error;
    }
  }

  Blk* blk_;
  usbip::u64 flush_cookie_ = 0;
};

}  // namespace glue
