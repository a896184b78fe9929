// SPDX-License-Identifier: MIT
// Detected but not bound: for every verdict a device of a host, found by a scan and started by a driver that reports
// the verdict. A new verdict without a row here fails the last line of the test.
#include <catch2/catch_test_macros.hpp>

#include <functional>
#include <set>

#include "disk.hpp"
#include "entropy.hpp"
#include "hosts.hpp"
#include "vsock.hpp"

using namespace virtio;
using rig::host_description;
using rig::host_machine;
using rig::mmio_board;
using rig::pci_board;
using on = host_description::bus;

namespace {

std::set<verdict>& seen_verdicts() {
  static std::set<verdict> all;
  return all;
}

template <class Board>
using disk_on = rig::driver<blk::device<rig::platform_type, typename Board::transport, split_queue<16>>>;
template <class Transport>
using disk_by = rig::driver<blk::device<rig::platform_type, Transport, split_queue<16>>>;
using host16 = pci_board::host;

struct refusing : rig::platform_type {
  static constexpr access_policy access_platform = access_policy::refuse;
};

template <class Driver>
void check(Driver& d, verdict why) {
  INFO("said: " << describe(d->why().why));
  CHECK(d->why().why == why);
  seen_verdicts().insert(d->why().why);
}

/// A machine with a crosvm disk, which is found again after a change.
struct crosvm_disk {
  host_description host{.behaviour = host_description::crosvm().behaviour, .disk = host_description::crosvm().disk};
  host_machine<pci_board> m{host};
  disk_on<pci_board> d{};

  crosvm_disk() { m.expect_objections = true; }
  fake_function& function() { return m.board.devices.function({0, 0, 1, 0}); }
  blk_model& model() { return m.as<blk_model>(device_type::block); }
  pci::found<host16> found() { return pci::look(m.board.bus(), pci::address{0, 0, 1, 0}); }
  void start_says(verdict why) {
    // A scan has the same verdict, if the registers are enough for it.
    m.board.scan([&](const auto& one) {
      if (one.seen.why != verdict::usable) CHECK(one.seen.why == why);
    });
    const auto up = d->start(m.platform(), found(), d.storage());
    CHECK(bool{up} == (why == verdict::bound));
    check(d, why);
  }
};

/// The same with a Firecracker disk in its slot.
struct firecracker_disk {
  host_description host{.on = on::mmio,
                        .behaviour = host_description::firecracker(on::mmio).behaviour,
                        .disk = host_description::firecracker(on::mmio).disk};
  host_machine<mmio_board> m{host};
  disk_on<mmio_board> d{};

  firecracker_disk() { m.expect_objections = true; }
  auto& slot() { return m.board.devices.at(0); }
  void start_says(verdict why) {
    const auto up = d->start(m.platform(), mmio::at(m.board.bus(), 0), d.storage());
    CHECK(bool{up} == (why == verdict::bound));
    check(d, why);
  }
};

}  // namespace

