// SPDX-License-Identifier: MIT
// The table of outstanding URBs: unlinks, order, floods, and rejected URBs that do not break the stream.
#include <catch2/catch_test_macros.hpp>

#include "rig.hpp"

using bytes = client::bytes;

namespace {

constexpr std::uint32_t data_endpoint = 1, news_endpoint = 2;

struct bridged : usb_rig::session<> {
  explicit bridged(usb_rig::devices& d) {
    connection.bridge(d.all, 0);
    configure();
  }
};

/// A device whose answer depends on the transfer's length: none for 1, more bytes than requested for 2, otherwise a
/// full answer.
struct obedient {
  unsigned asked_about_later = 0;
  std::uint8_t data[64] = {};

  usbip::device_record record() const { return {}; }
  usbip::interface_record interface_of(usbip::u8) const { return {}; }
  bool has(usbip::u8) const { return true; }
  void attach() {}
  void detach() {}
  usbip::room room_for(const usbip::transfer& t) { return usbip::room::drop(t.length); }
  void arrived(const usbip::transfer&, usbip::u32) {}
  usbip::answer answer_to(const usbip::transfer& t) {
    if (t.length == 1) return usbip::answer::not_yet();
    if (t.length == 2) return usbip::answer::good(64);
    ++asked_about_later;
    return usbip::answer::good(t.length);
  }
  usbip::const_bytes piece_of(const usbip::transfer& t) { return {data + t.done, 64 - t.done}; }
  void sent(const usbip::transfer&, usbip::u32) {}
  void canceled(const usbip::transfer&) {}
  void poll() {}
};

template <class S>
void well(const S& s) {
  CHECK(s.host.objections().empty());
}

}  // namespace

TEST_CASE("usbip bridge: nothing is sent before the kernel has sent, and then only answers", "[usbip][engine]") {
  usb_rig::devices d;
  usb_rig::session s;
  s.connection.bridge(d.all, 1);
  for (int turn = 0; turn < 10; ++turn) CHECK(s.connection.poll(s.stream) == usbip::activity::idle);
  CHECK(s.stream.to_peer.empty());
  CHECK(s.connection.device() == 1);
  CHECK(s.ask(s.host.control_in(0x80, 6, 0x0100, 0, 18)).data.size() == 18);
  CHECK(s.stream.to_peer.empty());
  well(s);

  usb_rig::session second;
  second.connection.bridge(d.all, 1);
  CHECK(second.run() == usbip::activity::ended);
  CHECK(second.connection.ending().how == usbip::end::taken);
  CHECK(d.all.is_taken(1));
  second.connection.bridge(d.all, 2);
  CHECK(second.run() == usbip::activity::ended);
}

TEST_CASE("usbip urbs: an unlink of a pending URB is answered alone, with -104", "[usbip][engine]") {
  usb_rig::devices d;
  bridged s{d};
  const auto news = s.host.submit_in(news_endpoint, 8);
  s.talk();
  CHECK_FALSE(s.host.has(news));
  const auto unlink = s.host.unlink(news);
  s.talk();
  CHECK(s.host.answers[unlink].status == -104);
  CHECK(s.host.answers[news].unlinked);
  CHECK(d.drivers[0].canceled_of(2) == 1);
  CHECK(s.connection.outstanding() == 0);
  // The endpoint still works.
  const auto again = s.host.submit_in(news_endpoint, 8);
  s.host.submit_out(data_endpoint, bytes{1, 2, 3});
  s.talk();
  CHECK(s.host.answers[again].data == bytes{1});
  well(s);
}

TEST_CASE("usbip urbs: an unlink of an answered, unknown or already unlinked URB returns 0", "[usbip][engine]") {
  usb_rig::devices d;
  bridged s{d};
  const auto done = s.host.control_in(0x80, 8, 0, 0, 1);
  s.talk();
  const auto late = s.host.unlink(done);
  const auto never = s.host.unlink(12345);
  const auto news = s.host.submit_in(news_endpoint, 8);
  const auto first = s.host.unlink(news);
  s.talk();
  const auto second = s.host.unlink(news);
  const auto of_unlink = s.host.unlink(first);
  s.talk();
  for (const auto one : {late, never, second, of_unlink}) CHECK((s.host.has(one) && s.host.answers[one].status == 0));
  CHECK(s.host.answers[first].status == -104);
  CHECK(d.drivers[0].canceled_of(2) == 1);
  well(s);
}

