// SPDX-License-Identifier: MIT
// The example's board without its boot runtime: only the library and the four memory functions remain.
#pragma once

#include <virtio/pci.hpp>
#include <virtio/platform/identity.hpp>

namespace bus = virtio::pci;

struct board : virtio::pci::cf8<>, virtio::identity_platform<> {
  template <class... Why>
  static int fail(const char* what, const Why&...) {
    return what[0];
  }
};
