// SPDX-License-Identifier: MIT
// The platform for UEFI over firmware that does what real one may: maps less than it is asked for, fails in the middle,
// has mappings with inconvenient values, and numbers BARs in its own way. Mappings are counted.
#include <catch2/catch_test_macros.hpp>

#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#define EFI_ON_A_MODEL
#include "../../examples/boot/uefi/device.hpp"

using namespace virtio;

namespace {

/// A function and its firmware. The device's addresses are those of memory, moved by `moved`.
struct model : efi::pci_io {
  static constexpr u64 moved = 0x1'0000'0000;

  size_t most = ~size_t{0};       // bytes that one call maps
  size_t says = ~size_t{0};       // bytes that one call claims to have mapped
  unsigned fails_at = ~0u;        // the call of Map that fails, from 0
  void* mapping_value = nullptr;  // what every mapping is; null: each has its own
  unsigned calls = 0;
  std::map<void*, unsigned> live;
  unsigned unknown = 0;  // unmapped, and not mapped
  u64 attributes_now = 0;
  u32 registers[64]{};
  struct bar {
    u8 type;
    u64 first, size;
  };
  std::vector<bar> bars;  // by the firmware's numbers
  std::vector<std::pair<u8, u64>> accesses;

  model() : efi::pci_io{} {
    map = [](efi::pci_io* io, operation, const void* host, size_t* n, u64* device, void** mapping) {
      model& m = of(io);
      if (m.calls++ == m.fails_at) return efi::status::out_of_resources;
      if (*n > m.most) *n = m.most;
      if (m.says != ~size_t{0}) *n = m.says;
      *device = reinterpret_cast<uptr>(host) + moved;
      *mapping = m.mapping_value != nullptr ? m.mapping_value : reinterpret_cast<void*>(uptr{0x1000} * m.calls);
      ++m.live[*mapping];
      return efi::status::success;
    };
    unmap = [](efi::pci_io* io, void* mapping) {
      model& m = of(io);
      if (m.live[mapping] == 0) ++m.unknown;
      else --m.live[mapping];
      return efi::status::success;
    };
    attributes = [](efi::pci_io* io, attributes_do what, u64 bits, u64* out) {
      model& m = of(io);
      if (out != nullptr) *out = m.attributes_now;
      if (what == attributes_do::enable) m.attributes_now |= bits;
      if (what == attributes_do::disable) m.attributes_now &= ~bits;
      if (what == attributes_do::set) m.attributes_now = bits;
      return efi::status::success;
    };
    config_read = [](efi::pci_io* io, width, u32 offset, size_t, void* to) {
      std::memcpy(to, &of(io).registers[offset / 4], 4);
      return efi::status::success;
    };
    get_bar_attributes = [](efi::pci_io* io, u8 number, u64*, void** out) {
      if (number >= of(io).bars.size() || of(io).bars[number].size == 0) return efi::status::unsupported;
      const bar& one = of(io).bars[number];
      auto* const space = static_cast<efi::address_space*>(std::malloc(sizeof(efi::address_space)));
      *space = {0x8a, 0x2b, one.type, 0, 0, 64, one.first, one.first + one.size - 1, 0, one.size};
      *out = space;
      return efi::status::success;
    };
    memory_read = io_read = [](efi::pci_io* io, width, u8 number, u64 offset, size_t, void* to) {
      of(io).accesses.emplace_back(number, offset);
      std::memset(to, 0x5a, 1);
      return efi::status::success;
    };
  }
  [[nodiscard]] unsigned mapped() const {
    unsigned sum = 0;
    for (const auto& [mapping, count] : live) sum += count;
    return sum;
  }
  static model& of(efi::pci_io* io) { return *static_cast<model*>(io); }
};

/// The services that the host and the device call. Whether the firmware's driver is connected is one flag.
struct firmware {
  static inline bool connected = true, owned_by_us = false, lets_go = true;
  static inline model* only = nullptr;
  efi::boot_services boot{};
  efi::system_table table{};

