// SPDX-License-Identifier: MIT
// A serial port (communications class, abstract control model); Linux presents it as /dev/ttyACM0. Its other side is
// any byte stream: a virtio console, a terminal. It holds bytes of the host for which the line has no room, and bytes
// of the line for a transfer in progress.
// Spec: USB class definitions for communications devices 1.2, and its PSTN subclass 1.2. Layer: serial (may include
// device, engine, codec, base).
#pragma once

#include <usbip/device/device.hpp>
#include <usbip/engine/stream.hpp>

namespace usbip::serial {

/// The line settings of the host: 9600 8N1 until the host sets others. A virtual line ignores them.
struct line_coding {
  u32 rate = 9600;   // bits per second
  u8 stop_bits = 0;  // 0: one, 1: one and a half, 2: two
  u8 parity = 0;     // 0: none, 1: odd, 2: even, 3: mark, 4: space
  u8 data_bits = 8;  // bits per character
};

/// A class driver. The caller owns `line`. The driver reads the line only for a transfer of the host, so bytes that
/// arrive while no host reads wait in the line or at its peer. `Room`: maximum bytes that wait here, per direction;
/// larger transfers of a host are taken in parts.
template <byte_stream Line, usize Room = 512>
class port {
  static_assert(Room >= 64, "Room is less than a packet");

 public:
  /// Serves `line`.
  constexpr explicit port(Line& line) : line_{&line} {}

  /// Whether a program on the host has opened the port (DTR).
  [[nodiscard]] bool is_open() const { return (control_lines_ & 1) != 0; }
  /// The line settings that the host sent last.
  [[nodiscard]] const line_coding& coding() const { return coding_; }

  // For the device: see `class_driver` --------------------------------------------------------------------------------

  /// `class_driver` concept.
  static constexpr void describe(configuration& all) {
    const u8 control = all.next_interface();
    const u8 data = static_cast<u8>(control + 1);
    all.association(2, 2, 2, 1);
    all.interface(2, 2, 1);  // communications, abstract control model, AT commands: such drivers require it
    all.raw({5, 0x24, 0x00, 0x10, 0x01});     // version 1.1
    all.raw({5, 0x24, 0x01, 0x00, data});     // no call management
    all.raw({4, 0x24, 0x02, 0x02});           // line coding and control lines
    all.raw({5, 0x24, 0x06, control, data});  // the interfaces of this function
    all.interrupt_in(16, 32);
    all.interface(10, 0, 0);
    all.bulk_out();
    all.bulk_in();
  }

  /// `class_driver` concept.
  void open() { close(); }
  /// `class_driver` concept.
  void close() {
    control_lines_ = 0;
    is_reported_ = true;
    to_line_ = {};
    to_host_ = {};
  }

  /// `class_driver` concept.
  [[nodiscard]] control_answer control(const setup_packet& setup, bytes data) {
    if (setup.kind() != 1) return control_answer::stall();
    switch (setup.request) {
      case set_line_coding:
        if (setup.is_in() || setup.length != coding_bytes) break;
        coding_ = {load_le32(data.data), data.data[4], data.data[5], data.data[6]};
        return control_answer::good();
      case get_line_coding:
        if (!setup.is_in() || data.size < coding_bytes) break;
        store_le32(data.data, coding_.rate);
        data.data[4] = coding_.stop_bits;
        data.data[5] = coding_.parity;
        data.data[6] = coding_.data_bits;
        return control_answer::good(data.part(0, coding_bytes));
      case set_control_line_state:
        if (setup.length != 0) break;
        // A host that opens the port is informed of a carrier: programs may wait for one.
        if ((setup.value & ~control_lines_ & 1) != 0) is_reported_ = false;
        control_lines_ = static_cast<u8>(setup.value & 3);
        notification_[4] = static_cast<u8>(setup.index);
        return control_answer::good();
      default: break;
    }
    return control_answer::stall();
  }

  /// `class_driver` concept.
  [[nodiscard]] room room_for(u8, const transfer&) {
    return flush() ? room::at({to_line_.data, Room}) : room::none_now();
  }
  /// `class_driver` concept.
  void arrived(u8, const transfer&, u32 count) {
    to_line_.end = count;
    (void)flush();
  }

  /// `class_driver` concept.
  [[nodiscard]] answer answer_to(u8 order, const transfer& t) {
    if (order == out) return flush() ? answer::good(t.length) : answer::not_yet();
    if (order == notifications) {
      if (is_reported_) return answer::not_yet();
      return answer::good(sizeof notification_);
    }
    if (t.length == 0) return answer::good(0);
    to_host_ = {};
    const usize most = t.length < Room ? t.length : Room;
    to_host_.end = static_cast<u32>(line_->receive([&](const_bytes here) {
      const const_bytes taken = here.part(0, most);
      copy(to_host_.data, taken.data, taken.size);
      return taken.size;
    }));
    return to_host_.end != 0 ? answer::good(to_host_.end) : answer::not_yet();
  }
  /// `class_driver` concept.
  [[nodiscard]] const_bytes piece_of(u8 order, const transfer& t) const {
    if (order == notifications)
      return const_bytes{notification_, sizeof notification_}.part(t.done, sizeof notification_);
    return const_bytes{to_host_.data, to_host_.end}.part(t.done, Room);
  }
  /// `class_driver` concept.
  void sent(u8 order, const transfer&, u32) {
    if (order == notifications) is_reported_ = true;
  }
  /// `class_driver` concept.
  void canceled(u8, const transfer&) {}
  /// `class_driver` concept.
  void cleared(u8) {}
  /// `class_driver` concept.
  void poll() { (void)flush(); }

 private:
  enum : u8 { notifications, out, in };  // endpoints, as described
  enum : u8 { set_line_coding = 0x20, get_line_coding = 0x21, set_control_line_state = 0x22 };
  static constexpr usize coding_bytes = 7;
  struct buffer {
    u32 begin = 0;
    u32 end = 0;
    u8 data[Room] = {};
  };

  /// Whether the line has taken all bytes of the host.
  [[nodiscard]] bool flush() {
    if (to_line_.begin != to_line_.end) {
      const const_bytes rest{to_line_.data + to_line_.begin, to_line_.end - to_line_.begin};
      to_line_.begin += static_cast<u32>(line_->send({&rest, 1}));
    }
    if (to_line_.begin != to_line_.end) return false;
    to_line_.begin = to_line_.end = 0;
    return true;
  }

  Line* line_;
  buffer to_line_{};
  buffer to_host_{};
  line_coding coding_{};
  u8 control_lines_ = 0;
  bool is_reported_ = true;
  // SERIAL_STATE: carrier and data set ready.
  u8 notification_[10] = {0xa1, 0x20, 0, 0, 0, 0, 2, 0, 3, 0};
};

}  // namespace usbip::serial
