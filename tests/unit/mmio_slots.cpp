// SPDX-License-Identifier: MIT
// Words of a command line with the addresses of MMIO slots, as written by monitors and by users.
#include <catch2/catch_test_macros.hpp>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../../examples/boot/common/mmio_slots.hpp"

using boot::mmio_slot;
using boot::mmio_word;

namespace {

mmio_word parsed(const std::string& text) {
  const std::vector<char> exact{text.begin(), text.end()};  // without a byte after it
  return boot::parse_mmio_word(exact.data(), exact.size());
}

void means(const std::string& text, std::uint64_t base, std::uint64_t size, std::uint32_t interrupt) {
  INFO(text);
  const mmio_word word = parsed(text);
  INFO((word.problem ? word.problem : "no problem"));
  CHECK(word.problem == nullptr);
  CHECK(word.slot.base == base);
  CHECK(word.slot.size == size);
  CHECK(word.slot.interrupt == interrupt);
}

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> out;
  boot::each_mmio_word(line.c_str(), [&](const char* text, std::size_t size) { out.emplace_back(text, size); });
  return out;
}

}  // namespace

TEST_CASE("mmio words: as monitors write them, and every number in any base and with any unit", "[boot][unit]") {
  means("4K@0xc0001000:5", 0xc0001000, 4096, 5);      // Firecracker
  means("512@0xfeb00e00:12", 0xfeb00e00, 512, 12);    // QEMU's microvm
  means("0x1000@0xd0000000:5", 0xd0000000, 4096, 5);  // libkrun
  means("0x200@0xd0000000:0x10:3", 0xd0000000, 512, 16);
  means("1m@4096:7", 4096, 1 << 20, 7);
  means("2G@0X10000000000:40:0", std::uint64_t{1} << 40, std::uint64_t{2} << 30, 40);
  means("1T@0:1", 0, std::uint64_t{1} << 40, 1);
  means("1P@0:1", 0, std::uint64_t{1} << 50, 1);
  means("15E@0:1", 0, std::uint64_t{15} << 60, 1);
  means("01000@010:4294967295", 8, 512, 0xffffffff);
  means("0x100@0xffffffffffffff00:0", 0xffffffffffffff00, 256, 0);  // to the last address, not past it
}

TEST_CASE("mmio words: an invalid word is reported with what is missing or wrong", "[boot][unit]") {
  const auto problem = [](const std::string& text) {
    const char* const said = parsed(text).problem;
    return std::string{said ? said : "none"};
  };
  for (const char* text :
       {"", "@0xd0000000:5", "K@0xd0000000:5", "-4K@0:5", "99999999999999999999@0:5", "16E@0:1", "abc"})
    CHECK(problem(text) == "no size in front");
  for (const char* text : {"4K", "4K:5", "4Kx@0:5", "4KK@0:5", "4K@", "4K@:5", "4K@x:5", "4K@-1:5",
                           "4K@0x10000000000000000:5", "4K 0:5", "0x@0:5"})
    CHECK(problem(text) == "no @ and address behind the size");
  for (const char* text : {"4K@0xd0000000", "4K@0xd0000000:", "4K@0xd0000000:x", "4K@0xd0000000:-1",
                           "4K@0xd0000000:4294967296", "4K@4G:5", "4K@0x:5"})
    CHECK(problem(text) == "no : and interrupt behind the address");
  for (const char* text : {"4K@0xd0000000:5:", "4K@0xd0000000:5:x", "4K@0xd0000000:5:2147483648"})
    CHECK(problem(text) == "no number behind the second :");
  for (const char* text : {"4K@0xd0000000:5,", "4K@0xd0000000:5K", "4K@0xd0000000:5:1:2", "4K@0xd0000000:08"})
    CHECK(problem(text) == "something is left at the end");
  for (const char* text : {"0@0xd0000000:5", "255@0xd0000000:5"})
    CHECK(problem(text) == "smaller than the registers of a slot, 256 bytes");
  CHECK(problem("4K@0xd0000002:5") == "the address is no multiple of 4");
  CHECK(problem("257@0xffffffffffffff00:5") == "it reaches past the last address");
}

TEST_CASE("mmio words: a truncated or random word is never read past its end", "[boot][unit]") {
  const std::string whole = "0x10K@0xc0001000:5:3";
  for (std::size_t n = 0; n <= whole.size(); ++n) (void)parsed(whole.substr(0, n));
  std::mt19937 random{5};
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (auto n = random() % 24; n != 0; --n) text += "0123456789abcdefxXkKmMgGtTpPeE@:: -"[random() % 35];
    (void)parsed(text);
  }
}

TEST_CASE("mmio words: all slots of a line are found in order, and other words are ignored", "[boot][unit]") {
  CHECK(words_of("").empty());
  CHECK(
      words_of("console=ttyS0 virtio_mmio.device=4K@0xc0001000:5 root=/dev/vda  virtio-mmio.device=4K@0xc0002000:6") ==
      std::vector<std::string>{"4K@0xc0001000:5", "4K@0xc0002000:6"});
  CHECK(words_of("\tvirtio_mmio.device=a\nvirtio_mmio.device=b ") == std::vector<std::string>{"a", "b"});
  CHECK(words_of("virtio_mmio.device=") == std::vector<std::string>{""});
  CHECK(
      words_of(
          "virtio_mmio.device virtio_mmio.devices=1 xvirtio_mmio.device=1 virtio_mmio.devicevirtio_mmio.device=1 x=virtio_mmio.device=1")
          .empty());
}

TEST_CASE("mmio words: a list takes no slot that overlaps another, and no more than it has room for", "[boot][unit]") {
  boot::slot_list list;
  const auto add = [&](std::uint64_t base, std::uint64_t size) {
    const char* const problem = list.add({base, size, 1});
    return std::string{problem ? problem : ""};
  };
  CHECK(add(0x1000, 0x1000).empty());
  for (const auto& [base, size] : {std::pair<std::uint64_t, std::uint64_t>{0x1000, 0x1000},
                                   {0x1ffc, 0x100},
                                   {0xf04, 0x100},
                                   {0, 0x10000},
                                   {0x1400, 4}})
    CHECK(add(base, size) == "another slot is there");
  CHECK(add(0x2000, 0x100).empty());
  CHECK(add(0xf00, 0x100).empty());
  CHECK(add(0xffffffffffffff00, 0x100).empty());
  while (list.count < boot::slot_list::most) CHECK(add(0x10000 + 0x1000 * list.count, 0x100).empty());
  CHECK(add(0x1000000, 0x100) == "there is no room for more slots");
  CHECK(list.slots[0].base == 0x1000);
}
