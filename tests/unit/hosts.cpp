// SPDX-License-Identifier: MIT
// The same drivers on every described host, found by a scan of its bus: disks and entropy, and rules for all hosts, so
// that none needs a profile. Balloons, consoles, sockets and network cards are in other files.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <map>
#include <numeric>
#include <sstream>

#include "disk.hpp"
#include "entropy.hpp"
#include "hosts.hpp"

using namespace virtio;
using rig::host_description;
using rig::host_machine;
using rig::on_each_host;
using rig::pci_board;

namespace {

template <class Board>
using disk_on = rig::driver<blk::device<rig::platform_type, typename Board::transport, rig::host_queue>>;
template <class Board>
using entropy_on = rig::driver<rng::device<rig::platform_type, typename Board::transport, rig::host_queue>>;

template <class Driver, class Machine>
void start(Driver& d, Machine& m, device_type type) {
  const auto up = rig::bring_up(*d, m.platform(), m.where(type), d.storage());
  INFO(describe(d->why().why));
  REQUIRE(up);
  CHECK(d->why().why == verdict::bound);
}

}  // namespace

TEST_CASE(
    "hosts: a disk reads, writes and flushes as its features state, in pieces and whole [BLK-06][BLK-08][BLK-10]",
    "[hosts][blk][host-one-segment][host-half-words][host-cap-len][host-status-steps][host-feature-words][host-io-bar]"
    "[host-multiplier][host-notify-length][host-config-width][host-used-length][host-ring-entries]") {
  on_each_host(device_type::block, [](auto& m) {
    using board = typename std::remove_reference_t<decltype(m)>::board_type;
    auto& model = m.template as<blk_model>(device_type::block);
    fill_pattern(model);
    disk_on<board> d;
    start(d, m, device_type::block);
    CHECK(d->capacity() == 2048);
    for (const u32 piece : {u32{4096}, u32{700}, u32{100000}}) {
      m.memory.largest_piece = piece;  // memory is in pieces for the device
      std::vector<u8> data(40 * 512);
      REQUIRE(d->read(3, data));
      CHECK(data == expected(model, 3, data.size()));
      std::iota(data.begin(), data.end(), static_cast<u8>(piece));
      REQUIRE(d->write(2000, data));
      CHECK(data == expected(model, 2000, data.size()));
      REQUIRE(d->flush());
      model.power_cut();
      CHECK(data == expected(model, 2000, data.size()));
    }
    REQUIRE(d->hand_off());
  });
}

