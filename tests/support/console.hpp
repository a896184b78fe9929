// SPDX-License-Identifier: MIT
// Shared by tests of the console driver.
#pragma once

#include <initializer_list>
#include <string>

#include <virtio/console.hpp>
#include <virtio/testing/console_model.hpp>

#include "machine.hpp"

namespace rig {

using virtio::testing::console_model;
using console_offers = std::initializer_list<unsigned>;

inline constexpr console::limits one_small_port{.receive_bytes = 16, .send_bytes = 16};
inline constexpr console::limits three_small_ports{.ports = 3, .receive_bytes = 16, .send_bytes = 16, .name_bytes = 7};

template <class Queue = split_queue<8>, console::limits L = one_small_port>
using console_driver = driver<console::device<platform_type, any_pci, Queue, L>>;
template <class Queue = split_queue<8>>
using ports_driver = console_driver<Queue, three_small_ports>;

/// This many letters of the alphabet.
inline std::string letters(usize count) {
  std::string out;
  for (usize i = 0; i < count; ++i) out += static_cast<char>('a' + i % 23);
  return out;
}

/// The bytes that can be received now.
template <class Driver>
std::string received(Driver& d, u16 port = 0) {
  std::string out;
  for (char some[7];;) {
    const auto got = d->try_receive(bytes{some, sizeof some}, port);
    if (!got) return out;
    out.append(some, *got);
  }
}

/// A console with three ports: a console, a port whose name has seven characters, and one that does not exist.
inline console_model& with_ports(machine& m, seat where = seat::modern) {
  auto& model = m.add<console_model>(where, 4, console_offers{1}, usize{3}, u16{16});
  model.ports[0].is_console = true;
  model.ports[1].name = "agent.1";
  model.ports[2].there = false;
  return model;
}

/// Runs both sides until driver and device have exchanged all port messages.
template <class Driver>
void settle(Driver& d, console_model& model) {
  for (int i = 0; i < 4; ++i) {
    (void)model.step();
    REQUIRE(d->poll());
  }
}

}  // namespace rig
