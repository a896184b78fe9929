// SPDX-License-Identifier: MIT
// The drivers against the device models, in one process on the host: no hypervisor, nothing to boot. To step through it
// in a debugger, set a breakpoint in virtio/blk/device.hpp, where a request is made, and one in
// virtio/testing/blk_model.hpp, where the device receives it.
#include <array>
#include <cstdio>
#include <memory>

#include <virtio/blk.hpp>
#include <virtio/pci.hpp>
#include <virtio/rng.hpp>
#include <virtio/testing/blk_model.hpp>
#include <virtio/testing/fake_pci.hpp>
#include <virtio/testing/rng_model.hpp>
#include <virtio/testing/strict_platform.hpp>

using namespace virtio;

// The board of this machine: memory at other addresses for the device, and a PCI bus made of models.
using board = testing::strict_platform<>;
using fake_bus = testing::fake_host;

using disk_t = blk::device<board, pci::transport<fake_bus>, queue<64>>;
using rng_t = rng::device<board, pci::transport<fake_bus>, queue<8>>;

// The memory that devices may write, and the driver's private state. As in a guest, but on the heap.
struct memory {
  dma_storage<disk_t::dma_bytes> disk_dma;
  dma_storage<rng_t::dma_bytes> rng_dma;
  disk_t disk;
  rng_t entropy;
};

static int fail(const char* what, errc why, const report& seen = {}) {
  std::printf("%s: %s\n", what, describe(why));
  if (seen.why == verdict::undecided) return 1;
  std::printf("  %s device: %s\n  what to do: %s\n", name(seen.type), describe(seen.why), advice(seen.why));
  return 1;
}

int main() {
  testing::strict_machine machine;
  testing::fake_pci bus;
  testing::blk_model disk_model{machine.memory, {.sectors = 2048, .queue_size = 64}};
  testing::rng_model rng_model{machine.memory};
  bus.qemu_modern({.slot = 3}, disk_model);
  bus.qemu_transitional({.slot = 4}, rng_model);
  machine.on_wait = [&](waiting, u64) {  // while a driver waits, the devices work
    (void)disk_model.step();
    (void)rng_model.step();
  };

  std::puts("PCI functions:");
  pci::for_each(bus.host(), [](const pci::found<fake_bus>& one) {
    std::printf("  %02x:%02x.%x %04x:%04x %s, %s through %s\n", one.id.bus, one.id.slot, one.id.function,
                one.who.vendor, one.who.device, name(one.seen.type), describe(one.seen.why), name(one.seen.via));
  });

  const auto m = std::make_unique<memory>();
  const auto where = pci::find(bus.host(), device_type::block);
  if (!where) return fail("no disk", where.error());
  if (const auto up = m->disk.start(board{&machine}, *where, m->disk_dma); !up)
    return fail("start", up.error(), m->disk.why());

  std::array<u8, 4096> data;
  for (usize i = 0; i < data.size(); ++i) data[i] = static_cast<u8>(i);
  if (const auto r = m->disk.write(100, data); !r) return fail("write", r.error());
  if (const auto r = m->disk.flush(); !r) return fail("flush", r.error());
  disk_model.power_cut();
  std::array<u8, 4096> back{};
  if (const auto r = m->disk.read(100, back); !r) return fail("read", r.error());
  std::printf("disk: %llu sectors; wrote, flushed, cut the power, read back: %s\n",
              static_cast<unsigned long long>(m->disk.capacity()), back == data ? "the same" : "DIFFERENT");

  const auto source = pci::find(bus.host(), device_type::entropy);
  if (!source) return fail("no rng", source.error());
  if (const auto up = m->entropy.start(board{&machine}, *source, m->rng_dma); !up)
    return fail("start", up.error(), m->entropy.why());
  std::array<u8, 16> seed;
  if (const auto r = m->entropy.fill(seed); !r) return fail("fill", r.error());
  std::printf("entropy: %zu bytes in %u request\n", seed.size(), rng_model.requests());

  // The models and the platform report what a driver does wrong.
  for (const auto& what : bus.violations()) std::printf("objection: %s\n", what.c_str());
  for (const auto& what : machine.violations()) std::printf("objection: %s\n", what.c_str());
  return back == data && bus.violations().empty() && machine.violations().empty() ? 0 : 1;
}
