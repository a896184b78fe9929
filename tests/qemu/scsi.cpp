// SPDX-License-Identifier: MIT
// A guest with a SCSI host: it finds the units and drives them as disks, with the checks for block devices; it handles
// units that are plugged and unplugged, and bad sectors.
#include <virtio/scsi.hpp>

#include "disk.hpp"

namespace {

using namespace cell;
namespace scsi = virtio::scsi;

template <class Queue, scsi::late_command Late = scsi::late_command::abort>
using host_of = scsi::device<bench, either, Queue, scsi::options{.late = Late}>;
constexpr usize most_units = 8;

template <class Host>
constinit Host the_host{};
template <class Host>
constinit scsi::unit<Host> the_units[most_units]{};

void print(const scsi::found& one) {
  boot::print("unit ", u32{one.where.target}, ":", u32{one.where.lun}, " kind ", static_cast<u32>(one.kind), " ");
  for (const char c : one.vendor) boot::put(c);
  boot::print(" ");
  for (const char c : one.product) boot::put(c);
  boot::print("\n");
}

template <class T>
void say(const char* what, const T& outcome, const scsi::failure& how) {
  boot::print(what, ": ", virtio::describe(outcome.error()), "; ", scsi::describe(how), "\n");
}

/// Brings the host up and opens its units, in the order of their addresses; returns their number.
template <class Host>
usize open_units(const bench& on) {
  Host& host = the_host<Host>;
  const auto where = bus::find(on, device_type::scsi);
  CHECK_OK(where);
  if (const auto up = host.start(on, *where, the_storage<Host>); !up) {
    boot::print("start: ", virtio::describe(up.error()), "; ", virtio::describe(host.why().why), "\n");
    CHECK_OK(up);
  }
  const bool is_legacy = !host.features().has(virtio::feature::version_1);
  if (const boot::text via = boot::option("via")) CHECK(is_legacy == (via == "legacy"));
  boot::print("up with ", boot::hex(u64{host.features().word(1)} << 32 | host.features().word(0)), "\n");
  usize count = 0;
  scsi::found all[most_units];
  const auto scanned = host.scan([&](const scsi::found& one) {
    CHECK(count < most_units);
    print(one);
    all[count++] = one;
  });
  CHECK_OK(scanned);
  CHECK_EQUAL(*scanned, count);
  for (usize i = 0; i < count; ++i) {
    const auto open = the_units<Host>[i].open(host, all[i].where);
    if (!open) say("open", open, host.last_failure());
    CHECK_OK(open);
  }
  return count;
}

/// Large blocks, or a read-only unit.
template <class Unit>
void check_other(Unit& unit, u64 seed) {
  const u64 sectors = unit.block_size() / 512;
  const bytes all = buffer(unit.capacity() * 512);
  fill(all, 0xa5);
  CHECK_OK(unit.read(0, all));
  check_pattern(all, 0, seed);
  const bytes block = buffer(unit.block_size());
  CHECK_OK(unit.read(3 * sectors, block));
  check_pattern(block, 3 * sectors, seed);
  if (sectors != 1) {
    CHECK_ERROR(unit.read(1, buffer(512)), errc::misaligned);
    CHECK_ERROR(unit.submit_read(sectors - 1, block), errc::misaligned);
  }
  CHECK_ERROR(unit.read(unit.capacity(), block), errc::out_of_range);
  if (unit.is_read_only()) {
    CHECK_ERROR(unit.write(0, block), errc::read_only);
    CHECK_ERROR(unit.submit_write(0, block), errc::read_only);
  }
  CHECK_OK(unit.flush());
}

/// A reader finds the kind of unit, and reads the same.
template <class Unit, class Host>
void check_reader(const Unit& unit, Host& host, u64 seed) {
  scsi::reader<Host> reader;
  const auto open = reader.open(host, unit.where());
  if (!open) say("reader", open, host.last_failure());
  CHECK_OK(open);
  CHECK_EQUAL(reader.capacity(), unit.capacity());
  CHECK_EQUAL(reader.block_size(), unit.block_size());
  const bytes most = buffer(160 * 512);
  fill(most, 0xa5);
  CHECK_OK(reader.read(8, most));
  check_pattern(most, 8, seed);
}

/// All checks of a disk, for every unit.
template <class Host>
void units() {
  const usize count = open_units<Host>(machine());
  CHECK_EQUAL(count, number("units", 1));
  for (usize i = 0; i < count; ++i) {
    auto& unit = the_units<Host>[i];
    char sectors[] = "sectors2", seed[] = "seed2";
    sectors[7] = seed[4] = i == 0 ? '\0' : static_cast<char>('1' + i);
    CHECK_EQUAL(unit.capacity(), number(sectors));
    boot::print("unit ", i, ": blocks of ", unit.block_size(), unit.is_read_only() ? ", read-only" : "",
                unit.can_discard() ? ", discards" : "", unit.has_write_cache() ? ", cached" : "", ", ",
                unit.largest_request(), " bytes a request\n");
    check_reader(unit, the_host<Host>, number(seed));
    if (unit.block_size() != 512 || unit.is_read_only()) {
      check_other(unit, number(seed));
      continue;
    }
    check_wrong_calls(unit);
    check_reads(unit, number(seed));
    check_engine(unit, number(seed), number("requests", 1000));
    check_scatter(unit, number(seed));
    check_mixed(unit, number(seed));
    if (i == 0) check_writes(unit);
    if (const u64 first = number("drop"); first != 0 && i == 0) {
      CHECK_OK(unit.discard(first, number("drop_count")));
      CHECK_EQUAL(unit.range_progress(), number("drop_count"));
    }
  }
  CHECK_ERROR(the_host<Host>.next_event(), errc::not_ready);
}

/// A bad sector is a MEDIUM ERROR, and the disk continues.
template <class Host>
void bad() {
  CHECK_EQUAL(open_units<Host>(machine()), 1u);
  auto& unit = the_units<Host>[0];
  const u64 first = number("bad_first"), seed = number("seed");
  const bytes data = buffer(8 * 512);
  const auto outcome = unit.read(first, data.part(0, 512));
  say("bad", outcome, unit.last_failure());
  CHECK_ERROR(outcome, errc::io_error);
  CHECK_ERROR(unit.read(first - 4, data), errc::io_error);
  for (usize i = 0; i < 8; ++i) CHECK_OK(unit.submit_read(i == 5 ? first : 10 * i, pages[i], i));
  CHECK_OK(unit.drain([&](const scsi::done& one) {
    if (one.cookie == 5) return CHECK_ERROR(one.status, errc::io_error);
    CHECK_OK(one.status);
    check_pattern(pages[one.cookie], 10 * one.cookie, seed);
  }));
  CHECK_OK(unit.read(first + 1, data));
  check_pattern(data, first + 1, seed);
}

/// A write that the host cannot do fails with its error, and no other request fails: neither the other unit's, nor
/// later ones.
template <class Host>
void bad_write() {
  CHECK_EQUAL(open_units<Host>(machine()), 2u);
  auto& unit = the_units<Host>[0];
  auto& neighbour = the_units<Host>[1];
  const u64 first = number("bad_first"), seeds[] = {number("seed"), number("seed2")};
  const auto wanted = number("full") != 0 ? scsi::sense_key::data_protect : scsi::sense_key::aborted_command;
  const bytes data = buffer(8 * 512);
  fill(data, 0x5a);
  const auto outcome = unit.write(first, data);
  say("bad", outcome, unit.last_failure());
  CHECK_ERROR(outcome, errc::io_error);
  CHECK(unit.last_failure().sense.key == wanted);
  for (usize i = 0; i < 8; ++i) {
    auto& of = i % 2 != 0 ? unit : neighbour;
    const u64 at = i == 5 ? first : 10 * i;
    fill_pattern(pages[i], at, seeds[i % 2 != 0 ? 0 : 1]);  // the same data as on the disk
    CHECK_OK(of.submit_write(at, pages[i], i));
  }
  u32 came = 0;
  CHECK_OK(unit.drain([&](const scsi::done& one) {
    ++came;
    if (one.cookie != 5) return CHECK_OK(one.status);
    CHECK_ERROR(one.status, errc::io_error);
    CHECK(one.how.sense.key == wanted);
  }));
  CHECK_EQUAL(came, 8u);
  fill_pattern(data, first + 1, seeds[0]);
  CHECK_OK(unit.write(first + 1, data));
  CHECK_OK(unit.flush());
  CHECK_OK(neighbour.flush());
  CHECK_OK(unit.read(first, data));
  check_pattern(data, first, seeds[0]);  // the failed write has changed nothing
  CHECK_OK(neighbour.read(first, data));
  check_pattern(data, first, seeds[1]);
}

/// Task management ends a read that a disk does not finish in time: the unit continues, and its neighbour works
/// meanwhile.
template <class Host>
void late() {
  bench impatient = machine();
  impatient.patience = number("patience");
  CHECK_EQUAL(open_units<Host>(impatient), 2u);
  auto& unit = the_units<Host>[0];
  auto& neighbour = the_units<Host>[1];
  const bytes data = buffer(8 * 512), other = buffer(16 * 512).part(8 * 512, 8 * 512);
  for (u32 round = 0; round < 2; ++round) {
    boot::print("hold\n");
    await_host();
    CHECK_OK(unit.read(40, other));  // the request that the host completes before it holds the next
    CHECK_OK(neighbour.submit_read(70, pages[0], 7));
    const auto outcome = unit.read(444, data);
    say("late", outcome, unit.last_failure());
    // A reset drains the disk in QEMU 10.0: the host completes the held request before it ends it.
    if (outcome) check_pattern(data, 444, number("seed"));
    else CHECK_ERROR(outcome, errc::timed_out);
    CHECK_EQUAL(unit.capacity(), number("sectors"));  // the host is up
    fill(data, 0xa5);
    const auto done = unit.next_completion();
    CHECK_OK(done);
    CHECK_EQUAL(done->cookie, 7u);
    CHECK_OK(done->status);
    check_pattern(pages[0], 70, number("seed2"));
    CHECK_OK(neighbour.read(9, other));
    check_pattern(other, 9, number("seed2"));
    boot::print("ended\n");
    await_host();
    CHECK(all_are(data, 0xa5));  // it was ended, and the disk does not write there any more
    CHECK_OK(unit.read(40, other));
    check_pattern(other, 40, number("seed"));
    CHECK_OK(unit.write(1000, other));
    CHECK_OK(unit.flush());
    CHECK_OK(unit.read(1000, data));
    check_pattern(data, 40, number("seed"));
    fill_pattern(data, 1000, number("seed"));
    CHECK_OK(unit.write(1000, data));
  }
}

/// Waits for an event about a unit.
template <class Host>
scsi::event await_event(scsi::event::kind wanted) {
  for (;; boot::pause()) {
    const auto event = the_host<Host>.next_event();
    if (!event) {
      CHECK_ERROR(event, errc::not_ready);
      continue;
    }
    boot::print("event ", static_cast<u32>(event->what), " ", u32{event->where.target}, ":", u32{event->where.lun},
                "\n");
    if (event->what == wanted) return *event;
  }
}

/// A disk is plugged, used and unplugged, twice; the last time with a command in flight.
template <class Host>
void plug() {
  auto& host = the_host<Host>;
  CHECK_EQUAL(open_units<Host>(machine()), 1u);
  auto& unit = the_units<Host>[1];
  const bytes data = buffer(8 * 512);
  CHECK_ERROR(host.next_event(), errc::not_ready);
  for (u32 round = 0; round < 2; ++round) {
    boot::print("round ", round, ": waiting\n");
    const auto came = await_event<Host>(scsi::event::kind::rescan);
    u32 found = 0;
    CHECK_OK(host.scan_target(came.where.target, [&](const scsi::found& one) {
      print(one);
      found += one.where == came.where;
    }));
    CHECK_EQUAL(found, 1u);
    CHECK_OK(unit.open(host, came.where));
    CHECK_OK(unit.read(9, data));
    check_pattern(data, 9, number("seed2"));
    boot::print("in use\n");
    const auto gone = await_event<Host>(scsi::event::kind::removed);
    CHECK(gone.where == came.where);
    const auto outcome = unit.read(9, data);
    say("pulled", outcome, unit.last_failure());
    CHECK_ERROR(outcome, errc::not_found);
    CHECK_OK(the_units<Host>[0].read(9, data));
    check_pattern(data, 9, number("seed"));
    boot::print("gone\n");
  }
}

/// A medium that is removed from the drive, and another that is inserted.
template <class Host>
void tray() {
  CHECK_EQUAL(open_units<Host>(machine()), 1u);
  auto& unit = the_units<Host>[0];
  const bytes data = buffer(8 * 512);
  CHECK_OK(unit.read(0, data));
  boot::print("eject\n");
  for (errc outcome = errc::ok; outcome != errc::not_ready; boot::pause()) outcome = unit.read(0, data).error();
  say("empty", unit.refresh(), unit.last_failure());
  boot::print("insert\n");
  while (!unit.refresh()) boot::pause();
  CHECK_OK(unit.read(0, data));
  check_pattern(data, 0, number("seed"));
}

template <class Host>
void run() {
  const boot::text word = boot::option("run");
  if (word == "units") units<Host>();
  else if (word == "bad") bad<Host>();
  else if (word == "bad_write") bad_write<Host>();
  else if (word == "late") late<Host>();
  else if (word == "plug") plug<Host>();
  else if (word == "tray") tray<Host>();
  else fail_at(__FILE_NAME__, __LINE__, "no such thing to run");
  CHECK_OK(the_host<Host>.hand_off());
  boot::print("done\n");
}

}  // namespace

extern "C" int guest_main(const char*) {
  if (number("packed") != 0) run<host_of<virtio::packed_queue<256, virtio::packed_options{.indirect = 8}>>>();
  else if (boot::option("late") == "unit") run<host_of<usual_queue, scsi::late_command::resets_unit>>();
  else run<host_of<usual_queue>>();
  return 0;
}
