// SPDX-License-Identifier: MIT
// libFuzzer: the boot code's reader of device trees. The bytes are a script that writes a tree with the expected names,
// and then changes some of it; or, if the first byte is odd, they are the tree.
#include <cstring>
#include <memory>
#include <vector>

#include "../../examples/boot/common/machine_tree.hpp"

namespace {

constexpr const char* node_names[] = {"", "chosen", "aliases", "reserved-memory", "memory@80000000", "a", "pci"};
// clang-format off
constexpr const char* property_names[] = {
    "#address-cells", "#size-cells", "reg", "ranges", "compatible", "status", "device_type", "bootargs", "stdout-path",
    "phandle", "memory-region", "interrupt-map", "interrupt-map-mask", "#interrupt-cells", "interrupts", "bus-range",
    "size", "alignment", "method", "reg-shift", "reg-io-width", "reg-offset", "linux,pci-domain", "linux,initrd-start",
    "linux,initrd-end", "a"};
constexpr const char* words[] = {
    "virtio,mmio", "pci-host-ecam-generic", "pci-host-cam-generic", "ns16550a", "arm,pl011", "memory",
    "restricted-dma-pool", "arm,psci-0.2", "arm,gic-v3", "hvc", "/a/pci", "a", "okay", "disabled", "/memory:9"};
// clang-format on

struct writer {
  std::vector<uint8_t> out = std::vector<uint8_t>(40);

  void word(uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(value >> shift));
  }
  void characters(const char* of, bool padded) {
    out.insert(out.end(), of, of + std::strlen(of) + 1);
    while (padded && out.size() % 4 != 0) out.push_back(0);
  }
  void head(unsigned index, size_t value) {
    for (unsigned i = 0; i < 4; ++i) out[4 * index + i] = static_cast<uint8_t>(value >> (24 - 8 * i));
  }
};

std::vector<uint8_t> written(const uint8_t* bytes, size_t size) {
  writer w;
  size_t at = 0;
  const auto next = [&]() -> uint8_t { return at < size ? bytes[at++] : 0; };
  w.word(1);
  w.characters("", true);
  while (at < size && w.out.size() < 4000) {
    const uint8_t what = next();
    switch (what % 8) {
      case 0:
        w.word(1);
        w.characters(node_names[next() % std::size(node_names)], true);
        break;
      case 1: w.word(2); break;
      case 2:  // a word
        w.word(3);
        {
          const char* const text = words[next() % std::size(words)];
          w.word(static_cast<uint32_t>(std::strlen(text) + 1));
          w.word(next() % std::size(property_names));
          w.characters(text, true);
        }
        break;
      default: {  // cells, small ones and large ones
        const unsigned cells = what / 8 % 16;
        w.word(3);
        w.word(4 * cells);
        w.word(next() % std::size(property_names));
        for (unsigned i = 0; i < cells; ++i) {
          const uint8_t one = next();
          w.word((one & 0x80) != 0 ? uint32_t{one} << (one % 25) : one);
        }
      }
    }
  }
  w.word(2);
  w.word(9);
  const size_t structure = w.out.size() - 40;
  // Names by number, up to here.
  std::vector<uint32_t> offsets;
  for (const char* name : property_names) {
    offsets.push_back(static_cast<uint32_t>(w.out.size() - 40 - structure));
    w.characters(name, false);
  }
  for (size_t i = 40; i + 12 <= 40 + structure;) {
    const uint32_t kind = uint32_t{w.out[i + 2]} << 8 | w.out[i + 3];
    i += 4;
    if (kind == 1) {
      while (w.out[i] != 0) ++i;
      i = i / 4 * 4 + 4;
    } else if (kind == 3) {
      const size_t length = size_t{w.out[i + 2]} << 8 | w.out[i + 3];
      const uint32_t offset = offsets[w.out[i + 7] % std::size(property_names)];
      w.out[i + 6] = static_cast<uint8_t>(offset >> 8);
      w.out[i + 7] = static_cast<uint8_t>(offset);
      i += 8 + (length + 3) / 4 * 4;
    }
  }
  w.head(2, 40);
  w.head(3, 40 + structure);
  w.head(4, w.out.size());
  w.head(8, w.out.size() - 40 - structure);
  w.head(9, structure);
  return w.out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 41) return 0;
  std::vector<uint8_t> made;
  if (bytes[0] % 2 != 0) {
    made.assign(bytes + 1, bytes + size);
  } else {
    made = written(bytes + 9, size - 9);
    if (bytes[1] % 4 == 0)  // three invalid values
      for (unsigned i = 2; i < 8; i += 2) made[8 + (size_t{bytes[i]} << 4) % (made.size() - 8)] = bytes[i + 1];
  }
  const auto blob = std::make_unique<uint8_t[]>(made.size());
  std::memcpy(blob.get(), made.data(), made.size());
  const uint8_t magic[4] = {0xd0, 0x0d, 0xfe, 0xed};
  for (unsigned i = 0; i < 4; ++i) {
    blob[i] = magic[i];
    blob[4 + i] = static_cast<uint8_t>(made.size() >> (24 - 8 * i));
  }
  const boot::device_tree tree{blob.get()};
  const auto machine = std::make_unique<boot::machine_description>();
  boot::describe(tree, *machine);
  for (size_t i = 0; i < machine->pci_count; ++i) (void)boot::pci_interrupt(tree, machine->pci[i], 0, 1, 0, 1);
  if (machine->arguments != nullptr && std::strlen(machine->arguments) >= made.size()) __builtin_trap();
  return 0;
}
