// SPDX-License-Identifier: MIT
// lsvirtio's reports on devices that differ from QEMU's: supported widths of configuration accesses, resets that do not
// end, repeated words of features. From examples/lsvirtio, with a string as the console.
#include <string>

#include <catch2/generators/catch_generators.hpp>

#include <virtio/testing/net_model.hpp>

#include "../../examples/lsvirtio/device.hpp"
#include "boot_console.hpp"
#include "disk.hpp"
#include "entropy.hpp"

using namespace virtio;
using lsvirtio::form;

namespace {

std::string report_on(rig::machine& m, form as) {
  boot::console.clear();
  lsvirtio::writer out;
  out.as = as;
  out.begin("function", "address", "00:04.0");
  lsvirtio::show_device<rig::platform_type, rig::any_pci>(out, m.platform(), m.where(4));
  out.close();
  return boot::console;
}

/// A disk whose configuration supports an access only if `answers(field's width, width)`. Other reads return
/// `else_byte` in every byte.
template <class Answers>
std::string disk_that(u8 else_byte, form as, Answers&& answers) {
  rig::machine m;
  auto& model = m.add<rig::blk_model>(
      seat::modern, 4,
      rig::blk_options{.sectors = 0x1122,
                       .seg_max = 126,
                       .blk_size = 512,
                       .topology = testing::topology_fields{
                           .physical_block_exp = 3, .alignment_offset = 1, .min_io_size = 0x102, .opt_io_size = 7}});
  model.exact_config_width = false;
  model.before_config_read = [&](u32 offset, u32 width) {
    u32 widest = 1;
    for (const lsvirtio::field& one : lsvirtio::blk_fields)
      if (offset >= one.offset && offset < u32{one.offset} + one.width) widest = one.width < 4 ? one.width : 4;
    const auto right = [&](u32 at) -> u64 {
      switch (at) {
        case 0: return 0x1122;
        case 12: return 126;
        case 20: return 512;
        case 24: return 0x01020103;
        case 28: return 7;
        default: return 0;
      }
    };
    const u32 dword = offset & ~3u;
    model.put_config(dword, answers(widest, width) ? right(dword) : u64{else_byte} * 0x01010101, 4);
  };
  return report_on(m, as);
}

}  // namespace

TEST_CASE("lsvirtio: if all widths read the same configuration, by_field is reported", "[examples][lsvirtio]") {
  const auto any = [](u32, u32) { return true; };
  const std::string json = disk_that(0, form::json, any);
  CHECK(contains(json, "\"policy\":\"by_field\",\"policy_reason\":\"all three widths agree\""));
  CHECK(contains(
      json,
      "{\"name\":\"capacity\",\"offset\":0,\"width\":8,\"by_byte\":\"2211000000000000\",\"by_field\":"
      "\"2211000000000000\","
      "\"by_dword\":\"2211000000000000\",\"agree\":true,\"number\":4386,\"value\":\"4386 sectors of 512 bytes\"}"));
  CHECK(contains(json, "{\"name\":\"topology.min_io_size\",\"offset\":26,\"width\":2,\"by_byte\":\"0201\""));
  CHECK(!contains(json, "size_max"));  // not offered
  CHECK(contains(json, "\"features\":[\"BLK_SEG_MAX\",\"BLK_BLK_SIZE\",\"BLK_FLUSH\",\"BLK_TOPOLOGY\""));
  CHECK(contains(json, "\"queues\":[128]"));

  const std::string text = disk_that(0, form::text, any);
  CHECK(contains(text, "capacity"));
  CHECK(contains(text, "4386 sectors of 512 bytes\n"));
  CHECK(!contains(text, "differ"));
}

