// SPDX-License-Identifier: MIT
// The hosts that drivers meet, each with its devices: what buses show (host_behaviour.hpp), and the settings of the
// device models. A host is a description; a test runs over all of them (tests/support/hosts.hpp). A new host is a
// function of twenty lines and a row of `all()`. Layer: testing.
#pragma once

#include <virtio/testing/blk_model.hpp>
#include <virtio/testing/host_behaviour.hpp>
#include <virtio/testing/scsi_model.hpp>
#include <virtio/testing/vsock/host.hpp>

namespace virtio::testing {

/// How entropy devices differ.
struct rng_behaviour {
  std::uint16_t queue_size = 256;
  bool fills_all = true;  // false: only the first descriptor of a buffer
  bool reads_past_the_newest = false;
  bool crashes_on_long_requests = false;
};

/// Network devices: the features that they offer, and the members of net_model with these names.
struct net_behaviour {
  std::vector<unsigned> offers{};
  std::uint16_t queue_size = 64;
  bool waits_for_notification = false, stops_responding = false, keeps_last_buffer = false, counts_descriptors = false;
  std::size_t fewest_bytes = 0;
};

/// A SCSI host and its units.
struct scsi_behaviour {
  scsi_options options{};
  std::vector<scsi_unit> units = std::vector<scsi_unit>(1);
  std::optional<std::uint32_t> used_length{};
};

/// Console devices: the features that they offer, and the number of ports with MULTIPORT.
struct console_behaviour {
  std::vector<unsigned> offers{};
  std::size_t ports = 1;
};

/// A host: how it shows devices, and which of the supported device types it has.
struct host_description {
  enum class bus : std::uint8_t { pci, mmio, qemu_modern, qemu_transitional };

  bus on = bus::pci;
  host_behaviour behaviour{};
  std::optional<blk_options> disk{};
  std::optional<rng_behaviour> entropy{};
  std::optional<std::vector<unsigned>> balloon{};  // the offered features
  std::optional<console_behaviour> console{};
  std::optional<net_behaviour> net{};
  std::optional<scsi_behaviour> scsi{};
  std::optional<vsock_host> sockets{};
  bool balloon_numbers_by_choice = false;   // optional queues are numbered by the accepted features (Alioth)
  bool disk_reports_header_length = false;  // used lengths are the header's (vmd)

  [[nodiscard]] const std::string& name() const { return behaviour.name; }
  [[nodiscard]] bool is_mmio() const { return on == bus::mmio; }

