// SPDX-License-Identifier: MIT
// Reports on BARs: their address and size. Remedies for verdicts.
#include <string_view>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <virtio/pci.hpp>
#include <virtio/testing/blk_model.hpp>

#include "disk.hpp"

using namespace virtio;
using namespace virtio::testing;

namespace {

/// A host that can locate BARs, like the ready-made hosts. `fake_host` itself is like a user's host, which cannot.
struct locating_host : fake_host {
  result<pci::bar_info> locate(function_id id, u8 index) const { return pci::probe_bar(*this, id, index); }
};

constexpr pci::address slot4{.slot = 4};

template <class Host>
report look(rig::machine& m) {
  return pci::look(Host{m.bus.host()}, slot4).seen;
}

/// Reports on the disk in slot 4, by discovery and by a start.
template <class Host>
void check(rig::machine& m, verdict why, u8 bar, u64 address, u64 size) {
  const report looked = look<Host>(m);
  rig::disk<split_queue<16>, pci::transport<Host>> d;
  CHECK_FALSE(d.start(m, pci::at(Host{m.bus.host()}, slot4)));
  for (const report& seen : {looked, d->why()}) {
    CHECK(seen.why == why);
    CHECK(seen.bar == bar);
    CHECK(seen.bar_address == address);
    CHECK(seen.bar_size == size);
  }
}

}  // namespace

TEST_CASE("why: a verdict on a BAR has its address and size, after discovery and after a start", "[pci][report]") {
  rig::machine m;
  SECTION("a modern one above 4 GiB") {
    m.add<blk_model>(seat::modern, 4);
    auto& f = m.function(4);
    m.bus.reach = u64{1} << 32;
    f.poke(0x20, 0x0c, 4);
    f.poke(0x24, 0x80, 4);
    check<locating_host>(m, verdict::bar_out_of_reach, 4, 0x8000000000, f.bar_sizes[4]);
  }
  SECTION("a modern one without an address") {
    m.add<blk_model>(seat::modern, 4);
    auto& f = m.function(4);
    f.poke(0x20, 0x0c, 4);
    f.poke(0x24, 0, 4);
    check<locating_host>(m, verdict::bar_unassigned, 4, 0, f.bar_sizes[4]);
  }
  SECTION("a modern one that is not implemented") {
    m.add<blk_model>(seat::modern, 4);
    auto& f = m.function(4);
    f.bar_sizes[4] = 0;
    f.poke(0x20, 0, 4);
    f.poke(0x24, 0, 4);
    check<locating_host>(m, verdict::bar_unassigned, 4, 0, 0);
  }
  SECTION("a modern one that is too small") {
    m.add<blk_model>(seat::modern, 4);
    auto& f = m.function(4);
    f.poke(f.capability(0x09, 1) + 8u, 0xfffffffc, 4);
    check<locating_host>(m, verdict::bar_too_small, 4, f.peek(0x20) & ~15u, f.bar_sizes[4]);
  }
  SECTION("the ports of a legacy one, out of reach") {
    m.add<blk_model>(seat::legacy, 4, rig::blk_options{.queue_size = 16});
    auto& f = m.function(4);
    m.bus.reach = 0x1000;
    check<locating_host>(m, verdict::bar_out_of_reach, 0, f.peek(0x10) & ~3u, f.bar_sizes[0]);
  }
  SECTION("the ports of a legacy one, without an address") {
    m.add<blk_model>(seat::legacy, 4, rig::blk_options{.queue_size = 16});
    auto& f = m.function(4);
    f.poke(0x10, 1, 4);
    check<locating_host>(m, verdict::bar_unassigned, 0, 0, f.bar_sizes[0]);
  }
  SECTION("the ports of a legacy one, too few") {
    m.add<blk_model>(seat::legacy, 4, rig::blk_options{.queue_size = 16});
    auto& f = m.function(4);
    f.bar_sizes[0] = 16;
    check<locating_host>(m, verdict::bar_too_small, 0, f.peek(0x10) & ~3u, 16);
  }
}