TEST_CASE(
    "lsvirtio: a host that supports only dwords is reported, and so is one that supports only the width of each field",
    "[examples][lsvirtio]") {
  const std::string dwords = disk_that(0, form::json, [](u32, u32 width) { return width == 4; });
  CHECK(contains(dwords, "\"policy\":\"by_dword\",\"policy_reason\":\"only dwords are answered"));
  CHECK(contains(
      dwords,
      "{\"name\":\"topology.physical_block_exp\",\"offset\":24,\"width\":1,\"by_byte\":\"00\",\"by_field\":\"00\","
      "\"by_dword\":\"03\",\"agree\":false"));
  CHECK(contains(disk_that(0xff, form::json, [](u32, u32 width) { return width == 4; }), "\"policy\":\"by_dword\""));

  const std::string exact = disk_that(0, form::json, [](u32 field, u32 width) { return width == field; });
  CHECK(contains(exact, "\"policy\":\"by_field\",\"policy_reason\":\"only fields are answered, each by its own width"));

  const std::string no_bytes = disk_that(0, form::json, [](u32 field, u32 width) { return width != 1 || field == 1; });
  CHECK(contains(
      no_bytes,
      "\"policy\":\"by_field\",\"policy_reason\":\"bytes are not answered as wider fields are: never by_byte\""));

  const std::string no_dwords = disk_that(0, form::json, [](u32 field, u32 width) { return width < 4 || field == 4; });
  CHECK(contains(no_dwords,
                 "\"policy\":\"by_field\",\"policy_reason\":\"narrow fields differ from their dwords, and bytes are "
                 "answered: never by_dword\""));

  // Arbitrary invalid data: reported without an interpretation.
  const std::string rubbish = disk_that(0xa5, form::text, [](u32, u32 width) { return width == 4; });
  CHECK(contains(rubbish, "the widths contradict each other"));
  CHECK(contains(rubbish, " !"));
  CHECK(contains(rubbish, "(differ)"));
}

TEST_CASE("lsvirtio: if the last dword reaches past the end of the configuration, by_dword is not tried",
          "[examples][lsvirtio]") {
  rig::machine m;
  m.expect_objections = true;
  m.add<testing::net_model>(seat::modern, 4);
  auto& function = m.function(4);
  function.poke(usize{function.capability(0x09, 4)} + 12, 6, 4);  // only the MAC address
  const std::string json = report_on(m, form::json);
  INFO(json);
  CHECK(contains(json,
                 "{\"name\":\"mac\",\"offset\":0,\"width\":1,\"count\":6,\"by_byte\":\"525400123456\","
                 "\"by_field\":\"525400123456\",\"by_dword\":null,\"agree\":true,"));
  CHECK(contains(json, "{\"name\":\"status\",\"missing\":"));
  const std::string text = report_on(m, form::text);
  CHECK(contains(text, "525400123456                -    52:54:00:12:34:56\n"));
}

TEST_CASE("lsvirtio: of an input device names up to their longest, ids and types of events are read",
          "[examples][lsvirtio]") {
  struct input_model : testing::device_model {
    explicit input_model(testing::device_memory& memory)
        : device_model{memory, 18, {64, 64}, std::vector<std::uint8_t>(136)} {
      exact_config_width = false;
      before_config_read = [this](u32 offset, u32) {
        if (offset != 2) return;
        std::vector<u8> says;
        switch (config()[0]) {
          case 1: says.assign(128, 'n'); break;
          case 3: says = {6, 0, 0x27, 6, 1, 0, 2, 0}; break;
          case 0x11:
            if (config()[1] == 1 || config()[1] == 0x14) says = {0xff};
            break;
          default: break;
        }
        config()[2] = static_cast<u8>(says.size());
        std::copy(says.begin(), says.end(), config().begin() + 8);
      };
    }
    bool config_writable(std::uint32_t offset, std::uint32_t width) const override { return offset < 2 && width == 1; }
  };
  rig::machine m;
  m.expect_objections = true;
  m.add<input_model>(seat::modern, 4);
  const std::string json = report_on(m, form::json);
  INFO(json);
  CHECK(contains(json, "\"input_name\":\"" + std::string(128, 'n') + "\","));
  CHECK(!contains(json, "input_serial"));
  CHECK(contains(json, "\"input_ids\":{\"bustype\":6,\"vendor\":1575,\"product\":1,\"version\":2}"));
  CHECK(contains(json, "\"input_events\":[\"KEY\",\"REP\"]"));
}

TEST_CASE("lsvirtio: start and size of persistent memory are shown unless it is a shared memory region",
          "[examples][lsvirtio]") {
  struct pmem_model : testing::device_model {
    explicit pmem_model(testing::device_memory& memory)
        : device_model{memory, 27, {64}, std::vector<std::uint8_t>(16, 0x11)} {}
  };
  const bool is_region = GENERATE(false, true);
  rig::machine m;
  m.expect_objections = true;
  auto& model = m.add<pmem_model>(seat::modern, 4);
  if (is_region) model.offer({0});
  const std::string json = report_on(m, form::json);
  INFO(json);
  CHECK(contains(json, "PMEM_SHMEM_REGION") == is_region);
  CHECK(contains(json, "\"name\":\"start\"") != is_region);
  CHECK(contains(json, "\"name\":\"size\"") != is_region);
}

