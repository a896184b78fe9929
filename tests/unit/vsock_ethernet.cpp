// SPDX-License-Identifier: MIT
// A network link over one stream of a socket device.
#include <random>
#include <string>
#include <vector>

#include <catch2/generators/catch_generators.hpp>

#include "ethernet.hpp"

using namespace virtio;
using net::after_look;
using rig::frames;
using rig::bytes_of;
using rig::join;
using vsock::framing;

namespace {

const std::string request = "POST /connect HTTP/1.1\r\nHost: gv\r\nContent-Length: 0\r\n\r\n";

}  // namespace

TEST_CASE("ethernet framing: a prefix round-trips in both forms", "[vsock]") {
  u8 prefix[vsock::most_prefix_bytes]{};
  for (const u32 size : {u32{0}, u32{13}, u32{14}, u32{255}, u32{256}, u32{1514}, u32{65535}}) {
    for (const framing how : {framing::hyperkit, framing::qemu}) {
      vsock::put_prefix(how, size, prefix);
      CHECK(vsock::get_prefix(how, prefix) == size);
      const auto wanted = framed(frame_bytes(size), how);
      CHECK(std::equal(prefix, prefix + vsock::prefix_bytes(how), wanted.begin()));
    }
  }
  CHECK(!vsock::is_frame_size(13, 1500));
  CHECK(vsock::is_frame_size(14, 1500));
  CHECK(vsock::is_frame_size(1518, 1500));
  CHECK(!vsock::is_frame_size(1519, 1500));
}

TEST_CASE("ethernet link: it connects, sends its request, waits for the delay, and is up", "[vsock]") {
  ethernet e;
  CHECK(e.link.poll().error() == errc::not_started);
  e.start();
  CHECK(e.send(some_frame(60)).error() == errc::not_ready);
  e.turn();
  CHECK(!e.is_up());
  const auto& end = e.end();
  CHECK(std::string{end.bytes.begin(), end.bytes.end()} == request);
  CHECK(end.packets == 1);
  e.pass(e.how.settle - 1);
  CHECK(!e.is_up());
  CHECK(e.link.due_in() == 1);
  CHECK(e.send(some_frame(60)).error() == errc::not_ready);
  e.pass(1);
  CHECK(e.is_up());
  CHECK(e.link.why() == errc::ok);
  CHECK(e.link.times_up() == 1);
  CHECK(e.link.due_in() == ~u64{0});
  const auto f = some_frame(60);
  REQUIRE(e.send(f));
  e.turn();
  CHECK(e.sent() == framed(f));
  CHECK(end.packets == 2);
}

TEST_CASE("ethernet link: facts() and state() describe it", "[vsock]") {
  ethernet e;
  CHECK(e.link.state() == net::link_state::down);
  e.how.mtu = 1400;
  e.how.mac = {{2, 3, 4, 5, 6, 7}};
  e.start();
  CHECK(e.link.mac() == net::mac_address{{2, 3, 4, 5, 6, 7}});
  CHECK(e.link.facts().mtu == 1400);
  CHECK(e.link.facts().most_pieces == 7);
  CHECK(e.link.facts().most_kept == 6);
  CHECK(e.link.facts().does.empty());
  for (const u16 mtu : {u16{0}, u16{67}, u16{32747}, u16{65535}}) {
    e.how.mtu = mtu;
    CHECK(e.link.start(*e.d, e.how, {}).error() == errc::invalid_argument);
  }
}

TEST_CASE("ethernet link: a peer that loses early data breaks the link without the delay, and not with it", "[vsock]") {
  const u32 settle = GENERATE(0u, 200u);
  ethernet e;
  e.how.settle = settle;
  e.start();
  // As gvproxy: its reader of requests takes up to 4096 bytes, and loses those after the request.
  usize gone = 0;
  const auto peer_reads = [&] {
    e.model.settle();
    if (e.link.id().generation == 0 || !e.model.is_open(e.flow()) || gone != 0) return;
    if (e.end().bytes.size() >= request.size()) gone = std::min<usize>(4096, e.end().bytes.size());
  };
  for (int round = 0; round < 20 && !e.is_up(); ++round) {
    (void)e.link.poll();
    if (!e.is_up()) peer_reads();
    now_ms += 50;
  }
  REQUIRE(e.is_up());
  frames sent;
  for (u32 i = 0; i < 6; ++i) {  // a stack sends as soon as the link is up
    sent.push_back(some_frame(1000, i));
    REQUIRE(e.send(sent.back()));
  }
  peer_reads();
  peer_reads();
  frames understood;
  const auto& all = e.end().bytes;
  for (usize at = gone; at + 2 <= all.size();) {
    const usize size = all[at] | static_cast<usize>(all[at + 1]) << 8;
    if (at + 2 + size > all.size()) break;  // it waits for the rest without end
    understood.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(at) + 2,
                            all.begin() + static_cast<std::ptrdiff_t>(at + 2 + size));
    at += 2 + size;
  }
  if (settle != 0) {
    CHECK(understood == sent);
    return;
  }
  for (const auto& f : understood) CHECK(std::find(sent.begin(), sent.end(), f) == sent.end());
  // It therefore answers nothing, and the link detects that.
  e.pass(e.how.answer / 2);
  e.pass(e.how.answer / 2);
  CHECK(!e.is_up());
  CHECK(e.link.why() == errc::peer_silent);
}

