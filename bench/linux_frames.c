/* SPDX-License-Identifier: MIT
 * The work of bench/guest/frames.cpp in Linux: raw frames to the host and from it through one interface, a network card's or
 * a tap that gvforwarder serves. The host's side is bench/frames.py. Plain C11, fit for -static.
 * usage: linux_frames INTERFACE FRAMES [bypass]    bypass: without the queueing discipline, which loses frames of a tap in silence */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

enum { TYPE = 0x88b5, CONTROL = 64, LONGEST = 1500, AT_ONCE = 64, LIMIT_S = 120 };

static int fd;
static unsigned char data[AT_ONCE][LONGEST + 14];

static void die(const char* what) {
  fprintf(stderr, "linux_frames: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void send_frames(unsigned long count, size_t size) {
  struct iovec piece = {data[0], size};
  struct mmsghdr all[AT_ONCE];
  memset(all, 0, sizeof all);
  for (int i = 0; i < AT_ONCE; ++i) all[i].msg_hdr = (struct msghdr){.msg_iov = &piece, .msg_iovlen = 1};
  while (count != 0) {
    const int sent = sendmmsg(fd, all, count < AT_ONCE ? (unsigned)count : AT_ONCE, 0);
    if (sent > 0) count -= (unsigned long)sent;
    else if (errno == ENOBUFS || errno == EAGAIN) sched_yield(); /* the queue is full: let the other process empty it */
    else die("send");
  }
}

static void receive_frames(unsigned long count, size_t size) {
  struct iovec pieces[AT_ONCE];
  struct mmsghdr all[AT_ONCE];
  memset(all, 0, sizeof all);
  for (int i = 0; i < AT_ONCE; ++i) {
    pieces[i] = (struct iovec){data[i], sizeof data[i]};
    all[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
  }
  while (count != 0) {
    const int got = recvmmsg(fd, all, AT_ONCE, MSG_WAITFORONE, NULL);
    if (got <= 0) die("receive");
    for (int i = 0; i < got; ++i)
      if (all[i].msg_len == size && count != 0) --count;
  }
}

static void announce(char what, unsigned long count, unsigned size) {
  memset(data[0], 0, sizeof data[0]);
  memset(data[0], 0xff, 6);
  data[0][12] = TYPE >> 8;
  data[0][13] = TYPE & 0xff;
  data[0][14] = (unsigned char)what;
  for (int i = 0; i < 4; ++i) data[0][15 + i] = (unsigned char)(count >> 8 * i);
  for (int i = 0; i < 2; ++i) data[0][19 + i] = (unsigned char)(size >> 8 * i);
  send_frames(1, CONTROL);
}

static void both_ways(int id, unsigned long count, unsigned size) {
  uint64_t start = now();
  announce('S', count, size);
  send_frames(count, size);
  receive_frames(1, CONTROL);
  printf("frames %d %llu ns\n", id, (unsigned long long)(now() - start));
  start = now();
  announce('R', count, size);
  receive_frames(count, size);
  printf("frames %d %llu ns\n", id + 2, (unsigned long long)(now() - start));
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  const unsigned long count = strtoul(argv[2], NULL, 10);
  fd = socket(AF_PACKET, SOCK_RAW, htons(TYPE));
  if (fd < 0) die("socket");
  const int bytes = 192 << 20,
            on = 1; /* for all frames that arrive while this does not run: the kernel drops frames without room */
  const struct timeval limit = {LIMIT_S, 0};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0) die("SO_RCVBUFFORCE");
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0) die("SO_RCVTIMEO");
  if (argc > 3 && setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) != 0) die("PACKET_QDISC_BYPASS");
  const struct sockaddr_ll at = {
      .sll_family = AF_PACKET, .sll_protocol = htons(TYPE), .sll_ifindex = (int)if_nametoindex(argv[1])};
  if (at.sll_ifindex == 0 || bind(fd, (const struct sockaddr*)&at, sizeof at) != 0) die(argv[1]);
  both_ways(20, count, 64);
  both_ways(30, count, LONGEST);
  return 0;
}