TEST_CASE("usbip urbs: an unlink of a URB whose answer is leaving follows the answer, with 0", "[usbip][engine]") {
  usb_rig::devices d;
  bridged s{d};
  s.host.submit_out(data_endpoint, bytes(1000, 5));
  s.talk();
  s.stream.room = 48 + 10;
  const auto in = s.host.submit_in(data_endpoint, 1000);
  s.run();
  CHECK(s.stream.to_peer.size() == 58);
  const auto unlink = s.host.unlink(in);
  s.run();
  s.stream.room = SIZE_MAX;
  s.talk();
  CHECK(s.host.answers[in].actual == 1000);
  CHECK((s.host.has(unlink) && s.host.answers[unlink].status == 0));
  CHECK(s.host.order.back() == unlink);
  well(s);
}

TEST_CASE("usbip urbs: endpoints are answered in any order, each endpoint in its own", "[usbip][engine]") {
  usb_rig::devices d;
  bridged s{d};
  const auto news = s.host.submit_in(news_endpoint, 8);
  const auto in_1 = s.host.submit_in(data_endpoint, 4096), in_2 = s.host.submit_in(data_endpoint, 4096);
  const auto control = s.host.control_in(0x80, 8, 0, 0, 1);
  s.talk();
  CHECK((s.host.has(control) && !s.host.has(news) && !s.host.has(in_1)));
  s.host.submit_out(data_endpoint, bytes{1});
  s.host.submit_out(data_endpoint, bytes{2});
  s.talk();
  CHECK(s.host.answers[in_1].data == bytes{1});
  CHECK(s.host.answers[in_2].data == bytes{2});
  CHECK(s.host.has(news));
  CHECK(s.host.outstanding() == 0);
  well(s);
}

TEST_CASE("usbip urbs: only the oldest transfer of an endpoint is passed to the device", "[usbip][engine]") {
  obedient one;
  usbip::exports all{one};
  usb_rig::session<usbip::connection<decltype(all)>> s;
  s.connection.bridge(all);
  const auto first = s.host.submit_in(3, 1), second = s.host.submit_in(3, 8);
  const auto other_way = s.host.submit_out(3, bytes(8)), other = s.host.submit_in(4, 8);
  s.talk();
  CHECK((!s.host.has(first) && !s.host.has(second)));
  CHECK((s.host.has(other_way) && s.host.has(other)));
  CHECK(one.asked_about_later == 2);
  s.host.unlink(first);
  s.talk();
  CHECK(s.host.answers[second].actual == 8);
  well(s);
}

TEST_CASE("usbip urbs: the data of a control request waits until the previous request has ended", "[usbip][device]") {
  usb_rig::devices d;
  bridged s{d};
  // An answer in progress delays decisions about later requests.
  s.host.submit_out(data_endpoint, bytes(1000, 5));
  s.talk();
  s.stream.room = 48 + 10;
  s.host.submit_in(data_endpoint, 1000);
  s.host.control_out(0x41, 1, 0, 0, bytes{0x11});
  const auto between = s.host.control_in(0xc1, 1, 0, 0, 1);
  s.host.control_out(0x41, 1, 0, 0, bytes{0x22});
  const auto last = s.host.control_in(0xc1, 1, 0, 0, 1);
  s.run();
  s.stream.room = SIZE_MAX;
  s.talk();
  CHECK(s.host.answers[between].data == bytes{0x11});
  CHECK(s.host.answers[last].data == bytes{0x22});
  // A reply in progress does too: its data may use the same memory.
  s.stream.room = 48;
  const auto configuration = s.host.control_in(0x80, 8, 0, 0, 1);
  s.host.control_out(0x41, 1, 0, 0, bytes{0x77});
  s.run();
  CHECK(s.stream.to_peer.size() == 48);
  s.stream.room = SIZE_MAX;
  s.talk();
  CHECK(s.host.answers[configuration].data == bytes{1});
  CHECK(s.host.outstanding() == 0);
  well(s);
}

