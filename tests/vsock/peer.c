/* SPDX-License-Identifier: MIT
 * The host's side of a vsock test: one program, the same services through AF_VSOCK and through the Unix sockets of a
 * back end without it (Firecracker's scheme: a guest's connection to port P arrives at UDS_PATH_P; to reach the guest,
 * connect to UDS_PATH and write "CONNECT P"). Every connection is served by a process of its own. Plain C11, fit for
 * -static: it also runs in hosts without libraries. */
#include "common.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/un.h>

static const char usage[] =
    "usage: peer vsock\n"
    "       peer unix UDS_PATH...      one path a guest; listens at UDS_PATH_<port>\n"
    "\n"
    "Prints \"peer: ready\" when every service listens, and quits when its standard input ends. Services by port:\n"
    "  7000 echo    returns everything; at the end of what comes it ends what it sends\n"
    "  7001 sink    reads to the end, answers \"<bytes> <FNV-1a 64, 16 hex digits>\\n\"\n"
    "  7002 source  reads \"<count>\\n\", sends that many bytes: byte i is (i * 131 + (i >> 8)) & 0xff\n"
    "  7003 caller  reads \"<port>\\n\", connects to the guest there, sends \"hello from the host\\n\", ends what it sends, and\n"
    "               returns what it reads there to the end; or \"refused\\n\"\n"
    "  7004 abrupt  reads 4096 bytes, and closes when there are more to read\n"
    "  7005 slow    as sink, but after every 4 KiB it rests for 20 ms\n"
    "  7006 half    sends \"first half\\n\" and ends what it sends at once, reads to the end\n"
    "  7010 messages  SOCK_SEQPACKET (peer vsock only): returns every message, and the end of a record where there was one\n"
    "The same without the end of one direction alone, which vhost-device-vsock cannot pass on:\n"
    "  7011, 7015   as 7001 and 7005, but read \"<count>\\n\" first, and that many bytes\n"
    "  7013         as 7003, but does not end what it sends\n"
    "  7016 late    as 7011, but rests for a second before it reads\n"
    "To measure by, since summing up takes time:\n"
    "  7021         reads \"<count>\\n\" and that many bytes, answers \"<bytes>\\n\"\n";

enum { MOST_PATHS = 16 };

/* ---- services ---- */

struct connection {
  int fd;
  const char* path; /* the guest's UDS_PATH; null for AF_VSOCK */
  unsigned cid;     /* the guest's, for AF_VSOCK */
};

static char buffer[1 << 20];

static void echo(const struct connection* guest) {
  for (size_t got; (got = receive(guest->fd, buffer, 65536)) != 0;)
    if (!send_all(guest->fd, buffer, got)) return;
  shutdown(guest->fd, SHUT_WR);
}

/* Up to `most` bytes, in pieces of a size. */
static void sum_up(int fd, uint64_t most, size_t piece, long pause_ms) {
  uint64_t bytes = 0, sum = SUM_OF_NOTHING;
  for (size_t got; (got = receive(fd, buffer, most - bytes < piece ? (size_t)(most - bytes) : piece)) != 0;
       bytes += got) {
    sum = sum_on(sum, buffer, got);
    if (pause_ms != 0) rest_ms(pause_ms);
  }
  char line[48];
  send_all(fd, line, (size_t)snprintf(line, sizeof line, "%" PRIu64 " %016" PRIx64 "\n", bytes, sum));
}
static void sink(const struct connection* guest) { sum_up(guest->fd, UINT64_MAX, 65536, 0); }
static void slow(const struct connection* guest) { sum_up(guest->fd, UINT64_MAX, 4096, 20); }
static void counted_sink(const struct connection* guest) {
  uint64_t bytes;
  if (receive_number(guest->fd, &bytes)) sum_up(guest->fd, bytes, 65536, 0);
}
static void counted_slow(const struct connection* guest) {
  uint64_t bytes;
  if (receive_number(guest->fd, &bytes)) sum_up(guest->fd, bytes, 4096, 20);
}

