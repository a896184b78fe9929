// SPDX-License-Identifier: MIT
// The hosts that drivers meet, each with the devices that it has: what buses show (host_manners.hpp), and what the
// device models are told to be. A host is a description; a test runs over all of them (tests/support/hosts.hpp). A new
// one is a function of twenty lines, and a row of `all()`. Layer: testing.
#pragma once

#include <virtio/testing/blk_model.hpp>
#include <virtio/testing/host_manners.hpp>
#include <virtio/testing/vsock/habits.hpp>

namespace virtio::testing {

/// What entropy devices do differently.
struct rng_habits {
  std::uint16_t queue_size = 256;
  bool fills_all = true;  // else only the first descriptor of a buffer
  bool looks_past_the_newest = false;
};

/// Console devices: what they offer, and how many ports they have with MULTIPORT.
struct console_habits {
  std::vector<unsigned> offers{};
  std::size_t ports = 1;
};

/// A host: how it shows devices, and which of those it has that there are drivers for.
struct host_description {
  enum class bus : std::uint8_t { pci, mmio, qemu_modern, qemu_transitional };

  bus on = bus::pci;
  host_manners manners{};
  std::optional<blk_options> disk{};
  std::optional<rng_habits> entropy{};
  std::optional<std::vector<unsigned>> balloon{};  // what it offers
  std::optional<console_habits> console{};
  std::optional<std::vector<unsigned>> net{};  // what it offers
  std::optional<vsock_host> sockets{};
  bool balloon_numbers_by_choice = false;  // optional queues are numbered by what was accepted (Alioth)
  bool disk_tells_header_length = false;   // used lengths are the header's (vmd)
  bool net_waits_for_notification = false;  // no frame before a first notification (vmd)

  [[nodiscard]] const std::string& name() const { return manners.name; }
  [[nodiscard]] bool is_mmio() const { return on == bus::mmio; }

  static host_description crosvm() {
    host_description h{.manners = host_manners::crosvm()};
    h.disk = blk_options{.queue_size = 256,
                         .queues = 16,
                         .seg_max = 254,
                         .blk_size = 512,
                         .serial = "",
                         .discard = extent_rules{.sectors = 0xffff'ffff, .extents = 32, .alignment = 128},
                         .write_zeroes = extent_rules{.sectors = 0xffff'ffff, .extents = 32}};
    h.entropy = rng_habits{};
    h.balloon = std::vector<unsigned>{0, 1, 2, 5};
    h.console = console_habits{.offers = {1}, .ports = 2};
    h.net = std::vector<unsigned>{0, 1, 2, 3, 7, 10, 11, 14, 17};  // an address only when asked for
    h.sockets = vsock_host::kernel();
    h.sockets->features = {1, 29};
    return h;
  }

  static host_description firecracker(bus on) {
    host_description h{.on = on,
                       .manners = on == bus::mmio ? host_manners::firecracker_mmio() : host_manners::firecracker_pci()};
    h.disk = blk_options{.queue_size = 256, .flush = false};
    h.entropy = rng_habits{};
    h.balloon = std::vector<unsigned>{1, 2, 3, 5};
    h.net = std::vector<unsigned>{0, 1, 5, 7, 11, 15};
    h.sockets = vsock_host::firecracker();
    return h;
  }

  static host_description cloud_hypervisor() {
    host_description h{.manners = host_manners::cloud_hypervisor()};
    h.disk = blk_options{
        .queue_size = 128, .seg_max = 126, .blk_size = 512, .topology = topology_fields{}, .writeback = true};
    h.entropy = rng_habits{.fills_all = false};
    h.balloon = std::vector<unsigned>{2, 5};
    h.console = console_habits{.offers = {0}};
    h.net = std::vector<unsigned>{0, 1, 2, 3, 5, 7, 11, 17};
    h.sockets = vsock_host::firecracker();  // of the same stock
    h.sockets->features = {29, 35};
    return h;
  }

  static host_description alioth() {
    host_description h{.manners = host_manners::alioth()};
    h.disk = blk_options{.queue_size = 256};
    h.entropy = rng_habits{};
    h.balloon = std::vector<unsigned>{0, 1, 2, 3, 4, 5};
    h.balloon_numbers_by_choice = true;
    h.net = std::vector<unsigned>{3, 5};
    h.sockets = vsock_host::kernel();
    h.sockets->features = {29};
    return h;
  }

  static host_description libkrun() {
    host_description h{.on = bus::mmio, .manners = host_manners::libkrun()};
    h.disk = blk_options{.queue_size = 256, .seg_max = 254};
    h.entropy = rng_habits{};
    h.balloon = std::vector<unsigned>{1, 3, 5};
    h.console = console_habits{.offers = {0, 1}, .ports = 2};
    h.net = std::vector<unsigned>{5};
    h.sockets = vsock_host::firecracker();
    return h;
  }

  static host_description vmd() {
    host_description h{.manners = host_manners::vmd()};
    h.disk = blk_options{.queue_size = 128, .seg_max = 126, .flush = false};
    h.disk_tells_header_length = true;
    h.entropy = rng_habits{.queue_size = 64, .fills_all = false};
    h.net = std::vector<unsigned>{5};
    h.net_waits_for_notification = true;
    return h;
  }

  /// QEMU 7.2's configuration spaces, as recorded.
  static host_description qemu(bus on) {
    host_description h{.on = on,
                       .manners = {.name = on == bus::mmio          ? "QEMU, MMIO"
                                           : on == bus::qemu_modern ? "QEMU, modern"
                                                                    : "QEMU, transitional"}};
    h.manners.device.offers = {28, 29};
    if (on != bus::mmio) h.manners.device.offers.push_back(34);
    h.disk = blk_options{.queue_size = 256, .seg_max = 254, .blk_size = 512, .writeback = true};
    h.entropy = rng_habits{.queue_size = 8};
    h.balloon = std::vector<unsigned>{1, 3, 5};
    h.console = console_habits{.offers = {0, 1, 2}, .ports = 2};
    h.net = std::vector<unsigned>{0, 1, 3, 5, 15, 16, 17};
    h.sockets = vsock_host::kernel();
    return h;
  }

  static const std::vector<host_description>& all() {
    static const std::vector<host_description> hosts = {
        crosvm(), firecracker(bus::pci),  firecracker(bus::mmio),       cloud_hypervisor(), alioth(), libkrun(),
        vmd(),    qemu(bus::qemu_modern), qemu(bus::qemu_transitional), qemu(bus::mmio)};
    return hosts;
  }
};

}  // namespace virtio::testing