TEST_CASE("usbip urbs: a device that has more than requested is cut off, with -75", "[usbip][engine]") {
  obedient one;
  usbip::exports all{one};
  usb_rig::session<usbip::connection<decltype(all)>> s;
  s.connection.bridge(all);
  const auto in = s.host.submit_in(3, 2), out = s.host.submit_out(4, bytes(2));
  s.talk();
  CHECK((s.host.answers[in].status == -75 && s.host.answers[in].data.size() == 2));
  CHECK((s.host.answers[out].status == 0 && s.host.answers[out].actual == 2));
  well(s);
}

TEST_CASE("usbip urbs: a flood of submits beyond the table waits, and nothing is dropped", "[usbip][engine]") {
  usb_rig::devices d;
  bridged s{d};
  std::vector<std::uint32_t> all;
  for (int n = 0; n < 500; ++n) all.push_back(s.host.submit_in(news_endpoint, 8));
  s.talk();
  CHECK(s.connection.outstanding() == 32);
  CHECK(s.stream.to_engine.size() == (500 - 33) * 48);  // one more header has been read
  CHECK(s.connection.poll(s.stream) == usbip::activity::idle);
  // Each report of the device answers one submit and admits another. An OUT after the submits could not be admitted.
  for (int n = 0; n < 500; ++n) {
    usbip::transfer t;
    t.length = 1;
    (void)d.drivers[0].answer_to(0, t);
    s.talk();
  }
  CHECK(s.host.outstanding() == 0);
  CHECK(s.host.order.size() == 501);
  for (const auto one : all) CHECK((s.host.has(one) && s.host.answers[one].status == 0));
  well(s);
}

TEST_CASE("usbip urbs: a full table still ends by earlier unlinks", "[usbip][engine]") {
  usb_rig::devices d;
  bridged s{d};
  std::vector<std::uint32_t> all;
  for (int n = 0; n < 32; ++n) all.push_back(s.host.submit_in(news_endpoint, 8));
  s.talk();
  CHECK(s.connection.outstanding() == 32);
  for (const auto one : all) s.host.unlink(one);  // each takes the place of the submit that it cancels
  s.host.unlink(all[0]);
  s.talk();
  CHECK(s.connection.outstanding() == 0);
  CHECK(s.host.outstanding() == 0);
  well(s);
}

TEST_CASE("usbip urbs: the devid is ignored", "[usbip][engine]") {
  usb_rig::devices d;
  bridged s{d};
  for (const std::uint32_t id : {0u, 1u, 0xffffffffu}) {
    s.host.devid = id;
    CHECK(s.ask(s.host.control_in(0x80, 8, 0, 0, 1)).data == bytes{1});
  }
  well(s);
}

TEST_CASE("usbip urbs: an unknown endpoint stalls, and its data is skipped", "[usbip][engine]") {
  usb_rig::devices d;
  bridged s{d};
  std::vector<std::uint32_t> refused;
  for (const std::uint32_t endpoint : {2u, 3u, 15u}) refused.push_back(s.host.submit_out(endpoint, bytes(5000, 1)));
  for (const std::uint32_t endpoint : {3u, 15u}) refused.push_back(s.host.submit_in(endpoint, 100));
  refused.push_back(s.host.submit_out(2, {}));
  const auto good = s.host.control_in(0x80, 8, 0, 0, 1);
  s.talk();
  for (const auto one : refused) CHECK((s.host.has(one) && s.host.answers[one].status == -32));
  CHECK(s.host.answers[good].data == bytes{1});
  well(s);
}

TEST_CASE("usbip urbs: endpoints stall before the configuration is set, and after it is unset", "[usbip][engine]") {
  usb_rig::devices d;
  usb_rig::session s;
  s.connection.bridge(d.all, 0);
  CHECK(s.ask(s.host.submit_out(data_endpoint, bytes(10))).status == -32);
  CHECK(s.ask(s.host.submit_in(data_endpoint, 10)).status == -32);
  s.configure();
  CHECK(s.ask(s.host.submit_out(data_endpoint, bytes(10))).status == 0);
  CHECK(s.ask(s.host.control_out(0x00, 9, 0, 0)).status == 0);
  CHECK_FALSE(d.drivers[0].is_open());
  CHECK(s.ask(s.host.submit_in(data_endpoint, 10)).status == -32);
  well(s);
}

