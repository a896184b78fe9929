// SPDX-License-Identifier: MIT
// Every host of hosts.hpp as a machine with all of its devices, found by a bus scan. A test runs over all of them:
// `on_each_host(device_type::block, [](auto& m) {...})`. hosts.cpp makes the devices, so that a test compiles only its
// own model.
#pragma once

#include <catch2/catch_test_macros.hpp>

#include <virtio/mmio.hpp>
#include <virtio/testing/fake_mmio.hpp>
#include <virtio/testing/hosts.hpp>

#include "machine.hpp"

namespace rig {

using virtio::testing::host_description;

inline constexpr device_type driven_types[] = {device_type::block,   device_type::entropy, device_type::vsock,
                                               device_type::balloon, device_type::console, device_type::network,
                                               device_type::scsi};

/// The host's device of this type; null: it has none.
std::unique_ptr<device_model> made_by(const host_description& monitor, device_type type, device_memory& memory);

/// A PCI bus for a board that writes configuration space in 16 bits: one type of driver for all hosts.
struct pci_board {
  using host = virtio::testing::fake_host16;
  using transport = pci::transport<host>;
  using location = pci::found<host>;

  virtio::testing::fake_pci devices;

  void place(const host_description& as, device_model& model, u8 slot);
  void populate(const host_description& as) { devices.populate(as.behaviour); }
  [[nodiscard]] host bus() { return host{devices.host()}; }
  [[nodiscard]] std::vector<std::string> violations() const { return devices.violations(); }
  [[nodiscard]] static verdict verdict_of(const location& one) { return one.seen.why; }
  template <class Visit>
  void scan(Visit&& visit) {
    pci::for_each(bus(), visit);
  }
  [[nodiscard]] result<location> find(device_type type) { return pci::find(bus(), type); }
};

struct mmio_board {
  using host = virtio::testing::fake_mmio::bus_type;
  using transport = mmio::transport<host>;
  using location = mmio::found<host>;

  virtio::testing::fake_mmio devices;

  void place(const host_description& as, device_model& model, u8) { devices.place(model, as.behaviour); }
  void populate(const host_description&) {}
  [[nodiscard]] host bus() { return devices.bus(); }
  [[nodiscard]] std::vector<std::string> violations() const { return devices.violations(); }
  template <class Visit>
  void scan(Visit&& visit) {
    mmio::for_each(bus(), visit);
  }
  [[nodiscard]] result<location> find(device_type type) { return mmio::find(bus(), type); }
};

/// A host with all of its devices. A violation reported by any of them fails the test.
template <class Board>
struct host_machine {
  using board_type = Board;

  const host_description& host;
  virtio::testing::strict_machine memory;
  Board board;
  std::vector<std::unique_ptr<device_model>> models;
  bool expect_objections = false;

  explicit host_machine(const host_description& of) : host{of} {
    memory.on_wait = [this](waiting, u64) {
      for (auto& one : models) (void)one->step();
    };
    if (!of.behaviour.device.ram.empty()) memory.shared_base = 0x2000'0000;  // guests of this host have memory there
    board.populate(of);
    u8 slot = 1;
    std::vector<device_type> order;
    for (const u16 type : of.behaviour.pci.order) order.push_back(static_cast<device_type>(type));
    for (const device_type type : driven_types)
      if (std::find(order.begin(), order.end(), type) == order.end()) order.push_back(type);
    for (const device_type type : order)
      if (auto made = made_by(of, type, memory.memory)) {
        board.place(of, *made, slot++);
        models.push_back(std::move(made));
      }
  }
  host_machine(const host_machine&) = delete;
  ~host_machine() {
    if (expect_objections) return;
    for (const auto& what : objections()) FAIL_CHECK(what);
    CHECK(memory.live() == 0);
  }

  [[nodiscard]] std::vector<std::string> objections() const {
    std::vector<std::string> all = memory.violations();
    for (const auto& what : board.violations()) all.push_back(what);
    return all;
  }
  [[nodiscard]] device_model& model(device_type type) {
    for (auto& one : models)
      if (one->type() == static_cast<u16>(type)) return *one;
    throw std::runtime_error("no such device");
  }
  template <class Model>
  [[nodiscard]] Model& as(device_type type) {
    return static_cast<Model&>(model(type));
  }
  [[nodiscard]] platform_type platform() { return {&memory}; }
  [[nodiscard]] typename Board::location where(device_type type) {
    const auto found = board.find(type);
    REQUIRE(found);
    return *found;
  }
};

/// Packed where the host offers it, split otherwise; of the size that a legacy device reports.
using host_queue = queue<16, ring_options{.indirect = 8, .ring_entries = 256}>;

/// Runs `body(machine)` on every host that has a device of this type.
template <class Body>
void on_each_host(device_type type, Body&& body) {
  device_memory none;
  for (const host_description& one : host_description::all()) {
    if (made_by(one, type, none) == nullptr) continue;
    DYNAMIC_SECTION(one.name()) {
      if (one.is_mmio()) {
        host_machine<mmio_board> m{one};
        body(m);
      } else {
        host_machine<pci_board> m{one};
        body(m);
      }
    }
  }
}

}  // namespace rig

#ifdef VIRTIO_TEST_ONE_UNIT
#include "hosts.cpp"
#endif
