// SPDX-License-Identifier: MIT
// lsvirtio: the virtio devices of this machine, with the reason for each that cannot be used. The output is for bug
// reports. On the command line: json=1 prints JSON, one object a line; live=0 leaves out checks that need a driver;
// tools/lsvirtio --help lists all options.
#include "checks.hpp"
#include "machine.hpp"

namespace {

using namespace lsvirtio;

writer out;
struct {
  unsigned rejected, functions, slots, empty_slots, silent_slots;
  unsigned devices, usable, bound;  // of virtio; a driver may have bound those that are usable
} counted;

template <class Board, class Transport>
constinit checks<Board, Transport> drivers{};

/// Prints the features, queues and configuration of a usable device, and the result of its driver.
template <class Board, class Transport>
void show_usable(const typename Transport::location& one) {
  ++counted.usable;
  show_device<Board, Transport>(out, Board{}, one);
  if (!(boot::option("live") == "0") && drivers<Board, Transport>.run(out, Board{}, one)) ++counted.bound;
}

/// Prints the devices of the machine's description that the machine cannot use.
void show_rejected() {
  each_rejected([](const char* what, u64 address, boot::text word, const char* reason) {
    ++counted.rejected;
    out.begin("rejected", "address", boot::hex{address});
    out.text("what", what);
    if (word) out.text("word", word);
    out.text("reason", reason);
    out.close();
  });
}

// With the host's profile, which the drivers use.
using pci_bus = virtio::pci::profiled<pci_board>;

void show_functions() {
  each_function(virtio::pci::detected(pci_board{}), [](const virtio::pci::found<pci_bus>& one) {
    ++counted.functions;
    if (boot::is_virtio(one.seen.why)) ++counted.devices;
    begin_function(out, one);
    if (one.seen.why == virtio::verdict::usable) show_usable<pci_board, virtio::pci::transport<pci_bus>>(one);
    out.close();
  });
}

void show_slots() {
  virtio::mmio::for_each(mmio_board{}, [](const virtio::mmio::found<mmio_board>& one) {
    ++counted.slots;
    if (one.seen.why == virtio::verdict::empty_slot) ++counted.empty_slots;
    if (one.seen.why == virtio::verdict::not_virtio_mmio) ++counted.silent_slots;
    if (!boot::is_virtio(one.seen.why)) return;
    ++counted.devices;
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
  show_rejected();
  show_functions();
  show_slots();
  out.begin("end", "status", "complete");
  out.number("rejected", counted.rejected);
  out.number("functions", counted.functions);
  out.number("slots", counted.slots);
  out.number("empty_slots", counted.empty_slots);
  out.number("slots_without_registers", counted.silent_slots);
  out.number("virtio_devices", counted.devices);
  out.number("usable", counted.usable);
  out.number("bound", counted.bound);
  out.close();
  return 0;
}