TEST_CASE("usbip urbs: a short answer to a transfer that must not be short has -121, with its data",
          "[usbip][engine]") {
  usb_rig::devices d;
  bridged s{d};
  s.host.submit_out(data_endpoint, bytes{9, 9});
  const auto in = s.host.submit_in(data_endpoint, 100, {}, 0x201);
  s.talk();
  CHECK((s.host.answers[in].status == -121 && s.host.answers[in].data == bytes{9, 9}));
  s.host.submit_out(data_endpoint, bytes{9, 9});
  CHECK(s.ask(s.host.submit_in(data_endpoint, 2, {}, 0x201)).status == 0);
  well(s);
}

TEST_CASE("usbip urbs: isochronous transfers stall, and their data and packets are skipped", "[usbip][engine]") {
  usb_rig::devices d;
  bridged s{d};
  const auto iso = [&](std::uint32_t endpoint, std::uint32_t packets, const bytes& data, bool in) {
    const auto seqnum = in ? s.host.submit_in(endpoint, 64) : s.host.submit_out(endpoint, data);
    auto& to = s.stream.to_engine;
    client::put(to, to.size() - data.size() - 48 + 0x20, packets);
    to.resize(to.size() + std::size_t{packets} * 16, 0xcc);
    return seqnum;
  };
  const std::uint32_t all[] = {iso(3, 2, {}, true), iso(1, 1024, bytes(5000, 0xcc), false), iso(1, 1, {}, true),
                               iso(1, 3, {}, false)};
  const auto good = s.host.control_in(0x80, 8, 0, 0, 1);
  s.talk();
  for (const auto one : all) CHECK((s.host.has(one) && s.host.answers[one].status == -32));
  CHECK(s.host.answers[good].data == bytes{1});
  well(s);
}

TEST_CASE("usbip urbs: 0xffffffff packets mean none", "[usbip][engine]") {
  usb_rig::devices d;
  bridged s{d};
  const auto seqnum = s.host.submit_out(data_endpoint, bytes{1, 2});
  client::put(s.stream.to_engine, 0x20, 0xffffffff);
  CHECK(s.ask(seqnum).status == 0);
  well(s);
}

TEST_CASE("usbip urbs: an endpoint that refuses stalls until the host clears it", "[usbip][device]") {
  usb_rig::devices d;
  bridged s{d};
  CHECK(s.ask(s.host.submit_out(data_endpoint, bytes(5000))).status == -32);  // more than the driver accepts
  CHECK(s.ask(s.host.submit_out(data_endpoint, bytes(5))).status == -32);
  CHECK(s.ask(s.host.control_in(0x82, 0, 0, 0x01, 2)).data == bytes{1, 0});
  CHECK(s.ask(s.host.control_in(0x82, 0, 0, 0x81, 2)).data == bytes{0, 0});
  CHECK(s.ask(s.host.control_out(0x02, 1, 0, 0x01)).status == 0);
  CHECK(s.ask(s.host.control_in(0x82, 0, 0, 0x01, 2)).data == bytes{0, 0});
  CHECK(s.ask(s.host.submit_out(data_endpoint, bytes(5))).status == 0);
  CHECK(s.ask(s.host.control_out(0x02, 3, 0, 0x81)).status == 0);
  CHECK(s.ask(s.host.submit_in(data_endpoint, 5)).status == -32);
  CHECK(s.ask(s.host.control_out(0x01, 11, 0, 0)).status == 0);  // setting an interface restarts it
  CHECK(s.ask(s.host.submit_in(data_endpoint, 5)).data == bytes(5));
  well(s);
}

