// SPDX-License-Identifier: MIT
// From bus addresses to pointers: BARs and configuration space of ready-made hosts.
#include <catch2/catch_test_macros.hpp>

#include <virtio/pci.hpp>

using namespace virtio;

namespace {

// A function with one BAR, in memory that stores every bit: 16 bytes, or 4 ports.
struct one_function {
  alignas(4096) u8 space[4096]{};

  [[nodiscard]] uptr base() const { return reinterpret_cast<uptr>(space); }
  void place(u32 low, u32 high = 0) {
    const mmio_space registers{base(), sizeof space};
    registers.write<u32>(0x10, low);
    registers.write<u32>(0x14, high);
  }
};

}  // namespace

TEST_CASE("reach: a higher-half kernel's host returns pointers into its direct map", "[pci]") {
  static one_function f;
  static u8 registers[16] = {0x11, 0x22};
  // Bus address 0x9000'0000 is mapped to `registers`.
  const uptr offset = reinterpret_cast<uptr>(registers) - 0x9000'0000;
  const pci::ecam host{.base = f.base(), .bars = {.offset = offset, .floor = 0x8000'0000, .reach = 0xa000'0000}};
  f.place(0x9000'0000);
  const auto found = host.bar({}, 0);
  REQUIRE(found);
  CHECK(found->read<u8>(1) == 0x22);
  f.place(0xa000'0000);
  CHECK(host.bar({}, 0).error() == errc::out_of_range);
  f.place(0x7fff'fff0);
  CHECK(host.bar({}, 0).error() == errc::out_of_range);
}

TEST_CASE("reach: an offset may be negative, and a BAR that exceeds the address space is out of reach", "[pci]") {
  const uptr top = ~uptr{0};
  const pci::linear_map down{.offset = static_cast<uptr>(0) - 0x1000, .reach = pci::everywhere};
  CHECK(*down.cpu_address(0x3000, 16) == 0x2000);
  const pci::linear_map up{.offset = top - 0xfff, .reach = pci::everywhere};
  CHECK(*up.cpu_address(0x1000, 16) == 0);  // the same offset, but negative
  const pci::linear_map far{.offset = top - 0x1fff, .reach = pci::everywhere};
  CHECK(far.cpu_address(0x1000, 0x1000).has_value());
  CHECK(far.cpu_address(0x1000, 0x1001).error() == errc::out_of_range);
}

TEST_CASE("reach: run-time bounds of ports and memory hosts are the same members", "[pci]") {
  static one_function f;
  u64 end_of_memory = 0x4000'0000;  // found at boot
  pci::ecam host{.base = f.base(), .bars = {.floor = end_of_memory}};
  f.place(0x3fff'fff0);
  CHECK(host.bar({}, 0).error() == errc::out_of_range);
  f.place(0x4000'0000);
  CHECK(host.bar({}, 0));
#if defined(__x86_64__) || defined(__i386__)
  const pci::cf8<> ports{.bars = {.floor = end_of_memory, .reach = u64{1} << 40}};
  CHECK(ports.bars.cpu_address(0x4000'0000, 16).has_value());
  CHECK(ports.bars.cpu_address(0x3fff'fff0, 16).error() == errc::out_of_range);
#endif
}

namespace {

// A kernel with its own page tables: one window; other addresses fail with some error.
struct kernel_map {
  uptr window = 0;

  [[nodiscard]] result<uptr> cpu_address(u64 at, u64 size) const {
    if (at < 0x40'0000'0000 || at + size > 0x40'0000'1000) return errc::dma_unreachable;
    return window + static_cast<uptr>(at - 0x40'0000'0000);
  }
};

}  // namespace

TEST_CASE("reach: a kernel's own map is called for each BAR, and a BAR that it rejects is out of reach", "[pci]") {
  static one_function f;
  static u8 window[4096];
  using host_t = pci::memory_config<12, kernel_map>;
  static_assert(pci::host<host_t>);
  const host_t host{.base = f.base(), .bars = {.window = reinterpret_cast<uptr>(window)}};
  window[0x25] = 7;
  f.place(0x0000'0024, 0x40);  // 64 bits wide, at +0x20
  const auto found = host.bar({}, 0);
  REQUIRE(found);
  CHECK(found->read<u8>(5) == 7);
  f.place(0x9000'0000);
  CHECK(host.bar({}, 0).error() == errc::out_of_range);
}

#if defined(__x86_64__) || defined(__i386__)
TEST_CASE("reach: a host with configuration space in memory supports ports on x86", "[pci]") {
  static one_function f;
  const pci::ecam_with_ports<> host{.base = f.base()};
  f.place(0xc001);
  const auto ports = host.bar({}, 0);
  REQUIRE(ports);
  CHECK(ports->size() == 4);
  f.place(0x1c001);  // there are only 65,536 ports
  CHECK(host.bar({}, 0).error() == errc::out_of_range);
  f.place(0xfffe'0000);
  CHECK(host.bar({}, 0));  // memory
}
#endif
