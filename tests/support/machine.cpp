// SPDX-License-Identifier: MIT
// The parts of the machine that are compiled once for all tests: the bus and its models.
#include "machine.hpp"

namespace rig {

machine::machine() {
  memory.on_wait = [this](waiting, u64) {
    if (running)
      for (auto& one : models) (void)one->step();
  };
}

machine::~machine() {
  if (expect_objections) return;
  for (const auto& what : objections()) FAIL_CHECK(what);
  CHECK(memory.live() == 0);
}

std::vector<std::string> machine::objections() const {
  std::vector<std::string> all = memory.violations();
  for (const auto& what : bus.violations()) all.push_back(what);
  return all;
}

pci::found<host> machine::where(u8 slot) { return pci::look(bus.host(), pci::address{0, 0, slot, 0}); }

device_model& machine::take(seat where, u8 slot, std::unique_ptr<device_model> one) {
  if (where == seat::legacy && !one_transport_serves_all)
    SKIP("no transport here serves both interfaces: guest_order.cpp has legacy devices");
  device_model& model = *one;
  models.push_back(std::move(one));
  const pci::address at{0, 0, slot, 0};
  switch (where) {
    case seat::modern: bus.qemu_modern(at, model); break;
    case seat::transitional: bus.qemu_transitional(at, model); break;
    case seat::legacy: bus.qemu_legacy(at, model); break;
    case seat::crosvm: bus.crosvm(at, model); break;
    case seat::vmd:
      memory.shared_base = 0x2000'0000;
      bus.vmd_modern(at, model);
      break;
  }
  return model;
}

std::unique_ptr<device_model> made(kind<device_model>, device_memory& memory, u16 type, std::vector<u16> queue_sizes) {
  return std::make_unique<device_model>(memory, type, std::move(queue_sizes));
}

}  // namespace rig
