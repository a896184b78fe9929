// SPDX-License-Identifier: MIT
// Shared by tests of the SCSI driver.
#pragma once

#include <virtio/scsi.hpp>
#include <virtio/testing/scsi_model.hpp>

#include "machine.hpp"

namespace rig {

using virtio::testing::scsi_model;
using virtio::testing::scsi_options;
using virtio::testing::scsi_unit;
using virtio::testing::sense_bytes;

using scsi_queue = split_queue<16, ring_options{.indirect = 8, .ring_entries = 256}>;
constexpr scsi::options aborting{.late = scsi::late_command::abort};  // the case with the most steps
template <class Queue = scsi_queue, class Transport = any_pci, scsi::options O = aborting>
using scsi_host = driver<scsi::device<platform_type, Transport, Queue, O>>;
using scsi_device = scsi::device<platform_type, any_pci, scsi_queue, aborting>;

/// A machine with a SCSI host, started, and its first unit.
struct scsi_rig {
  machine m;
  scsi_model& model;
  scsi_host<> host;
  scsi::unit<scsi_device> unit{};

  explicit scsi_rig(std::vector<scsi_unit> units = {scsi_unit{}}, scsi_options options = {}, seat where = seat::modern)
      : model{m.add<scsi_model>(where, 4, options, std::move(units))} {
    for (scsi_unit& one : model.units)
      for (usize i = 0; i < one.data.size(); ++i) one.data[i] = static_cast<u8>(i / 512 * 7 + i % 251);
    REQUIRE(host.start(m, m.where(4)));
  }
  result<void> open(scsi::address where = {}) { return unit.open(*host, where); }
  [[nodiscard]] std::vector<u8> expected(u64 sector, usize size, usize which = 0) const {
    const auto from = model.units[which].data.begin() + static_cast<std::ptrdiff_t>(sector * 512);
    return {from, from + static_cast<std::ptrdiff_t>(size)};
  }
  /// The program starts to poll for events: the device has buffers for them from now on.
  void listen() { CHECK(host->next_event().error() == errc::not_ready); }
  [[nodiscard]] std::vector<scsi::found> scan() {
    std::vector<scsi::found> all;
    const auto count = host->scan([&](const scsi::found& one) { all.push_back(one); });
    REQUIRE(count);
    CHECK(*count == all.size());
    return all;
  }
};

}  // namespace rig

using rig::scsi_model;
using rig::scsi_options;
using rig::scsi_rig;
using rig::scsi_unit;
using rig::sense_bytes;
