// SPDX-License-Identifier: MIT
// Configuration by field, by byte and by dword: the accesses of each, compared with a recording.
#include <catch2/catch_test_macros.hpp>

#include <virtio/testing/scripted_io.hpp>
#include <virtio/transport/config_access.hpp>
#include <virtio/transport/config_field.hpp>

#include "disk.hpp"
#include "entropy.hpp"
#include "legacy.hpp"

using namespace virtio;
using virtio::testing::recording;
using virtio::testing::recording_space;

namespace {

recording numbered(usize size = 32) {
  recording r{size};
  for (usize i = 0; i < size; ++i) r.bytes[i] = static_cast<u8>(0x10 + i);
  return r;
}

}  // namespace

TEST_CASE(
    "config access: by field is one access, 64 bits are two dwords four apart, low half first [PCI-05][PCI-06][CFG-01]",
    "[config]") {
  recording r = numbered();
  const recording_space s{r};
  CHECK(by_field::read<u8>(s, 3) == 0x13);
  CHECK(by_field::read<u16>(s, 2) == 0x1312);
  CHECK(by_field::read<u32>(s, 4) == 0x17161514);
  CHECK(by_field::read<u64>(s, 8) == 0x1f1e1d1c1b1a1918);
  CHECK(r.take_log() == "r1@0x3 r2@0x2 r4@0x4 r4@0x8 r4@0xc");
  by_field::write<u64>(s, 8, 0x1122334455667788);
  CHECK(r.take_log() == "w4@0x8=0x55667788 w4@0xc=0x11223344");
}

TEST_CASE("config access: by byte is one access a byte, lowest first", "[config]") {
  recording r = numbered();
  const recording_space s{r};
  CHECK(by_byte::read<u64>(s, 0) == 0x1716151413121110);
  CHECK(r.take_log() == "r1@0x0 r1@0x1 r1@0x2 r1@0x3 r1@0x4 r1@0x5 r1@0x6 r1@0x7");
  by_byte::write<u16>(s, 6, 0xabcd);
  CHECK(r.take_log() == "w1@0x6=0xcd w1@0x7=0xab");
  CHECK(by_byte::read<u16>(s, 6) == 0xabcd);
}

TEST_CASE("config access: by dword makes only aligned dword accesses, for every field", "[config]") {
  recording r = numbered();
  r.mode = recording::answers::dwords_only;
  const recording_space s{r};
  CHECK(by_dword::read<u16>(s, 6) == 0x1716);
  CHECK(r.take_log() == "r4@0x4");
  CHECK(by_dword::read<u8>(s, 1) == 0x11);
  CHECK(by_dword::read<u32>(s, 8) == 0x1b1a1918);
  CHECK(r.take_log() == "r4@0x0 r4@0x8");
  CHECK(by_dword::read<u64>(s, 8) == 0x1f1e1d1c1b1a1918);
  CHECK(r.take_log() == "r4@0x8 r4@0xc");
  CHECK(by_dword::read<u16>(s, 3) == 0x1413);  // across two dwords
  CHECK(by_dword::read<u64>(s, 2) == 0x1918171615141312);
  CHECK(r.take_log() == "r4@0x0 r4@0x4 r4@0x0 r4@0x4 r4@0x8");
  by_dword::write<u8>(s, 5, 0xee);
  CHECK(r.take_log() == "r4@0x4 w4@0x4=0x1716ee14");
  by_dword::write<u32>(s, 12, 0xa1a2a3a4);
  CHECK(r.take_log() == "w4@0xc=0xa1a2a3a4");  // a whole dword needs no read
  by_dword::write<u64>(s, 18, 0x1122334455667788);
  CHECK(by_dword::read<u64>(s, 18) == 0x1122334455667788);
  CHECK(r.bytes[17] == 0x21);
  CHECK(r.bytes[26] == 0x2a);
  CHECK(r.outside == 0);
}

TEST_CASE("config access: every policy reads and writes every width at every offset alike", "[config]") {
  for (usize offset = 0; offset < 12; ++offset) {
    const auto both = [&]<class T>(T value) {
      recording a = numbered(), b = numbered();
      by_byte::write<T>(recording_space{a}, offset, value);
      by_dword::write<T>(recording_space{b}, offset, value);
      CHECK(a.bytes == b.bytes);
      CHECK(by_byte::read<T>(recording_space{b}, offset) == value);
      CHECK(by_dword::read<T>(recording_space{a}, offset) == value);
    };
    both(u8{0xa1});
    both(u16{0xa1b2});
    both(u32{0xa1b2c3d4});
    both(u64{0xa1b2c3d4e5f60718});
  }
}

TEST_CASE("pci legacy with by_dword: reads a 64-bit capacity from a dword-only host", "[config][legacy]") {
  // A legacy device whose configuration supports only dwords, and returns invalid data for narrower accesses.
  rig::machine m;
  auto& model = rig::add_legacy<rig::blk_model>(m, 4, rig::blk_options{.sectors = 0x1122, .queue_size = 16});
  model.exact_config_width = false;
  model.before_config_read = [&](u32, u32 width) { model.put_config(0, width == 4 ? 0x1122 : 0xbadc0de5badc0de5, 8); };
  rig::disk<rig::native_ring<16>, pci::legacy<rig::host, by_dword>> right;
  REQUIRE(right.start(m, m.where(4)));
  CHECK(right->capacity() == 0x1122);
  m.function(4).clear_log();
  (void)right.start(m, m.where(4));
  CHECK(m.function(4).log().find("r1@device") == std::string::npos);

  rig::disk<rig::native_ring<16>, pci::legacy<rig::host, by_byte>> wrong;
  REQUIRE(wrong.start(m, m.where(4)));
  CHECK(wrong->capacity() != 0x1122);  // the result of a byte loop on such a host
}

