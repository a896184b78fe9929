// SPDX-License-Identifier: MIT
// Legacy devices on any processor, for tests of transports that serve only those. machine::add makes them for the usual
// transport.
#pragma once

#include "machine.hpp"

namespace rig {

/// As machine::add(seat::legacy, ...).
template <class Model, class... Arguments>
Model& add_legacy(machine& m, u8 slot, Arguments&&... arguments) {
  auto one = std::make_unique<Model>(m.memory.memory, std::forward<Arguments>(arguments)...);
  Model& model = *one;
  m.models.push_back(std::move(one));
  m.bus.qemu_legacy({0, 0, slot, 0}, model);
  return model;
}

}  // namespace rig
