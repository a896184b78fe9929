// SPDX-License-Identifier: MIT
// Accesses to registers and to shared words, each in its own function, so that instructions.py can check their
// instructions. The loops invite optimization: walking with write-back, pairs, folding a load into a test.
#include <virtio/platform/barriers.hpp>
#include <virtio/platform/mmio.hpp>

using namespace virtio;

namespace {

mmio_space at(uptr base) { return {base, 0x100}; }

}  // namespace

extern "C" {

// Registers: read or write, width, number of accesses; 0: any number.
u8 mmio_read_1_1(uptr base) { return at(base).read<u8>(0); }
u16 mmio_read_2_1(uptr base) { return at(base).read<u16>(0x12); }
u32 mmio_read_4_1(uptr base) { return at(base).read<u32>(0x70); }
void mmio_write_1_1(uptr base, u8 value) { at(base).write<u8>(0, value); }
void mmio_write_2_1(uptr base, u16 value) { at(base).write<u16>(0x12, value); }
void mmio_write_4_1(uptr base, u32 value) { at(base).write<u32>(0x50, value); }
void mmio_write_4_2(uptr base) {
  at(base).write<u32>(0x80, 0);
  at(base).write<u32>(0x84, 0);
}
u32 mmio_read_4_0_row(uptr base) {
  u32 sum = 0;
  for (usize i = 0; i < 4; ++i) sum += at(base).read<u32>(4 * i);
  return sum;
}
u32 mmio_read_1_0_walk(uptr base, usize count) {
  u32 sum = 0;
  for (usize i = 0; i < count; ++i) sum += at(base).read<u8>(i);
  return sum;
}
void mmio_write_4_0_walk(uptr base, usize count) {
  for (usize i = 0; i < count; ++i) at(base).write<u32>(4 * i, static_cast<u32>(i));
}
bool mmio_read_4_0_poll(uptr base) {
  while ((at(base).read<u32>(0x70) & 0x40) != 0) {}
  return (at(base).read<u32>(0x60) & 1) != 0;
}

// Shared words, with both sets of barriers.
u16 smp_load_acquire(const u16* from) { return smp_barriers::load_acquire(from); }
void smp_store_release(u16* to, u16 value) { smp_barriers::store_release(to, value); }
void smp_full() { smp_barriers::full(); }
u16 dma_load_acquire(const u16* from) { return dma_barriers::load_acquire(from); }
void dma_store_release(u16* to, u16 value) { dma_barriers::store_release(to, value); }
void dma_full() { dma_barriers::full(); }
void any_registers_before_memory() { detail::registers_before_memory(); }

}  // extern "C"
