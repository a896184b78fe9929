// SPDX-License-Identifier: MIT
// ECAM's address from ACPI: the tables of QEMU's firmware, their 64-bit form, and truncated, looping or broken tables.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <virtio/bus/pci/mcfg.hpp>

using namespace virtio;
using virtio::pci::mcfg;

namespace {

using table = std::vector<u8>;

table bytes_of(std::string_view text) {
  table out;
  for (usize i = 0; i + 1 < text.size(); i += 3)
    out.push_back(static_cast<u8>(std::stoul(std::string{text.substr(i, 2)}, nullptr, 16)));
  return out;
}

// Recorded from QEMU 7.2.22, machine q35, after SeaBIOS: RSDP, RSDT and MCFG.
const table q35_rsdp = bytes_of(
    "52 53 44 20 50 54 52 20 bb 42 4f 43 48 53 20 00 70 22 fe 07 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ");
const table q35_rsdt = bytes_of(
    "52 53 44 54 38 00 00 00 01 74 42 4f 43 48 53 20 42 58 50 43 20 20 20 20 01 00 00 00 42 58 50 43 "
    "01 00 00 00 68 20 fe 07 5c 21 fe 07 d4 21 fe 07 0c 22 fe 07 48 22 fe 07 ");
const table q35_mcfg = bytes_of(
    "4d 43 46 47 3c 00 00 00 01 8c 42 4f 43 48 53 20 42 58 50 43 20 20 20 20 01 00 00 00 42 58 50 43 "
    "01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 b0 00 00 00 00 00 00 00 ff 00 00 00 00 ");

void put(table& to, usize at, u64 value, usize width) {
  for (usize i = 0; i < width; ++i) to[at + i] = static_cast<u8>(value >> (8 * i));
}
void seal(table& one, usize at = 9, usize size = 0) {
  one[at] = 0;
  u8 sum = 0;
  for (usize i = 0; i < (size != 0 ? size : one.size()); ++i) sum = static_cast<u8>(sum + one[i]);
  one[at] = static_cast<u8>(-sum);
}

/// Physical memory with some tables. Each view is a copy of exactly the requested size, so that sanitizers detect reads
/// beyond it.
struct memory {
  std::map<u64, table> at;
  std::vector<std::unique_ptr<u8[]>> views;
  usize count = 0, shown = 0;

  const_bytes operator()(u64 address, usize size) {
    ++count;
    const auto next = at.upper_bound(address);
    if (next == at.begin()) return {};
    const auto& [base, content] = *std::prev(next);
    if (address - base > content.size() || size > content.size() - (address - base)) return {};
    views.push_back(std::make_unique<u8[]>(size));
    std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(address - base), size, views.back().get());
    shown += size;
    return {views.back().get(), size};
  }
  result<const_bytes> find(const table& rsdp, const_bytes signature) {
    views.push_back(std::make_unique<u8[]>(rsdp.size()));
    std::copy(rsdp.begin(), rsdp.end(), views.back().get());
    return pci::acpi::find_table({views.back().get(), rsdp.size()}, signature,
                                 [this](u64 a, usize n) { return (*this)(a, n); });
  }
};

memory q35() {
  memory m;
  m.at[0x7fe2270] = q35_rsdt;
  m.at[0x7fe220c] = q35_mcfg;
  return m;
}

table table_of(std::string_view signature, usize size) {
  table out(size);
  std::copy(signature.begin(), signature.end(), out.begin());
  put(out, 4, size, 4);
  return out;
}

table mcfg_with(const std::vector<std::vector<u64>>& rows) {  // base, segment, first bus, last bus
  table out = table_of("MCFG", 44 + 16 * rows.size());
  usize at = 44;
  for (const auto& row : rows) {
    put(out, at, row.at(0), 8);
    put(out, at + 8, row.at(1), 2);
    put(out, at + 10, row.at(2), 1);
    put(out, at + 11, row.at(3), 1);
    at += 16;
  }
  seal(out);
  return out;
}

}  // namespace

