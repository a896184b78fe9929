// SPDX-License-Identifier: MIT
// Errors, and the value-or-error that every call that can fail returns. Zero is success, so an all-zero object is
// valid. Names are those of std::expected. `T` is trivially copyable: results carry handles and numbers, never owners.
// Layer: base.
#pragma once

#include <virtio/base/meta.hpp>

namespace virtio {

/// The reason why a call failed. `describe()` returns a sentence. The comments of the groups state what the caller
/// does.
enum class errc : u8 {
  ok = 0,
  // Temporary: try again later.
  not_ready,
  queue_full,
  busy,
  in_use,
  no_credit,
  no_buffer,
  unfinished,
  // An error in the call: fix the program.
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
  // The machine does not support it: reconfigure.
  not_found,
  wrong_device,
  unsupported,
  dma_unreachable,
  // The device reported an error or did not answer: handle it as an I/O error.
  io_error,
  needs_reset,
  timed_out,
  dma_unanswered,
  canceled,
  // The peer of a connection reported it or did not answer.
  refused,
  peer_silent,
  peer_closed,
  peer_reset,
  // The device broke the protocol. It is down until the next start, and its buffers belong to the caller again.
  device_misbehaved,
  // The only error after which the device keeps the buffers of a request.
  device_broken,
};

/// Returns a sentence about an error, for a log line. Static storage.
[[nodiscard]] constexpr const char* describe(errc error) {
  switch (error) {
    case errc::ok: return "success";
    case errc::not_ready: return "nothing has completed or arrived yet";
    case errc::queue_full: return "there is no room for this request until others complete";
    case errc::busy: return "requests are in flight: take their completions first";
    case errc::in_use: return "the port or the connection is already in use";
    case errc::no_credit: return "the peer or the queue has no room until some data is read";
    case errc::no_buffer: return "all send buffers of the driver are in use until some are sent";
    case errc::unfinished:
      return "the device's limits need more requests than one call sends: continue where it stopped";
    case errc::invalid_argument: return "the call or an argument makes no sense here";
    case errc::misaligned: return "an address or a length is misaligned";
    case errc::out_of_range: return "it exceeds the device, its limits or the address range";
    case errc::read_only: return "the device is read-only";
    case errc::stale_handle: return "the handle names a request or a connection that has ended";
    case errc::no_space: return "the driver's DMA storage or ring is too small for this device";
    case errc::too_many_pieces: return "the buffer is in more pieces of memory than one request has room for";
    case errc::not_started: return "the device is not running: start it (again)";
    case errc::ambiguous: return "more than one device matches: choose one";
    case errc::table_full: return "the driver has no room for one more of these";
    case errc::too_long: return "the message is longer than its buffer";
    case errc::not_found: return "there is no such device, capability, queue, register or listener";
    case errc::wrong_device: return "the device found is not one for this driver";
    case errc::unsupported: return "the device or the platform does not support this";
    case errc::dma_unreachable: return "the device cannot address this memory";
    case errc::io_error: return "the device failed the request";
    case errc::needs_reset: return "the device failed and requested a reset";
    case errc::timed_out: return "no answer in time: the device no longer has any of the buffers";
    case errc::dma_unanswered:
      return "no answer in time, with ACCESS_PLATFORM accepted: the IOMMU may block the addresses that the platform's map() returned; "
             "the device no longer has any of the buffers";
    case errc::canceled: return "the device was reset or the connection closed before this was done";
    case errc::refused: return "no listener accepts connections there";
    case errc::peer_silent: return "the peer did not connect or answer in time; the device works";
    case errc::peer_closed: return "the peer has closed its sending side";
    case errc::peer_reset: return "the peer has reset the connection";
    case errc::device_misbehaved: return "the device broke the protocol";
    case errc::device_broken:
      return "the device does not finish its reset and may still use its memory: do not reuse that memory";
  }
  return "unknown error";
}

/// A `T`, or the reason why there is none. Never throws. Reading the value of an error is a bug of the caller.
template <class T = void>
class [[nodiscard]] result {
  static_assert(__is_trivially_copyable(T), "result<T> carries handles and numbers: T must be trivially copyable");

 public:
  using value_type = T;  // what it carries

  constexpr result() : value_{} {}                     // success, with an all-zero value
  constexpr result(const T& value) : value_{value} {}  // success
  /// The value stays uninitialized: initializing costs stores.
  constexpr result(errc error) : nothing_{}, error_{error} {}

  [[nodiscard]] constexpr explicit operator bool() const { return error_ == errc::ok; }  // whether it succeeded
  [[nodiscard]] constexpr bool has_value() const { return error_ == errc::ok; }          // whether it succeeded
  [[nodiscard]] constexpr errc error() const { return error_; }                          // `ok` for success

  [[nodiscard]] constexpr const T& operator*() const { return value_; }  // the value; only after success
  [[nodiscard]] constexpr T& operator*() { return value_; }              // the value; only after success
  [[nodiscard]] constexpr const T* operator->() const { return __builtin_addressof(value_); }  // only after success
  [[nodiscard]] constexpr T* operator->() { return __builtin_addressof(value_); }              // only after success
  /// Returns the value, or `other` after an error.
  [[nodiscard]] constexpr T value_or(const T& other) const {
    if (has_value()) return value_;
    return other;
  }

  /// Returns `f(value)`, which is a result, or this error.
  template <class F>
  [[nodiscard]] constexpr auto and_then(F&& f) const -> decltype(f(detail::some<const T&>())) {
    if (has_value()) return f(value_);
    return error_;
  }

  /// Returns `f(value)` as a result, or this error.
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
  // In a separate register: if one register holds both, compilers pack and unpack them.
  alignas(sizeof(T) <= sizeof(void*) ? sizeof(void*) : 1) errc error_{};
};

/// Success, or the reason for the failure.
template <>
class [[nodiscard]] result<void> {
 public:
  using value_type = void;  // no value

  constexpr result() = default;                    // success
  constexpr result(errc error) : error_{error} {}  // an error; `errc::ok` is success

  [[nodiscard]] constexpr explicit operator bool() const { return error_ == errc::ok; }  // whether it succeeded
  [[nodiscard]] constexpr bool has_value() const { return error_ == errc::ok; }          // whether it succeeded
  [[nodiscard]] constexpr errc error() const { return error_; }                          // `ok` for success

  /// Returns `f()`, which is a result, or this error.
  template <class F>
  [[nodiscard]] constexpr auto and_then(F&& f) const -> decltype(f()) {
    if (has_value()) return f();
    return error_;
  }

 private:
  errc error_{};
};

}  // namespace virtio
