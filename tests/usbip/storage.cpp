// SPDX-License-Identifier: MIT
// Mass storage with a host's driver and a disk in memory: the answers to commands, and data in several pieces.
#include <catch2/catch_test_macros.hpp>

#include "drive_rig.hpp"

using bytes = client::bytes;
using usb_rig::stick;
using sense = std::array<unsigned, 3>;

namespace {

bytes part(const std::vector<std::uint8_t>& from, std::size_t at, std::size_t size) {
  return bytes(from.begin() + static_cast<std::ptrdiff_t>(at), from.begin() + static_cast<std::ptrdiff_t>(at + size));
}

void well(const stick& s) {
  CHECK(s.host.objections().empty());
  CHECK(s.disk.objections.empty());
}

}  // namespace

TEST_CASE("usbip storage: the first commands of a host are answered", "[usbip][storage]") {
  stick s;
  CHECK(s.ask(s.host.control_in(0xa1, 0xfe, 0, 0, 1)).data == bytes{0});
  const auto inquiry = s.read(36, {0x12, 0, 0, 0, 36, 0});
  CHECK(inquiry.code == 0);
  CHECK(inquiry.residue == 0);
  REQUIRE(inquiry.data.size() == 36);
  CHECK(part(inquiry.data, 0, 5) == bytes{0, 0, 6, 2, 31});
  CHECK(std::string(inquiry.data.begin() + 8, inquiry.data.end()) == "virtio  Disk            1.0 ");
  CHECK(s.read(0, {0, 0, 0, 0, 0, 0}) == stick::status{0, 0, {}});
  CHECK(s.read(8, {0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}).data == bytes{0, 0, 0, 255, 0, 0, 2, 0});
  const auto long_capacity = s.read(32, {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0});
  REQUIRE(long_capacity.data.size() == 32);
  CHECK(part(long_capacity.data, 0, 12) == bytes{0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 2, 0});
  CHECK(s.read(4, {0x1a, 0, 0x3f, 0, 4, 0}) == stick::status{0, 0, {23, 0, 0, 0}});
  const auto cache = s.read(192, {0x1a, 0, 8, 0, 192, 0});
  CHECK(cache.residue == 168);
  REQUIRE(cache.data.size() == 24);
  CHECK(part(cache.data, 4, 3) == bytes{8, 18, 4});
  const auto longer = s.read(28, {0x5a, 0, 8, 0, 0, 0, 0, 0, 28, 0});
  REQUIRE(longer.data.size() == 28);
  CHECK((longer.data[1] == 26 && longer.data[8] == 8));
  CHECK(s.read(16, {0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0}).data[3] == 8);
  CHECK(s.read(12, {0x23, 0, 0, 0, 0, 0, 0, 0, 12, 0}).data == bytes{0, 0, 0, 8, 0, 0, 1, 0, 2, 0, 2, 0});
  CHECK(s.read(0, {0x1e, 0, 0, 0, 1, 0}).code == 0);
  CHECK(s.read(0, {0x2f, 0, 0, 0, 0, 0, 0, 0, 1, 0}).code == 0);
  const auto pages = s.read(7, {0x12, 1, 0, 0, 7, 0});
  CHECK(pages.data == bytes{0, 0, 0, 3, 0, 0x80, 0x83});
  CHECK(s.read(24, {0x12, 1, 0x80, 0, 24, 0}).data.size() == 24);
  CHECK(s.read(52, {0x12, 1, 0x83, 0, 52, 0}).data.size() == 52);
  CHECK(s.sense() == sense{0, 0, 0});
  well(s);
}

TEST_CASE("usbip storage: an unknown command, field or page fails with its sense", "[usbip][storage]") {
  stick s;
  CHECK(s.read(0, {0xff, 0, 0, 0, 0, 0}).code == 1);
  CHECK(s.sense() == sense{5, 0x20, 0});
  CHECK(s.sense() == sense{0, 0, 0});  // sense data is reported once
  CHECK(s.read(36, {0x12, 0, 1, 0, 36, 0}) == stick::status{1, 36, {}});
  CHECK(s.sense() == sense{5, 0x24, 0});
  CHECK(s.read(36, {0x12, 1, 0xb0, 0, 36, 0}).code == 1);
  CHECK(s.read(36, {0x1a, 0, 0x1c, 0, 36, 0}).code == 1);
  CHECK(s.read(36, {0x1a, 0, 0xc8, 0, 36, 0}).code == 1);
  CHECK(s.sense() == sense{5, 0x39, 0});
  CHECK(s.read(32, {0x9e, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0}).code == 1);
  CHECK(s.read(0, {0x2f, 2, 0, 0, 0, 0, 0, 0, 1, 0}).code == 1);
  well(s);
}

