// SPDX-License-Identifier: MIT
// Boot entries: files `loader/entries/*.conf` of the Boot Loader Specification's type 1, and `loader/loader.conf`.
// Each line is a key, blanks, and a value; unknown keys are skipped. `linux` and `initrd` are paths on the partition of
// the file; `initrd` and `options` may occur several times.
//
// Format: UAPI.1 Boot Loader Specification.
#pragma once

#include "../files/text.hpp"

namespace loader {

/// A value copied from a file. A value that does not fit is an error of the entry; it is not truncated.
template <usize N>
class value {
 public:
  [[nodiscard]] const_bytes get() const { return {text_, size_}; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  /// Replaces the value. Returns whether it fits.
  [[nodiscard]] bool set(const_bytes s) {
    size_ = 0;
    return add(s);
  }
  /// Appends a blank and a text.
  [[nodiscard]] bool append(const_bytes s) {
    const u8 blank = ' ';
    return (size_ == 0 || add({&blank, 1})) && add(s);
  }

 private:
  [[nodiscard]] bool add(const_bytes s) {
    if (s.size() > N - size_) return false;
    __builtin_memcpy(text_ + size_, s.data(), s.size());
    size_ += s.size();
    return true;
  }
  u8 text_[N]{};
  usize size_ = 0;
};

inline constexpr usize most_initrds = 4;

/// One boot entry.
struct entry {
  value<256> id;  // the file's name without its extension
  value<256> title, version, sort_key;
  value<512> kernel;
  value<512> initrd[most_initrds];
  usize initrds = 0;
  value<2048> options;

  /// Returns the text for the menu.
  [[nodiscard]] const_bytes name() const { return title.empty() ? id.get() : title.get(); }
};

/// Splits a configuration file into keys and values; `see(key, value)` is called for each line that has both.
template <class See>
void for_each_line(const_bytes file, See&& see) {
  const auto is_blank = [](u8 c) { return c == ' ' || c == '\t' || c == '\r'; };
  if (begins_with(file, text("\xef\xbb\xbf")))
    file = file.part(3, file.size());  // a byte order mark of UTF-8, from an editor
  while (!file.empty()) {
    const usize end = find(file, '\n');
    const_bytes line = file.part(0, end);
    file = file.part(end + 1, file.size());
    while (!line.empty() && is_blank(line.data()[0])) line = line.part(1, line.size());
    while (!line.empty() && is_blank(line.data()[line.size() - 1])) line = line.part(0, line.size() - 1);
    if (line.empty() || line.data()[0] == '#') continue;
    usize size = 0;
    while (size < line.size() && !is_blank(line.data()[size])) ++size;
    usize begin = size;
    while (begin < line.size() && is_blank(line.data()[begin])) ++begin;
    if (begin < line.size()) see(line.part(0, size), line.part(begin, line.size()));
  }
}

/// The reason why an entry is invalid.
enum class flaw : u8 { none, no_linux, too_long, too_many_initrds, other_processor };

[[nodiscard]] constexpr const char* describe(flaw f) {
  switch (f) {
    case flaw::none: return "nothing";
    case flaw::no_linux: return "it names no linux";
    case flaw::too_long: return "a value is too long";
    case flaw::too_many_initrds: return "it names more than four initrds";
    case flaw::other_processor: return "it is for another processor";
  }
  return "?";
}

/// Reads an entry's file. `architecture` is the specification's name of this processor, `x64` or `aa64`.
[[nodiscard]] inline flaw parse(const_bytes file, const_bytes architecture, entry& out) {
  flaw wrong = flaw::none;
  const auto keep = [&](bool fits) {
    if (!fits && wrong == flaw::none) wrong = flaw::too_long;
  };
  for_each_line(file, [&](const_bytes key, const_bytes said) {
    if (alike(key, text("title"))) keep(out.title.set(said));
    else if (alike(key, text("version"))) keep(out.version.set(said));
    else if (alike(key, text("sort-key"))) keep(out.sort_key.set(said));
    else if (alike(key, text("linux"))) keep(out.kernel.set(said));
    else if (alike(key, text("options"))) keep(out.options.append(said));
    else if (alike(key, text("architecture"))) {
      if (!alike(said, architecture)) wrong = flaw::other_processor;
    } else if (alike(key, text("initrd"))) {
      if (out.initrds == most_initrds) wrong = flaw::too_many_initrds;
      else keep(out.initrd[out.initrds++].set(said));
    }
  });
  if (wrong == flaw::none && out.kernel.empty()) wrong = flaw::no_linux;
  return wrong;
}

/// `loader.conf`: the default entry, and the time-out.
struct settings {
  value<256> preferred;  // an id; a `*` at its end matches any text
  u32 timeout = 0;       // seconds that the menu waits; 0: no menu

  void parse(const_bytes file) {
    for_each_line(file, [&](const_bytes key, const_bytes said) {
      if (alike(key, text("default"))) {
        if (!preferred.set(said)) (void)preferred.set({});
      } else if (alike(key, text("timeout"))) {
        timeout = 0;
        for (usize i = 0; i < said.size() && is_digit(said.data()[i]) && timeout < 3600; ++i)
          timeout = timeout * 10 + said.data()[i] - '0';
      }
    });
  }
  /// Returns whether this is the preferred entry. Ids are compared without the extension `.conf`, which the setting may
  /// have.
  [[nodiscard]] bool prefers(const entry& one) const {
    const_bytes wish = preferred.get();
    if (wish.empty()) return false;
    if (wish.data()[wish.size() - 1] == '*') return begins_with(one.id.get(), wish.part(0, wish.size() - 1));
    if (ends_with(wish, text(".conf"))) wish = wish.part(0, wish.size() - 5);
    return alike(one.id.get(), wish);
  }
};

/// Compares versions: digits as numbers, other text byte by byte. Returns less than 0, 0, or more than 0.
[[nodiscard]] inline int compare_versions(const_bytes a, const_bytes b) {
  const auto skip_zeros = [](const_bytes& s) {
    while (s.size() > 1 && s.data()[0] == '0' && is_digit(s.data()[1])) s = s.part(1, s.size());
  };
  const auto digits = [](const_bytes s) {
    usize n = 0;
    while (n < s.size() && is_digit(s.data()[n])) ++n;
    return n;
  };
  while (!a.empty() && !b.empty()) {
    skip_zeros(a);
    skip_zeros(b);
    const usize longer_a = digits(a), longer_b = digits(b);
    if (longer_a != longer_b && longer_a != 0 && longer_b != 0) return longer_a < longer_b ? -1 : 1;
    if (a.data()[0] != b.data()[0]) return a.data()[0] < b.data()[0] ? -1 : 1;
    a = a.part(1, a.size());
    b = b.part(1, b.size());
  }
  return a.empty() ? (b.empty() ? 0 : -1) : 1;
}

/// Returns whether `a` is before `b` in a menu: entries with a sort key first, by this key; then the newer version
/// first; then by id, the higher first.
[[nodiscard]] inline bool stands_before(const entry& a, const entry& b) {
  if (a.sort_key.empty() != b.sort_key.empty()) return !a.sort_key.empty();
  if (const int by_key = compare_versions(a.sort_key.get(), b.sort_key.get()); by_key != 0) return by_key < 0;
  if (const int by_version = compare_versions(a.version.get(), b.version.get()); by_version != 0) return by_version > 0;
  return compare_versions(a.id.get(), b.id.get()) > 0;
}

}  // namespace loader
