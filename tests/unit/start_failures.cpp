// SPDX-License-Identifier: MIT
// Effects of a start on the bus, also of a failed one: the command register is restored, the device is reset, and it
// accesses no memory before that.
#include <catch2/generators/catch_generators.hpp>

#include <virtio/bus/pci/msix.hpp>
#include <virtio/mmio.hpp>
#include <virtio/testing/fake_mmio.hpp>

#include "disk.hpp"
#include "entropy.hpp"
#include "vsock.hpp"

using namespace virtio;
using virtio::testing::vsock_model;

namespace {

constexpr u16 no_line = 0x0400;

u16 command_of(fake_function& f) { return static_cast<u16>(f.peek(4, 2)); }

/// Sets the function's command register, and starts to log its writes.
void begin_trace(fake_function& f, u16 command) {
  f.config_write(0x04, command);
  f.logs_command = true;
  f.clear_log();
}

/// All values that were written to the command register.
std::vector<u16> commands(fake_function& f) {
  std::vector<u16> all;
  for (usize at = 0; (at = f.log().find("command=", at)) != std::string::npos; at += 8)
    all.push_back(static_cast<u16>(std::stoul(f.log().substr(at + 8), nullptr, 16)));
  return all;
}

/// Drivers of every type with one interface: starts, failures and restarts are the same for all.
template <class Transport>
struct three {
  rig::disk<rig::legacy_queue, Transport> disk;
  rig::entropy<rig::legacy_queue, Transport> entropy;
  rig::driver<vsock::device<rig::platform_type, Transport, rig::legacy_queue>> sockets;

  template <class F>
  auto with(u16 type, F&& f) {
    if (type == 2) return f(disk);
    if (type == 4) return f(entropy);
    return f(sockets);
  }
};

device_model& add(rig::machine& m, seat where, u8 slot, u16 type) {
  if (type == 2) return m.add<blk_model>(where, slot);
  if (type == 4) return m.add<rng_model>(where, slot);
  return m.add<vsock_model>(where, slot);
}

}  // namespace

TEST_CASE("start: the interrupt line is unchanged, also by every restart", "[session][pci][interrupts]") {
  const seat where = GENERATE(seat::modern, seat::transitional, seat::legacy, seat::crosvm);
  const u16 type = GENERATE(u16{2}, u16{4}, u16{19});
  if (type == 19 && where != seat::modern) return;
  const u16 found = GENERATE(u16{0}, no_line, u16{0x0507}, u16{0x0107});
  CAPTURE(rig::name(where), type, found);
  rig::machine m;
  auto& model = add(m, where, 4, type);
  auto& f = m.function(4);
  three<rig::any_pci> drivers;
  begin_trace(f, found);
  const auto is_kept = [&] { return (command_of(f) & no_line) == (found & no_line); };
  drivers.with(type, [&](auto& d) {
    const auto start = [&] { return d.start(m, m.where(4)); };
    REQUIRE(start());
    CHECK(is_kept());
    REQUIRE(start());  // while it runs
    CHECK(is_kept());
    REQUIRE(d->reset());
    CHECK(is_kept());
    REQUIRE(start());
    CHECK(is_kept());
    model.set_needs_reset();
    CHECK(d->check().error() == errc::needs_reset);
    CHECK(is_kept());
    REQUIRE(start());
    CHECK(is_kept());
    REQUIRE(d->hand_off());
    CHECK(command_of(f) == (found & ~4));  // and without bus mastering
    REQUIRE(start());
    CHECK(is_kept());
    REQUIRE(d->hand_off());
    for (const u16 seen : commands(f)) CHECK((seen & no_line) == (found & no_line));  // also in between
    f.config_write(0x04, found ^ no_line);  // a change by the kernel, which the next start finds
    REQUIRE(start());
    CHECK(!is_kept());
    f.config_write(0x04, command_of(f) ^ no_line);  // also while it runs
    REQUIRE(start());
    CHECK(is_kept());
    return 0;
  });
}

