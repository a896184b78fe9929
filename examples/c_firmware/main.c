/* SPDX-License-Identifier: MIT
 * Firmware in C: reads the first sector of the disk, changes one bit and writes it back, seeds itself, leaves the devices quiet. */
#include "drivers.h"

static void put(char c) { __asm__ volatile("outb %0, %1" : : "a"(c), "Nd"((unsigned short)0x3f8)); }

static void print(const char *text) {
  while (*text != '\0') put(*text++);
}

static void print_number(uint64_t number) {
  if (number >= 10) print_number(number / 10);
  put((char)('0' + number % 10));
}

static void print_hex(uint64_t number) {
  if (number >= 16) print_hex(number / 16);
  put("0123456789abcdef"[number % 16]);
}

static int fail(const char *what, drivers_status why) {
  print(what);
  print(": ");
  print(drivers_describe(why));
  print("\n");
  return 1;
}

static int fail_start(const char *what, drivers_status why) {
  fail(what, why);
  if (*drivers_verdict() == '\0') return 1;
  print("  ");
  print(drivers_verdict());
  if (drivers_bar_size() != 0) {
    print("\n  bytes of the BAR: 0x");
    print_hex(drivers_bar_size());
  }
  if (drivers_bar_address() != 0) {
    print("\n  address of the BAR: 0x");
    print_hex(drivers_bar_address());
  }
  print("\n  what to do: ");
  print(drivers_advice());
  print("\n");
  return 1;
}

static int use_disk(void) {
  static unsigned char sector[512];
  drivers_status why;
  if ((why = disk_start()) != 0) return fail_start("disk", why);
  print_number(disk_sectors());
  print(" sectors\n");
  if ((why = disk_read(0, sector, sizeof sector)) != 0) return fail("read", why);
  sector[0] ^= 1;
  if ((why = disk_write(0, sector, sizeof sector)) != 0) return fail("write", why);
  if ((why = disk_flush()) != 0) return fail("flush", why);
  why = disk_read(disk_sectors(), sector, sizeof sector);
  print("behind the end: ");
  print(drivers_describe(why));
  print("\n");
  return why == 0;
}

static int use_entropy(void) {
  unsigned char seed[32] = {0};
  unsigned zeros = 0;
  drivers_status why;
  size_t i;
  if ((why = entropy_start()) != 0) return fail_start("entropy", why);
  if ((why = entropy_fill(seed, sizeof seed)) != 0) return fail("fill", why);
  for (i = 0; i < sizeof seed; ++i) zeros += seed[i] == 0;
  print(zeros < 8 ? "seeded\n" : "not random\n");
  return zeros >= 8;
}

int guest_main(const char *command_line);
int guest_main(const char *command_line) {
  drivers_status why;
  (void)command_line;
  if (use_disk() != 0 || use_entropy() != 0) return 1;
  if ((why = drivers_hand_off()) != 0) return fail("hand-off", why);
  print("handed off; again: ");
  print(drivers_describe(disk_read(0, &why, 0)));
  print("\n");
  return 0;
}
