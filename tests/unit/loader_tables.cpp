// SPDX-License-Identifier: MIT
// The boot code's parsers of loaders' tables on x86: valid tables, and tables with wrong sizes and links.
#include <catch2/catch_test_macros.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>

#include "../../examples/boot/x86_64/loader_tables.hpp"

using boot::handover;
using boot::loader;

namespace {

// A page below 4 GiB, for tables with 32-bit addresses, and no page after it: reads beyond it fault.
class low_page {
 public:
  low_page() : bytes_{static_cast<std::size_t>(sysconf(_SC_PAGESIZE))} {
    void* const wanted = reinterpret_cast<void*>(0x1000'0000);
    void* const got = mmap(wanted, 2 * bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(got != MAP_FAILED);
    at_ = static_cast<unsigned char*>(got);
    REQUIRE(reinterpret_cast<std::uintptr_t>(at_) + 2 * bytes_ <= 0xffff'ffff);
    REQUIRE(mprotect(at_ + bytes_, bytes_, PROT_NONE) == 0);
  }
  low_page(const low_page&) = delete;
  low_page& operator=(const low_page&) = delete;
  ~low_page() { munmap(at_, 2 * bytes_); }

  [[nodiscard]] std::size_t size() const { return bytes_; }
  [[nodiscard]] std::uint64_t address(std::size_t offset) const {
    return reinterpret_cast<std::uintptr_t>(at_) + offset;
  }
  [[nodiscard]] std::uint32_t address32(std::size_t offset) const {
    return static_cast<std::uint32_t>(address(offset));
  }

  template <class... T>
  void put(std::size_t offset, T... values) {
    const auto one = [&](auto value) {
      std::memcpy(at_ + offset, &value, sizeof value);
      offset += sizeof value;
    };
    (one(values), ...);
  }
  void put_text(std::size_t offset, const char* text) { std::memcpy(at_ + offset, text, std::strlen(text) + 1); }

  [[nodiscard]] std::unique_ptr<handover> read(loader which, std::size_t offset) const {
    auto out = std::make_unique<handover>();
    boot::loader_tables{*out}.read(which, at_ + offset);
    return out;
  }

 private:
  std::size_t bytes_;
  unsigned char* at_;
};

using u8 = std::uint8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

bool is(const boot::memory_range& one, u64 at, u64 size, u32 type) {
  return one.at == at && one.size == size && one.type == type;
}

// The information of Multiboot 1 at 0, with its map in the last bytes of the page.
void put_multiboot1(low_page& page, u32 map_bytes) {
  page.put(0, u32{1 << 2 | 1 << 6});
  page.put(16, page.address32(512));
  page.put_text(512, "a=b");
  page.put(44, map_bytes, page.address32(page.size() - 48));
  page.put(page.size() - 48, u32{20}, u64{0}, u64{0x9f000}, u32{1}, u32{20}, u64{0x100000}, u64{0x7f00000}, u32{2});
}

}  // namespace

TEST_CASE("loader tables: whole ranges of a Multiboot 1 map are used, up to an invalid size", "[boot]") {
  low_page page;
  put_multiboot1(page, 48);
  const auto whole = page.read(loader::multiboot1, 0);
  CHECK(std::string{whole->command_line} == "a=b");
  REQUIRE(whole->ranges == 2);
  CHECK(is(whole->memory[0], 0, 0x9f000, 1));
  CHECK(is(whole->memory[1], 0x100000, 0x7f00000, 2));

  for (const u32 cut : {47u, 25u, 24u}) {
    put_multiboot1(page, cut);
    CHECK(page.read(loader::multiboot1, 0)->ranges == 1);
  }
  for (const u32 cut : {23u, 4u, 0u}) {
    put_multiboot1(page, cut);
    CHECK(page.read(loader::multiboot1, 0)->ranges == 0);
  }
  for (const u32 size : {0u, 19u, 0xffff'fffcu, 0xffff'ffe8u, 0x7fff'ffffu, 45u}) {
    INFO(size);
    put_multiboot1(page, 48);
    page.put(page.size() - 48, size);
    CHECK(page.read(loader::multiboot1, 0)->ranges == 0);
    put_multiboot1(page, 48);
    page.put(page.size() - 24, size);
    CHECK(page.read(loader::multiboot1, 0)->ranges == 1);
  }
}

namespace {

constexpr std::size_t words_tag = 8, map_tag = 24, root_tag = 88, end_tag = 136, multiboot2_bytes = 144;

// Puts the information of Multiboot 2 into the last bytes of the page. Returns its start.
std::size_t put_multiboot2(low_page& page) {
  const std::size_t at = page.size() - multiboot2_bytes;
  page.put(at, u32{multiboot2_bytes}, u32{0});
  page.put(at + words_tag, u32{1}, u32{12});
  page.put_text(at + words_tag + 8, "a=b");
  page.put(at + map_tag, u32{6}, u32{64}, u32{24}, u32{0});
  page.put(at + map_tag + 16, u64{0}, u64{0x9f000}, u32{1}, u32{0}, u64{0x100000}, u64{0x7f00000}, u32{2}, u32{0});
  page.put(at + root_tag, u32{15}, u32{44});
  page.put_text(at + root_tag + 8, "RSD PTR ");
  page.put(at + end_tag, u32{0}, u32{8});
  return at;
}

}  // namespace

TEST_CASE("loader tables: Multiboot 2's tags end with the information, with any stated sizes", "[boot]") {
  low_page page;
  const std::size_t at = put_multiboot2(page);
  const auto read = [&] { return page.read(loader::multiboot2, at); };
  {
    const auto whole = read();
    CHECK(std::string{whole->command_line} == "a=b");
    CHECK(whole->rsdp == page.address(at + root_tag + 8));
    REQUIRE(whole->ranges == 2);
    CHECK(is(whole->memory[0], 0, 0x9f000, 1));
    CHECK(is(whole->memory[1], 0x100000, 0x7f00000, 2));
  }
  page.put(at + end_tag, u32{99});  // no last tag
  CHECK(read()->ranges == 2);
  put_multiboot2(page);
  for (const u32 total : {8u, 15u, 19u}) {
    page.put(at, total);
    CHECK((read()->ranges == 0 && read()->rsdp == 0 && std::string{read()->command_line}.empty()));
  }
  page.put(at, u32{map_tag + 63});
  CHECK((read()->ranges == 0 && std::string{read()->command_line} == "a=b"));

  for (const u32 size :
       {0u, 7u, 0xffff'fff8u, 0xffff'ffffu, 0x8000'0000u, static_cast<u32>(multiboot2_bytes - map_tag + 1)}) {
    INFO(size);
    put_multiboot2(page);
    page.put(at + map_tag + 4, size);
    CHECK((read()->ranges == 0 && read()->rsdp == 0));
    put_multiboot2(page);
    page.put(at + end_tag, u32{99}, size);  // of an ignored type
    CHECK(read()->ranges == 2);
  }
  for (const u32 stride : {0u, 19u, 0xffff'ffffu, 49u}) {
    INFO(stride);
    put_multiboot2(page);
    page.put(at + map_tag + 8, stride);
    CHECK((read()->ranges == 0 && read()->rsdp != 0));
  }
  put_multiboot2(page);
  page.put(at + map_tag + 4, u32{63});  // half a range is ignored
  CHECK(read()->ranges == 1);
  put_multiboot2(page);
  page.put(at + root_tag + 4, u32{27});
  CHECK(read()->rsdp == 0);
  put_multiboot2(page);
  page.put(at + words_tag + 8, u32{0x7a7a7a7a});  // words without an end
  CHECK(std::string{read()->command_line}.empty());
}

TEST_CASE("loader tables: the walk of a looping list in Linux's zero page ends, and its map is limited to its room",
          "[boot]") {
  low_page page;
  const std::size_t node = page.size() - 32;
  const u64 again[] = {page.address(node), page.address(node + 16), 0};
  for (const u64 next : again) {
    page.put(0x70, u64{0xe0000});
    page.put(0x250, page.address(node));
    page.put(node, next, u32{2}, u32{0}, page.address(node), u32{9}, u32{0});
    const auto out = page.read(loader::linux_, 0);
    CHECK(out->rsdp == 0xe0000);
    CHECK(out->device_tree == reinterpret_cast<const void*>(page.address(node + 16)));
    CHECK(out->ranges == 0);
  }
  page.put(0x1e8, u8{255});
  for (unsigned i = 0; i < 128; ++i) page.put(0x2d0 + 20 * i, u64{i} << 20, u64{1} << 20, u32{1});
  const auto out = page.read(loader::linux_, 0);
  REQUIRE(out->ranges == 128);
  CHECK(is(out->memory[127], 127u << 20, 1 << 20, 1));
}

TEST_CASE("loader tables: a PVH map is read up to the available room", "[boot]") {
  low_page page;
  const std::size_t map = page.size() - 128 * 24;
  page.put(0, u32{0x336ec578}, u32{1});
  page.put(32, u64{0xe0000}, page.address(map), u32{0xffff'ffff});
  for (unsigned i = 0; i < 128; ++i) page.put(map + 24 * i, u64{i} << 20, u64{1} << 20, u32{1}, u32{0});
  const auto out = page.read(loader::pvh, 0);
  CHECK(out->rsdp == 0xe0000);
  REQUIRE(out->ranges == 128);
  CHECK(is(out->memory[127], 127u << 20, 1 << 20, 1));
}
