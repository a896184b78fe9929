/* SPDX-License-Identifier: MIT
 * The lower limit of a driver's cost: reads by fixed chains that are written once, on a fully trusted device. It does not
 * negotiate, map, split or check. It is not a model for a driver: the difference to it is the cost of safety and
 * generality. Written by hand, without the library. */
#include <stdint.h>

enum { entries = 128, depth = 32 };

void idle(void);

struct descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags, next;
};
struct header {
  uint32_t type, reserved;
  uint64_t sector;
};
static _Alignas(4096) struct {
  struct descriptor table[entries];
  uint16_t avail_flags, avail_index, avail[entries], used_event;
  _Alignas(4096) uint16_t used_flags;
  uint16_t used_index;
  struct {
    uint32_t id, length;
  } used[entries];
} ring;
static struct header headers[depth];
static uint8_t statuses[depth];
static _Alignas(4096) uint8_t data[depth][4096];
static volatile uint16_t* bell;
static uint16_t taken;

static void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static uint32_t in32(uint16_t port) {
  uint32_t value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static uint32_t config(uint32_t device, uint32_t at) {
  out32(0xcf8, 0x80000000u | device << 11 | at);
  return in32(0xcfc);
}
static uint8_t* bar(uint32_t device, uint32_t n) { return (uint8_t*)(uintptr_t)(config(device, 0x10 + 4 * n) & ~15u); }
static void put(volatile uint8_t* at, uint64_t value) {
  *(volatile uint32_t*)at = (uint32_t)value;
  *(volatile uint32_t*)(at + 4) = (uint32_t)(value >> 32);
}

/* Returns 0 if there is no disk at the expected place: on bus 0, with its registers in memory. */
int floor_start(void) {
  uint32_t device = 0;
  while (config(device, 0) != 0x10421af4)
    if (++device == 32) return 0;
  volatile uint8_t* common = 0;
  uint8_t* notify = 0;
  uint32_t multiplier = 0;
  for (uint32_t at = config(device, 0x34) & 0xfc; at != 0; at = config(device, at) >> 8 & 0xfc) {
    const uint32_t head = config(device, at);
    uint8_t* const where = bar(device, config(device, at + 4) & 0xff) + config(device, at + 8);
    if ((head & 0xff) != 9) continue;
    if (head >> 24 == 1) common = where;
    if (head >> 24 == 2) {
      notify = where;
      multiplier = config(device, at + 16);
    }
  }
  if (common == 0 || notify == 0) return 0;
  out32(0xcf8, 0x80000000u | device << 11 | 4);
  out32(0xcfc, 0x6);

  common[0x14] = 0;
  while (common[0x14] != 0) {}
  common[0x14] = 3;
  *(volatile uint32_t*)(common + 8) = 1;
  *(volatile uint32_t*)(common + 12) = 1; /* only VERSION_1 */
  common[0x14] = 11;
  *(volatile uint16_t*)(common + 0x16) = 0;
  *(volatile uint16_t*)(common + 0x18) = entries;
  put(common + 0x20, (uintptr_t)ring.table);
  put(common + 0x28, (uintptr_t)&ring.avail_flags);
  put(common + 0x30, (uintptr_t)&ring.used_flags);
  bell = (volatile uint16_t*)(notify + *(volatile uint16_t*)(common + 0x1e) * multiplier);
  for (uint16_t i = 0; i < depth; ++i) {
    ring.table[3 * i] = (struct descriptor){(uintptr_t)&headers[i], 16, 1, (uint16_t)(3 * i + 1)};
    ring.table[3 * i + 1] = (struct descriptor){(uintptr_t)data[i], 4096, 3, (uint16_t)(3 * i + 2)};
    ring.table[3 * i + 2] = (struct descriptor){(uintptr_t)&statuses[i], 1, 2, 0};
  }
  for (uint16_t i = 0; i < entries; ++i) ring.avail[i] = (uint16_t)(3 * (i % depth));
  ring.avail_flags = 1;
  *(volatile uint16_t*)(common + 0x1c) = 1;
  common[0x14] = 15;
  return 1;
}

static void show_and_wait(uint16_t count) {
  taken = (uint16_t)(taken + count);
  __atomic_store_n(&ring.avail_index, taken, __ATOMIC_RELEASE);
  *bell = 0;
  while (__atomic_load_n(&ring.used_index, __ATOMIC_ACQUIRE) != taken) idle();
}
/* One at a time, by the chains in turn. */
void floor_one(unsigned long count) {
  for (unsigned long i = 0; i < count; ++i) {
    headers[taken % depth].sector = i % 1024 * 8;
    show_and_wait(1);
  }
}
void floor_batches(unsigned long count) {
  for (unsigned long batch = 0; batch < count / depth; ++batch) {
    for (unsigned long i = 0; i < depth; ++i) headers[i].sector = (batch * depth + i) % 1024 * 8;
    show_and_wait(depth);
  }
}
