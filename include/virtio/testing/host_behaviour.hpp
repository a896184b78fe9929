// SPDX-License-Identifier: MIT
// How a host shows virtio devices: a description as data, which the fake buses and the device models implement. What a
// description omits follows the specification. The hosts below are based on their sources or on observation: crosvm
// f1e797a6, Firecracker 1.17, Cloud Hypervisor v53, Alioth 0.12.0, libkrun 1.18, OpenBSD's vmd of 2018 (virtio.c 1.75),
// 2023-11 (1.110), 2025-08 (1.127) and 2026-09 (1.153). hosts.hpp adds the devices of each. Layer: testing.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <virtio/testing/device_model.hpp>
#include <virtio/testing/fake_registers.hpp>

namespace virtio::testing {

/// One entry of a capability list, in its order.
struct shown_capability {
  enum class kind : std::uint8_t { common, notify, isr, device, window, msix, msi };
  kind what;
  // of the structure in BAR 0, of MSI-X's table; 0 for device: directly after the previous structure
  std::uint32_t at = 0;
  std::uint32_t length =
      0;  // 0 for notify: four bytes a queue; for device: the configuration's; of MSI-X: its PBA's place
  std::uint8_t cap_len = 16;
  std::uint8_t stride = 0;  // bytes to the next capability; 0: cap_len
  std::uint8_t bar = 0;     // of MSI-X's table
};

/// A function that is not a virtio device.
struct plain_function {
  std::uint8_t slot;
  std::uint16_t vendor, device, class_and_subclass, subsystem_vendor = 0, subsystem = 0;
  bool has_bar0 = false;  // an I/O BAR like the devices'
};

/// What VIRTIO_PCI_CAP_PCI_CFG does on this host.
enum class window_use : std::uint8_t { full, no_doorbells };

struct pci_behaviour {
  bool legacy = false;     // transitional ids, and the legacy register block in BAR 0
  std::uint64_t bar0 = 0;  // address of the first device's BAR 0; the next ones follow
  std::uint32_t bar0_size = 0;
  bool bar0_is_64_bit = false, bar0_is_io = false;
  bool grows_down = false;  // the next device's BAR is at a lower address
  std::uint64_t bar1 = 0;   // 32-bit, memory
  std::uint32_t bar1_size = 0;
  std::uint8_t revision = 1;
  std::uint16_t subsystem_vendor = 0x1af4;
  bool subsystem_is_type = false;                                  // else it is the device id
  std::vector<std::pair<std::uint16_t, std::uint16_t>> classes{};  // by type: class and subclass; others 0880
  std::vector<shown_capability> capabilities{};
  std::uint32_t notify_multiplier = 4;
  bool one_doorbell = false;  // queue_notify_off is 0 for all queues
  window_use window = window_use::full;
  bool decodes_always = false;    // whatever the command register contains; its bits are set at reset
  bool decodes_at_first = false;  // the command register starts with decoding on, and controls it
  bool half_words = false;        // command register and MSI-X control take 16-bit writes only
  bool lanes_lost = false;        // 16-bit writes change the lower half of their dword
  // by type; others answer as the specification defines
  std::vector<std::pair<std::uint16_t, config_answers>> config{};
  std::vector<std::uint16_t> ones_elsewhere{};  // types whose common structure reads as ones where no register starts
  std::vector<std::pair<std::uint16_t, std::uint32_t>> config_lengths{};  // by type; if any is given, others have none
  std::vector<plain_function> functions{};
  std::vector<std::uint16_t> order{};  // types in the order of their slots; other types follow
};

struct mmio_behaviour {
  std::uint32_t version = 2;
  std::uint32_t vendor_id = 0x554d4551;  // QEMU's
  std::uint32_t slot_bytes = 0x200;
};

struct device_behaviour {
  std::vector<unsigned> offers{}, never_offers{};  // features that are not specific to a device type
  device_model::feature_store features_stored = device_model::feature_store::replaces;
  bool one_step = false;      // a status that is not the next one is dropped, except 0 and FAILED
  bool exact_queues = false;  // DRIVER_OK fails unless exactly the queues of the accepted features are enabled
  bool has_line = true;       // INTx: without it and without MSI-X a device is silent, and its ISR 0
  std::vector<std::uint16_t> no_reset{};  // types that answer a reset in operation with FAILED permanently
  bool never_refuses = false;             // FEATURES_OK stays set, whatever was accepted
  device_model::ring_places places = device_model::ring_places::anywhere;
  std::vector<device_model::memory_range> ram{};  // the guest's, where `places` limits rings
  device_model::size_rule sizes = device_model::size_rule::powers_of_two;
  // types whose process ends at a doorbell for a queue without a ring
  std::vector<std::uint16_t> crash_on_early_doorbells{};
  std::vector<std::uint16_t> interrupt_always{};  // types that interrupt whatever the ring's flags request
  bool no_generation = false;

