// SPDX-License-Identifier: MIT
// Messages that were taken and have not left: several per connection, in order, as far as send buffers and the peer's
// room allow.
#include <random>

#include "vsock.hpp"

using namespace virtio;
using vsock::boundary;
using vsock::kind;

namespace {

constexpr u16 buffers = 24;
constexpr vsock::limits layout{.connections = 8,
                               .receive_packet = 256,
                               .receive_buffer = 1024,
                               .send_packet = 256,
                               .send_packets = buffers,
                               .messages = true};
using model = vsock_model;

/// A queue of eight, which is soon full.
struct narrow : rig::basic_sockets<layout, split_queue<8>> {
  narrow() : rig::basic_sockets<layout, split_queue<8>>{{.queue_sizes = {8, 8, 8}}} {
    this->model.offer({1});
    m.expect_objections = true;
    REQUIRE(begin());
  }
  vsock::socket talks() {
    const auto one = d->try_connect({vsock::host_cid, open_port}, kind::seqpacket);
    REQUIRE(one);
    settle();
    REQUIRE(said(*one).has(ready::connected));
    model.set_window(flow(*one), 1 << 20);
    settle();
    return *one;
  }
  result<void> say(vsock::socket to, u32 seed, usize size) {
    const auto all = pattern(size, seed);
    return d->try_send_message(to, const_bytes{all.data(), all.size()},
                               seed % 3 == 0 ? boundary::record : boundary::message);
  }
  /// Stages messages of growing sizes until one is refused; `last` is the reason.
  u32 say_all(vsock::socket to, usize size, errc& last, u32 from = 0) {
    u32 n = from;
    for (result<void> taken; (taken = say(to, n, size + n)) || (last = taken.error(), false);) ++n;
    return n - from;
  }
  void check_came(const vsock_flow& f, u32 count, usize size, u32 from = 0) {
    const auto& all = model.peer(f).messages;
    REQUIRE(all.size() == count);
    for (u32 i = 0; i < count; ++i) {
      CAPTURE(i);
      REQUIRE(all[i] == vsock_model::message{pattern(size + from + i, from + i), (from + i) % 3 == 0});
    }
  }
  /// All send buffers are free: one connection can take them all.
  void check_all_free() {
    const auto one = talks();
    model.tx = model::sending::ignore;
    errc last{};
    CHECK(say_all(one, 100, last) == buffers);
    CHECK(last == errc::no_buffer);
    model.give_back();
    settle();
    check_came(flow(one), buffers, 100);
    REQUIRE(d->abort(one));
    settle();
  }
};

}  // namespace

TEST_CASE("vsock staged: as many messages are taken as there are send buffers, and arrive in order with their ends",
          "[vsock]") {
  narrow s;
  const auto one = s.talks();
  const vsock_flow f = s.flow(one);
  s.model.tx = model::sending::ignore;
  errc last{};
  REQUIRE(s.say_all(one, 50, last) == buffers);
  CHECK(last == errc::no_buffer);
  CHECK(*s->undelivered(one) == buffers * 50 + buffers * (buffers - 1) / 2);
  s.forget();
  s.model.give_back();
  s.settle();
  s.check_came(f, buffers, 50);
  CHECK(s.said(one).has(ready::writable));

  // Each in several buffers, from pieces.
  s.model.peer(f).messages.clear();
  s.model.tx = model::sending::ignore;
  const auto a = pattern(100, 1), b = pattern(500, 2);
  auto joined = a;
  joined.insert(joined.end(), b.begin(), b.end());
  u32 taken = 0;
  while (s->try_send_message(one, {const_bytes{a}, const_bytes{b}})) ++taken;
  CHECK(taken == buffers / 3);
  s.model.give_back();
  s.settle();
  REQUIRE(s.model.peer(f).messages.size() == taken);
  for (const auto& came : s.model.peer(f).messages) CHECK(came == vsock_model::message{joined, false});
}

TEST_CASE("vsock staged: small messages that wait count among those that the peer may have unread", "[vsock]") {
  narrow s;
  const auto one = s.talks();
  // Of Linux 6.12.92: some 100 packets of this size, and a quarter of those are allowed
  s.model.set_window(s.flow(one), 64 * 1024);
  s.settle();
  s.model.tx = model::sending::ignore;
  errc last{};
  CHECK(s.say_all(one, 1, last) == 17);
  CHECK(last == errc::no_credit);
  s.model.give_back();
  s.settle();
  s.check_came(s.flow(one), 17, 1);
}

TEST_CASE("vsock staged: shutdown and close follow all messages", "[vsock]") {
  for (const bool closes : {false, true}) {
    narrow s;
    const auto one = s.talks();
    const vsock_flow f = s.flow(one);
    s.model.tx = model::sending::ignore;
    errc last{};
    REQUIRE(s.say_all(one, 20, last) == buffers);
    REQUIRE((closes ? s->close(one) : s->shutdown(one, ends::send)));
    s.forget();
    s.model.give_back();
    s.settle();
    s.check_came(f, buffers, 20);
    CHECK(s.model.count(op::shutdown) == 1);
    s.model.clear();
    s.check_all_free();
  }
}

