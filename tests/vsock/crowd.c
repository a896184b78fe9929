/* SPDX-License-Identifier: MIT
 * The host's side of a crowd: clients of the guest crowd.cpp, through AF_VSOCK or through the Unix socket of a back end
 * without it. Phases, one after the other; each prints one line of counts, and the first that fails ends it with
 * status 1. Every client but those that idle is a process of its own. Plain C11, fit for -static, as peer.c. */
#include "common.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <sys/wait.h>

static const char usage[] =
    "usage: crowd vsock CID PHASE...\n"
    "       crowd unix UDS_PATH PHASE...\n"
    "\n"
    "Phases:\n"
    "  idle=N        N connections open, are answered once, and stay until the end\n"
    "  bulk=BYTES    one client sends so much, then receives so much\n"
    "  short=N       N clients at once, each four times: connects, receives 20,000 bytes to the end\n"
    "  slow=N        N clients at once receive 300,000 bytes each, 4 KiB in 20 ms, while N short ones connect and end\n"
    "  full=N        N clients at once receive 250,000 bytes each; the guest has sent all and closed before they read;\n"
    "                N short ones connect and end meanwhile\n"
    "  kill=N        N clients, 32 at once, are killed in mid-transfer; after each 32 a short one is served\n"
    "  alive         the idle ones are answered again\n"
    "  gone          none of the idle ones is: the guest has started anew\n"
    "  until=FILE    waits until there is such a file\n"
    "  strict, stop  tell the guest so\n";

enum { LINE = 9400, SOURCE, SINK, STOP, LIFE, STRICT };
enum { MOST = 128, SHORT_BYTES = 20000, SHORT_TIMES = 4, SLOW_BYTES = 300000, FULL_BYTES = 250000, KILL_BATCH = 32 };

static bool over_unix;
static const char* path;
static unsigned cid;

/* The results of all clients together. */
static struct counts {
  _Atomic uint64_t answered, cut, wrong, refused, bytes;
}* seen;

static char buffer[65536];

/* ---- connections ---- */

/* Below 0 if it was refused. */
static int try_connect(unsigned port) {
  if (!over_unix) return connect_vsock(SOCK_STREAM, cid, port, NO_LIMIT_S);
  return call_unix(path, port);
}

/* The guest refuses while it has no free place; the client then tries again. */
static int call(unsigned port) {
  for (int turn = 0; turn < 10000; ++turn) {
    const int fd = try_connect(port);
    if (fd >= 0) return fd;
    ++seen->refused;
    rest_ms(20);
  }
  die("crowd: port %u: still refused", port);
}

static bool ask(int fd, uint64_t count) {
  char line[24];
  return send_all(fd, line, (size_t)snprintf(line, sizeof line, "%" PRIu64 "\n", count));
}

/* Receives to the end; returns whether exactly the expected bytes arrived. */
static void receive_pattern(int fd, uint64_t count, size_t piece, long pause_ms) {
  uint64_t have = 0;
  for (size_t got; (got = receive(fd, buffer, piece)) != 0;) {
    for (size_t i = 0; i < got; ++i)
      if ((unsigned char)buffer[i] != source_byte((have + i) % PERIOD)) {
        ++seen->wrong;
        return;
      }
    have += got;
    seen->bytes += got;
    if (pause_ms != 0) rest_ms(pause_ms);
  }
  if (have == count) ++seen->answered;
  else ++seen->cut;
}

static void fetch(uint64_t count, size_t piece, long pause_ms) {
  const int fd = call(SOURCE);
  const bool asked = ask(fd, count);
  if (count == FULL_BYTES) rest_ms(500);
  if (asked) receive_pattern(fd, count, piece, pause_ms);
  else ++seen->cut;
  close(fd);
}

/* ---- clients ---- */