TEST_CASE("mcfg: QEMU's tables lead to its ECAM", "[pci][mcfg]") {
  memory m = q35();
  const auto found = m.find(q35_rsdp, text("MCFG"));
  REQUIRE(found);
  const auto read = mcfg::read(*found);
  REQUIRE(read);
  CHECK(read->rows() == 1);
  const auto host = read->segment(0);
  REQUIRE(host);
  CHECK(host->base == 0xb0000000);
  CHECK(host->buses == 256);
  CHECK(host->segment_number == 0);
  CHECK(read->segment(1).error() == errc::not_found);
  CHECK(read->row(1).error() == errc::not_found);
  CHECK(m.find(q35_rsdp, text("SSDT")).error() == errc::not_found);
}

TEST_CASE("mcfg: an RSDP of revision 2 leads through the XSDT, a broken one through the RSDT", "[pci][mcfg]") {
  memory m = q35();
  const u64 high = u64{1} << 40;
  table wide = table_of("XSDT", 36 + 16), far = mcfg_with({{u64{1} << 36, 0, 0, 15}});
  put(wide, 36, 0x12345, 8);  // no table there
  put(wide, 44, high + 0x1000, 8);
  seal(wide);
  m.at[high] = wide;
  m.at[high + 0x1000] = far;
  table rsdp = q35_rsdp;
  rsdp[15] = 2;
  put(rsdp, 20, 36, 4);
  put(rsdp, 24, high, 8);
  seal(rsdp, 8, 20);
  seal(rsdp, 32, 36);
  REQUIRE(m.find(rsdp, text("MCFG")));
  const auto host =
      mcfg::read(*m.find(rsdp, text("MCFG")))->segment(0, virtio::pci::linear_map{.reach = virtio::pci::everywhere});
  if constexpr (sizeof(uptr) == 8) {
    REQUIRE(host);
    CHECK(host->base == uptr{1} << 36);
    CHECK(host->buses == 16);
  }
  rsdp[32] ^= 1;
  REQUIRE(m.find(rsdp, text("MCFG")));
  CHECK(mcfg::read(*m.find(rsdp, text("MCFG")))->segment(0)->base == 0xb0000000);
}

TEST_CASE("mcfg: each segment has a row, which may begin with a higher bus", "[pci][mcfg]") {
  const table rows = mcfg_with({{0xe0000000, 0, 0, 0x7f},
                                {0xc0000000, 3, 0, 0},
                                {0xd0000000, 4, 1, 0xff},
                                {0xd0000000, 5, 9, 8},
                                {0xd0001000, 6, 0, 8},
                                {0, 7, 0, 8},
                                {0xfffffffffff00000, 8, 0, 1},
                                {0x180000000, 9, 0, 255}});
  const auto read = mcfg::read(rows);
  REQUIRE(read);
  CHECK(read->rows() == 8);
  CHECK(read->segment(0)->buses == 128);
  CHECK(read->segment(3)->base == 0xc0000000);
  CHECK(read->segment(3)->segment_number == 3);
  CHECK(read->segment(3)->buses == 1);
  // The address is that of bus 0, which is in another row or in none.
  REQUIRE(read->segment(4));
  CHECK(read->segment(4)->base == 0xd0100000);
  CHECK(read->segment(4)->first_bus == 1);
  CHECK(read->segment(4)->buses == 255);
  CHECK(read->segment(5).error() == errc::invalid_argument);
  CHECK(read->segment(6).error() == errc::invalid_argument);
  CHECK(read->segment(7).error() == errc::invalid_argument);
  CHECK(read->segment(8).error() == errc::out_of_range);
  CHECK(read->segment(9).error() == errc::out_of_range);  // beyond the 4 GiB that are mapped by default
  CHECK(bool{read->segment(9, virtio::pci::linear_map{.reach = virtio::pci::everywhere})} == (sizeof(uptr) == 8));
}