TEST_CASE("vsock staged: a peer that withdraws room gets the messages piece by piece, whole and in order", "[vsock]") {
  narrow s;
  const auto one = s.talks();
  const vsock_flow f = s.flow(one);
  s.model.tx = model::sending::ignore;
  errc last{};
  REQUIRE(s.say_all(one, 150, last) == buffers);
  s.model.peer(f).reads = false;
  s.model.set_window(f, 40);  // while they wait
  s.settle();
  s.model.give_back();
  s.settle();
  CHECK(s.model.peer(f).messages.size() < buffers);
  CHECK(s.say(one, 1, 10).error() == errc::no_credit);
  for (int i = 0; i < 400; ++i) {
    s.model.set_window(f, 10 + static_cast<u32>(i * 7 % 90));
    s.settle();
    (void)s.model.read(f);
    s.settle();
  }
  s.check_came(f, buffers, 150);
  s.check_all_free();
}

TEST_CASE("vsock staged: an abort, the peer's reset, and a transport reset return their buffers", "[vsock]") {
  for (int how = 0; how < 4; ++how) {
    CAPTURE(how);
    narrow s;
    const auto one = s.talks();
    const vsock_flow f = s.flow(one);
    s.model.tx = model::sending::ignore;
    errc last{};
    REQUIRE(s.say_all(one, 70, last) == buffers);
    if (how == 0) REQUIRE(s->abort(one));
    if (how == 1) s.model.inject(vsock_model::packet(f, vsock_model::reset));
    if (how == 2) s.model.reset_transport(9);
    if (how == 3) {
      auto bye = vsock_model::packet(f, vsock_model::shutdown);
      bye.flags = 1;  // it receives no more
      s.model.inject(bye);
    }
    s.settle();
    s.model.give_back();
    s.settle();
    if (how == 3) REQUIRE(s->abort(one));
    s.settle();
    s.model.clear();
    s.check_all_free();
  }
}

TEST_CASE("vsock staged: a connection that stages all it can leaves others their turn", "[vsock]") {
  narrow s;
  const auto greedy = s.talks(), modest = s.talks();
  const auto other = s.connected();
  u32 messages = 0, bytes = 0, waits = 0, longest = 0;
  errc last{};
  for (int i = 0; i < 3000; ++i) {
    (void)s.say_all(greedy, 1, last, static_cast<u32>(i % 200));
    const bool said = s.say(modest, 1, 600).has_value();
    messages += said;
    waits = said ? 0 : waits + 1;
    longest = waits > longest ? waits : longest;
    bytes += s.offer(other, pattern(200)).has_value();
    (void)s.model.step();
    (void)s.poll();
    s.events.clear();
  }
  CAPTURE(messages, bytes);
  CHECK(messages > 100);
  CHECK(bytes > 100);
  CHECK(longest <= 3 * 17 * 8);  // a step of the model moves little
}

TEST_CASE("vsock staged: after any sends, withdrawals, ends and resets all buffers are free", "[vsock]") {
  narrow s;
  s.model.recording = false;
  std::mt19937 random{11};
  for (int life = 0; life < 30; ++life) {
    struct one {
      vsock::socket who;
      vsock_flow f;
      std::vector<vsock_model::message> said{};
      std::vector<u8> bytes{};
    };
    std::vector<one> all;
    for (u32 i = 0; i < 6; ++i) {
      const auto who = i % 2 == 0 ? s.talks() : s.connected();
      all.push_back({who, s.flow(who)});
    }
    for (int step = 0; step < 400; ++step) {
      one& c = all[random() % all.size()];
      const auto data = pattern(1 + random() % (random() % 3 == 0 ? 900u : 60u), static_cast<u32>(step));
      const const_bytes halves[] = {const_bytes{data.data(), data.size() / 2},
                                    const_bytes{data.data() + data.size() / 2, data.size() - data.size() / 2}};
      switch (random() % 8) {
        case 0:
        case 1:
        case 2:
          if (s->try_send_message(c.who, halves, step % 2 == 0 ? boundary::record : boundary::message))
            c.said.push_back({data, step % 2 == 0});
          if (s->try_send_all(c.who, halves)) c.bytes.insert(c.bytes.end(), data.begin(), data.end());
          break;
        case 3:
          if (const auto n = s->try_send(c.who, data))
            c.bytes.insert(c.bytes.end(), data.begin(), data.begin() + static_cast<long>(*n));
          break;
        case 4: s.model.set_window(c.f, static_cast<u32>(random() % 2000)); break;
        case 5: s.model.tx = random() % 2 == 0 ? model::sending::ignore : model::sending::keep; break;
        case 6: s.model.give_back(); break;
        default: (void)s.model.step(); (void)s.poll();
      }
      if (step % 20 == 0) s.settle();
    }
    s.model.give_back();
    for (one& c : all) s.model.set_window(c.f, 1 << 20);
    for (one& c : all) (void)s->flush(c.who);
    s.settle();
    for (one& c : all) {
      if (!s.model.is_open(c.f)) continue;  // one that withdrew its room while others waited
      CHECK(s.model.peer(c.f).messages == c.said);
      CHECK(s.model.peer(c.f).bytes == c.bytes);
    }
    for (one& c : all) REQUIRE((random() % 2 == 0 ? s->close(c.who) : s->abort(c.who)));
    s.settle();
    s.events.clear();
    s.check_all_free();
  }
}