TEST_CASE("why: a BAR in the configuration window is reported like any other", "[pci][window][report]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  m.bus.reach = u64{1} << 32;
  f.poke(0x20, 0x0c, 4);
  f.poke(0x24, 0x80, 4);
  f.poke(f.capability(0x09, 1) + 8u, 0xfffffffc, 4);
  const pci::windowed<locating_host> h{{m.bus.host()}};
  const report seen = pci::look(h, {.slot = 4}).seen;
  CHECK(seen.why == verdict::bar_too_small);
  CHECK((seen.bar == 4 && seen.bar_address == 0x8000000000 && seen.bar_size == f.bar_sizes[4]));
}

TEST_CASE("why: without a verdict on a BAR the report has no BAR", "[pci][report]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  CHECK(m.where(4).seen.why == verdict::usable);
  CHECK((m.where(4).seen.bar_address == 0 && m.where(4).seen.bar_size == 0));
  auto& f = m.function(4);
  f.poke(f.capability(0x09, 1) + 3u, 9, 1);
  CHECK(m.where(4).seen.why == verdict::capability_missing);
  CHECK((m.where(4).seen.bar_address == 0 && m.where(4).seen.bar_size == 0));
}

TEST_CASE("why: no BAR is looked up for an invalid capability, or for an invalid BAR number",
          "[pci][report][hostile]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const u8 common = f.capability(0x09, 1);
  verdict why{};
  SECTION("a number beyond the last BAR") {
    f.poke(common + 4u, GENERATE(6u, 7u, 255u), 1);
    why = verdict::capability_bar_invalid;
  }
  SECTION("too short") {
    f.poke(common + 12u, 3, 4);
    why = verdict::capability_too_short;
  }
  SECTION("misaligned") {
    f.poke(common + 8u, 1, 4);
    why = verdict::capability_misaligned;
  }
  for (const report& seen : {look<fake_host>(m), look<locating_host>(m)}) {
    CHECK(seen.why == why);
    CHECK((seen.bar_address == 0 && seen.bar_size == 0));
  }
}

TEST_CASE("why: if a host cannot locate BARs, the report has the address, found without writes", "[pci][report]") {
  rig::machine m;
  const bool legacy = GENERATE(false, true);
  m.add<blk_model>(legacy ? seat::legacy : seat::modern, 4, rig::blk_options{.queue_size = 16});
  auto& f = m.function(4);
  m.bus.reach = 0x1000;
  const u32 writes = f.config_writes;
  check<fake_host>(m, verdict::bar_out_of_reach, legacy ? 0 : 4,
                   legacy ? f.peek(0x10) & ~3u : u64{f.peek(0x24)} << 32 | (f.peek(0x20) & ~15u), 0);
  CHECK(f.config_writes == writes);
}

TEST_CASE("why: the ready-made hosts locate BARs that they do not reach", "[pci][report]") {
  alignas(4096) static u8 space[4096];  // plain memory stores every bit
  const pci::ecam host{.base = reinterpret_cast<uptr>(space), .bars = {.reach = 0x1000}};
  host.config_write32({}, 0x10, 0xe0000000);
  CHECK(host.bar({}, 0).error() == errc::out_of_range);
  REQUIRE(host.locate({}, 0));
  CHECK(host.locate({}, 0)->base == 0xe0000000);
  CHECK(host.locate({}, 0)->size == 16);
}

TEST_CASE("why: every verdict has a text and a remedy of one line, and other numbers have neither", "[report]") {
  for (unsigned n = 0; n <= static_cast<unsigned>(verdict::storage_unusable); ++n) {
    CAPTURE(n);
    const auto why = static_cast<verdict>(n);
    CHECK(std::string_view{advice(why)}.size() > 10);
    CHECK(std::string_view{advice(why)}.find_first_of(".\n") == std::string_view::npos);
    CHECK(std::string_view{describe(why)} != "unknown");
  }
  CHECK(std::string_view{advice(static_cast<verdict>(200))}.empty());
}