  /// Makes `model` behave as a device of this host.
  void apply_to(device_model& model) const {
    for (const unsigned bit : offers) model.offer({bit});
    for (const unsigned bit : never_offers) model.withdraw({bit});
    model.features_stored = features_stored;
    model.one_step = one_step;
    model.exact_queues = exact_queues;
    model.has_line = has_line;
    const auto among = [&](const std::vector<std::uint16_t>& types) {
      return std::find(types.begin(), types.end(), model.type()) != types.end();
    };
    model.reset_fails = among(no_reset);
    model.never_refuses = never_refuses;
    model.places = places;
    model.ram = ram;
    model.sizes = sizes;
    model.crashes_on_early_doorbell = among(crash_on_early_doorbells);
    model.interrupts_always = among(interrupt_always);
    model.no_generation = no_generation;
  }
};

/// The version of vmd: its devices, registers and behaviour depend on it.
enum class vmd_era : std::uint8_t { of_2018, of_2023, of_2025, of_2026 };

struct host_behaviour {
  std::string name{};
  pci_behaviour pci{};
  mmio_behaviour mmio{};
  register_behaviour registers{};
  device_behaviour device{};

  static host_behaviour crosvm() {
    using kind = shown_capability::kind;
    host_behaviour h{.name = "crosvm"};
    h.pci = {.bar0 = 0x0200'0000,
             .bar0_size = 0x8000,
             .capabilities = {{kind::common, 0x0000, 56},
                              {kind::isr, 0x1000, 1},
                              {kind::device, 0x2000, 0x1000},
                              {kind::notify, 0x3000, 0x1000, 20},
                              {kind::window},
                              {kind::msix, 0x6000, 0x7000}}};
    h.pci.classes = {{1, 0x0280}, {2, 0x0180}, {3, 0x0780}, {19, 0x0280}};
    h.pci.decodes_at_first = true;
    h.registers = {.features_read = false, .addresses_read = register_behaviour::areas::zero};
    // 42 is the host's own suspend feature, older than the specification's.
    h.device = {.offers = {29, 42},
                .never_offers = {28},
                .features_stored = device_model::feature_store::adds_across_reset,
                .exact_queues = true};
    return h;
  }

