// SPDX-License-Identifier: MIT
// A device's configuration, read in three ways: some hosts answer only one width of access, and the report shows which.
// Spec: virtio 1.4, 2.5 and 4.1.3.1.
#pragma once

#include <virtio/transport/config_access.hpp>

#include "out.hpp"
#include "tables.hpp"

namespace lsvirtio {

/// One field, read by each of the three policies. `size` 0: it could not be read. `has_dword` false: its last dword
/// exceeds the configuration, so there is no reading by dword.
struct reading {
  static constexpr usize most = 64;
  u8 by_byte[most];
  u8 by_field[most];
  u8 by_dword[most];
  usize size;
  bool has_dword;

  [[nodiscard]] bool byte_differs() const { return __builtin_memcmp(by_byte, by_field, size) != 0; }
  [[nodiscard]] bool dword_differs() const { return has_dword && __builtin_memcmp(by_dword, by_field, size) != 0; }
};

[[nodiscard]] inline u64 number_in(const u8* bytes, usize size) {
  u64 value = 0;
  while (size-- != 0) value = value << 8 | bytes[size];
  return value;
}

/// Reads `out` in units of `T` from `at` on by one policy. Returns false if the configuration is too short.
template <class Policy, class T, class Transport>
bool read_by(const Transport& transport, usize at, usize count, u8* out) {
  for (usize i = 0; i < count; ++i) {
    const auto value = transport.template config<T, Policy>(at + i * sizeof(T));
    if (!value) return false;
    for (usize byte = 0; byte < sizeof(T); ++byte) out[i * sizeof(T) + byte] = static_cast<u8>(u64{*value} >> 8 * byte);
  }
  return true;
}

template <class T, class Transport>
bool read_three_ways(const Transport& transport, const field& what, reading& out) {
  const bool is_there = read_by<virtio::by_byte, T>(transport, what.offset, what.count, out.by_byte) &&
                        read_by<virtio::by_field, T>(transport, what.offset, what.count, out.by_field);
  out.has_dword = is_there && read_by<virtio::by_dword, T>(transport, what.offset, what.count, out.by_dword);
  out.size = is_there ? sizeof(T) * what.count : 0;
  return is_there;
}

template <class Transport>
bool read_field_of(const Transport& transport, const field& what, reading& out) {
  switch (what.width) {
    case 1: return read_three_ways<u8>(transport, what, out);
    case 2: return read_three_ways<u16>(transport, what, out);
    case 4: return read_three_ways<u32>(transport, what, out);
    default: return read_three_ways<u64>(transport, what, out);
  }
}

/// Returns whether a reading is neither zeros nor ones: a host is unlikely to return it for an unsupported access.
[[nodiscard]] inline bool means_something(const u8* bytes, usize size) {
  bool zeros = true, ones = true;
  for (usize i = 0; i < size; ++i) {
    zeros &= bytes[i] == 0;
    ones &= bytes[i] == 0xff;
  }
  return !zeros && !ones;
}

/// Selects the transports' policy for a driver from all readings. The specification requires accesses as wide as the
/// field, so `by_field` is right unless a reading contradicts it.
class policy_choice {
 public:
  void add(const reading& one, const field& what) {
    // A field of one byte is read by a byte either way: only wider ones show whether byte accesses work. Likewise,
    // fields that are dwords show nothing about by_dword.
    if (what.width != 1) bytes_wrong_ |= one.byte_differs();
    if (what.width >= 4 || !one.dword_differs()) return;
    dwords_differ_ = true;
    fields_mean_ |= means_something(one.by_field, one.size);
    dwords_mean_ |= means_something(one.by_dword, one.size);
  }
  [[nodiscard]] const char* name() const { return only_dwords() ? "by_dword" : "by_field"; }
  [[nodiscard]] const char* reason() const {
    if (!bytes_wrong_ && !dwords_differ_) return "all three widths agree";
    if (!bytes_wrong_) return "narrow fields differ from their dwords, and bytes are answered: never by_dword";
    if (!dwords_differ_) return "bytes are not answered as wider fields are: never by_byte";
    if (only_dwords()) return "only dwords are answered: narrower fields read as zeros or ones";
    if (!dwords_mean_) return "only fields are answered, each by its own width: never by_byte nor by_dword";
    return "the widths contradict each other: by_field as specified, or by_dword where its values make more sense";
  }

 private:
  [[nodiscard]] bool only_dwords() const { return bytes_wrong_ && dwords_differ_ && dwords_mean_ && !fields_mean_; }