TEST_CASE("mcfg: bytes that are not an MCFG table are rejected", "[pci][mcfg][hostile]") {
  for (usize size = 0; size < q35_mcfg.size(); ++size) {
    const std::unique_ptr<u8[]> cut{new u8[size]};
    std::copy_n(q35_mcfg.begin(), size, cut.get());
    CHECK(mcfg::read({cut.get(), size}).error() == errc::invalid_argument);
  }
  for (usize at = 0; at < q35_mcfg.size(); ++at) {
    table one = q35_mcfg;
    one[at] ^= 0x10;
    CHECK(mcfg::read(one).error() == errc::invalid_argument);
  }
  // A right checksum, but no room for the reserved bytes; then half a row after a whole one.
  table small = table_of("MCFG", 40);
  seal(small);
  CHECK(mcfg::read(small).error() == errc::invalid_argument);
  table odd = mcfg_with({{0xb0000000, 0, 0, 255}, {0xb0000000, 1, 0, 255}});
  odd.resize(odd.size() - 3);
  put(odd, 4, odd.size(), 4);
  seal(odd);
  REQUIRE(mcfg::read(odd));
  CHECK(mcfg::read(odd)->rows() == 1);
}

TEST_CASE("mcfg: a default object has no rows", "[pci][mcfg]") {
  const mcfg none;
  CHECK(none.rows() == 0);
  CHECK(none.row(0).error() == errc::not_found);
  CHECK(none.segment(0).error() == errc::not_found);
}

TEST_CASE("mcfg: bytes that are not an RSDP are rejected", "[pci][mcfg][hostile]") {
  memory m = q35();
  for (usize size = 0; size < 20; ++size) {
    const table cut(q35_rsdp.begin(), q35_rsdp.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK(m.find(cut, text("MCFG")).error() == errc::invalid_argument);
  }
  CHECK(m.find(table(q35_rsdp.begin(), q35_rsdp.begin() + 20), text("MCFG")));
  for (usize at = 0; at < 20; ++at) {
    table one = q35_rsdp;
    one[at] ^= 4;
    CHECK(m.find(one, text("MCFG")).error() == errc::invalid_argument);
  }
}

TEST_CASE("mcfg: a root table that points to itself, is huge, or has thousands of entries causes no endless walk",
          "[pci][mcfg][hostile]") {
  memory m = q35();
  table& roots = m.at[0x7fe2270];
  SECTION("itself") {
    for (usize at = 36; at < roots.size(); at += 4) put(roots, at, 0x7fe2270, 4);
    seal(roots);
  }
  SECTION("a length beyond memory") { put(roots, 4, 0xffffffff, 4); }
  SECTION("a length of nothing") { put(roots, 4, 0, 4); }
  SECTION("thousands of entries") {
    roots = table_of("RSDT", 60000);
    for (usize at = 36; at + 4 <= roots.size(); at += 4) put(roots, at, 0x7fe2270, 4);
    seal(roots);
  }
  SECTION("tables that claim to be large") {
    table& huge = m.at[0x7fe220c];
    put(huge, 4, 0x80000000, 4);
  }
  CHECK(m.find(q35_rsdp, text("MCFG")).error() == errc::not_found);
  CHECK(m.count < 600);
  CHECK(m.shown < 200000);
}

TEST_CASE("mcfg: random tables never cause reads outside the provided memory", "[pci][mcfg][hostile]") {
  std::mt19937 random{1};
  for (int round = 0; round < 20000; ++round) {
    memory m = q35();
    table rsdp = q35_rsdp;
    for (int change = 0; change < 3; ++change) {
      table& victim = random() % 3 == 0 ? rsdp : random() % 2 == 0 ? m.at[0x7fe2270] : m.at[0x7fe220c];
      victim[random() % victim.size()] = static_cast<u8>(random());
    }
    // With right checksums again, so that the checks after them run.
    seal(rsdp, 8, 20);
    seal(m.at[0x7fe2270]);
    seal(m.at[0x7fe220c]);
    const auto found = m.find(rsdp, text("MCFG"));
    if (!found) continue;
    const auto read = mcfg::read(*found);
    if (!read) continue;
    for (usize n = 0; n < read->rows() + 2; ++n) (void)read->row(n);
    (void)read->segment(static_cast<u16>(random()));
  }
}
