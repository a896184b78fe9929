/* SPDX-License-Identifier: MIT
 * The guest's side in Linux, against the peer: tries its services, so that a back end is tested with
 * Linux and our guests by the same lines, and measures for comparison. Plain C11, fit for -static. */
#include "common.h"

#include <signal.h>
#include <sys/wait.h>

static const char usage[] =
    "usage: linux_guest check CID [whole]     a line for each service; whole: also for those that need the end of one direction\n"
    "                                         alone, and for messages, on a host that tells of all ends\n"
    "       linux_guest wait PORT             until a client connects there\n"
    "       linux_guest knock CID PORT        connects, and that is all\n"
    "       linux_guest send CID BYTES        prints \"send <bytes> bytes <ns> ns\", until the peer has counted them\n"
    "       linux_guest receive CID BYTES     the same, from the peer\n"
    "       linux_guest turn CID              sends a few bytes there and has them back, again and again until that breaks; prints\n"
    "                                         \"turning\" at every hundredth\n"
    "       linux_guest turns CID COUNT SIZE  prints \"turns <count> of <size> bytes <ns> ns\": each goes there and comes back\n"
    "CID is where the peer runs: 2 is the host, 1 this machine itself. Status 1: something was not as it must be, and says so.\n";

/* Seconds to wait if no answer is expected. Expected answers have no limit here: the host ends a hanging guest. */
enum { IN_VAIN_S = 3, LISTEN_AT = 1234, UNUSED_PORT = 4321 };

static char buffer[1 << 20];
static unsigned cid;
static bool failed;

static void tell(const char* what, bool good, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  printf("%s: %s, ", what, good ? "ok" : "WRONG");
  vprintf(format, arguments);
  putchar('\n');
  fflush(stdout);
  va_end(arguments);
  failed = failed || !good;
}

static int to_peer(unsigned port) {
  const int fd = connect_vsock(SOCK_STREAM, cid, port, NO_LIMIT_S);
  if (fd < 0) die("port %u: %s", port, strerror(errno));
  return fd;
}

static void send_line(int fd, uint64_t number) {
  char line[24];
  if (!send_all(fd, line, (size_t)snprintf(line, sizeof line, "%" PRIu64 "\n", number)))
    die("send: %s", strerror(errno));
}

static void send_source(int fd, uint64_t count) {
  for (uint64_t at = 0; at < count;) {
    const size_t piece = count - at < PERIOD ? (size_t)(count - at) : PERIOD;
    for (size_t i = 0; i < piece; ++i) buffer[i] = (char)source_byte(at + i);
    if (!send_all(fd, buffer, piece)) die("send: %s", strerror(errno));
    at += piece;
  }
}

/* Returns the number of bytes of the source before the first wrong byte or the end. */
static uint64_t receive_source(int fd, uint64_t most) {
  uint64_t at = 0;
  for (size_t got; (got = receive(fd, buffer, most - at < 65536 ? (size_t)(most - at) : 65536)) != 0; at += got)
    for (size_t i = 0; i < got; ++i)
      if ((unsigned char)buffer[i] != source_byte(at + i)) return at + i;
  return at;
}

static int listen_at(unsigned port) {
  const int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
  const struct sockaddr_vm at = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
  if (fd < 0 || bind(fd, (const struct sockaddr*)&at, sizeof at) != 0 || listen(fd, 1) != 0)
    die("listen: %s", strerror(errno));
  return fd;
}

static bool at_end(int fd) { return recv(fd, buffer, 1, 0) == 0; }

/* ---- the services ---- */

static void check_echo(bool ends) {
  const uint64_t count = 300000;
  const int fd = to_peer(7000);
  const pid_t sender = fork();
  if (sender == 0) {
    send_source(fd, count);
    if (ends) shutdown(fd, SHUT_WR);
    _exit(0);
  }
  const uint64_t got = receive_source(fd, count);
  int status = 0;
  waitpid(sender, &status, 0);
  tell(ends ? "echo to the end" : "echo", got == count && status == 0 && (!ends || at_end(fd)),
       "%" PRIu64 " bytes came back", got);
  close(fd);
}

static void check_sink(const char* what, unsigned port, bool counted, uint64_t count) {
  const int fd = to_peer(port);
  if (counted) send_line(fd, count);
  send_source(fd, count);
  if (!counted) shutdown(fd, SHUT_WR);
  uint64_t sum = SUM_OF_NOTHING;
  for (uint64_t i = 0; i < count; ++i) {
    const unsigned char byte = source_byte(i);
    sum = sum_on(sum, &byte, 1);
  }
  char want[48], got[48] = "";
  snprintf(want, sizeof want, "%" PRIu64 " %016" PRIx64, count, sum);
  const bool answered = receive_line(fd, got, sizeof got);
  tell(what, answered && strcmp(want, got) == 0 && at_end(fd), "%s", answered ? got : "no answer");
  close(fd);
}

