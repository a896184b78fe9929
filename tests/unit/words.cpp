// SPDX-License-Identifier: MIT
// Texts of verdicts and errors, for a reader who has only the text: one term for each fact, and the numbers that belong
// to it.
#include <catch2/generators/catch_generators.hpp>

#include <set>

#include <virtio/mmio.hpp>
#include <virtio/testing/fake_mmio.hpp>

#include "disk.hpp"
#include "entropy.hpp"
#include "usual_mmio.hpp"
#include "vsock.hpp"

using namespace virtio;

namespace {

bool says(const char* text, const char* part) { return std::string{text}.find(part) != std::string::npos; }

bool has_no_numbers(const report& r) {
  return r.capability == 0 && r.bar == 0 && r.feature == 0 && r.wanted == 0 && r.available == 0;
}

using slots = virtio::testing::fake_mmio;
using slot_disk =
    rig::driver<blk::device<rig::platform_type, decltype(rig::usual_mmio<slots::bus_type>()), split_queue<16>>>;

/// A machine with one disk in a slot.
struct slot_machine {
  virtio::testing::strict_machine memory;
  slots row;
  blk_model model;
  virtio::testing::fake_mmio_slot& slot;
  slot_disk d;

  explicit slot_machine(u32 version = 2, blk_options options = {})
      : model{memory.memory, options}, slot{row.add(model, version)} {
    if (version == 1 && !rig::one_transport_serves_all)
      SKIP("a legacy device on a big-endian machine: guest_order.cpp has those");
  }
  result<void> start() { return start(mmio::at(row.bus(), 0)); }
  result<void> start(const mmio::found<slots::bus_type>& where) { return d->start({&memory}, where, d.storage()); }
};

}  // namespace

TEST_CASE("words: every error and every verdict has a text, and no two have the same", "[base]") {
  std::set<std::string> seen;
  unsigned errors = 0, verdicts = 0;
  while (std::string{describe(static_cast<errc>(errors))} != "unknown error")
    CHECK(seen.insert(describe(static_cast<errc>(errors++))).second);
  while (std::string{describe(static_cast<verdict>(verdicts))} != "unknown") {
    const std::string text = describe(static_cast<verdict>(verdicts++));
    CAPTURE(text);
    CHECK(seen.insert(text).second);
  }
  CHECK(errors == static_cast<unsigned>(errc::device_broken) + 1);
  CHECK(verdicts == static_cast<unsigned>(verdict::storage_unusable) + 1);
}

TEST_CASE("words: a start on an unusable function repeats the verdict of discovery, and names no other type",
          "[session][pci]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const auto row = GENERATE(table<void (*)(fake_function&), verdict, errc>({
      {[](fake_function& g) { g.poke(0x00, 0x8086, 2); }, verdict::not_virtio, errc::wrong_device},
      {[](fake_function& g) { g.poke(0x02, 0x1110, 2); }, verdict::id_outside_ranges, errc::wrong_device},
      {[](fake_function& g) { g.poke(0x02, 0x1040, 2); }, verdict::id_without_type, errc::wrong_device},
      {[](fake_function& g) {
         g.poke(0x02, 0x103f, 2);
         g.poke(0x2e, 0, 2);
       },
       verdict::type_unknown, errc::wrong_device},
      {[](fake_function& g) {
         g.poke(0x20, 0xc, 4);
         g.poke(0x24, 0, 4);
       },
       verdict::bar_unassigned, errc::unsupported},
      {[](fake_function& g) { g.poke(g.capability(9, 1) + 3u, 9, 1); }, verdict::capability_missing, errc::not_found},
      {[](fake_function& g) { g.poke(g.capability(9, 2) + 4u, 6, 1); }, verdict::capability_bar_invalid,
       errc::unsupported},
      {[](fake_function& g) { g.poke(g.capability(9, 3) + 12u, 0, 4); }, verdict::capability_too_short,
       errc::unsupported},
      {[](fake_function& g) { g.poke(g.capability(9, 1) + 8u, 2, 4); }, verdict::capability_misaligned,
       errc::unsupported},
      {[](fake_function& g) { g.poke(g.capability(9, 1) + 8u, 0xfffff000, 4); }, verdict::bar_too_small,
       errc::unsupported},
  }));
  const auto spoil = std::get<0>(row);
  const verdict why = std::get<1>(row);
  const errc error = std::get<2>(row);  // clang 14 cannot capture structured bindings
  spoil(f);
  rig::disk<> d;
  rig::entropy<> e;  // also for another type, which is not the reason here
  usize seen = 0;
  pci::for_each(m.bus.host(), [&](const pci::found<rig::host>& one) {
    ++seen;
    CHECK(one.seen.why == why);
    CHECK(d.start(m, one).error() == error);
    CHECK(e.start(m, one).error() == error);
    for (const report* said : {&d->why(), &e->why()}) {
      CHECK(said->why == why);
      CHECK(said->error == error);
      CHECK(said->capability == one.seen.capability);
      CHECK(said->bar == one.seen.bar);
      CHECK(said->wanted == one.seen.wanted);
      CHECK(said->available == one.seen.available);
      CHECK(!says(describe(said->error), "another type"));
      CHECK(!says(describe(said->why), "another type"));
    }
  });
  CHECK(seen == 1);
  CHECK(f.log().empty());
}

