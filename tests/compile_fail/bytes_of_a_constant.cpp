// SPDX-License-Identifier: MIT
// case: a constant object cannot be a buffer to write into
// gcc: (convert|conversion from) 'const virtio::u8
// clang: no viable conversion from 'const virtio::u8
#include <virtio/base/bytes.hpp>

constexpr virtio::u8 sector[512]{};

virtio::usize size() {
#if defined(FAIL)
  const virtio::bytes buffer = sector;
#else
  const virtio::const_bytes buffer = sector;
#endif
  return buffer.size();
}
