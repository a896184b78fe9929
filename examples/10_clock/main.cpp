// SPDX-License-Identifier: MIT
// A guest of OpenBSD's vmd with the right time: it sets its clock from the host's, keeps it synchronized, sets it again
// when the host requests it, and ends when the host requests a shutdown or a reboot. With `seconds=60` on the command
// line it requests its own power-off after 60 seconds. On another host it reports that there is no such device.
#include <virtio/vmmci.hpp>

#include "board.hpp"
#include "clock.hpp"

namespace {

using machine = bus::profiled<board>;

constexpr virtio::u64 second = 1'000'000;
constexpr virtio::u64 between_syncs = 15 * second;

constinit virtio::vmmci::device<board, bus::transport<machine>> control;
constinit kept_clock ours;

/// Waits by the board's rough clock. The program polls for requests often: the host waits at most 3 seconds for an
/// answer.
void wait(virtio::u64 milliseconds) {
  for (const auto began = boot::timestamp(); boot::milliseconds_since(began) < milliseconds;) boot::pause();
}

virtio::result<virtio::u64> host_moment() {
  VIRTIO_TRY_ASSIGN(const auto now, control.clock());
  return now.seconds * second + now.microseconds;
}

/// Measures the processor's counter by two readings of the host's clock. It repeats them if the clock was set
/// meanwhile.
virtio::result<void> find_frequency() {
  for (int attempt = 0; attempt < 10; ++attempt) {
    VIRTIO_TRY_ASSIGN(const auto first, host_moment());
    ours.set(first, boot::timestamp());
    wait(100);
    VIRTIO_TRY_ASSIGN(const auto second_look, host_moment());
    if (ours.measure(second_look, boot::timestamp())) return {};
  }
  return virtio::errc::device_misbehaved;
}

virtio::result<void> set() {
  VIRTIO_TRY_ASSIGN(const auto moment, host_moment());
  ours.set(moment, boot::timestamp());
  boot::print("set to "), print_moment(moment), boot::print("\n");
  return {};
}

virtio::result<void> keep() {
  VIRTIO_TRY_ASSIGN(const auto moment, host_moment());
  const auto ahead = ours.keep(moment, boot::timestamp());
  print_moment(moment);
  boot::print(": ours was ", ahead < 0 ? -ahead : ahead, " us ", ahead < 0 ? "behind" : "ahead", "\n");
  // A large difference means that the host's clock was set, or that the frequency is wrong: the machine may have been
  // migrated.
  if (ahead > kept_clock::largest_slew || ahead < -kept_clock::largest_slew) return find_frequency();
  return {};
}

/// Returns the option's value, or 0 without it.
virtio::u64 seconds_to_run(boot::text words) {
  virtio::u64 number = 0;
  for (virtio::usize i = 0; i < words.size && i < 9; ++i)
    number = number * 10 + static_cast<unsigned char>(words.data[i] - '0') % 10u;
  return number;
}

}  // namespace

extern "C" int guest_main(const char* words) {
  const machine here = bus::detected(board{});
  const auto where = bus::find(here, virtio::device_type::vmmci);
  if (!where) return board::fail("no control device", where);
  if (const auto up = control.start(board{}, *where); !up) return board::fail("start", up.error(), control.why());

  if (const auto found = find_frequency(); !found) return board::fail("clock", found.error());
  if (const auto done = set(); !done) return board::fail("clock", done.error());

  const virtio::u64 to_run = seconds_to_run(boot::option_in(words, "seconds")) * second;
  virtio::u64 ran = 0;  // microseconds until `kept`: the clock may be set back
  for (virtio::u64 kept = ours.at(boot::timestamp());;) {
    wait(100);
    const auto asked = control.next_request();
    if (asked) {
      boot::print("the host asks for ", virtio::vmmci::name(*asked), "\n");
      if (*asked != virtio::vmmci::request::resync) return 0;  // vmd waits only for the guest's end
    } else if (asked.error() != virtio::errc::not_ready && asked.error() != virtio::errc::unsupported) {
      return board::fail("control device", asked.error());
    }
    const virtio::u64 since = ours.at(boot::timestamp()) - kept;
    if (to_run != 0 && ran + since >= to_run) {
      boot::print("that was all: the host is asked to switch this machine off\n");
      const auto sent = control.power_off();
      return sent ? 0 : board::fail("power off", sent.error());
    }
    if (asked || since >= between_syncs) {
      if (const auto done = asked ? set() : keep(); !done) return board::fail("clock", done.error());
      ran += since;
      kept = ours.at(boot::timestamp());
    }
  }
}
