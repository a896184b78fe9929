// SPDX-License-Identifier: MIT
// libFuzzer: a socket driver with arbitrary received packets, and calls between them. The bytes are a script of
// tests/support.
#include "vsock_script.hpp"

extern "C" int LLVMFuzzerTestOneInput(const virtio::u8* bytes, virtio::usize size) {
  if (size == 0) return 0;
  if ((bytes[0] & 1) != 0) rig::vsock_script<virtio::packed_queue<16>>{}.run({bytes + 1, size - 1});
  else rig::vsock_script<virtio::split_queue<16>>{}.run({bytes + 1, size - 1});
  return 0;
}