  explicit firmware(model& m) {
    only = &m;
    connected = lets_go = true;
    owned_by_us = false;
    boot.free_pool = [](void* at) { return std::free(at), efi::status::success; };
    boot.disconnect_controller = [](efi::handle, efi::handle, efi::handle) {
      if (!lets_go) return efi::status::unsupported;
      connected = false;
      return efi::status::success;
    };
    boot.connect_controller = [](efi::handle, efi::handle*, const void*, u8) {
      connected = true;
      return efi::status::success;
    };
    boot.open_protocol = [](efi::handle, const efi::guid*, void** out, efi::handle, efi::handle, efi::open) {
      *out = static_cast<efi::pci_io*>(only);
      owned_by_us = true;
      return efi::status::success;
    };
    boot.close_protocol = [](efi::handle, const efi::guid*, efi::handle, efi::handle) {
      owned_by_us = false;
      return efi::status::success;
    };
    boot.open_protocol_information = [](efi::handle, const efi::guid*, efi::open_entry** out, size_t* count) {
      *count = connected ? 1 : 0;
      *out = static_cast<efi::open_entry*>(std::calloc(1, sizeof(efi::open_entry)));
      (*out)->attributes = static_cast<u32>(efi::open::by_driver);
      return efi::status::success;
    };
    table.boot = &boot;
    uefi::system = &table;
  }
};

template <u16 Room>
result<void> map(const uefi::platform& p, const void* at, usize n, segment_list<Room>& out,
                 direction way = direction::from_device) {
  return p.map(at, n, way, out);
}

}  // namespace

TEST_CASE("uefi: a buffer that the firmware maps in parts is unmapped part by part", "[examples][uefi]") {
  model m;
  m.most = 4096;
  uefi::shared_memory own{&m, {}, nullptr};
  const uefi::platform p{&own};
  alignas(4096) static u8 buffer[3 * 4096];
  segment_list<8> out;
  REQUIRE(map(p, buffer, sizeof buffer, out));
  REQUIRE(out.size() == 3);
  for (u16 i = 0; i < 3; ++i) CHECK(raw(out[i].at) == reinterpret_cast<uptr>(buffer) + model::moved + 4096u * i);
  CHECK(m.mapped() == 3);
  detail::unmap(p, out.begin(), out.size(), ~0u);
  CHECK(m.mapped() == 0);
  CHECK(m.unknown == 0);
}

TEST_CASE("uefi: a mapping may have any value but one", "[examples][uefi]") {
  alignas(4096) static u8 buffer[4096];
  for (const uptr value : {~uptr{0}, uptr{1}, ~uptr{0} - 2}) {  // EDK II's NO_MAPPING is the first
    model m;
    m.mapping_value = reinterpret_cast<void*>(value);
    uefi::shared_memory own{&m, {}, nullptr};
    const uefi::platform p{&own};
    segment_list<4> out;
    out.limit_pieces(1024);  // cut by the list: one mapping all the same
    REQUIRE(map(p, buffer, sizeof buffer, out));
    REQUIRE(out.size() == 4);
    CHECK(m.mapped() == 1);
    detail::unmap(p, out.begin(), out.size(), ~0u);
    CHECK(m.mapped() == 0);
    CHECK(m.unknown == 0);
  }
}

TEST_CASE("uefi: a map that fails half-way leaves nothing mapped, and no other buffer unmapped", "[examples][uefi]") {
  alignas(4096) static u8 buffer[8 * 4096];
  for (unsigned at = 1; at < 8; ++at) {
    model m;
    m.most = 4096;
    m.fails_at = at;
    uefi::shared_memory own{&m, {}, nullptr};
    const uefi::platform p{&own};
    segment_list<16> out;
    REQUIRE(map(p, buffer, 4096, out, direction::to_device));  // a request's header
    CHECK(map(p, buffer, sizeof buffer, out).error() == errc::no_space);
    CHECK(m.mapped() == 1);
    CHECK(m.unknown == 0);
  }
  // Nothing mapped, and more than there is, are failures as well.
  for (const size_t wrong : {size_t{0}, sizeof buffer + 1}) {
    model m;
    m.says = wrong;
    uefi::shared_memory own{&m, {}, nullptr};
    const uefi::platform p{&own};
    segment_list<16> out;
    CHECK(map(p, buffer, sizeof buffer, out).error() == errc::no_space);
    CHECK(m.mapped() == 0);
    CHECK(m.unknown == 0);
  }
  // Likewise when the list is full, in the middle of one mapping too.
  for (const size_t most : {size_t{4096}, size_t{8192}, ~size_t{0}}) {
    model m;
    m.most = most;
    uefi::shared_memory own{&m, {}, nullptr};
    const uefi::platform p{&own};
    segment_list<3> out;
    out.limit_pieces(4096);
    CHECK(map(p, buffer, sizeof buffer, out).error() == errc::no_space);
    CHECK(m.mapped() == 0);
    CHECK(m.unknown == 0);
  }
}