TEST_CASE("ethernet link: a frame before the delay is over ends the delay", "[vsock]") {
  ethernet e;
  e.start();
  e.turn();
  e.feed(framed(some_frame(60)));
  CHECK(e.is_up());
  CHECK(e.received() == frames{some_frame(60)});
}

TEST_CASE("ethernet link: frames pass both ways however the stream is cut", "[vsock]") {
  const framing how = GENERATE(framing::hyperkit, framing::qemu);
  ethernet e;
  e.how.frames = how;
  e.up();
  const auto all = join(framed(some_frame(14, 1), how), framed(some_frame(61, 2), how), framed(some_frame(40, 3), how));
  for (usize cut = 0; cut <= all.size(); ++cut) {
    const auto middle = all.begin() + static_cast<std::ptrdiff_t>(cut);
    frames got;
    if (cut != 0) e.feed({all.begin(), middle});
    got = e.received();
    if (cut != all.size()) e.feed({middle, all.end()});
    const auto rest = e.received();
    got.insert(got.end(), rest.begin(), rest.end());
    REQUIRE(got == frames{some_frame(14, 1), some_frame(61, 2), some_frame(40, 3)});
  }
  // Each byte separately, with a poll after each.
  frames got;
  for (const u8 byte : all) {
    e.feed({byte});
    for (auto& f : e.received()) got.push_back(f);
  }
  CHECK(got == frames{some_frame(14, 1), some_frame(61, 2), some_frame(40, 3)});
  for (const usize size : {usize{14}, usize{60}, usize{1514}}) {
    const usize before = e.sent().size();
    const auto f = some_frame(size, 7);
    const const_bytes pieces[] = {{f.data(), 5}, {f.data() + 5, 0}, {f.data() + 5, size - 5}};
    const auto packets = e.end().packets;
    REQUIRE(e.link.try_send(pieces));
    e.turn();
    const auto now = e.sent();
    CHECK(frame_bytes(now.begin() + static_cast<std::ptrdiff_t>(before), now.end()) == framed(f, how));
    CHECK(e.end().packets == packets + 1);
  }
  CHECK(e.link.why() == errc::ok);
}

TEST_CASE("ethernet link: every valid frame size passes, and no other", "[vsock]") {
  ethernet e;
  e.up();
  for (usize size = 14; size <= 1518; ++size) {
    e.feed(framed(some_frame(size, static_cast<u32>(size))));
    REQUIRE(e.received() == frames{some_frame(size, static_cast<u32>(size))});
  }
  CHECK(e.send(some_frame(13)).error() == errc::invalid_argument);
  CHECK(e.send(some_frame(1515)).error() == errc::too_long);
  const auto f = some_frame(64);
  const const_bytes whole[] = {const_bytes{f}};
  CHECK(e.link.try_send(whole, {34, 6}).error() == errc::invalid_argument);
  const std::vector<const_bytes> scraps(8, const_bytes{f});
  CHECK(e.link.try_send({scraps.data(), scraps.size()}).error() == errc::too_many_pieces);
  CHECK(e.sent().empty());
}

