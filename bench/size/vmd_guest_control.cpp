// SPDX-License-Identifier: MIT
// what: the same, and vmd's control device: start + clock + requests + power-off
#include <virtio/vmmci.hpp>

#include "vmd_guest.hpp"

namespace {

constinit vmmci::device<board_with_ports, pci::transport<machine>> control;

}  // namespace

extern "C" int counted_program(u64 sector, u8* to) {
  machine here;
  if (const errc ended = read_and_fill(here, sector, to); ended != errc::ok) return code(ended);
  const auto where = pci::find(here, device_type::vmmci);
  if (!where) return code(where.error());
  if (const auto up = control.start(board_with_ports{}, *where); !up) return code(up.error());
  const auto asked = control.next_request();
  if (!asked && asked.error() != errc::not_ready) return code(asked.error());
  if (asked) return code(control.power_off().error());
  const auto now = control.clock();
  return now ? static_cast<int>(now->seconds) : code(now.error());
}