static void check_source(void) {
  const uint64_t count = 1000003;
  const int fd = to_peer(7002);
  send_line(fd, count);
  const uint64_t got = receive_source(fd, count);
  tell("source", got == count && at_end(fd), "%" PRIu64 " bytes", got);
  close(fd);
}

/* The peer calls back while this waits: the answer is made of all that it sends, or of a line of it. */
static void check_caller(const char* what, unsigned port, bool ends) {
  static const char want[] = "you said: hello from the host\n";
  const int listening = listen_at(LISTEN_AT);
  const pid_t answering = fork();
  if (answering == 0) {
    const int fd = accept(listening, NULL, NULL);
    char text[64] = "you said: ";
    size_t length = strlen(text);
    for (size_t got;
         (ends || memchr(text, '\n', length) == NULL) && (got = receive(fd, text + length, sizeof text - length)) != 0;)
      length += got;
    _exit(send_all(fd, text, length) && close(fd) == 0 ? 0 : 1);
  }
  close(listening);
  const int fd = to_peer(port);
  send_line(fd, LISTEN_AT);
  size_t length = 0;
  for (size_t got; length < 64 && (got = receive(fd, buffer + length, 64 - length)) != 0;) length += got;
  int status = 0;
  if (length != sizeof want - 1) kill(answering, SIGKILL); /* no call, or an incomplete one */
  waitpid(answering, &status, 0);
  tell(what, status == 0 && length == sizeof want - 1 && memcmp(buffer, want, length) == 0, "%zu bytes of an answer",
       length);
  close(fd);
}

static void check_refused(void) {
  const int fd = to_peer(7013);
  send_line(fd, UNUSED_PORT);
  const bool answered = receive_line(fd, buffer, 64);
  tell("caller of a port without a listener", answered && strcmp(buffer, "refused") == 0, "%s",
       answered ? buffer : "no answer");
  close(fd);
}

static void check_abrupt(bool tells) {
  const int fd = to_peer(7004);
  const struct timeval limit = {tells ? 0 : IN_VAIN_S, 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  ssize_t sent;
  do sent = send(fd, buffer, 65536, MSG_NOSIGNAL);
  while (sent > 0);
  tell("abrupt", true, "%s", errno == EAGAIN ? "not reported" : strerrorname_np(errno));
  close(fd);
}

static void check_half(void) {
  const int fd = to_peer(7006);
  const bool said = receive_line(fd, buffer, 64) && strcmp(buffer, "first half") == 0 && at_end(fd);
  const bool sent = send_all(fd, "more\n", 5);
  tell("half", said, "and afterwards it %s", sent ? "listens" : "does not listen");
  close(fd);
}

static void check_unused_port(bool tells) {
  const int fd = connect_vsock(SOCK_STREAM, cid, 7999, tells ? NO_LIMIT_S : IN_VAIN_S);
  tell("closed port", fd < 0, "%s", fd < 0 ? strerrorname_np(errno) : "connected");
  if (fd >= 0) close(fd);
}

static void check_messages(void) {
  static const size_t lengths[] = {1, 44, 4096, 65536, 65537, 150000};
  const int fd = connect_vsock(SOCK_SEQPACKET, cid, 7010, NO_LIMIT_S);
  if (fd < 0) die("port 7010: %s", strerror(errno));
  bool good = true;
  size_t count = 0;
  for (int end = 0; end < 2; ++end)
    for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; ++n, ++count) {
      for (size_t i = 0; i < lengths[n]; ++i) buffer[i] = (char)source_byte(i);
      good = good && send(fd, buffer, lengths[n], MSG_NOSIGNAL | (end != 0 ? MSG_EOR : 0)) == (ssize_t)lengths[n];
      struct iovec space = {buffer, sizeof buffer};
      struct msghdr message = {.msg_iov = &space, .msg_iovlen = 1};
      good =
          good && recvmsg(fd, &message, 0) == (ssize_t)lengths[n] && ((message.msg_flags & MSG_EOR) != 0) == (end != 0);
      for (size_t i = 0; good && i < lengths[n]; ++i) good = (unsigned char)buffer[i] == source_byte(i);
    }
  tell("messages", good, "%zu of them, some with the end of a record", count);
  close(fd);
}

