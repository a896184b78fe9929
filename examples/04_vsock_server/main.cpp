// SPDX-License-Identifier: MIT
// A web server on a machine without a network: it serves the files of a FAT disk by HTTP/1.1 on port 80 of vsock. One
// loop serves all connections. Each has an entry in a table and two buffers for data from the disk. A slow client
// delays no other. A connection to port 81 shuts the server down. forward.py in this folder connects curl to it.
#include <virtio/blk.hpp>
#include <virtio/vsock.hpp>

#include "board.hpp"
#include "../files/fat.hpp"
#include "http.hpp"

namespace vsock = virtio::vsock;
using virtio::errc, virtio::result;

constexpr u32 http_port = 80, stop_port = 81;
constexpr u16 places = 96;              // connections, including those that are being closed
constexpr u16 most_clients = 80;        // served at once; above that the client idle for longest is dropped
constexpr u32 buffer_size = 64 * 1024;  // bytes of one read from the disk
constexpr u32 most_reads = 64;          // in flight; the disk's queue has room for more

using disk_t = virtio::blk::device<board, bus::transport<board>, virtio::queue<256>>;
constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;

constexpr vsock::limits sizes{.connections = places, .receive_buffer = 4096, .send_packet = 16384, .send_packets = 64};
using vsock_t = vsock::device<board, bus::transport<board>, virtio::queue<128>, sizes>;
constinit virtio::dma_storage<vsock_t::dma_bytes> vsock_dma;
constinit vsock_t sockets;

static constinit fat::volume<disk_t> files;
static constinit fat::entry found;  // by the last lookup
static u32 reads;                   // in flight
static u64 steps;                   // of progress, of all clients together

// ---- A connection ----

struct buffer {
  enum : u8 { empty, awaited, full, orphaned } state;  // orphaned: its connection ended during the read
  const_bytes left;                                    // still to be sent
  alignas(4096) u8 data[buffer_size];
};

struct client {
  vsock::socket socket;
  bool is_open;
  bool is_last;   // the connection closes after this answer
  u64 last_step;  // `steps` at its last progress

  u8 request[4096];
  usize request_size;
  u8 head[4096];
  const_bytes head_left;

  // The answer's body: a file, or the list of a directory.
  bool is_list;
  fat::position at;
  u32 skip;              // bytes of the next sector before the requested ones
  u64 to_read, to_send;  // bytes
  buffer buffers[2];     // one is filled while the other is sent
  u8 filling, sending;
};
static constinit client clients[places]{};  // by the socket's slot

/// Called after its socket was closed or aborted. Reads in flight complete into orphaned buffers.
static void forget(client& c) {
  c.is_open = false;
  for (buffer& b : c.buffers)
    b.state = b.state == buffer::empty || b.state == buffer::full ? buffer::empty : buffer::orphaned;
}
static void drop(client& c) {
  (void)sockets.abort(c.socket);
  forget(c);
}
static void close(client& c) {
  (void)sockets.close(c.socket);
  forget(c);
}
/// Some hosts do not report that a client is gone (vhost-device-vsock), so a slow client cannot be distinguished from a
/// closed one. Either keeps its place until another client needs it.
static void make_room() {
  u16 open = 0;
  client* oldest = nullptr;
  for (client& c : clients) {
    if (!c.is_open) continue;
    ++open;
    if (oldest == nullptr || c.last_step < oldest->last_step) oldest = &c;
  }
  if (open >= most_clients) drop(*oldest);
}
static void add_client(vsock::socket who) {
  make_room();
  client& c = clients[who.slot];
  c.socket = who;
  c.is_open = true;
  c.is_last = false;
  c.last_step = ++steps;
  c.request_size = 0;
  c.head_left = {};
  c.to_read = c.to_send = 0;
  c.filling = c.sending = 0;
}

// ---- Bodies ----

/// Appends a name as part of an address.
static void put_address(writer& out, const_bytes name) {
  for (usize i = 0; i < name.size(); ++i) {
    const u8 c = name.data()[i];
    const bool is_plain =
        is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' || c == '.' || c == '_' || c == '~';
    if (is_plain) out.put(static_cast<char>(c));
    else out.put('%', "0123456789ABCDEF"[c >> 4], "0123456789ABCDEF"[c & 15]);
  }
}
static void put_html(writer& out, const_bytes name) {
  for (usize i = 0; i < name.size(); ++i) {
    const char c = static_cast<char>(name.data()[i]);
    if (c == '&') out.put("&amp;");
    else if (c == '<') out.put("&lt;");
    else out.put(c);
  }
}

/// Writes a line for each file of a directory from `at` on, as many as fit.
static result<void> list(fat::position& at, writer& out) {
  constexpr usize longest_line = 8 * sizeof found.name_ + 64;
  if (at.offset == 0) out.put("<!DOCTYPE html><meta charset=utf-8><title>Files</title><pre>\n");
  while (out.room() >= longest_line) {
    if (const auto more = files.next(at, found); more.error() == errc::not_found) return {};
    else VIRTIO_TRY(more);
    const char* const slash = found.is_directory ? "/" : "";
    out.put("<a href=\"");
    put_address(out, found.name());
    out.put(slash, "\">");
    put_html(out, found.name());
    out.put(slash, "</a>");
    if (!found.is_directory) out.put("  ", found.size);
    out.put('\n');
  }
  return {};
}

