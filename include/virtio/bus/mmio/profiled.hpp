// SPDX-License-Identifier: MIT
// MMIO slots with the profile of their host. Layer: bus/mmio.
#pragma once

#include <virtio/base/profile.hpp>
#include <virtio/bus/mmio/slots.hpp>

namespace virtio::mmio {

/// The bus `B` with a profile, as `pci::profiled`: every location carries its quirks. Slots have no vendor ids, so the
/// ids of the profile are not used.
template <bus B>
struct profiled : B {
  const hosts::profile* profile = nullptr;  // null: no quirks

  /// Returns the quirks of the profile; `bus` concept, item 4.
  [[nodiscard]] constexpr host_quirks quirks() const { return profile != nullptr ? profile->quirks : host_quirks{}; }
};

/// Returns the bus without a profile: slots do not identify their host. Programs choose a profile by name.
template <bus B>
[[nodiscard]] profiled<B> detected(const B& b) {
  return {b, nullptr};
}

}  // namespace virtio::mmio