TEST_CASE("ethernet link: an invalid length ends the connection at once, with the data after it", "[vsock][hostile]") {
  const framing how = GENERATE(framing::hyperkit, framing::qemu);
  const u32 length = GENERATE(0u, 13u, 1519u, 65535u);
  ethernet e;
  e.how.frames = how;
  e.up();
  const auto first = e.flow();
  frame_bytes prefix = framed({}, how);
  if (how == framing::hyperkit) prefix = {static_cast<u8>(length), static_cast<u8>(length >> 8)};
  else prefix = {0, 0, static_cast<u8>(length >> 8), static_cast<u8>(length)};
  e.feed(join(framed(some_frame(60), how), prefix, some_frame(2000, 9)));
  CHECK(e.received() == frames{some_frame(60)});
  CHECK(!e.is_up());
  CHECK(e.link.why() == errc::out_of_range);
  e.turn();
  CHECK(!e.model.is_open(first));
  CHECK(e.send(some_frame(60)).error() == errc::not_ready);
  e.pass(e.how.first_pause);
  e.pass(e.how.settle);
  REQUIRE(e.is_up());
  CHECK(e.link.times_up() == 2);
  e.feed(framed(some_frame(70), how));
  CHECK(e.received() == frames{some_frame(70)});
}

TEST_CASE("ethernet link: data received before the peer went can be read, also if the last frame was cut", "[vsock]") {
  const bool orderly = GENERATE(false, true);
  const usize cut = GENERATE(0u, 1u, 2u, 30u);
  ethernet e;
  e.up();
  const auto f = e.flow();
  auto last = framed(some_frame(60, 2));
  last.resize(cut);
  e.model.send(f, join(framed(some_frame(60)), last));
  e.model.settle();
  if (orderly) e.model.close(f);
  else e.model.abort(f);
  e.turn();
  CHECK(!e.is_up());
  CHECK(e.link.why() == (orderly ? errc::peer_closed : errc::peer_reset));
  CHECK(e.received() == frames{some_frame(60)});
  e.pass(e.how.first_pause);
  e.pass(e.how.settle);
  CHECK(e.is_up());
  CHECK(e.received().empty());
  CHECK(e.model.open_flows().size() == 1);
}

TEST_CASE("ethernet link: a peer that ends one direction has gone", "[vsock]") {
  const u32 which = GENERATE(u32{op::no_send}, u32{op::no_receive});
  ethernet e;
  e.up();
  const auto f = e.flow();
  e.model.send(f, {60});  // half a prefix
  e.model.shut(f, which);
  e.turn();
  CHECK(!e.is_up());
  CHECK(e.link.why() == errc::peer_closed);
  e.pass(e.how.first_pause);
  e.pass(e.how.settle);
  CHECK(e.is_up());
}

TEST_CASE("ethernet link: it retries after pauses that double up to a limit, and restart with the first frame",
          "[vsock]") {
  ethernet e;
  e.model.ports[rig::gvproxy_port] = vsock_model::reception::refuses;
  e.start();
  e.turn();
  const auto requests = [&] { return e.model.count(op::request); };
  u32 tried = requests();
  CHECK(tried == 1);
  u64 pause = e.how.first_pause;
  for (int i = 0; i < 9; ++i) {
    CHECK(e.link.why() == errc::refused);
    CHECK(e.link.due_in() == pause);
    e.pass(pause - 1);
    CHECK(requests() == tried);
    e.pass(1);
    CHECK(requests() == ++tried);
    pause = std::min<u64>(pause * 2, e.how.most_pause);
  }
  CHECK(pause == e.how.most_pause);
  e.model.ports[rig::gvproxy_port] = vsock_model::reception::accepts;
  e.pass(pause);
  e.pass(e.how.settle);
  REQUIRE(e.is_up());
  // A peer that accepts and leaves is tried no more often than one that refuses.
  e.model.abort(e.flow());
  e.turn();
  CHECK(e.link.due_in() == pause);
  e.pass(pause);
  e.pass(e.how.settle);
  e.feed(framed(some_frame(60)));
  CHECK(e.received().size() == 1);
  e.model.abort(e.flow());
  e.turn();
  CHECK(e.link.due_in() == e.how.first_pause);
}

TEST_CASE("ethernet link: a request without an answer is repeated", "[vsock]") {
  ethernet e{{.host = vsock_host::vhost_device()}};
  e.model.ports[rig::gvproxy_port] = vsock_model::reception::is_silent;
  e.start();
  e.turn();
  e.pass(e.how.connect - 1);
  CHECK(e.link.why() == errc::ok);
  e.pass(1);
  CHECK(e.link.why() == errc::peer_silent);
  e.model.ports[rig::gvproxy_port] = vsock_model::reception::accepts;
  e.pass(e.how.first_pause);
  e.pass(e.how.settle);
  CHECK(e.is_up());
}

