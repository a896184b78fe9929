// SPDX-License-Identifier: MIT
// Short texts: comparison, and composition in memory of fixed size.
#pragma once

#include <virtio/base/bytes.hpp>

using virtio::bytes, virtio::const_bytes, virtio::text, virtio::u16, virtio::u32, virtio::u64, virtio::u8,
    virtio::usize;

[[nodiscard]] constexpr u8 lower(u8 c) { return c >= 'A' && c <= 'Z' ? static_cast<u8>(c + 32) : c; }
[[nodiscard]] constexpr bool is_digit(u8 c) { return c >= '0' && c <= '9'; }

/// Returns a terminated text without its terminator.
[[nodiscard]] inline const_bytes text_of(const char* s) {
  usize size = 0;
  while (s[size] != '\0') ++size;
  return {s, size};
}

/// Returns whether two texts are equal, apart from the case of ASCII letters.
[[nodiscard]] inline bool alike(const_bytes a, const_bytes b) {
  usize i = 0;
  while (i < a.size() && i < b.size() && lower(a.data()[i]) == lower(b.data()[i])) ++i;
  return i == a.size() && i == b.size();
}

[[nodiscard]] inline bool ends_with(const_bytes whole, const_bytes part) {
  return whole.size() >= part.size() && alike(whole.part(whole.size() - part.size(), part.size()), part);
}
[[nodiscard]] inline bool begins_with(const_bytes whole, const_bytes part) {
  return alike(whole.part(0, part.size()), part);
}

/// Returns the offset of `c`, or the size if it does not occur.
[[nodiscard]] inline usize find(const_bytes in, char c) {
  usize i = 0;
  while (i < in.size() && in.data()[i] != static_cast<u8>(c)) ++i;
  return i;
}

/// Text that grows up to the given room; without memory it only counts.
class writer {
 public:
  writer() = default;
  explicit writer(bytes into) : memory_{into} {}

  [[nodiscard]] usize room() const { return memory_.data() == nullptr ? ~usize{0} : memory_.size() - size_; }
  [[nodiscard]] usize size() const { return size_; }
  [[nodiscard]] const_bytes written() const { return bytes{memory_}.part(0, size_); }

  void put(char c) {
    if (room() == 0) return;
    if (memory_.data() != nullptr) memory_.data()[size_] = static_cast<u8>(c);
    ++size_;
  }
  void put(const_bytes s) {
    for (usize i = 0; i < s.size(); ++i) put(static_cast<char>(s.data()[i]));
  }
  void put(const char* s) { put(text_of(s)); }
  void put(u64 n) {
    if (n >= 10) put(n / 10);
    put(static_cast<char>('0' + n % 10));
  }
  void put(u32 n) { put(u64{n}); }
  template <class... Parts>
    requires(sizeof...(Parts) > 1)
  void put(const Parts&... parts) {
    (put(parts), ...);
  }

 private:
  bytes memory_{};
  usize size_ = 0;
};
