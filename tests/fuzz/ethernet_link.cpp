// SPDX-License-Identifier: MIT
// libFuzzer: a network link on an arbitrary stream of frames. The bytes are a script of tests/support.
#include "ethernet_script.hpp"

extern "C" int LLVMFuzzerTestOneInput(const virtio::u8* bytes, virtio::usize size) {
  if (size != 0) rig::ethernet_script{}.run({bytes, size});
  return 0;
}
