// SPDX-License-Identifier: MIT
// The devices of every host, compiled once for all tests.
#include "hosts.hpp"

#include <virtio/testing/balloon_model.hpp>
#include <virtio/testing/blk_model.hpp>
#include <virtio/testing/console_model.hpp>
#include <virtio/testing/net_model.hpp>
#include <virtio/testing/rng_model.hpp>
#include <virtio/testing/scsi_model.hpp>
#include <virtio/testing/vsock_model.hpp>

namespace rig {

void pci_board::place(const host_description& as, device_model& model, u8 slot) {
  const pci::address at{0, 0, slot, 0};
  if (as.on == host_description::bus::pci) return void(devices.place(at, model, as.behaviour));
  if (as.on == host_description::bus::qemu_modern) devices.qemu_modern(at, model);
  else devices.qemu_transitional(at, model);
  as.behaviour.device.apply_to(model);
}

std::unique_ptr<device_model> made_by(const host_description& monitor, device_type type, device_memory& memory) {
  using namespace virtio::testing;
  switch (type) {
    case device_type::block:
      if (monitor.disk) {
        auto one = std::make_unique<blk_model>(memory, *monitor.disk);
        if (monitor.disk_reports_header_length) one->used_length = 16;
        return one;
      }
      break;
    case device_type::entropy:
      if (monitor.entropy) {
        auto one = std::make_unique<rng_model>(memory, monitor.entropy->queue_size);
        one->fills_all = monitor.entropy->fills_all;
        one->reads_past_the_newest = monitor.entropy->reads_past_the_newest;
        one->crashes_on_long_requests = monitor.entropy->crashes_on_long_requests;
        return one;
      }
      break;
    case device_type::balloon:
      if (monitor.balloon) {
        auto one = std::make_unique<balloon_model>(memory, *monitor.balloon);
        one->numbers_by_choice = monitor.balloon_numbers_by_choice;
        return one;
      }
      break;
    case device_type::console:
      if (monitor.console)
        return std::make_unique<console_model>(memory, monitor.console->offers, monitor.console->ports);
      break;
    case device_type::network:
      if (monitor.net) {
        const virtio::testing::net_behaviour& as = *monitor.net;
        auto one = std::make_unique<net_model>(memory, as.offers, as.queue_size);
        one->waits_for_notification = as.waits_for_notification;
        one->stops_responding = as.stops_responding;
        one->keeps_last_buffer = as.keeps_last_buffer;
        one->counts_descriptors = as.counts_descriptors;
        one->fewest_bytes = as.fewest_bytes;
        return one;
      }
      break;
    case device_type::vsock:
      if (monitor.sockets) {
        auto one = std::make_unique<vsock_model>(memory, vsock_options{.host = *monitor.sockets});
        one->ports[5000] = vsock_model::reception::accepts;
        return one;
      }
      break;
    case device_type::scsi:
      if (monitor.scsi) {
        auto one = std::make_unique<scsi_model>(memory, monitor.scsi->options, monitor.scsi->units);
        one->used_length = monitor.scsi->used_length;
        return one;
      }
      break;
    default: break;
  }
  return nullptr;
}

}  // namespace rig
