// SPDX-License-Identifier: MIT
// Views of bytes: a pointer and a length, owned by somebody else. They convert from anything with data() and size() over
// one-byte elements, so std::span, std::array and std::vector just work without being known here. Layer: base.
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
concept writable_byte_container =
    byte_container<C> && requires(C& c) { *c.data() = bare<decltype(*c.data())>{}; };

// A device may write after the call returns: a temporary owner (a vector) would be gone by then, a temporary view (a span) not.
template <class C>
concept outlives_call = is_reference<C> || __is_trivially_copyable(bare<C>);

}  // namespace detail

/// Bytes that may be written.
struct bytes {
  u8* data_ = nullptr;
  usize size_ = 0;

  constexpr bytes() = default;
  bytes(void* data, usize size) : data_{static_cast<u8*>(data)}, size_{size} {}
  template <byte_like B, usize N>
    requires(!same_as<B, const B>)
  bytes(B (&array)[N]) : bytes{static_cast<void*>(array), N} {}
  template <detail::writable_byte_container C>
    requires(!same_as<detail::bare<C>, bytes> && detail::outlives_call<C>)
  bytes(C&& container) : bytes{static_cast<void*>(container.data()), container.size()} {}

  [[nodiscard]] constexpr u8* data() const { return data_; }
  [[nodiscard]] constexpr usize size() const { return size_; }
  [[nodiscard]] constexpr bool empty() const { return size_ == 0; }

  /// The bytes from `offset` on, at most `count`; both are cut to what is there.
  [[nodiscard]] bytes part(usize offset, usize count) const {
    if (offset >= size_) return {};
    return {data_ + offset, detail::smaller(count, size_ - offset)};
  }
};

/// Bytes that may only be read.
struct const_bytes {
  const u8* data_ = nullptr;
  usize size_ = 0;

  constexpr const_bytes() = default;
  const_bytes(const void* data, usize size) : data_{static_cast<const u8*>(data)}, size_{size} {}
  const_bytes(bytes other) : const_bytes{other.data(), other.size()} {}
  template <byte_like B, usize N>
  const_bytes(const B (&array)[N]) : const_bytes{static_cast<const void*>(array), N} {}
  template <detail::byte_container C>
    requires(!same_as<detail::bare<C>, const_bytes> && !same_as<detail::bare<C>, bytes> && detail::outlives_call<C>)
  const_bytes(C&& container) : const_bytes{static_cast<const void*>(container.data()), container.size()} {}

  [[nodiscard]] constexpr const u8* data() const { return data_; }
  [[nodiscard]] constexpr usize size() const { return size_; }
  [[nodiscard]] constexpr bool empty() const { return size_ == 0; }

  [[nodiscard]] const_bytes part(usize offset, usize count) const {
    if (offset >= size_) return {};
    return {data_ + offset, detail::smaller(count, size_ - offset)};
  }
};

/// The object representation of `object`.
template <class T>
  requires(__is_trivially_copyable(T))
[[nodiscard]] bytes as_bytes(T& object) {
  return {&object, sizeof(T)};
}

/// The characters of a literal without its terminating NUL.
template <usize N>
[[nodiscard]] const_bytes text(const char (&literal)[N]) {
  return {literal, N - 1};
}

/// A list of byte ranges that together are one buffer: a pointer and a count, owned by the caller.
template <class Range>
struct scatter {
  const Range* first = nullptr;
  usize count = 0;

  constexpr scatter() = default;
  constexpr scatter(const Range* ranges, usize n) : first{ranges}, count{n} {}
  template <usize N>
  constexpr scatter(const Range (&ranges)[N]) : scatter{ranges, N} {}

  [[nodiscard]] constexpr const Range* begin() const { return first; }
  [[nodiscard]] constexpr const Range* end() const { return first + count; }

  /// All bytes of all ranges.
  [[nodiscard]] constexpr u64 size() const {
    u64 sum = 0;
    for (const Range& range : *this) sum += range.size();
    return sum;
  }
};

}  // namespace virtio
