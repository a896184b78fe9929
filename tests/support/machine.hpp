// SPDX-License-Identifier: MIT
// A machine for driver tests: a PCI bus of device models, a platform that bounces and poisons, and drivers that meet there
// over real transports. At the end of a test everything that anybody objected to fails it.
#pragma once

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include <virtio/testing/blk_model.hpp>
#include <virtio/testing/fake_pci.hpp>
#include <virtio/testing/hooked_barriers.hpp>
#include <virtio/testing/rng_model.hpp>
#include <virtio/testing/strict_platform.hpp>
#include <virtio/virtio.hpp>

namespace rig {

using namespace virtio;
using virtio::testing::blk_model;
using virtio::testing::blk_options;
using virtio::testing::rng_model;

using host = virtio::testing::fake_host;
using platform_type = virtio::testing::strict_platform<>;
using any_pci = pci::transport<host>;
using modern_pci = pci::modern<host>;
using legacy_pci = pci::legacy<host>;

/// How a device model sits on the bus.
enum class seat { modern, transitional, legacy, crosvm, vmd };

[[nodiscard]] inline const char* name(seat s) {
  constexpr const char* names[] = {"QEMU modern", "QEMU transitional", "QEMU legacy", "crosvm", "vmd"};
  return names[static_cast<int>(s)];
}

struct machine {
  virtio::testing::strict_machine memory;
  virtio::testing::fake_pci bus;
  std::vector<std::unique_ptr<virtio::testing::device_model>> models;
  bool running = true;         // whether devices work while a driver waits
  bool expect_objections = false;

  machine() {
    memory.on_wait = [this](waiting, u64) {
      if (running)
        for (auto& one : models) (void)one->step();
    };
  }
  machine(const machine&) = delete;
  ~machine() {
    if (expect_objections) return;
    for (const auto& what : objections()) FAIL_CHECK(what);
    CHECK(memory.live() == 0);
  }

  [[nodiscard]] std::vector<std::string> objections() const {
    std::vector<std::string> all = memory.violations();
    for (const auto& what : bus.violations()) all.push_back(what);
    return all;
  }

  template <class Model, class... Arguments>
  Model& add(seat where, u8 slot, Arguments&&... arguments) {
    auto made = std::make_unique<Model>(memory.memory, std::forward<Arguments>(arguments)...);
    Model& model = *made;
    models.push_back(std::move(made));
    const pci::address at{0, 0, slot, 0};
    switch (where) {
      case seat::modern: bus.qemu_modern(at, model); break;
      case seat::transitional: bus.qemu_transitional(at, model); break;
      case seat::legacy: bus.qemu_legacy(at, model); break;
      case seat::crosvm: bus.crosvm(at, model); break;
      case seat::vmd: bus.vmd_modern(at, model); break;
    }
    return model;
  }

  [[nodiscard]] platform_type platform() { return {&memory}; }
  [[nodiscard]] virtio::testing::fake_function& function(u8 slot) { return bus.function({0, 0, slot, 0}); }
  [[nodiscard]] pci::found<host> where(u8 slot) { return pci::look(bus.host(), pci::address{0, 0, slot, 0}); }
};

/// A driver and its storage, on the heap: big, and surrounded by memory that a checker watches.
template <class Device>
struct driver {
  struct parts {
    dma_storage<Device::dma_bytes> storage{};
    Device device{};
  };
  std::unique_ptr<parts> at{new parts};
  Device* operator->() { return &at->device; }
  Device& operator*() { return at->device; }
  dma_region storage() { return at->storage; }

  template <class Host>
  result<void> start(machine& m, const pci::found<Host>& where) { return at->device.start(m.platform(), where, storage()); }
};

template <class Queue = split_queue<16>, class Transport = any_pci>
using disk = driver<blk::device<platform_type, Transport, Queue>>;
template <class Queue = split_queue<8>, class Transport = any_pci>
using entropy = driver<rng::device<platform_type, Transport, Queue>>;

/// What a legacy QEMU device needs: as many ring entries as the device says.
using legacy_queue = split_queue<16, ring_options{.ring_entries = 256}>;

}  // namespace rig
