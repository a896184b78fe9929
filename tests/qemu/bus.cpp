// SPDX-License-Identifier: MIT
// The bus: what discovery says of every function of a machine.
#include "guest.hpp"

namespace cell {
namespace {

void put_hex(u64 value, usize digits) {
  while (digits-- != 0) boot::put("0123456789abcdef"[value >> (4 * digits) & 15]);
}

/// One line a function; the host script knows what must be there.
void list() {
  usize functions = 0, undecided = 0;
  virtio::pci::for_each(machine(), [&](const location& one) {
    boot::print("function ");
    put_hex(one.id.bus, 2);
    boot::print(":");
    put_hex(one.id.slot, 2);
    boot::print(".", one.id.function, " ");
    put_hex(one.who.vendor, 4);
    boot::print(":");
    put_hex(one.who.device, 4);
    boot::print(" ", virtio::name(one.seen.type), ", ", virtio::name(one.seen.via), ": ", virtio::describe(one.seen.why), "\n");
    ++functions;
    if (one.seen.why == virtio::verdict::undecided) ++undecided;
  });
  CHECK(functions != 0);
  CHECK_EQUAL(undecided, 0u);
}

/// Nothing there, or nothing that can be driven: the right words for it.
void absent() {
  const errc wanted = error_named("error");
  CHECK_ERROR(virtio::pci::find(machine(), device_type::block), wanted);
  CHECK_ERROR(virtio::pci::find_nth(machine(), device_type::block, 0), wanted);
  CHECK_ERROR(virtio::pci::find(machine(), device_type::entropy), wanted);
}

}  // namespace

bool run_bus(boot::text word) {
  if (word == "list") list();
  else if (word == "absent") absent();
  else return false;
  return true;
}

}  // namespace cell