/// Fills an empty buffer with a piece of the list, or submits a read into it. Errors: `busy`, too many reads in flight.
static result<void> fill(client& c, buffer& b) {
  if (c.is_list) {
    writer text{b.data};
    VIRTIO_TRY(list(c.at, text));
    b.left = text.written().part(0, static_cast<usize>(c.to_read));
    b.state = buffer::full;
  } else {
    if (reads == most_reads) return errc::busy;
    const u64 most = virtio::detail::smaller<u64>((c.skip + c.to_read + 511) / 512 * 512, buffer_size);
    VIRTIO_TRY_ASSIGN(const fat::extent where, files.take(c.at, static_cast<u32>(most)));
    const u64 cookie = static_cast<u64>(&c - clients) * 2 + c.filling;
    VIRTIO_TRY(disk.submit_read(where.sector, bytes{b.data, where.size}, cookie));
    ++reads;
    b.left = const_bytes{b.data, where.size}.part(c.skip, static_cast<usize>(c.to_read));
    b.state = buffer::awaited;
    c.skip = 0;
  }
  if (b.left.empty()) return errc::io_error;  // the directory has changed
  c.to_read -= b.left.size();
  c.filling ^= 1;
  return {};
}
static void fill(client& c) {
  while (c.is_open && c.to_read != 0 && c.buffers[c.filling].state == buffer::empty) {
    const errc got = fill(c, c.buffers[c.filling]).error();
    if (got == errc::busy) return;
    if (got != errc::ok) drop(c);  // the answer's length is sent already: only closing reports the error
  }
}
static void disk_has_read(const virtio::blk::done& one) {
  client& c = clients[one.cookie / 2];
  buffer& b = c.buffers[one.cookie % 2];
  --reads;
  const bool is_wanted = b.state == buffer::awaited;
  b.state = is_wanted ? buffer::full : buffer::empty;
  if (is_wanted && one.status != errc::ok) drop(c);
}

// ---- Answers ----

static const char* type_of(const_bytes name) {
  static constexpr struct {
    const char* ending;
    const char* type;
  } known[] = {{".html", "text/html"},
               {".css", "text/css"},
               {".js", "text/javascript"},
               {".svg", "image/svg+xml"},
               {".png", "image/png"},
               {".jpg", "image/jpeg"},
               {".md", "text/plain; charset=utf-8"},
               {".txt", "text/plain; charset=utf-8"}};
  for (const auto& one : known)
    if (ends_with(name, text_of(one.ending))) return one.type;
  return "application/octet-stream";
}

static writer begin_head(client& c, http::status s, const char* type, u64 length) {
  writer head{c.head};
  head.put("HTTP/1.1 ", u32{s}, " ", http::reason(s), "\r\nContent-Type: ", type, "\r\nContent-Length: ", length,
           "\r\n");
  return head;
}
static void end_head(client& c, writer& head) {
  head.put(c.is_last ? "Connection: close\r\n\r\n" : "\r\n");
  c.head_left = head.written();
}

/// Answers with an error or a redirection.
static void refuse(client& c, const http::request& asked, http::status s) {
  writer head = begin_head(c, s, "text/plain", text_of(http::reason(s)).size() + 1);
  if (s == http::wrong_method) head.put("Allow: GET, HEAD\r\n");
  if (s == http::no_such_range) head.put("Content-Range: bytes */", found.size, "\r\n");
  if (s == http::moved) {
    head.put("Location: ");
    put_address(head, found.name());
    head.put("/\r\n");
  }
  end_head(c, head);
  if (asked.is_head) return;
  head.put(http::reason(s), "\n");
  c.head_left = head.written();
}

static void send_list(client& c, const http::request& asked) {
  if (asked.path.data()[asked.path.size() - 1] != '/')
    return refuse(c, asked, http::moved);  // otherwise links are wrong
  writer count;
  c.at = found.begin();
  if (fat::position from = c.at; !list(from, count)) return refuse(c, asked, http::broken);
  writer head = begin_head(c, http::ok, "text/html", count.size());
  end_head(c, head);
  c.is_list = true;
  if (!asked.is_head) c.to_read = c.to_send = count.size();
}

static void send_file(client& c, const http::request& asked) {
  u64 from = 0, size = found.size;
  if (asked.part.what == http::range::kind::last) {
    size = virtio::detail::smaller(size, asked.part.to);
    from = found.size - size;
  } else if (asked.part.what == http::range::kind::from_to && asked.part.from < size) {
    from = asked.part.from;
    size = virtio::detail::smaller(size - 1, asked.part.to) - from + 1;
  } else if (asked.part.what == http::range::kind::from_to) {
    size = 0;
  }
  const bool is_part = asked.part.what != http::range::kind::all;
  if (is_part && size == 0) return refuse(c, asked, http::no_such_range);

  c.at = found.begin();
  if (!files.skip(c.at, static_cast<u32>(from) & ~511u)) return refuse(c, asked, http::broken);
  writer head = begin_head(c, is_part ? http::partial : http::ok, type_of(found.name()), size);
  head.put("Accept-Ranges: bytes\r\n");
  if (is_part) head.put("Content-Range: bytes ", from, "-", from + size - 1, "/", found.size, "\r\n");
  end_head(c, head);
  c.is_list = false;
  c.skip = static_cast<u32>(from) % 512;
  if (!asked.is_head) c.to_read = c.to_send = size;
}

