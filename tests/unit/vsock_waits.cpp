// SPDX-License-Identifier: MIT
// Calls of a stream that wait: for what they wait, what ends them, and that the state is then unchanged.
#include "vsock.hpp"

using namespace virtio;
using vsock::boundary;
using vsock::kind;

namespace {

constexpr vsock::limits layout{.connections = 8,
                               .receive_packet = 256,
                               .receive_buffer = 2048,
                               .send_packet = 2048,
                               .send_packets = 8,
                               .messages = true};

struct started : rig::basic_sockets<layout> {
  started() {
    this->model.offer({1});
    m.expect_objections = true;
    REQUIRE(begin());
  }
  auto connect(kind what = kind::stream) {
    auto made = d->connect(rig::echo, what);
    REQUIRE(made);
    return *made;
  }
  /// The host does this at the n-th step of a wait.
  template <class F>
  void after(int turns, F act) {
    m.memory.on_wait = [this, turns, act](waiting, u64) mutable {
      if (turns-- == 0) act();
      (void)this->model.step();
    };
  }
};
struct in_turns {
  int left;
  bool operator()() { return left-- == 0; }
};

std::vector<u8> copy(const vsock::arrived& here) {
  std::vector<u8> all(here.size());
  (void)here.copy_to(0, all);
  return all;
}

}  // namespace

TEST_CASE("vsock waits: pieces are sent together after the peer has room, and none before", "[vsock]") {
  started s;
  auto one = s.connect();
  const auto f = s.flow(one.id());
  s.end(one.id()).reads = false;
  while (s.offer(one.id(), pattern(2048))) s.settle();
  const u64 before = s.end(one.id()).arrived;
  const auto head = pattern(4, 1), frame = pattern(5000, 2);
  CHECK(one.send_all({const_bytes{head}, const_bytes{frame}}).error() == errc::peer_silent);
  CHECK(one.send_all({const_bytes{head}, const_bytes{frame}}, in_turns{5}).error() == errc::canceled);
  CHECK(s.end(one.id()).arrived == before);
  s.after(3, [&] {
    (void)s.model.read(f);
    s.end(one.id()).reads = true;
  });
  s.model.peer(f).bytes.clear();
  REQUIRE(one.send_all({const_bytes{head}, const_bytes{frame}}));
  s.settle();
  auto both = head;
  both.insert(both.end(), frame.begin(), frame.end());
  auto& came = s.model.peer(f).bytes;
  REQUIRE(came.size() >= both.size());
  CHECK(std::equal(both.begin(), both.end(), came.end() - static_cast<long>(both.size())));
  CHECK(one.send_all(scatter<const_bytes>{}));
}

TEST_CASE("vsock waits: a send that is given up leaves the rest to the caller", "[vsock]") {
  started s;
  auto one = s.connect();
  s.end(one.id()).reads = false;
  const u32 room = *s->room(one.id());
  const auto all = pattern(room + 1000);
  const_bytes left{all.data(), all.size()};
  CHECK(one.send_from(left, in_turns{200}).error() == errc::canceled);
  CHECK(left.size() == 1000);
  CHECK(one.send(left, in_turns{0}).error() == errc::canceled);
  s.after(2, [&] { s.model.inject(vsock_model::packet(s.flow(one.id()), vsock_model::reset)); });
  CHECK(one.send_from(left).error() == errc::peer_reset);
  CHECK(left.size() == 1000);
}

TEST_CASE("vsock waits: a send ends when the peer stops receiving", "[vsock]") {
  started s;
  auto one = s.connect();
  s.end(one.id()).reads = false;
  while (s.offer(one.id(), pattern(2048))) s.settle();
  s.after(2, [&] {
    auto bye = vsock_model::packet(s.flow(one.id()), vsock_model::shutdown);
    bye.flags = 1;
    s.model.inject(bye);
  });
  u8 some[10]{};
  CHECK(one.send(some).error() == errc::peer_closed);
}

