// SPDX-License-Identifier: MIT
// Messages (seqpacket): their ends and those of records, however they are split into packets; messages that are too
// long; messages of one byte.
#include <vector>

#include "vsock.hpp"

using namespace virtio;
using vsock::kind;

namespace {

constexpr vsock::limits layout{.connections = 4,
                               .receive_packet = 256,
                               .receive_buffer = 1024,
                               .send_packet = 256,
                               .send_packets = 8,
                               .messages = true};
constexpr u32 port = 5500;
using model = vsock_model;

struct started : rig::basic_sockets<layout> {
  explicit started(rig::vsock_options options = {}) : rig::basic_sockets<layout>{std::move(options)} {
    this->model.ports[port] = vsock_model::reception::accepts;
    REQUIRE(begin());
  }
  vsock::socket talks() {
    const auto one = d->try_connect({vsock::host_cid, port}, kind::seqpacket);
    REQUIRE(one);
    settle();
    REQUIRE(said(*one).has(vsock::ready::connected));
    return *one;
  }
  result<void> say(vsock::socket s, const std::vector<u8>& all, bool record = false) {
    return d->try_send_message(s, const_bytes{all.data(), all.size()},
                               record ? vsock::boundary::record : vsock::boundary::message);
  }
  /// The next message; bytes after its size are unchanged.
  std::pair<std::vector<u8>, bool> next(vsock::socket s) {
    std::vector<u8> into(2000, 0xee);
    settle();
    const auto got = d->try_receive_message(s, into);
    REQUIRE(got);
    for (usize i = got->size; i < into.size(); ++i) REQUIRE(into[i] == 0xee);
    into.resize(got->size);
    return {into, got->ends_record};
  }
};

}  // namespace

TEST_CASE("vsock messages: each arrives whole, with its end and its record's", "[vsock]") {
  started s;
  const auto one = s.talks();
  const vsock_flow f = s.flow(one);
  for (const usize size : {1u, 2u, 255u, 256u, 257u, 511u, 700u, 1000u, 1u}) {
    const bool record = size % 2 != 0;
    CHECK(s.say(one, pattern(size), record));
    s.settle();
    REQUIRE(!s.model.peer(f).messages.empty());
    CHECK(s.model.peer(f).messages.back() == model::message{pattern(size), record});
    s.model.send_message(f, pattern(size), record);
    const auto [bytes, ends] = s.next(one);
    CHECK(bytes == pattern(size));
    CHECK(ends == record);
  }
  u8 into[10];
  CHECK(s->try_receive_message(one, into).error() == errc::not_ready);
}

TEST_CASE("vsock messages: many small ones stay separate, and need no more memory than was promised", "[vsock]") {
  started s;
  const auto one = s.talks();
  const vsock_flow f = s.flow(one);
  for (int i = 0; i < 3000; ++i) s.model.send_message(f, {static_cast<u8>(i)}, i % 3 == 0);
  for (int i = 0; i < 3000; ++i) {
    const auto [bytes, ends] = s.next(one);
    REQUIRE(bytes == std::vector<u8>{static_cast<u8>(i)});
    REQUIRE(ends == (i % 3 == 0));
  }
  CHECK(s.model.is_open(f));
}

TEST_CASE("vsock messages: one longer than the caller's buffer is skipped and reported", "[vsock]") {
  started s;
  const auto one = s.talks();
  const vsock_flow f = s.flow(one);
  s.model.send_message(f, pattern(600));
  s.model.send_message(f, pattern(5));
  s.settle();
  std::vector<u8> into(599, 0xee);
  CHECK(s->try_receive_message(one, into).error() == errc::too_long);
  CHECK(into == std::vector<u8>(599, 0xee));
  CHECK(s.next(one).first == pattern(5));
}

TEST_CASE("vsock messages: one longer than the window is skipped to its end, and the next one arrives", "[vsock]") {
  started s;
  const auto one = s.talks();
  const vsock_flow f = s.flow(one);
  s.model.send_message(f, pattern(5000));
  s.model.send_message(f, pattern(7), true);
  std::vector<u8> into(8000);
  u32 too_long = 0;
  for (int turn = 0; turn < 100; ++turn) {
    s.settle();
    const auto got = s->try_receive_message(one, into);
    if (got) {
      CHECK(got->size == 7);
      CHECK(got->ends_record);
      break;
    }
    if (got.error() == errc::too_long) ++too_long;
    else REQUIRE(got.error() == errc::not_ready);
  }
  CHECK(too_long == 1);
  s.model.send_message(f, pattern(900));
  CHECK(s.next(one).first == pattern(900));
}

