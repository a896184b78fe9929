// SPDX-License-Identifier: MIT
// The measured guest of a socket device: with the peer (tests/vsock/peer.c) it does the same as
// tests/vsock/linux_guest.c in Linux, in the same pieces, and prints the same lines. On its command line run= names the
// phases, bulk= and turns= their amounts, idle= the number of idle connections beside them, for which bench_vsock_crowd
// has room.
//
// The counting plugin counts between markers. Failed polls are counted here, and the cost of one is measured too.
#include <virtio/vsock.hpp>

#include "board.hpp"
#include "clock.hpp"
#include "mark.hpp"

namespace {

using namespace virtio;
using bench::calibrate, bench::nanoseconds, bench::number;

u64 failed_polls;

}  // namespace

extern "C" [[gnu::noinline]] void idle() {
  failed_polls = failed_polls + 1;
  boot::pause();
}

namespace {

struct bench_board : board {
  bool keep_waiting(waiting, u64 attempt) const {
    idle();
    return attempt < 500'000'000;
  }
};

#ifndef BENCH_CONNECTIONS
#define BENCH_CONNECTIONS 2
#endif
constexpr u16 connections = BENCH_CONNECTIONS;

// The largest packets, as a program chooses them for throughput. Many connections share the room for the peers' data.
using sockets_t = vsock::device<bench_board, bus::transport<bench_board>, queue<256>,
                                vsock::limits{.connections = connections,
                                              .receive_packet = 65536,
                                              .receive_buffer = 1024 * 1024,
                                              .receive_pool = connections > 2 ? 16 * 1024 * 1024 : 0,
                                              .send_packet = 65536,
                                              .send_packets = 16}>;
constinit dma_storage<sockets_t::dma_bytes> storage;
constinit sockets_t sockets;
using stream = sockets_t::stream_type;

enum port : u32 { echo = 7000, source = 7002, discard = 7021 };
constexpr usize piece = 65536;  // of a read or write, as in Linux
constexpr usize turn_size = 64;
alignas(4096) u8 data[piece];

template <class Result>
void check(const char* what, const Result& r) {
  if (!r) boot::exit(board::fail(what, r.error()));
}

// What is measured ----------------------------------------------------------------------------------------------------

stream connect(port where) {
  const auto made = sockets.connect({vsock::host_cid, where});
  check("connect", made);
  return *made;
}

/// Prints `n` and the end of a line.
const_bytes line_of(u64 n) {
  static u8 line[24];
  usize at = sizeof line;
  line[--at] = '\n';
  do line[--at] = static_cast<u8>('0' + n % 10);
  while ((n /= 10) != 0);
  return {line + at, sizeof line - at};
}

/// Works with one connection, between markers Id and Id + 1.
template <u16 Id, class Work>
void phase(const char* what, port where, u64 amount, const char* unit, Work work) {
  stream s = connect(where);
  failed_polls = 0;
  const u64 began = boot::timestamp();
  mark<Id>();
  work(s);
  mark<Id + 1>();
  const u64 took = nanoseconds(boot::timestamp() - began);
  boot::print(what, " ", amount, " ", unit, " ", took, " ns\n");
  boot::print("phase ", u32{Id}, " amount ", amount, " failed_polls ", failed_polls, "\n");
  (void)s.close();
}

[[gnu::noinline]] void send(stream& s, u64 total) {
  check("send", s.send(line_of(total)));
  for (u64 left = total; left != 0;) {
    const usize now = static_cast<usize>(detail::smaller<u64>(left, piece));
    check("send", s.send({data, now}));
    left -= now;
  }
  u8 answer[1] = {};
  u64 counted = 0;
  do {
    if (answer[0] != 0) counted = counted * 10 + static_cast<u64>(answer[0] - '0');
    check("answer", s.receive(answer));
  } while (answer[0] != '\n');
  if (counted != total) boot::exit(board::fail("the peer's count", errc::invalid_argument));
}

/// Receives from the source to its end. `next` returns the number of bytes.
template <class Next>
void receive_all(stream& s, u64 total, Next next) {
  check("send", s.send(line_of(total)));
  check("flush", s.flush());
  u64 got = 0;
  for (;;) {
    const result<usize> now = next();
    if (!now && now.error() == errc::peer_closed) break;
    check("receive", now);
    got += *now;
  }
  if (got != total) boot::exit(board::fail("what came", errc::invalid_argument));
}

[[gnu::noinline]] void receive(stream& s, u64 total) {
  receive_all(s, total, [&] { return s.receive(data); });
}

[[gnu::noinline]] void receive_in_place(stream& s, u64 total) {
  receive_all(s, total, [&] {
    result<usize> got = errc::not_ready;
    const errc waited = sockets.wait_until(waiting::peer, [&] {
      got = sockets.receive_with(s.id(), [](const_bytes here) { return here.size(); });
      return got.error() != errc::not_ready;
    });
    return waited == errc::ok ? got : result<usize>{waited};
  });
}

[[gnu::noinline]] void take_turns(stream& s, u64 count) {
  for (u64 turn = 0; turn < count; ++turn) {
    check("send", s.send({data, turn_size}));
    check("receive", s.receive_all({data, turn_size}));
  }
}

/// Waits for the given number of polls without an event.
[[gnu::noinline]] void poll_in_vain(stream& s, u64 count) {
  const errc waited = sockets.wait_until(waiting::peer, [&] {
    const auto got = sockets.try_receive(s.id(), data);
    return got || got.error() != errc::not_ready || --count == 0;
  });
  check("waiting", result<void>{waited});
}

/// Opens connections that stay, each answered once, so that both ends have sent their windows.
void open_idle(u64 count) {
  for (u64 i = 0; i < count; ++i) {
    stream s = connect(echo);
    check("send", s.send({data, turn_size}));
    check("receive", s.receive_all({data, turn_size}));
  }
}

bool run(boot::text word) {
  const u64 bulk = number("bulk"), turns = number("turns"), polls = number("polls");
  if (word == "poll") phase<10>("polls", echo, polls, "in vain", [&](stream& s) { poll_in_vain(s, polls); });
  else if (word == "send") phase<20>("send", discard, bulk, "bytes", [&](stream& s) { send(s, bulk); });
  else if (word == "receive") phase<30>("receive", source, bulk, "bytes", [&](stream& s) { receive(s, bulk); });
  else if (word == "in_place")
    phase<40>("in_place", source, bulk, "bytes", [&](stream& s) { receive_in_place(s, bulk); });
  else if (word == "turns") phase<50>("turns", echo, turns, "of 64 bytes", [&](stream& s) { take_turns(s, turns); });
  else return false;
  return true;
}

}  // namespace

extern "C" int guest_main(const char*) {
  calibrate();
  const auto where = bus::find(bench_board{}, device_type::vsock);
  if (!where) return board::fail("no vsock", where);
  if (const auto up = sockets.start(bench_board{}, *where, storage, virtio::vsock::seed{boot::timestamp()}); !up)
    return board::fail("start", up.error(), sockets.why());
  open_idle(number("idle"));
  for (boot::text list = boot::option("run"); list.size != 0;) {
    boot::text word{list.data, 0};
    while (word.size < list.size && word.data[word.size] != ',') ++word.size;
    const usize skip = word.size < list.size ? word.size + 1 : word.size;
    list = {list.data + skip, list.size - skip};
    if (!run(word)) return board::fail("run=", errc::not_found);
  }
  if (const auto off = sockets.hand_off(); !off) return board::fail("hand off", off.error());
  return 0;
}
