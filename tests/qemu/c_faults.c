/* SPDX-License-Identifier: MIT
 * Makes invalid calls of examples/c_firmware/drivers.h, and calls on machines without the device: each returns its
 * error, and valid calls still work. The command line has run=NAME. */
#include <drivers.h>
#include <serial.h>

static unsigned wrong;
static const char* command;

static void print_piece(void* context, const char* text) {
  ++*(unsigned*)context;
  print(text);
}

/* Compares a call's status. */
static void expect(const char* call, virtio_status want, virtio_status got) {
  if (got == want) return;
  ++wrong;
  print("WRONG: ");
  print(call);
  print(": ");
  print(virtio_error(got));
  print(", want: ");
  print(virtio_error(want));
  print("\n");
}
#define EXPECT(want, call) expect(#call, want, call)

static void expect_true(const char* what, int is_so) {
  if (is_so) return;
  ++wrong;
  print("WRONG: ");
  print(what);
  print("\n");
}
#define TRUE(what) expect_true(#what, what)

static int same_text(const char* left, const char* right) {
  while (*left != '\0' && *left == *right) ++left, ++right;
  return *left == *right;
}

static int runs(const char* name) {
  const char* at = command;
  for (; *at != '\0'; ++at) {
    const char *word = at, *key = "run=", *rest = name;
    while (*key != '\0' && *word == *key) ++word, ++key;
    if (*key != '\0') continue;
    while (*rest != '\0' && *word == *rest) ++word, ++rest;
    if (*rest == '\0' && (*word == '\0' || *word == ' ')) return 1;
  }
  return 0;
}

static unsigned char memory[4096];
static size_t got;
static const virtio_socket nobody = {0, 0}, far = {0x10000, 1}, odd = {1, 1};

/* Returns whether `wanted` virtio functions of bus 0 may master the bus. Other processors than x86 have no ports. */
static int masters(unsigned wanted) {
  unsigned count = 0;
#if defined(__x86_64__) || defined(__i386__)
  unsigned slot;
  for (slot = 0; slot < 32; ++slot) {
    uint32_t ids, enabled;
    __asm__ volatile("outl %0, %1" : : "a"(0x80000000u | slot << 11), "Nd"((unsigned short)0xcf8));
    __asm__ volatile("inl %1, %0" : "=a"(ids) : "Nd"((unsigned short)0xcfc));
    __asm__ volatile("outl %0, %1" : : "a"(0x80000004u | slot << 11), "Nd"((unsigned short)0xcf8));
    __asm__ volatile("inl %1, %0" : "=a"(enabled) : "Nd"((unsigned short)0xcfc));
    count += (ids & 0xffff) == 0x1af4 && (enabled & 4) != 0;
  }
#else
  count = wanted;
#endif
  return count == wanted;
}

/* On any machine, before a start and after the last stop. */
static void nothing_is_started(void) {
  TRUE(virtio_disk_sectors() == 0 && virtio_disk_block_size() == 0 && virtio_disk_is_read_only() == 0);
  EXPECT(VIRTIO_NOT_STARTED, virtio_disk_read(0, memory, 1));
  EXPECT(VIRTIO_NOT_STARTED, virtio_disk_read(0, NULL, 0));
  EXPECT(VIRTIO_NOT_STARTED, virtio_disk_write(0, memory, 1));
  EXPECT(VIRTIO_NOT_STARTED, virtio_disk_flush());
  EXPECT(VIRTIO_NOT_STARTED, virtio_disk_serial((char*)memory, sizeof memory));
  EXPECT(VIRTIO_NOT_STARTED, virtio_entropy_fill(memory, 1));
  EXPECT(VIRTIO_NOT_STARTED, virtio_console_put("x", 1));
  EXPECT(VIRTIO_NOT_STARTED, virtio_console_get(memory, 1, &got));
  EXPECT(VIRTIO_NOT_STARTED, virtio_console_try_get(memory, 1, &got));
  EXPECT(VIRTIO_NOT_STARTED, virtio_vsock_connect(VIRTIO_HOST_CID, 1, (virtio_socket*)memory));
  EXPECT(VIRTIO_STALE_HANDLE, virtio_vsock_send(nobody, "x", 1));
  EXPECT(VIRTIO_STALE_HANDLE, virtio_vsock_receive(nobody, memory, 1, &got));
  EXPECT(VIRTIO_NOT_STARTED, virtio_vsock_try_receive(nobody, memory, 1, &got));
  EXPECT(VIRTIO_STALE_HANDLE, virtio_vsock_close(nobody));
  EXPECT(VIRTIO_OK, virtio_disk_stop());
  EXPECT(VIRTIO_OK, virtio_entropy_stop());
  EXPECT(VIRTIO_OK, virtio_console_stop());
  EXPECT(VIRTIO_OK, virtio_vsock_stop());
  EXPECT(VIRTIO_OK, virtio_stop_all());
}

