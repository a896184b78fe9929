// SPDX-License-Identifier: MIT
// A complete use of the library that needs only the library: a disk whose registers are plain memory, and a program
// that finds it, writes to it and reads back. The disk works while the driver waits. No C or C++ library is used, so
// that the same text runs as a hosted program and as one that is linked with nothing.
#pragma once

#include <virtio/virtio.hpp>

namespace memory_disk {

using virtio::u16;
using virtio::u32;
using virtio::u64;
using virtio::u8;
using virtio::uptr;
using virtio::usize;

inline constexpr virtio::pci::address place{.slot = 3};
inline constexpr u64 sectors = 64;

// A modern block device, register by register: stored values remain, which is all that bring-up needs.
struct device {
  alignas(8) u8 registers[0x60];  // common configuration; 0x40: notification, 0x44: ISR, 0x48: device configuration
  u32 config[64];
  u16 taken;
  u8 content[512 * sectors];
  u32 requests;
  u32 lies;  // the driver's violations

  void power_on() {
    *this = {};
    config[0] = 0x10421af4;
    config[1] = 0x00100000;  // a capability list
    config[13] = 0x40;
    const u32 bar_offsets[4][2] = {{0x00, 0x38}, {0x40, 4}, {0x44, 1}, {0x48, 0x18}};
    for (u32 i = 0; i < 4; ++i) {
      u32* const capability = config + 16 + 5 * i;
      capability[0] = 0x09 | (i < 3 ? 0x40 + 20 * (i + 1) : 0) << 8 | 20u << 16 | (i + 1) << 24;
      capability[2] = bar_offsets[i][0];
      capability[3] = bar_offsets[i][1];
    }
    registers[0x04] = 1;   // features: bit 0 of each selected word is set, so 0 and VERSION_1
    registers[0x18] = 16;  // queue size
    registers[0x48] = sectors;
  }

  [[nodiscard]] u64 wide(usize at) const {
    u64 value = 0;
    for (usize i = 8; i != 0; --i) value = value << 8 | registers[at + i - 1];
    return value;
  }

  // Serves the published request: header, data, status.
  void work() {
    struct descriptor {
      u64 at, rest;
    };
    const auto* const table = reinterpret_cast<const volatile descriptor*>(static_cast<uptr>(wide(0x20)));
    const auto* const available = reinterpret_cast<const volatile u16*>(static_cast<uptr>(wide(0x28)));
    auto* const used = reinterpret_cast<volatile u16*>(static_cast<uptr>(wide(0x30)));
    if (registers[0x14] != 0x0f || registers[0x1c] != 1) {  // DRIVER_OK and all earlier bits; queue enabled
      ++lies;
      return;
    }
    const u16 size = registers[0x18];
    for (; taken != available[1]; ++taken) {
      const u16 head = available[2 + taken % size];
      const auto next = [&](u16 of) { return static_cast<u16>(table[of].rest >> 48); };
      const auto memory = [&](u16 of) { return reinterpret_cast<volatile u8*>(static_cast<uptr>(table[of].at)); };
      const u16 data = next(head);
      const u16 last = next(data);
      const volatile u8* const header = memory(head);
      const u32 length = static_cast<u32>(table[data].rest);
      const u64 from = 512u * header[8];
      if (static_cast<u32>(table[head].rest) != 16 || header[0] > 1 || header[4] != 0 || from + length > sizeof content)
        ++lies;
      else
        for (u32 i = 0; i < length; ++i) {
          if (header[0] == 1) content[from + i] = memory(data)[i];
          else memory(data)[i] = content[from + i];
        }
      *memory(last) = 0;
      auto* const element = reinterpret_cast<volatile u32*>(used + 2) + 2 * (taken % size);
      element[0] = head;
      element[1] = length + 1;
      __atomic_thread_fence(__ATOMIC_SEQ_CST);
      used[1] = static_cast<u16>(taken + 1);
      ++requests;
    }
  }
};

// Bus and machine in one object, as on real boards. Empty: the device is a global.
inline constinit device attached{};

struct board : virtio::identity_mapped<> {
  using function_id = virtio::pci::address;
  using bar_space = virtio::mmio_space;

  u32 config_read32(function_id at, u16 offset) const {
    return at == place ? attached.config[offset / 4] : 0xffffffffu;
  }
  void config_write32(function_id at, u16 offset, u32 value) const {
    if (at == place && offset == 4) attached.config[1] = 0x00100000 | (value & 0xffffu);
  }
  virtio::result<bar_space> bar(function_id, u8 index) const {
    if (index != 0) return virtio::errc::not_found;
    return bar_space{reinterpret_cast<uptr>(attached.registers), sizeof attached.registers};
  }
  template <class Visit>
  void each_function(Visit&& visit) const {
    virtio::pci::each_numbered_function(*this, 0, visit);
  }

  bool keep_waiting(virtio::waiting why, u64 attempt) const {
    if (why == virtio::waiting::request) attached.work();
    return attempt < 100;
  }
};

using disk_t = virtio::blk::device<board, virtio::pci::modern<board>, virtio::split_queue<16>>;
inline constinit virtio::dma_storage<disk_t::dma_bytes> dma{};
inline constinit disk_t disk{};

/// Drives the disk from discovery to hand-off, as often as called. Returns the error, or nullptr.
inline const char* drive() {
  attached.power_on();
  u8 sector[1024];
  if (disk.read(0, sector).error() != virtio::errc::not_started) return "a disk that was not started reads";
  if (virtio::pci::find(board{}, virtio::device_type::entropy).error() != virtio::errc::not_found)
    return "an rng appears";
  const auto where = virtio::pci::find(board{}, virtio::device_type::block);
  if (!where) return describe(where.error());
  if (const auto up = disk.start(board{}, *where, dma); !up) return describe(disk.why().why);
  if (disk.capacity() != sectors || !disk.features().has(virtio::feature::version_1)) return "the disk is another one";

  for (usize i = 0; i < sizeof sector; ++i) sector[i] = static_cast<u8>(7 * i + i / 251);
  if (const auto r = disk.write(5, sector); !r) return describe(r.error());
  for (usize i = 0; i < sizeof sector; ++i)
    if (attached.content[5 * 512 + i] != sector[i]) return "the disk holds something else than was written";
  for (usize i = 0; i < 512; ++i) attached.content[6 * 512 + i] ^= 0x55;
  u8 back[512] = {};
  if (const auto r = disk.read(6, back); !r) return describe(r.error());
  for (usize i = 0; i < sizeof back; ++i)
    if (back[i] != (sector[512 + i] ^ 0x55)) return "something else is read than the disk holds";

  if (disk.read(sectors - 1, sector).error() != virtio::errc::out_of_range) return "the disk reads past its end";
  if (!disk.hand_off() || attached.registers[0x14] != 0 || (attached.config[1] & 4) != 0)
    return "the disk is not left quiet";
  if (attached.requests != 2 || attached.lies != 0) return "the disk saw other requests than those made";
  return nullptr;
}

}  // namespace memory_disk