TEST_CASE("start: a program that requests the interrupt line has it enabled until the driver releases the device",
          "[session][pci][interrupts]") {
  const seat where = GENERATE(seat::modern, seat::transitional, seat::legacy);
  const u16 type = GENERATE(u16{2}, u16{4}, u16{19});
  if (type == 19 && where != seat::modern) return;
  const u16 found = GENERATE(u16{0}, no_line, u16{0x0507}, u16{0x0107});
  CAPTURE(rig::name(where), type, found);
  rig::machine m;
  (void)add(m, where, 4, type);
  auto& f = m.function(4);
  three<rig::any_pci> drivers;
  begin_trace(f, found);
  drivers.with(type, [&](auto& d) {
    const auto start = [&](const interrupt_vectors& by) {
      if constexpr (requires { d->start(m.platform(), m.where(4), d.storage(), by); })
        return d->start(m.platform(), m.where(4), d.storage(), by);
      else return d->start(m.platform(), m.where(4), d.storage(), virtio::vsock::seed{1}, by);
    };
    REQUIRE(start(interrupt_line));
    CHECK((command_of(f) & no_line) == 0);
    REQUIRE(start(interrupt_line));
    CHECK((command_of(f) & no_line) == 0);
    REQUIRE(d->reset());  // still used by the driver
    CHECK((command_of(f) & no_line) == 0);
    REQUIRE(start({}));  // now it polls
    CHECK((command_of(f) & no_line) == (found & no_line));
    REQUIRE(start(interrupt_line));
    REQUIRE(d->hand_off());
    CHECK(command_of(f) == (found & ~4));
    return 0;
  });
}

TEST_CASE("start: the device first only answers at its registers, and accesses memory only after its reset",
          "[session][pci]") {
  const bool asks = GENERATE(false, true);
  const u16 found = GENERATE(u16{0}, no_line, u16{7});
  rig::machine m;
  auto& model = m.add<rng_model>(GENERATE(seat::modern, seat::legacy), 4);
  auto& f = m.function(4);
  begin_trace(f, found);
  model.reset_reads = 3;
  rig::entropy<rig::legacy_queue> e;
  REQUIRE(e->start(m.platform(), m.where(4), e.storage(), asks ? interrupt_line : interrupt_vectors{}));
  const std::string status = e->why().via == transport_kind::pci_legacy ? "1@legacy+0x12" : "1@common+0x14";
  const std::string decoding = e->why().via == transport_kind::pci_legacy ? "1" : "2";
  std::string wanted;
  if (found == 0) wanted = "command=0x" + decoding + " ";
  if (found == no_line) wanted = "command=0x40" + decoding + " ";
  wanted += "w" + status + "=0x0 r" + status + " r" + status + " r" + status + " ";
  const std::string both = decoding == "1" ? "5" : "6";
  if (found == 0) wanted += "command=0x" + both + " ";
  if (found == no_line) wanted += (asks ? "command=0x" : "command=0x40") + both + " ";
  wanted += "w" + status + "=0x1 ";
  CAPTURE(found, asks, f.log());
  CHECK(f.log().starts_with(wanted));
}

namespace {

// The register writes at the end of a failed start: FAILED, added to the previous bits, and a reset.
const std::string modern_reset = "w1@common+0x14=0x83 w1@common+0x14=0x0 r1@common+0x14";
const std::string late_reset = "w1@common+0x14=0x8b w1@common+0x14=0x0 r1@common+0x14";
const std::string legacy_reset = "w1@legacy+0x12=0x83 w1@legacy+0x12=0x0 r1@legacy+0x12";

}  // namespace

