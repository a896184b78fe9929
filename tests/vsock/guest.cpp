// SPDX-License-Identifier: MIT
// A guest that connects to peer.c on its host, one service after the other: `run=` on its command line lists them. Its
// output is the same on every host; `host=silent` is a host that does not answer connections to absent ports.
#include <virtio/vsock.hpp>

#include "../qemu/guest.hpp"

namespace cell {
namespace {

namespace vsock = virtio::vsock;
using virtio::text;

/// Waits without a bound for expected events, and briefly if the expected result is no answer.
constinit bool waits_in_vain = false;
struct talker : bench {
  bool keep_waiting(virtio::waiting why, u64 attempt) const {
    return bench::keep_waiting(why, attempt) && (!waits_in_vain || why == virtio::waiting::reset || attempt < 300'000);
  }
};

constexpr u32 connections = 72;
using sockets_t = vsock::device<
    talker, bus::transport<talker>, virtio::queue<128>,
    vsock::limits{.connections = connections, .receive_buffer = 65536, .receive_pool = 1024 * 1024, .messages = true}>;
constinit virtio::dma_storage<sockets_t::dma_bytes> storage;
constinit sockets_t sockets;
using stream = sockets_t::stream_type;

// The services of peer.c. The counted ones do not need the end of the stream: vhost-device-vsock does not pass it on.
enum port : u32 {
  echo = 7000,
  sink = 7001,
  source = 7002,
  abrupt = 7004,
  half = 7006,
  messages = 7010,
  counted_sink = 7011,
  open_caller = 7013,
  counted_slow = 7015,
  late = 7016,
  nobody = 7999
};

u8 data[256 * 1024];
u8 back[64 * 1024];

[[nodiscard]] constexpr u8 byte_at(u64 i) { return static_cast<u8>(i * 131 + (i >> 8)); }
void fill_pattern(bytes out, u64 from) {
  for (usize i = 0; i < out.size(); ++i) out.data()[i] = byte_at(from + i);
}
void check_pattern(const_bytes in, u64 from) {
  for (usize i = 0; i < in.size(); ++i) CHECK(in.data()[i] == byte_at(from + i));
}

struct fnv {
  u64 value = 0xcbf29ce484222325;
  void add(const_bytes in) {
    for (usize i = 0; i < in.size(); ++i) value = (value ^ in.data()[i]) * 0x100000001b3;
  }
};

/// vhost-device-vsock does not answer a request to an absent port, and does not report that a program on the host
/// breaks off.
[[nodiscard]] bool silent_host() { return boot::option("host") == "silent"; }

/// The error of `f()`; without an answer if `silent`.
template <class F>
[[nodiscard]] errc outcome(bool silent, F&& f) {
  waits_in_vain = silent;
  const errc got = f().error();
  waits_in_vain = false;
  return got;
}

stream connect(port where) {
  const auto made = sockets.connect({vsock::host_cid, where});
  CHECK_OK(made);
  return *made;
}

/// Reads to the end; returns whether that was an orderly one.
usize read_to_end(stream& from, bytes into) {
  usize have = 0;
  for (;;) {
    u8 spill[1];
    const bytes room = into.part(have, into.size());
    const auto got = from.receive(room.empty() ? bytes{spill} : room);
    if (!got) {
      CHECK_ERROR(got, errc::peer_closed);
      return have;
    }
    CHECK(!room.empty());
    have += *got;
  }
}

[[nodiscard]] bool same(const_bytes a, const_bytes b) {
  return a.size() == b.size() && __builtin_memcmp(a.data(), b.data(), a.size()) == 0;
}

usize put_number(u8* at, u64 n) {
  u8 digits[20];
  usize count = 0;
  do digits[count++] = static_cast<u8>('0' + n % 10);
  while ((n /= 10) != 0);
  for (usize i = 0; i < count; ++i) at[i] = digits[count - 1 - i];
  return count;
}
usize put_hex(u8* at, u64 n) {
  for (usize i = 0; i < 16; ++i) at[i] = static_cast<u8>("0123456789abcdef"[n >> (60 - 4 * i) & 15]);
  return 16;
}

void say_number(stream& to, u64 n) {
  u8 line[24];
  usize size = put_number(line, n);
  line[size++] = '\n';
  CHECK_OK(to.send({line, size}));
}

/// The expected answer of the sink.
void check_answer(stream& from, u64 count, const fnv& sum) {
  u8 want[64];
  usize size = put_number(want, count);
  want[size++] = ' ';
  size += put_hex(want + size, sum.value);
  want[size++] = '\n';
  const usize got = read_to_end(from, back);
  CHECK(same({back, got}, {want, size}));
}

void send_all(stream& to, u64 total, usize piece, fnv& sum) {
  for (u64 sent = 0; sent < total;) {
    const usize now = static_cast<usize>(virtio::detail::smaller<u64>(piece, total - sent));
    fill_pattern({data, now}, sent);
    sum.add({data, now});
    CHECK_OK(to.send({data, now}));
    sent += now;
  }
}

void hello() {
  stream s = connect(echo);
  CHECK_OK(s.send(text("hello from the guest\n")));
  CHECK_OK(s.receive_all({back, 21}));
  CHECK(same({back, 21}, text("hello from the guest\n")));
  CHECK_OK(s.close());
  CHECK_ERROR(s.close(), errc::stale_handle);
  CHECK_ERROR(s.receive(back), errc::stale_handle);
}

/// Both ways at once, by the calls that do not wait.
void echo_bulk() {
  const u64 total = number("bulk", 400 * 1024);
  stream s = connect(echo);
  u64 sent = 0, got = 0;
  while (got < total) {
    CHECK_OK(sockets.poll([](const vsock::event&) {}));
    boot::pause();
    if (sent < total) {
      const usize now = static_cast<usize>(virtio::detail::smaller<u64>(sizeof data, total - sent));
      fill_pattern({data, now}, sent);
      const auto taken = sockets.try_send(s.id(), {data, now});
      if (taken) sent += *taken;
      else CHECK_ERROR(taken, taken.error() == errc::no_buffer ? errc::no_buffer : errc::no_credit);
    }
    const auto seen_now = sockets.receive_with(s.id(), [&](const_bytes here) {
      check_pattern(here, got);
      return here.size();
    });
    if (seen_now) got += *seen_now;
    else CHECK_ERROR(seen_now, errc::not_ready);
  }
  CHECK_OK(s.close());
}

void to_sink(port where, u64 total, usize piece) {
  stream s = connect(where);
  const bool counted = where != sink;
  if (counted) say_number(s, total);
  fnv sum;
  send_all(s, total, piece, sum);
  if (counted) {
    CHECK_OK(s.flush());
  } else {
    CHECK_OK(s.shutdown(vsock::ends::send));
    CHECK_ERROR(s.send(text("more")), errc::invalid_argument);
  }
  check_answer(s, total, sum);
  CHECK_OK(s.close());
}

/// Small pieces that are never flushed arrive nevertheless: polling asks the peer whether it has caught up.
void trickle() {
  stream s = connect(counted_sink);
  const u64 total = number("trickle", 700);
  say_number(s, total);
  fnv sum;
  send_all(s, total, 1, sum);
  result<usize> got = errc::not_ready;
  CHECK_OK(sockets.wait_until(virtio::waiting::peer, [&] {
    got = sockets.try_receive(s.id(), {back, 1});
    return got.has_value();
  }));
  CHECK_EQUAL(back[0], '7');
  CHECK_OK(s.close());
}

/// Thousands of small pieces for a peer that does not read yet: the driver gathers them, and none is lost. Linux itself
/// joins packets of up to 128 bytes.
void small_and_late() {
  to_sink(late, 20'000, 1);
  to_sink(late, 400'000, 200);
}
/// The same from a program that sends each piece at once. All of it is within the peer's window; yet Linux 6.12.92 and
/// later, for which the command line has bound=1, resets the connection for the memory that so many packets need.
void naive() {
  constexpr usize piece = 200, count = 1000;
  stream s = connect(late);
  say_number(s, piece * count);
  errc how = errc::ok;
  for (usize i = 0; i < count && how == errc::ok; ++i) {
    fill_pattern({data, piece}, i * piece);
    how = s.send({data, piece}).error();
    if (how == errc::ok) how = s.flush().error();
  }
  if (how == errc::ok) how = s.receive({back, 1}).error();
  boot::print("naive: ", virtio::describe(how), "\n");
  CHECK((how != errc::ok) == (number("bound") != 0));
  (void)s.close();
}

void from_source() {
  const u64 total = number("bulk", 400 * 1024) * 4;
  stream s = connect(source);
  say_number(s, total);
  for (u64 got = 0; got < total;) {
    const auto now = s.receive(back);
    CHECK_OK(now);
    check_pattern({back, *now}, got);
    got += *now;
  }
  CHECK_ERROR(s.receive(back), errc::peer_closed);
  CHECK_OK(s.close());
}

/// The host connects to the guest.
void called(u32 at) {
  CHECK_OK(sockets.listen(at, 4));
  CHECK_ERROR(sockets.listen(at, 4), errc::in_use);
  stream s = connect(open_caller);
  say_number(s, at);
  auto from_host = sockets.accept(at);
  CHECK_OK(from_host);
  CHECK_OK(from_host->receive_all({back, 20}));
  CHECK(same({back, 20}, text("hello from the host\n")));
  CHECK_OK(from_host->send(text("and from the guest\n")));
  CHECK_OK(from_host->close());
  const usize told = read_to_end(s, back);
  CHECK(same({back, told}, text("and from the guest\n")));
  CHECK_OK(s.close());
  CHECK_OK(sockets.unlisten(at));
}

void calls_unused_port() {
  stream s = connect(open_caller);
  say_number(s, 9009);
  const usize told = read_to_end(s, back);
  CHECK(same({back, told}, text("refused\n")));
  CHECK_OK(s.close());
}

void refused() {
  const errc got = outcome(silent_host(), [] { return sockets.connect({vsock::host_cid, nobody}); });
  CHECK(got == (silent_host() ? errc::peer_silent : errc::refused));
}

/// The peer closes with unread bytes of ours: some of them may have been sent in vain, but an error reports that.
void is_cut_off() {
  stream s = connect(abrupt);
  fill_pattern({data, 8192}, 0);
  CHECK_OK(s.send({data, 8192}));
  CHECK_OK(s.flush());
  const errc how = outcome(silent_host(), [&] { return s.receive(back); });
  if (silent_host()) CHECK(how == errc::peer_silent);
  else CHECK(how == errc::peer_closed || how == errc::peer_reset);
  (void)s.close();
}

void half_closed() {
  stream s = connect(half);
  const usize got = read_to_end(s, back);
  CHECK(same({back, got}, text("first half\n")));
  fnv sum;
  send_all(s, 100'000, 10'000, sum);
  CHECK_OK(s.shutdown(vsock::ends::send));
  (void)s.close();
}

/// Messages of every size return with their ends, and those of records. A message that is too long is reported, and the
/// next one arrives.
void echo_messages() {
  static constexpr u32 sizes[] = {1, 2, 100, 1023, 4096, 4097, 8192, 20'000, 60'000, 3};
  const auto made = sockets.connect({vsock::host_cid, messages}, vsock::kind::seqpacket);
  CHECK_OK(made);
  stream s = *made;
  CHECK_ERROR(s.send(text("bytes")), errc::invalid_argument);
  CHECK_ERROR(s.receive(back), errc::invalid_argument);
  CHECK_ERROR(s.send_message(bytes{}), errc::invalid_argument);
  for (u32 round = 0; round < 3; ++round)
    for (const u32 size : sizes) {
      fill_pattern({data, size}, size);
      CHECK_OK(s.send_message({data, size}, size % 2 != 0 ? vsock::boundary::record : vsock::boundary::message));
      const auto got = s.receive_message({back, size == 20'000 ? 19'999 : sizeof back});
      if (size == 20'000) {
        CHECK_ERROR(got, errc::too_long);
        continue;
      }
      CHECK_OK(got);
      CHECK_EQUAL(got->size, size);
      CHECK(got->ends_record == (size % 2 != 0));
      check_pattern({back, size}, size);
    }
  // Many at once: they stay separate.
  for (u32 n = 1; n <= 200; ++n) CHECK_OK(s.send_message({data, n}));
  for (u32 n = 1; n <= 200; ++n) {
    const auto got = s.receive_message(back);
    CHECK_OK(got);
    CHECK_EQUAL(got->size, n);
  }
  CHECK_ERROR(s.send_message({data, sizeof data}), errc::too_long);
  CHECK_OK(s.close());
}

void no_messages() {
  CHECK_ERROR(sockets.connect({vsock::host_cid, messages}, vsock::kind::seqpacket), errc::unsupported);
  CHECK_ERROR(sockets.listen(1, 1, vsock::kind::seqpacket), errc::unsupported);
}

/// As many connections as there is room for, each with its own bytes.
void many() {
  static stream all[connections];
  const u32 count = static_cast<u32>(number("many", 64));
  for (u32 i = 0; i < count; ++i) {
    all[i] = connect(echo);
    fill_pattern({data, 5000}, i * 1000);
    CHECK_OK(all[i].send({data, 5000}));
    CHECK_OK(all[i].flush());
  }
  for (u32 i = count; i-- != 0;) {
    CHECK_OK(all[i].receive_all({back, 5000}));
    check_pattern({back, 5000}, i * 1000);
  }
  for (u32 i = 0; i < count; ++i) CHECK_OK(all[i].close());
}

/// Two guests: this one returns what the other sends, until the other closes.
void serves_sibling() {
  CHECK_OK(sockets.listen(9100, 1));
  boot::print("listens\n");
  auto visitor = sockets.accept(9100);
  CHECK_OK(visitor);
  for (;;) {
    const auto got = visitor->receive(back);
    if (!got) {
      CHECK_ERROR(got, errc::peer_closed);
      break;
    }
    CHECK_OK(visitor->send({back, *got}));
  }
  CHECK_OK(visitor->close());
}
void visits_sibling() {
  auto made = sockets.connect({static_cast<u32>(number("sibling")), 9100});
  CHECK_OK(made);
  stream s = *made;
  const usize total = sizeof data;
  fill_pattern({data, total}, 7);
  for (usize at = 0; at < total; at += 10'000) {
    const const_bytes part = const_bytes{data, total}.part(at, 10'000);
    CHECK_OK(s.send(part));
    CHECK_OK(s.receive_all({back, part.size()}));
    check_pattern({back, part.size()}, 7 + at);
  }
  CHECK_OK(s.close());
}

/// The back end dies: every wait for it ends by the platform's bound.
void outlives_host() {
  stream s = connect(echo);
  CHECK_OK(s.send(text("before\n")));
  CHECK_OK(s.receive_all({back, 7}));
  boot::print("kill it\n");
  await_host();  // it is dead
  const errc how = outcome(true, [&] { return s.receive(back); });
  CHECK(how == errc::peer_silent || how == errc::needs_reset);
  const errc next = outcome(true, [] { return sockets.connect({vsock::host_cid, echo}); });
  CHECK(next == errc::peer_silent || next == errc::needs_reset || next == errc::not_started ||
        next == errc::device_broken);
  (void)outcome(true, [&] { return s.close(); });
}

[[noreturn]] void stay() {
  for (;;) boot::pause();
}

/// The machine is saved in mid-connection, continues, and is later restored from the saved state: the host then reports
/// that all connections are gone, which ends ours; listeners stay, and new connections work.
void is_restored() {
  CHECK_OK(sockets.listen(9200, 1));
  stream s = connect(echo);
  errc how = errc::ok;
  for (u32 turn = 1; how == errc::ok; ++turn) {
    fill_pattern({data, 64}, 3);
    how = s.send({data, 64}).error();
    if (how == errc::ok) how = s.receive_all({back, 64}).error();
    if (turn % 100 == 0) boot::print("turning\n");
  }
  CHECK(how == errc::peer_reset);
  CHECK_OK(s.close());
  CHECK_ERROR(sockets.listen(9200, 1), errc::in_use);
  CHECK(sockets.cid() == number("cid"));
  hello();
  called(9000);
}

bool run(boot::text word) {
  if (word == "hello") hello();
  else if (word == "echo") echo_bulk();
  else if (word == "sink") to_sink(counted_sink, number("bulk", 400 * 1024) * 4, sizeof data);
  else if (word == "sink_to_the_end") to_sink(sink, number("bulk", 400 * 1024) * 4, sizeof data);
  else if (word == "odd") to_sink(counted_sink, 1'000'003, 4099);
  else if (word == "tiny") to_sink(counted_sink, number("tiny", 100'000), 1);
  else if (word == "trickle") trickle();
  else if (word == "slow") to_sink(counted_slow, 300'000, 3000);
  else if (word == "small_and_late") small_and_late();
  else if (word == "naive") naive();
  else if (word == "source") from_source();
  else if (word == "called") called(9000);
  else if (word == "called_at_0") called(0);
  else if (word == "calls_unused_port") calls_unused_port();
  else if (word == "refused") refused();
  else if (word == "cut_off") is_cut_off();
  else if (word == "half") half_closed();
  else if (word == "messages") echo_messages();
  else if (word == "no_messages") no_messages();
  else if (word == "is_restored") is_restored();
  else if (word == "serves_sibling") serves_sibling();
  else if (word == "visits_sibling") visits_sibling();
  else if (word == "outlives_host") {
    outlives_host();
    boot::print("ok outlives_host\n");
    if (boot::option("stays")) stay();
    boot::exit(0);  // the device is as dead as its host, and does not reset
  } else if (word == "many") many();
  else return false;
  return true;
}

}  // namespace
}  // namespace cell

extern "C" int guest_main(const char* command_line) {
  boot::print("cell: ", command_line, "\n");
  const cell::talker board{cell::machine()};
  const auto where = bus::find(board, virtio::device_type::vsock);
  CHECK_OK(where);
  CHECK_OK(cell::sockets.start(board, *where, cell::storage, virtio::vsock::seed{boot::timestamp()}));
  boot::print("cid ", cell::sockets.cid(), "\n");
  CHECK(cell::sockets.cid() == cell::number("cid"));
  boot::text list = boot::option("run");
  CHECK(list);
  while (list.size != 0) {
    boot::text word{list.data, 0};
    while (word.size < list.size && word.data[word.size] != ',') ++word.size;
    const size_t skip = word.size < list.size ? word.size + 1 : word.size;
    list = {list.data + skip, list.size - skip};
    if (!cell::run(word)) {
      boot::print("no such thing to run: ", word, "\n");
      return 1;
    }
    boot::print("ok ", word, "\n");
  }
  CHECK_OK(cell::sockets.hand_off());
  return 0;
}
