// SPDX-License-Identifier: MIT
// A field report as tests: an Android guest under crosvm, in which block, entropy, balloon and socket devices were
// found but not bound, without a reason.
#include <catch2/catch_test_macros.hpp>

#include "balloon.hpp"
#include "disk.hpp"
#include "entropy.hpp"
#include "hosts.hpp"
#include "vsock.hpp"

using namespace virtio;
using rig::host_description;
using rig::host_machine;
using rig::pci_board;

namespace {

/// The four drivers of the report.
struct four {
  rig::driver<blk::device<rig::platform_type, pci_board::transport, split_queue<16>>> disk{};
  rig::driver<rng::device<rig::platform_type, pci_board::transport, split_queue<16>>> entropy{};
  rig::driver<balloon::device<rig::platform_type, pci_board::transport, split_queue<16>>> balloon{};
  rig::driver<vsock::device<rig::platform_type, pci_board::transport, split_queue<16>>> sockets{};

  /// Starts the devices that are found, and returns the verdicts by device id.
  std::map<u16, report> start(host_machine<pci_board>& m) {
    std::map<u16, report> said;
    m.board.scan([&](const pci::found<pci_board::host>& one) {
      report& of = said[one.who.device];
      of = one.seen;
      const auto run = [&](auto& d) {
        (void)rig::bring_up(*d, m.platform(), one, d.storage());
        of = d->why();
      };
      if (one.who.device == 0x1042) run(disk);
      if (one.who.device == 0x1044) run(entropy);
      if (one.who.device == 0x1045) run(balloon);
      if (one.who.device == 0x1053) run(sockets);
    });
    return said;
  }
  void hand_off() {
    (void)disk->hand_off();
    (void)entropy->hand_off();
    (void)balloon->hand_off();
    (void)sockets->hand_off();
  }
};

host_description crosvm() {
  host_description host = host_description::crosvm();
  host.console.reset();
  host.net.reset();
  return host;
}

/// Returns the verdict that the bus traced for a function with this device id.
std::vector<u32> traced(host_machine<pci_board>& m, u16 device) {
  std::vector<u32> verdicts;
  bool mine = false;
  for (const event& one : m.board.devices.events) {
    if (one.what == event::kind::function) mine = one.b == (u32{device} << 16 | 0x1af4);
    if (one.what == event::kind::verdict && mine) verdicts.push_back(one.a);
  }
  return verdicts;
}

constexpr u16 the_four[] = {0x1042, 0x1044, 0x1045, 0x1053};

}  // namespace

TEST_CASE("android: block, entropy, balloon and sockets of crosvm, 1af4:1042, 1044, 1045 and 1053, bind side by side",
          "[hosts]") {
  const auto host = crosvm();
  host_machine<pci_board> m{host};
  four drivers;
  const auto said = drivers.start(m);
  REQUIRE(said.size() == 4);
  for (const u16 id : the_four) {
    CAPTURE(id);
    CHECK(said.at(id).why == verdict::bound);
    CHECK(traced(m, id) == std::vector<u32>{static_cast<u32>(verdict::usable)});
  }
  u8 sector[512], random[32];
  CHECK(drivers.disk->read(0, sector));
  CHECK(drivers.entropy->fill(random));
  CHECK(drivers.balloon->target());
  CHECK(drivers.sockets->cid() == 3);
  drivers.hand_off();
}

TEST_CASE("android: of crosvm's four devices the one that does not bind has a reason, and the other three bind",
          "[hosts][report]") {
  struct trouble {
    const char* what;
    u16 id;
    verdict why;
    void (*make)(fake_function&, device_model&);
  };
  static constexpr trouble all[] = {
      {"an id beyond the table", 0x1053, verdict::id_outside_ranges,
       [](fake_function& f, device_model&) { f.poke(2, 0x1080, 2); }},
      {"an unassigned BAR", 0x1053, verdict::bar_unassigned,
       [](fake_function& f, device_model&) { f.poke(0x10, 0, 4); }},
      {"a capability that is missing", 0x1044, verdict::capability_missing,
       [](fake_function& f, device_model&) { f.poke(f.capability(9, 1) + 3u, 9, 1); }},
      {"a feature that the driver needs", 0x1042, verdict::feature_missing,
       [](fake_function&, device_model& d) { d.withdraw({32}); }},
      {"features that the device takes back", 0x1045, verdict::features_refused,
       [](fake_function&, device_model& d) { d.refuse_features = true; }},
      {"a queue that is not there", 0x1045, verdict::queue_missing,
       [](fake_function&, device_model& d) { d.at(1).maximum = d.at(1).size = 0; }},
      {"a reset that does not end", 0x1044, verdict::reset_timed_out,
       [](fake_function&, device_model& d) { d.reset_reads = device_model::forever; }},
      {"a context id that no guest can have", 0x1053, verdict::cid_unusable,
       [](fake_function&, device_model& d) { d.put_config(0, 0, 8); }},
      {"a configuration that never holds still", 0x1042, verdict::config_unreadable,
       [](fake_function&, device_model& d) { d.generation_every = 1; }},
  };
  const auto host = crosvm();
  for (const trouble& one : all) {
    CAPTURE(one.what);
    host_machine<pci_board> m{host};
    m.expect_objections = true;
    auto& model = m.model(static_cast<device_type>(one.id - 0x1040));
    const auto where = m.where(static_cast<device_type>(one.id - 0x1040)).id;
    one.make(m.board.devices.function(where), model);
    m.board.devices.events.clear();
    four drivers;
    const auto said = drivers.start(m);
    REQUIRE(said.size() == 4);
    for (const auto& [id, seen] : said) {
      CAPTURE(id);
      const bool is_it = id == one.id || id == 0x1080;
      CHECK(seen.why == (is_it ? one.why : verdict::bound));
      CHECK(traced(m, id).size() == 1);
    }
    drivers.hand_off();
  }
}