TEST_CASE(
    "start: after any failure the command register is restored, and the device is reset if possible [INIT-12][INIT-13]",
    "[session][pci][hostile]") {
  const u16 found = GENERATE(u16{0}, no_line, u16{0x0003}, u16{0x0107}, u16{0x0507});
  rig::machine m;
  auto& f = [&]() -> fake_function& {
    m.add<blk_model>(seat::modern, 4);
    return m.function(4);
  }();
  auto& model = static_cast<blk_model&>(*m.models.back());
  rig::disk<> d;
  dma_region storage = d.storage();
  interrupt_vectors by = GENERATE(false, true) ? interrupt_line : interrupt_vectors{};
  std::string end = late_reset;
  bool other_driver = false;
  verdict why{};
  SECTION("another type") {
    other_driver = true;
    why = verdict::wrong_type;
    end = "";
  }
  SECTION("storage that is too small") {
    storage.size = 100;
    why = verdict::storage_unusable;
    end = "";
  }
  SECTION("no common configuration") {
    f.poke(f.capability(0x09, 1) + 3u, 9, 1);
    why = verdict::capability_missing;
    end = "";
  }
  SECTION("a structure in a BAR without an address") {
    f.poke(0x20, 0x0c, 4);
    f.poke(0x24, 0, 4);
    why = verdict::bar_unassigned;
    end = "";
  }
  SECTION("a reset that does not end") {
    model.reset_reads = device_model::forever;
    why = verdict::reset_timed_out;
    end = "r1@common+0x14";
  }
  SECTION("a disk with zones") {
    model.offer({17});
    why = verdict::feature_unsupported;
    end = modern_reset;
  }
  SECTION("VERSION_1 not offered") {
    model.withdraw({32});
    why = verdict::feature_missing;
    end = modern_reset;
  }
  SECTION("FEATURES_OK does not stay") {
    model.refuse_features = true;
    why = verdict::features_refused;
    end = late_reset;
  }
  SECTION("no queue") {
    model.at(0).maximum = model.at(0).size = 0;
    why = verdict::queue_missing;
  }
  SECTION("a doorbell outside its structure") {
    model.at(0).notify_off = 0xffff;
    why = verdict::queue_unusable;
  }
  SECTION("a vector for the configuration with MSI-X off") {
    by.config = 0;
    why = verdict::vector_refused;
  }
  SECTION("a vector for the queue with MSI-X off") {
    by.first = 0;
    why = verdict::vector_refused;
  }
  SECTION("a configuration that never holds still") {
    model.generation_every = 1;
    why = verdict::config_unreadable;
  }
  begin_trace(f, found);
  CAPTURE(found, f.log());
  rig::entropy<> e;
  const auto place = m.where(4);
  const auto up =
      other_driver ? e->start(m.platform(), place, e.storage(), by) : d->start(m.platform(), place, storage, by);
  CHECK(!up);
  const report& said = other_driver ? e->why() : d->why();
  CHECK(said.why == why);
  CHECK(said.error == up.error());
  CHECK(command_of(f) == found);
  // The last access on the bus restores the command register, if it was changed.
  std::string log = f.log();
  if (const auto last = log.rfind(" command="); last != std::string::npos && log.find('@', last) == std::string::npos)
    log.resize(last);
  if (end.empty()) CHECK(log.empty());
  else CHECK(log.ends_with(end));
  if (why != verdict::reset_timed_out) CHECK(model.status() == 0);
  // Bus mastering, if it was off before, is never on before a confirmed reset.
  if ((found & 4) == 0 && why == verdict::reset_timed_out)
    for (const u16 seen : commands(f)) CHECK((seen & 4) == 0);
  CHECK(d->hand_off().error() == errc::not_started);  // no memory is held, and another driver may have the device
  CHECK(d->reset().error() == errc::not_started);
  CHECK(command_of(f) == found);
}

TEST_CASE(
    "start: after any failure on a legacy device the command register is restored, and the device is reset [INIT-12]",
    "[session][pci][legacy][hostile]") {
  const u16 found = GENERATE(u16{0}, no_line, u16{0x0107});
  rig::machine m;
  auto& model = m.add<blk_model>(seat::legacy, 4, blk_options{.queue_size = 16});
  auto& f = m.function(4);
  rig::disk<> d;
  interrupt_vectors by{};
  verdict why{};
  std::string end = legacy_reset;
  SECTION("no I/O BAR") {
    f.poke(0x10, 0, 4);
    f.bar_sizes[0] = 0;
    why = verdict::legacy_without_io_bar;
    end = "";
  }
  SECTION("a reset that does not end") {
    model.reset_reads = device_model::forever;
    why = verdict::reset_timed_out;
    end = "r1@legacy+0x12";
  }
  SECTION("a disk with zones") {
    model.offer({17});
    why = verdict::feature_unsupported;
  }
  SECTION("no queue") {
    model.at(0).maximum = model.at(0).size = 0;
    why = verdict::queue_missing;
  }
  SECTION("a vector with MSI-X off") {
    by.first = 0;
    why = verdict::vector_refused;
  }
  begin_trace(f, found);
  CHECK(!d->start(m.platform(), m.where(4), d.storage(), by));
  CHECK(d->why().why == why);
  CHECK(command_of(f) == found);
  std::string log = f.log();
  if (const auto last = log.rfind(" command="); last != std::string::npos && log.find('@', last) == std::string::npos)
    log.resize(last);
  CAPTURE(found, f.log());
  if (end.empty()) CHECK(log.empty());
  else CHECK(log.ends_with(end));
  if (why != verdict::reset_timed_out) CHECK(model.status() == 0);
}