static void arguments(void) {
  virtio_list(NULL, NULL);
  virtio_why(NULL, NULL);
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_disk_read(0, NULL, 1));
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_disk_write(0, NULL, 1));
  EXPECT(VIRTIO_OUT_OF_RANGE, virtio_disk_read(0, memory, SIZE_MAX / 512 + 1));
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_disk_serial(NULL, 21));
  EXPECT(VIRTIO_NO_SPACE, virtio_disk_serial((char*)memory, 20));
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_entropy_fill(NULL, 1));
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_console_put(NULL, 1));
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_console_get(NULL, 1, &got));
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_console_get(memory, 0, &got));
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_console_try_get(memory, 1, NULL));
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_vsock_connect(VIRTIO_HOST_CID, 1, NULL));
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_vsock_send(nobody, NULL, 1));
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_vsock_receive(nobody, NULL, 1, &got));
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_vsock_receive(nobody, memory, 0, &got));
  EXPECT(VIRTIO_INVALID_ARGUMENT, virtio_vsock_try_receive(nobody, memory, 1, NULL));
  TRUE(same_text(virtio_error(-1), "unknown error") && same_text(virtio_error(256), "unknown error"));
  TRUE(same_text(virtio_error(VIRTIO_OK), "success"));
}

/* The machine has no virtio device. */
static void absent(void) {
  unsigned pieces = 0;
  EXPECT(VIRTIO_NOT_FOUND, virtio_disk_start(0));
  EXPECT(VIRTIO_NOT_FOUND, virtio_disk_start(~0u));
  EXPECT(VIRTIO_NOT_FOUND, virtio_entropy_start());
  EXPECT(VIRTIO_NOT_FOUND, virtio_console_start());
  EXPECT(VIRTIO_NOT_FOUND, virtio_vsock_start(1));
  virtio_why(print_piece, &pieces);
  virtio_list(print_piece, &pieces);
  TRUE(pieces == 0);
}

/* Two disks; the first is writable. */
static void disk(void) {
  const unsigned char* const seen = memory;
  uint64_t end;
  EXPECT(VIRTIO_OK, virtio_disk_start(0));
  end = virtio_disk_sectors();
  EXPECT(VIRTIO_OUT_OF_RANGE, virtio_disk_read(end, memory, 1));
  EXPECT(VIRTIO_OUT_OF_RANGE, virtio_disk_read(end - 1, memory, 2));
  EXPECT(VIRTIO_OUT_OF_RANGE, virtio_disk_read(~(uint64_t)0, memory, 1));
  EXPECT(VIRTIO_OUT_OF_RANGE, virtio_disk_write(end, memory, 1));
  EXPECT(VIRTIO_OK, virtio_disk_read(0, NULL, 0));
  EXPECT(VIRTIO_OK, virtio_disk_serial((char*)memory, 21));
  TRUE(same_text((const char*)memory, "virtio-disk-20-chars"));
  EXPECT(VIRTIO_OK, virtio_disk_read(3, memory, 1));
  TRUE(seen[0] == 3);
  EXPECT(VIRTIO_OK, virtio_disk_start(1));
  TRUE(virtio_disk_sectors() != end);
  EXPECT(VIRTIO_OK, virtio_disk_read(5, memory, 1));
  TRUE(seen[0] == 5);
  EXPECT(VIRTIO_OK, virtio_disk_serial((char*)memory, 21));
  TRUE(same_text((const char*)memory, "short"));
  EXPECT(VIRTIO_NOT_FOUND, virtio_disk_start(2)); /* the second disk stays started */
  EXPECT(VIRTIO_OK, virtio_disk_read(7, memory, 1));
  EXPECT(VIRTIO_OK, virtio_disk_stop());
  EXPECT(VIRTIO_NOT_STARTED, virtio_disk_read(0, memory, 1));
  EXPECT(VIRTIO_OK, virtio_disk_start(0));
  EXPECT(VIRTIO_OK, virtio_disk_start(0));
  EXPECT(VIRTIO_OK, virtio_disk_read(0, memory, 1));
  memory[0] ^= 1;
  EXPECT(VIRTIO_OK, virtio_disk_write(0, memory, 1));
  EXPECT(VIRTIO_OK, virtio_disk_flush());
  TRUE(masters(1));
  EXPECT(VIRTIO_OK, virtio_stop_all());
  TRUE(masters(0));
}

static void read_only(void) {
  EXPECT(VIRTIO_OK, virtio_disk_start(0));
  TRUE(virtio_disk_is_read_only());
  EXPECT(VIRTIO_READ_ONLY, virtio_disk_write(0, memory, 1));
  EXPECT(VIRTIO_OK, virtio_disk_read(9, memory, 1));
  TRUE(memory[0] == 9);
}

static void large_blocks(void) {
  EXPECT(VIRTIO_OK, virtio_disk_start(0));
  TRUE(virtio_disk_block_size() == 4096);
  EXPECT(VIRTIO_MISALIGNED, virtio_disk_read(0, memory, 1));
  EXPECT(VIRTIO_MISALIGNED, virtio_disk_read(1, memory, 8));
  EXPECT(VIRTIO_OK, virtio_disk_read(8, memory, 8));
  TRUE(memory[0] == 8);
}

