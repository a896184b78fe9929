// SPDX-License-Identifier: MIT
// Lines from a console, with backspace, and text to it.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/base/result.hpp>

/// Characters of a line, and the words in it.
class word {
 public:
  constexpr word() = default;
  constexpr word(const char* data, virtio::usize size) : data_{data}, size_{size} {}

  [[nodiscard]] constexpr bool empty() const { return size_ == 0; }
  [[nodiscard]] constexpr const char* begin() const { return data_; }
  [[nodiscard]] constexpr const char* end() const { return data_ + size_; }

  [[nodiscard]] constexpr bool operator==(const char* other) const {
    for (const char one : *this)
      if (*other == '\0' || one != *other++) return false;
    return *other == '\0';
  }

  /// Takes the first word out of a line; what is left begins with the next one.
  constexpr word next() {
    skip_blanks();
    word first{data_, 0};
    while (size_ != 0 && *data_ != ' ') ++data_, --size_, ++first.size_;
    skip_blanks();
    return first;
  }

  /// Whether all of it is a decimal number that fits.
  [[nodiscard]] constexpr bool number(virtio::u64& out) const {
    out = 0;
    if (empty() || size_ > 18) return false;
    for (const char digit : *this) {
      if (digit < '0' || digit > '9') return false;
      out = out * 10 + static_cast<virtio::u64>(digit - '0');
    }
    return true;
  }

 private:
  constexpr void skip_blanks() {
    while (size_ != 0 && *data_ == ' ') ++data_, --size_;
  }

  const char* data_ = nullptr;
  virtio::usize size_ = 0;
};

/// A number in hexadecimal, with so many digits.
struct hex {
  virtio::u32 value;
  unsigned digits;
};

/// A number in decimal.
struct decimal {
  virtio::u32 value;
};

[[nodiscard]] constexpr char printable(virtio::u8 byte) { return byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '.'; }

template <class Console>
class terminal {
 public:
  constexpr explicit terminal(Console& console) : console_{&console} {}

  /// Gathers text; it leaves when there is much of it, and when a line is read.
  template <class... Parts>
  void print(const Parts&... parts) {
    (put(parts), ...);
  }

  /// Waits for a line: without its end, and valid until the next one. What the user types comes back as an echo; backspace and
  /// Control-U take characters away, Control-C the whole line. A console that fails reads "exit".
  [[nodiscard]] word read_line() {
    for (virtio::usize length = 0;;) {
      char now = '\0';
      if (!next(now)) return {"exit", 4};
      const bool after_return = after_return_;
      after_return_ = now == '\r';
      if (now == '\n' && after_return) continue;  // one line end of two characters
      if (now == '\r' || now == '\n') {
        print("\n");
        return {line_, length};
      }
      if (now == '\b' || now == '\x7f') {
        if (length != 0) print("\b \b"), --length;
      } else if (now == '\x15') {
        for (; length != 0; --length) print("\b \b");
      } else if (now == '\x03') {
        print("^C\n");
        return {};
      } else if (now >= ' ' && length < sizeof line_) {
        put(line_[length++] = now);
      }
    }
  }

  /// Waits until the host has everything. Errors: the console's.
  [[nodiscard]] virtio::result<void> end() {
    send();
    return console_->flush();
  }

 private:
  void put(char one) {
    if (one == '\n') put('\r');  // the terminal at the other end is in raw mode
    if (waiting_ == sizeof text_) send();
    text_[waiting_++] = one;
  }
  void put(const char* text) {
    while (*text != '\0') put(*text++);
  }
  void put(word text) {
    for (const char one : text) put(one);
  }
  void put(hex number) {
    while (number.digits-- != 0) put("0123456789abcdef"[number.value >> 4 * number.digits & 15]);
  }
  void put(decimal number) {
    char digits[10];
    unsigned count = 0;
    do digits[count++] = static_cast<char>('0' + number.value % 10);
    while ((number.value /= 10) != 0);
    while (count != 0) put(digits[--count]);
  }

  // What the host does not take in time is lost: a user who does not look misses it, and the shell lives on.
  void send() {
    (void)console_->send(virtio::const_bytes{text_, waiting_});
    waiting_ = 0;
  }

  /// The next character typed, however long that takes. False: the console is gone.
  [[nodiscard]] bool next(char& one) {
    send();
    for (;;) {
      const auto got = console_->receive(virtio::bytes{&one, 1});
      if (got) return true;
      if (got.error() != virtio::errc::peer_silent) return false;
    }
  }

  Console* console_;
  char text_[256]{};
  virtio::usize waiting_ = 0;
  char line_[128]{};
  bool after_return_ = false;
};