TEST_CASE("vsock messages: an end in a packet of its own counts", "[vsock]") {
  started s;
  const auto one = s.talks();
  const vsock_flow f = s.flow(one);
  s.model.send(f, pattern(10));
  s.settle();
  u8 into[20];
  CHECK(s->try_receive_message(one, into).error() == errc::not_ready);
  s.forget();
  auto end = vsock_model::packet(f, vsock_model::data);
  end.type = 2;
  end.flags = vsock_model::end_of_message;
  s.model.inject(end);
  s.settle();
  CHECK(s.said(one).has(vsock::ready::readable));
  CHECK(s.next(one).first == pattern(10));
}

TEST_CASE("vsock messages: a message that is too long, empty or of the other kind is refused without effect",
          "[vsock]") {
  started s;
  const auto one = s.talks();
  CHECK(s.say(one, pattern(layout.send_packet * layout.send_packets + 1)).error() == errc::too_long);
  CHECK(s->try_send_message(one, bytes{}).error() == errc::invalid_argument);
  u8 some[4]{};
  CHECK(s->try_send(one, some).error() == errc::invalid_argument);
  u8 into[4];
  CHECK(s->try_receive(one, into).error() == errc::invalid_argument);
  CHECK(s->receive_with(one, [](const_bytes all) { return all.size(); }).error() == errc::invalid_argument);
  const auto stream = s.connected();
  CHECK(s.say(stream, pattern(1)).error() == errc::invalid_argument);
  CHECK(s->try_receive_message(stream, into).error() == errc::invalid_argument);
  CHECK(s.say(one, pattern(3)));
  s.settle();
  CHECK(s.model.peer(s.flow(one)).messages.size() == 1);
}

TEST_CASE("vsock messages: nothing of a message is sent to a peer without room, and all of it later", "[vsock]") {
  started s;
  const auto one = s.talks();
  const vsock_flow f = s.flow(one);
  s.model.peer(f).reads = false;
  s.model.set_window(f, 1000);
  s.settle();
  CHECK(s.say(one, pattern(600)));
  s.settle();
  CHECK(s.say(one, pattern(600)).error() == errc::no_credit);
  s.settle();
  CHECK(s.model.peer(f).unread() == 600);
  CHECK(s.say(one, pattern(600)).error() == errc::no_credit);
  s.forget();
  (void)s.model.read(f);
  s.settle();
  CHECK(s.said(one).has(vsock::ready::writable));
  CHECK(s.say(one, pattern(600)));
  s.settle();
  (void)s.model.read(f);
  CHECK(s.model.peer(f).messages.size() == 2);
}

TEST_CASE("vsock messages: a listener accepts only its own kind, and packets of the other kind are answered with RST",
          "[vsock]") {
  started s;
  REQUIRE(s->listen(80, 2, kind::seqpacket));
  (void)s.model.connect(80, 6000, 1);
  s.settle();
  CHECK(s->try_accept(80).error() == errc::not_ready);
  CHECK(s.model.count(vsock_model::reset) == 1);
  const vsock_flow f = s.model.connect(80, 6001, 2);
  s.settle();
  const auto one = s->try_accept(80);
  REQUIRE(one);
  s.model.inject(vsock_model::packet(f, vsock_model::data, pattern(3)));  // of a stream
  s.settle();
  CHECK(s.model.count(vsock_model::reset) == 2);
}

TEST_CASE("vsock messages: without them on either side they are refused with their error [VSOCK-03]", "[vsock]") {
  SECTION("the device has none") {
    rig::vsock_options options;
    options.host = rig::vsock_host::vhost_device();
    started s{std::move(options)};
    CHECK(s->try_connect({2, port}, kind::seqpacket).error() == errc::unsupported);
    CHECK(s->listen(80, 1, kind::seqpacket).error() == errc::unsupported);
    CHECK(s->try_connect({2, port}));
  }
  SECTION("the driver is configured without them") {
    sockets s;
    REQUIRE(s.begin());
    CHECK(s->try_connect({2, port}, kind::seqpacket).error() == errc::unsupported);
    CHECK(!s->features().has(vsock::feature::seqpacket));
  }
}
