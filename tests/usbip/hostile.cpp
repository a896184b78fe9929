// SPDX-License-Identifier: MIT
// Peers that violate the protocol, break the stream or break promises; and two failures reported from the field.
#include <catch2/catch_test_macros.hpp>

#include <cstring>

#include "rig.hpp"

using bytes = client::bytes;
using usbip::end;
using usbip::fault;

namespace {

bytes submit_header(std::uint32_t seqnum = 1) {
  bytes message(48);
  client::put(message, 0, 1);
  client::put(message, 4, seqnum);
  client::put(message, 12, 1);
  client::put(message, 0x18, 18);
  const bytes setup = client::setup(0x80, 6, 0x0100, 0, 18);
  for (std::size_t at = 0; at < 8; ++at) message[0x28 + at] = setup[at];
  return message;
}

/// A session whose peer has sent only `message`.
struct against : usb_rig::session<> {
  against(usb_rig::devices& d, const bytes& message, bool bridge) {
    bridge ? connection.bridge(d.all, 0) : connection.serve(d.all);
    host.send(message);
    run();
  }
};

}  // namespace

TEST_CASE("usbip field report: a header is 48 bytes with its setup, and is answered after the last byte",
          "[usbip][hostile]") {
  // A bridge requested 20 + 28 + 8 bytes and received an end of file, although the kernel had sent all its bytes.
  usb_rig::devices d;
  usb_rig::session s;
  s.connection.bridge(d.all, 0);
  const bytes header = submit_header();
  REQUIRE(header.size() == 48);
  for (std::size_t at = 0; at < 48; ++at) {
    CHECK(s.stream.to_peer.empty());
    s.host.send({header[at]});
    s.run();
  }
  REQUIRE(s.stream.to_peer.size() == 48 + 18);
  CHECK(client::be(s.stream.to_peer, 0, 4) == 3);
  CHECK(client::be(s.stream.to_peer, 0x18, 4) == 18);
  CHECK(s.stream.to_peer[48] == 18);
}

TEST_CASE("usbip field report: URBs instead of an import end with an error that names both", "[usbip][hostile]") {
  usb_rig::devices d;
  against s{d, submit_header(), false};
  const usbip::ending& e = s.connection.ending();
  CHECK(e.how == end::wrong);
  CHECK(e.why == fault::urbs_where_operation_due);
  CHECK(e.what == usbip::due::operation);
  CHECK(std::string(describe(e)).find("the peer sends URBs where a list or an import is expected") == 0);
  CHECK(std::string(describe(e)).find("bridge mode") != std::string::npos);
  CHECK(e.received == 8);  // of 48 bytes
  CHECK(bytes(e.first, e.first + 4) == bytes{0, 0, 0, 1});
  CHECK(s.stream.to_peer.empty());
  CHECK_FALSE(d.all.is_taken(0));
}

TEST_CASE("usbip field report: an import instead of URBs ends with an error that names both", "[usbip][hostile]") {
  for (const std::uint8_t code : {std::uint8_t{3}, std::uint8_t{5}}) {
    usb_rig::devices d;
    // Detected after four bytes: a list request has only eight, and then the peer waits for an answer.
    against s{d, {1, 0x11, 0x80, code}, true};
    const usbip::ending& e = s.connection.ending();
    CHECK(e.how == end::wrong);
    CHECK(e.why == fault::operation_where_urbs_due);
    CHECK(e.what == usbip::due::urb);
    CHECK(std::string(describe(e)).find("the peer requests a list or an import where URBs are expected") == 0);
    CHECK(std::string(describe(e)).find("server mode") != std::string::npos);
    CHECK(bytes(e.first, e.first + 4) == bytes{1, 0x11, 0x80, code});
    CHECK(s.stream.to_peer.empty());
    CHECK_FALSE(d.all.is_taken(0));
  }
}

TEST_CASE("usbip hostile: every invalid field of a first message ends the connection with its reason",
          "[usbip][hostile]") {
  const auto why = [](const bytes& message) {
    usb_rig::devices d;
    against s{d, message, false};
    CHECK(s.connection.ending().how == end::wrong);
    CHECK(s.stream.to_peer.empty());
    return s.connection.ending().why;
  };
  CHECK(why({1, 0x10, 0x80, 5, 0, 0, 0, 0}) == fault::wrong_version);
  CHECK(why({1, 0x11, 0x80, 4, 0, 0, 0, 0}) == fault::unknown_operation);
  CHECK(why({1, 0x11, 0, 5, 0, 0, 0, 0}) == fault::unknown_operation);
  CHECK(why({1, 0x11, 0x80, 5, 0, 0, 0, 1}) == fault::failed);
  bytes endless{1, 0x11, 0x80, 3, 0, 0, 0, 0};
  endless.resize(40, 'x');
  CHECK(why(endless) == fault::unterminated_text);
  const char get[] = "GET / HTTP/1.1";
  CHECK(why(bytes(get, get + sizeof get)) == fault::wrong_version);
}