TEST_CASE("pci legacy: device config moves by four bytes while MSI-X is enabled [PCIL-07]", "[config][legacy]") {
  rig::machine m;
  rig::add_legacy<rig::blk_model>(m, 4, rig::blk_options{.sectors = 0x1122, .queue_size = 16});
  auto& f = m.function(4);
  const u8 msix = f.capability(0x11);
  REQUIRE(msix != 0);
  rig::disk<rig::native_ring<16>, rig::legacy_pci> d;
  for (const u32 enabled : {0u, 0x8000'0000u, 0u}) {
    m.bus.host().config_write32({0, 0, 4, 0}, msix, enabled);
    REQUIRE(d.start(m, m.where(4)));
    CHECK(d->capacity() == 0x1122);
  }
}

TEST_CASE("config: absent, too short and exactly long enough [CFG-06]", "[config]") {
  rig::machine m;
  m.add<rig::rng_model>(rig::seat::modern, 4);
  rig::modern_pci t;
  report why;
  auto& none = m.function(4);
  none.poke(none.capability(0x09, 4) + 3u, 6, 1);  // a reserved type: no device config, as on vmd's entropy device
  REQUIRE(t.open(m.where(4), why));
  CHECK(t.config<u32>(0).error() == errc::not_found);
  CHECK(t.config_write<u8>(0, u8{1}).error() == errc::not_found);

  m.add<rig::blk_model>(rig::seat::modern, 5).exact_config_width = false;
  auto& f = m.function(5);
  f.poke(f.capability(0x09, 4) + 12u, 8, 4);
  REQUIRE(t.open(m.where(5), why));
  CHECK(t.config<u64>(0));
  CHECK(t.config<u32>(8).error() == errc::out_of_range);
  CHECK(t.config<u32>(5).error() == errc::out_of_range);
  CHECK(t.config<u64>(~usize{0}).error() == errc::out_of_range);  // offset + 8 overflows
  CHECK(t.config<u8>(7));
}

TEST_CASE("config access: a legacy field has the guest's order under every policy [BLKL-01]", "[config][legacy]") {
  recording r = numbered();
  const recording_space s{r};
  using virtio::detail::in_guest_order;
  CHECK(in_guest_order<byte_order::little>(by_field::read<u64>(s, 8)) == 0x1f1e1d1c1b1a1918);
  CHECK(in_guest_order<byte_order::big>(by_field::read<u64>(s, 8)) == 0x18191a1b1c1d1e1f);
  CHECK(in_guest_order<byte_order::big>(by_byte::read<u32>(s, 4)) == 0x14151617);
  CHECK(in_guest_order<byte_order::big>(by_dword::read<u16>(s, 6)) == 0x1617);
  by_field::write(s, 0, in_guest_order<byte_order::big>(u32{0x01020304}));
  CHECK(r.bytes[0] == 1);
  CHECK(r.bytes[3] == 4);
}

namespace {

// The legacy interface of a guest with that byte order.
template <byte_order Guest>
struct guests_legacy {
  static constexpr byte_order ring_order = Guest;
  recording* at;

  template <class T>
  [[nodiscard]] result<T> config(usize offset) const {
    return virtio::detail::in_guest_order<Guest>(by_field::read<T>(recording_space{*at}, offset));
  }
  template <class T>
  result<void> config_write(usize offset, T value) const {
    by_field::write<T>(recording_space{*at}, offset, virtio::detail::in_guest_order<Guest>(value));
    return {};
  }
};

constexpr config_field<u32> of_guest{4};
constexpr config_field<u32, field_order::little> always_little{4};
constexpr config_field<u16, field_order::little> half{2};

}  // namespace

TEST_CASE(
    "config field: a field's constant determines width and byte order, for guests of any order [CFG-01][BALLOONL-01][BLKL-01]",
    "[config]") {
  recording r = numbered();
  const guests_legacy<byte_order::little> little{&r};
  CHECK(*read_field(little, of_guest) == 0x17161514);
  CHECK(*read_field(little, always_little) == 0x17161514);
  const guests_legacy<byte_order::big> big{&r};
  CHECK(*read_field(big, of_guest) == 0x14151617);
  CHECK(*read_field(big, always_little) == 0x17161514);
  CHECK(*read_field(big, half) == 0x1312);
  CHECK(r.take_log() == "r4@0x4 r4@0x4 r4@0x4 r4@0x4 r2@0x2");

  CHECK(write_field(big, of_guest, u32{0x01020304}));
  CHECK(write_field(big, always_little, u32{0x01020304}));
  CHECK(write_field(little, always_little, u32{0x01020304}));
  CHECK(r.take_log() == "w4@0x4=0x4030201 w4@0x4=0x1020304 w4@0x4=0x1020304");
}
