// SPDX-License-Identifier: MIT
// What the loader has left: the host says which it was, and compares what one and the other have told of the same machine.
#include "loader.hpp"

#include "acpi.hpp"
#include "guest.hpp"

namespace cell {

bool run_loader(boot::text word) {
  if (!(word == "loader")) return false;
  boot::print("entered by ", boot::name(boot::loaded().by), "\n");
  boot::print_memory_map();
  const auto processors = boot::find_table(virtio::text("APIC"));  // a loader may give a copy of the RSDP, but not of the tables
  if (processors.error() == errc::not_found) {
    boot::print("no ACPI\n");
    return true;
  }
  CHECK_OK(processors);
  boot::print("ACPI: processors at ", boot::hex(processors->data()), "\n");
  return true;
}

}  // namespace cell