static void answer(client& c, bytes head) {
  http::request asked;
  const http::status seen = http::parse(head, asked);
  c.is_last = seen != http::ok || !asked.keep_alive;
  if (seen != http::ok) return refuse(c, asked, seen);
  const errc got = files.find(asked.path, found).error();
  if (got != errc::ok) return refuse(c, asked, got == errc::not_found ? http::not_found : http::broken);
  if (found.is_directory) return send_list(c, asked);
  send_file(c, asked);
}

// ---- A connection's turn ----

/// Sends as much as there is room for. Returns whether that was all.
static bool send(client& c, const_bytes& what) {
  while (!what.empty()) {
    const auto taken = sockets.try_send(c.socket, what);
    if (taken.error() == errc::no_credit || taken.error() == errc::no_buffer) return false;
    if (!taken) return drop(c), false;
    what = what.part(*taken, what.size());
    c.last_step = ++steps;
  }
  return true;
}
/// The same for a whole answer.
static bool send_answer(client& c) {
  fill(c);
  if (!send(c, c.head_left)) return false;
  for (buffer* b = &c.buffers[c.sending]; c.to_send != 0 && b->state == buffer::full; b = &c.buffers[c.sending]) {
    const usize before = b->left.size();
    const bool all = send(c, b->left);
    if (!c.is_open) return false;
    c.to_send -= before - b->left.size();
    if (!all) return false;
    b->state = buffer::empty;
    c.sending ^= 1;
    fill(c);
  }
  return c.is_open && c.to_send == 0;
}

/// Takes the next request if it has arrived whole. Later requests stay in the receive buffer, then at the client.
static bool take_request(client& c) {
  usize size = 0;
  while ((size = http::head_size({c.request, c.request_size})) == 0) {
    if (c.request_size == sizeof c.request) {
      c.is_last = true;
      c.request_size = 0;
      refuse(c, {}, http::too_large);
      return true;
    }
    const auto got = sockets.try_receive(c.socket, bytes{c.request}.part(c.request_size, sizeof c.request));
    if (got) c.request_size += *got, c.last_step = ++steps;
    else if (got.error() != errc::not_ready) close(c);
    if (!got) return false;
  }
  answer(c, {c.request, size});
  c.request_size -= size;
  __builtin_memmove(c.request, c.request + size, c.request_size);
  return true;
}

static void serve(client& c) {
  while (c.is_open && send_answer(c)) {
    if (c.is_last) return close(c);
    if (!take_request(c)) return;
  }
}

// ---- The machine ----

static result<void> run() {
  VIRTIO_TRY(files.mount(disk));
  VIRTIO_TRY(sockets.listen(http_port, places));
  VIRTIO_TRY(sockets.listen(stop_port, 1));
  boot::print("serving on port ", http_port, " of cid ", sockets.cid(), "\n");

  u64 second = boot::timestamp();
  for (bool goes_on = true; goes_on;) {
    VIRTIO_TRY(sockets.poll([&](const vsock::event& e) {
      if (e.what.has(vsock::ready::incoming)) {
        if (e.port == stop_port) goes_on = false;
        else if (const auto who = sockets.try_accept(e.port)) add_client(*who);
        return;
      }
      client& c = clients[e.which.slot];
      if (e.what.has(vsock::ready::closed)) close(c);
      else if (e.what.has(vsock::ready::idle)) drop(c);  // the client is gone without a notice, or does not read
    }));
    if (boot::milliseconds_since(second) >= 1000) {
      second = boot::timestamp();
      sockets.tick({.closing = 60, .idle = 60});
    }
    disk.kick();
    for (auto one = disk.next_completion(); one.error() != errc::not_ready; one = disk.next_completion()) {
      if (!one) return one.error();
      disk_has_read(*one);
    }
    for (client& c : clients)
      if (c.is_open) serve(c);
  }
  return {};
}

extern "C" int guest_main(const char*) {
  const auto disk_at = bus::find(board{}, virtio::device_type::block);
  if (!disk_at) return board::fail("no disk", disk_at);
  if (auto up = disk.start(board{}, *disk_at, disk_dma); !up) return board::fail("disk", up.error(), disk.why());
  const auto vsock_at = bus::find(board{}, virtio::device_type::vsock);
  if (!vsock_at) return board::fail("no vsock", vsock_at);
  if (auto up = sockets.start(board{}, *vsock_at, vsock_dma, vsock::seed{boot::timestamp()}); !up)
    return board::fail("vsock", up.error(), sockets.why());

  const auto ended = run();
  (void)sockets.hand_off();
  (void)disk.hand_off();
  return ended ? 0 : board::fail("server", ended.error());
}
