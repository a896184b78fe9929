// SPDX-License-Identifier: MIT
// The bus: the verdicts of discovery about every function of a machine.
#include "guest.hpp"

namespace cell {
namespace {

/// Prints one line for each function; the host script has the expected lines.
void list() {
  usize functions = 0, undecided = 0;
  bus::for_each(machine(), [&](const location& one) {
    print_function(one);
    ++functions;
    if (one.seen.why == virtio::verdict::undecided) ++undecided;
  });
  if constexpr (virtio::pci::host<bench>) CHECK(functions != 0);  // a loader may report no slots
  CHECK_EQUAL(undecided, 0u);
}

/// No device, or none that can be driven: checks the messages.
void absent() {
  const errc wanted = error_named("error");
  CHECK_ERROR(bus::find(machine(), device_type::block), wanted);
  CHECK_ERROR(bus::find_nth(machine(), device_type::block, 0), wanted);
  CHECK_ERROR(bus::find(machine(), device_type::entropy), wanted);
}

}  // namespace

bool run_bus(boot::text word) {
  if (word == "list") list();
  else if (word == "absent") absent();
  else return false;
  return true;
}

}  // namespace cell
