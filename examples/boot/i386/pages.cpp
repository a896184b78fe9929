// SPDX-License-Identifier: MIT
#include "pages.hpp"

namespace boot {

bool map_device_memory(uint64_t at, uint64_t size) {
  constexpr uint64_t end = uint64_t{1} << 32;
  return at < end && size <= end - at;  // paging is off
}

}  // namespace boot
