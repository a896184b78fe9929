// SPDX-License-Identifier: MIT
// MMIO slots with the profile of the host that they are on. Layer: bus/mmio.
#pragma once

#include <virtio/base/profile.hpp>
#include <virtio/bus/mmio/slots.hpp>

namespace virtio::mmio {

/// The bus `B` with a profile, as `pci::profiled` has it: every location carries its quirks. Slots have no ids, so that
/// no profile's ids count here.
template <bus B>
struct profiled : B {
  const hosts::profile* profile = nullptr;

  [[nodiscard]] constexpr host_quirks quirks() const { return profile != nullptr ? profile->quirks : host_quirks{}; }
};

/// The bus without a profile: nothing in slots says which host they are on. One is given by name.
template <bus B>
[[nodiscard]] profiled<B> detected(const B& b) {
  return {b, nullptr};
}

}  // namespace virtio::mmio
