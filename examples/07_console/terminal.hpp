// SPDX-License-Identifier: MIT
// Lines from a console, with backspace, and text to it.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/base/result.hpp>

/// The characters of a line, and its words.
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

  /// Removes the first word from a line; the rest begins with the next word.
  constexpr word next() {
    skip_blanks();
    word first{data_, 0};
    while (size_ != 0 && *data_ != ' ') ++data_, --size_, ++first.size_;
    skip_blanks();
    return first;
  }

  /// Returns whether all of it is a decimal number that fits.
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

/// A number in hexadecimal, with a fixed number of digits.
struct hex {
  virtio::u32 value;
  unsigned digits;
};

/// A number in decimal.
struct decimal {
  virtio::u32 value;
};

[[nodiscard]] constexpr char printable(virtio::u8 byte) {
  return byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '.';
}

template <class Console>
class terminal {
 public:
  constexpr explicit terminal(Console& console) : console_{&console} {}

  /// Buffers text. It is sent when the buffer is full and before a line is read.
  template <class... Parts>
  void print(const Parts&... parts) {
    (put(parts), ...);
  }

  /// Waits for a line and returns it without its end; it is valid until the next call. Characters are echoed. Backspace
  /// removes one, Control-U all; Control-C returns an empty line. If the console fails, the line is "exit".
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

  /// Waits until the host has received all output. Errors: the console's.
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

  // Output that the host does not take in time is lost, so that the shell continues without a reader.
  void send() {
    (void)console_->send(virtio::const_bytes{text_, waiting_});
    waiting_ = 0;
  }

  /// Waits without limit for the next character. Returns false if the console is gone.
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
