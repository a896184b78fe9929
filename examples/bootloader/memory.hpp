// SPDX-License-Identifier: MIT
// Free memory: the machine's ranges, without those in use. For a boot loader: it takes a few large pieces and returns
// none.
#pragma once

#include <virtio/base/result.hpp>
#include <virtio/base/types.hpp>

namespace loader {

using virtio::errc, virtio::result, virtio::u64, virtio::usize;

class memory {
 public:
  static constexpr usize most_ranges = 160;

  /// Adds free memory. A range that does not fit into the list is not used, which is safe.
  void add(u64 at, u64 size) {
    if (size == 0 || size > ~u64{0} - at || count_ == most_ranges) return;
    ranges_[count_++] = {at, at + size};
  }

  /// Removes a range, as far as it is free.
  void take(u64 at, u64 size) {
    if (size == 0) return;
    const u64 end = size > ~u64{0} - at ? ~u64{0} : at + size;
    for (usize i = 0; i < count_; ++i) {
      range& one = ranges_[i];
      if (end <= one.begin || at >= one.end) continue;
      const range behind{end, one.end};
      one.end = at > one.begin ? at : one.begin;
      if (behind.begin < behind.end) {
        if (one.begin == one.end) one = behind;
        else if (count_ < most_ranges) ranges_[count_++] = behind;
      }
    }
  }

  [[nodiscard]] bool is_free(u64 at, u64 size) const {
    for (usize i = 0; i < count_; ++i)
      if (at >= ranges_[i].begin && at <= ranges_[i].end && size <= ranges_[i].end - at) return true;
    return false;
  }

  /// Takes the lowest place from `from` on, at a multiple of `alignment`, a power of two, that ends at `below` or
  /// before.
  /// Error: `no_space`.
  [[nodiscard]] result<u64> take_lowest(u64 size, u64 alignment, u64 from, u64 below) {
    u64 best = ~u64{0};
    for (usize i = 0; i < count_; ++i) {
      const u64 begin = up(ranges_[i].begin > from ? ranges_[i].begin : from, alignment);
      if (begin < best && fits(begin, size, ranges_[i], below)) best = begin;
    }
    return claim(best, size);
  }

  /// Takes the highest place in the same way.
  [[nodiscard]] result<u64> take_highest(u64 size, u64 alignment, u64 below) {
    u64 best = 0;
    bool found = false;
    for (usize i = 0; i < count_; ++i) {
      const u64 end = ranges_[i].end < below ? ranges_[i].end : below;
      if (end < size) continue;
      const u64 begin = (end - size) & ~(alignment - 1);
      if ((!found || begin > best) && fits(begin, size, ranges_[i], below)) {
        best = begin;
        found = true;
      }
    }
    return claim(found ? best : ~u64{0}, size);
  }

 private:
  struct range {
    u64 begin, end;
  };
  [[nodiscard]] static u64 up(u64 at, u64 alignment) {
    const u64 out = (at + alignment - 1) & ~(alignment - 1);
    return out < at ? ~u64{0} : out;
  }
  [[nodiscard]] static bool fits(u64 begin, u64 size, const range& in, u64 below) {
    return begin >= in.begin && begin <= in.end && size <= in.end - begin && begin <= below && size <= below - begin;
  }
  [[nodiscard]] result<u64> claim(u64 at, u64 size) {
    if (at == ~u64{0}) return errc::no_space;
    take(at, size);
    return at;
  }

  range ranges_[most_ranges]{};
  usize count_ = 0;
};

}  // namespace loader
