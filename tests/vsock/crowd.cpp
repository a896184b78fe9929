// SPDX-License-Identifier: MIT
// A server for a crowd: 128 places, and one loop that never waits for a single connection. crowd.c on the host is the
// clients.
//   9400 line    returns everything
//   9401 source  reads "<count>\n", sends that many bytes of the pattern, closes
//   9402 sink    reads "<count>\n" and that many bytes, answers "<bytes> <FNV-1a 64>\n", closes
//   9403 stop    ends the guest
//   9404 life    sends "<number>
// ", a different one after each start, closes
//   9405 strict  from now on, if places run short, the connection whose client has been silent longest is closed
// A new connection is accepted while there are free places; others wait in the backlog, or are refused when it is full.
#include <virtio/vsock.hpp>

#include "../qemu/guest.hpp"

namespace cell {
namespace {

namespace vsock = virtio::vsock;

constexpr u16 places = 128;
constexpr u16 spare = 8;  // places for requests that wait, and for connections that close
using sockets_t = vsock::device<bench, bus::transport<bench>, virtio::queue<128>,
                                vsock::limits{.connections = places,
                                              .listeners = 8,
                                              .receive_buffer = 65536,
                                              .receive_pool = 1024 * 1024,
                                              .send_packets = 64}>;
constinit virtio::dma_storage<sockets_t::dma_bytes> storage;
constinit sockets_t sockets;

enum port : u32 { line = 9400, source, sink, stop, life, strict, end_of_ports };

constexpr usize period = 65536;  // the pattern repeats itself
u8 pattern[2 * period];

struct client {
  vsock::socket socket;
  bool is_open;
  bool has_count;
  u32 at;    // port
  u64 left;  // bytes to send of the pattern, or to receive
  u64 done;  // bytes sent of the pattern, or received
  u64 sum;
  u8 text[4096];  // sent before the pattern
  usize text_size;
  usize text_sent;
  bool closes;  // after all is sent
};
constinit client clients[places]{};  // by the socket's slot
u32 open_count;
bool is_strict;
bool has_to_stop;
u32 accepted, finished, lost, dropped;

void forget(client& c) {
  c.is_open = false;
  --open_count;
}

[[nodiscard]] bool has_to_send(const client& c) {
  return c.text_sent != c.text_size || (c.at == source && c.has_count && c.left != 0);
}

void put_number(client& c, u64 n) {
  u8 digits[20];
  usize count = 0;
  do digits[count++] = static_cast<u8>('0' + n % 10);
  while ((n /= 10) != 0);
  while (count != 0) c.text[c.text_size++] = digits[--count];
}
void put_hex(client& c, u64 n) {
  for (usize i = 0; i < 16; ++i) c.text[c.text_size++] = static_cast<u8>("0123456789abcdef"[n >> (60 - 4 * i) & 15]);
}

void add_client(vsock::socket who, u32 at) {
  client& c = clients[who.slot];
  __builtin_memset(&c, 0, sizeof c);
  c.socket = who;
  c.is_open = true;
  c.at = at;
  c.sum = 0xcbf29ce484222325;
  ++open_count;
  ++accepted;
  if (at == strict) is_strict = true;
  if (at == life) put_number(c, boot::timestamp());
  if (at == life) c.text[c.text_size++] = '\n';
  c.closes = at == life || at == strict || at == stop;
}

/// The bytes that may be taken now; 0 if the previous answer has not left.
usize take(client& c, const_bytes here) {
  usize used = 0;
  if (c.at == line) {
    if (c.text_sent != c.text_size) return 0;
    used = virtio::detail::smaller(here.size(), sizeof c.text);
    __builtin_memcpy(c.text, here.data(), used);
    c.text_size = used;
    c.text_sent = 0;
    return used;
  }
  while (used < here.size() && !c.has_count) {
    const u8 byte = here.data()[used++];
    if (byte == '\n') c.has_count = true;
    else c.left = c.left * 10 + byte - '0';
  }
  if (c.at == sink && c.has_count) {
    const usize now = static_cast<usize>(virtio::detail::smaller<u64>(here.size() - used, c.left));
    for (usize i = 0; i < now; ++i) c.sum = (c.sum ^ here.data()[used + i]) * 0x100000001b3;
    used += now;
    c.done += now;
    c.left -= now;
    if (c.left == 0 && !c.closes) {
      put_number(c, c.done);
      c.text[c.text_size++] = ' ';
      put_hex(c, c.sum);
      c.text[c.text_size++] = '\n';
      c.closes = true;
    }
  }
  return used;
}

/// One turn for one client: reads, sends, closes.
void serve(client& c) {
  for (u32 turn = 0; turn < 4; ++turn) {
    if (c.at == source && c.has_count) break;
    const auto got = sockets.receive_with(c.socket, [&](const_bytes here) { return take(c, here); });
    if (!got && got.error() != errc::not_ready) {
      ++(got.error() == errc::peer_closed ? finished : lost);
      (void)sockets.close(c.socket);
      return forget(c);
    }
    if (!got || *got == 0) break;
  }
  if (c.at == source && c.has_count && c.left == 0 && c.done == 0) c.closes = true;
  while (has_to_send(c)) {
    const bool is_text = c.text_sent != c.text_size;
    const usize most = static_cast<usize>(virtio::detail::smaller<u64>(c.left, period));
    const const_bytes next = is_text ? const_bytes{c.text + c.text_sent, c.text_size - c.text_sent}
                                     : const_bytes{pattern + c.done % period, most};
    const auto sent = sockets.try_send(c.socket, next);
    if (!sent && (sent.error() == errc::no_credit || sent.error() == errc::no_buffer)) break;
    if (!sent) {
      ++lost;
      (void)sockets.close(c.socket);
      return forget(c);
    }
    if (is_text) {
      c.text_sent += *sent;
    } else {
      c.done += *sent;
      c.left -= *sent;
      c.closes = c.left == 0;
    }
    if (*sent < next.size()) break;
  }
  if (c.at == line && c.text_sent == c.text_size) CHECK_OK(sockets.flush(c.socket));
  if (c.closes && !has_to_send(c)) {
    ++finished;
    if (c.at == stop) {
      // The device must not be reset before the client has its RESPONSE: a RESPONSE still in the ring would be lost,
      // and the client would call again without end.
      CHECK_OK(sockets.close_and_wait(c.socket));
      has_to_stop = true;
    } else {
      CHECK_OK(sockets.close(c.socket));
    }
    forget(c);
  }
}

/// The host does not always report that a client is gone (vhost-device-vsock). If places run short, the connection with
/// pending input that has been silent longest is closed, after at least 200 ms. A client may be that slow on a busy
/// machine, so no connection is closed without need.
void make_room() {
  client* silent = nullptr;
  u32 most = 3;
  for (client& c : clients) {
    if (!c.is_open || !has_to_send(c)) continue;
    const auto quiet = sockets.idle_for(c.socket);
    if (!quiet || *quiet <= most) continue;
    most = *quiet;
    silent = &c;
  }
  if (silent == nullptr) return;
  ++dropped;
  CHECK_OK(sockets.abort(silent->socket));
  forget(*silent);
}

void serve_all() {
  for (u32 at = line; at < end_of_ports; ++at) CHECK_OK(sockets.listen(at, 4));
  for (usize i = 0; i < sizeof pattern; ++i) pattern[i] = static_cast<u8>(i * 131 + (i >> 8));
  boot::print("serves\n");
  u64 ticked = boot::timestamp();
  while (!has_to_stop) {
    CHECK_OK(sockets.poll([](const vsock::event&) {}));
    if (boot::milliseconds_since(ticked) >= 50) {
      ticked = boot::timestamp();
      sockets.tick({});
    }
    if (is_strict && open_count >= places - 2 * spare) make_room();
    for (u32 at = line; at < end_of_ports; ++at) {
      const bool is_order = at >= stop;  // always has a place
      if (!is_order && open_count >= places - 2 * spare) continue;
      if (const auto who = sockets.try_accept(at)) add_client(*who, at);
      else CHECK_ERROR(who, errc::not_ready);
    }
    for (client& c : clients)
      if (c.is_open) serve(c);
    boot::pause();
  }
}

/// Connects to the host's echo and keeps the connection open, so that the host still has it when the machine is reset.
void call_out() {
  auto made = sockets.connect({vsock::host_cid, 7000});
  CHECK_OK(made);
  u8 back[6];
  CHECK_OK(made->send(virtio::text("hello\n")));
  CHECK_OK(made->receive_all(back));
  CHECK(__builtin_memcmp(back, "hello\n", sizeof back) == 0);
  boot::print("called\n");
}

}  // namespace
}  // namespace cell

extern "C" int guest_main(const char* command_line) {
  boot::print("crowd: ", command_line, "\n");
  const cell::bench board{cell::machine()};
  const auto where = bus::find(board, virtio::device_type::vsock);
  CHECK_OK(where);
  CHECK_OK(
      cell::sockets.start(board, *where, cell::storage, virtio::vsock::seed{cell::number("seed", boot::timestamp())}));
  if (cell::number("calls") != 0) cell::call_out();
  cell::serve_all();
  boot::print("accepted ", cell::accepted, " finished ", cell::finished, " lost ", cell::lost, " dropped ",
              cell::dropped, "\n");
  CHECK_OK(cell::sockets.hand_off());
  boot::print("ok crowd\n");
  return 0;
}
