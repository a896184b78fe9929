// SPDX-License-Identifier: MIT
// Received bytes that are shown in place: all of them at once, in pieces, and unchanged as long as they are shown.
#include <catch2/generators/catch_generators.hpp>

#include <vector>

#include "vsock.hpp"

using namespace virtio;

namespace {

std::vector<u8> joined(const vsock::arrived& here) {
  std::vector<u8> all;
  for (const const_bytes piece : here) all.insert(all.end(), piece.data(), piece.data() + piece.size());
  CHECK(all.size() == here.size());
  return all;
}

constexpr vsock::limits with_messages{
    .connections = 4, .receive_packet = 256, .receive_buffer = 4096, .messages = true};

}  // namespace

TEST_CASE("vsock in place: a frame across buffers is visible as a whole", "[vsock]") {
  sockets s;
  REQUIRE(s.begin());
  const auto one = s.connected();
  const auto all = pattern(30'000);
  s.model.send(s.flow(one), all);
  s.settle();
  usize done = 0;
  while (done < all.size()) {  // frames of 5000 bytes, in buffers of 4096
    const auto got = s->receive_with(one, [&](const vsock::arrived& here) -> usize {
      CHECK(joined(here) == pattern(all.size() - done, 1, done));
      u8 middle[100];
      CHECK(here.copy_to(4050, middle) == 100);
      CHECK(std::vector<u8>(middle, middle + 100) == pattern(100, 1, done + 4050));
      u8 last[100];
      CHECK(here.copy_to(here.size() - 7, last) == 7);
      CHECK(here.copy_to(here.size(), last) == 0);
      return 5000;
    });
    REQUIRE(got);
    CHECK(*got == 5000);
    done += *got;
  }
  CHECK(s->receive_with(one, [](const vsock::arrived&) { return 1; }).error() == errc::not_ready);
  s.check_works(one);
}

TEST_CASE("vsock in place: shown bytes stay in place while the callback closes, aborts, reads and polls",
          "[vsock][hostile]") {
  sockets s;
  REQUIRE(s.begin());
  const int how = GENERATE(0, 1, 2, 3);
  CAPTURE(how);
  for (int round = 0; round < 20; ++round) {
    const auto one = s.connected(), other = s.connected();
    const auto f = s.flow(other);
    s.model.send(s.flow(one), pattern(10'000));
    s.settle();
    bool called = false;
    const auto got = s->receive_with(one, [&](const vsock::arrived& here) {
      called = true;
      std::vector<u8> into(6000);
      if (how == 0) REQUIRE(s->close(one));
      if (how == 1) REQUIRE(s->abort(one));
      if (how == 2) REQUIRE(s->try_receive(one, into));
      CHECK(s->receive_with(one, [](const_bytes) { return 0; }).error() ==
            (how < 2 ? errc::stale_handle : errc::in_use));
      for (int i = 0; i < 200; ++i) {
        s.model.send(f, std::vector<u8>(4096, 0xee));
        s.settle();
        (void)s.drained(other, 4096);
      }
      CHECK(joined(here) == pattern(10'000));
      return here.size();
    });
    CHECK(called);
    CHECK(got.error() == (how < 2 ? errc::stale_handle : how == 2 ? errc::in_use : errc::ok));
    s.check_works(other);
    if (how == 2) CHECK(s.drained(one).first == pattern(4000, 1, 6000));
    if (how >= 2) REQUIRE(s->close(one));
    REQUIRE(s->close(other));
    s.settle();
  }
}

TEST_CASE("vsock in place: a message is shown whole, in pieces, and with its end", "[vsock]") {
  rig::basic_sockets<with_messages> s;
  REQUIRE(s.begin());
  const auto one = s->try_connect(rig::echo, vsock::kind::seqpacket);
  REQUIRE(one);
  s.settle();
  const vsock_flow f = s.flow(*one);
  s.model.send_message(f, pattern(1000), true);
  s.model.send_message(f, pattern(3));
  s.settle();
  vsock::boundary end{};
  std::vector<u8> seen;
  const auto look = [&](const vsock::arrived& here, vsock::boundary what) {
    seen = joined(here);
    end = what;
  };
  auto got = s->receive_message_with(*one, look);
  REQUIRE(got);
  CHECK(got->size == 1000);
  CHECK(got->ends_record);
  CHECK(end == vsock::boundary::record);
  CHECK(seen == pattern(1000));
  got = s->receive_message_with(*one, look);
  REQUIRE(got);
  CHECK(seen == pattern(3));
  CHECK(end == vsock::boundary::message);
  CHECK(s->receive_message_with(*one, look).error() == errc::not_ready);
}
