// SPDX-License-Identifier: MIT
// Errors, and the value-or-error that every fallible call returns. Zero is success, so an all-zero object is a good one.
// The spelling is that of std::expected; `T` must be trivially copyable: results carry handles and numbers, never owners.
// Layer: base.
#pragma once

#include <virtio/base/meta.hpp>

namespace virtio {

/// Why a call did not do what was asked. `describe()` gives a sentence; the groups say whose move it is.
enum class errc : u8 {
  ok = 0,
  // Not now: try again later.
  not_ready,
  queue_full,
  busy,
  in_use,
  no_credit,
  no_buffer,
  unfinished,
  // The call was wrong: fix the program.
  invalid_argument,
  misaligned,
  out_of_range,
  read_only,
  stale_handle,
  no_space,
  too_many_pieces,
  not_started,
  ambiguous,
  table_full,
  too_long,
  // The machine cannot: reconfigure.
  not_found,
  wrong_device,
  unsupported,
  dma_unreachable,
  // The device said no, or nothing: handle it as an I/O error.
  io_error,
  needs_reset,
  timed_out,
  dma_unanswered,
  canceled,
  // The other end of a connection said so, or nothing.
  refused,
  peer_silent,
  peer_closed,
  peer_reset,
  // The device lied: it is down until the next start, and the buffers that it had are the caller's again.
  device_misbehaved,
  // The only one after which a request's buffers are not the caller's again.
  device_broken,
};

/// One sentence about an error, for a log line. Static storage.
[[nodiscard]] constexpr const char* describe(errc error) {
  switch (error) {
    case errc::ok: return "success";
    case errc::not_ready: return "nothing has completed or arrived yet";
    case errc::queue_full: return "there is no room for this request until others complete";
    case errc::busy: return "requests are in flight: take their completions first";
    case errc::in_use: return "the port or the connection is in use already";
    case errc::no_credit: return "the peer or the queue has no room for more until some of it was read";
    case errc::no_buffer: return "the driver's send buffers are taken by others until some of them have left";
    case errc::unfinished: return "the device's limits make this more requests than one call sends: go on from where it stopped";
    case errc::invalid_argument: return "the call or an argument makes no sense here";
    case errc::misaligned: return "an address or a length is not a multiple of what it must be";
    case errc::out_of_range: return "it reaches past the end of the device, of its limits or of what can be addressed";
    case errc::read_only: return "the device is read-only";
    case errc::stale_handle: return "the handle names a request or a connection that has ended";
    case errc::no_space: return "the driver's DMA storage or ring is too small for this device";
    case errc::too_many_pieces: return "the buffer is in more pieces of memory than one request has room for";
    case errc::not_started: return "the device is not running: start it (again)";
    case errc::ambiguous: return "more than one device fits: say which";
    case errc::table_full: return "the driver was given no room for one more of these";
    case errc::too_long: return "the message is longer than the room there is for it";
    case errc::not_found: return "there is no such device, capability, queue, register or listener";
    case errc::wrong_device: return "what is there is no device for this driver";
    case errc::unsupported: return "the device or the platform does not support this";
    case errc::dma_unreachable: return "the device cannot address this memory";
    case errc::io_error: return "the device failed the request";
    case errc::needs_reset: return "the device had failed and asked for a reset";
    case errc::timed_out: return "no answer in time: the device has none of the buffers any more";
    case errc::dma_unanswered:
      return "no answer in time, with ACCESS_PLATFORM accepted: the IOMMU may not pass what the platform's map() gave; "
             "the device has none of the buffers any more";
    case errc::canceled: return "the device was reset, or the connection given up, before this was done";
    case errc::refused: return "nobody accepts connections there";
    case errc::peer_silent: return "nobody at the other end came or answered in time; the device is well";
    case errc::peer_closed: return "the peer has said all it wanted";
    case errc::peer_reset: return "the peer has broken off";
    case errc::device_misbehaved: return "the device broke the protocol";
    case errc::device_broken: return "the device will not reset and keeps the memory it was given: use that for nothing else";
  }
  return "unknown error";
}

/// A `T`, or the reason why there is none. Never throws; asking an error for its value is the caller's bug.
template <class T = void>
class [[nodiscard]] result {
  static_assert(__is_trivially_copyable(T), "result<T> carries handles and numbers: T must be trivially copyable");

 public:
  using value_type = T;

  constexpr result() : value_{} {}
  constexpr result(const T& value) : value_{value} {}
  constexpr result(errc error) : nothing_{}, error_{error} {}  // no value is made up: that would cost its size in stores

  [[nodiscard]] constexpr explicit operator bool() const { return error_ == errc::ok; }
  [[nodiscard]] constexpr bool has_value() const { return error_ == errc::ok; }
  [[nodiscard]] constexpr errc error() const { return error_; }

  [[nodiscard]] constexpr const T& operator*() const { return value_; }
  [[nodiscard]] constexpr T& operator*() { return value_; }
  [[nodiscard]] constexpr const T* operator->() const { return __builtin_addressof(value_); }
  [[nodiscard]] constexpr T* operator->() { return __builtin_addressof(value_); }
  [[nodiscard]] constexpr T value_or(const T& other) const {
    if (has_value()) return value_;
    return other;
  }

  /// `f(value)`, itself a result; or this error.
  template <class F>
  [[nodiscard]] constexpr auto and_then(F&& f) const -> decltype(f(detail::some<const T&>())) {
    if (has_value()) return f(value_);
    return error_;
  }

  /// `f(value)` as a result; or this error.
  template <class F>
  [[nodiscard]] constexpr auto transform(F&& f) const -> result<decltype(f(detail::some<const T&>()))> {
    if (has_value()) return f(value_);
    return error_;
  }

 private:
  union {
    detail::nothing nothing_;
    T value_;
  };
  // In a register of its own: where one holds both, compilers pack and unpack them.
  alignas(sizeof(T) <= sizeof(void*) ? sizeof(void*) : 1) errc error_{};
};

/// Success, or the reason why not.
template <>
class [[nodiscard]] result<void> {
 public:
  using value_type = void;

  constexpr result() = default;
  constexpr result(errc error) : error_{error} {}

  [[nodiscard]] constexpr explicit operator bool() const { return error_ == errc::ok; }
  [[nodiscard]] constexpr bool has_value() const { return error_ == errc::ok; }
  [[nodiscard]] constexpr errc error() const { return error_; }

  template <class F>
  [[nodiscard]] constexpr auto and_then(F&& f) const -> decltype(f()) {
    if (has_value()) return f();
    return error_;
  }

 private:
  errc error_{};
};


}  // namespace virtio
