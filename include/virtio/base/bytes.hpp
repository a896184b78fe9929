// SPDX-License-Identifier: MIT
// Views of bytes: a pointer and a length, not owned. They convert from any type with data() and size() over one-byte
// elements, so std::span, std::array and std::vector work without an include. Layer: base.
#pragma once

#include <virtio/base/meta.hpp>

namespace virtio {
namespace detail {

template <class C>
concept byte_container = requires(C& c) {
  { *c.data() };
  { c.size() } -> converts_to<usize>;
} && byte_like<bare<decltype(*some<C&>().data())>>;

template <class C>
concept writable_byte_container = byte_container<C> && requires(C& c) { *c.data() = bare<decltype(*c.data())>{}; };

// A device may write after the call returns. A temporary owner (a vector) is destroyed by then; the memory of a
// temporary view (a span) is not.
template <class C>
concept outlives_call = is_reference<C> || __is_trivially_copyable(bare<C>);

}  // namespace detail

/// A view of bytes that may be written. Does not own them.
struct bytes {
  u8* data_ = nullptr;  // use `data()`
  usize size_ = 0;      // use `size()`

  constexpr bytes() = default;  // empty
  /// `size` bytes from `data` on.
  bytes(void* data, usize size) : data_{static_cast<u8*>(data)}, size_{size} {}
  /// All bytes of an array.
  template <byte_like B, usize N>
    requires(!same_as<B, const B>)
  bytes(B (&array)[N]) : bytes{static_cast<void*>(array), N} {}
  /// All bytes of a container or a view.
  template <detail::writable_byte_container C>
    requires(!same_as<detail::bare<C>, bytes> && detail::outlives_call<C>)
  bytes(C&& container) : bytes{static_cast<void*>(container.data()), container.size()} {}

  [[nodiscard]] constexpr u8* data() const { return data_; }         // the first byte
  [[nodiscard]] constexpr usize size() const { return size_; }       // bytes
  [[nodiscard]] constexpr bool empty() const { return size_ == 0; }  // whether there are none

  /// Returns at most `count` bytes from `offset` on. Both are limited to the size of the view.
  [[nodiscard]] bytes part(usize offset, usize count) const {
    if (offset >= size_) return {};
    return {data_ + offset, detail::smaller(count, size_ - offset)};
  }
};

/// A view of bytes that may only be read. Does not own them.
struct const_bytes {
  const u8* data_ = nullptr;  // use `data()`
  usize size_ = 0;            // use `size()`

  constexpr const_bytes() = default;  // empty
  /// `size` bytes from `data` on.
  const_bytes(const void* data, usize size) : data_{static_cast<const u8*>(data)}, size_{size} {}
  /// The same bytes, read-only.
  const_bytes(bytes other) : const_bytes{other.data(), other.size()} {}
  /// All bytes of an array.
  template <byte_like B, usize N>
  const_bytes(const B (&array)[N]) : const_bytes{static_cast<const void*>(array), N} {}
  /// All bytes of a container or a view.
  template <detail::byte_container C>
    requires(!same_as<detail::bare<C>, const_bytes> && !same_as<detail::bare<C>, bytes> && detail::outlives_call<C>)
  const_bytes(C&& container) : const_bytes{static_cast<const void*>(container.data()), container.size()} {}

  [[nodiscard]] constexpr const u8* data() const { return data_; }   // the first byte
  [[nodiscard]] constexpr usize size() const { return size_; }       // bytes
  [[nodiscard]] constexpr bool empty() const { return size_ == 0; }  // whether there are none

  /// Returns at most `count` bytes from `offset` on. Both are limited to the size of the view.
  [[nodiscard]] const_bytes part(usize offset, usize count) const {
    if (offset >= size_) return {};
    return {data_ + offset, detail::smaller(count, size_ - offset)};
  }
};

/// Returns a view of the bytes of `object`.
template <class T>
  requires(__is_trivially_copyable(T))
[[nodiscard]] bytes as_bytes(T& object) {
  return {&object, sizeof(T)};
}

/// Returns a view of the characters of a literal, without its terminating NUL.
template <usize N>
[[nodiscard]] const_bytes text(const char (&literal)[N]) {
  return {literal, N - 1};
}

/// A list of byte ranges that together form one buffer. The caller owns the list.
template <class Range>
struct scatter {
  const Range* first = nullptr;  // the first range
  usize count = 0;               // number of ranges

  constexpr scatter() = default;                                                // an empty list
  constexpr scatter(const Range* ranges, usize n) : first{ranges}, count{n} {}  // `n` ranges
  /// All ranges of an array.
  template <usize N>
  constexpr scatter(const Range (&ranges)[N]) : scatter{ranges, N} {}

  [[nodiscard]] constexpr const Range* begin() const { return first; }        // the first range
  [[nodiscard]] constexpr const Range* end() const { return first + count; }  // the end of the list

  /// Returns the number of bytes in all ranges.
  [[nodiscard]] constexpr u64 size() const {
    u64 sum = 0;
    for (const Range& range : *this) sum += range.size();
    return sum;
  }
};

}  // namespace virtio