TEST_CASE("start: a device that keeps the storage and does not reset is restored on the bus, and is reset later",
          "[session][pci][hostile]") {
  const seat where = GENERATE(seat::modern, seat::legacy);
  const u16 found = GENERATE(u16{0}, no_line, u16{0x0107});
  rig::machine m;
  auto& model = m.add<blk_model>(where, 4, blk_options{.queue_size = 16, .size_max = 100, .seg_max = 3});
  auto& f = m.function(4);
  model.before_config_read = [&](u32, u32) { model.reset_reads = device_model::forever; };
  rig::disk<> d;
  begin_trace(f, found);
  CHECK(d.start(m, m.where(4)).error() == errc::device_broken);
  CHECK(command_of(f) == found);
  u8 sector[512];
  CHECK(d->read(0, sector).error() == errc::not_started);
  CHECK(d->check().error() == errc::device_broken);  // the storage is not the caller's
  // The handler of a shared line reads it: without decoding it would read as all ones.
  const interrupt_cause cause = d->acknowledge_interrupt();
  CHECK_FALSE((cause.queue || cause.config));
  CHECK(d.start(m, m.where(4)).error() == errc::device_broken);
  CHECK(command_of(f) == found);
  CHECK(d->hand_off().error() == errc::device_broken);
  CHECK(command_of(f) == (found & ~4));
  model.reset_reads = 0;
  CHECK(d->reset());  // which enables its decoding
  CHECK(model.status() == 0);
  REQUIRE(d->hand_off());
  CHECK(command_of(f) == (found & ~4));
  CHECK(d->read(0, sector).error() == errc::not_started);
}

TEST_CASE("start: if one of several queues is missing, the device has none of them afterwards",
          "[session][pci][vsock]") {
  const u16 missing = GENERATE(u16{0}, u16{1}, u16{2});
  sockets s;
  s.model.at(missing).maximum = s.model.at(missing).size = 0;
  begin_trace(s.m.function(4), 0);
  CHECK(s.begin().error() == errc::not_found);
  CHECK(s->why().why == verdict::queue_missing);
  CHECK(s->why().queue == missing);
  CHECK(command_of(s.m.function(4)) == 0);
  CHECK(s.model.status() == 0);
  for (u16 q = 0; q < 3; ++q) CHECK(!s.model.at(q).enabled);
  CHECK(s->hand_off().error() == errc::not_started);
  s.model.at(missing).maximum = s.model.at(missing).size = 64;
  REQUIRE(s.begin());
  s.check_works(s.connected());
}

TEST_CASE("start: a start on another device restores the previous device", "[session][pci]") {
  rig::machine m;
  auto& first = m.add<rng_model>(seat::modern, 4);
  m.add<rng_model>(seat::modern, 5);
  begin_trace(m.function(4), no_line);
  begin_trace(m.function(5), 0);
  rig::entropy<> e;
  REQUIRE(e->start(m.platform(), m.where(4), e.storage(), interrupt_line));
  REQUIRE(e.start(m, m.where(5)));
  CHECK(first.status() == 0);
  CHECK(command_of(m.function(4)) == no_line);
  u8 seed[8];
  CHECK(e->fill(seed));
}

TEST_CASE("mmio: after any failure the device is reset if possible [INIT-12][INIT-13]", "[session][mmio][hostile]") {
  const u32 version = GENERATE(1u, 2u);
  virtio::testing::strict_machine memory;
  virtio::testing::fake_mmio row;
  blk_model model{memory.memory, blk_options{}};
  auto& slot = row.add(model, version);
  rig::driver<blk::device<rig::platform_type, mmio::transport<virtio::testing::fake_mmio::bus_type>, split_queue<16>>>
      d;
  interrupt_vectors by{};
  verdict why{};
  std::string end = "w4@0x70=0x83 w4@0x70=0x0 r4@0x70";
  const std::string late = version == 2 ? "w4@0x70=0x8b w4@0x70=0x0 r4@0x70" : end;
  SECTION("a reset that does not end") {
    model.reset_reads = device_model::forever;
    why = verdict::reset_timed_out;
    end = "r4@0x70";
  }
  SECTION("a feature that the driver does not know") {
    model.offer({17});
    why = verdict::feature_unsupported;
  }
  SECTION("no queue") {
    slot.queue_size_max = 0;
    why = verdict::queue_missing;
    end = late;
  }
  SECTION("a queue that is in use after a reset") {
    slot.queue_in_use = 1;
    why = verdict::queue_unusable;
    end = late;
  }
  SECTION("a vector, of which there are none") {
    by.first = 0;
    why = verdict::vector_refused;
    end = late;
  }
  SECTION("limits that no request can meet") {
    model.offer({1, 2});
    model.put_config(0x08, 100, 4);
    model.put_config(0x0c, 3, 4);
    why = verdict::limits_unusable;
    end = late;
  }
  CHECK(!d->start({&memory}, mmio::at(row.bus(), 0), d.storage(), by));
  CHECK(d->why().why == why);
  CAPTURE(slot.log());
  CHECK(slot.log().ends_with(end));
  if (why != verdict::reset_timed_out) CHECK(model.status() == 0);
  CHECK(d->hand_off().error() == errc::not_started);
  for (const auto& what : row.violations()) FAIL_CHECK(what);
}
