// SPDX-License-Identifier: MIT
// what: no driver: each PCI function with its verdict in words
#include "programs.hpp"

extern "C" int counted_program(u64, u8*) {
  int usable = 0;
  pci::for_each(board_with_ports{}, [&](const pci::found<board_with_ports>& one) {
    counted_put(name(one.seen.type));
    counted_put(describe(one.seen.why));
    counted_put(name(one.seen.via));
    counted_put(name(static_cast<pci::structure>(one.seen.capability)));
    usable += one.seen.why == verdict::usable;
  });
  return usable;
}
