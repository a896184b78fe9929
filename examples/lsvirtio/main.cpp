// SPDX-License-Identifier: MIT
// lsvirtio: what virtio is there on this machine, with the reason for everything that cannot be used. Made to be pasted into a report.
// On the command line: json=1 prints JSON, one object a line; live=0 leaves out what needs a driver; vsock_port=NUMBER is what the socket
// check connects to.
#include "checks.hpp"

namespace {

using namespace lsvirtio;

writer out;
unsigned empty_slots, silent_slots;

/// What is behind the registers of a device that discovery has found usable, and what a driver makes of it.
template <class Board, class Transport>
void show_usable(const typename Transport::location& one) {
  show_device<Board, Transport>(out, Board{}, one);
  if (!(boot::option("live") == "0")) checks<Board, Transport>::run(out, one);
}

void show_functions() {
  virtio::pci::for_each(pci_board{}, [](const virtio::pci::found<pci_board>& one) {
    begin_function(out, one);
    if (one.seen.why == virtio::verdict::usable) show_usable<pci_board, virtio::pci::transport<pci_board>>(one);
    out.close();
  });
}

void show_slots() {
  virtio::mmio::for_each(mmio_board{}, [](const virtio::mmio::found<mmio_board>& one) {
    if (one.seen.why == virtio::verdict::empty_slot) ++empty_slots;
    if (one.seen.why == virtio::verdict::not_virtio_mmio) ++silent_slots;
    if (one.seen.why == virtio::verdict::not_virtio_mmio || one.seen.why == virtio::verdict::empty_slot) return;
    out.begin("slot", "address", boot::hex{address_of(slots_board_base::row, one.slot)});
    out.number("slot", one.slot);
    show_slot(out, slots_board_base::row, one.slot);
    out.text("vendor", digits{one.vendor, 8});
    show_report(out, one.seen);
    if (one.seen.why == virtio::verdict::usable) show_usable<mmio_board, virtio::mmio::transport<mmio_board>>(one);
    out.close();
  });
}

}  // namespace

extern "C" int guest_main(const char*) {
  if (boot::option("json") == "1") out.as = form::json;
  show_machine(out);
  slots_board_base::row = find_slots();
  show_functions();
  show_slots();
  out.begin("end", "status", "complete");
  if (empty_slots != 0) out.number("empty_slots", empty_slots);
  if (silent_slots != 0) out.number("slots_without_registers", silent_slots);
  out.close();
  return 0;
}
