// SPDX-License-Identifier: MIT
// The machine under the devices, and its two buses as boards: functions of PCI, and MMIO slots.
#pragma once

#include <virtio/mmio.hpp>
#include <virtio/pci.hpp>
#include <virtio/version.hpp>

#if defined(__aarch64__)
#include "machine_aarch64.hpp"
#elif defined(__riscv)
#include "machine_riscv64.hpp"
#else
#include "machine_x86.hpp"
#endif
#if defined(__x86_64__)
#include "pc_config.hpp"
#endif
#include "pci.hpp"

namespace lsvirtio {

/// A few seconds for all waits together: a device that never answers must not block the report.
template <class Board>
struct hasty : Board {
  bool keep_waiting(virtio::waiting, u64 attempt) const { return boot::wait_within(attempt, 3'000); }
};

#if defined(__x86_64__)
using pci_board = hasty<pc_board>;
#else
using pci_board = hasty<board>;
#endif

using slots_found = decltype(find_slots());
struct slots_board_base : memory_half {
  using slot_space = slots_found::slot_space;
  static inline slots_found row{};
  [[nodiscard]] slot_space slot(usize n) const { return row.slot(n); }
  [[nodiscard]] usize slot_count() const { return row.slot_count(); }
};
using mmio_board = hasty<slots_board_base>;

static_assert(virtio::pci::host<pci_board> && virtio::platform<pci_board>);
static_assert(virtio::mmio::bus<mmio_board> && virtio::platform<mmio_board>);

/// Finds configuration space that the board does not know, and prints its address.
template <class Board>
void show_configuration_space(writer& out) {
  if constexpr (requires { Board::find(); }) {
    Board::find();
    Board::show(out);
  }
}

inline void show_machine(writer& out) {
  out.begin("machine", "version", "virtio ", VIRTIO_VERSION_MAJOR, ".", VIRTIO_VERSION_MINOR, ".",
            VIRTIO_VERSION_PATCH);
  show_processor(out);
  show_entry(out);
  show_configuration_space<pci_board>(out);
  show_host(out, pci_board{});
  out.list("memory");
  each_memory([&](u64 from, u64 bytes, const char* kind) {
    out.item();
    out.hex("from", from);
    out.hex("bytes", bytes);
    out.text("kind", kind);
    out.close();
  });
  out.close();
  out.close();
}

}  // namespace lsvirtio
