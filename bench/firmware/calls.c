/* SPDX-License-Identifier: MIT
 * Calls each function of examples/c_firmware/drivers.h for the chosen parts: -DDISK, -DENTROPY, -DCONSOLE, -DVSOCK, -DWORDS.
 * Linked, never run. */
#include <drivers.h>

static unsigned char memory[4096];

#ifdef DISK
static int disk(void) {
  char serial[21];
  if (virtio_disk_start(0) != 0 || virtio_disk_serial(serial, sizeof serial) != 0) return 1;
  if (virtio_disk_is_read_only() || virtio_disk_block_size() != 512 || virtio_disk_sectors() == 0) return 1;
  if (virtio_disk_read(0, memory, 8) != 0 || virtio_disk_write(0, memory, 8) != 0 || virtio_disk_flush() != 0) return 1;
  return virtio_disk_stop();
}
#endif
#ifdef ENTROPY
static int entropy(void) {
  if (virtio_entropy_start() != 0 || virtio_entropy_fill(memory, sizeof memory) != 0) return 1;
  return virtio_entropy_stop();
}
#endif
#ifdef CONSOLE
static int console(void) {
  size_t got;
  if (virtio_console_start() != 0 || virtio_console_put(memory, 8) != 0) return 1;
  if (virtio_console_try_get(memory, 1, &got) != 0 && virtio_console_get(memory, 1, &got) != 0) return 1;
  return virtio_console_stop();
}
#endif
#ifdef VSOCK
static int vsock(void) {
  virtio_socket host;
  size_t got;
  if (virtio_vsock_start(1) != 0 || virtio_vsock_cid() == 0 || virtio_vsock_connect(VIRTIO_HOST_CID, 1, &host) != 0)
    return 1;
  if (virtio_vsock_send(host, memory, sizeof memory) != 0) return 1;
  if (virtio_vsock_try_receive(host, memory, 1, &got) != 0 && virtio_vsock_receive(host, memory, 1, &got) != 0)
    return 1;
  return virtio_vsock_close(host) | virtio_vsock_stop();
}
#endif
#ifdef WORDS
static void put(void* context, const char* text) { *(const char* volatile*)context = text; }
#endif

int guest_main(const char* command_line);
int guest_main(const char* command_line) {
  int failed = 0;
  (void)memory;
  (void)command_line;
#ifdef DISK
  failed |= disk();
#endif
#ifdef ENTROPY
  failed |= entropy();
#endif
#ifdef CONSOLE
  failed |= console();
#endif
#ifdef VSOCK
  failed |= vsock();
#endif
#ifdef WORDS
  virtio_list(put, memory);
  virtio_why(put, memory);
  put(memory, virtio_error(failed));
#endif
  return failed | virtio_stop_all();
}
