// SPDX-License-Identifier: MIT
// A local socket as the engine's stream. Non-blocking; the caller closes it.
#pragma once

#include <cerrno>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <usbip/engine/stream.hpp>

class posix_stream {
 public:
  explicit posix_stream(int fd) : fd_{fd}, room_(1 << 16) { (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

  usbip::usize send(usbip::pieces list) {
    iovec parts[4];
    usbip::usize count = 0;
    for (const usbip::const_bytes& one : list) {
      if (count < 4) parts[count++] = {const_cast<usbip::u8*>(one.data), one.size};
    }
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    const ssize_t gone = sendmsg(fd_, &message, MSG_NOSIGNAL);
    full_ = gone < 0 && errno == EAGAIN;
    if (gone < 0 && !full_) state_ = usbip::stream_state::broken;
    return gone < 0 ? 0 : static_cast<usbip::usize>(gone);
  }

  template <class F>
  usbip::usize receive(F&& look) {
    if (begin_ == end_) fill();
    if (begin_ == end_) return 0;
    const usbip::usize taken = look(usbip::const_bytes{room_.data() + begin_, end_ - begin_});
    begin_ += taken;
    return taken;
  }

  [[nodiscard]] usbip::stream_state state() const { return begin_ == end_ ? state_ : usbip::stream_state::open; }
  [[nodiscard]] int fd() const { return fd_; }
  /// Returns whether the last `send` found no room.
  [[nodiscard]] bool is_full() const { return full_; }
  /// Returns whether bytes were shown but not taken. A wait for more bytes might then never end.
  [[nodiscard]] bool has_unread() const { return begin_ != end_; }

 private:
  void fill() {
    begin_ = end_ = 0;
    if (state_ != usbip::stream_state::open) return;
    const ssize_t came = recv(fd_, room_.data(), room_.size(), 0);
    if (came > 0) {
      end_ = static_cast<usbip::usize>(came);
    } else if (came == 0) {
      state_ = usbip::stream_state::closed;
    } else if (errno != EAGAIN && errno != EINTR) {
      state_ = usbip::stream_state::broken;
    }
  }

  int fd_;
  std::vector<usbip::u8> room_;
  usbip::usize begin_ = 0;
  usbip::usize end_ = 0;
  usbip::stream_state state_ = usbip::stream_state::open;
  bool full_ = false;
};
