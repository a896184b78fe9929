// SPDX-License-Identifier: MIT
// lsvirtio's search for PCI functions with an MCFG table of several segments, or several rows for one.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "../../examples/lsvirtio/config_spaces.hpp"

using namespace virtio;
using spaces = lsvirtio::config_spaces<pci::ecam>;

namespace {

constexpr usize bus_bytes = 1 << 20;

struct bus_memory {
  std::unique_ptr<u8, decltype(&std::free)> bytes{static_cast<u8*>(std::aligned_alloc(bus_bytes, bus_bytes)),
                                                  &std::free};

  explicit bus_memory(u32 ids) {
    std::memset(bytes.get(), 0xff, bus_bytes);
    std::memset(bytes.get() + (3 << 15), 0, 4096);  // function 3.0
    std::memcpy(bytes.get() + (3 << 15), &ids, sizeof ids);
  }
  [[nodiscard]] u64 address() const { return reinterpret_cast<uptr>(bytes.get()); }
};

struct row {
  u64 first;  // of its first bus
  u16 segment;
  u8 first_bus;
};

std::vector<u8> mcfg_of(const std::vector<row>& rows) {
  std::vector<u8> out(44);
  std::memcpy(out.data(), "MCFG", 4);
  for (const row& one : rows) {
    const u64 base = one.first - one.first_bus * bus_bytes;  // the address is that of bus 0
    for (unsigned i = 0; i < 8; ++i) out.push_back(static_cast<u8>(base >> 8 * i));
    for (const int byte : {one.segment & 0xff, one.segment >> 8, int{one.first_bus}, int{one.first_bus}, 0, 0, 0, 0})
      out.push_back(static_cast<u8>(byte));
  }
  out[4] = static_cast<u8>(out.size());
  u8 sum = 0;
  for (const u8 byte : out) sum = static_cast<u8>(sum + byte);
  out[9] = static_cast<u8>(-sum);
  return out;
}

}  // namespace

TEST_CASE("lsvirtio: functions of every segment and row of an MCFG table are found, and read at their addresses",
          "[examples][lsvirtio]") {
  const bus_memory first{0x11111af4}, piece{0x22221af4}, far{0x33331af4};
  const std::vector<u8> bytes = mcfg_of({{first.address(), 0, 0}, {piece.address(), 0, 8}, {far.address(), 5, 0}});
  const auto table = pci::mcfg::read({bytes.data(), bytes.size()});
  REQUIRE(table);
  for (const auto what : {spaces::segment_0::wanted, spaces::segment_0::reached_otherwise}) {
    spaces all{};
    all.add_rows<mmio_space>(*table, pci::linear_map{.reach = ~u64{0}}, what);
    std::string found;
    (void)all.each_function([&](pci::address at) {
      const pci::ecam* const one = all.of(at);
      REQUIRE(one != nullptr);
      found += std::to_string(at.segment) + "/" + std::to_string(at.bus) + "." + std::to_string(at.slot) + "=" +
               std::to_string(one->config_read32(at, 0) >> 28) + " ";
      return true;
    });
    CHECK(found == (what == spaces::segment_0::wanted ? "0/0.3=1 0/8.3=2 5/0.3=3 " : "5/0.3=3 "));
    CHECK(all.of({5, 1, 0, 0}) == nullptr);
    CHECK(all.of({1, 0, 3, 0}) == nullptr);
  }
}
