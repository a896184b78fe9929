// SPDX-License-Identifier: MIT
// libFuzzer: the engine, a device and a drive with an arbitrary peer and disk. Every few bytes are a move. While the
// peer follows the protocol, the client double checks every answer; after arbitrary bytes only the end is checked: the
// devices are free, and a new connection works.
#include <cstdio>
#include <cstdlib>

#include "client.hpp"
#include "drive_rig.hpp"
#include "echo.hpp"

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "usbip_engine: %s\n", what);
  std::abort();
}

class byte_source {
 public:
  byte_source(const std::uint8_t* first, std::size_t size) : at_{first}, left_{size} {}
  [[nodiscard]] bool empty() const { return left_ == 0; }
  std::uint8_t byte() { return left_ == 0 ? std::uint8_t{0} : (--left_, *at_++); }
  std::uint32_t half() {
    const std::uint32_t low = byte();
    return low | std::uint32_t{byte()} << 8;
  }

 private:
  const std::uint8_t* at_;
  std::size_t left_;
};

inline constexpr usbip::device_description about_echo{.speed = usbip::speed::super, .name = "Echo"};

struct world {
  using echo_type = echo<512>;
  using echo_device = usbip::device<about_echo, echo_type>;
  using list = usbip::exports<usb_rig::stick_type, echo_device>;
  using connection_type = usbip::connection<list, usbip::connection_options{.transfers = 8, .turns = 16}>;

  usb_rig::memory_disk disk{64};
  usb_rig::small_buffers room;
  usb_rig::drive_type drive{disk, room};
  usb_rig::stick_type stick{drive};
  echo_type driver;
  echo_device other{driver};
  list all{stick, other};
  wire stream;
  client host{stream};
  connection_type connection;
  bool is_honest = true;

  void poll() {
    const usbip::activity did = connection.poll(stream);
    must(did != usbip::activity::ended || connection.outstanding() == 0, "transfers are outstanding after the end");
    must(connection.outstanding() <= 8, "more transfers than the table has");
    if (!is_honest) return;
    host.take_answers();
    for (const auto& what : host.objections()) must(false, what.c_str());
    must(did != usbip::activity::ended || stream.end != usbip::stream_state::open, "a correct peer is disconnected");
  }

  void move(byte_source& from) {
    static const client::bytes commands[] = {usb_rig::stick::rw10(0x28, 0, 8),
                                             usb_rig::stick::rw10(0x28, 3, 40),
                                             usb_rig::stick::rw10(0x2a, 0, 8),
                                             usb_rig::stick::rw10(0x2a, 5, 33, 8),
                                             {0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0},
                                             {0x12, 0, 0, 0, 36, 0},
                                             {3, 0, 0, 0, 18, 0},
                                             {0x1a, 0, 0x3f, 0, 192, 0}};
    switch (from.byte() % 16) {
      case 0: host.submit_in(from.byte() % 4, from.half() % 6000); break;
      case 1: host.submit_out(from.byte() % 4, client::bytes(from.half() % 6000, from.byte())); break;
      case 2: {
        const client::bytes& one = commands[from.byte() % 8];
        const bool in = from.byte() % 2 != 0;
        host.submit_out(1, usb_rig::stick::wrapper(from.byte(), from.half(), in, one));
        break;
      }
      case 3: {
        client::bytes setup;
        for (int n = 0; n < 8; ++n) setup.push_back(from.byte());
        setup[0] & 0x80 ? (void)host.submit_in(0, from.half() % 300, setup)
                        : (void)host.submit_out(0, client::bytes(from.byte()), setup);
        break;
      }
      case 4: host.unlink(host.last() - from.byte() % (host.last() + 1)); break;  // not a future one
      case 5: stream.largest_piece = 1u + from.half(); break;
      case 6: stream.largest_send = 1u + from.half(); break;
      case 7: stream.room = stream.to_peer.size() + from.half(); break;
      case 8: stream.room = SIZE_MAX; break;
      case 9: disk.hold = !disk.hold; break;
      case 10:
        if (!disk.pending.empty()) disk.end_one();
        break;
      case 11: {
        disk.backwards = from.byte() % 2 != 0;
        disk.bad = {from.byte() % 64u};
        disk.room = from.byte() % 4u;
        disk.flush_error = from.byte() % 2 != 0;
        break;
      }
      case 12: disk.lies.push_back({from.byte() % 5u - 1u, {from.byte(), 0, 0}}); break;
      case 13: {
        if (from.byte() < 200) break;
        for (int n = from.byte() % 64; n-- > 0;) stream.to_engine.push_back(from.byte());
        is_honest = false;
        break;
      }
      case 14: host.control_out(0x00, 9, from.byte() % 2, 0); break;
      default:
        for (int n = from.byte() % 8; n-- > 0;) poll();
    }
  }

  void run(byte_source from) {
    const std::uint8_t how = from.byte();
    if (how % 4 == 0) {
      connection.serve(all);
      host.ask_import(how % 8 == 0 ? "1-1" : "1-2");
      poll_import();
    } else {
      connection.bridge(all, how % 4 == 1 ? 1 : 0);
      is_honest = how % 4 != 3;
    }
    host.control_out(0x00, 9, 1, 0);
    while (!from.empty()) move(from);
    stream.end = from.byte() % 2 != 0 ? usbip::stream_state::closed : usbip::stream_state::open;
    for (int n = 0; n < 200; ++n) poll();
    connection.stop();
    must(!all.is_taken(0) && !all.is_taken(1), "a device stays taken");
    if (disk.lies.empty())
      for (const auto& what : disk.objections) must(false, what.c_str());

    // Another host can use both devices.
    for (std::uint32_t which : {0u, 1u}) {
      disk.hold = false;
      disk.lies.clear();
      disk.room = 64;
      stream = wire{};
      client next{stream};
      connection.bridge(all, which);
      const auto descriptor = next.control_in(0x80, 6, 0x0100, 0, 18);
      const auto configured = next.control_out(0x00, 9, 1, 0);
      const auto command =
          which == 0 ? next.submit_out(1, usb_rig::stick::wrapper(1, 36, true, {0x12, 0, 0, 0, 36, 0})) : configured;
      for (int n = 0; n < 50; ++n) (void)connection.poll(stream);
      next.take_answers();
      must(next.answers[descriptor].data.size() == 18, "no descriptor for the next host");
      must(next.has(configured) && next.answers[configured].status == 0, "no configuration for the next host");
      must(next.has(command) && next.answers[command].status == 0, "no command of the next host");
      must(next.objections().empty(), "the next host objects");
      connection.stop();
    }
  }

  void poll_import() {
    for (int n = 0; n < 4; ++n) (void)connection.poll(stream);
    must(host.take_import(connection.device() == 0 ? "1-1" : "1-2") == 0, "no import");
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  world w;
  w.run({data, size});
  return 0;
}