static void late(const struct connection* guest) {
  uint64_t bytes;
  if (!receive_number(guest->fd, &bytes)) return;
  rest_ms(1000);
  sum_up(guest->fd, bytes, 65536, 0);
}

static void discard(const struct connection* guest) {
  uint64_t left, bytes = 0;
  if (!receive_number(guest->fd, &left)) return;
  for (size_t got; (got = receive(guest->fd, buffer, left < sizeof buffer ? (size_t)left : sizeof buffer)) != 0;
       left -= got)
    bytes += got;
  char line[24];
  send_all(guest->fd, line, (size_t)snprintf(line, sizeof line, "%" PRIu64 "\n", bytes));
}

static void source(const struct connection* guest) {
  uint64_t left;
  if (!receive_number(guest->fd, &left)) return;
  for (uint32_t i = 0; i < PERIOD; ++i) buffer[i] = (char)source_byte(i);
  for (; left != 0; left -= left < PERIOD ? left : PERIOD)
    if (!send_all(guest->fd, buffer, left < PERIOD ? (size_t)left : PERIOD)) return;
}

static void call(const struct connection* guest, bool ends) {
  static const char hello[] = "hello from the host\n", refused[] = "refused\n";
  uint64_t port;
  if (!receive_number(guest->fd, &port) || port > UINT32_MAX) return;
  const int fd = guest->path != NULL ? call_unix(guest->path, (unsigned)port)
                                     : connect_vsock(SOCK_STREAM, guest->cid, (unsigned)port, NO_LIMIT_S);
  if (fd < 0) {
    send_all(guest->fd, refused, sizeof refused - 1);
    return;
  }
  if (send_all(fd, hello, sizeof hello - 1) && (!ends || shutdown(fd, SHUT_WR) == 0))
    for (size_t got; (got = receive(fd, buffer, 65536)) != 0;)
      if (!send_all(guest->fd, buffer, got)) break;
  close(fd);
}
static void caller(const struct connection* guest) { call(guest, true); }
static void open_caller(const struct connection* guest) { call(guest, false); }

static void abrupt(const struct connection* guest) {
  for (size_t left = 4096, got; left != 0; left -= got)
    if ((got = receive(guest->fd, buffer, left)) == 0) return;
  struct pollfd more = {.fd = guest->fd, .events = POLLIN};
  poll(&more, 1, -1);
}

static void half(const struct connection* guest) {
  static const char text[] = "first half\n";
  if (!send_all(guest->fd, text, sizeof text - 1)) return;
  shutdown(guest->fd, SHUT_WR);
  while (receive(guest->fd, buffer, 65536) != 0) {}
}

static void messages(const struct connection* guest) {
  for (;;) {
    struct iovec space = {buffer, sizeof buffer};
    struct msghdr message = {.msg_iov = &space, .msg_iovlen = 1};
    ssize_t got;
    do got = recvmsg(guest->fd, &message, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0 || (got == 0 && (message.msg_flags & MSG_EOR) == 0) || (message.msg_flags & MSG_TRUNC) != 0) return;
    space.iov_len = (size_t)got;
    const struct msghdr answer = {.msg_iov = &space, .msg_iovlen = 1};
    if (sendmsg(guest->fd, &answer, MSG_NOSIGNAL | (message.msg_flags & MSG_EOR)) != got) return;
  }
}

static const struct service {
  unsigned port;
  int type;
  void (*serve)(const struct connection* guest);
} services[] = {
    {7000, SOCK_STREAM, echo},        {7001, SOCK_STREAM, sink},         {7002, SOCK_STREAM, source},
    {7003, SOCK_STREAM, caller},      {7004, SOCK_STREAM, abrupt},       {7005, SOCK_STREAM, slow},
    {7006, SOCK_STREAM, half},        {7010, SOCK_SEQPACKET, messages},  {7011, SOCK_STREAM, counted_sink},
    {7013, SOCK_STREAM, open_caller}, {7015, SOCK_STREAM, counted_slow}, {7016, SOCK_STREAM, late},
    {7021, SOCK_STREAM, discard},
};
enum { SERVICES = sizeof services / sizeof services[0] };

