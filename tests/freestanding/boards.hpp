// SPDX-License-Identifier: MIT
// Boards that are never booted: each shows another variant of the platform and host concepts. Both concepts in one
// object, as on real boards. Freestanding: only the library.
#pragma once

#include <virtio/mmio.hpp>
#include <virtio/pci.hpp>
#include <virtio/platform/identity.hpp>

namespace boards {

using virtio::direction;
using virtio::dma_addr;
using virtio::errc;
using virtio::result;
using virtio::segments;
using virtio::u16;
using virtio::u32;
using virtio::u64;
using virtio::u8;
using virtio::uptr;
using virtio::usize;
using virtio::waiting;

#if defined(__x86_64__) || defined(__i386__)

/// The first 4 GiB, as a compile-time constant.
struct low_memory {
  [[nodiscard]] result<uptr> cpu_address(u64 at, u64 size) const {
    return virtio::pci::linear_map{}.cpu_address(at, size);
  }
};

/// Identity-mapped x86 with configuration ports: empty, so it costs nothing.
struct ports : virtio::pci::cf8<low_memory>, virtio::identity_platform<virtio::smp_barriers, 1'000'000> {};

#endif

/// Only memory: ECAM, and buffers that are contiguous only in a page, as in a paged unikernel.
struct paged : virtio::pci::ecam {
  using barriers = virtio::smp_barriers;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    const u16 before = out.size();
    uptr at = reinterpret_cast<uptr>(va);
    while (n != 0) {
      const usize here = virtio::detail::smaller(n, 4096 - at % 4096);
      // `shared` storage is one piece, so the storage's pages are contiguous here.
      const usize piece = way == direction::shared ? n : here;
      if (const auto pushed = out.push(dma_addr{at ^ offset}, piece, way); !pushed) {
        out.truncate(before);
        return pushed;
      }
      at += piece;
      n -= piece;
    }
    return {};
  }
  bool keep_waiting(waiting why, u64 attempt) const { return why == waiting::reset || attempt < 1'000'000; }

  uptr offset = 0;  // between the CPU's and the device's addresses
};

/// Device addresses larger than a pointer: a 32-bit guest whose memory the device sees above 4 GiB.
struct high : virtio::pci::ecam, virtio::polling<1'000'000> {
  using barriers = virtio::smp_barriers;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return out.push(dma_addr{reinterpret_cast<uptr>(va) + first}, n, way);
  }

  u64 first = 0;  // the device's address of our address 0
};

/// A 32-bit machine with a 64-bit bus: a function beyond the CPU's reach is driven through its window.
struct low_reach : virtio::pci::windowed<virtio::pci::ecam>,
                   virtio::identity_platform<virtio::smp_barriers, 1'000'000> {};

/// Copies every buffer through a pool that the device can reach; a slot of the pool is a segment's handle.
struct bounce_pool {
  static constexpr usize count = 64;
  static constexpr usize bytes = 4096;

  u8 (*memory)[bytes] = nullptr;
  struct {
    u8* original = nullptr;
    bool taken = false;
  } slots[count];
};

struct bouncing : virtio::pci::ecam, virtio::polling<1'000'000> {
  using barriers = virtio::smp_barriers;
  static constexpr virtio::access_policy access_platform = virtio::access_policy::through_map;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    u8* at = const_cast<u8*>(static_cast<const volatile u8*>(va));
    if (way == direction::shared) return out.push(dma_addr{reinterpret_cast<uptr>(at)}, n, way);
    const u16 before = out.size();
    const usize largest = virtio::detail::smaller(usize{out.largest_piece()}, bounce_pool::bytes);
    while (n != 0) {
      const usize length = virtio::detail::smaller(n, largest);
      const usize slot = take(at);
      errc why = errc::dma_unreachable;
      if (slot != bounce_pool::count) {
        if (way == direction::to_device) copy(pool->memory[slot], at, length);
        why = out.push(dma_addr{reinterpret_cast<uptr>(pool->memory[slot])}, length, way, slot).error();
      }
      if (why != errc::ok) {
        if (slot != bounce_pool::count) pool->slots[slot].taken = false;
        for (u16 i = before; i < out.size(); ++i) pool->slots[out[i].handle].taken = false;
        out.truncate(before);
        return why;
      }
      at += length;
      n -= length;
    }
    return {};
  }

  void unmap(const virtio::segment& piece, u32 written) const {
    auto& slot = pool->slots[piece.handle];
    if (piece.way == direction::from_device) copy(slot.original, pool->memory[piece.handle], written);
    slot.taken = false;
  }

  bounce_pool* pool = nullptr;

 private:
  static void copy(u8* to, const u8* from, usize n) {
    for (usize i = 0; i < n; ++i) to[i] = from[i];
  }
  usize take(u8* original) const {
    for (usize i = 0; i < bounce_pool::count; ++i) {
      if (pool->slots[i].taken) continue;
      pool->slots[i] = {original, true};
      return i;
    }
    return bounce_pool::count;
  }
};

/// Devices that may be hardware, with the older, smaller memory-mapped configuration space: dma_barriers, so the
/// session requests ORDER_PLATFORM.
struct bus : virtio::pci::cam, virtio::identity_platform<virtio::dma_barriers, 1'000'000> {};

