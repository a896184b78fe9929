// SPDX-License-Identifier: MIT
// A higher-half kernel that does not use examples/boot. It accesses configuration space first through ports, then in
// memory, at the address in ACPI's MCFG table. Each time it reads from the disk and from the entropy source.
#include <virtio/blk.hpp>
#include <virtio/rng.hpp>

#include "board.hpp"

namespace {

using namespace virtio;
using kernel::direct;

// ---- the console, the exit, the loader's command line ----

void out8(u16 port, u8 value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory"); }

void print(const char* text) {
  while (*text != '\0') out8(0x3f8, static_cast<u8>(*text++));
}

[[noreturn]] void exit(u8 status) {
  out8(0xf4, status);
  for (;;) asm volatile("cli; hlt");
}

[[noreturn]] void fail(const char* what, errc error, verdict why = verdict::usable) {
  print(what);
  print(": ");
  print(describe(error));
  if (why != verdict::usable) {
    print("; ");
    print(describe(why));
    print(": ");
    print(advice(why));
  }
  print("\n");
  exit(1);
}

struct start_info {
  u32 magic, version, flags, module_count;
  u64 modules, command_line, rsdp, memory_map;
  u32 memory_ranges, reserved;
};

template <class T>
const T* at_physical(u64 address) {
  return reinterpret_cast<const T*>(direct + address);
}

// ---- the drivers, once for each access to configuration space ----

template <class Host>
void use_devices(const Host& host) {
  using board = kernel::board<Host>;
  using disk_t = blk::device<board, pci::transport<board>, queue<256>>;
  using entropy_t = rng::device<board, pci::transport<board>, queue<8>>;
  static constinit dma_storage<disk_t::dma_bytes> disk_dma;
  static constinit dma_storage<entropy_t::dma_bytes> entropy_dma;
  static constinit disk_t disk;
  static constinit entropy_t entropy;
  const board machine{host};

  const auto disk_at = pci::find(machine, device_type::block);
  if (!disk_at) fail("no disk", disk_at.error());
  if (const auto up = disk.start(machine, *disk_at, disk_dma); !up) fail("disk", up.error(), disk.why().why);
  static u8 sector[512];
  if (const auto r = disk.read(0, sector); !r) fail("read", r.error());
  sector[0] ^= 1;
  if (const auto r = disk.write(0, sector).and_then([] { return disk.flush(); }); !r) fail("write", r.error());

  const auto entropy_at = pci::find(machine, device_type::entropy);
  if (!entropy_at) fail("no entropy", entropy_at.error());
  if (const auto up = entropy.start(machine, *entropy_at, entropy_dma); !up)
    fail("entropy", up.error(), entropy.why().why);
  static u8 noise[32];
  if (const auto r = entropy.fill(noise); !r) fail("fill", r.error());

  print(disk.why().via == transport_kind::pci_modern ? "modern\n" : "legacy\n");
  if (!disk.hand_off() || !entropy.hand_off()) fail("hand_off", errc::device_broken);
}

}  // namespace

extern "C" [[noreturn]] void kernel_main(u64 loader) {
  const auto& info = *at_physical<start_info>(loader);
  if (info.version < 1 || info.memory_ranges == 0) fail("the loader tells of no memory", errc::not_found);
  kernel::memory = at_physical<kernel::memory_range>(info.memory_map);
  kernel::memory_ranges = info.memory_ranges;

  print("through ports: ");
  use_devices(pci::cf8<kernel::device_map>{});

  const auto view = [](u64 address, usize size) -> const_bytes {
    return address != 0 && address + size < u64{1} << 32 ? const_bytes{at_physical<u8>(address), size} : const_bytes{};
  };
  const auto table = pci::acpi::find_table(view(info.rsdp, 36), text("MCFG"), view).and_then(pci::mcfg::read);
  if (!table) {
    print("no MCFG\n");
    exit(0);
  }
  const auto host = table->row<io_space>(0, kernel::device_map{});
  if (!host) fail("ECAM", host.error());
  print("through memory: ");
  use_devices(*host);
  exit(0);
}

// Compilers call these implicitly.
extern "C" {
void* memcpy(void* to, const void* from, size_t n) {
  void* const first = to;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
  return first;
}
void* memset(void* to, int value, size_t n) {
  void* const first = to;
  asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
  return first;
}
}
