// SPDX-License-Identifier: MIT
// The bulk-only transport when host and device disagree, or when one side violates its rules.
#include <catch2/catch_test_macros.hpp>

#include "drive_rig.hpp"

using bytes = client::bytes;
using usb_rig::stick;

namespace {

const bytes ready{0, 0, 0, 0, 0, 0};

void well(const stick& s) {
  CHECK(s.host.objections().empty());
  CHECK(s.disk.objections.empty());
}

/// Runs the recovery of 5.3.4: resets the transport, then clears both endpoints.
void recover(stick& s) {
  CHECK(s.ask(s.host.control_out(0x21, 0xff, 0, 0)).status == 0);
  CHECK(s.ask(s.host.control_out(0x02, 1, 0, 0x81)).status == 0);
  CHECK(s.ask(s.host.control_out(0x02, 1, 0, 0x01)).status == 0);
}

}  // namespace

TEST_CASE("usbip transport: the thirteen cases of host and device", "[usbip][storage]") {
  stick s;
  const auto content = s.disk.content;
  const auto read_8 = stick::rw10(0x28, 0, 8), write_8 = stick::rw10(0x2a, 0, 8);
  const auto data = [&](std::size_t size) {
    return bytes(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(size));
  };
  const bytes out(4096, 0xee);
  CHECK(s.read(0, ready) == stick::status{0, 0, {}});                        // 1: Hn = Dn
  CHECK(s.read(0, read_8) == stick::status{2, 0, {}});                       // 2: Hn < Di
  CHECK(s.write({}, write_8) == stick::status{2, 0, {}});                    // 3: Hn < Do
  CHECK(s.read(512, ready) == stick::status{0, 512, {}});                    // 4: Hi > Dn
  CHECK(s.read(5000, read_8) == stick::status{0, 5000 - 4096, data(4096)});  // 5: Hi > Di
  // In case 5 the short transfer has no bytes.
  CHECK(s.read(8192, read_8, 4096) == stick::status{0, 4096, data(4096)});
  CHECK(s.read(4096, read_8) == stick::status{0, 0, data(4096)});  // 6: Hi = Di
  CHECK(s.read(512, read_8).code == 2);                            // 7: Hi < Di
  CHECK(s.read(4096, write_8) == stick::status{2, 4096, {}});      // 8: Hi <> Do
  CHECK(s.write(out, ready) == stick::status{0, 4096, {}});        // 9: Ho > Dn
  CHECK(s.write(out, read_8) == stick::status{2, 4096, {}});       // 10: Ho <> Di
  CHECK(s.write(bytes(512), write_8).code == 2);                   // 13: Ho < Do
  CHECK(s.disk.content == content);
  CHECK(s.write(bytes(5000, 0xee), write_8) == stick::status{0, 5000 - 4096, {}});  // 11: Ho > Do
  CHECK(s.write(out, write_8) == stick::status{0, 0, {}});                          // 12: Ho = Do
  CHECK(bytes(s.disk.content.begin(), s.disk.content.begin() + 4096) == out);
  CHECK(s.read(0, ready).code == 0);
  well(s);
}

TEST_CASE("usbip transport: an invalid command stalls both endpoints until the transport is reset",
          "[usbip][storage]") {
  const auto good = stick::wrapper(7, 0, false, ready);
  const auto with = [&](std::size_t at, std::uint8_t value) {
    bytes changed = good;
    changed[at] = value;
    return changed;
  };
  const bytes wrong[] = {bytes(good.begin(), good.end() - 1),
                         bytes(32),
                         bytes(512),
                         with(0, 'X'),
                         with(12, 1),
                         with(13, 1),
                         with(14, 0),
                         with(14, 17)};
  for (const bytes& one : wrong) {
    stick s;
    CHECK(s.ask(s.host.submit_out(1, one)).status == -32);
    CHECK(s.ask(s.host.submit_in(1, 13)).status == -32);
    CHECK(s.ask(s.host.control_in(0x82, 0, 0, 0x81, 2)).data == bytes{1, 0});
    // An endpoint that is cleared without a reset stalls again.
    CHECK(s.ask(s.host.control_out(0x02, 1, 0, 0x81)).status == 0);
    CHECK(s.ask(s.host.control_out(0x02, 1, 0, 0x01)).status == 0);
    CHECK(s.ask(s.host.submit_in(1, 13)).status == -32);
    CHECK(s.ask(s.host.submit_out(1, good)).status == -32);
    recover(s);
    CHECK(s.read(0, ready).code == 0);
    well(s);
  }
}

