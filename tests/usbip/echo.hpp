// SPDX-License-Identifier: MIT
// A device that returns the bytes that it receives: one bulk endpoint in each direction, and an interrupt endpoint that
// is silent until bytes have arrived. The smallest class driver with all entry points.
#pragma once

#include <cstddef>

#include <usbip/usbip.hpp>

template <std::size_t Room = 65536>
class echo {
 public:
  static constexpr void describe(usbip::configuration& all) {
    all.interface(0xff, 0, 0);
    all.bulk_out();
    all.bulk_in();
    all.interrupt_in(8, 10);
  }

  void open() { is_open_ = true; }
  void close() {
    is_open_ = false;
    size_ = 0;
    news_ = 0;
  }
  /// Handles vendor request 1 to the interface: OUT sets the byte, IN reads it.
  usbip::control_answer control(const usbip::setup_packet& setup, usbip::bytes data) {
    if (setup.kind() != 2 || setup.request != 1) return usbip::control_answer::stall();
    if (setup.is_in()) return usbip::control_answer::good({&byte_, 1});
    if (!data.empty()) byte_ = data.data[0];
    return usbip::control_answer::good();
  }
  usbip::room room_for(usbip::u8, const usbip::transfer& t) {
    if (t.length > Room) return usbip::room::refused();
    if (size_ != 0) return usbip::room::none_now();  // the previous bytes have not been read yet
    return usbip::room::at({buffer_ + t.done, t.length - t.done});
  }
  void arrived(usbip::u8, const usbip::transfer&, usbip::u32) {}
  usbip::answer answer_to(usbip::u8 order, const usbip::transfer& t) {
    switch (order) {
      case 0:
        size_ = t.length;
        ++news_;
        return usbip::answer::good(t.length);
      case 1: return size_ == 0 ? usbip::answer::not_yet() : usbip::answer::good(size_ < t.length ? size_ : t.length);
      default: return news_ == 0 ? usbip::answer::not_yet() : usbip::answer::good(1);
    }
  }
  usbip::const_bytes piece_of(usbip::u8 order, const usbip::transfer& t) {
    return order == 1 ? usbip::const_bytes{buffer_, size_}.part(t.done, size_) : usbip::const_bytes{&news_, 1};
  }
  void sent(usbip::u8 order, const usbip::transfer& t, usbip::u32 count) {
    if (order == 2) news_ = 0;
    if (order == 1 && t.done + count == (size_ < t.length ? size_ : t.length)) size_ = 0;
  }
  void canceled(usbip::u8 order, const usbip::transfer&) { ++canceled_[order]; }
  void cleared(usbip::u8) {}
  void poll() { ++polls_; }

  [[nodiscard]] bool is_open() const { return is_open_; }
  [[nodiscard]] unsigned canceled_of(usbip::u8 order) const { return canceled_[order]; }

 private:
  usbip::u8 buffer_[Room] = {};
  usbip::u32 size_ = 0;
  usbip::u8 news_ = 0;
  usbip::u8 byte_ = 0;
  bool is_open_ = false;
  unsigned canceled_[3] = {};
  unsigned long polls_ = 0;
};