TEST_CASE("uefi: storage is mapped as a whole or not at all, and once", "[examples][uefi]") {
  model m;
  uefi::shared_memory own{&m, {}, nullptr};
  const uefi::platform p{&own};
  alignas(4096) static u8 storage[2 * 4096];
  dma_area area;
  REQUIRE(locate(p, {storage, sizeof storage}, area));
  CHECK(raw(area.at) == reinterpret_cast<uptr>(storage) + model::moved);
  REQUIRE(locate(p, {storage, sizeof storage}, area));  // another start
  CHECK(m.mapped() == 1);
  m.most = 4096;
  CHECK(locate(p, {storage, sizeof storage}, area).error() == errc::dma_unreachable);
  CHECK(m.mapped() == 0);
  m.fails_at = m.calls;
  CHECK(locate(p, {storage, sizeof storage}, area).error() == errc::dma_unreachable);
  own.unmap();
  CHECK(m.mapped() == 0);
  CHECK(m.unknown == 0);
}

TEST_CASE("uefi: a BAR is found by its address, whatever number the firmware has for it", "[examples][uefi]") {
  model m;
  const firmware f{m};
  const uefi::pci_function where{{}, &m, &m};
  // A megasas, as EDK II shows it.
  m.registers[4] = 0x148004, m.registers[5] = 0xe0, m.registers[6] = 0x6001;
  m.registers[7] = 0x100004, m.registers[8] = 0xe0;
  m.bars = {{0, 0xe0'0014'8000, 0x4000}, {1, 0x6000, 0x100}, {0, 0xe0'0010'0000, 0x40000}};
  const uefi::host h;
  const auto third = h.bar(where, 3);
  REQUIRE(third);
  CHECK(third->size() == 0x40000);
  (void)third->part(0x100, 0x100).read<u8>(4);
  CHECK(m.accesses == std::vector<std::pair<u8, u64>>{{2, 0x104}});
  const auto ports = h.locate(where, 2);
  REQUIRE(ports);
  CHECK(ports->kind == pci::bar_kind::io);
  CHECK(ports->size == 0x100);
  CHECK(h.bar(where, 5).error() == errc::not_found);
  CHECK(h.bar(where, 6).error() == errc::not_found);

  // AAVMF's first I/O BAR is at 0. A memory BAR without an address is none.
  m.registers[4] = 1, m.registers[5] = 0;
  m.bars = {{1, 0, 0x80}};
  REQUIRE(h.bar(where, 0));
  CHECK(h.bar(where, 0)->size() == 0x80);
  CHECK(h.bar(where, 1).error() == errc::not_found);
}

TEST_CASE("uefi: the firmware's driver is back after a device was released, if it was there", "[examples][uefi]") {
  model m;
  const firmware f{m};
  const uefi::pci_function where{{}, &m, &m};
  m.attributes_now = 0x4100;
  alignas(4096) static u8 storage[4096];
  for (const bool was_driven : {true, false}) {
    firmware::connected = was_driven;
    uefi::device device;
    REQUIRE(device.claim(where));
    CHECK_FALSE(firmware::connected);
    CHECK(firmware::owned_by_us);
    CHECK((m.attributes_now & 0x8700) == 0x8700);  // bus master, memory, I/O, addresses above 4 GiB
    dma_area area;
    REQUIRE(locate(device.platform(), {storage, sizeof storage}, area));
    device.leave();
    CHECK(m.mapped() == 0);
    CHECK((m.attributes_now & 0x400) == 0);  // off the bus
    device.release();
    CHECK(m.attributes_now == 0x4100);
    CHECK_FALSE(firmware::owned_by_us);
    CHECK(firmware::connected == was_driven);
    CHECK(m.unknown == 0);
  }
  firmware::lets_go = false;
  firmware::connected = true;
  uefi::device device;
  CHECK(device.claim(where).error() == errc::busy);
  CHECK(firmware::connected);
  CHECK_FALSE(device.is_claimed());
}
