// SPDX-License-Identifier: MIT
// A guest with a balloon in its memory from 64 MiB on: it does what the host wants and says so, until the balloon is empty again.
#include <virtio/balloon.hpp>

#include "guest.hpp"

namespace {

using namespace cell;
namespace balloon = virtio::balloon;

constexpr u32 first_page = 64 << 8, most_pages = 48 << 8;  // 64 to 112 MiB

using either = virtio::pci::transport<board>;

template <class Queue>
int run() {
  static constinit balloon::device<board, either, Queue> device{};
  static constinit virtio::dma_storage<balloon::device<board, either, Queue>::dma_bytes> storage{};
  const auto where = virtio::pci::find(board{}, device_type::balloon);
  if (!where) return board::fail("no balloon", where);
  // Written to, so that the host has had to find memory for them.
  const auto at = [](u32 page) { return reinterpret_cast<volatile u8*>(uptr{page} * balloon::page_bytes); };
  for (u32 i = 0; i < most_pages; ++i) *at(first_page + i) = static_cast<u8>(i | 1);

  const auto now = [&] {
    return balloon::sample{balloon::statistic::free_memory, u64{most_pages - device.actual()} * balloon::page_bytes};
  };
  const balloon::sample first[] = {{balloon::statistic::total_memory, 128 << 20}, now()};
  if (const auto up = device.start(board{}, *where, storage, {}, first); !up) return board::fail("start", up.error(), device.why());
  boot::print("up with ", boot::hex(u64{device.features().word(1)} << 32 | device.features().word(0)), "\n");

  u32 said = 0, told = 0;
  const auto give = [&](u32& page) { return device.actual() < most_pages && (page = first_page + said++, said <= most_pages); };
  const auto take = [&](u32& page) { return said != 0 && (page = first_page + --said, true); };
  for (bool filled = false; !filled || device.actual() != 0;) {
    const u32 before = device.actual();
    const auto in = device.follow(give, take);
    CHECK_OK(in);
    if (*in != before) boot::print("in the balloon: ", *in, "\n");
    filled = filled || *in != 0;
    const balloon::sample again[] = {{balloon::statistic::total_memory, 128 << 20}, now()};
    const auto asked = device.answer_statistics(again);
    CHECK_OK(asked);
    if (*asked) boot::print("told ", ++told, "\n");
    boot::pause();
  }
  // What came back is memory: it holds what is written to it.
  for (u32 i = 0; i < most_pages; ++i) *at(first_page + i) = static_cast<u8>(i * 3);
  for (u32 i = 0; i < most_pages; ++i) CHECK(*at(first_page + i) == static_cast<u8>(i * 3));
  if (device.features().has(balloon::feature::page_reporting)) {
    const bytes free{reinterpret_cast<u8*>(uptr{first_page} * balloon::page_bytes), 32 << 20};
    CHECK_OK(device.report_free(free));
    boot::print("reported\n");
  }
  CHECK_OK(device.hand_off());
  return 0;
}

}  // namespace

extern "C" int guest_main(const char*) {
  return boot::option("ring") == "packed" ? run<virtio::packed_queue<16>>()
                                          : run<virtio::split_queue<16, virtio::ring_options{.ring_entries = 128}>>();
}