TEST_CASE("words: a start on an unusable slot repeats the verdict of discovery", "[session][mmio]") {
  slot_machine m;
  verdict why{};
  errc error{};
  SECTION("empty") {
    m.slot.device_id = 0;
    why = verdict::empty_slot;
    error = errc::not_found;
  }
  SECTION("another version") {
    m.slot.version = 7;
    why = verdict::version_unknown;
    error = errc::unsupported;
  }
  SECTION("no virtio registers") {
    m.slot.magic = 1;
    why = verdict::not_virtio_mmio;
    error = errc::wrong_device;
  }
  SECTION("an id beyond all types") {
    m.slot.device_id = GENERATE(0x10000u, 0x10002u, 0xffffffffu);
    why = verdict::id_without_type;
    error = errc::wrong_device;
  }
  const auto where = mmio::at(m.row.bus(), 0);
  CHECK(where.seen.why == why);
  CHECK(!says(describe(why), "transitional"));
  CHECK(where.seen.available == (why == verdict::version_unknown ? 7u : 0u));
  m.slot.device_id = 4;  // plugged in after discovery
  CHECK(m.start(where).error() == error);
  CHECK(m.d->why().why == why);
  CHECK(!says(describe(error), "another type"));
}

TEST_CASE("words: a start on a location without discovery is an error of the program", "[session]") {
  rig::machine m;
  rig::disk<> d;
  CHECK(d.start(m, pci::found<rig::host>{}).error() == errc::invalid_argument);
  CHECK(d->why().why == verdict::undecided);
  slot_machine s;
  CHECK(s.start({}).error() == errc::invalid_argument);
  CHECK(s.d->why().why == verdict::undecided);
}

TEST_CASE("words: other functions and empty slots are no virtio devices, unusable devices are", "[pci][mmio]") {
  for (const verdict none :
       {verdict::not_virtio, verdict::id_outside_ranges, verdict::not_virtio_mmio, verdict::empty_slot})
    CHECK(!is_virtio(none));
  for (const verdict one :
       {verdict::usable, verdict::bound, verdict::type_unknown, verdict::id_without_type, verdict::version_unknown,
        verdict::bar_out_of_reach, verdict::device_gone, verdict::storage_unusable})
    CHECK(is_virtio(one));
}

TEST_CASE("words: a verdict about the subsystem id is for transitional ids only [PCI-02]", "[pci]") {
  CHECK(pci::match_ids({.vendor = 0x1af4, .device = 0x1040}).why == verdict::id_without_type);
  CHECK(!says(describe(verdict::id_without_type), "transitional"));
  CHECK(pci::match_ids({.vendor = 0x1af4, .device = 0x103f}).why == verdict::type_unknown);
  static constexpr pci::id_row rows[] = {{0x0b5d, 0x0777, device_type::none}};
  CHECK(pci::match_ids({.vendor = 0x0b5d, .device = 0x0777}, rows).why == verdict::id_without_type);
}

