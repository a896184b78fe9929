// SPDX-License-Identifier: MIT
// The parts of the socket model, each separately: bytes of a header, one end of a connection, the record. No device is
// present.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <virtio/testing/vsock/host.hpp>
#include <virtio/testing/vsock/peer.hpp>
#include <virtio/testing/vsock/transcript.hpp>
#include <virtio/testing/vsock/wire.hpp>

using namespace virtio::testing;

namespace {

namespace op = vsock_wire;

TEST_CASE("vsock wire: each field of a header is at the specification's offset, and round-trips", "[testing][vsock]") {
  vsock_packet p;
  p.src_cid = 0x0807060504030201;
  p.dst_cid = 0x100f0e0d0c0b0a09;
  p.src_port = 0x14131211;
  p.dst_port = 0x18171615;
  p.len = 0x1c1b1a19;
  p.type = 0x1e1d;
  p.op = 0x201f;
  p.flags = 0x24232221;
  p.buf_alloc = 0x28272625;
  p.fwd_cnt = 0x2c2b2a29;
  std::uint8_t raw[op::header_size]{};
  op::put_header(raw, p);
  for (std::uint8_t i = 0; i < op::header_size; ++i) CHECK(raw[i] == i + 1);

  const vsock_packet back = op::get_header(raw);
  CHECK(back.flow_from_guest() == vsock_flow{p.src_port, p.dst_port, p.dst_cid});
  CHECK(back.flow_to_guest() == vsock_flow{p.dst_port, p.src_port, p.src_cid});
  std::uint8_t again[op::header_size]{};
  op::put_header(again, back);
  CHECK(std::equal(raw, raw + op::header_size, again));
}

// An open connection whose guest may be sent so many bytes.
vsock_peer open_peer(std::uint32_t guest_window) {
  vsock_peer c{1, vsock_peer::state::open, 1000, 0xffff'fff0};
  vsock_packet p;
  p.fwd_cnt = 0xffff'fff0;
  p.buf_alloc = guest_window;
  c.take_credit(p);
  return c;
}
vsock_packet next(vsock_peer& c, std::uint32_t room) {
  vsock_packet p;
  c.add_credit(p);
  c.fill(p, room);
  c.was_delivered(p);
  return p;
}

TEST_CASE("vsock peer: data leaves as room and credit allow, then by the host's behaviour", "[testing][vsock]") {
  const vsock_host quiet = vsock_host::kernel(), asks = vsock_host::firecracker();
  vsock_peer c = open_peer(25);
  CHECK_FALSE(c.has_data(quiet));
  c.put(std::vector<std::uint8_t>(30, 7), 0);
  c.shut(op::both_ends);
  REQUIRE(c.has_data(quiet));
  CHECK(next(c, 20).len == 20);
  CHECK(next(c, 20).len == 5);
  CHECK(c.credit() == 0);
  CHECK(c.unsent() == 5);
  CHECK_FALSE(c.has_data(quiet));
  CHECK_FALSE(c.has_shutdown());  // it follows the data
  REQUIRE(c.has_data(asks));
  CHECK(next(c, 20).op == op::credit_request);
  CHECK_FALSE(c.has_data(asks));  // it has requested credit

  vsock_packet more;
  more.fwd_cnt = 0xffff'fff0 + 25;  // past 2^32
  more.buf_alloc = 25;
  c.take_credit(more);
  CHECK(next(c, 20).len == 5);
  REQUIRE(c.has_shutdown());
  const vsock_packet last = next(c, 20);
  CHECK(last.op == op::shutdown);
  CHECK(last.flags == op::both_ends);
  CHECK(c.is_idle());
}

TEST_CASE("vsock peer: data is consumed at once or by a test's reads, and a message only when it is whole",
          "[testing][vsock]") {
  vsock_peer c = open_peer(0);
  c.type = 2;
  c.reads = false;
  vsock_packet p;
  p.len = 3;
  p.payload = {1, 2, 3};
  c.count(p);
  CHECK_FALSE(c.take(p));
  p.flags = op::end_of_message;
  c.count(p);
  CHECK_FALSE(c.take(p));
  CHECK(c.unread() == 6);
  CHECK(c.unread_packets() == 2);
  c.consume(5);
  CHECK(c.messages.empty());
  c.consume(1);
  REQUIRE(c.messages.size() == 1);
  CHECK(c.messages[0] == vsock_message{{1, 2, 3, 1, 2, 3}, false});
  CHECK(c.consumed == c.received);
}

struct notes : vsock_transcript {
  using vsock_transcript::count_sent;
  using vsock_transcript::note;
};

TEST_CASE("vsock transcript: both directions appear as the guest sees them, with credit on request",
          "[testing][vsock]") {
  notes seen;
  vsock_packet p;
  p.op = op::request;
  p.dst_cid = 2;
  p.src_port = 1024;
  p.dst_port = 80;
  seen.count_sent(p);
  seen.note(false, p);
  p.op = op::credit_update;
  seen.count_sent(p);
  seen.note(false, p);
  vsock_packet answer;
  answer.op = op::data;
  answer.len = 9;
  answer.address({1024, 80});
  seen.note(true, answer);
  CHECK(seen.text() == "> REQUEST 1024:80\n> CREDIT_UPDATE 1024:80\n< RW 1024:80 len=9");
  CHECK(seen.text(false) == "> REQUEST 1024:80\n< RW 1024:80 len=9");
  CHECK(seen.count(op::request) == 1);
  CHECK(seen.last({1024, 80})->op == op::credit_update);
  seen.recording = false;
  seen.note(true, answer);
  CHECK(seen.record().size() == 3);
  CHECK(seen.packets() == 4);
}

}  // namespace
