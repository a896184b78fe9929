/* SPDX-License-Identifier: MIT
 * Shared by both ends of the vsock tests: whole reads and writes, and the bytes and sums that they exchange. */
#ifndef VIRTIO_TESTS_VSOCK_COMMON_H
#define VIRTIO_TESTS_VSOCK_COMMON_H
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static inline _Noreturn void die(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

static inline bool send_all(int fd, const void* data, size_t count) {
  for (const char* at = data; count != 0;) {
    const ssize_t sent = send(fd, at, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    at += sent;
    count -= (size_t)sent;
  }
  return true;
}

/* Returns the bytes read, at most `size`; 0 at the end, and after the connection broke. */
static inline size_t receive(int fd, void* to, size_t size) {
  ssize_t got;
  do got = size != 0 ? recv(fd, to, size, 0) : 0; /* recv waits even for 0 bytes */
  while (got < 0 && errno == EINTR);
  return got < 0 ? 0 : (size_t)got;
}

/* A line without its end, byte by byte so that the bytes after it stay. */
static inline bool receive_line(int fd, char* line, size_t size) {
  for (size_t at = 0; at < size; ++at) {
    if (receive(fd, line + at, 1) != 1) return false;
    if (line[at] == '\n') {
      line[at] = '\0';
      return true;
    }
  }
  return false;
}

static inline bool receive_number(int fd, uint64_t* number) {
  char line[24];
  char* end = line;
  if (!receive_line(fd, line, sizeof line) || line[0] < '0' || line[0] > '9') return false;
  errno = 0;
  *number = strtoull(line, &end, 10);
  return errno == 0 && *end == '\0';
}

static inline void rest_ms(long milliseconds) {
  const struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  nanosleep(&pause, NULL);
}

/* Of a Unix socket. */
static inline struct sockaddr_un address_of(const char* path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) die("%s: too long for a socket's path", path);
  strcpy(address.sun_path, path);
  return address;
}

/* A connection to `port` of the guest of vhost-device-vsock, below 0 if it was refused. */
static inline int call_unix(const char* path, unsigned port) {
  const struct sockaddr_un to = address_of(path);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return -1;
  char line[32];
  const int length = snprintf(line, sizeof line, "CONNECT %u\n", port);
  if (connect(fd, (const struct sockaddr*)&to, sizeof to) == 0 && send_all(fd, line, (size_t)length) &&
      receive_line(fd, line, sizeof line) && strncmp(line, "OK ", 3) == 0)
    return fd;
  close(fd);
  return -1;
}

/* FNV-1a, 64 bits, starts with SUM_OF_NOTHING. */
#define SUM_OF_NOTHING UINT64_C(0xcbf29ce484222325)
static inline uint64_t sum_on(uint64_t sum, const void* data, size_t count) {
  for (const unsigned char* at = data; count-- != 0; ++at) sum = (sum ^ *at) * UINT64_C(0x100000001b3);
  return sum;
}

/* Byte i of the source; it repeats itself after PERIOD. */
enum { PERIOD = 65536 };
static inline unsigned char source_byte(uint64_t i) { return (unsigned char)(i * 131 + (i >> 8)); }

/* For connect_vsock(), instead of the kernel's short limit: a day. */
enum { NO_LIMIT_S = 86400 };

/* A connected socket, or below 0 with errno set. */
static inline int connect_vsock(int type, unsigned cid, unsigned port, long limit_s) {
  const struct sockaddr_vm to = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
  const struct timeval limit = {limit_s, 0};
  const int fd = socket(AF_VSOCK, type, 0);
  if (fd < 0) return -1;
  if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, sizeof limit) == 0 &&
      connect(fd, (const struct sockaddr*)&to, sizeof to) == 0)
    return fd;
  const int why = errno;
  close(fd);
  errno = why;
  return -1;
}

#endif