TEST_CASE("words: an unusable queue size and storage that is too small have different verdicts", "[session][pci]") {
  rig::machine m;
  const auto refused = [&](auto& d, u8 slot, verdict why, errc error, u32 wanted, u32 available) {
    CHECK(d.start(m, m.where(slot)).error() == error);
    const report& said = d->why();
    CHECK(said.why == why);
    CHECK(said.wanted == wanted);
    CHECK(said.available == available);
    CHECK(said.queue == 0);
    CHECK(!says(describe(why), "storage"));
    if (error != errc::no_space) CHECK(!says(describe(error), "storage"));
  };
  SECTION("of the device, too short for a request") {
    const u16 size = GENERATE(u16{1}, u16{2});
    m.add<blk_model>(seat::modern, 4, blk_options{.queue_size = size});
    rig::disk<> d;
    refused(d, 4, verdict::queue_too_small, errc::unsupported, 3, size);
    rig::disk<packed_queue<16>> packed;
    m.models.back()->offer({34});
    refused(packed, 4, verdict::queue_too_small, errc::unsupported, 3, size);
  }
  SECTION("of the device, too short for a request that the ring just holds") {
    m.add<blk_model>(seat::modern, 4, blk_options{.queue_size = 2});
    m.models.back()->offer({34});
    rig::disk<packed_queue<3>> packed;
    refused(packed, 4, verdict::queue_too_small, errc::unsupported, 3, 2);
  }
  SECTION("of a legacy device") {
    m.add<blk_model>(seat::legacy, 4, blk_options{.queue_size = 1});
    rig::disk<rig::legacy_queue> d;
    refused(d, 4, verdict::queue_too_small, errc::unsupported, 3, 1);
  }
  SECTION("of the driver, too short for a request") {
    m.add<blk_model>(seat::modern, 4);
    rig::disk<split_queue<2>> d;
    refused(d, 4, verdict::ring_too_small, errc::no_space, 3, 2);
  }
  SECTION("fixed, and larger than the ring") {
    m.add<blk_model>(seat::legacy, 4, blk_options{.queue_size = 256});
    rig::disk<split_queue<16>> d;
    refused(d, 4, verdict::ring_too_small, errc::no_space, 256, 16);
  }
  SECTION("fixed, and not a power of two") {
    m.add<blk_model>(seat::legacy, 4, blk_options{.queue_size = 128});
    m.models.back()->at(0).maximum = m.models.back()->at(0).size = 100;
    rig::disk<rig::legacy_queue> d;
    refused(d, 4, verdict::queue_size_invalid, errc::device_misbehaved, 100, 16);
    rig::entropy<rig::legacy_queue> e;
    m.add<rng_model>(seat::legacy, 5);
    m.models.back()->at(0).maximum = m.models.back()->at(0).size = 100;
    refused(e, 5, verdict::queue_size_invalid, errc::device_misbehaved, 100, 16);
  }
  SECTION("an entropy device needs no more than one") {
    auto& model = m.add<rng_model>(seat::modern, 4);
    model.at(0).maximum = model.at(0).size = 1;
    rig::entropy<> e;
    REQUIRE(e.start(m, m.where(4)));
    u8 seed[8];
    CHECK(e->fill(seed));
  }
}

TEST_CASE("words: a socket device's queue that is too small is named", "[session][vsock]") {
  const u16 which = GENERATE(u16{0}, u16{1});
  sockets s;
  s.model.at(which).maximum = s.model.at(which).size = 1;
  CHECK(s.begin().error() == errc::unsupported);
  CHECK(s->why().why == verdict::queue_too_small);
  CHECK(s->why().queue == which);
  CHECK(s->why().wanted == 2);
  CHECK(s->why().available == 1);
}

TEST_CASE("words: a report has the numbers of its verdict, not those of earlier checks", "[session]") {
  SECTION("a missing queue on MMIO") {
    slot_machine m{GENERATE(1u, 2u)};
    m.slot.queue_size_max = 0;
    CHECK(m.start().error() == errc::not_found);
    CHECK(m.d->why().why == verdict::queue_missing);
    CHECK(has_no_numbers(m.d->why()));
  }
  SECTION("an MMIO device that runs") {
    slot_machine m;
    REQUIRE(m.start());
    CHECK(m.d->why().why == verdict::bound);
    CHECK(has_no_numbers(m.d->why()));
  }
  SECTION("a PCI device that runs") {
    rig::machine m;
    m.add<blk_model>(GENERATE(seat::modern, seat::transitional, seat::legacy), 4, blk_options{.queue_size = 16});
    const auto where = m.where(4);
    CHECK(where.seen.why == verdict::usable);
    CHECK(has_no_numbers(where.seen));
    rig::disk<> d;
    REQUIRE(d.start(m, where));
    CHECK(has_no_numbers(d->why()));
  }
  SECTION("a missing capability after one that was examined") {
    rig::machine m;
    m.add<blk_model>(seat::modern, 4);
    auto& f = m.function(4);
    f.poke(f.capability(9, 3) + 3u, 9, 1);
    const auto where = m.where(4);
    CHECK(where.seen.why == verdict::capability_missing);
    CHECK(where.seen.capability == 3);
    CHECK(where.seen.bar == 0);
    CHECK(where.seen.wanted == 0);
    CHECK(where.seen.available == 0);
  }
  SECTION("a vector of no queue") {
    rig::machine m;
    m.add<blk_model>(seat::modern, 4);
    rig::disk<> d;
    CHECK(!d->start(m.platform(), m.where(4), d.storage(), {.config = 0}));
    CHECK(d->why().why == verdict::vector_refused);
    CHECK(d->why().queue == 0xffff);
    CHECK(!d->start(m.platform(), m.where(4), d.storage(), {.first = 0}));
    CHECK(d->why().queue == 0);
  }
  SECTION("after a start that failed over sizes, one that fails over something else") {
    rig::machine m;
    auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.queue_size = 2});
    rig::disk<> d;
    CHECK(!d.start(m, m.where(4)));
    CHECK(d->why().wanted == 3);
    model.withdraw({32});
    CHECK(!d.start(m, m.where(4)));
    CHECK(d->why().why == verdict::feature_missing);
    CHECK(d->why().wanted == 0);
    CHECK(d->why().available == 0);
  }
}