  /// By PCI (`--enable-pci`). The registers except BAR addresses and the window are Cloud Hypervisor's.
  static host_behaviour firecracker_pci() {
    using kind = shown_capability::kind;
    host_behaviour h{.name = "Firecracker, PCI"};
    h.pci = {.bar0 = 0x40'0000'0000,
             .bar0_size = 0x8'0000,
             .bar0_is_64_bit = true,
             .capabilities = {{kind::common, 0x0000, 56},
                              {kind::isr, 0x2000, 1},
                              {kind::device, 0x4000, 0x1000},
                              {kind::notify, 0x6000, 0x1000, 20},
                              {kind::window, 0, 0, 20},
                              {kind::msix, 0x8000, 0x4'8000}}};
    h.pci.window = window_use::no_doorbells;
    h.pci.decodes_at_first = true;
    h.registers = {.features_read = false};
    h.device = {.offers = {29},
                .never_offers = {28},
                .features_stored = device_model::feature_store::adds,
                .one_step = true,
                .has_line = false};
    return h;
  }
  static host_behaviour firecracker_mmio() {
    host_behaviour h{.name = "Firecracker, MMIO"};
    h.mmio = {.vendor_id = 0, .slot_bytes = 0x1000};
    h.device = {
        .offers = {29}, .never_offers = {28}, .features_stored = device_model::feature_store::adds, .one_step = true};
    return h;
  }

  static host_behaviour cloud_hypervisor() {
    host_behaviour h = firecracker_pci();
    h.name = "Cloud Hypervisor";
    h.pci.bar0 = 0xff'fff8'0000;  // the end of what a processor with 40 address bits can address
    h.pci.grows_down = true;
    h.pci.window = window_use::full;
    h.registers = {.features_read = false, .addresses_read = register_behaviour::areas::zero};
    h.device.one_step = false;
    return h;
  }

  static host_behaviour alioth() {
    using kind = shown_capability::kind;
    host_behaviour h{.name = "Alioth"};
    h.pci = {.bar0 = 0xc000'0000,
             .bar0_size = 0x4000,
             .capabilities = {{kind::msix, 0x0000, 0x2000, 12},
                              {kind::common, 0x3000, 64},
                              {kind::isr, 0x3040, 4},
                              {kind::notify, 0x3044, 0, 20},
                              {kind::device}}};
    h.pci.classes = {{1, 0x0200}, {2, 0x0100}, {4, 0xff00}, {5, 0xff00}, {19, 0x0280}};
    h.pci.half_words = true;
    h.registers = {.addresses_read = register_behaviour::areas::halves_mixed_up, .two_feature_words = true};
    h.device = {.offers = {29, 34}, .never_offers = {28}, .has_line = false};
    return h;
  }

  static host_behaviour libkrun() {
    host_behaviour h = firecracker_mmio();
    h.name = "libkrun";
    h.device.no_reset = {19};
    return h;
  }

  /// OpenBSD's vmd. Legacy devices in 2018 and 2023, 1.x devices since 2025, all in I/O BARs.
  static host_behaviour vmd(vmd_era era = vmd_era::of_2025) {
    using kind = shown_capability::kind;
    using rest = config_answers::otherwise;
    const bool legacy = era < vmd_era::of_2025, newest = era == vmd_era::of_2026;
    static constexpr const char* names[] = {"vmd of 2018", "vmd of 2023", "vmd of 2025", "vmd of 2026"};
    host_behaviour h{.name = names[static_cast<std::size_t>(era)]};
    h.pci = {.legacy = legacy,
             .bar0 = 0x1000,
             .bar0_size = 0x1000,
             .bar0_is_io = true,
             .revision = static_cast<std::uint8_t>(legacy ? 0 : 1),
             .subsystem_vendor = 0x0b5d,
             .subsystem_is_type = true};
    if (!legacy)
      h.pci.capabilities = {{kind::common, 0x000, 56, 16, 24},
                            {kind::device, 0x300, 0, 16, 24},
                            {kind::isr, 0x200, 1, 16, 24},
                            {kind::notify, 0x100, 2, 16, 24}};
    if (newest) {
      h.pci.bar1 = 0xf000'0000;
      h.pci.bar1_size = 0x1'0000;
      h.pci.capabilities.insert(h.pci.capabilities.begin(),
                                {{kind::msi, 0, 0, 16, 24}, {kind::msix, 0x0000, 0x8000, 12, 24, 1}});
    }
    h.pci.classes = {{2, 0x0100}, {8, 0x0100}};
    h.pci.notify_multiplier = 0;
    h.pci.one_doorbell = h.pci.decodes_always = true;
    h.pci.lanes_lost = !newest;
    h.pci.functions = {{0, 0x0b5d, 0x0666, 0x0600}, {5, 0x0b5d, 0x0777, 0x0780, 0x0b5d, 0xffff, true}};
    h.pci.order =
        era == vmd_era::of_2018 ? std::vector<std::uint16_t>{4, 2, 1, 8} : std::vector<std::uint16_t>{4, 1, 2, 8};
    h.pci.config_lengths = {{1, 8}, {2, 24}, {8, 36}};

    // The MAC address: one byte per read. A disk: its capacity and one limit. SCSI: every field in its width, nothing
    // else.
    const rest missing = newest ? rest::zero : rest::ones;
    h.pci.config = {
        {1, {.places = {{0, 6, 7}}, .one_byte = true, .rest = missing}},
        {2, {.places = {{0, 8, 4}, {12, 4, 4}}, .rest = missing}},
        {8, {.places = {{0, 28, 4}, {28, 2, 7}, {30, 2, 2}, {32, 4, 4}}, .rest = newest ? rest::zero : rest::stale}}};
    if (legacy) h.pci.config[1].second.places = {{0, 8, 7}, {12, 4, 7}};
    if (era == vmd_era::of_2018) {
      h.pci.config[1].second.places = {{0, 12, 7}};
      for (config_answers::place& one : h.pci.config[2].second.places) one.widths |= 1;
    }
    if (era == vmd_era::of_2025) h.pci.ones_elsewhere = {1};

    h.device = {.never_offers = {24, 27, 28, 29, 34, 35, 36, 40}, .features_stored = device_model::feature_store::adds};
    if (legacy) h.device.never_offers.push_back(32);
    h.device.never_refuses = h.device.no_generation = true;
    h.device.interrupt_always = {4};
    if (era != vmd_era::of_2018) {
      h.device.places = newest ? device_model::ring_places::apart : device_model::ring_places::at_once;
      h.device.crash_on_early_doorbells = {1, 2, 8};
    }
    h.device.ram = {{0, 576 << 10}, {1 << 20, 0xf000'0000}, {0x1'0000'0000, 0x2'0000'0000}};
    if (era == vmd_era::of_2025) h.device.sizes = device_model::size_rule::even;
    return h;
  }
};

}  // namespace virtio::testing
