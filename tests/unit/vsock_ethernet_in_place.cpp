// SPDX-License-Identifier: MIT
// A network link shows frames in the buffers in which the socket device received them; buffers become pieces of the
// program when a frame is kept. Also the calls of the socket device for this.
#include <catch2/generators/catch_generators.hpp>

#include "ethernet.hpp"

using namespace virtio;
using net::after_look;
using rig::bytes_of;
using rig::frames;
using rig::join;

TEST_CASE("ethernet link: a frame takes pieces only when it is kept, in however many buffers it is", "[vsock]") {
  ethernet e;
  e.up();
  const u16 all = e.d->pieces_left();
  CHECK(all == 16);
  for (u32 i = 0; i < 100; ++i) {
    const u32 cut = 1 + i * 37 % 1515;
    const auto stream = framed(some_frame(1514, i));
    const auto middle = stream.begin() + cut;
    // After 4000 other bytes, so that the buffer ends inside the frame or between two.
    e.feed(join(framed(some_frame(1400, 1)), framed(some_frame(1200, 2)), framed(some_frame(1300 + i % 90, 3)),
                frame_bytes{stream.begin(), middle}));
    CHECK(e.d->pieces_left() == all);
    CHECK(e.received().size() == 3);
    e.feed({middle, stream.end()});
    CHECK(e.d->pieces_left() == all);
    usize parts = 0;
    const bool keeps = i % 2 != 0;
    ethernet::kept one;
    CHECK(e.link.receive_with([&](const net::frame& f) {
      CHECK(bytes_of(f) == some_frame(1514, i));
      CHECK(e.d->pieces_left() == all);
      parts = f.pieces.count;
      one.name = f.name;
      one.pieces.assign(f.pieces.begin(), f.pieces.end());
      return keeps ? after_look::keep : after_look::done;
    }));
    if (keeps) {
      CHECK(e.d->pieces_left() == all - parts);
      CHECK(one.bytes() == some_frame(1514, i));
      CHECK(e.link.give_back(one.name));
    }
    CHECK(e.d->pieces_left() == all);
  }
}

TEST_CASE("ethernet link: a frame is not shown before all its buffers could be kept", "[vsock]") {
  ethernet e;
  e.up();
  const auto s = e.connected();
  std::vector<vsock::piece> held;
  while (e.d->pieces_left() != 1) {
    e.model.send(e.basic_sockets::flow(s), rig::pattern(4096, 1));
    e.settle();
    const auto got = e.d->try_take(s, vsock::holding::outside_window);
    REQUIRE(got);
    held.push_back(*got);
  }
  // The third one is in two buffers.
  e.feed(join(framed(some_frame(1400, 1)), framed(some_frame(1400, 2)), framed(some_frame(1514, 3))));
  CHECK(e.received() == frames{some_frame(1400, 1), some_frame(1400, 2)});
  CHECK(!e.link.arm());
  e.link.disarm();
  CHECK(e.d->give_back(held.back()));
  CHECK(e.link.arm());
  e.link.disarm();
  CHECK(e.received() == frames{some_frame(1514, 3)});
}

TEST_CASE("ethernet link: the callback may return, keep and close, but not receive or start", "[vsock]") {
  ethernet e;
  e.up();
  e.feed(
      join(framed(some_frame(60, 1)), framed(some_frame(61, 2)), framed(some_frame(62, 3)), framed(some_frame(63, 4))));
  ethernet::kept first, second, third;
  REQUIRE(e.keep(first) == errc::ok);
  const auto got = e.link.receive_with([&](const net::frame& f) {
    ethernet::kept none;
    CHECK(e.keep(none) == errc::in_use);
    CHECK(!e.link.step());
    CHECK(e.link.give_back(first.name));
    CHECK(e.link.give_back(f.name).error() == errc::stale_handle);
    second.name = f.name;
    second.pieces.assign(f.pieces.begin(), f.pieces.end());
    return after_look::keep;
  });
  CHECK(got);
  CHECK(e.link.receive_with([&](const net::frame& f) {
    third.name = f.name;
    third.pieces.assign(f.pieces.begin(), f.pieces.end());
    e.link.close();
    CHECK(bytes_of(f) == some_frame(62, 3));
    return after_look::keep;
  }));
  CHECK(e.link.id().generation == 0);
  CHECK(second.name != third.name);
  CHECK(second.bytes() == some_frame(61, 2));
  CHECK(third.bytes() == some_frame(62, 3));
  CHECK(e.received().empty());
  CHECK(e.link.give_back(second.name));
  CHECK(e.link.give_back(third.name));
  CHECK(e.d->pieces_left() == 16);
}