TEST_CASE("lsvirtio: OpenBSD's VM control device is reported as one, its registers as dwords", "[examples][lsvirtio]") {
  struct control_model : testing::device_model {
    explicit control_model(testing::device_memory& memory)
        : device_model{memory, 0xffff, {}, {0, 0, 0, 0, 0x10, 0x20, 0, 0, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0}} {
      exact_config_width = false;
    }
  };
  rig::machine m;
  m.expect_objections = true;
  m.add<control_model>(seat::legacy, 4).offer({0, 1, 2});
  m.function(4).poke(0, 0x07770b5d, 4);
  unsigned seen = 0;
  std::string json;
  lsvirtio::each_function(rig::host{m.bus.host()}, [&](const pci::found<rig::host>& one) {
    ++seen;
    CHECK(one.seen.why == verdict::usable);
    CHECK(one.seen.type == device_type::vmmci);
    boot::console.clear();
    lsvirtio::writer out;
    out.as = form::json;
    out.begin("function", "address", "00:04.0");
    lsvirtio::show_device<rig::platform_type, rig::any_pci>(out, m.platform(), one);
    out.close();
    json = boot::console;
  });
  CHECK(seen == 1);
  INFO(json);
  CHECK(contains(json, "\"type\":\"vm control\",\"type_number\":65535,\"interface\":\"legacy\""));
  CHECK(contains(json, "\"features\":[\"VMMCI_TIMESYNC\",\"VMMCI_ACK\",\"VMMCI_SYNCRTC\","));
  CHECK(contains(json, "{\"name\":\"time_sec\",\"offset\":4,\"width\":4,"));
  CHECK(contains(json, "\"value\":\"8208 s\""));
  CHECK(contains(json, "\"value\":\"48 us\""));
}

TEST_CASE("lsvirtio: OpenBSD's vmd is named by its bridge, and no other host is", "[examples][lsvirtio][hosts]") {
  const auto shown = [](const char* bridge) {
    rig::machine m;
    m.bus.raw({0, 0, 0, 0}, bridge);
    boot::console.clear();
    lsvirtio::writer out;
    out.as = form::json;
    out.begin("machine", "version", "virtio");
    lsvirtio::show_host(out, rig::host{m.bus.host()});
    out.close();
    return boot::console;
  };
  CHECK(contains(shown("5d 0b 66 06"), "\"host\":\"OpenBSD's vmd\""));
  CHECK_FALSE(contains(shown("86 80 37 12"), "host"));
}

TEST_CASE("lsvirtio: an examination accepts no feature, sets up no queue and leaves the device reset",
          "[examples][lsvirtio]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  m.function(4).clear_log();
  CHECK(contains(report_on(m, form::json), "\"features\":["));
  const std::string& log = m.function(4).log();
  INFO(log);
  for (const char* written : {"w4@common+0xc=", "w2@common+0x18=", "w2@common+0x1c="}) CHECK(!contains(log, written));
  CHECK(m.models[0]->status() == 0);
  CHECK(m.objections().empty());
}

TEST_CASE("lsvirtio: on every model of a host the report is right, and the only violations are reads of all widths",
          "[examples][lsvirtio]") {
  for (const seat where : {seat::modern, seat::transitional, seat::legacy, seat::crosvm, seat::vmd}) {
    INFO(rig::name(where));
    rig::machine m;
    m.expect_objections = true;
    auto& disk = m.add<rig::blk_model>(where, 4, rig::blk_options{.sectors = 0x1122, .seg_max = 126});
    const std::string json = report_on(m, form::json);
    CHECK(contains(json, "\"type\":\"block\""));
    CHECK(contains(json, where == seat::legacy         ? "\"interface\":\"legacy\""
                         : where == seat::transitional ? "\"interface\":\"transitional\""
                                                       : "\"interface\":\"modern\""));
    CHECK(contains(json, "\"BLK_SEG_MAX\""));
    CHECK(contains(json, "\"queues\":[128]"));
    CHECK(contains(json, "\"value\":\"4386 sectors of 512 bytes\""));
    CHECK(contains(json, "\"policy\":\"by_field\""));
    CHECK(disk.status() == 0);
    for (const std::string& one : m.objections()) {
      INFO(one);
      CHECK(contains(one, "PCI-05"));
    }
  }
}