TEST_CASE(
    "words: the error of a request lost in an IOMMU names the platform's map(), that of another lost request does not [FEAT-11]",
    "[device]") {
  const bool behind_iommu = GENERATE(false, true);
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  auto& source = m.add<rng_model>(seat::modern, 5);
  if (behind_iommu) model.offer({33});
  if (behind_iommu) source.offer({33});
  rig::disk<> d;
  rig::entropy<> e;
  REQUIRE(d.start(m, m.where(4)));
  REQUIRE(e.start(m, m.where(5)));
  m.running = false;
  u8 data[512];
  const errc wanted = behind_iommu ? errc::dma_unanswered : errc::timed_out;
  CHECK(d->read(0, data).error() == wanted);
  CHECK(e->fill(data).error() == wanted);
  CHECK(says(describe(wanted), "IOMMU") == behind_iommu);
  CHECK(says(describe(wanted), "ACCESS_PLATFORM") == behind_iommu);
  CHECK(says(describe(wanted), "no longer has any of the buffers"));
}

TEST_CASE("words: a block size that is not a power of two has its own verdict", "[blk][hostile]") {
  const u32 size = GENERATE(0x201u, 513u, 1536u, 0xffffffffu);
  rig::machine m;
  m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4, blk_options{.queue_size = 16, .blk_size = size});
  rig::disk<> d;
  CHECK(!d.start(m, m.where(4)));
  CHECK(d->why().why == verdict::block_size_invalid);
  CHECK(d->why().available == size);
  CHECK(!says(describe(d->why().why), "room"));
}

TEST_CASE("words: a wait for a silent peer ends with an error that mentions no reset", "[vsock]") {
  sockets s;
  REQUIRE(s.begin());
  REQUIRE(s->listen(80, 1));
  const auto nobody = s->accept(80);
  CHECK(nobody.error() == errc::peer_silent);
  CHECK(!says(describe(nobody.error()), "reset"));
  CHECK(s.model.status() == 0x0f);
}

TEST_CASE(
    "words: a removed device, a device stuck in reset, and a previous device stuck in reset have different verdicts",
    "[session]") {
  slot_machine m;
  SECTION("removed") {
    m.slot.further_status_bits = 0x100;
    m.slot.logging = false;
    CHECK(m.start().error() == errc::timed_out);
    CHECK(m.d->why().why == verdict::device_gone);
    CHECK(m.d->why().status == 0xff);
  }
  SECTION("stuck in reset") {
    m.model.reset_reads = device_model::forever;
    CHECK(m.start().error() == errc::timed_out);
    CHECK(m.d->why().why == verdict::reset_timed_out);
  }
  SECTION("a previous device") {
    REQUIRE(m.start());
    m.model.reset_reads = device_model::forever;
    CHECK(m.start().error() == errc::device_broken);
    CHECK(m.d->why().why == verdict::former_device_stuck);
    CHECK(m.d->why().status == 0x0f);
    m.model.reset_reads = 0;
    CHECK(m.start());
  }
}

TEST_CASE("words: too many pieces and too many extents are not reported as a lack of DMA storage", "[blk]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4, blk_options{.discard = virtio::testing::extent_rules{.sectors = 64, .extents = 9}});
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 data[512];
  const std::vector<bytes> many(20, bytes{data, 512});
  CHECK(d->submit_read(0, scatter<bytes>{many.data(), many.size()}).error() == errc::too_many_pieces);
  const blk::extent two[] = {{0, 8}, {8, 8}};
  CHECK(d->submit_discard(two).error() == errc::table_full);
}