TEST_CASE("ethernet link: a callback that restarts the link, or ends its connection at the device, keeps no frame",
          "[vsock]") {
  const bool starts = GENERATE(true, false);
  ethernet e;
  e.up();
  e.feed(join(framed(some_frame(60, 1)), framed(some_frame(61, 2))));
  net::kept_frame name;
  const auto got = e.link.receive_with([&](const net::frame& f) {
    name = f.name;
    if (starts) e.start();
    else CHECK(e.d->abort(e.link.id()));
    return after_look::keep;
  });
  CHECK(got.error() == (starts ? errc::in_use : errc::canceled));
  CHECK(e.link.give_back(name).error() == errc::stale_handle);
  CHECK(e.received().empty());
  CHECK(e.d->pieces_left() == 16);
  for (int i = 0; i < 3; ++i) e.pass(e.how.first_pause);
  CHECK(e.is_up());
  e.feed(framed(some_frame(62, 3)));
  CHECK(e.received() == frames{some_frame(62, 3)});
}

TEST_CASE(
    "ethernet link: two links on one device do not block each other if their frames need more buffers than there are pieces",
    "[vsock]") {
  constexpr vsock::limits few{.connections = 4, .receive_packet = 2048, .receive_buffer = 65536, .pieces = 4};
  using rig_type = rig::basic_ethernet<few>;
  rig_type e;
  e.up();
  rig_type::link_type other;
  REQUIRE(other.start(*e.d, e.how));
  const auto pass = [&](u64 milliseconds) {
    now_ms += milliseconds;
    e.turn();
    (void)other.step();
    e.turn();
  };
  pass(0);
  pass(0);
  pass(e.how.settle);
  REQUIRE(other.state() == net::link_state::up);
  const auto feed = [&](rig_type::link_type& l, const frame_bytes& all) {
    e.model.send(e.basic_sockets<few>::flow(l.id()), all);
    e.turn();
  };
  std::vector<net::kept_frame> kept;
  frames shown[2];
  rig_type::link_type* const links[] = {&e.link, &other};
  const auto receive = [&](int which, after_look what) {
    return links[which]->receive_with([&](const net::frame& f) {
      shown[which].push_back(bytes_of(f));
      if (what == after_look::keep) kept.push_back(f.name);
      return what;
    });
  };
  feed(e.link, framed(some_frame(1400, 1)));
  REQUIRE(receive(0, after_look::keep));
  // Both have a piece with the beginning of a frame, after a kept one; the frame continues in two more buffers.
  const auto large = framed(some_frame(1514, 3));
  for (rig_type::link_type* one : links)
    feed(*one, join(framed(some_frame(100, 2)), frame_bytes{large.begin(), large.begin() + 900}));
  REQUIRE(receive(0, after_look::keep));
  REQUIRE(receive(1, after_look::keep));
  for (rig_type::link_type* one : links) {
    feed(*one, {large.begin() + 900, large.begin() + 1500});
    feed(*one, join(frame_bytes{large.begin() + 1500, large.end()}, framed(some_frame(1514, 4))));
  }
  CHECK(!receive(0, after_look::done));
  CHECK(e.link.give_back(kept[0]));
  (void)receive(1, after_look::done);
  for (int round = 0; round < 10; ++round) {
    e.turn();
    for (int which : {0, 1}) (void)receive(which, after_look::done);
  }
  const frames behind{some_frame(100, 2), some_frame(1514, 3), some_frame(1514, 4)};
  CHECK(frames{shown[0].begin() + 1, shown[0].end()} == behind);
  CHECK(shown[1] == behind);
}