TEST_CASE("hosts: detected but not bound: each verdict is reported for a device of some host", "[hosts][report]") {
  seen_verdicts().clear();
  const auto crosvm = [](verdict why, const std::function<void(crosvm_disk&)>& change) {
    INFO("to be: " << describe(why));
    crosvm_disk c;
    change(c);
    c.start_says(why);
  };
  const auto firecracker = [](verdict why, const std::function<void(firecracker_disk&)>& change) {
    INFO("to be: " << describe(why));
    firecracker_disk c;
    change(c);
    c.start_says(why);
  };
  const auto edit = [](usize at, u32 value, unsigned bytes) {
    return [=](crosvm_disk& c) { c.function().poke(at, value, bytes); };
  };
  const auto in_capability = [](int type, usize at, u32 value, unsigned bytes) {
    return [=](crosvm_disk& c) { c.function().poke(c.function().capability(9, type) + at, value, bytes); };
  };

  crosvm(verdict::bound, [](crosvm_disk&) {});

  // Ids. vmd uses its own vendor id for a device.
  crosvm(verdict::not_virtio, edit(0x00, 0x0b5d, 2));
  crosvm(verdict::id_outside_ranges, edit(0x02, 0x1110, 2));  // QEMU's ivshmem
  crosvm(verdict::id_without_type, edit(0x02, 0x1040, 2));
  crosvm(verdict::type_unknown, [](crosvm_disk& c) {
    c.function().poke(0x02, 0x103f, 2);
    c.function().poke(0x2e, 0, 2);
  });

  // Capabilities and BARs.
  crosvm(verdict::capability_missing, in_capability(2, 3, 9, 1));
  crosvm(verdict::capability_bar_invalid, in_capability(2, 4, 6, 1));
  crosvm(verdict::capability_too_short, in_capability(1, 12, 40, 4));
  crosvm(verdict::capability_misaligned, in_capability(1, 8, 2, 4));
  crosvm(verdict::bar_unassigned, edit(0x10, 0, 4));  // linux,pci-probe-only was ignored
  crosvm(verdict::bar_out_of_reach, [](crosvm_disk& c) { c.m.board.devices.reach = 0x0200'0000; });
  crosvm(verdict::bar_too_small, [](crosvm_disk& c) { c.function().bar_sizes[0] = 0x2000; });
  crosvm(verdict::legacy_without_io_bar, [](crosvm_disk& c) {  // kvmtool's legacy ids, without a register block
    c.function().poke(0x02, 0x1001, 2);
    c.function().poke(0x2e, 2, 2);
    c.function().poke(0x34, 0, 1);
  });
  crosvm(verdict::decoding_off, [](crosvm_disk& c) {  // a host that ignores writes to the command register
    c.function().poke(0x04, 0, 2);
    c.function().master_ends_decoding = true;
  });

  // Registers.
  crosvm(verdict::device_gone, [](crosvm_disk& c) {
    c.function().bar_sizes[0] = 0x8000;
    auto& regions = c.function().regions;
    std::erase_if(regions, [](const auto& one) { return one.what == fake_function::part::common; });
  });
  crosvm(verdict::reset_timed_out, [](crosvm_disk& c) { c.model().reset_reads = device_model::forever; });
  crosvm(verdict::former_device_stuck, [](crosvm_disk& c) {
    REQUIRE(c.d->start(c.m.platform(), c.found(), c.d.storage()));
    c.model().reset_reads = device_model::forever;
  });
  crosvm(verdict::feature_missing, [](crosvm_disk& c) { c.model().withdraw({32}); });
  crosvm(verdict::features_refused, [](crosvm_disk& c) { c.model().refuse_features = true; });
  crosvm(verdict::queue_missing, [](crosvm_disk& c) { c.model().at(0).maximum = c.model().at(0).size = 0; });
  crosvm(verdict::queue_too_small, [](crosvm_disk& c) { c.model().at(0).maximum = c.model().at(0).size = 2; });
  crosvm(verdict::queue_unusable, [](crosvm_disk& c) { c.model().at(0).notify_off = 0x1000; });
  crosvm(verdict::config_unreadable, [](crosvm_disk& c) { c.model().generation_every = 1; });
  crosvm(verdict::limits_unusable, [](crosvm_disk& c) {
    c.model().put_config(0x14, 0x8000'0000u, 4);  // a block larger than any request
  });
  crosvm(verdict::block_size_invalid, [](crosvm_disk& c) { c.model().put_config(0x14, 520, 4); });

  // A protected VM's ACCESS_PLATFORM, for a platform that rejects it.
  {
    crosvm_disk c;
    c.model().offer({33});
    rig::driver<blk::device<refusing, pci_board::transport, split_queue<16>>> d;
    CHECK_FALSE(d->start(refusing{{&c.m.memory}}, c.found(), d.storage()));
    check(d, verdict::feature_unsupported);
  }
  {
    crosvm_disk c;  // MSI-X is off
    CHECK_FALSE(c.d->start(c.m.platform(), c.found(), c.d.storage(), {.config = 0, .first = 1, .count = 1}));
    check(c.d, verdict::vector_refused);
  }
  {
    crosvm_disk c;
    CHECK_FALSE(c.d->start(c.m.platform(), c.found(), dma_region{c.d.storage().data, 64}));
    check(c.d, verdict::storage_unusable);
  }
  {
    crosvm_disk c;
    rig::driver<rng::device<rig::platform_type, pci_board::transport, split_queue<8>>> e;
    CHECK_FALSE(e->start(c.m.platform(), c.found(), e.storage()));
    check(e, verdict::wrong_type);
  }
  {
    crosvm_disk c;
    disk_by<pci::legacy<host16>> d;
    CHECK_FALSE(d->start(c.m.platform(), c.found(), d.storage()));
    check(d, verdict::modern_unsupported);
  }
  {
    const auto crosvm_host = host_description::crosvm();
    host_machine<pci_board> m{crosvm_host};
    m.expect_objections = true;
    m.model(device_type::vsock).put_config(0, 2, 8);  // the host's context id
    rig::driver<vsock::device<rig::platform_type, pci_board::transport, split_queue<16>>> s;
    CHECK_FALSE(rig::bring_up(*s, m.platform(), m.where(device_type::vsock), s.storage()));
    check(s, verdict::cid_unusable);
  }

  // Legacy devices, kvmtool's and QEMU's.
  {
    rig::machine m;
    m.expect_objections = true;
    m.add<blk_model>(seat::legacy, 4, blk_options{.queue_size = 128});
    disk_by<rig::modern_pci> modern;
    CHECK_FALSE(modern.start(m, m.where(4)));
    check(modern, verdict::legacy_unsupported);
    disk_by<rig::any_pci> small;
    CHECK_FALSE(small.start(m, m.where(4)));
    check(small, verdict::ring_too_small);
  }
  {
    rig::machine m;
    m.expect_objections = true;
    m.add<blk_model>(seat::legacy, 4, blk_options{.queue_size = 100});
    disk_by<rig::any_pci> d;
    CHECK_FALSE(d.start(m, m.where(4)));
    check(d, verdict::queue_size_invalid);
  }

  // Slots, Firecracker's and libkrun's.
  firecracker(verdict::not_virtio_mmio, [](firecracker_disk& c) { c.slot().magic = 0; });
  firecracker(verdict::version_unknown, [](firecracker_disk& c) { c.slot().version = 3; });
  firecracker(verdict::empty_slot, [](firecracker_disk& c) { c.slot().device_id = 0; });
  firecracker(verdict::device_gone, [](firecracker_disk& c) { c.slot().further_status_bits = 0xff; });

  seen_verdicts().insert(verdict::undecided);  // of an empty report
  CHECK(report{}.why == verdict::undecided);
  seen_verdicts().insert(crosvm_disk{}.found().seen.why);  // usable
  for (unsigned v = 0; std::string{describe(static_cast<verdict>(v))} != "unknown"; ++v) {
    INFO("no device of a host for: " << describe(static_cast<verdict>(v)));
    CHECK(seen_verdicts().count(static_cast<verdict>(v)) == 1);
  }
}