TEST_CASE("vsock waits: a call waits for a frame across buffers, and shows it whole", "[vsock]") {
  started s;
  auto one = s.connect();
  const auto f = s.flow(one.id());
  const auto frame = pattern(1000, 4);
  int looks = 0;
  const auto whole = [&](const vsock::arrived& here) -> usize {
    ++looks;
    if (here.size() < frame.size()) return 0;
    CHECK(copy(here) == frame);
    return frame.size();
  };
  s.model.send(f, {frame.data(), frame.data() + 600});
  s.after(10, [&] { s.model.send(f, {frame.data() + 600, frame.data() + 1000}); });
  const auto got = one.receive_with(whole);
  REQUIRE(got);
  CHECK(*got == 1000);
  CHECK(looks <= 5);  // once for each arrival, not on each step

  s.after(-1, [] {});
  s.model.send(f, pattern(5));
  CHECK(one.receive_with(whole).error() == errc::peer_silent);
  CHECK(one.receive_with(whole, in_turns{3}).error() == errc::canceled);
  CHECK(*s->unread(one.id()) == 5);
  const auto first = one.receive_with([](const_bytes here) { return here.size(); });
  REQUIRE(first);
  CHECK(*first == 5);
}

TEST_CASE("vsock waits: a frame that cannot arrive whole is reported instead of awaited without end", "[vsock]") {
  started s;
  auto one = s.connect();
  const auto f = s.flow(one.id());
  const auto too_much = [](const vsock::arrived& here) -> usize { return here.size() > 100'000 ? 1 : 0; };
  SECTION("the peer ends within it") {
    s.model.send(f, pattern(300));
    s.after(5, [&] { s.model.shut(f, 3); });
    CHECK(one.receive_with(too_much).error() == errc::peer_closed);
    CHECK(*s->unread(one.id()) == 300);
  }
  SECTION("the peer resets within it") {
    s.model.send(f, pattern(300));
    s.after(5, [&] { s.model.inject(vsock_model::packet(f, vsock_model::reset)); });
    CHECK(one.receive_with(too_much).error() == errc::peer_reset);
  }
  SECTION("it is longer than the peer may send ahead") {
    s.model.send(f, pattern(50'000));
    CHECK(one.receive_with(too_much).error() == errc::too_long);
    CHECK(*s->unread(one.id()) == layout.receive_buffer);
    CHECK(s.receive(one.id(), 50'000) == pattern(50'000));
  }
  SECTION("no byte has arrived") {
    CHECK(one.receive_with(too_much).error() == errc::peer_silent);
    REQUIRE(one.abort());
    CHECK(one.receive_with(too_much).error() == errc::stale_handle);
  }
}

TEST_CASE("vsock waits: messages both ways, from pieces and in place, and given up", "[vsock]") {
  started s;
  auto one = s.connect(kind::seqpacket);
  const auto f = s.flow(one.id());
  const auto a = pattern(10, 1), b = pattern(900, 2);
  auto both = a;
  both.insert(both.end(), b.begin(), b.end());
  u8 into[2000];
  CHECK(one.receive_message(into).error() == errc::peer_silent);
  CHECK(one.receive_message(into, in_turns{4}).error() == errc::canceled);
  s.after(4, [&] { s.model.send_message(f, both, true); });
  const auto got = one.receive_message_with([&](const vsock::arrived& here, boundary end) {
    CHECK(copy(here) == both);
    CHECK(end == boundary::record);
  });
  REQUIRE(got);
  CHECK(got->size == both.size());

  s.after(-1, [] {});
  s.end(one.id()).reads = false;
  s.model.set_window(f, 1000);
  s.settle();
  REQUIRE(one.send_message({const_bytes{a}, const_bytes{b}}, boundary::record));
  CHECK(one.send_message({const_bytes{a}, const_bytes{b}}).error() == errc::peer_silent);
  CHECK(one.send_message(const_bytes{b.data(), b.size()}, boundary::message, in_turns{4}).error() == errc::canceled);
  s.after(4, [&] { (void)s.model.read(f); });
  REQUIRE(one.send_message({const_bytes{a}, const_bytes{b}}));
  s.settle();
  (void)s.model.read(f);
  REQUIRE(s.model.peer(f).messages.size() == 2);
  CHECK(s.model.peer(f).messages[0] == vsock_model::message{both, true});
  CHECK(s.model.peer(f).messages[1] == vsock_model::message{both, false});
}

TEST_CASE("vsock waits: a close that is given up resets the connection", "[vsock]") {
  started s;
  auto one = s.connect();
  const auto f = s.flow(one.id());
  s.model.tx = op::sending::ignore;
  CHECK(one.close(in_turns{3}).error() == errc::canceled);
  s.model.give_back();
  s.settle();
  CHECK_FALSE(s.model.is_open(f));
  CHECK(one.flush().error() == errc::stale_handle);
}