TEST_CASE("ethernet link: it reconnects if its first frame is never answered, and not if one was answered", "[vsock]") {
  ethernet e;
  e.up();
  e.pass(1'000'000);
  CHECK(e.is_up());
  REQUIRE(e.send(some_frame(60)));
  e.pass(e.how.answer / 2);
  e.pass(e.how.answer / 2 - 1);
  CHECK(e.is_up());
  e.pass(1);
  CHECK(!e.is_up());
  CHECK(e.link.why() == errc::peer_silent);
  e.pass(e.how.first_pause);
  e.pass(e.how.settle);
  REQUIRE(e.is_up());
  REQUIRE(e.send(some_frame(60)));
  e.feed(framed(some_frame(60)));
  CHECK(e.received().size() == 1);
  REQUIRE(e.send(some_frame(60)));
  e.pass(1'000'000);
  CHECK(e.is_up());
  CHECK(e.link.times_up() == 2);
}

TEST_CASE("ethernet link: a peer that neither reads nor sends for a time has gone, one that reads has not", "[vsock]") {
  ethernet e{{.host = vsock_host::vhost_device()}};
  e.up();
  e.feed(framed(some_frame(60)));
  CHECK(e.received().size() == 1);
  // It never sends a frame, and reports what it has read only on request.
  for (int i = 0; i < 100; ++i) {
    REQUIRE(e.send(some_frame(600)));
    e.pass(e.how.answer / 8);
    REQUIRE(e.is_up());
  }
  e.pass(1'000'000);
  CHECK(e.is_up());
  e.pass(1'000'000);
  CHECK(e.link.due_in() == ~u64{0});  // no answer is expected
  // A peer that reads nothing but sends.
  e.end().reads = false;
  REQUIRE(e.send(some_frame(600)));
  for (int i = 0; i < 100; ++i) {
    e.pass(e.how.answer / 2 - 1);
    e.feed(framed(some_frame(60)));
    CHECK(e.received().size() == 1);
    REQUIRE(e.is_up());
  }
  // A peer that does neither.
  e.pass(e.how.answer / 2);
  REQUIRE(e.is_up());
  e.pass(e.how.answer / 2);
  REQUIRE(e.is_up());
  e.pass(e.how.answer / 2);
  CHECK(!e.is_up());
  CHECK(e.link.why() == errc::peer_silent);
  e.pass(e.how.first_pause);
  e.pass(e.how.settle);
  CHECK(e.is_up());
}

TEST_CASE("ethernet link: without room at the peer no part of a frame is sent, and all of it later", "[vsock]") {
  ethernet e{{.host = [] {
    vsock_host h = vsock_host::kernel();
    h.buf_alloc = 4000;
    return h;
  }()}};
  e.up();
  e.end().reads = false;
  frame_bytes all;
  u32 sent = 0;
  for (; sent < 100; ++sent) {
    const auto f = some_frame(1000, sent);
    const auto got = e.send(f);
    if (!got) {
      CHECK(got.error() == errc::queue_full);
      break;
    }
    all = join(all, framed(f));
    e.turn();
  }
  CHECK(sent == 3);
  const auto f = e.flow();
  (void)e.model.read(f);
  CHECK(e.sent() == all);
  e.turn();
  REQUIRE(e.send(some_frame(1000, 50)));
  e.turn();
  (void)e.model.read(f);
  CHECK(e.sent() == join(all, framed(some_frame(1000, 50))));
  CHECK(e.is_up());
  // A peer that has withdrawn its room has none for now.
  e.model.set_window(f, 500);
  e.turn();
  CHECK(e.send(some_frame(1000)).error() == errc::queue_full);
  CHECK(e.is_up());
}

TEST_CASE("ethernet link: without send buffers no part of a frame is sent, and poll makes room", "[vsock]") {
  ethernet e;
  e.up();
  u32 sent = 0;
  frame_bytes all;
  for (; sent < 100; ++sent) {
    const auto f = some_frame(1514, sent);
    const auto got = e.send(f);
    if (!got) {
      CHECK(got.error() == errc::queue_full);
      break;
    }
    all = join(all, framed(f));
  }
  CHECK(sent == e.layout.send_packets);
  e.turn();
  REQUIRE(e.send(some_frame(100, 77)));
  e.turn();
  CHECK(e.sent() == join(all, framed(some_frame(100, 77))));
}

