// SPDX-License-Identifier: MIT
// The parts of a machine with a device tree that the processor reaches.
#pragma once

#include "runtime.hpp"

namespace boot {

/// Removes the parts from the description that the processor does not reach, by `reach(range)`: console, test finisher,
/// slots, PCI hosts. Prints the removed hosts.
template <class Reach>
void keep_reached(machine_description& of, Reach&& reach) {
  if (!reach(of.console)) of.console = {};
  if (!reach(of.test_finisher)) of.test_finisher = {};
  for (size_t i = 0; i < of.slot_count; ++i)
    if (!reach(of.slots[i])) of.slots[i].size = 0;
  keep_reached_hosts(of, reach);
  for (size_t i = 0; i < of.unreached_count; ++i)
    print("PCI host at ", hex(of.unreached_hosts[i].base), ": the processor does not reach its configuration space\n");
}

}  // namespace boot