static void check(bool whole) {
  check_echo(false);
  check_sink("counted sink", 7011, true, 1000003);
  check_source();
  check_caller("open caller", 7013, false);
  check_refused();
  check_sink("counted slow", 7015, true, 100000);
  check_half();
  check_unused_port(whole);
  check_abrupt(whole);
  if (!whole) return;
  check_echo(true);
  check_sink("sink", 7001, false, 1000003);
  check_caller("caller", 7003, true);
  check_sink("slow", 7005, false, 100000);
  check_messages();
}

static void turn(void) {
  const int fd = to_peer(7000);
  for (uint64_t turn = 1;; ++turn) {
    if (!send_all(fd, buffer, 64)) die("turn: %s", strerror(errno));
    for (size_t left = 64, got; left != 0; left -= got)
      if ((got = receive(fd, buffer, left)) == 0) die("turn: the end");
    if (turn % 100 != 0) continue;
    puts("turning");
    fflush(stdout);
  }
}

/* ---- measuring ---- */

/* The measured code is between two markers for bench/plugin, which a processor executes as no-ops. */
#ifdef __x86_64__
#define MARK(id) __asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00, %c0, 0, 0x11, 0x47" : : "i"(id) : "memory")
#else
#define MARK(id) ((void)0)
#endif
enum { SEND = 20, RECEIVE = 30, TURNS = 50 }; /* as in bench/guest/vsock.cpp; the end is one more */

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void measure_send(uint64_t count) {
  const int fd = to_peer(7021);
  uint64_t answer = 0;
  const uint64_t began = now_ns();
  MARK(SEND);
  send_line(fd, count);
  for (uint64_t left = count; left != 0; left -= left < 65536 ? left : 65536)
    if (!send_all(fd, buffer, left < 65536 ? (size_t)left : 65536)) die("send: %s", strerror(errno));
  if (!receive_number(fd, &answer) || answer != count) die("send: only %" PRIu64 " bytes arrived", answer);
  MARK(SEND + 1);
  printf("send %" PRIu64 " bytes %" PRIu64 " ns\n", count, now_ns() - began);
  close(fd);
}

static void measure_receive(uint64_t count) {
  const int fd = to_peer(7002);
  uint64_t at = 0;
  const uint64_t began = now_ns();
  MARK(RECEIVE);
  send_line(fd, count);
  for (size_t got; (got = receive(fd, buffer, 65536)) != 0;) at += got;
  if (at != count) die("receive: only %" PRIu64 " bytes", at);
  MARK(RECEIVE + 1);
  printf("receive %" PRIu64 " bytes %" PRIu64 " ns\n", count, now_ns() - began);
  close(fd);
}

static void measure_turns(uint64_t count, size_t size) {
  const int fd = to_peer(7000);
  const uint64_t began = now_ns();
  MARK(TURNS);
  for (uint64_t turn = 0; turn < count; ++turn) {
    if (!send_all(fd, buffer, size)) die("turns: %s", strerror(errno));
    for (size_t left = size, got; left != 0; left -= got)
      if ((got = receive(fd, buffer, left)) == 0) die("turns: the end after %" PRIu64, turn);
  }
  MARK(TURNS + 1);
  printf("turns %" PRIu64 " of %zu bytes %" PRIu64 " ns\n", count, size, now_ns() - began);
  close(fd);
}

static uint64_t number(const char* word) {
  char* end;
  const uint64_t value = strtoull(word, &end, 10);
  if (*word == '\0' || *end != '\0') die("%s is no number", word);
  return value;
}

int main(int words, char** word) {
  const char* const what = words >= 3 ? word[1] : "";
  cid = words >= 3 ? (unsigned)number(word[2]) : 0; /* or the port */
  if (strcmp(what, "wait") == 0 && words == 3) {
    if (accept(listen_at(cid), NULL, NULL) < 0) die("accept: %s", strerror(errno));
  } else if (strcmp(what, "knock") == 0 && words == 4) {
    close(to_peer((unsigned)number(word[3])));
  } else if (strcmp(what, "check") == 0 && (words == 3 || (words == 4 && strcmp(word[3], "whole") == 0))) {
    check(words == 4);
  } else if (strcmp(what, "turn") == 0 && words == 3) {
    turn();
  } else if (strcmp(what, "send") == 0 && words == 4) {
    measure_send(number(word[3]));
  } else if (strcmp(what, "receive") == 0 && words == 4) {
    measure_receive(number(word[3]));
  } else if (strcmp(what, "turns") == 0 && words == 5 && number(word[4]) <= sizeof buffer) {
    measure_turns(number(word[3]), (size_t)number(word[4]));
  } else {
    fputs(usage, stderr);
    return 2;
  }
  return failed ? 1 : 0;
}