TEST_CASE("ethernet link: kept frames stay unchanged until they are returned, even if the link goes down", "[vsock]") {
  ethernet e;
  e.up();
  e.feed(join(framed(some_frame(60, 1)), framed(some_frame(1514, 2)), framed(some_frame(100, 3)),
              framed(some_frame(200, 4))));
  ethernet::kept a, b, c;
  REQUIRE(e.keep(a) == errc::ok);
  REQUIRE(e.keep(b) == errc::ok);
  CHECK(e.link.receive_with([](const net::frame&) { return after_look::done; }));
  REQUIRE(e.keep(c) == errc::ok);
  CHECK(a.name != b.name);
  e.model.abort(e.flow());
  e.turn();
  CHECK(!e.is_up());
  for (int round = 0; round < 3; ++round) {
    e.pass(e.how.first_pause);
    e.pass(e.how.settle);
    REQUIRE(e.is_up());
    for (u32 i = 0; i < 50; ++i) {
      e.feed(framed(some_frame(1514, i)));
      CHECK(e.received() == frames{some_frame(1514, i)});
    }
    CHECK(a.bytes() == some_frame(60, 1));
    CHECK(b.bytes() == some_frame(1514, 2));
    CHECK(c.bytes() == some_frame(200, 4));
    e.model.abort(e.flow());
    e.turn();
  }
  CHECK(e.link.give_back(b.name));
  CHECK(e.link.give_back(b.name).error() == errc::stale_handle);
  CHECK(a.bytes() == some_frame(60, 1));
  CHECK(e.link.give_back(a.name));
  CHECK(e.link.give_back(c.name));
  for (const auto& name : {net::kept_frame{}, net::kept_frame{1, 7}, net::kept_frame{0xffff, 1}, a.name, c.name})
    CHECK(e.link.give_back(name).error() == errc::stale_handle);
}

TEST_CASE("ethernet link: as many frames can be kept as it reports, while others still arrive", "[vsock]") {
  ethernet e;
  e.up();
  std::vector<ethernet::kept> held;
  u32 next = 0, sent = 0;
  const auto feed_some = [&] {
    frame_bytes all;
    for (int i = 0; i < 10; ++i) all = join(all, framed(some_frame(1514, sent++)));
    e.feed(all);
  };
  // Frames far apart, so that no two share a buffer.
  while (held.size() < e.link.facts().most_kept) {
    feed_some();
    ethernet::kept one;
    REQUIRE(e.keep(one) == errc::ok);
    REQUIRE(one.bytes() == some_frame(1514, next));
    held.push_back(one);
    ++next;
    for (const auto& f : e.received()) REQUIRE(f == some_frame(1514, next++));
    REQUIRE(next == sent);
  }
  for (int i = 0; i < 20; ++i) {
    feed_some();
    for (const auto& f : e.received()) CHECK(f == some_frame(1514, next++));
  }
  CHECK(next == sent);
  for (u32 i = 0; i < held.size(); ++i) CHECK(held[i].bytes() == some_frame(1514, i * 10));
}

TEST_CASE("ethernet link: a program that keeps everything gets no more for a while, and loses nothing", "[vsock]") {
  ethernet e;
  e.up();
  std::vector<ethernet::kept> held;
  u32 sent = 0, next = 0;
  for (int round = 0; round < 40; ++round) {
    frame_bytes all;
    for (int i = 0; i < 60; ++i, ++sent) all = join(all, framed(some_frame(14 + sent * 37 % 1500, sent)));
    e.feed(all);
    ethernet::kept one;
    while (e.keep(one) == errc::ok) {
      REQUIRE(one.bytes() == some_frame(14 + next * 37 % 1500, next));
      ++next;
      held.push_back(one);
    }
    const u32 first = next - static_cast<u32>(held.size());
    for (usize i = 0; i < held.size(); ++i)
      REQUIRE(held[i].bytes() == some_frame(14 + (first + i) * 37 % 1500, first + static_cast<u32>(i)));
    REQUIRE(e.is_up());
    for (const auto& k : held) REQUIRE(e.link.give_back(k.name));
    held.clear();
    e.turn();
    for (const auto& f : e.received()) {
      REQUIRE(f == some_frame(14 + next * 37 % 1500, next));
      ++next;
    }
  }
  for (int round = 0; round < 1000 && next != sent; ++round) {
    e.turn();
    for (const auto& f : e.received()) {
      REQUIRE(f == some_frame(14 + next * 37 % 1500, next));
      ++next;
    }
  }
  CHECK(next == sent);
}