TEST_CASE("usbip storage: reads of every length through three buffers are the disk's bytes", "[usbip][storage]") {
  for (const bool backwards : {false, true}) {
    for (const std::size_t room : {std::size_t{1}, std::size_t{64}}) {
      stick s;
      s.disk.backwards = backwards;
      s.disk.room = room;
      for (const unsigned count : {1u, 7u, 8u, 9u, 24u, 25u, 64u, 255u}) {
        for (const std::uint32_t each : {512u, 5120u, 0xffffffffu}) {
          const auto got = s.read(count * 512, stick::rw10(0x28, 1, count), each);
          CHECK(got.code == 0);
          CHECK(got.residue == 0);
          CHECK(got.data == part(s.disk.content, 512, count * 512));
        }
      }
      well(s);
    }
  }
}

TEST_CASE("usbip storage: writes of every length through three buffers arrive on the disk", "[usbip][storage]") {
  for (const bool backwards : {false, true}) {
    for (const std::size_t each : {std::size_t{512}, std::size_t{3584}, SIZE_MAX}) {
      stick s;
      s.disk.backwards = backwards;
      s.stream.largest_piece = 1000;
      std::uint8_t seed = 0;
      for (const unsigned count : {1u, 7u, 8u, 9u, 24u, 25u, 64u}) {
        bytes data(count * 512);
        ++seed;
        for (std::size_t at = 0; at < data.size(); ++at)
          data[at] = static_cast<std::uint8_t>(at * 13 + at / 251 + seed);
        const auto before = s.disk.content;
        CHECK(s.write(data, stick::rw10(0x2a, 3, count), each) == stick::status{0, 0, {}});
        CHECK(part(s.disk.content, 3 * 512, data.size()) == data);
        CHECK(part(s.disk.content, 0, 3 * 512) == part(before, 0, 3 * 512));
        CHECK(part(s.disk.content, 3 * 512 + data.size(), 1024) == part(before, 3 * 512 + data.size(), 1024));
      }
      well(s);
    }
  }
}

TEST_CASE("usbip storage: commands of 16 bytes, and blocks of 4096 bytes", "[usbip][storage]") {
  stick s{64, 4096};
  CHECK(s.read(8, {0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}).data == bytes{0, 0, 0, 63, 0, 0, 16, 0});
  const bytes data(8192, 0x5a);
  CHECK(s.write(data, {0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0}).code == 0);
  CHECK(part(s.disk.content, 5 * 4096, 8192) == data);
  CHECK(s.read(8192, {0x88, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0}).data == data);
  CHECK(s.read(4096, {0x88, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}) == stick::status{1, 4096, {}});
  CHECK(s.sense() == sense{5, 0x21, 0});
  well(s);
}

TEST_CASE("usbip storage: blocks that take more than 32 bits, and lengths that would overflow", "[usbip][storage]") {
  usbip::u8 answer[usbip::storage::answer_bytes];
  const usbip::storage::disk_facts large{usbip::u64{1} << 33, 4096, {}};
  const auto plan_of = [&](const usbip::u8(&cdb)[16]) {
    for (usbip::u8& byte : answer) byte = 0;
    return usbip::storage::command_reader{cdb, answer, large, usbip::storage::default_strings}.read({}, 0);
  };
  const auto answered = [&](std::size_t size) { return bytes(answer, answer + size); };
  CHECK(plan_of({0x25}).length == 8);
  CHECK(answered(8) == bytes{0xff, 0xff, 0xff, 0xff, 0, 0, 16, 0});  // READ CAPACITY (16) is required
  CHECK(plan_of({0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32}).length == 32);
  CHECK(answered(12) == bytes{0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 16, 0});
  const auto read = plan_of({0x88, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xfb});
  CHECK((read.what == usbip::storage::action::read && read.block == (usbip::u64{1} << 32) + 5));
  CHECK(read.length == usbip::u64{0xfffffffb} * 4096);
  CHECK(plan_of({0x8a, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xfc}).what == usbip::storage::action::fail);
  CHECK(plan_of({0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2}).what ==
        usbip::storage::action::fail);
}

TEST_CASE("usbip storage: the disk reads ahead while an earlier piece is sent", "[usbip][storage]") {
  stick s;
  s.disk.hold = true;
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(1, 128 * 512, true, stick::rw10(0x28, 0, 128)))).status == 0);
  CHECK(s.disk.pending.size() == 3);  // all buffers, before any transfer
  const auto in = s.host.submit_in(1, 128 * 512);
  s.run();
  CHECK(s.stream.to_peer.empty());  // no length is promised before the first piece has been read
  s.stream.room = 48 + 100;
  s.disk.end_one();
  s.run();
  CHECK(s.stream.to_peer.size() == 48 + 100);
  CHECK(s.disk.pending.size() == 2);
  s.stream.room = 48 + 4096;
  s.run();
  CHECK(s.stream.to_peer.size() == 48 + 4096);
  CHECK(s.disk.pending.size() == 3);  // the buffer that was sent is used for another read
  s.stream.room = SIZE_MAX;
  s.disk.hold = false;
  s.run();
  CHECK(s.host.answers[in].data == part(s.disk.content, 0, 128 * 512));
  CHECK(s.finish({}, 1) == stick::status{0, 0, {}});
  well(s);
}