TEST_CASE("usbip hostile: every invalid field of a URB ends the connection with its reason, the rest is answered",
          "[usbip][hostile]") {
  for (std::size_t field = 0; field < 48; field += 4) {
    for (const std::uint32_t value : {0u, 1u, 2u, 3u, 16u, 0x7fffffffu, 0x80000000u, 0xfffffffeu, 0xffffffffu}) {
      bytes message = submit_header();
      client::put(message, field, value);
      message.resize(message.size() + 100);
      usb_rig::devices d;
      against s{d, message, true};
      INFO("field " << field << " value " << value);
      const usbip::ending& e = s.connection.ending();
      // The hundred zeros after it are not a command, unless data or entries of packets are still expected.
      if (e.how == end::none) {
        CHECK((field == 12 || field == 0x20));
        CHECK(s.connection.outstanding() == 1);
      } else {
        CHECK(e.how == end::wrong);
        const bool at_once = e.received == 48;
        const fault expected = field == 0 && value != 1 && value != 2                 ? fault::unknown_command
                               : field == 12 && value > 1                             ? fault::wrong_direction
                               : field == 16 && value > 15                            ? fault::wrong_endpoint
                               : field == 0x18 && value > (16u << 20)                 ? fault::too_long
                               : field == 0x20 && value > 1024 && value != 0xffffffff ? fault::too_many_packets
                                                                                      : fault::none;
        CHECK(at_once == (expected != fault::none));
        CHECK(e.why == (at_once ? expected : fault::unknown_command));
      }
      CHECK(d.all.is_taken(0) == (e.how == end::none));
    }
  }
}

TEST_CASE("usbip hostile: a number that is already outstanding ends the connection", "[usbip][hostile]") {
  usb_rig::devices d;
  usb_rig::session s;
  s.connection.bridge(d.all, 0);
  s.configure();
  bytes waits = submit_header(77);
  client::put(waits, 16, 2);
  s.host.send(waits);
  s.run();
  CHECK(s.connection.outstanding() == 1);
  s.host.send(waits);
  CHECK(s.run() == usbip::activity::ended);
  CHECK(s.connection.ending().why == fault::seqnum_in_use);
  CHECK_FALSE(d.drivers[0].is_open());
}

TEST_CASE("usbip hostile: the stream ends at every byte, and the end reports where", "[usbip][hostile]") {
  // An import, the enumeration's first request, and a transfer with data.
  bytes all{1, 0x11, 0x80, 3, 0, 0, 0, 0, '1', '-', '1'};
  all.resize(40);
  const auto append = [&](const bytes& more) { all.insert(all.end(), more.begin(), more.end()); };
  append(submit_header());
  bytes configure = submit_header(2);
  client::put(configure, 12, 0);
  client::put(configure, 0x18, 0);
  const bytes setup = client::setup(0, 9, 1, 0, 0);
  for (std::size_t at = 0; at < 8; ++at) configure[0x28 + at] = setup[at];
  append(configure);
  bytes out = submit_header(3);
  client::put(out, 12, 0);
  client::put(out, 16, 1);
  client::put(out, 0x18, 50);
  append(out);
  append(bytes(50, 7));

  for (const auto state : {usbip::stream_state::closed, usbip::stream_state::broken}) {
    for (std::size_t size = 0; size <= all.size(); ++size) {
      usb_rig::devices d;
      usb_rig::session s;
      s.connection.serve(d.all);
      s.host.send(bytes(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size)));
      s.stream.end = state;
      INFO("ends after " << size << " bytes");
      CHECK(s.run() == usbip::activity::ended);
      const usbip::ending& e = s.connection.ending();
      CHECK(e.received == size);
      CHECK_FALSE(d.all.is_taken(0));
      CHECK_FALSE(d.drivers[0].is_open());
      if (state == usbip::stream_state::broken) {
        CHECK(e.how == end::broken);
        continue;
      }
      const bool between = size == 40 || size == 88 || size == 136 || size == all.size();
      CHECK(e.how == (size == 0 ? end::never_spoke : between ? end::closed : end::cut_off));
      if (e.how != end::cut_off) continue;
      if (size < 40) CHECK((e.what == usbip::due::operation && e.had == size && e.needed == (size < 8 ? 8 : 40)));
      if (size > 40 && size < 184) CHECK((e.what == usbip::due::urb && e.had == (size - 40) % 48 && e.needed == 48));
      if (size >= 184) CHECK((e.what == usbip::due::data && e.had == size - 184 && e.needed == 50));
    }
  }
}

