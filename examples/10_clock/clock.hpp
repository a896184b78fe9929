// SPDX-License-Identifier: MIT
// A clock that runs by the processor's counter and is synchronized with a better clock, and its text form.
#pragma once

#include <virtio/base/types.hpp>

#include "board.hpp"

/// Microseconds since 1970, UTC, from a counter. Its frequency is measured: the other clock's progress between two
/// readings.
class kept_clock {
 public:
  static constexpr virtio::s64 largest_slew = 500'000;  // a larger difference is corrected in one step
  static constexpr virtio::u64 shortest_look = 50'000, longest_look = 10'000'000;  // for `measure`

  /// Returns the time at the counter value `ticks`. Only `set` makes it run back.
  [[nodiscard]] virtio::u64 at(virtio::u64 ticks) const { return shown_ + ((ticks - since_) * rate_ >> 32); }

  /// Sets the time, whatever the time was before. The clock stands still before its first `measure`.
  void set(virtio::u64 moment, virtio::u64 ticks) {
    shown_ = looked_ = moment;
    since_ = ticks;
    rate_ = measured_;
  }

  /// Measures the counter's frequency from the last `set` to this moment, and sets the clock to it. Returns false if
  /// the other clock was set meanwhile, or if the counter stands.
  [[nodiscard]] bool measure(virtio::u64 moment, virtio::u64 ticks) {
    const virtio::u64 went = moment - looked_;  // huge if the clock went back
    if (went < shortest_look || went > longest_look || ticks == since_) return false;
    measured_ = (went << 32) / (ticks - since_);
    set(moment, ticks);
    return true;
  }

  /// Changes the speed so that the clocks agree after the next interval, if it is as long as the last one. Returns by
  /// how much this clock was ahead.
  virtio::s64 keep(virtio::u64 moment, virtio::u64 ticks) {
    const virtio::u64 shown = at(ticks), between = ticks - since_;
    const auto ahead = static_cast<virtio::s64>(shown - moment);
    if (ahead > largest_slew || ahead < -largest_slew || between == 0) {
      set(moment, ticks);
      return ahead;
    }
    // The other clock's progress per tick, in 2^-32 microseconds.
    if (moment > looked_) measured_ = ((moment - looked_) << 32) / between;
    shown_ = shown;
    looked_ = moment;
    since_ = ticks;
    const virtio::u64 slew = (static_cast<virtio::u64>(ahead < 0 ? -ahead : ahead) << 32) / between;
    rate_ = ahead < 0 ? measured_ + slew : measured_ - (slew < measured_ ? slew : measured_);
    return ahead;
  }

 private:
  virtio::u64 shown_ = 0, since_ = 0, looked_ = 0;
  virtio::u64 rate_ = 0, measured_ = 0;
};

/// Prints a moment as "2026-11-29 16:30:00 UTC".
inline void print_moment(virtio::u64 microseconds) {
  const auto is_leap = [](unsigned year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; };
  const auto two = [](unsigned n) { boot::print(n < 10 ? "0" : "", n); };
  const auto seconds = static_cast<virtio::u32>(microseconds / 1'000'000);
  unsigned days = seconds / 86'400, year = 1970, month = 0;
  for (; days >= (is_leap(year) ? 366u : 365u); ++year) days -= is_leap(year) ? 366u : 365u;
  constexpr unsigned char lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const auto length = [&](unsigned n) { return lengths[n] + (n == 1 && is_leap(year) ? 1u : 0u); };
  for (; days >= length(month); ++month) days -= length(month);
  boot::print(year, "-"), two(month + 1), boot::print("-"), two(days + 1), boot::print(" ");
  two(seconds / 3600 % 24), boot::print(":"), two(seconds / 60 % 60), boot::print(":"), two(seconds % 60),
      boot::print(" UTC");
}