TEST_CASE("usbip storage: a write goes to the disk while the next piece arrives, as far as there are buffers",
          "[usbip][storage]") {
  stick s;
  s.disk.hold = true;
  const bytes data(16 * 4096, 0x77);
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(1, 16 * 4096, false, stick::rw10(0x2a, 0, 128)))).status == 0);
  const auto out = s.host.submit_out(1, data);
  s.run();
  CHECK(s.disk.pending.size() == 3);
  CHECK(s.stream.to_engine.size() == 13 * 4096);  // the rest waits in the stream
  CHECK_FALSE(s.host.has(out));
  s.disk.end_one();
  s.run();
  CHECK(s.stream.to_engine.size() == 12 * 4096);
  s.disk.hold = false;
  s.run();
  CHECK(s.host.answers[out].actual == data.size());
  CHECK(s.finish({}, 1).code == 0);
  CHECK(part(s.disk.content, 0, data.size()) == data);
  well(s);
}

TEST_CASE("usbip storage: a host may send a command's data directly after it", "[usbip][storage]") {
  stick s;
  s.stream.room = 10;
  s.host.control_in(0x80, 8, 0, 0, 1);
  s.run();  // its answer is being sent, so the command is not read yet
  s.host.submit_out(1, stick::wrapper(1, 512, false, stick::rw10(0x2a, 9, 1)));
  const auto data = s.host.submit_out(1, bytes(512, 0x3c));
  s.run();
  s.stream.room = SIZE_MAX;
  s.run();
  CHECK((s.host.answers[data].status == 0 && s.host.answers[data].actual == 512));
  CHECK(s.finish({}, 1) == stick::status{0, 0, {}});
  CHECK(part(s.disk.content, 9 * 512, 512) == bytes(512, 0x3c));
  well(s);
}

TEST_CASE("usbip storage: the status waits for the disk's writes", "[usbip][storage]") {
  stick s;
  s.disk.hold = true;
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(1, 512, false, stick::rw10(0x2a, 9, 1)))).status == 0);
  CHECK(s.ask(s.host.submit_out(1, bytes(512, 1))).status == 0);
  const auto status = s.host.submit_in(1, 13);
  s.run();
  CHECK_FALSE(s.host.has(status));
  s.disk.hold = false;
  s.run();
  CHECK(s.host.answers[status].data.size() == 13);
  well(s);
}

TEST_CASE("usbip storage: SYNCHRONIZE CACHE, FUA and a leaving host flush after all writes", "[usbip][storage]") {
  stick s;
  CHECK(s.write(bytes(512), stick::rw10(0x2a, 0, 1)).code == 0);
  CHECK(s.disk.flushes == 0);
  CHECK(s.read(0, {0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0}).code == 0);
  CHECK(s.disk.flushes == 1);
  CHECK(s.write(bytes(8 * 512), stick::rw10(0x2a, 0, 8, 8)).code == 0);
  CHECK(s.disk.flushes == 2);
  CHECK(s.read(0, {0x1b, 0, 0, 0, 0, 0}).code == 0);
  CHECK(s.disk.flushes == 3);
  s.disk.flush_error = true;
  CHECK(s.read(0, {0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0}).code == 1);
  CHECK(s.sense() == sense{3, 0x11, 0});
  s.disk.flush_error = false;
  s.disk.flush_refused = usbip::storage::submitted::refused(usbip::storage::good);  // a disk without a cache
  CHECK(s.read(0, {0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0}).code == 0);
  s.disk.flush_refused = usbip::storage::submitted::taken();
  CHECK(s.write(bytes(512), stick::rw10(0x2a, 0, 1)).code == 0);
  const unsigned before = s.disk.flushes;
  s.stream.end = usbip::stream_state::closed;
  CHECK(s.run() == usbip::activity::ended);
  s.drive.poll();
  CHECK(s.disk.flushes == before + 1);
  well(s);
}