TEST_CASE("usbip hostile: a peer that closes without a byte differs from one that stays silent", "[usbip][hostile]") {
  usb_rig::devices d;
  for (const bool bridge : {false, true}) {
    usb_rig::session closed, silent;
    for (usb_rig::session<>* s : {&closed, &silent})
      bridge ? s->connection.bridge(d.all, s == &closed ? 0 : 1) : s->connection.serve(d.all);
    closed.stream.end = usbip::stream_state::closed;
    CHECK(closed.run() == usbip::activity::ended);
    CHECK(closed.connection.ending().how == end::never_spoke);
    CHECK(closed.connection.ending().received == 0);

    CHECK(silent.run() == usbip::activity::idle);
    CHECK(silent.connection.ending().how == end::none);
    silent.connection.stop();  // as a caller does after a time-out
    CHECK(silent.run() == usbip::activity::ended);
    CHECK(silent.connection.ending().how == end::silent);
    CHECK_FALSE(d.all.is_taken(1));
  }
}

TEST_CASE("usbip hostile: half a message holds only its connection, and the caller's end has the count",
          "[usbip][hostile]") {
  usb_rig::devices d;
  usb_rig::session s;
  s.connection.serve(d.all);
  s.host.send({1, 0x11, 0x80, 3, 0, 0, 0, 0, '1', '-'});
  for (int turn = 0; turn < 100; ++turn) (void)s.connection.poll(s.stream);
  const std::size_t calls = s.stream.calls;
  CHECK(s.connection.poll(s.stream) == usbip::activity::idle);
  CHECK(s.stream.calls - calls <= 2);
  usb_rig::session other;
  other.import(d, "1-1");
  CHECK(other.connection.device() == 0);
  s.connection.stop();
  const usbip::ending& e = s.connection.ending();
  CHECK((e.how == end::stopped && e.received == 10 && e.had == 10 && e.needed == 40));
}

TEST_CASE("usbip hostile: lengths of 0 and of 2^32-1", "[usbip][hostile]") {
  usb_rig::devices d;
  usb_rig::session s;
  s.connection.bridge(d.all, 0);
  s.configure();
  CHECK(s.ask(s.host.submit_out(1, {})).status == 0);
  const auto in = s.host.submit_in(1, 0);
  s.talk();
  CHECK_FALSE(s.host.has(in));  // no data for an answer yet
  s.host.submit_out(1, bytes{1});
  s.talk();
  CHECK((s.host.has(in) && s.host.answers[in].actual == 0));
  CHECK(s.host.objections().empty());
  for (const std::uint32_t length : {(16u << 20) + 1, 0xffffffffu}) {
    for (const std::uint32_t way : {0u, 1u}) {
      bytes message = submit_header(9);
      client::put(message, 12, way);
      client::put(message, 0x18, length);
      usb_rig::devices others;
      against t{others, message, true};
      CHECK(t.connection.ending().why == fault::too_long);
    }
  }
}

TEST_CASE("usbip hostile: a peer that reads nothing stops the engine, and nothing is lost", "[usbip][hostile]") {
  usb_rig::devices d;
  usb_rig::session s;
  s.connection.bridge(d.all, 0);
  s.configure();
  s.stream.room = 0;
  for (int n = 0; n < 100; ++n) s.host.control_in(0x80, 6, 0x0100, 0, 18);
  s.run();
  CHECK(s.connection.outstanding() == 32);
  for (std::size_t room = 1; s.host.outstanding() != 0; room = room % 97 + 1) {
    s.stream.room = s.stream.to_peer.size() + room;
    s.run();
    s.host.take_answers();
    REQUIRE(s.host.objections().empty());
  }
  CHECK(s.host.order.size() == 101);
}

TEST_CASE("usbip hostile: an ended connection does not touch its stream, and works again after a restart",
          "[usbip][hostile]") {
  usb_rig::devices d;
  usb_rig::session s;
  CHECK(s.run() == usbip::activity::ended);  // never begun
  s.connection.serve(d.all);
  s.connection.stop();
  const std::size_t calls = s.stream.calls;
  for (int turn = 0; turn < 3; ++turn) CHECK(s.connection.poll(s.stream) == usbip::activity::ended);
  CHECK(s.stream.calls == calls);
  s.import(d, "1-1");
  CHECK(s.connection.device() == 0);
  CHECK(s.host.objections().empty());
}
