// SPDX-License-Identifier: MIT
// what: one image for OpenBSD's vmd and other hosts: host detected, disk find + start + read(), entropy find + start +
// fill()
#include "vmd_guest.hpp"

extern "C" int counted_program(u64 sector, u8* to) {
  machine here;
  if (const errc ended = read_and_fill(here, sector, to); ended != errc::ok) return code(ended);
  const auto where = pci::find(here, device_type::vmmci);
  return code(where.error());
}