TEST_CASE("ethernet link: cut anywhere, kept and returned in any order, every frame arrives whole, once and in order",
          "[vsock]") {
  const framing how = GENERATE(framing::hyperkit, framing::qemu);
  std::mt19937 random{how == framing::qemu ? 5u : 6u};
  ethernet e;
  e.how.frames = how;
  e.up();
  struct expected {
    usize size;
    u32 seed;
  };
  std::vector<expected> all;
  frame_bytes stream;
  for (u32 i = 0; i < 2000; ++i) {
    all.push_back({14 + random() % (random() % 3 == 0 ? 1505 : 100), i});
    stream = join(stream, framed(some_frame(all.back().size, i), how));
  }
  std::vector<std::pair<ethernet::kept, frame_bytes>> held;
  usize fed = 0, next = 0;
  for (int step = 0; step < 200'000 && next != all.size(); ++step) {
    switch (random() % 4) {
      case 0: {
        const usize n = std::min<usize>(1 + random() % (random() % 2 == 0 ? 4u : 5000u), stream.size() - fed);
        const auto from = stream.begin() + static_cast<std::ptrdiff_t>(fed);
        if (n != 0 && e.end().unsent() < 100'000)
          e.model.send(e.flow(), {from, from + static_cast<std::ptrdiff_t>(n)}), fed += n;
        break;
      }
      case 1: e.turn(); break;
      case 2: {
        const bool keeps = random() % 2 == 0;
        ethernet::kept one;
        const auto got = e.link.receive_with([&](const net::frame& f) {
          REQUIRE(bytes_of(f) == some_frame(all[next].size, all[next].seed));
          one.name = f.name;
          one.pieces.assign(f.pieces.begin(), f.pieces.end());
          return keeps ? after_look::keep : after_look::done;
        });
        if (!got) break;
        if (keeps) held.emplace_back(one, one.bytes());
        ++next;
        break;
      }
      default:
        if (!held.empty() && (held.size() > 3 || random() % 2 == 0)) {
          const usize n = random() % held.size();
          REQUIRE(held[n].first.bytes() == held[n].second);
          REQUIRE(e.link.give_back(held[n].first.name));
          held.erase(held.begin() + static_cast<std::ptrdiff_t>(n));
        }
    }
  }
  CHECK(next == all.size());
  for (const auto& [k, was] : held) CHECK(k.bytes() == was);
  CHECK(e.is_up());
}

TEST_CASE("ethernet link: the callback may send and return frames, and the stream continues after its frame",
          "[vsock]") {
  ethernet e;
  e.up();
  e.feed(join(framed(some_frame(60, 1)), framed(some_frame(61, 2)), framed(some_frame(62, 3))));
  ethernet::kept first;
  REQUIRE(e.keep(first) == errc::ok);
  const auto got = e.link.receive_with([&](const net::frame& f) {
    CHECK(e.link.give_back(first.name));
    CHECK(e.send(some_frame(90)));
    CHECK(bytes_of(f) == some_frame(61, 2));
    return after_look::done;
  });
  CHECK(got);
  CHECK(e.received() == frames{some_frame(62, 3)});
  e.turn();
  CHECK(e.sent() == framed(some_frame(90)));
}

TEST_CASE("ethernet link: the program's other connections and listeners work beside it, and their events are reported",
          "[vsock]") {
  ethernet e;
  e.up();
  REQUIRE(e.d->listen(77, 2));
  const auto other = e.d->try_connect({vsock::host_cid, open_port});
  REQUIRE(other);
  e.turn();
  CHECK(e.said(*other).has(ready::connected));
  (void)e.model.connect(77, 9000);
  e.turn();
  CHECK(e.times(ready::incoming) == 1);
  e.model.send(e.basic_sockets::flow(*other), pattern(100));
  e.feed(framed(some_frame(60)));
  CHECK(e.said(*other).has(ready::readable));
  CHECK(e.received() == frames{some_frame(60)});
  for (const auto& one : e.events) CHECK(one.which != e.link.id());
  // A program with its own loop.
  e.events.clear();
  e.model.send(e.flow(), framed(some_frame(61)));
  e.model.settle();
  CHECK(e.poll());
  CHECK(!e.link.step());
  CHECK(e.received() == frames{some_frame(61)});
  e.model.abort(e.flow());
  e.model.settle();
  CHECK(e.poll());
  CHECK(e.link.step());
  CHECK(!e.is_up());
}

TEST_CASE("ethernet link: poll reports an arrival or a change", "[vsock]") {
  ethernet e;
  e.up();
  CHECK(*e.link.poll() == false);
  e.model.send(e.flow(), framed(some_frame(60)));
  e.model.settle();
  CHECK(*e.link.poll() == true);
  CHECK(*e.link.poll() == true);  // it is still there
  CHECK(e.received() == frames{some_frame(60)});
  CHECK(*e.link.poll() == false);
  e.model.abort(e.flow());
  e.model.settle();
  CHECK(*e.link.poll() == true);
  CHECK(*e.link.poll() == false);
}

TEST_CASE("ethernet link: wait_until moves packets and time until the condition holds", "[vsock]") {
  ethernet e;
  e.start();
  e.m.memory.on_wait = [&](waiting, u64) {
    (void)e.model.step();
    now_ms += 10;
  };
  CHECK(e.link.wait_until(waiting::peer, [&] { return e.is_up(); }) == errc::ok);
  e.model.send(e.flow(), framed(some_frame(60)));
  frames got;
  CHECK(e.link.wait_until(waiting::peer, [&] { return !(got = e.received()).empty(); }) == errc::ok);
  CHECK(got == frames{some_frame(60)});
  const u64 deadline = now_ms + 1000;
  CHECK(e.link.wait_until(waiting::peer, [] { return false; }, [&] { return now_ms >= deadline; }) == errc::canceled);
}

TEST_CASE("ethernet link: a device failure takes the link down, and a start of the device brings it up", "[vsock]") {
  ethernet e;
  e.up();
  e.feed(framed(some_frame(60)));
  ethernet::kept one;
  REQUIRE(e.keep(one) == errc::ok);
  e.model.set_needs_reset();
  CHECK(e.d->check().error() == errc::needs_reset);
  CHECK(e.link.poll());  // reports the ends of the connections
  CHECK(!e.is_up());
  CHECK(e.link.why() == errc::needs_reset);
  CHECK(e.link.poll().error() == errc::not_started);
  CHECK(one.bytes() == some_frame(60));
  CHECK(e.link.give_back(one.name));
  now_ms += e.how.first_pause;
  CHECK(e.link.poll().error() == errc::not_started);
  CHECK(e.link.why() == errc::not_started);
  REQUIRE(e.begin());
  e.pass(e.how.most_pause);
  e.pass(e.how.settle);
  REQUIRE(e.is_up());
  e.feed(framed(some_frame(61)));
  CHECK(e.received() == frames{some_frame(61)});
}

TEST_CASE("ethernet link: after a reset of the device, kept frames no longer belong to the program", "[vsock]") {
  ethernet e;
  e.up();
  e.feed(join(framed(some_frame(60)), framed(some_frame(60))));
  ethernet::kept one, two;
  REQUIRE(e.keep(one) == errc::ok);
  REQUIRE(e.d->reset());
  CHECK(e.link.give_back(one.name));  // the next frame's bytes are expected after it, in the same buffer
  REQUIRE(e.begin());
  e.pass(e.how.most_pause);
  e.pass(e.how.most_pause);
  e.pass(e.how.settle);
  REQUIRE(e.is_up());
  e.feed(framed(some_frame(60, 4)));
  REQUIRE(e.keep(two) == errc::ok);
  CHECK(e.link.give_back(one.name).error() == errc::stale_handle);
  REQUIRE(e.d->reset());
  CHECK(e.link.give_back(two.name).error() == errc::stale_handle);
}

TEST_CASE("ethernet link: close ends the connection in good order, start begins again, earlier names are stale",
          "[vsock]") {
  ethernet e;
  e.up();
  e.feed(join(framed(some_frame(60)), framed(some_frame(70))));
  ethernet::kept one;
  REQUIRE(e.keep(one) == errc::ok);
  const auto f = e.flow();
  e.link.close();
  CHECK(!e.is_up());
  CHECK(one.bytes() == some_frame(60));
  e.turn();
  CHECK(!e.model.is_open(f));
  CHECK(e.received().empty());
  e.pass(1'000'000);
  CHECK(!e.is_up());
  e.up();
  CHECK(e.link.give_back(one.name).error() == errc::stale_handle);
  // No buffer was lost.
  u32 sent = 0, next = 0;
  for (int i = 0; i < 100; ++i) {
    e.feed(framed(some_frame(1514, sent++)));
    for (const auto& g : e.received()) CHECK(g == some_frame(1514, next++));
  }
  CHECK(next == sent);
}

TEST_CASE("ethernet link: a peer that expects no request gets none", "[vsock]") {
  ethernet e;
  e.how.path = {};
  e.how.frames = framing::qemu;
  e.start();
  e.turn();
  CHECK(e.end().bytes.empty());
  e.pass(e.how.settle);
  REQUIRE(e.is_up());
  REQUIRE(e.send(some_frame(60)));
  e.turn();
  CHECK(e.sent() == framed(some_frame(60), framing::qemu));
}

TEST_CASE("ethernet link: with little memory, shared with others, frames of any size keep arriving", "[vsock]") {
  // The window that it has for certain is one packet.
  constexpr vsock::limits small{
      .connections = 4, .receive_packet = 4096, .receive_buffer = 16384, .receive_pool = 16384, .pieces = 4};
  rig::basic_ethernet<small> e;
  e.up();
  frame_bytes stream;
  for (u32 i = 0; i < 400; ++i) stream = join(std::move(stream), framed(some_frame(14 + i * 331 % 1505, i)));
  e.model.send(e.flow(), stream);
  u32 next = 0;
  for (int round = 0; round < 10000 && next != 400; ++round) {
    e.turn();
    for (const auto& f : e.received()) {
      REQUIRE(f == some_frame(14 + next * 331 % 1505, next));
      ++next;
    }
  }
  CHECK(next == 400);
}

TEST_CASE("ethernet link: a frame larger than a receive buffer occupies several", "[vsock]") {
  constexpr vsock::limits tiny{.connections = 2, .receive_packet = 256, .receive_buffer = 65536, .pieces = 80};
  rig::basic_ethernet<tiny> e;
  e.how.mtu = 9000;
  e.up();
  frame_bytes stream;
  const auto size = [](u32 i) { return 14 + i * 2311 % 1480; };
  for (u32 i = 0; i < 100; ++i) stream = join(std::move(stream), framed(some_frame(size(i), i)));
  e.model.send(e.flow(), stream);
  u32 next = 0;
  for (int round = 0; round < 10000 && next != 100; ++round) {
    e.turn();
    for (const auto& f : e.received()) {
      REQUIRE(f == some_frame(size(next), next));
      ++next;
    }
  }
  CHECK(next == 100);
  e.feed(framed(some_frame(9014, 5)));
  CHECK(e.received() == frames{some_frame(9014, 5)});
}

TEST_CASE("ethernet link: the largest MTU is what the pieces can hold", "[vsock]") {
  constexpr vsock::limits four{.connections = 4, .receive_packet = 4096, .receive_buffer = 65536, .pieces = 4};
  constexpr vsock::limits eight{.connections = 4, .receive_packet = 512, .receive_buffer = 65536, .pieces = 8};
  STATIC_REQUIRE(rig::basic_ethernet<four>::link_type::largest_mtu == 4074);
  STATIC_REQUIRE(rig::basic_ethernet<eight>::link_type::largest_mtu == 1514);
  rig::basic_ethernet<four> e;
  e.how.mtu = 4075;
  CHECK_FALSE(e.link.start(*e.d, e.how));
  e.how.mtu = net::usual_mtu;
  e.up();
  e.feed(framed(some_frame(60)));
  CHECK(e.received() == frames{some_frame(60)});
}

TEST_CASE("ethernet link: a frame that was not received yet is reported again, and prevents a sleep", "[vsock]") {
  const auto done = [](const net::frame&) { return after_look::done; };
  ethernet e;
  e.up();
  e.model.send(e.flow(), join(framed(some_frame(60)), framed(some_frame(61))));
  e.model.settle();
  CHECK(*e.link.poll());
  CHECK(e.link.receive_with(done));
  CHECK(*e.link.poll());
  CHECK(e.link.arm());
  CHECK(e.link.receive_with(done));
  CHECK_FALSE(*e.link.poll());
  CHECK_FALSE(e.link.arm());
}

TEST_CASE("ethernet link: data that arrived before the device was started again is not shown", "[vsock]") {
  const auto done = [](const net::frame&) { return after_look::done; };
  ethernet e;
  e.up();
  e.feed(join(framed(some_frame(60)), framed(some_frame(60, 2))));
  REQUIRE(e.link.receive_with(done));
  REQUIRE(e.d->reset());
  const bool again = GENERATE(false, true);
  if (again) REQUIRE(e.begin());
  CHECK(e.link.receive_with(done).error() == errc::not_ready);
}

TEST_CASE("ethernet link: a lost connection with an invalid length is reported once", "[vsock]") {
  ethernet e;
  e.up();
  e.feed(framed(some_frame(60)));
  REQUIRE(e.received().size() == 1);
  e.model.send(e.flow(), frame_bytes{1, 0, 5, 5});
  (void)e.model.close(e.flow());
  e.turn();
  REQUIRE_FALSE(e.is_up());
  const u64 due = e.link.due_in();
  const errc why = e.link.why();
  (void)e.link.receive_with([](const net::frame&) { return after_look::done; });
  CHECK(e.link.due_in() == due);
  CHECK(e.link.why() == why);
}
