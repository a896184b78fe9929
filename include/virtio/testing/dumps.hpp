// SPDX-License-Identifier: MIT
// PCI configuration space as real devices show it, sixteen bytes a line; bytes omitted up to 256 were zero. Recorded
// from QEMU 7.2.22, machine "pc", through ports CF8/CFC after the firmware (SeaBIOS) had assigned the BARs. The machine
// "q35" showed the same except for BAR addresses and interrupt lines. BAR sizes are not in a dump: the monitor reported
// them.
// Layer: testing (includes nothing of the library).
#pragma once

#include <array>
#include <cstdint>

namespace virtio::testing {

/// A recorded function: its configuration space as text, and the sizes of its six BARs (a 64-bit one in its first
/// slot).
struct pci_dump {
  const char* text;
  std::array<std::uint64_t, 6> bar_sizes;
};

namespace dumps {

/// virtio-blk-pci,disable-legacy=off,disable-modern=off
inline constexpr pci_dump qemu_7_2_blk_transitional{
    "f4 1a 01 10 07 01 10 00 00 00 00 01 00 00 00 00\n"
    "01 c0 00 00 00 a0 bf fe 00 00 00 00 00 00 00 00\n"
    "0c 80 be fe 00 00 00 00 00 00 00 00 f4 1a 02 00\n"
    "00 00 00 00 98 00 00 00 00 00 00 00 0b 01 00 00\n"
    "09 00 10 01 04 00 00 00 00 00 00 00 00 10 00 00\n"
    "09 40 10 03 04 00 00 00 00 10 00 00 00 10 00 00\n"
    "09 50 10 04 04 00 00 00 00 20 00 00 00 10 00 00\n"
    "09 60 14 02 04 00 00 00 00 30 00 00 00 10 00 00\n"
    "04 00 00 00 09 70 14 05 00 00 00 00 00 00 00 00\n"
    "00 00 00 00 00 00 00 00 11 84 01 00 01 00 00 00\n"
    "01 08 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n",
    {0x80, 0x1000, 0, 0, 0x4000, 0}};

/// virtio-rng-pci,disable-legacy=off,disable-modern=off
inline constexpr pci_dump qemu_7_2_rng_transitional{
    "f4 1a 05 10 03 01 10 00 00 00 ff 00 00 00 00 00\n"
    "01 c1 00 00 00 d0 bf fe 00 00 00 00 00 00 00 00\n"
    "0c 00 bf fe 00 00 00 00 00 00 00 00 f4 1a 04 00\n"
    "00 00 00 00 98 00 00 00 00 00 00 00 0b 01 00 00\n"
    "09 00 10 01 04 00 00 00 00 00 00 00 00 10 00 00\n"
    "09 40 10 03 04 00 00 00 00 10 00 00 00 10 00 00\n"
    "09 50 10 04 04 00 00 00 00 20 00 00 00 10 00 00\n"
    "09 60 14 02 04 00 00 00 00 30 00 00 00 10 00 00\n"
    "04 00 00 00 09 70 14 05 00 00 00 00 00 00 00 00\n"
    "00 00 00 00 00 00 00 00 11 84 01 00 01 00 00 00\n"
    "01 08 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n",
    {0x20, 0x1000, 0, 0, 0x4000, 0}};

/// virtio-blk-pci,disable-legacy=on
inline constexpr pci_dump qemu_7_2_blk_modern{
    "f4 1a 42 10 07 01 10 00 01 00 00 01 00 00 00 00\n"
    "00 00 00 00 00 b0 bf fe 00 00 00 00 00 00 00 00\n"
    "0c c0 be fe 00 00 00 00 00 00 00 00 f4 1a 00 11\n"
    "00 00 00 00 98 00 00 00 00 00 00 00 0a 01 00 00\n"
    "09 00 10 01 04 00 00 00 00 00 00 00 00 10 00 00\n"
    "09 40 10 03 04 00 00 00 00 10 00 00 00 10 00 00\n"
    "09 50 10 04 04 00 00 00 00 20 00 00 00 10 00 00\n"
    "09 60 14 02 04 00 00 00 00 30 00 00 00 10 00 00\n"
    "04 00 00 00 09 70 14 05 00 00 00 00 00 00 00 00\n"
    "00 00 00 00 00 00 00 00 11 84 01 00 01 00 00 00\n"
    "01 08 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n",
    {0, 0x1000, 0, 0, 0x4000, 0}};

/// virtio-rng-pci,disable-legacy=on
inline constexpr pci_dump qemu_7_2_rng_modern{
    "f4 1a 44 10 03 01 10 00 01 00 ff 00 00 00 00 00\n"
    "00 00 00 00 00 e0 bf fe 00 00 00 00 00 00 00 00\n"
    "0c 40 bf fe 00 00 00 00 00 00 00 00 f4 1a 00 11\n"
    "00 00 00 00 98 00 00 00 00 00 00 00 0a 01 00 00\n"
    "09 00 10 01 04 00 00 00 00 00 00 00 00 10 00 00\n"
    "09 40 10 03 04 00 00 00 00 10 00 00 00 10 00 00\n"
    "09 50 10 04 04 00 00 00 00 20 00 00 00 10 00 00\n"
    "09 60 14 02 04 00 00 00 00 30 00 00 00 10 00 00\n"
    "04 00 00 00 09 70 14 05 00 00 00 00 00 00 00 00\n"
    "00 00 00 00 00 00 00 00 11 84 01 00 01 00 00 00\n"
    "01 08 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n",
    {0, 0x1000, 0, 0, 0x4000, 0}};

/// virtio-blk-pci,disable-modern=on,disable-legacy=off
inline constexpr pci_dump qemu_7_2_blk_legacy{
    "f4 1a 01 10 07 01 10 00 00 00 00 01 00 00 00 00\n"
    "81 c0 00 00 00 c0 bf fe 00 00 00 00 00 00 00 00\n"
    "00 00 00 00 00 00 00 00 00 00 00 00 f4 1a 02 00\n"
    "00 00 00 00 40 00 00 00 00 00 00 00 0a 01 00 00\n"
    "11 00 01 00 01 00 00 00 01 08 00 00 00 00 00 00\n",
    {0x80, 0x1000, 0, 0, 0, 0}};

/// virtio-rng-pci,disable-modern=on,disable-legacy=off
inline constexpr pci_dump qemu_7_2_rng_legacy{
    "f4 1a 05 10 03 01 10 00 00 00 ff 00 00 00 00 00\n"
    "21 c1 00 00 00 f0 bf fe 00 00 00 00 00 00 00 00\n"
    "00 00 00 00 00 00 00 00 00 00 00 00 f4 1a 04 00\n"
    "00 00 00 00 40 00 00 00 00 00 00 00 0a 01 00 00\n"
    "11 00 01 00 01 00 00 00 01 08 00 00 00 00 00 00\n",
    {0x20, 0x1000, 0, 0, 0, 0}};

}  // namespace dumps
}  // namespace virtio::testing