static void short_one(void) {
  for (int time = 0; time < SHORT_TIMES; ++time) fetch(SHORT_BYTES, sizeof buffer, 0);
}
static void slow_one(void) { fetch(SLOW_BYTES, 4096, 20); }
static void full_one(void) { fetch(FULL_BYTES, 16384, 10); }

/* Starts a transfer and stops in the middle. */
static void victim(void) {
  const int fd = call(SOURCE);
  if (!ask(fd, UINT64_C(1) << 40)) return;
  for (size_t have = 0, got; have < 50000; have += got)
    if ((got = receive(fd, buffer, 4096)) == 0) return;
  ++seen->answered;
  for (;;) pause();
}

static pid_t begin(void (*client)(void)) {
  const pid_t child = fork();
  if (child < 0) die("crowd: fork: %s", strerror(errno));
  if (child != 0) return child;
  client();
  _exit(0);
}

static void forget_counts(void) { memset(seen, 0, sizeof *seen); }

static bool end_all(const pid_t* all, unsigned count) {
  bool well = true;
  for (unsigned i = 0; i < count; ++i) {
    int status;
    if (waitpid(all[i], &status, 0) != all[i] || status != 0) well = false;
  }
  return well;
}

/* ---- phases ---- */

static int idle[MOST];
static unsigned idle_count;

static bool is_answered(int fd) {
  static const char hello[] = "hello from the host\n";
  char back[sizeof hello];
  return send_all(fd, hello, sizeof hello - 1) && receive_line(fd, back, sizeof back) &&
         strncmp(back, hello, sizeof hello - 2) == 0;
}

static bool be_idle(unsigned count) {
  unsigned well = 0;
  for (unsigned i = 0; i < count; ++i) {
    idle[idle_count] = call(LINE);
    well += is_answered(idle[idle_count]);
    ++idle_count;
  }
  printf("idle: %u of %u answered\n", well, count);
  return well == count;
}

