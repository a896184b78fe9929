// SPDX-License-Identifier: MIT
// A machine for driver tests: a PCI bus of device models, a platform that bounces and poisons, and drivers over real
// transports. At the end of a test every recorded violation fails it. It depends on no driver: disk.hpp, entropy.hpp
// and vsock.hpp add them.
#pragma once

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include <virtio/pci.hpp>
#include <virtio/platform/identity.hpp>
#include <virtio/queue/either.hpp>
#include <virtio/testing/device_model.hpp>
#include <virtio/testing/fake_pci.hpp>
#include <virtio/testing/hooked_barriers.hpp>
#include <virtio/testing/strict_platform.hpp>

#include "processor.hpp"

namespace rig {

using namespace virtio;
using virtio::testing::device_memory;
using virtio::testing::device_model;

using host = virtio::testing::fake_host;
using platform_type = virtio::testing::strict_platform<>;
template <class Host>
auto usual_pci() {
  if constexpr (one_transport_serves_all) return pci::transport<Host>{};
  else return pci::modern<Host>{};
}
using any_pci = decltype(usual_pci<host>());  // pci::transport, if it serves legacy devices too
using modern_pci = pci::modern<host>;
using legacy_pci = pci::legacy<host>;

/// The interface of a device model on the bus.
enum class seat { modern, transitional, legacy, crosvm, vmd };

[[nodiscard]] inline const char* name(seat s) {
  constexpr const char* names[] = {"QEMU modern", "QEMU transitional", "QEMU legacy", "crosvm", "vmd"};
  return names[static_cast<int>(s)];
}

[[nodiscard]] inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Makes a model. Models that many tests use are made in their own source file, so that only that file compiles them.
template <class Model>
struct kind {};
std::unique_ptr<device_model> made(kind<device_model>, device_memory& memory, u16 type, std::vector<u16> queue_sizes);
template <class Model, class... Arguments>
std::unique_ptr<device_model> made(kind<Model>, device_memory& memory, Arguments&&... arguments) {
  return std::make_unique<Model>(memory, std::forward<Arguments>(arguments)...);
}

struct machine {
  virtio::testing::strict_machine memory;
  virtio::testing::fake_pci bus;
  std::vector<std::unique_ptr<device_model>> models;
  bool running = true;  // whether devices work while a driver waits
  bool expect_objections = false;

  machine();
  machine(const machine&) = delete;
  ~machine();

  [[nodiscard]] std::vector<std::string> objections() const;

  /// Skips the test if the usual transport cannot serve such a device (processor.hpp).
  template <class Model, class... Arguments>
  Model& add(seat where, u8 slot, Arguments&&... arguments) {
    return static_cast<Model&>(
        take(where, slot, made(kind<Model>{}, memory.memory, std::forward<Arguments>(arguments)...)));
  }

  [[nodiscard]] platform_type platform() { return {&memory}; }
  [[nodiscard]] virtio::testing::fake_function& function(u8 slot) { return bus.function({0, 0, slot, 0}); }
  [[nodiscard]] pci::found<host> where(u8 slot);

 private:
  device_model& take(seat where, u8 slot, std::unique_ptr<device_model> model);
};

struct any_seed {
  u64 bits;
  template <class Seed>
  operator Seed() const {
    return Seed{bits};
  }
};
/// Starts any driver; a driver with a seed always receives the same seed.
template <class Driver, class Platform, class Location>
result<void> bring_up(Driver& d, const Platform& platform, const Location& where, dma_region storage) {
  if constexpr (requires { d.start(platform, where, storage); }) return d.start(platform, where, storage);
  else return d.start(platform, where, storage, any_seed{1});
}

/// A driver and its storage, on the heap: large, and surrounded by memory that a checker observes.
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
  result<void> start(machine& m, const pci::found<Host>& where) {
    return bring_up(at->device, m.platform(), where, storage());
  }
};

/// A ring for a legacy QEMU device: it has the number of entries that the device reports.
using legacy_queue = split_queue<16, ring_options{.ring_entries = 256}>;
/// A ring for a transport that serves only legacy devices.
template <u16 Size>
using native_ring = split_queue<Size, ring_options{.order = native_order}>;

}  // namespace rig

// Names that tests use without a namespace; the headers of the drivers add theirs.
using rig::contains;
using rig::seat;
using virtio::testing::barrier_hooks;
using virtio::testing::device_memory;
using virtio::testing::device_model;
using virtio::testing::fake_function;
using virtio::testing::hooked_barriers;

#ifdef VIRTIO_TEST_ONE_UNIT  // a program of one source file: tools/mutants
#include "machine.cpp"
#endif
