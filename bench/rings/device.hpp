// SPDX-License-Identifier: MIT
// The other side of the ring, as little as will do: takes every chain that is offered, says it wrote one byte, and asks to be
// told of the next. Written from the specification (2.7), without the library's structures.
#pragma once

#include <cstdint>
#include <cstring>

namespace bench {

class device {
 public:
  device(unsigned char* available, unsigned char* used, unsigned entries)
      : available_{available}, used_{used}, entries_{entries} {}

  void serve() {
    const std::uint16_t offered = half(available_ + 2);
    for (; served_ != offered; ++served_) {
      const std::uint32_t element[2] = {half(available_ + 4 + 2 * (served_ % entries_)), 1};
      std::memcpy(used_ + 4 + 8 * (served_ % entries_), element, sizeof element);
    }
    __atomic_thread_fence(__ATOMIC_RELEASE);
    std::memcpy(used_ + 2, &served_, 2);
    std::memcpy(used_ + 4 + 8 * entries_, &served_, 2);
  }

 private:
  static std::uint16_t half(const unsigned char* at) {
    std::uint16_t value;
    std::memcpy(&value, at, 2);
    return value;
  }

  unsigned char* available_;
  unsigned char* used_;
  unsigned entries_;
  std::uint16_t served_ = 0;
};

}  // namespace bench
