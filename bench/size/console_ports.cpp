// SPDX-License-Identifier: MIT
// what: the same with several ports: find one by its name, open it
#include <virtio/console.hpp>

#include "programs.hpp"

namespace {

using console_t = console::device<board, pci::modern<board>, split_queue<16>, console::limits{.ports = 4}>;
constinit dma_storage<console_t::dma_bytes> console_dma;
constinit console_t terminal;

}  // namespace

extern "C" int counted_program(u64 bytes_wanted, u8* to) {
  if (const errc up = find_and_start<board>(terminal, device_type::console, console_dma); up != errc::ok)
    return code(up);
  const const_bytes name = text("org.example.agent");
  const errc waited = terminal.wait_until(waiting::connect, [&] { return terminal.find_named(name).has_value(); });
  if (waited != errc::ok) return code(waited);
  const auto port = terminal.find_named(name);
  if (const auto opened = terminal.open(*port); !opened) return code(opened.error());
  if (const auto sent = terminal.send(text("hello\n"), *port); !sent) return code(sent.error());
  return code(terminal.receive(bytes{to, static_cast<usize>(bytes_wanted)}, *port).error());
}
