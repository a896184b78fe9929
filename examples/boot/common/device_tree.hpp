// SPDX-License-Identifier: MIT
// A flattened device tree, read in place: nodes in order, their properties by name, their addresses as the CPU sees
// them.
// Every offset and length is checked against the blob, and every loop moves forward through it, so an invalid blob only
// ends the walk early. It does not allocate or copy. It does not include the library, so a kernel without its own
// reader can use it unchanged.
// Spec: Devicetree Specification 0.4, chapters 2 and 5.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace boot {

/// A range of addresses.
struct range {
  uint64_t base{};
  uint64_t size{};

  [[nodiscard]] bool operator==(const range&) const = default;
};

class device_tree {
  static constexpr uint32_t begin_node = 1, end_node = 2, property = 3, nothing = 4;
  static constexpr unsigned deepest = 16;
  static constexpr uint32_t most_cells = 2;  // of a supported address or size; PCI's addresses have three

 public:
  /// The numbers or characters of a property; `data` is null if it does not exist.
  struct value {
    const uint8_t* data{};
    size_t size{};

    [[nodiscard]] explicit operator bool() const { return data != nullptr; }
    /// The 32-bit cell `index`, 0 after the end.
    [[nodiscard]] uint32_t cell(size_t index) const { return index < size / 4 ? read(data + 4 * index) : 0; }
    /// `count` cells from `index` on as one number; its lower 64 bits.
    [[nodiscard]] uint64_t number(size_t index, size_t count) const {
      uint64_t out = 0;
      for (size_t i = 0; i < count; ++i) out = out << 32 | cell(index + i);
      return out;
    }
    /// Returns whether one of its strings equals this one.
    [[nodiscard]] bool has_string(const char* wanted) const {
      for (size_t at = 0; at < size;) {
        size_t i = 0;
        while (at + i < size && data[at + i] != 0 && data[at + i] == static_cast<uint8_t>(wanted[i])) ++i;
        if (at + i < size && data[at + i] == 0 && wanted[i] == '\0') return true;
        while (at < size && data[at] != 0) ++at;
        ++at;
      }
      return false;
    }
    /// Returns all of it as one terminated string, or null if it is not terminated.
    [[nodiscard]] const char* string() const {
      return size != 0 && data[size - 1] == 0 ? reinterpret_cast<const char*>(data) : nullptr;
    }
    /// Returns whether it equals these characters, whatever follows in the blob.
    [[nodiscard]] bool equals(value other) const {
      if (size != other.size) return false;
      for (size_t i = 0; i < size; ++i)
        if (data[i] != other.data[i]) return false;
      return true;
    }
    /// Returns the part before the first `end`, or all of it if there is none.
    [[nodiscard]] value until(char end) const {
      size_t i = 0;
      while (i < size && data[i] != static_cast<uint8_t>(end)) ++i;
      return {data, i};
    }
    [[nodiscard]] value from(size_t first) const {
      return first < size ? value{data + first, size - first} : value{data, 0};
    }
  };
  [[nodiscard]] static value characters(const char* of) {
    size_t n = 0;
    while (of[n] != '\0') ++n;
    return {reinterpret_cast<const uint8_t*>(of), n};
  }

  struct cells {
    uint32_t address = 2, size = 1;
  };

  /// A node, valid as long as the blob.
  class node {
   public:
    /// With its unit address: `serial@9000000`; empty for the root.
    [[nodiscard]] value name() const {
      const value rest = tree_->structure_.from(begin_ + 4);
      return rest.until('\0');
    }
    /// 0 for the root.
    [[nodiscard]] unsigned depth() const { return depth_; }
    [[nodiscard]] value find(const char* name) const { return find(characters(name)); }
    [[nodiscard]] value find(value name) const {
      for (size_t at = tree_->behind(begin_); tree_->token(at) == property || tree_->token(at) == nothing;
           at = tree_->behind(at))
        if (tree_->token(at) == property && tree_->is_named(at, name)) return tree_->value_of(at);
      return {};
    }
    /// Returns whether the node is not disabled.
    [[nodiscard]] bool is_on() const {
      const value status = find("status");
      return !status || status.has_string("okay") || status.has_string("ok");
    }
    [[nodiscard]] bool is(const char* compatible) const { return find("compatible").has_string(compatible) && is_on(); }
    /// The cells of its children's addresses, and of its own.
    [[nodiscard]] cells children() const { return cells_of(*this); }
    [[nodiscard]] cells own() const { return depth_ == 0 ? cells{} : up_[depth_ - 1].children; }
    /// Returns entry `index` of `reg` as a CPU address; size 0 if there is none, or if a bus on the path does not
    /// translate it.
    [[nodiscard]] range reg(size_t index) const {
      const value all = find("reg");
      const cells form = own();
      const size_t stride = size_t{form.address} + form.size;
      if (form.address > most_cells || form.size > most_cells || stride == 0 || index >= all.size / 4 / stride)
        return {};
      range out{all.number(index * stride, form.address), all.number(index * stride + form.address, form.size)};
      if (out.size != 0 && out.base + (out.size - 1) < out.base) return {};
      return from_bus(out);
    }
    /// Converts an address on the node's bus to a CPU address; size 0 if a bus on the path does not translate it.
    [[nodiscard]] range from_bus(range of) const {
      for (unsigned bus = depth_; bus-- > 1;) of = passed_on(up_[bus], up_[bus - 1].children, of);
      return of;
    }