TEST_CASE("usbip transport: unannounced data, and a command before a status, stall", "[usbip][storage]") {
  stick s;
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(1, 512, false, stick::rw10(0x2a, 0, 1)))).status == 0);
  CHECK(s.ask(s.host.submit_out(1, bytes(513))).status == -32);
  recover(s);
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(2, 0, false, ready))).status == 0);
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(3, 0, false, ready))).status == -32);
  recover(s);
  CHECK(s.read(0, ready).code == 0);
  well(s);
}

TEST_CASE("usbip transport: after a reset during a read or write, late answers of the disk change nothing",
          "[usbip][storage]") {
  stick s;
  s.disk.hold = true;
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(1, 8192, true, stick::rw10(0x28, 0, 16)))).status == 0);
  const auto in = s.host.submit_in(1, 8192);
  s.run();
  CHECK_FALSE(s.host.has(in));
  CHECK(s.ask(s.host.unlink(in)).status == -104);
  recover(s);
  CHECK(s.disk.pending.size() == 2);
  // A new command waits until the disk has ended the requests of the old one.
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(2, 4096, true, stick::rw10(0x28, 64, 8)))).status == 0);
  const auto again = s.host.submit_in(1, 4096);
  s.run();
  CHECK(s.disk.pending.size() == 2);
  s.disk.hold = false;
  s.run();
  const auto from = s.disk.content.begin() + 64 * 512;
  CHECK(s.host.answers[again].data == bytes(from, from + 4096));
  s.run();
  well(s);
}

TEST_CASE("usbip transport: a host that leaves during a transfer leaves a working drive to the next",
          "[usbip][storage]") {
  stick s;
  s.disk.hold = true;
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(1, 8192, false, stick::rw10(0x2a, 0, 16)))).status == 0);
  s.host.submit_out(1, bytes(8192, 0x11));
  s.stream.to_engine.resize(s.stream.to_engine.size() - 1000);
  s.stream.end = usbip::stream_state::closed;
  CHECK(s.run() == usbip::activity::ended);
  CHECK(s.connection.ending().how == usbip::end::cut_off);
  CHECK((s.connection.ending().had == 7192 && s.connection.ending().needed == 8192));
  s.disk.hold = false;

  wire next;
  s.stream = next;
  s.connection.bridge(s.all);
  CHECK(s.ask(s.host.control_out(0x00, 9, 1, 0)).status == 0);
  CHECK(s.read(512, stick::rw10(0x28, 0, 1)).data == bytes(512, 0x11));
  CHECK(s.disk.objections.empty());
}

TEST_CASE("usbip transport: the writes of a leaving host are flushed after the disk has ended them",
          "[usbip][storage]") {
  stick s;
  s.disk.hold = true;
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(1, 8192, false, stick::rw10(0x2a, 0, 16)))).status == 0);
  CHECK(s.ask(s.host.submit_out(1, bytes(8192, 0x11))).status == 0);
  CHECK(s.disk.pending.size() == 2);
  s.stream.end = usbip::stream_state::closed;
  CHECK(s.run() == usbip::activity::ended);
  for (int turn = 0; turn < 3; ++turn) s.drive.poll();
  CHECK(s.disk.pending.size() == 2);  // no flush before them
  s.disk.hold = false;
  for (int turn = 0; turn < 3; ++turn) s.drive.poll();
  CHECK(s.disk.flushes == 1);
  CHECK(bytes(s.disk.content.begin(), s.disk.content.begin() + 8192) == bytes(8192, 0x11));
  CHECK(s.disk.objections.empty());
}

TEST_CASE("usbip transport: invalid completions of a disk are ignored", "[usbip][storage][hostile]") {
  stick s;
  s.disk.hold = true;
  CHECK(s.ask(s.host.submit_out(1, stick::wrapper(1, 4096, true, stick::rw10(0x28, 0, 8)))).status == 0);
  const auto in = s.host.submit_in(1, 4096);
  for (const std::uint64_t cookie : {1u, 2u, 3u, 0xffffffffu}) s.disk.lies.push_back({cookie, {}});
  s.disk.lies.push_back({~std::uint64_t{0}, {}});
  s.disk.lies.push_back({~std::uint64_t{0} - 1, {}});
  s.run();
  CHECK_FALSE(s.host.has(in));
  s.disk.hold = false;
  s.run();
  CHECK(s.host.answers[in].data == bytes(s.disk.content.begin(), s.disk.content.begin() + 4096));
  CHECK(s.finish({}, 1).code == 0);
  for (int n = 0; n < 1000; ++n) s.disk.lies.push_back({0, {}});
  s.run();
  CHECK(s.read(0, ready).code == 0);
  well(s);
}
