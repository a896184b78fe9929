// SPDX-License-Identifier: MIT
// A disk with interrupts: the program sleeps until the device interrupts, instead of polling. It uses MSI-X if the
// device has it, otherwise the interrupt line. First come the blocking calls, which sleep if the board provides a
// sleep; then the engine, in the loop of a unikernel.
#include <virtio/blk.hpp>
#include <virtio/bus/pci/msix.hpp>

#include "board.hpp"
#include "interrupts.hpp"

struct sleeping_board : board {
  static constexpr bool sleeps = true;  // the library requests an interrupt before each wait

  bool keep_waiting(virtio::waiting why, virtio::u64 attempt) const {
    if (why != virtio::waiting::reset) boot::sleep_until_interrupt();  // the end of a reset raises no interrupt
    return board::keep_waiting(why, attempt);  // limited by the clock: other interrupts than the tick wake it too
  }
};

using disk_t = virtio::blk::device<sleeping_board, virtio::pci::transport<sleeping_board>, virtio::split_queue<256>>;
constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;
constinit virtio::pci::msix<sleeping_board> msix;

// Changed by the handlers, which run only while the program sleeps.
static virtio::u32 queue_interrupts, config_interrupts;

static void on_queue() { ++queue_interrupts; }
static void on_config() { ++config_interrupts; }
static void on_interrupt_line() {
  const auto why = disk.acknowledge_interrupt();  // reads the ISR, which deasserts the line
  if (why.queue) ++queue_interrupts;
  if (why.config) ++config_interrupts;
}

static virtio::u8 buffer[8][4096];

// Keeps eight reads in flight and takes completions as they arrive.
static virtio::result<void> stream(virtio::u64 requests) {
  virtio::u64 sent = 0, ended = 0;
  while (ended < requests) {
    for (; sent < requests && sent - ended < 8; ++sent)
      VIRTIO_TRY(disk.submit_read(sent * 8 % 1024, buffer[sent % 8], sent));
    disk.kick();
    for (;;) {
      const auto one = disk.next_completion();
      if (one) {
        if (one->status != virtio::errc::ok) return one->status;
        ++ended;
        continue;
      }
      if (one.error() != virtio::errc::not_ready) return one.error();
      if (sent - ended < 8 && sent < requests) break;  // there is room again
      if (ended == requests) return {};
      if (!disk.arm()) boot::sleep_until_interrupt();  // true: a completion arrived during `arm`
    }
  }
  return {};
}

extern "C" int guest_main(const char*) {
  boot::interrupts_begin();
  const auto where = virtio::pci::find(sleeping_board{}, virtio::device_type::block);
  if (!where) return board::fail("no disk", where);

  virtio::interrupt_vectors vectors;
  if (msix.open(sleeping_board{}, where->id) && msix.size() >= 2) {
    const auto config = boot::on_message(0, on_config), queue = boot::on_message(1, on_queue);
    if (auto r = msix.route(0, {config.address, config.data}); !r) return board::fail("msix", r.error());
    if (auto r = msix.route(1, {queue.address, queue.data}); !r) return board::fail("msix", r.error());
    msix.enable();
    vectors = {.config = 0, .first = 1};
  } else {
    const auto line = virtio::pci::read<virtio::u8>(sleeping_board{}, where->id, 0x3c);
    if (line > 15) return board::fail("no interrupt line is routed to the disk", virtio::errc::unsupported);
    boot::on_line(line, on_interrupt_line);
    vectors = virtio::interrupt_line;
  }
  if (auto up = disk.start(sleeping_board{}, *where, disk_dma, vectors); !up)
    return board::fail("start", up.error(), disk.why());
  boot::print(virtio::name(disk.why().via), ", ", vectors.first == virtio::no_vector ? "interrupt line" : "MSI-X",
              "\n");

  for (virtio::u64 i = 0; i < 64; ++i)
    if (auto r = disk.read(i, virtio::bytes{buffer[0], 512}); !r) return board::fail("read", r.error());
  boot::print("64 reads one after the other: ", queue_interrupts, " interrupts\n");

  queue_interrupts = 0;
  if (auto r = stream(256); !r) return board::fail("stream", r.error());
  boot::print("256 reads, eight in flight: ", queue_interrupts, " interrupts\n");
  return 0;
}