  static host_description crosvm() {
    host_description h{.behaviour = host_behaviour::crosvm()};
    h.disk = blk_options{.queue_size = 256,
                         .queues = 16,
                         .seg_max = 254,
                         .blk_size = 512,
                         .serial = "",
                         .discard = extent_rules{.sectors = 0xffff'ffff, .extents = 32, .alignment = 128},
                         .write_zeroes = extent_rules{.sectors = 0xffff'ffff, .extents = 32}};
    h.entropy = rng_behaviour{};
    h.balloon = std::vector<unsigned>{0, 1, 2, 5};
    h.console = console_behaviour{.offers = {1}, .ports = 2};
    h.net = net_behaviour{{0, 1, 2, 3, 7, 10, 11, 14, 17}};  // an address only if requested
    h.sockets = vsock_host::kernel();
    h.sockets->features = {1, 29};
    return h;
  }

  static host_description firecracker(bus on) {
    host_description h{
        .on = on,
        .behaviour = on == bus::mmio ? host_behaviour::firecracker_mmio() : host_behaviour::firecracker_pci()};
    h.disk = blk_options{.queue_size = 256, .flush = false};
    h.entropy = rng_behaviour{};
    h.balloon = std::vector<unsigned>{1, 2, 3, 5};
    h.net = net_behaviour{{0, 1, 5, 7, 11, 15}};
    h.sockets = vsock_host::firecracker();
    return h;
  }

  static host_description cloud_hypervisor() {
    host_description h{.behaviour = host_behaviour::cloud_hypervisor()};
    h.disk = blk_options{
        .queue_size = 128, .seg_max = 126, .blk_size = 512, .topology = topology_fields{}, .writeback = true};
    h.entropy = rng_behaviour{.fills_all = false};
    h.balloon = std::vector<unsigned>{2, 5};
    h.console = console_behaviour{.offers = {0}};
    h.net = net_behaviour{{0, 1, 2, 3, 5, 7, 11, 17}};
    h.sockets = vsock_host::firecracker();  // of the same origin
    h.sockets->features = {29, 35};
    return h;
  }

  static host_description alioth() {
    host_description h{.behaviour = host_behaviour::alioth()};
    h.disk = blk_options{.queue_size = 256};
    h.entropy = rng_behaviour{};
    h.balloon = std::vector<unsigned>{0, 1, 2, 3, 4, 5};
    h.balloon_numbers_by_choice = true;
    h.net = net_behaviour{{3, 5}};
    h.sockets = vsock_host::kernel();
    h.sockets->features = {29};
    return h;
  }

  static host_description libkrun() {
    host_description h{.on = bus::mmio, .behaviour = host_behaviour::libkrun()};
    h.disk = blk_options{.queue_size = 256, .seg_max = 254};
    h.entropy = rng_behaviour{};
    h.balloon = std::vector<unsigned>{1, 3, 5};
    h.console = console_behaviour{.offers = {0, 1}, .ports = 2};
    h.net = net_behaviour{{5}};
    h.sockets = vsock_host::firecracker();
    return h;
  }

  /// OpenBSD's vmd: a disk, entropy, a network card and a CD drive. Its control device is not a virtio device.
  static host_description vmd(vmd_era era = vmd_era::of_2025) {
    const bool oldest = era == vmd_era::of_2018;
    host_description h{.behaviour = host_behaviour::vmd(era)};
    h.disk = blk_options{.queue_size = 128,
                         .size_max = oldest ? 1u << 20 : 0,
                         .seg_max = oldest ? 0 : 126u,
                         .flush = false,
                         .get_id = false,
                         .strict_chains = !oldest,
                         .flushes_unasked = oldest};
    h.disk_reports_header_length = true;
    h.entropy = rng_behaviour{
        .queue_size = 64, .fills_all = false, .reads_past_the_newest = true, .crashes_on_long_requests = oldest};
    h.net = net_behaviour{.offers = {5},
                          .queue_size = static_cast<std::uint16_t>(oldest ? 128 : 256),
                          .keeps_last_buffer = oldest,
                          .fewest_bytes = oldest ? 0u : 14u};
    h.net->waits_for_notification = h.net->stops_responding = h.net->counts_descriptors = era >= vmd_era::of_2025;
    h.scsi = scsi_behaviour{
        .options =
            {.seg_max = 17, .max_sectors = 2048, .cmd_per_lun = 1, .event_info_size = 0, .max_target = 1, .max_lun = 1},
        .units = {{.kind = 5, .block = 2048}},
        .used_length = 51};  // the command's
    scsi_options& scsi = h.scsi->options;
    scsi.fixed_sizes = scsi.apart = scsi.only_first_unit = scsi.ignores_pages = true;
    scsi.operations = {0x00, 0x08, 0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0x9e, 0xa0, 0xbd};
    scsi.mode_pages = {0x01, 0x2a};
    scsi.features.clear();
    return h;
  }
  /// Which vmd it is, if any.
  [[nodiscard]] bool is_vmd() const { return name().rfind("vmd", 0) == 0; }

  /// QEMU 7.2's configuration spaces, as recorded.
  static host_description qemu(bus on) {
    host_description h{.on = on,
                       .behaviour = {.name = on == bus::mmio          ? "QEMU, MMIO"
                                             : on == bus::qemu_modern ? "QEMU, modern"
                                                                      : "QEMU, transitional"}};
    h.behaviour.device.offers = {28, 29};
    if (on != bus::mmio) h.behaviour.device.offers.push_back(34);
    h.disk = blk_options{.queue_size = 256, .seg_max = 254, .blk_size = 512, .writeback = true};
    h.entropy = rng_behaviour{.queue_size = 8};
    h.balloon = std::vector<unsigned>{1, 3, 5};
    h.console = console_behaviour{.offers = {0, 1, 2}, .ports = 2};
    h.net = net_behaviour{{0, 1, 3, 5, 15, 16, 17}};
    h.scsi = scsi_behaviour{};
    h.sockets = vsock_host::kernel();
    return h;
  }

  static const std::vector<host_description>& all() {
    static const std::vector<host_description> hosts = {crosvm(),
                                                        firecracker(bus::pci),
                                                        firecracker(bus::mmio),
                                                        cloud_hypervisor(),
                                                        alioth(),
                                                        libkrun(),
                                                        vmd(vmd_era::of_2018),
                                                        vmd(vmd_era::of_2023),
                                                        vmd(vmd_era::of_2025),
                                                        vmd(vmd_era::of_2026),
                                                        qemu(bus::qemu_modern),
                                                        qemu(bus::qemu_transitional),
                                                        qemu(bus::mmio)};
    return hosts;
  }
};

}  // namespace virtio::testing