  bool bytes_wrong_ = false, dwords_differ_ = false, fields_mean_ = false, dwords_mean_ = false;
};

/// Prints a value in the form of its field.
struct decoded {
  const field& what;
  const u8* bytes;
  usize size;
};
inline void put(decoded d) {
  switch (d.what.as) {
    case shown::number: boot::print(number_in(d.bytes, d.size), d.what.unit); break;
    case shown::hex: boot::print(boot::hex{number_in(d.bytes, d.size)}, d.what.unit); break;
    case shown::address:
      for (usize i = 0; i < d.size; ++i) boot::print(i == 0 ? "" : ":", digits{d.bytes[i], 2});
      break;
    case shown::text:
      for (usize i = 0; i < d.size && d.bytes[i] != 0; ++i) {
        const char c = static_cast<char>(d.bytes[i]);
        boot::put(c >= ' ' && c <= '~' && c != '"' && c != '\\' ? c : '.');
      }
      break;
  }
}

/// Prints text in a column.
struct left {
  const char* text;
  usize width;
};
inline void put(left l) {
  usize used = 0;
  while (l.text[used] != '\0') boot::put(l.text[used++]);
  for (; used < l.width; ++used) boot::put(' ');
}

/// Prints a number in a column, or the first bytes of an array; a dash without a reading.
struct column {
  const field& what;
  const u8* bytes;
};
inline void put(column c) {
  if (c.bytes == nullptr) return boot::put("                -");
  const usize size = c.what.count == 1 ? c.what.width : c.what.count < 8 ? c.what.count : usize{8};
  for (usize used = 2 * size; used < 17; ++used) boot::put(' ');
  if (c.what.count == 1) put(digits{number_in(c.bytes, size), static_cast<unsigned>(2 * size)});
  else put(dump{c.bytes, size});
}

template <class Transport>
void show_field(writer& out, const Transport& transport, const field& what, policy_choice& choice) {
  static reading one;  // three buffers, kept off the stack
  if (!read_field_of(transport, what, one)) {
    if (out.as == form::text) return out.row(left{what.name, 34}, "behind the end of the configuration");
    out.item();
    out.text("name", what.name);
    out.text("missing", "behind the end of the configuration");
    return out.close();
  }
  choice.add(one, what);
  const bool agree = !one.byte_differs() && !one.dword_differs();
  if (out.as == form::text)
    return out.row(left{what.name, 34}, column{what, one.by_byte}, one.byte_differs() ? " !" : "  ",
                   column{what, one.by_field}, column{what, one.has_dword ? one.by_dword : nullptr},
                   one.dword_differs() ? " !" : "  ", "  ", decoded{what, one.by_field, one.size},
                   agree ? "" : "  (differ)");
  out.item();
  out.text("name", what.name);
  out.number("offset", what.offset);
  out.number("width", what.width);
  if (what.count > 1) out.number("count", what.count);
  out.text("by_byte", dump{one.by_byte, one.size});
  out.text("by_field", dump{one.by_field, one.size});
  if (one.has_dword) out.text("by_dword", dump{one.by_dword, one.size});
  else out.null("by_dword");
  out.is("agree", agree ? answer::yes : answer::no);
  if (what.count == 1) out.number("number", number_in(one.by_field, one.size));
  out.text("value", decoded{what, one.by_field, one.size});
  out.close();
}

/// Prints the configuration of a device on which no feature is accepted. Leaves out fields of features that the device
/// does not offer.
template <class Transport>
void show_config(writer& out, const Transport& transport, const virtio::feature_set& offered) {
  const type_row row = row_for(transport.type());
  policy_choice choice;
  out.list("configuration");
  if (row.fields.count != 0) out.row(left{"", 34}, "          by byte           by field         by dword    value");
  for (field one : row.fields) {
    if (one.needs != always && !offered.has_bit(one.needs) && !offered.has_bit(one.or_needs)) continue;
    if (one.unless != never && offered.has_bit(one.unless)) continue;
    if (one.counted_by != itself)
      if (const auto count = transport.template config<u16>(one.counted_by); count && *count < one.count)
        one.count = static_cast<u8>(*count);
    show_field(out, transport, one, choice);
  }
  if (row.name == nullptr)  // of an unknown type: the first bytes, as dwords
    for (u16 at = 0; at < 64; at = static_cast<u16>(at + 4)) {
      const field dword{at, 4, always, "dword", "", shown::hex};
      if (!transport.template config<u32>(at)) break;
      show_field(out, transport, dword, choice);
    }
  out.close();
  if (row.fields.count == 0 && row.name != nullptr) return;
  out.text("policy", choice.name());
  out.text("policy_reason", choice.reason());
}

}  // namespace lsvirtio