TEST_CASE("usbip storage: a disk error is the sense of the command, with its block", "[usbip][storage]") {
  stick s;
  s.disk.bad = {20};
  // An error in the first piece: no data is sent. The status has the missing length.
  CHECK(s.read(4096, stick::rw10(0x28, 16, 8)) == stick::status{1, 4096, {}});
  const auto told = s.read(18, {3, 0, 0, 0, 18, 0});
  REQUIRE(told.data.size() == 18);
  CHECK((told.data[0] == 0xf0 && told.data[2] == 3 && told.data[12] == 0x11 && told.data[6] == 16));
  // An error in a later piece: its length was promised, so zeros are sent.
  const auto late = s.read(16384, stick::rw10(0x28, 0, 32));
  CHECK((late.code == 1 && late.residue == 16384 - 8192));
  REQUIRE(late.data.size() == 16384);
  CHECK(part(late.data, 0, 8192) == part(s.disk.content, 0, 8192));
  CHECK(part(late.data, 8192, 8192) == bytes(8192));
  CHECK(s.sense() == sense{3, 0x11, 0});
  // In separate transfers the good pieces arrive, then a short transfer.
  CHECK(s.read(16384, stick::rw10(0x28, 0, 32), 4096) == stick::status{1, 8192, part(s.disk.content, 0, 8192)});
  s.disk.error = {4, 0x3e, 1};
  CHECK(s.write(bytes(16384), stick::rw10(0x2a, 0, 32)).code == 1);
  CHECK(s.sense() == sense{4, 0x3e, 1});  // as the disk reported it
  s.disk.bad.clear();
  s.disk.refuse = true;
  CHECK(s.read(16384, stick::rw10(0x28, 0, 32)) == stick::status{1, 16384, {}});
  CHECK(s.sense() == sense{2, 4, 0});
  CHECK(s.write(bytes(16384), stick::rw10(0x2a, 0, 32)).code == 1);
  s.disk.refuse = false;
  CHECK(s.read(16384, stick::rw10(0x28, 0, 32)).code == 0);
  well(s);
}

TEST_CASE("usbip storage: a disk that is read-only, absent or of another size reports it", "[usbip][storage]") {
  stick s;
  s.disk.read_only = true;
  CHECK(s.read(4, {0x1a, 0, 0x3f, 0, 4, 0}).data[2] == 0x80);
  CHECK(s.write(bytes(512), stick::rw10(0x2a, 0, 1)) == stick::status{1, 512, {}});
  CHECK(s.sense() == sense{7, 0x27, 0});
  s.disk.content.resize(300 * 512);
  CHECK(s.read(0, {0, 0, 0, 0, 0, 0}).code == 1);
  CHECK(s.sense() == sense{6, 0x2a, 9});
  CHECK(s.read(0, {0, 0, 0, 0, 0, 0}).code == 0);
  CHECK(s.read(512, stick::rw10(0x28, 299, 1)).code == 0);
  CHECK(s.read(1024, stick::rw10(0x28, 299, 2)) == stick::status{1, 1024, {}});
  CHECK(s.read(512, stick::rw10(0x28, 0xffffffff, 1)).code == 1);
  CHECK(s.sense() == sense{5, 0x21, 0});
  s.disk.content.clear();
  CHECK(s.read(0, {0, 0, 0, 0, 0, 0}).code == 1);
  CHECK(s.read(8, {0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}).code == 1);
  CHECK(s.sense() == sense{2, 0x3a, 0});
  CHECK(s.read(36, {0x12, 0, 0, 0, 36, 0}).code == 0);
  well(s);
}

TEST_CASE("usbip storage: a write that fails while the next piece arrives ends with its sense", "[usbip][storage]") {
  stick s;
  s.disk.bad = {0};
  s.disk.error = usbip::storage::write_error;
  s.disk.hold = true;
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(1, 12288, false, stick::rw10(0x2a, 0, 24)))).status == 0);
  CHECK(s.ask(s.host.submit_out(1, bytes(4096 + 100))).status == 0);
  CHECK(s.disk.pending.size() == 1);
  s.disk.end_one();
  s.run();
  CHECK(s.ask(s.host.submit_out(1, bytes(12288 - 4096 - 100))).status == 0);
  CHECK(s.finish({}, 1) == stick::status{1, 12288, {}});
  CHECK(s.disk.pending.empty());
  CHECK(s.sense() == sense{3, 0x0c, 0});
  well(s);
}

TEST_CASE("usbip storage: a flush that a host has left is not done before the next host's writes", "[usbip][storage]") {
  stick s;
  CHECK(s.write(bytes(512), stick::rw10(0x2a, 0, 1)).code == 0);
  s.disk.room = 0;
  s.connection.stop();
  s.connection.bridge(s.all);
  CHECK(s.ask(s.host.control_out(0x00, 9, 1, 0)).status == 0);
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(9, 4096, false, stick::rw10(0x2a, 0, 8)))).status == 0);
  CHECK(s.ask(s.host.submit_out(1, bytes(4096))).status == 0);
  CHECK(s.disk.flushes == 0);
  s.disk.room = 64;
  s.disk.hold = true;
  s.run();
  CHECK(s.disk.pending.size() == 1);
  s.disk.hold = false;
  s.run();
  CHECK(s.finish({}, 9).code == 0);
  CHECK(s.disk.flushes == 1);
  well(s);
}