/// A firmware's protocols: every access uses function pointers, and a function is a handle without a number.
struct firmware_handle;  // opaque
struct firmware {
  bool (*read)(firmware_handle*, u8 bar, u8 width, u64 offset, void* value);
  bool (*write)(firmware_handle*, u8 bar, u8 width, u64 offset, const void* value);
  bool (*config_read)(firmware_handle*, u16 offset, u32* value);
  bool (*config_write)(firmware_handle*, u16 offset, u32 value);
  bool (*map)(firmware_handle*, bool device_writes, const volatile void* va, usize* n, u64* device_address,
              void** mapping);
  bool (*unmap)(firmware_handle*, void* mapping);
  void (*stall)(usize microseconds);
  usize (*handles)(firmware_handle*** list);
};

/// A BAR accessed by a firmware's protocol.
class firmware_space {
 public:
  constexpr firmware_space() = default;
  constexpr firmware_space(const firmware* calls, firmware_handle* id, u8 bar, u64 base, usize size)
      : calls_{calls}, id_{id}, base_{base}, size_{size}, bar_{bar} {}

  template <virtio::register_value T>
  [[nodiscard]] T read(usize offset) const {
    T value = static_cast<T>(~T{0});
    if (!calls_->read(id_, bar_, sizeof(T), base_ + offset, &value)) return static_cast<T>(~T{0});
    return value;
  }
  template <virtio::register_value T>
  void write(usize offset, T value) const {
    (void)calls_->write(id_, bar_, sizeof(T), base_ + offset, &value);
  }
  [[nodiscard]] constexpr usize size() const { return size_; }
  [[nodiscard]] constexpr firmware_space part(usize offset, usize length) const {
    return {calls_, id_, bar_, base_ + offset, length};
  }

 private:
  const firmware* calls_ = nullptr;
  firmware_handle* id_ = nullptr;
  u64 base_ = 0;
  usize size_ = 0;
  u8 bar_ = 0;
};

struct uefi {
  using barriers = virtio::dma_barriers;
  using function_id = firmware_handle*;
  using bar_space = firmware_space;
  static constexpr virtio::access_policy access_platform = virtio::access_policy::through_map;

  u32 config_read32(function_id id, u16 offset) const {
    u32 value = 0;
    return calls->config_read(id, offset, &value) ? value : 0xffffffffu;
  }
  void config_write32(function_id id, u16 offset, u32 value) const { (void)calls->config_write(id, offset, value); }
  result<firmware_space> bar(function_id id, u8 index) const {
    VIRTIO_TRY_ASSIGN(const auto found, virtio::pci::probe_bar(*this, id, index));
    if (found.kind == virtio::pci::bar_kind::none) return errc::not_found;
    return firmware_space{calls, id, index, 0, static_cast<usize>(found.size)};
  }
  template <class Visit>
  void each_function(Visit&& visit) const {
    firmware_handle** list = nullptr;
    const usize count = calls->handles(&list);
    for (usize i = 0; i < count; ++i)
      if (!visit(list[i])) return;
  }

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    usize length = n;
    u64 at = 0;
    void* mapping = nullptr;
    if (!calls->map(bus_master, way != direction::to_device, va, &length, &at, &mapping)) return errc::dma_unreachable;
    const u16 before = out.size();
    const auto pushed = length == n ? out.push(dma_addr{at}, n, way, reinterpret_cast<uptr>(mapping))
                                    : result<void>{errc::dma_unreachable};
    if (!pushed) {
      out.truncate(before);
      (void)calls->unmap(bus_master, mapping);
    }
    return pushed;
  }
  void unmap(const virtio::segment& piece, u32) const {
    (void)calls->unmap(bus_master, reinterpret_cast<void*>(static_cast<uptr>(piece.handle)));
  }
  bool keep_waiting(waiting, u64 attempt) const {
    calls->stall(1);
    return attempt < 10'000'000;
  }

  const firmware* calls = nullptr;
  firmware_handle* bus_master = nullptr;
};

/// Without PCI: a row of MMIO slots.
struct row : virtio::mmio::slots, virtio::identity_platform<virtio::dma_barriers, 1'000'000> {};
static_assert(virtio::platform<row> && virtio::mmio::bus<row>);

/// Halts until an interrupt while it waits, receives every event, and rejects an IOMMU.
struct sleeping : virtio::pci::ecam, virtio::identity_mapped<> {
  static constexpr bool sleeps = true;
  static constexpr virtio::access_policy access_platform = virtio::access_policy::refuse;

  bool keep_waiting(waiting why, u64 attempt) const {
    halt(why);
    return attempt < 1000;
  }
  void trace(virtio::event happened) const {
    if (log != nullptr) log->last = happened, ++log->count;
  }

  struct events {
    virtio::event last;
    usize count;
  };
  events* log = nullptr;
  void (*halt)(waiting) = nullptr;
};

template <class B>
inline constexpr bool is_board = virtio::platform<B> && virtio::pci::host<B>;

#if defined(__x86_64__) || defined(__i386__)
static_assert(is_board<ports>);
#endif
static_assert(is_board<paged> && is_board<high> && is_board<low_reach> && is_board<bouncing> && is_board<bus> &&
              is_board<uefi> && is_board<sleeping>);

}  // namespace boards
