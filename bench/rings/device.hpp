// SPDX-License-Identifier: MIT
// The device's sides of the rings, as small as possible: each takes every available chain, reports one written byte,
// and requests a notification of the next chain. In order it returns all by one entry. Written from the specification
// (2.7, 2.8), without the library's structures. Little-endian hosts.
#pragma once

#include <cstdint>
#include <cstring>

namespace bench {

template <class T>
T get(const unsigned char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
template <class T>
void put(unsigned char* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

class split_device {
 public:
  split_device(unsigned char* /*descriptors*/, unsigned char* available, unsigned char* used, unsigned entries,
               bool in_order)
      : available_{available}, used_{used}, entries_{entries}, in_order_{in_order} {}

  void serve() {
    const auto offered = get<std::uint16_t>(available_ + 2);
    unsigned char* element = used_ + 4 + 8 * (served_ % entries_);
    for (; served_ != offered; ++served_) {
      if (!in_order_) element = used_ + 4 + 8 * (served_ % entries_);
      put<std::uint32_t>(element, get<std::uint16_t>(available_ + 4 + 2 * (served_ % entries_)));
      put<std::uint32_t>(element + 4, 1);
    }
    __atomic_thread_fence(__ATOMIC_RELEASE);
    put(used_ + 2, served_);
    put(used_ + 4 + 8 * entries_, served_);
  }

 private:
  unsigned char* available_;
  unsigned char* used_;
  unsigned entries_;
  bool in_order_;
  std::uint16_t served_ = 0;
};

class packed_device {
 public:
  packed_device(unsigned char* descriptors, unsigned char* /*driver*/, unsigned char* events, unsigned entries,
                bool in_order)
      : descriptors_{descriptors}, events_{events}, entries_{entries}, in_order_{in_order} {}

  void serve() {
    unsigned char* const oldest = place(at_);
    const bool lap = wrap_;
    bool any = false;
    std::uint16_t id = 0;
    while (is_available(at_)) {
      unsigned last = at_;
      while ((get<std::uint16_t>(place(last) + 14) & 1) != 0) last = last + 1 == entries_ ? 0 : last + 1;
      const unsigned count = (last + entries_ - at_) % entries_ + 1;
      id = get<std::uint16_t>(place(last) + 12);
      any = true;
      if (!in_order_) give_back(place(at_), id, wrap_);
      at_ += count;
      if (at_ < entries_) continue;
      at_ -= entries_;
      wrap_ = !wrap_;
    }
    if (in_order_ && any) give_back(oldest, id, lap);
    put<std::uint32_t>(events_, 2u << 16 | (wrap_ ? 0x8000u : 0u) | at_);
  }

 private:
  unsigned char* place(unsigned n) { return descriptors_ + 16 * n; }
  static void give_back(unsigned char* used, std::uint16_t id, bool lap) {
    put(used + 12, id);
    put<std::uint32_t>(used + 8, 1);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    put<std::uint16_t>(used + 14, lap ? 0x8080 : 0);
  }
  bool is_available(unsigned n) {
    const auto flags = get<std::uint16_t>(place(n) + 14);
    return ((flags & 0x80) != 0) == wrap_ && ((flags & 0x8000) != 0) != wrap_;
  }

  unsigned char* descriptors_;
  unsigned char* events_;
  unsigned entries_;
  bool in_order_;
  unsigned at_ = 0;
  bool wrap_ = true;
};

}  // namespace bench