TEST_CASE("usbip device: invalid standard requests stall, and others are answered", "[usbip][device]") {
  usb_rig::devices d;
  bridged s{d};
  const auto in = [&](std::uint8_t type, std::uint8_t request, unsigned value, unsigned index, unsigned length) {
    return s.ask(s.host.control_in(type, request, value, index, length));
  };
  const auto out = [&](std::uint8_t type, std::uint8_t request, unsigned value, unsigned index,
                       const bytes& data = {}) {
    return s.ask(s.host.control_out(type, request, value, index, data)).status;
  };
  CHECK(in(0x80, 0, 0, 0, 2).data == bytes{0, 0});
  CHECK(in(0x81, 0, 0, 0, 2).data == bytes{0, 0});
  CHECK(in(0x81, 0, 0, 1, 2).status == -32);
  CHECK(in(0x82, 0, 0, 0, 2).data == bytes{0, 0});
  CHECK(in(0x82, 0, 0, 0x83, 2).status == -32);
  CHECK(in(0x82, 0, 0, 0x11, 2).status == -32);
  CHECK(in(0x81, 10, 0, 0, 1).data == bytes{0});
  CHECK(in(0x81, 10, 0, 1, 1).status == -32);
  CHECK(out(0x00, 5, 7, 0) == 0);
  CHECK(out(0x00, 9, 2, 0) == -32);
  CHECK(out(0x01, 11, 1, 0) == -32);
  CHECK(out(0x01, 11, 0, 1) == -32);
  CHECK(out(0x00, 7, 0x0100, 0, bytes(18)) == -32);
  CHECK(out(0x00, 3, 1, 0) == -32);
  CHECK(out(0x00, 3, 48, 0) == -32);  // a SuperSpeed feature
  CHECK(out(0x00, 48, 0, 0, bytes(6)) == -32);
  CHECK(in(0x82, 12, 0, 0x81, 2).status == -32);
  CHECK(in(0x80, 0x77, 0, 0, 2).status == -32);
  CHECK(in(0x81, 6, 0x2200, 0, 64).status == -32);
  // Vendor requests, to the interface and to the device.
  CHECK(out(0x41, 1, 0, 0, bytes{0x42}) == 0);
  CHECK(in(0xc1, 1, 0, 0, 8).data == bytes{0x42});
  CHECK(in(0xc0, 1, 0, 0, 1).data == bytes{0x42});
  CHECK(in(0xc1, 2, 0, 0, 1).status == -32);
  CHECK(in(0xc1, 1, 0, 1, 1).status == -32);
  CHECK(in(0xc2, 1, 0, 0x85, 1).status == -32);
  CHECK(out(0x41, 1, 0, 0, bytes(65)) == -32);  // more than `control_buffer_bytes`
  CHECK(out(0x41, 1, 0, 0, bytes(64)) == 0);
  // The setup packet and the header disagree.
  CHECK(s.ask(s.host.submit_in(0, 18, client::setup(0x00, 9, 1, 0, 18))).status == -32);
  CHECK(s.ask(s.host.submit_out(0, bytes(2), client::setup(0x80, 6, 0x0100, 0, 2))).status == -32);
  CHECK(s.ask(s.host.submit_out(0, bytes(2), client::setup(0x41, 1, 0, 0, 3))).status == -32);
  CHECK(s.ask(s.host.submit_in(0, 4, client::setup(0x80, 6, 0x0100, 0, 18))).data.size() == 4);
  CHECK(s.ask(s.host.submit_in(0, 18, client::setup(0x80, 6, 0x0100, 0, 4))).data.size() == 4);
  CHECK(s.ask(s.host.submit_in(0, 0, client::setup(0x00, 9, 1, 0, 0))).status == 0);
  // A request without data has room for data: the answer has no data, and the next request arrives.
  const auto empty = s.ask(s.host.submit_in(0, 64, client::setup(0x00, 9, 1, 0, 0)));
  CHECK((empty.status == 0 && empty.actual == 0));
  CHECK(in(0x80, 8, 0, 0, 1).data == bytes{1});
  well(s);
}

TEST_CASE("usbip urbs: one poll takes a bounded number of messages", "[usbip][engine]") {
  usb_rig::devices d;
  bridged s{d};
  for (int n = 0; n < 1000; ++n) s.host.control_in(0x80, 8, 0, 0, 1);
  CHECK(s.connection.poll(s.stream) == usbip::activity::worked);
  CHECK(s.stream.to_engine.size() > 500 * 48);
  s.talk();
  CHECK(s.host.outstanding() == 0);
  well(s);
}