/* ---- listening ---- */

struct listener {
  const struct service* service;
  const char* path; /* as in a connection */
  char own[sizeof((struct sockaddr_un*)0)->sun_path];
};
static struct listener listeners[SERVICES * MOST_PATHS];
static struct pollfd waits[SERVICES * MOST_PATHS + 1];
static nfds_t count;

static void listen_at(const struct service* service, const char* path) {
  struct listener* const listener = &listeners[count];
  const char* const family = path != NULL ? "Unix" : "AF_VSOCK";
  const int fd = socket(path != NULL ? AF_UNIX : AF_VSOCK, service->type | SOCK_CLOEXEC, 0);
  if (fd < 0) die("peer: no %s socket of type %d: %s", family, service->type, strerror(errno));
  int bound;
  if (path != NULL) {
    const int length = snprintf(listener->own, sizeof listener->own, "%s_%u", path, service->port);
    if (length < 0 || (size_t)length >= sizeof listener->own)
      die("peer: %s_%u: too long for a socket's path", path, service->port);
    const struct sockaddr_un at = address_of(listener->own);
    unlink(listener->own); /* left by a killed peer */
    bound = bind(fd, (const struct sockaddr*)&at, sizeof at);
  } else {
    const struct sockaddr_vm at = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = service->port};
    bound = bind(fd, (const struct sockaddr*)&at, sizeof at);
  }
  if (bound != 0 || listen(fd, 128) != 0) die("peer: %s port %u: %s", family, service->port, strerror(errno));
  listener->service = service;
  listener->path = path;
  waits[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void serve_one(const struct listener* listener, int listening) {
  struct sockaddr_vm from = {0};
  socklen_t length = sizeof from;
  const bool over_unix = listener->path != NULL;
  const int fd = accept(listening, over_unix ? NULL : (struct sockaddr*)&from, over_unix ? NULL : &length);
  if (fd < 0) return; /* closed meanwhile */
  const pid_t parent = getpid(), child = fork();
  if (child < 0) fprintf(stderr, "peer: fork: %s\n", strerror(errno));
  if (child == 0) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1); /* the parent ended before this call */
    for (nfds_t i = 0; i < count; ++i) close(waits[i].fd);
    const struct connection guest = {fd, listener->path, from.svm_cid};
    listener->service->serve(&guest);
    _exit(0);
  }
  close(fd);
}

int main(int words, char** word) {
  const bool over_unix = words >= 3 && strcmp(word[1], "unix") == 0;
  if (!over_unix && !(words == 2 && strcmp(word[1], "vsock") == 0)) {
    fputs(usage, stderr);
    return 2;
  }
  if (words - 2 > MOST_PATHS) die("peer: more than %d guests", MOST_PATHS);
  signal(SIGCHLD, SIG_IGN); /* the serving processes are not waited for */
  signal(SIGPIPE, SIG_IGN);
  for (size_t i = 0; i < SERVICES; ++i) {
    if (!over_unix) listen_at(&services[i], NULL);
    for (int guest = 2; over_unix && guest < words; ++guest)
      if (services[i].type == SOCK_STREAM) listen_at(&services[i], word[guest]);
  }
  waits[count] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
  puts("peer: ready");
  fflush(stdout);

  for (bool ended = false; !ended;) {
    if (poll(waits, count + 1, -1) < 0) {
      if (errno == EINTR) continue;
      die("peer: poll: %s", strerror(errno));
    }
    for (nfds_t i = 0; i < count; ++i)
      if (waits[i].revents != 0) serve_one(&listeners[i], waits[i].fd);
    if (waits[count].revents != 0) ended = read(STDIN_FILENO, buffer, sizeof buffer) <= 0;
  }
  for (nfds_t i = 0; i < count; ++i)
    if (listeners[i].path != NULL) unlink(listeners[i].own);
  return 0;
}