static bool are_alive(bool wanted) {
  unsigned well = 0;
  for (unsigned i = 0; i < idle_count; ++i) well += is_answered(idle[i]);
  printf("%s: %u of %u answered\n", wanted ? "alive" : "gone", well, idle_count);
  const bool right = well == (wanted ? idle_count : 0);
  if (!wanted) {
    for (unsigned i = 0; i < idle_count; ++i) close(idle[i]);
    idle_count = 0;
  }
  return right;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool bulk(uint64_t count) {
  forget_counts();
  for (size_t i = 0; i < sizeof buffer; ++i) buffer[i] = (char)source_byte(i);
  const double began = seconds();
  const int fd = call(SINK);
  bool well = ask(fd, count);
  uint64_t sum = SUM_OF_NOTHING;
  for (uint64_t sent = 0; well && sent < count;) {
    const size_t now = count - sent < sizeof buffer ? (size_t)(count - sent) : sizeof buffer;
    sum = sum_on(sum, buffer, now);
    well = send_all(fd, buffer, now);
    sent += now;
  }
  char want[64], line[64];
  snprintf(want, sizeof want, "%" PRIu64 " %016" PRIx64, count, sum);
  well = well && receive_line(fd, line, sizeof line) && strcmp(line, want) == 0;
  close(fd);
  const double between = seconds();
  fetch(count, sizeof buffer, 0);
  printf("bulk: %s sent in %.2f s, %" PRIu64 " of 1 received in %.2f s, %" PRIu64 " cut\n", well ? "all" : "NOT ALL",
         between - began, seen->answered, seconds() - between, seen->cut);
  return well && seen->answered == 1;
}

static bool say(const char* what, uint64_t wanted, bool well) {
  printf("%s: %" PRIu64 " of %" PRIu64 " answered, %" PRIu64 " cut, %" PRIu64 " wrong, %" PRIu64 " bytes, %" PRIu64
         " times refused\n",
         what, seen->answered, wanted, seen->cut, seen->wrong, seen->bytes, seen->refused);
  return well && seen->answered == wanted && seen->cut == 0 && seen->wrong == 0;
}

static bool serve(const char* what, void (*client)(void), unsigned slow, unsigned quick) {
  static pid_t all[2 * MOST];
  forget_counts();
  unsigned count = 0;
  while (count < slow) all[count++] = begin(client);
  while (count < slow + quick) all[count++] = begin(short_one);
  return say(what, slow + UINT64_C(1) * SHORT_TIMES * quick, end_all(all, count));
}

static bool kill_them(unsigned count) {
  uint64_t killed = 0, served = 0;
  while (killed < count) {
    pid_t all[KILL_BATCH];
    forget_counts();
    for (int i = 0; i < KILL_BATCH; ++i) all[i] = begin(victim);
    for (unsigned turn = 0; seen->answered < KILL_BATCH && turn < 10000; ++turn) rest_ms(10);
    if (seen->answered < KILL_BATCH) {
      printf("kill: %" PRIu64 " of %d came into mid-transfer\n", seen->answered, KILL_BATCH);
      for (int i = 0; i < KILL_BATCH; ++i) kill(all[i], SIGKILL);  // else our output stays open
      return false;
    }
    for (int i = 0; i < KILL_BATCH; ++i) kill(all[i], SIGKILL);
    for (int i = 0; i < KILL_BATCH; ++i) waitpid(all[i], NULL, 0);
    killed += KILL_BATCH;
    forget_counts();
    fetch(SHORT_BYTES, sizeof buffer, 0);
    served += seen->answered;
  }
  printf("kill: %" PRIu64 " killed in mid-transfer, %" PRIu64 " of %" PRIu64 " later ones answered\n", killed, served,
         killed / KILL_BATCH);
  return served == killed / KILL_BATCH;
}

static bool tell(unsigned port) {
  const int fd = call(port);
  while (receive(fd, buffer, sizeof buffer) != 0) {}
  close(fd);
  return true;
}

static bool run(const char* phase) {
  const char* const equals = strchr(phase, '=');
  const char* const value = equals != NULL ? equals + 1 : "";
  const size_t length = equals != NULL ? (size_t)(equals - phase) : strlen(phase);
  const unsigned long long number = strtoull(value, NULL, 10);
  const unsigned some = number > MOST ? MOST : (unsigned)number;
#define IS(name) (length == sizeof name - 1 && strncmp(phase, name, length) == 0)
  if (IS("idle")) return be_idle(some);
  if (IS("bulk")) return bulk(number);
  if (IS("short")) return serve("short", slow_one, 0, some);
  if (IS("slow")) return serve("slow", slow_one, some, some);
  if (IS("full")) return serve("full", full_one, some, some);
  if (IS("kill")) return kill_them((unsigned)number);
  if (IS("alive")) return are_alive(true);
  if (IS("gone")) return are_alive(false);
  if (IS("strict")) return tell(STRICT);
  if (IS("stop")) return tell(STOP);
  if (IS("until")) {
    while (access(value, F_OK) != 0) rest_ms(20);
    return true;
  }
#undef IS
  die("crowd: no such phase: %s", phase);
}

int main(int words, char** word) {
  over_unix = words >= 4 && strcmp(word[1], "unix") == 0;
  if (!over_unix && !(words >= 4 && strcmp(word[1], "vsock") == 0)) {
    fputs(usage, stderr);
    return 2;
  }
  path = word[2];
  cid = (unsigned)strtoul(word[2], NULL, 10);
  signal(SIGPIPE, SIG_IGN);
  seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (seen == MAP_FAILED) die("crowd: no memory");
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int i = 3; i < words; ++i) {
    const double began = seconds();
    if (!run(word[i])) {
      printf("WRONG: %s\n", word[i]);
      return 1;
    }
    fprintf(stderr, "  %s took %.1f s\n", word[i], seconds() - began);
  }
  puts("crowd: all well");
  return 0;
}