   private:
    friend device_tree;

    /// A parent node: the cells of its children's addresses, and their translation to its own bus.
    struct level {
      cells children;
      value ranges;
    };

    [[nodiscard]] static cells cells_of(const node& of) {
      const value address = of.find("#address-cells"), size = of.find("#size-cells");
      return {address ? address.cell(0) : 2, size ? size.cell(0) : 1};
    }

    // Converts `of` to an address on the parent bus.
    [[nodiscard]] static range passed_on(const level& bus, cells above, range of) {
      if (!bus.ranges) return {};
      if (bus.ranges.size == 0) return of;
      const cells form = bus.children;
      if (form.address > most_cells || form.size > most_cells || above.address > most_cells) return {};
      const size_t stride = size_t{form.address} + above.address + form.size;
      if (stride == 0) return {};
      for (size_t i = 0; i < bus.ranges.size / 4 / stride; ++i) {
        const uint64_t from = bus.ranges.number(i * stride, form.address);
        const uint64_t to = bus.ranges.number(i * stride + form.address, above.address);
        const uint64_t size = bus.ranges.number(i * stride + form.address + above.address, form.size);
        if (of.base < from || of.size > size || of.base - from > size - of.size) continue;
        const range out{to + (of.base - from), of.size};
        if (out.base < to || (out.size != 0 && out.base + (out.size - 1) < out.base)) return {};
        return out;
      }
      return {};
    }

    const device_tree* tree_{};
    size_t begin_{};  // its token
    unsigned depth_{};
    level up_[deepest]{};  // the nodes above, the root first
  };

  device_tree() = default;
  /// The tree at `blob`, which must be readable up to its own size field, 2 MiB at most. Empty if `blob` is not a
  /// tree.
  explicit device_tree(const void* blob) {
    const auto* const bytes = static_cast<const uint8_t*>(blob);
    const size_t total = size_of(blob);
    if (total < header_size) return;
    const size_t structure = read(bytes + 8), strings = read(bytes + 12), reservations = read(bytes + 16);
    const size_t strings_size = read(bytes + 32), structure_size = read(bytes + 36);
    if (structure > total || strings > total || structure % 4 != 0) return;
    if (structure_size > total - structure || strings_size > total - strings) return;
    structure_ = {bytes + structure, structure_size};
    strings_ = {bytes + strings, strings_size};
    if (reservations <= total) reservations_ = {bytes + reservations, total - reservations};
  }

  /// Returns the size field of the tree at `blob`, in bytes; 0 if it is not a tree, or larger than 2 MiB. Reads eight
  /// bytes.
  [[nodiscard]] static size_t size_of(const void* blob) {
    const auto* const bytes = static_cast<const uint8_t*>(blob);
    if (bytes == nullptr || read(bytes) != 0xd00dfeed) return 0;
    const size_t total = read(bytes + 4);
    return total <= 2u << 20 ? total : 0;
  }

  [[nodiscard]] explicit operator bool() const { return structure_.size != 0; }

  /// Calls `visit(const node&)` for every node less than 16 deep, parents before children. If `visit` returns a
  /// value, false ends the walk.
  template <class Visit>
  void each_node(Visit&& visit) const {
    node here;
    here.tree_ = this;
    size_t depth = 0;
    for (size_t at = 0;; at = behind(at)) {
      const uint32_t kind = token(at);
      if (kind == begin_node) {
        if (depth++ >= deepest) continue;  // left out, with its children
        here.begin_ = at;
        here.depth_ = static_cast<unsigned>(depth - 1);
        here.up_[here.depth_] = {node::cells_of(here), here.find("ranges")};
        if constexpr (__is_same(decltype(visit(static_cast<const node&>(here))), bool)) {
          if (!visit(static_cast<const node&>(here))) return;
        } else {
          visit(static_cast<const node&>(here));
        }
      } else if (kind == end_node) {
        if (depth == 0 || --depth == 0) return;
      } else if (kind != property && kind != nothing) {
        return;
      }
    }
  }

