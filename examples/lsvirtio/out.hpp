// SPDX-License-Identifier: MIT
// The report in two forms from the same calls: indented text, or JSON for programs, one object a line.
#pragma once

#include <virtio/base/types.hpp>

#include "../boot/common/runtime.hpp"

namespace lsvirtio {

using virtio::u16, virtio::u32, virtio::u64, virtio::u8, virtio::usize;

/// Hexadecimal, of fixed width.
struct digits {
  u64 value;
  unsigned width;
};
inline void put(digits d) {
  while (d.width-- != 0) boot::put("0123456789abcdef"[d.value >> 4 * d.width & 15]);
}

/// Bytes as hexadecimal.
struct dump {
  const u8* data;
  usize size;
};
inline void put(dump d) {
  for (usize i = 0; i < d.size; ++i) put(digits{d.data[i], 2});
}

enum class form : u8 { text, json };
enum class answer : u8 { no, yes };

/// Groups nest: `close` ends the innermost one of `begin`, `open`, `line`, `list`, `item` and `words`.
class writer {
 public:
  form as = form::text;

  /// Begins a line of JSON, or a paragraph; `name` is its kind.
  template <class... Parts>
  void begin(const char* kind, const char* key, const Parts&... name) {
    if (as == form::json) boot::print("{\"lsvirtio\":\"", kind, "\"");
    else boot::print(kind);
    push(style::block, '}');
    is_first_ = false;
    if (as == form::json) text(key, name...);
    else boot::print(sizeof...(name) == 0 ? "" : " "), boot::print(name...);
  }
  void open(const char* key) { nest(key, style::block, '{', '}'); }
  void list(const char* key) { nest(key, style::block, '[', ']'); }
  void line(const char* key) { nest(key, style::line, '{', '}'); }  // as `open`; in text on one line
  void item() { nest(nullptr, style::line, '{', '}'); }
  void words(const char* key) { nest(key, style::words, '[', ']'); }
  void close() {
    if (as == form::json) boot::put(levels_[depth_].closing);
    --depth_;
    is_first_ = false;
    if (depth_ == 0) boot::put(as == form::json ? "\n" : "\n\n");
  }

  template <class... Parts>
  void text(const char* key, const Parts&... parts) {
    member(key);
    if (as == form::json) boot::put('"');
    (put_escaped(parts), ...);
    if (as == form::json) boot::put('"');
  }
  template <class... Parts>
  void word(const Parts&... parts) {
    text(nullptr, parts...);
  }
  void number(const char* key, u64 value) {
    member(key);
    boot::print(value);
  }
  /// The text form is hexadecimal; JSON has decimal numbers only.
  void hex(const char* key, u64 value) {
    member(key);
    if (as == form::json) boot::print(value);
    else boot::print(boot::hex{value});
  }
  void is(const char* key, answer value) {
    member(key);
    if (as == form::json) boot::print(value == answer::yes ? "true" : "false");
    else boot::print(value == answer::yes ? "yes" : "no");
  }
  void null(const char* key) {
    member(key);
    boot::print(as == form::json ? "null" : "-");
  }
  /// A line of a table, in text only.
  template <class... Parts>
  void row(const Parts&... parts) {
    if (as == form::json) return;
    member("");
    boot::print(parts...);
  }

 private:
  enum class style : u8 { block, line, words };
  struct level {
    style how;
    char closing;
  };

  void push(style how, char closing) {
    levels_[++depth_] = {how, closing};
    is_first_ = true;
  }
  void nest(const char* key, style how, char opening, char closing) {
    member(key);
    if (as == form::json) boot::put(opening);
    push(how, closing);
  }

  // The characters before a value.
  void member(const char* key) {
    const style how = levels_[depth_].how;
    if (as == form::json) {
      if (!is_first_) boot::put(',');
      if (key != nullptr) boot::print("\"", key, "\":");
    } else if (how == style::block) {
      boot::put('\n');
      for (unsigned i = 0; i < depth_; ++i) boot::put("  ");
      if (key != nullptr && *key != '\0') boot::print(key, ": ");
    } else {
      if (!is_first_) boot::put(how == style::line ? ", " : " ");
      if (key != nullptr) boot::print(key, " ");
    }
    is_first_ = false;
  }

  // Text from the machine and its devices may contain any byte.
  void put_escaped(boot::text part) {
    for (usize i = 0; i < part.size; ++i) {
      const char c = part.data[i];
      if (c >= ' ' && c <= '~' && (as == form::text || (c != '"' && c != '\\'))) boot::put(c);
      else boot::print("\\u00"), put(digits{static_cast<u8>(c), 2});
    }
  }
  void put_escaped(const char* part) {
    usize size = 0;
    while (part[size] != '\0') ++size;
    put_escaped(boot::text{part, size});
  }
  template <class T>
  void put_escaped(const T& part) {
    boot::print(part);
  }

  level levels_[8]{};
  unsigned depth_ = 0;
  bool is_first_ = true;
};

}  // namespace lsvirtio
