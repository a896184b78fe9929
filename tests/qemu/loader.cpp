// SPDX-License-Identifier: MIT
// The state that the loader left: the host knows which loader it was, and compares the reports of different loaders
// about the same machine.
#include "loader.hpp"

#include "acpi.hpp"
#include "guest.hpp"

namespace cell {

bool run_loader(boot::text word) {
  if (!(word == "loader")) return false;
  boot::print("entered by ", boot::name(boot::loaded().by), "\n");
  boot::print_memory_map();
  const auto processors = boot::find_table(virtio::text("APIC"));  // a loader may copy the RSDP, but not the tables
  if (processors.error() == errc::not_found) {
    boot::print("no ACPI\n");
    return true;
  }
  CHECK_OK(processors);
  boot::print("ACPI: processors at ", boot::hex(processors->data()), "\n");
  return true;
}

}  // namespace cell