TEST_CASE("lsvirtio: a device that does not finish its reset is reported with its status, and examined all the same",
          "[examples][lsvirtio]") {
  rig::machine m;
  m.expect_objections = true;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  model.reset_reads = rig::device_model::forever;
  const std::string json = report_on(m, form::json);
  INFO(json);
  CHECK(contains(json, "\"reset\":\"does not end\",\"status\":1,"));
  CHECK(contains(json, "\"features\":["));
}

TEST_CASE("lsvirtio: the tables are consistent, and agree with the library", "[examples][lsvirtio]") {
  int previous = 0;
  for (const lsvirtio::type_row& row : lsvirtio::types) {
    INFO(row.name);
    CHECK(row.type > previous);
    previous = row.type;
    const std::string known = name(static_cast<device_type>(row.type));
    if (known != "device") CHECK(known == row.name);
    int bit_before = -1;
    for (const lsvirtio::bit_name& one : row.features) {
      CHECK(one.bit > bit_before);
      CHECK((one.bit < 24 || one.bit >= 50));  // 6: the bits of device types
      bit_before = one.bit;
    }
    unsigned end = 0;
    for (const lsvirtio::field& one : row.fields) {
      INFO(one.name);
      CHECK(one.offset >= end);
      CHECK((one.width == 1 || one.width == 2 || one.width == 4 || one.width == 8));
      CHECK(one.offset % (one.width < 4 ? one.width : 4) == 0);
      CHECK((one.count == 1 || one.width == 1));
      CHECK(one.width * one.count <= int{lsvirtio::reading::most});
      end = one.offset + one.width * one.count;
    }
  }
  const auto offset_of = [](device_type type, const std::string& wanted) {
    for (const lsvirtio::field& one : lsvirtio::row_for(type).fields)
      if (one.name == wanted) return int{one.offset};
    return -1;
  };
  CHECK(offset_of(device_type::block, "blk_size") == int{blk::config::blk_size.offset});
  CHECK(offset_of(device_type::block, "writeback") == int{blk::config::writeback.offset});
  CHECK(offset_of(device_type::block, "max_secure_erase_sectors") == int{blk::config::secure_erase.offset});
  CHECK(offset_of(device_type::block, "topology.opt_io_size") == int{blk::config::opt_io_size.offset});
  CHECK(std::string{lsvirtio::feature_name(0, device_type::block)} == "BLK_BARRIER");
  CHECK(lsvirtio::row_for(static_cast<device_type>(14)).name == nullptr);
  CHECK(std::string{lsvirtio::feature_name(6, device_type::iommu)} == "IOMMU_BYPASS_CONFIG");
  CHECK(std::string{lsvirtio::feature_name(34, device_type::iommu)} == "RING_PACKED");
  CHECK(lsvirtio::feature_name(23, device_type::iommu) == nullptr);
  // Bits with several meanings on hosts.
  CHECK(std::string{lsvirtio::feature_name(41, device_type::block)} == "ADMIN_VQ");
  CHECK(std::string{lsvirtio::feature_name(41, device_type::network)} == "ADMIN_VQ or NET_GUEST_RSC4");
  CHECK(std::string{lsvirtio::feature_name(42, device_type::network)} == "SUSPEND of crosvm or NET_GUEST_RSC6");
  CHECK(std::string{lsvirtio::feature_name(42, device_type::vsock)} == "SUSPEND of crosvm");
}

TEST_CASE("lsvirtio: a device of a type without a name is shown by number, with the first dwords of its configuration",
          "[examples][lsvirtio]") {
  rig::machine m;
  m.expect_objections = true;
  m.add<rig::blk_model>(seat::modern, 4, rig::blk_options{.sectors = 0x1122});
  m.function(4).poke(2, 0x1040 + 14, 2);
  const std::string json = report_on(m, form::json);
  INFO(json);
  CHECK(contains(json, "\"type\":\"unknown\",\"type_number\":14"));
  CHECK(contains(json, "\"queues\":[128]"));
  CHECK(contains(
      json,
      "{\"name\":\"dword\",\"offset\":0,\"width\":4,\"by_byte\":\"22110000\","
      "\"by_field\":\"22110000\",\"by_dword\":\"22110000\",\"agree\":true,\"number\":4386,\"value\":\"0x1122\"}"));
  CHECK(contains(json, "{\"name\":\"dword\",\"offset\":56,"));
}