TEST_CASE("vsock: received bytes can be inspected and skipped without a callback", "[vsock]") {
  ethernet e;
  const auto s = e.connected();
  CHECK(e.d->peek(s).size() == 0);
  CHECK(e.d->peek_first(s).empty());
  CHECK(e.d->peek(vsock::socket{}).size() == 0);
  CHECK(e.d->peek_first(vsock::socket{}).empty());
  const_bytes pieces[4];
  CHECK(e.d->peek_pieces(s, pieces, 4) == 0);
  CHECK(e.d->peek_pieces(vsock::socket{}, pieces, 4) == 0);
  CHECK(e.d->skip(vsock::socket{}, 0).error() == errc::stale_handle);
  CHECK(e.d->skip(s, 0));
  CHECK(e.d->skip(s, 1).error() == errc::invalid_argument);
  const auto all = rig::pattern(10'000, 7);
  e.model.send(e.basic_sockets::flow(s), all);
  e.settle();
  usize from = 0;
  for (const u32 n : {1u, 4000u, 95u, 0u, 4096u, 1800u}) {
    CHECK(e.d->skip(s, static_cast<u32>(all.size() - from) + 1).error() == errc::invalid_argument);
    std::vector<u8> seen(all.size() - from);
    CHECK(e.d->peek(s).size() == seen.size());
    CHECK(e.d->peek(s).copy_to(0, seen) == seen.size());
    CHECK(seen == std::vector<u8>{all.begin() + static_cast<std::ptrdiff_t>(from), all.end()});
    // All pieces, or as many as requested.
    const u32 count = e.d->peek_pieces(s, pieces, 4);
    CHECK(scatter<const_bytes>{pieces, count}.size() == seen.size());
    usize at = 0;
    for (u32 i = 0; i < count; at += pieces[i++].size())
      CHECK(std::equal(pieces[i].data(), pieces[i].data() + pieces[i].size(),
                       seen.begin() + static_cast<std::ptrdiff_t>(at)));
    CHECK(e.d->peek_pieces(s, pieces, 1) == (seen.empty() ? 0 : 1));
    const const_bytes first = e.d->peek_first(s);
    CHECK((!first.empty() && first.size() <= 4096));
    CHECK(std::equal(first.data(), first.data() + first.size(), seen.begin()));
    CHECK(e.d->skip(s, n));
    from += n;
  }
  CHECK(e.d->unread(s).value_or(0) == all.size() - from);
  CHECK(e.drained(s).first == std::vector<u8>{all.begin() + static_cast<std::ptrdiff_t>(from), all.end()});
}

TEST_CASE("vsock: a peer is informed of room after half its window was skipped", "[vsock]") {
  ethernet e;
  const auto s = e.connected();
  std::vector<u8> all(200'000, 'x');
  e.model.send(e.basic_sockets::flow(s), all);
  usize done = 0;
  for (int round = 0; round < 1000 && done != all.size(); ++round) {
    e.settle();
    const auto here = virtio::detail::smaller<usize>(e.d->peek(s).size(), 5000);
    CHECK(e.d->skip(s, static_cast<u32>(here)));
    done += here;
  }
  CHECK(done == all.size());
}

TEST_CASE("vsock: messages are neither inspected nor skipped as a stream", "[vsock]") {
  constexpr vsock::limits with_messages{.connections = 4, .messages = true};
  rig::basic_sockets<with_messages> e;
  REQUIRE(e.begin());
  const auto s = e.d->try_connect({vsock::host_cid, rig::open_port}, vsock::kind::seqpacket);
  REQUIRE(s);
  e.settle();
  e.model.send(e.flow(*s), rig::pattern(100, 1));
  e.settle();
  CHECK(e.d->unread(*s).value_or(0) == 100);
  CHECK(e.d->skip(*s, 0).error() == errc::invalid_argument);
  CHECK(e.d->peek(*s).size() == 0);
  const_bytes piece[1];
  CHECK(e.d->peek_pieces(*s, piece, 1) == 0);
  CHECK(e.d->peek_first(*s).empty());
}

TEST_CASE("ethernet link: a shown frame stays in place until the callback returns, even if that ends the connection",
          "[vsock]") {
  using narrow =
      rig::basic_ethernet<vsock::limits{.connections = 2, .receive_packet = 4096, .receive_buffer = 8192, .pieces = 8}>;
  enum class deed { abort, close_socket, close_link, peer_resets };
  const auto what = GENERATE(deed::abort, deed::close_socket, deed::close_link, deed::peer_resets);
  const auto answer = GENERATE(after_look::done, after_look::keep);
  const bool is_cut = GENERATE(false, true);  // the frame is in two buffers
  CAPTURE(static_cast<int>(what), answer == after_look::keep, is_cut);
  narrow e;
  e.up();
  const auto other = e.connected();
  const auto in_front = framed(some_frame(1400, 1));
  if (is_cut) e.feed(join(in_front, in_front));
  const auto frame = some_frame(1500, 3);
  e.feed(framed(frame));
  if (is_cut) {
    CHECK(e.link.receive_with([](const net::frame&) { return after_look::done; }));
    CHECK(e.link.receive_with([](const net::frame&) { return after_look::done; }));
  }
  const auto got = e.link.receive_with([&](const net::frame& f) {
    CHECK(bytes_of(f) == frame);
    const auto mine = e.link.id();
    switch (what) {
      case deed::abort: REQUIRE(e.d->abort(mine)); break;
      case deed::close_socket: REQUIRE(e.d->close(mine)); break;
      case deed::close_link: e.link.close(); break;
      case deed::peer_resets: e.model.say(e.flow(), op::reset); break;
    }
    const auto flow = static_cast<narrow::base&>(e).flow(other);
    for (int i = 0; i < 40; ++i) {
      e.model.send(flow, std::vector<u8>(3000, 0xee));
      e.model.settle();
      (void)e.d->poll([](const vsock::event&) {});
      e.model.settle();
      (void)e.drained(other, 8192);
    }
    CHECK((bytes_of(f) == frame));
    return answer;
  });
  const bool is_gone = what == deed::abort || what == deed::close_socket;
  CHECK(got.error() == (is_gone && answer == after_look::keep ? errc::canceled : errc::ok));
  // No buffer is lost.
  const auto flow = static_cast<narrow::base&>(e).flow(other);
  for (u8 i = 0; i < 40; ++i) {
    e.model.send(flow, std::vector<u8>(3000, i));
    e.model.settle();
    (void)e.d->poll([](const vsock::event&) {});
    e.model.settle();
    CHECK((e.drained(other, 8192).first == std::vector<u8>(3000, i)));
  }
}

TEST_CASE("vsock in place: no buffer of an ended connection goes to the device before the outermost end_look",
          "[vsock]") {
  rig::basic_sockets<vsock::limits{.connections = 2, .receive_packet = 4096, .receive_buffer = 4096}> s;
  REQUIRE(s.begin());
  const auto one = s.connected(), other = s.connected();
  const auto data = pattern(3000);
  s.model.send(s.flow(one), data);
  s.settle();
  const const_bytes here = s.d->peek_first(one);
  REQUIRE(here.size() == 3000);
  const auto is_same = [&] { return std::vector<u8>(here.data(), here.data() + here.size()) == data; };
  // The buffers of the other connection are returned meanwhile.
  const auto others = [&] {
    for (u32 i = 0; i < 1000; ++i) {
      s.model.send(s.flow(other), std::vector<u8>(3000, 0xee));
      s.settle();
      CHECK(s.drained(other, 8192).first.size() == 3000);
      s.settle();
    }
  };
  s.d->begin_look();
  s.d->begin_look();
  s.d->end_look();
  CHECK(is_same());
  s.d->begin_look();
  SECTION("aborted") { REQUIRE(s.d->abort(one)); }
  SECTION("closed") { REQUIRE(s.d->close(one)); }
  others();
  CHECK(is_same());
  s.d->end_look();
  others();
  CHECK(is_same());
  s.d->end_look();
  others();
  CHECK_FALSE(is_same());  // it is in use again
}
