// SPDX-License-Identifier: MIT
// A flattened device tree, read where it lies: nodes in order, their properties by name. Every offset and length is checked
// against the blob, every loop moves forward through it, so a blob that makes no sense ends early and nothing else.
// Spec: Devicetree Specification 0.4, chapter 5.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace boot {

/// A stretch of addresses.
struct range {
    uint64_t base{};
    uint64_t size{};
};

class device_tree {
    static constexpr uint32_t begin_node = 1, end_node = 2, property = 3, nothing = 4;
    static constexpr unsigned deepest = 16;

 public:
    /// Numbers of a property, `data` null when it is not there.
    struct value {
        const uint8_t* data{};
        size_t size{};

        [[nodiscard]] explicit operator bool() const { return data != nullptr; }
        /// The 32-bit cell `index`, 0 behind the end.
        [[nodiscard]] uint32_t cell(size_t index) const { return index < size / 4 ? read(data + 4 * index) : 0; }
        /// `count` cells from `index` on as one number; its lower 64 bits.
        [[nodiscard]] uint64_t number(size_t index, size_t count) const {
            uint64_t out = 0;
            for (size_t i = 0; i < count; ++i) out = out << 32 | cell(index + i);
            return out;
        }
        /// Whether one of the strings in it is this one.
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
    };

    struct cells {
        uint32_t address = 2, size = 1;
    };

    class node {
     public:
        [[nodiscard]] value find(const char* name) const {
            for (size_t at = first_; tree_->token(at) == property || tree_->token(at) == nothing; at = tree_->behind(at))
                if (tree_->token(at) == property && tree_->is_named(at, name)) return tree_->value_of(at);
            return {};
        }
        [[nodiscard]] bool is(const char* compatible) const {
            const value status = find("status");
            return find("compatible").has_string(compatible) && (!status || status.has_string("okay"));
        }
        /// Entry `index` of `reg`; size 0 when there is none.
        [[nodiscard]] range reg(size_t index) const {
            const value all = find("reg");
            const size_t stride = size_t{parent_.address} + parent_.size;
            if (stride > 8 || (index + 1) * stride * 4 > all.size) return {};
            return {all.number(index * stride, parent_.address), all.number(index * stride + parent_.address, parent_.size)};
        }

     private:
        friend device_tree;
        node(const device_tree& tree, size_t first, cells parent) : tree_{&tree}, first_{first}, parent_{parent} {}

        const device_tree* tree_;
        size_t first_;
        cells parent_;
    };

    /// The tree at `blob`, which must be readable as far as it says that it reaches, 2 MiB at most; an empty one when it is none.
    explicit device_tree(const void* blob) {
        const auto* const bytes = static_cast<const uint8_t*>(blob);
        if (bytes == nullptr || read(bytes) != 0xd00dfeed) return;
        const size_t total = read(bytes + 4), structure = read(bytes + 8), strings = read(bytes + 12);
        const size_t strings_size = read(bytes + 32), structure_size = read(bytes + 36);
        if (total > 2u << 20 || structure > total || strings > total || structure % 4 != 0) return;
        if (structure_size > total - structure || strings_size > total - strings) return;
        structure_ = {bytes + structure, structure_size};
        strings_ = {bytes + strings, strings_size};
    }

    [[nodiscard]] explicit operator bool() const { return structure_.size != 0; }

    /// Calls `visit(const node&)` for every node, parents before children.
    template <class Visit>
    void each_node(Visit&& visit) const {
        cells of[deepest]{};
        unsigned depth = 0;
        for (size_t at = 0; depth < deepest; at = behind(at)) {
            const uint32_t kind = token(at);
            if (kind == begin_node) {
                const node here{*this, behind(at), of[depth]};
                if (++depth == deepest) return;
                const value address = here.find("#address-cells"), size = here.find("#size-cells");
                of[depth] = {address ? address.cell(0) : 2, size ? size.cell(0) : 1};
                visit(here);
            } else if (kind == end_node) {
                if (--depth == 0) return;
            } else if (kind != property && kind != nothing) {
                return;
            }
        }
    }

 private:
    [[nodiscard]] static uint32_t read(const uint8_t* from) {
        return uint32_t{from[0]} << 24 | uint32_t{from[1]} << 16 | uint32_t{from[2]} << 8 | from[3];
    }

    // The kind of token at `at`, 0 when there is none that lies inside as a whole.
    [[nodiscard]] uint32_t token(size_t at) const {
        if (at > structure_.size || structure_.size - at < 4) return 0;
        const uint32_t kind = read(structure_.data + at);
        if (kind == property && (structure_.size - at < 12 || value_size(at) > structure_.size - at - 12)) return 0;
        return kind;
    }
    // Where the token behind the one at `at` starts.
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
    [[nodiscard]] bool is_named(size_t at, const char* name) const {
        size_t from = read(structure_.data + at + 8);
        for (; from < strings_.size && *name != '\0'; ++from, ++name)
            if (strings_.data[from] != static_cast<uint8_t>(*name)) return false;
        return from < strings_.size && *name == '\0' && strings_.data[from] == 0;
    }

    value structure_{};
    value strings_{};
};

}  // namespace boot
