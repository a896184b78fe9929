// SPDX-License-Identifier: MIT
// A guest with a balloon in its memory, from 64 MiB on: it follows the host's target and reports it, until the balloon
// is empty again. With run=hint it hints the same memory to a host that migrates it.
#include <virtio/balloon.hpp>

#include "guest.hpp"

namespace {

using namespace cell;
namespace balloon = virtio::balloon;
using balloon::hinting;

#if defined(__aarch64__)
constexpr u32 memory_begins = 1u << 18;  // page numbers of QEMU's virt, here and below
#elif defined(__riscv)
constexpr u32 memory_begins = 1u << 19;
#else
constexpr u32 memory_begins = 0;
#endif
constexpr u32 first_page = memory_begins + (64 << 8), most_pages = 48 << 8;  // 64 to 112 MiB
constexpr u32 stretch_pages = 2 << 8;

u8* page(u32 number) { return reinterpret_cast<u8*>(uptr{number} * balloon::page_bytes); }
volatile u32* word(u32 number, u32 nth) { return reinterpret_cast<volatile u32*>(page(number)) + nth; }

bool all_are(u32 value) {
  for (u32 i = 0; i < most_pages; ++i)
    for (u32 nth = 0; nth < balloon::page_bytes / sizeof value; nth += 93)
      if (*word(first_page + i, nth) != value) return false;
  return true;
}

// Written to, so that the host has allocated memory for them.
void fill() {
  for (u32 i = 0; i < most_pages; ++i) *word(first_page + i, 0) = i << 8 | 1;
}
// Returned pages are memory: they hold what is written to them.
void check_memory() {
  for (u32 i = 0; i < most_pages; ++i) *word(first_page + i, 0) = i * 3;
  for (u32 i = 0; i < most_pages; ++i) CHECK_EQUAL(*word(first_page + i, 0), i * 3);
}

/// Waits until the host's target is zero, or is not.
template <class Device>
void await_target(Device& device, bool none) {
  for (;; boot::pause()) {
    const auto wanted = device.target();
    CHECK_OK(wanted);
    if ((*wanted == 0) == none) return;
  }
}

/// Moves pages into and out of the balloon, to the host's target; takes some out on its own if the host allows that.
template <class Device>
void inflate_and_deflate(Device& device, u32 poison) {
  u32 said = 0, told = 0;
  const auto give = [&](u32& number) {
    return device.actual() < most_pages && (number = first_page + said++, said <= most_pages);
  };
  const auto take = [&](u32& number) { return said != 0 && (number = first_page + --said, true); };
  for (bool filled = false; !filled || device.actual() != 0;) {
    const u32 before = device.actual();
    const auto in = device.follow(give, take);
    CHECK_OK(in);
    if (*in != before) boot::print("in the balloon: ", *in, "\n");
    filled = filled || *in != 0;
    const balloon::sample memory[] = {
        {balloon::statistic::total_memory, 128 << 20},
        {balloon::statistic::free_memory, u64{most_pages - device.actual()} * balloon::page_bytes}};
    const auto asked = device.answer_statistics(memory);
    CHECK_OK(asked);
    if (*asked) boot::print("told ", ++told, "\n");
    if (*asked && told == 2 && device.features().has(balloon::feature::deflate_on_oom)) {
      CHECK_OK(device.deflate(1024, take));
      boot::print("out of memory: ", device.actual(), "\n");
      await_target(device, true);
    }
    boot::pause();
  }
  if (poison != 0)  // pages that were not in the balloon are unchanged
    for (u32 i = 0; i < 40 << 8; ++i)
      CHECK(*word(first_page + i, 0) == poison && *word(first_page + i, 1023) == poison);
  check_memory();
  if (!device.features().has(balloon::feature::page_reporting)) return;
  CHECK_OK(device.report_free(bytes{page(first_page), 32 << 20}));
  if (poison != 0) CHECK(*word(first_page, 0) == poison && *word(first_page + (32 << 8) - 1, 1023) == poison);
  boot::print("reported\n");
  await_target(device, false);  // the host has checked
}

/// Sends rounds of hints until the host ends them.
template <class Device>
void hint(Device& device) {
  u32 at = 0;
  const auto next = [&](bytes& stretch) {
    if (at == most_pages) return false;
    stretch = bytes{page(first_page + at), stretch_pages * balloon::page_bytes};
    at += stretch_pages;
    return true;
  };
  u32 rounds = 0, stretches = 0;
  for (;; boot::pause()) {
    const auto now = device.hints();
    CHECK_OK(now);
    if (*now == hinting::done) break;
    if (*now != hinting::wanted) continue;
    const auto hinted = device.hint(next);
    CHECK_OK(hinted);
    ++rounds;
    stretches += *hinted;
  }
  boot::print("hinted ", stretches, "\n");
  CHECK(rounds != 0);
  for (u32 i = 0; i < most_pages; i += stretch_pages)
    device.initialize(bytes{page(first_page + i), stretch_pages * balloon::page_bytes});
  CHECK(all_are(0));
  check_memory();
}

template <class Queue>
int run() {
  using transport = bus::transport<board>;
  static constinit balloon::device<board, transport, Queue> device{};
  static constinit virtio::dma_storage<balloon::device<board, transport, Queue>::dma_bytes> storage{};
  const auto where = bus::find(board{}, device_type::balloon);
  if (!where) return board::fail("no balloon", where);
  fill();
  const balloon::sample first[] = {{balloon::statistic::total_memory, 128 << 20},
                                   {balloon::statistic::free_memory, 48 << 20}};
  const u32 poison = static_cast<u32>(number("poison"));
  const balloon::poison held{poison, poison != 0 ? page : nullptr};
  if (const auto up = device.start(board{}, *where, storage, {}, first, held); !up)
    return board::fail("start", up.error(), device.why());
  boot::print("up with ", boot::hex(u64{device.features().word(1)} << 32 | device.features().word(0)), "\n");
  if (boot::option("run") == "hint") hint(device);
  else inflate_and_deflate(device, poison);
  CHECK_OK(device.hand_off());
  return 0;
}

}  // namespace

extern "C" int guest_main(const char*) {
  return boot::option("ring") == "packed" ? run<virtio::packed_queue<16>>()
                                          : run<virtio::split_queue<16, virtio::ring_options{.ring_entries = 1024}>>();
}
