/* SPDX-License-Identifier: MIT
 * Firmware in C: it draws a seed, measures the disk, changes one bit of it, asks at the console whether to boot, sends the
 * measurement to the host, and stops all devices. It skips devices that the machine does not have. */
#include "drivers.h"
#include "serial.h"

enum { REPORT_PORT = 1234 };

static void print_piece(void* context, const char* text) {
  (void)context;
  print(text);
}

/* Writes hexadecimal digits. Returns the end. */
static char* digits(char* to, uint32_t number, unsigned width) {
  while (width-- != 0) *to++ = "0123456789abcdef"[number >> 4 * width & 15];
  return to;
}

static char* copy(char* to, const char* text) {
  while (*text != '\0') *to++ = *text++;
  return to;
}

/* Prints by subtraction: a 64-bit division needs a compiler's runtime library on 32-bit processors. */
static void print_number(uint64_t number) {
  static const uint64_t powers[] = {1000000000000, 100000000000, 10000000000, 1000000000, 100000000, 10000000, 1000000,
                                    100000,        10000,        1000,        100,        10,        1};
  unsigned i, begun = 0;
  for (i = 0; i < sizeof powers / sizeof *powers; ++i) {
    char digit = '0';
    for (; number >= powers[i]; number -= powers[i]) ++digit;
    begun |= digit != '0' || i == sizeof powers / sizeof *powers - 1;
    if (begun) put(digit);
  }
}

/* Prints an error. Returns 1. */
static int fail(const char* what, virtio_status why) {
  print(what);
  print(": ");
  print(virtio_error(why));
  print("\n");
  return 1;
}

/* The same for a start. Returns 0 if the machine has no such device. */
static int fail_start(const char* what, virtio_status why) {
  fail(what, why);
  virtio_why(print_piece, NULL);
  return why != VIRTIO_NOT_FOUND;
}

static unsigned char seed[32];

static int use_entropy(void) {
  unsigned zeros = 0;
  virtio_status why;
  size_t i;
  if ((why = virtio_entropy_start()) != 0) return fail_start("entropy", why);
  if ((why = virtio_entropy_fill(seed, sizeof seed)) != 0) return fail("fill", why);
  for (i = 0; i < sizeof seed; ++i) zeros += seed[i] == 0;
  print(zeros < 8 ? "seeded\n" : "not random\n");
  return zeros >= 8;
}

static uint32_t measured; /* CRC-32 of the disk */

static uint32_t crc32(uint32_t so_far, const unsigned char* data, size_t size) {
  uint32_t crc = ~so_far;
  while (size-- != 0) {
    unsigned bit;
    crc ^= *data++;
    for (bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

static int use_disk(void) {
  enum { AT_ONCE = 128 }; /* sectors: a multiple of every block size up to 64 KiB */
  static unsigned char memory[AT_ONCE * 512];
  char serial[21];
  uint64_t sector, end;
  virtio_status why;
  if ((why = virtio_disk_start(0)) != 0) return fail_start("disk", why);
  end = virtio_disk_sectors();
  print("disk: ");
  print_number(end);
  print(" sectors, blocks of ");
  print_number(virtio_disk_block_size());
  print(virtio_disk_is_read_only() ? " bytes, read-only, serial " : " bytes, serial ");
  why = virtio_disk_serial(serial, sizeof serial);
  print(why == 0 ? serial : virtio_error(why));
  for (sector = 0; sector < end; sector += AT_ONCE) {
    const size_t count = end - sector < AT_ONCE ? (size_t)(end - sector) : AT_ONCE;
    if ((why = virtio_disk_read(sector, memory, count)) != 0) return fail("\nread", why);
    measured = crc32(measured, memory, count * 512);
  }
  *digits(serial, measured, 8) = '\0';
  print(", CRC-32 ");
  print(serial);
  print("\n");
  if (virtio_disk_is_read_only() || end == 0) return 0;
  if ((why = virtio_disk_read(0, memory, virtio_disk_block_size() / 512)) != 0) return fail("read", why);
  memory[0] ^= 1;
  if ((why = virtio_disk_write(0, memory, virtio_disk_block_size() / 512)) != 0) return fail("write", why);
  if ((why = virtio_disk_flush()) != 0) return fail("flush", why);
  return 0;
}

static int use_console(void) {
  static const char question[] = "firmware: boot? [y/n] ", yes[] = "y\r\nbooting\r\n", no[] = "n\r\nstaying\r\n";
  virtio_status why;
  char key = 0;
  size_t got;
  if ((why = virtio_console_start()) != 0) return fail_start("console", why);
  if ((why = virtio_console_put(question, sizeof question - 1)) != 0) return fail("put", why);
  while (key != 'y' && key != 'n')
    if ((why = virtio_console_get(&key, 1, &got)) != 0) return fail("get", why);
  why = key == 'y' ? virtio_console_put(yes, sizeof yes - 1) : virtio_console_put(no, sizeof no - 1);
  if (why != 0) return fail("put", why);
  print(key == 'y' ? "the console says yes\n" : "the console says no\n");
  return 0;
}

static uint64_t first_bytes(const unsigned char* from) {
  uint64_t number = 0;
  unsigned i;
  for (i = 0; i < 8; ++i) number = number << 8 | from[i];
  return number;
}

static int use_vsock(void) {
  virtio_socket host;
  virtio_status why;
  char line[64], *end = line; /* the report, then the answer */
  size_t got;
  if ((why = virtio_vsock_start(first_bytes(seed))) != 0) return fail_start("vsock", why);
  why = virtio_vsock_connect(VIRTIO_HOST_CID, REPORT_PORT, &host);
  if (why == VIRTIO_REFUSED || why == VIRTIO_PEER_SILENT) { /* the host does not collect reports */
    fail("report", why);
    return 0;
  }
  if (why != 0) return fail("connect", why);
  end = copy(end, "firmware measured ");
  end = digits(end, measured, 8);
  end = copy(end, "\n");
  if ((why = virtio_vsock_send(host, line, (size_t)(end - line))) != 0) return fail("send", why);
  print("the host says: ");
  do { /* the answer is one line */
    if ((why = virtio_vsock_receive(host, line, sizeof line - 1, &got)) != 0) return fail("receive", why);
    line[got] = '\0';
    print(line);
  } while (line[got - 1] != '\n');
  if ((why = virtio_vsock_close(host)) != 0) return fail("close", why);
  return 0;
}

int guest_main(const char* command_line);
int guest_main(const char* command_line) {
  int failed = 0;
  virtio_status why;
  (void)command_line;
  virtio_list(print_piece, NULL);
  failed |= use_entropy(); /* first: vsock uses the seed */
  failed |= use_disk();
  failed |= use_console();
  failed |= use_vsock();
  if ((why = virtio_stop_all()) != 0) failed |= fail("stop", why);
  print("the devices are quiet\n");
  return failed;
}
