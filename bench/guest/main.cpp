// SPDX-License-Identifier: MIT
// The measured guest: it starts a disk and reads from it, between markers for the counting plugin (bench/plugin). The
// device's time depends on the host, so failed polls are counted here, and each phase runs twice, impatient and
// patient.
// The two differ only in the number of polls, which gives the exact cost of one failed poll, to be subtracted. Waits
// are in `idle`, which the plugin counts as a separate range.
#include <virtio/blk.hpp>

#include "board.hpp"
#include "mark.hpp"

namespace {

using namespace virtio;

u64 failed_polls;
u32 idle_turns;  // turns of the idle loop after a failed poll

}  // namespace

// floor.c: the same disk without the library.
extern "C" int floor_start();
extern "C" void floor_one(usize count);
extern "C" void floor_batches(usize count);

extern "C" [[gnu::noinline]] void idle() {
  failed_polls = failed_polls + 1;
  for (volatile u32 left = idle_turns; left != 0; left = left - 1) __builtin_ia32_pause();
}

namespace {

struct bench_board : board {
  bool keep_waiting(waiting, u64 attempt) const {
    idle();
    return attempt < 500'000'000;
  }
};

using disk_t = blk::device<bench_board, pci::transport<bench_board>, split_queue<256>>;
constinit dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;

constexpr usize deepest = 64;
constexpr usize piece = 4096;
alignas(4096) u8 buffers[deepest][piece];

[[noreturn]] void die(const char* what, errc why) { boot::exit(board::fail(what, why)); }

bytes buffer(usize i, usize size) { return {buffers[i], size}; }

// One request at a time, by the blocking call.
[[gnu::noinline]] void read_blocking(usize count) {
  for (usize i = 0; i < count; ++i)
    if (const auto r = disk.read(i % 1024 * 8, buffer(0, piece)); !r) die("read", r.error());
}

// One request at a time, by the engine's calls.
[[gnu::noinline]] void read_one(usize count) {
  for (usize i = 0; i < count; ++i) {
    if (const auto r = disk.submit_read(i % 1024 * 8, buffer(0, piece), i); !r) die("submit", r.error());
    disk.kick();
    for (;;) {
      const auto r = disk.next_completion();
      if (r && r->status == errc::ok) break;
      if (r || r.error() != errc::not_ready) die("completion", r ? r->status : r.error());
      idle();
    }
  }
}

// Batches: submit all, one kick, take all.
[[gnu::noinline]] void read_batches(usize count, usize size, usize depth) {
  for (usize batch = 0; batch < count / depth; ++batch) {
    for (usize i = 0; i < depth; ++i)
      if (const auto r = disk.submit_read((batch * depth + i) % 1024 * 8, buffer(i, size), i); !r)
        die("submit", r.error());
    disk.kick();
    for (usize taken = 0; taken < depth;) {
      const auto r = disk.next_completion();
      if (r && r->status == errc::ok) ++taken;
      else if (r || r.error() != errc::not_ready) die("completion", r ? r->status : r.error());
      else idle();
    }
  }
}

// Runs one phase between markers Id and Id + 1, and prints the number of failed polls.
template <u16 Id, class Work>
void phase(u32 turns, usize requests, Work work) {
  idle_turns = turns;
  failed_polls = 0;
  mark<Id>();
  work(requests);
  mark<Id + 1>();
  boot::print("phase ", u32{Id}, " requests ", requests, " failed_polls ", failed_polls, "\n");
}

constexpr u32 impatient = 0;
constexpr u32 patient = 400;

template <u16 Id>
void sweep(usize depth) {
  phase<Id>(impatient, 8192, [&](usize n) { read_batches(n, piece, depth); });
  phase<Id + 2>(patient, 8192, [&](usize n) { read_batches(n, piece, depth); });
}

}  // namespace

extern "C" int guest_main(const char*) {
  const auto where = pci::find(bench_board{}, device_type::block);
  if (!where) return board::fail("no disk", where.error());
  mark<10>();
  const auto up = disk.start(bench_board{}, *where, disk_dma);
  mark<11>();
  if (!up) return board::fail("start", up.error());

  // Past two wraps of the 16-bit indices.
  phase<20>(impatient, 2 * 65536 + 1024, [](usize n) { read_batches(n, 512, 32); });
  phase<30>(impatient, 8192, [](usize n) { read_batches(n, piece, 32); });
  phase<32>(patient, 8192, [](usize n) { read_batches(n, piece, 32); });
  phase<40>(impatient, 512, [](usize n) { read_one(n); });
  phase<42>(patient, 512, [](usize n) { read_one(n); });
  phase<50>(impatient, 512, [](usize n) { read_blocking(n); });
  phase<52>(patient, 512, [](usize n) { read_blocking(n); });

  sweep<60>(2);
  sweep<64>(8);
  sweep<68>(64);

  if (const auto off = disk.hand_off(); !off) return board::fail("hand off", off.error());
  if (floor_start() == 0) return board::fail("no floor", errc::not_found);
  phase<80>(impatient, 8192, floor_batches);
  phase<82>(patient, 8192, floor_batches);
  phase<84>(impatient, 512, floor_one);
  phase<86>(patient, 512, floor_one);
  return 0;
}
