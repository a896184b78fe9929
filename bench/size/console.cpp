// SPDX-License-Identifier: MIT
// what: console: find + start + send + receive, one port
#include <virtio/console.hpp>

#include "programs.hpp"

namespace {

using console_t = console::device<board, pci::modern<board>, split_queue<16>>;
constinit dma_storage<console_t::dma_bytes> console_dma;
constinit console_t terminal;

}  // namespace

extern "C" int counted_program(u64 bytes_wanted, u8* to) {
  if (const errc up = find_and_start<board>(terminal, device_type::console, console_dma); up != errc::ok)
    return code(up);
  if (const auto sent = terminal.send(text("hello\n")); !sent) return code(sent.error());
  return code(terminal.receive(bytes{to, static_cast<usize>(bytes_wanted)}).error());
}