  /// Finds the node with this phandle. Returns false, with `out` unchanged, if there is none.
  [[nodiscard]] bool by_phandle(uint32_t wanted, node& out) const {
    return first(out, [&](const node& one) {
      const value phandle = one.find("phandle"), old = one.find("linux,phandle");
      return (phandle.size == 4 && phandle.cell(0) == wanted) || (old.size == 4 && old.cell(0) == wanted);
    });
  }

  /// Finds the node at a path, `/soc/serial@9000000`, or at an alias or below it, `serial0`. Unit addresses may be
  /// left out.
  [[nodiscard]] bool at_path(value path, node& out) const {
    if (path.size != 0 && path.data[0] != '/') {
      const value alias = path.until('/');
      node aliases;
      const value rest = path.from(alias.size);
      const value whole =
          first(aliases, [](const node& one) { return one.depth() == 1 && one.name().equals(characters("aliases")); })
              ? aliases.find(alias).until('\0')
              : value{};
      // An alias of an alias is invalid.
      if (whole.size == 0 || whole.data[0] != '/') return false;
      return rest.size == 0 ? at_path(whole, out) : at_path(whole, rest, out);
    }
    return at_path(path, value{}, out);
  }

  /// Calls `visit(range)` for every range of memory that the blob's own list reserves.
  template <class Visit>
  void each_reservation(Visit&& visit) const {
    for (size_t i = 0; i < reservations_.size / 16; ++i) {
      const range one{reservations_.number(4 * i, 2), reservations_.number(4 * i + 2, 2)};
      if (one.base == 0 && one.size == 0) return;
      visit(one);
    }
  }

 private:
  static constexpr size_t header_size = 40;

  [[nodiscard]] static uint32_t read(const uint8_t* from) {
    return uint32_t{from[0]} << 24 | uint32_t{from[1]} << 16 | uint32_t{from[2]} << 8 | from[3];
  }

  template <class Is>
  [[nodiscard]] bool first(node& out, Is&& is) const {
    bool found = false;
    each_node([&](const node& one) {
      if (is(one)) {
        out = one;
        found = true;
      }
      return !found;
    });
    return found;
  }

  // Removes and returns the next name of a path that is in two pieces.
  [[nodiscard]] static value next_name(value& path, value& then) {
    for (;;) {
      while (path.size != 0 && path.data[0] == '/') path = path.from(1);
      if (path.size != 0 || then.size == 0) break;
      path = then;
      then = {};
    }
    const value name = path.until('/');
    path = path.from(name.size);
    return name;
  }

  [[nodiscard]] bool at_path(value path, value then, node& out) const {
    unsigned matched = 0;  // the number of the path's names that the parents have
    bool left = false;     // the walk has left the node with these names
    value wanted = next_name(path, then);
    return first(out, [&](const node& one) {
      if (one.depth() == 0) return wanted.size == 0;
      left = left || one.depth() <= matched;
      if (left || one.depth() != matched + 1) return false;
      const value name = one.name();
      if (!name.equals(wanted) && !name.until('@').equals(wanted)) return false;
      ++matched;
      wanted = next_name(path, then);
      return wanted.size == 0;
    });
  }

  // Returns the kind of token at `at`, 0 if no whole token is there.
  [[nodiscard]] uint32_t token(size_t at) const {
    if (at > structure_.size || structure_.size - at < 4) return 0;
    const uint32_t kind = read(structure_.data + at);
    if (kind == property && (structure_.size - at < 12 || value_size(at) > structure_.size - at - 12)) return 0;
    return kind;
  }
  // Returns the start of the token after the one at `at`.
  [[nodiscard]] size_t behind(size_t at) const {
    const uint32_t kind = read(structure_.data + at);
    if (kind == property) return at + 12 + (size_t{value_size(at)} + 3) / 4 * 4;
    at += 4;
    if (kind != begin_node) return at;
    while (at < structure_.size && structure_.data[at] != 0) ++at;  // the node's name
    return at / 4 * 4 + 4;
  }
  [[nodiscard]] uint32_t value_size(size_t at) const { return read(structure_.data + at + 4); }
  [[nodiscard]] value value_of(size_t at) const { return {structure_.data + at + 12, value_size(at)}; }
  [[nodiscard]] bool is_named(size_t at, value name) const {
    const size_t from = read(structure_.data + at + 8);
    if (from >= strings_.size || strings_.size - from <= name.size) return false;
    for (size_t i = 0; i < name.size; ++i)
      if (strings_.data[from + i] != name.data[i]) return false;
    return strings_.data[from + name.size] == 0;
  }

  value structure_{};
  value strings_{};
  value reservations_{};
};

}  // namespace boot