static void bad_sector(void) {
  EXPECT(VIRTIO_OK, virtio_disk_start(0));
  EXPECT(VIRTIO_IO_ERROR, virtio_disk_read(3000, memory, 1));
  EXPECT(VIRTIO_OK, virtio_disk_read(2999, memory, 1));
}

/* The device's ring is larger than the driver's. */
static void refused(void) {
  unsigned pieces = 0;
  EXPECT(VIRTIO_NO_SPACE, virtio_disk_start(0));
  virtio_why(print_piece, &pieces);
  TRUE(pieces != 0);
  EXPECT(VIRTIO_NOT_STARTED, virtio_disk_read(0, memory, 1));
}

/* The host reports that nothing listens at the port. */
static void closed_port(void) {
  virtio_socket one;
  EXPECT(VIRTIO_OK, virtio_vsock_start(1));
  EXPECT(VIRTIO_REFUSED, virtio_vsock_connect(VIRTIO_HOST_CID, 1, &one));
  EXPECT(VIRTIO_STALE_HANDLE, virtio_vsock_close(one));
}

/* The console's host answers one byte. The vsock host listens at port 1234, not at port 1. */
static void peers(void) {
  virtio_socket one, other;
  virtio_status why;
  EXPECT(VIRTIO_OK, virtio_console_start());
  EXPECT(VIRTIO_NOT_READY, virtio_console_try_get(memory, sizeof memory, &got));
  TRUE(got == 0);
  EXPECT(VIRTIO_OK, virtio_console_put(NULL, 0));
  EXPECT(VIRTIO_OK, virtio_console_put("?", 1));
  EXPECT(VIRTIO_OK, virtio_console_get(memory, sizeof memory, &got));
  TRUE(got == 1 && memory[0] == '!');

  EXPECT(VIRTIO_OK, virtio_vsock_start(1));
  TRUE(virtio_vsock_cid() > VIRTIO_HOST_CID);
  why = virtio_vsock_connect(VIRTIO_HOST_CID, 1, &one);
  TRUE(why == VIRTIO_REFUSED || why == VIRTIO_PEER_SILENT);
  EXPECT(VIRTIO_STALE_HANDLE, virtio_vsock_send(one, "x", 1));
  EXPECT(VIRTIO_STALE_HANDLE, virtio_vsock_send(far, "x", 1));
  EXPECT(VIRTIO_STALE_HANDLE, virtio_vsock_receive(odd, memory, 1, &got));
  EXPECT(VIRTIO_STALE_HANDLE, virtio_vsock_close(odd));
  EXPECT(VIRTIO_OK, virtio_vsock_connect(VIRTIO_HOST_CID, 1234, &one));
  EXPECT(VIRTIO_NOT_READY, virtio_vsock_try_receive(one, memory, 1, &got));
  EXPECT(VIRTIO_OK, virtio_vsock_send(one, NULL, 0));
  EXPECT(VIRTIO_OK, virtio_vsock_send(one, "firmware measured 00000000\n", 27));
  while ((why = virtio_vsock_try_receive(one, memory, 1, &got)) == VIRTIO_NOT_READY) {}
  EXPECT(VIRTIO_OK, why);
  TRUE(got == 1 && memory[0] == 'n');
  EXPECT(VIRTIO_OK, virtio_vsock_receive(one, memory, sizeof memory, &got));
  TRUE(got >= 1 && memory[0] == 'o');
  other = one;
  EXPECT(VIRTIO_OK, virtio_vsock_close(one));
  EXPECT(VIRTIO_STALE_HANDLE, virtio_vsock_send(other, "x", 1));
  EXPECT(VIRTIO_STALE_HANDLE, virtio_vsock_close(other));
}

int guest_main(const char* command_line);
int guest_main(const char* command_line) {
  static const struct {
    const char* name;
    void (*run)(void);
  } all[] = {
      {"absent", absent},         {"disk", disk},       {"read_only", read_only},     {"large_blocks", large_blocks},
      {"bad_sector", bad_sector}, {"refused", refused}, {"closed_port", closed_port}, {"peers", peers}};
  size_t i;
  command = command_line;
  nothing_is_started();
  arguments();
  for (i = 0; i < sizeof all / sizeof *all; ++i) {
    if (!runs(all[i].name)) continue;
    all[i].run();
    print(all[i].name);
    print(wrong == 0 ? ": as it must be\n" : ": WRONG\n");
  }
  EXPECT(VIRTIO_OK, virtio_stop_all());
  if (!runs("read_only") && !runs("large_blocks")) nothing_is_started(); /* these disks report another error first */
  TRUE(virtio_disk_read(0, memory, 1) != VIRTIO_OK && virtio_disk_sectors() == 0);
  return wrong != 0;
}
