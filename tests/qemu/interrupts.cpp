// SPDX-License-Identifier: MIT
// Interrupts: a disk driven by MSI-X, by its interrupt line, or polled although it could interrupt; every completion is
// compared with every interrupt. There is no tick, so one lost wake-up would stop this guest permanently.
#include <virtio/blk.hpp>
#include <virtio/bus/pci/msix.hpp>

#include "guest.hpp"
#include "interrupts.hpp"

namespace {

using namespace cell;

struct sleeping_board : board {
  static constexpr bool sleeps = true;
  bool keep_waiting(virtio::waiting why, u64 attempt) const {
    if (why == virtio::waiting::reset) return board::keep_waiting(why, attempt);
    boot::sleep_until_interrupt();
    return true;
  }
};

constinit virtio::pci::msix<board> table;
u32 queue_interrupts, config_interrupts, line_interrupts, unclaimed;

template <class Board>
struct run {
  using disk_t = virtio::blk::device<Board, virtio::pci::transport<Board>, virtio::split_queue<256>>;
  static inline constinit disk_t disk{};
  static inline constinit virtio::dma_storage<disk_t::dma_bytes> storage{};

  static void on_line() {
    const auto why = disk.acknowledge_interrupt();
    ++line_interrupts;
    if (why.queue) ++queue_interrupts;
    if (why.config) ++config_interrupts;
    if (!why.queue && !why.config) ++unclaimed;
  }

  static void go() {
    static u8 data[8][512];
    const auto where = virtio::pci::find(Board{}, device_type::block);
    CHECK_OK(where);
    const bool lines = boot::option("via") == "line";
    virtio::interrupt_vectors vectors;
    if (lines) {
      // An earlier program that polled has disabled the line.
      virtio::pci::change_command(Board{}, where->id, virtio::pci::command::no_line, 0);
      vectors = virtio::interrupt_line;
      boot::on_line(virtio::pci::read<u8>(Board{}, where->id, 0x3c), on_line);
      boot::on_line(virtio::pci::read<u8>(Board{}, where->id, 0x3c), on_line);  // a repetition has no effect
    } else {
      CHECK_OK(table.open(board{}, where->id));
      CHECK_EQUAL(table.size(), number("vectors"));
      const auto config = boot::on_message(0, [] { ++config_interrupts; }),
                 queue = boot::on_message(1, [] { ++queue_interrupts; });
      CHECK_OK(table.route(0, {config.address, config.data}));
      CHECK_OK(table.route(1, {queue.address, queue.data}));
      table.enable();
      // A vector after the table's last is rejected with its error, whatever its use.
      const u16 beyond = table.size();
      CHECK_ERROR(disk.start(Board{}, *where, storage, {.config = 0, .first = beyond}), errc::unsupported);
      CHECK(disk.why().why == virtio::verdict::vector_refused);
      CHECK_ERROR(disk.start(Board{}, *where, storage, {.config = beyond, .first = 1}), errc::unsupported);
      CHECK(disk.why().why == virtio::verdict::vector_refused);
      vectors = {.config = 0, .first = 1};
    }
    CHECK_OK(disk.start(Board{}, *where, storage, vectors));
    CHECK_EQUAL(disk.capacity(), number("sectors"));  // where MSI-X has moved it on a legacy device
    if (boot::option("wait") == "resize") return await_resize();
    const u64 requests = number("requests"), seed = number("seed");

    // One after the other.
    for (u64 i = 0; i < requests; ++i) {
      CHECK_OK(disk.read(i % disk.capacity(), data[0]));
      check_pattern(data[0], i % disk.capacity(), seed);
    }
    boot::print("one by one: ", requests, " reads, ", queue_interrupts, " interrupts\n");

    // Eight in flight, and sleep only if there is no completion.
    queue_interrupts = 0;
    u64 sent = 0, ended = 0;
    while (ended < requests) {
      for (; sent < requests && sent - ended < 8; ++sent)
        CHECK_OK(disk.submit_read(sent % disk.capacity(), data[sent % 8], sent));
      disk.kick();
      if (disk.poll([&](virtio::blk::done one) {
            CHECK(one.status == errc::ok);
            ++ended;
          }) == 0) {
        if constexpr (Board::sleeps) {
          if (!disk.arm()) boot::sleep_until_interrupt();
        } else {
          boot::pause();
          asm volatile("sti; nop; cli");  // allows a pending interrupt
        }
      }
    }
    boot::print("eight in flight: ", requests, " reads, ", queue_interrupts, " interrupts, ", unclaimed,
                " unclaimed\n");
    CHECK_EQUAL(config_interrupts, 0u);
  }

  /// Sleeps until the device reports its new size; the device has no other work.
  static void await_resize() {
    boot::print("asleep\n");
    while (config_interrupts == 0) boot::sleep_until_interrupt();
    CHECK_OK(disk.refresh());
    CHECK_EQUAL(disk.capacity(), number("shrunk"));
    boot::print("resized: ", config_interrupts, " for the configuration, ", queue_interrupts, " for the queue, ",
                unclaimed, " unclaimed\n");
  }
};

struct polling_board : board {
  static constexpr bool sleeps = false;
  bool keep_waiting(virtio::waiting why, u64 attempt) const {
    asm volatile("sti; nop; cli");
    return board::keep_waiting(why, attempt);
  }
};

}  // namespace

extern "C" int guest_main(const char* command_line) {
  boot::print("cell: ", command_line, "\n");
  boot::interrupts_begin();
  boot::tick(false);
  if (boot::option("wait") == "poll") run<polling_board>::go();
  else run<sleeping_board>::go();
  return 0;
}