TEST_CASE("hosts: entropy fills a buffer with exactly the bytes that the device wrote [RNG-01][RNG-02]",
          "[hosts][rng][host-rng-length]") {
  on_each_host(device_type::entropy, [](auto& m) {
    using board = typename std::remove_reference_t<decltype(m)>::board_type;
    entropy_on<board> e;
    start(e, m, device_type::entropy);
    std::vector<u8> data(100'000);
    REQUIRE(e->fill(data));
    for (usize i = 0; i < data.size(); ++i) REQUIRE(data[i] == rng_model::pattern(i));
    REQUIRE(e->hand_off());
  });
}

TEST_CASE(
    "hosts: of Android's crosvm 1042, 1044, 1045 and 1053 are usable, and its console and network card, by rule, "
    "of any class, length and address",
    "[hosts][pci]") {
  const auto crosvm = host_description::crosvm();
  host_machine<pci_board> m{crosvm};
  std::map<u16, verdict> seen;
  m.board.scan([&](const auto& one) {
    CHECK(one.who.vendor == 0x1af4);
    CHECK(one.seen.via == transport_kind::pci_modern);
    CHECK(static_cast<u16>(one.seen.type) == one.who.device - 0x1040);
    seen[one.who.device] = one.seen.why;
  });
  for (const u16 id : std::initializer_list<u16>{0x1041, 0x1042, 0x1043, 0x1044, 0x1045, 0x1053}) {
    CAPTURE(id);
    REQUIRE(seen.count(id) == 1);
    CHECK(seen[id] == verdict::usable);
  }
  CHECK(seen.size() == 6);
  CHECK((m.board.devices.function({0, 0, 3, 0}).peek(0x10)) ==
        0x0201'8000);  // the address of the socket device in the field report
}

TEST_CASE("hosts: every device of every host is usable by a scan of its bus, and stays as it is",
          "[hosts][pci][mmio]") {
  for (const host_description& one : host_description::all()) {
    CAPTURE(one.name());
    const auto look = [&](auto& m) {
      usize found = 0;
      m.board.scan([&](const auto& device) {
        if (device.seen.why == verdict::usable) ++found;
      });
      CHECK(found == m.models.size());
      CHECK(found >= 3);
      for (const auto& model : m.models) CHECK(model->status() == 0);
    };
    if (one.is_mmio()) {
      host_machine<rig::mmio_board> m{one};
      look(m);
    } else {
      host_machine<pci_board> m{one};
      look(m);
    }
  }
}

namespace {

/// Accesses to the common configuration during a driver's start, "w4+0xc" with the written value.
template <class Driver>
std::vector<std::string> common_accesses(const host_description& host, device_type type) {
  host_machine<pci_board> m{host};
  Driver d;
  start(d, m, type);
  std::vector<std::string> all;
  const auto place = m.where(type).id;
  std::istringstream log{m.board.devices.function(place).log()};
  for (std::string one; log >> one;)
    if (const auto at = one.find("@common"); at != std::string::npos)
      all.push_back(one.substr(0, at) + one.substr(at + 7));
  REQUIRE(d->hand_off());
  return all;
}

std::vector<host_description> pci_hosts() {  // with a common structure
  std::vector<host_description> some;
  for (const auto& one : host_description::all())
    if (!one.is_mmio() && !one.behaviour.pci.legacy) some.push_back(one);
  return some;
}

}  // namespace

TEST_CASE(
    "hosts: every register is accessed in its own width, and no choice or address is read back, on any host [PCI-05]",
    "[hosts][pci][host-width][host-read-back]") {
  for (const auto& host : pci_hosts()) {
    CAPTURE(host.name());
    const auto seen = common_accesses<disk_on<pci_board>>(host, device_type::block);
    REQUIRE(seen.size() > 20);
    for (const std::string& one : seen) {
      CAPTURE(one);
      const auto offset = std::stoul(one.substr(one.find('+') + 1), nullptr, 16);
      const char width = offset < 0x10 || (offset >= 0x20 && offset < 0x38) ? '4'
                         : offset == 0x14 || offset == 0x15                 ? '1'
                                                                            : '2';
      CHECK(one[1] == width);
      if (one[0] == 'r') CHECK((offset != 0x0c && (offset < 0x20 || offset >= 0x38)));
    }
  }
}

TEST_CASE(
    "hosts: no host needs a profile: crosvm, Firecracker and Cloud Hypervisor get the same accesses in the same order",
    "[hosts][pci]") {
  // Except for differences in offered features and queue sizes.
  const auto plain = [](const host_description& host) {
    std::string text;
    for (const std::string& one : common_accesses<entropy_on<pci_board>>(host, device_type::entropy)) {
      const bool differs = one.rfind("w4+0x2", 0) == 0 || one.rfind("w4+0x3", 0) == 0;  // addresses
      text += (differs ? one.substr(0, one.find('=')) : one) + ' ';
    }
    return text;
  };
  const std::string on_crosvm = plain(host_description::crosvm());
  CHECK(on_crosvm == plain(host_description::firecracker(host_description::bus::pci)));
  CHECK(on_crosvm == plain(host_description::cloud_hypervisor()));
  CHECK(on_crosvm.find("w1+0x14=0xf") != std::string::npos);
}

TEST_CASE("hosts: an access of a wrong width has the host's effect, and fails its test", "[hosts][kit]") {
  host_description host = host_description::crosvm();
  for (const u32 reads : {u32{0}, ~u32{0}}) {
    host.behaviour.registers.wrong_width_reads = reads;
    host_machine<pci_board> m{host};
    m.expect_objections = true;
    auto& f = m.board.devices.function({0, 0, 1, 0});
    CHECK(f.bar_access(0, 0x14, 4, nullptr) == reads);
    const u32 one = 1;
    (void)f.bar_access(0, 0x14, 2, &one);
    CHECK(f.device->status() == 0);
    REQUIRE(m.objections().size() == 2);
    CHECK(contains(m.objections()[0], "PCI-05: access of 4 bytes to common+0x14"));
    CHECK(contains(f.log(), "r4@common+0x14 w2@common+0x14=0x1"));
  }
}

TEST_CASE(
    "hosts: the device's accepted features are the driver's after each reset, also on hosts that keep earlier ones",
    "[hosts][blk][host-features-once]") {
  on_each_host(device_type::block, [](auto& m) {
    using board = typename std::remove_reference_t<decltype(m)>::board_type;
    auto& model = m.template as<blk_model>(device_type::block);
    fill_pattern(model);
    disk_on<board> d;
    std::vector<u8> data(1024);
    for (int again = 0; again < 3; ++again) {
      start(d, m, device_type::block);
      for (u8 bit = 0; bit < 128; ++bit) {
        CAPTURE(bit);
        CHECK(model.accepted(bit) == d->features().has_bit(bit));
      }
      REQUIRE(d->read(1, data));
      CHECK(data == expected(model, 1, data.size()));
      REQUIRE(d->hand_off());
    }
  });
}

TEST_CASE("hosts: discarded sectors read as the host's content [BLK-19]", "[hosts][blk]") {
  on_each_host(device_type::block, [](auto& m) {
    using board = typename std::remove_reference_t<decltype(m)>::board_type;
    if (!m.host.disk->discard) return;
    auto& model = m.template as<blk_model>(device_type::block);
    disk_on<board> d;
    start(d, m, device_type::block);
    REQUIRE(d->discard(128, 256));
    std::vector<u8> data(1024);
    for (const u8 host_has : {u8{0xdd}, u8{0}, u8{0x5a}}) {
      std::fill_n(model.data().begin() + 128 * 512, 256 * 512, host_has);
      REQUIRE(d->read(200, data));
      CHECK(data == std::vector<u8>(1024, host_has));
    }
    REQUIRE(d->hand_off());
  });
}

namespace {

/// A guest with separate physical addresses, and a device that reaches its memory and the buffers of one test.
struct physical {
  using barriers = smp_barriers;
  struct board {
    virtio::testing::strict_machine* at = nullptr;
    std::map<uptr, usize> given{};  // mapped ranges: address and bytes
  };
  board* all = nullptr;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    const auto at = reinterpret_cast<uptr>(va);
    if (all->given.insert({at, n}).second) (void)all->at->memory.add_identity(va, n);
    return out.push(dma_addr{at}, n, way);
  }
  bool keep_waiting(waiting why, u64 attempt) const { return all->at->keep_waiting(why, attempt); }
};

}  // namespace

TEST_CASE(
    "hosts: without ACCESS_PLATFORM a device is given the physical addresses of rings and buffers, and no others "
    "[FEAT-13]",
    "[hosts][blk]") {
  on_each_host(device_type::block, [](auto& m) {
    using board = typename std::remove_reference_t<decltype(m)>::board_type;
    if (m.host.behaviour.pci.legacy) return;  // no page number can address this program's memory
    auto& model = m.template as<blk_model>(device_type::block);
    if (!model.ram.empty()) model.ram = {{0, ~u64{0}}};  // the memory of this guest
    physical::board own{&m.memory};
    rig::driver<blk::device<physical, typename board::transport, rig::host_queue>> d;
    REQUIRE(d->start(physical{&own}, m.where(device_type::block), d.storage()));
    REQUIRE_FALSE(model.accepted(33));
    const dma_region storage = d.storage();
    const auto in_storage = [&](u64 at) { return at - reinterpret_cast<uptr>(storage.data) < storage.size; };
    CHECK(in_storage(model.at(0).descriptors));
    CHECK(in_storage(model.at(0).driver));
    CHECK(in_storage(model.at(0).device));
    std::vector<u8> data(512);
    model.hold();
    REQUIRE(d->submit_read(7, data));
    d->kick();
    (void)model.step();
    REQUIRE(model.held().size() == 1);
    usize of_buffer = 0;
    for (const auto& one : model.held()[0].buffer.elements) {
      const bool is_data = one.at == reinterpret_cast<uptr>(data.data());
      of_buffer += is_data ? one.length : 0;
      CHECK((is_data || in_storage(one.at)));
    }
    CHECK(of_buffer == data.size());
    model.complete_all();
    REQUIRE(d->drain([](blk::done) {}));
    REQUIRE(d->hand_off());
  });
}
