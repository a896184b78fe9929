// SPDX-License-Identifier: MIT
// What examples/bootloader makes of boot entries, kernels and memory maps: good ones, and ones that lie. Partition
// tables and file systems are in tests/bootloader, where real programs write them.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../../examples/bootloader/aarch64/image.hpp"
#include "../../examples/bootloader/entries.hpp"
#include "../../examples/bootloader/loading.hpp"
#include "../../examples/bootloader/memory.hpp"
#include "../../examples/bootloader/other_kernels.hpp"
#include "../../examples/bootloader/uefi/program.hpp"
#include "../../examples/bootloader/x86_64/bzimage.hpp"
#include "../../examples/files/fat.hpp"

using virtio::errc;

namespace {

std::string string_of(const_bytes s) { return {reinterpret_cast<const char*>(s.data()), s.size()}; }

std::unique_ptr<loader::entry> entry_of(std::string_view file, loader::flaw expected = loader::flaw::none) {
  auto out = std::make_unique<loader::entry>();
  CHECK(parse({file.data(), file.size()}, text("x64"), *out) == expected);
  return out;
}

/// The head of a bzImage of Linux 6.1, as far as a loader looks at it.
struct head {
  std::vector<u8> bytes = std::vector<u8>(4096);
  u64 file_size = 12'000'000;

  head() {
    put(0x1f1, 39, 1);
    put(0x1fe, 0xaa55, 2);
    bytes[0x201] = 0x6a;
    std::memcpy(&bytes[0x202], "HdrS", 4);
    put(0x206, 0x020f, 2);
    put(0x22c, 0x7fff'ffff, 4);
    put(0x230, 0x20'0000, 4);
    put(0x234, 1, 1);
    put(0x236, 0x7f, 2);
    put(0x238, 2047, 4);
    put(0x258, 0x100'0000, 8);
    put(0x260, 0x300'0000, 4);
  }
  void put(usize at, u64 value, unsigned size) { put_number(&bytes[at], value, size); }
  [[nodiscard]] loader::kernel_flaw read(loader::bzimage& out) const {
    return loader::bzimage::read({bytes.data(), bytes.size()}, file_size, out);
  }
  [[nodiscard]] loader::kernel_flaw read() const {
    loader::bzimage out;
    return read(out);
  }
};

/// The head of an Image of Linux 6.1 for 64-bit Arm.
struct arm_head {
  std::vector<u8> bytes = std::vector<u8>(4096);
  u64 file_size = 27'236'288;

  arm_head() {
    put(16, 0x1aa'0000, 8);
    put(24, 0xa, 8);
    put(56, 0x644d'5241, 4);
  }
  void put(usize at, u64 value, unsigned size) { put_number(&bytes[at], value, size); }
  [[nodiscard]] loader::image_flaw read(loader::arm64_image& out) const {
    return loader::arm64_image::read({bytes.data(), bytes.size()}, file_size, out);
  }
};

/// A disk with a FAT12 file system whose root has one file of 512 bytes.
struct small_disk {
  std::vector<u8> image = std::vector<u8>(64 * 512);

  explicit small_disk(std::string_view name) {
    const auto put = [&](usize at, u64 value, unsigned size) { put_number(&image[at], value, size); };
    put(11, 512, 2);  // bytes in a sector
    put(13, 1, 1);    // sectors in a cluster
    put(14, 1, 2);    // in front of the table
    put(16, 1, 1);    // tables
    put(17, 16, 2);   // entries of the root
    put(19, 64, 2);   // sectors
    put(22, 1, 2);    // of a table
    put(510, 0xaa55, 2);
    put(512, 0xffff'f8, 3);
    put(512 + 3, 0xfff, 2);
    std::memcpy(&image[2 * 512], name.data(), 11);
    put(2 * 512 + 26, 2, 2);
    put(2 * 512 + 28, 512, 4);
  }
  [[nodiscard]] u64 capacity() const { return image.size() / 512; }
  virtio::result<void> read(u64 sector, bytes into) const {
    std::memcpy(into.data(), &image[sector * 512], into.size());
    return {};
  }
};

/// A disk that answers requests in order, one at each wait. Those that are submitted together fail together.
struct queued_disk : small_disk {
  struct request {
    u64 sector;
    bytes into;
    u64 cookie;
    bool fails;
  };
  std::deque<request> requests{};
  u64 bad_sector = 0;        // 0: none
  bool is_bad_once = false;  // it fails requests, and is read well afterwards
  u32 largest = 512;
  usize most_in_flight = 0, doorbells = 0;
  bool is_notified = true;

  explicit queued_disk(u16 clusters) : small_disk{"VMLINUZ    "} {
    put_number(&image[2 * 512 + 28], u32{clusters} * 512u, 4);
    for (u16 i = 2; i < clusters + 2; ++i) {  // twelve bits each: one cluster after the other
      const u32 next = i == clusters + 1 ? 0xfff : i + 1u;
      u8* const at = &image[512 + i * 3u / 2];
      put_number(at, i % 2 != 0 ? (number(at, 2) & 0xf) | next << 4 : (number(at, 2) & 0xf000) | next, 2);
      image[(3u + i - 2) * 512] = static_cast<u8>(i);
    }
  }
  u32 block = 512;
  [[nodiscard]] u32 block_size() const { return block; }
  [[nodiscard]] u32 largest_request() const { return largest; }
  [[nodiscard]] bool has_bad_sector(u64 sector, usize size) const {
    return bad_sector >= sector && bad_sector < sector + size / 512;
  }
  virtio::result<void> read(u64 sector, bytes into) const {
    return bad_sector != 0 && !is_bad_once && has_bad_sector(sector, into.size()) ? errc::io_error
                                                                                  : small_disk::read(sector, into);
  }
  virtio::result<virtio::token> submit_read(u64 sector, bytes into, u64 cookie) {
    const bool fails = bad_sector != 0 && has_bad_sector(sector, into.size());
    for (request& other : requests) other.fails = other.fails || fails;
    requests.push_back({sector, into, cookie, fails});
    most_in_flight = std::max(most_in_flight, requests.size());
    is_notified = false;
    return virtio::token{};
  }
  virtio::result<loader::ended_read> wait_next() {
    if (!is_notified) ++doorbells;
    is_notified = true;
    const request one = requests.front();
    requests.pop_front();
    return loader::ended_read{one.cookie, one.fails ? errc::io_error : small_disk::read(one.sector, one.into).error()};
  }
};

/// The file of such a disk, as the loader reads it.
struct loaded_file {
  std::vector<u8> memory = std::vector<u8>(64 * 512);
  std::vector<u32> steps{};
  u32 size = 0;
  loader::read_error ended{};

  explicit loaded_file(queued_disk& disk) {
    auto part = partitions::slice<queued_disk>{disk, 0, disk.capacity()};
    const auto files = std::make_unique<fat::volume<partitions::slice<queued_disk>>>();
    REQUIRE(files->mount(part));
    fat::entry file;
    REQUIRE(files->find(text("vmlinuz"), file));
    size = file.size;
    loader::file_reader<queued_disk> reader{disk, *files, 0};
    ended = reader.read(file, 0, size, memory.data(), [this](u32 done) { steps.push_back(done); });
  }
  [[nodiscard]] bool is_whole() const {
    for (u32 i = 0; i < size / 512; ++i)
      if (memory[i * 512] != i + 2) return false;
    return true;
  }
};

}  // namespace

TEST_CASE("boot files: several requests of a file share a doorbell", "[examples][boot]") {
  queued_disk disk{40};
  loaded_file file{disk};
  CHECK(file.ended.why == errc::ok);
  CHECK(file.is_whole());
  CHECK(file.steps.size() == 40);
  CHECK(file.steps.back() == 40 * 512);
  CHECK(disk.most_in_flight == 8);
  CHECK(disk.doorbells == 9);  // the first eight requests, then four at a time
}

TEST_CASE("boot files: requests that fail because of a neighbour are read again", "[examples][boot]") {
  queued_disk disk{40};
  disk.bad_sector = 20;
  disk.is_bad_once = true;
  loaded_file file{disk};
  CHECK(file.ended.why == errc::ok);
  CHECK(file.is_whole());
}

TEST_CASE("boot files: a read error is reported with its sector, whatever failed with it", "[examples][boot]") {
  for (const u32 largest : {512u, 4096u, 3u * 512}) {
    for (u64 sector = 8; sector < 43; ++sector) {  // those before lie in a line with the boot sector and the table
      queued_disk disk{40};
      disk.largest = largest;
      disk.bad_sector = sector;
      const loaded_file file{disk};
      CHECK(file.ended.why == errc::io_error);
      CHECK(file.ended.sector == sector);
      CHECK(disk.requests.empty());
    }
  }
}

TEST_CASE("boot files: a part of a file may begin within a block of the disk", "[examples][boot]") {
  queued_disk disk{1};
  std::fill(disk.image.begin() + 512, disk.image.end(), u8{0});
  disk.block = 4096;
  put_number(&disk.image[11], 4096, 2);
  put_number(&disk.image[19], 8, 2);
  put_number(&disk.image[4096], 0xff'fff8, 3);  // the table; the file has the clusters 2 to 5
  put_number(&disk.image[4096 + 3], 0x00'4003, 3);
  put_number(&disk.image[4096 + 6], 0xff'f005, 3);
  std::memcpy(&disk.image[2 * 4096], "VMLINUZ    ", 11);
  put_number(&disk.image[2 * 4096 + 26], 2, 2);
  put_number(&disk.image[2 * 4096 + 28], 4 * 4096 - 100, 4);
  for (usize i = 3 * 4096; i < disk.image.size(); ++i) disk.image[i] = static_cast<u8>(i / 512 * 3 + i);
  const u8* const content = &disk.image[3 * 4096];

  auto part = partitions::slice<queued_disk>{disk, 0, disk.capacity()};
  const auto files = std::make_unique<fat::volume<partitions::slice<queued_disk>>>();
  REQUIRE(files->mount(part));
  fat::entry file;
  REQUIRE(files->find(text("vmlinuz"), file));
  for (const u32 largest : {4096u, 3u * 4096}) {
    disk.largest = largest;
    for (u32 from = 0; from < file.size; from += 512) {
      for (const u32 size : {file.size - from, std::min(100u, file.size - from)}) {
        std::vector<u8> memory(size + 4096);
        u32 last = 0;
        loader::file_reader<queued_disk> reader{disk, *files, 0};
        const auto read = reader.read(file, from, size, memory.data(), [&](u32 done) { last = done; });
        CHECK(read.why == errc::ok);
        CHECK(std::equal(memory.begin(), memory.begin() + size, content + from));
        CHECK((last == size || (last == 0 && from % 4096 + size <= 4096)));
      }
    }
  }
  disk.bad_sector = 3 * 8 + 4;
  std::vector<u8> memory(4 * 4096);
  loader::file_reader<queued_disk> reader{disk, *files, 0};
  const auto read = reader.read(file, 512, file.size - 512, memory.data(), [](u32) {});
  CHECK(read.why == errc::io_error);
  CHECK(read.sector == 3 * 8);
}

TEST_CASE("boot files: a file of almost 4 GiB is not taken for an empty one", "[examples][boot]") {
  queued_disk disk{4};
  auto part = partitions::slice<queued_disk>{disk, 0, disk.capacity()};
  const auto files = std::make_unique<fat::volume<partitions::slice<queued_disk>>>();
  REQUIRE(files->mount(part));
  fat::entry file;
  REQUIRE(files->find(text("vmlinuz"), file));
  std::vector<u8> memory(64 * 512);
  loader::file_reader<queued_disk> reader{disk, *files, 0};
  CHECK(reader.read(file, 0, ~u32{0}, memory.data(), [](u32) {}).why == errc::io_error);  // the chain has four clusters
}

TEST_CASE("boot files: a FAT32 without mirroring is read by its active table", "[examples][boot]") {
  queued_disk disk{1};
  std::fill(disk.image.begin() + 512, disk.image.end(), u8{0});
  const auto put = [&](usize at, u64 value, unsigned size) { put_number(&disk.image[at], value, size); };
  put(16, 2, 1);  // tables, of a sector each, from sector 1 on
  put(17, 0, 2);
  put(22, 0, 2);
  put(36, 1, 4);
  put(44, 2, 4);  // the root's cluster, in sector 3
  put(40, 0x81, 2);
  put(1 * 512 + 4 * 2, 0x0fff'ffff, 4);
  put(1 * 512 + 4 * 3, 0x0fff'ffff, 4);
  put(2 * 512 + 4 * 2, 0x0fff'ffff, 4);
  put(2 * 512 + 4 * 3, 5, 4);
  put(2 * 512 + 4 * 5, 0x0fff'ffff, 4);
  std::memcpy(&disk.image[3 * 512], "VMLINUZ    ", 11);
  put(3 * 512 + 26, 3, 2);
  put(3 * 512 + 28, 1024, 4);
  disk.image[4 * 512] = 2;  // the marks by which `is_whole` knows the file
  disk.image[6 * 512] = 3;
  const loaded_file file{disk};
  CHECK(file.ended.why == errc::ok);
  CHECK(file.is_whole());
  put(40, 0x82, 2);
  const auto files = std::make_unique<fat::volume<small_disk>>();
  CHECK(files->mount(disk).error() == errc::out_of_range);
}

TEST_CASE("boot files: a file system that is mounted after another one is read from its own disk", "[examples][boot]") {
  small_disk none{"FIRST   TXT"}, first{"FIRST   TXT"}, second{"SECOND  TXT"};
  none.image[510] = 0;
  const auto files = std::make_unique<fat::volume<small_disk>>();
  fat::entry one;
  CHECK(files->mount(none).error() == errc::unsupported);
  REQUIRE(files->mount(first));
  CHECK(files->find(text("first.txt"), one));
  REQUIRE(files->mount(second));
  CHECK(files->find(text("first.txt"), one).error() == errc::not_found);
  CHECK(files->find(text("/second.txt"), one));
}

TEST_CASE("boot entries: keys, comments, blanks and repeated values are read as the specification has them",
          "[examples][boot]") {
  const auto one = entry_of(
      "# a comment\r\n  title\tDebian 12  \nversion 6.1.0-50\nlinux /vmlinuz\ninitrd /a\ninitrd /b\n"
      "options root=/dev/vda2 ro\noptions quiet\nunknown x\nmachine-id 1\n\nlinux");
  CHECK(string_of(one->title.get()) == "Debian 12");
  CHECK(string_of(one->version.get()) == "6.1.0-50");
  CHECK(string_of(one->kernel.get()) == "/vmlinuz");
  REQUIRE(one->initrds == 2);
  CHECK(string_of(one->initrd[1].get()) == "/b");
  CHECK(string_of(one->options.get()) == "root=/dev/vda2 ro quiet");
  CHECK(string_of(entry_of("\xef\xbb\xbflinux /vmlinuz")->kernel.get()) == "/vmlinuz");  // as some editors begin a file
}

TEST_CASE("boot entries: one that cannot be started says why", "[examples][boot]") {
  using loader::flaw;
  entry_of("title nothing\n", flaw::no_linux);
  entry_of("", flaw::no_linux);
  entry_of("linux /k\narchitecture aa64\n", flaw::other_processor);
  entry_of("linux /k\narchitecture X64\n");
  entry_of("linux /k\ninitrd 1\ninitrd 2\ninitrd 3\ninitrd 4\ninitrd 5\n", flaw::too_many_initrds);
  entry_of("linux /" + std::string(512, 'k') + "\n", flaw::too_long);
  entry_of("linux /" + std::string(511, 'k') + "\n");
  // Together they are a byte too long, with the blank between them.
  entry_of("linux /k\noptions " + std::string(1024, 'a') + "\noptions " + std::string(1024, 'b') + "\n",
           flaw::too_long);
  entry_of("linux /k\noptions " + std::string(1024, 'a') + "\noptions " + std::string(1023, 'b') + "\n");
}

TEST_CASE("boot entries: the newer version stands first, behind what has a sort key", "[examples][boot]") {
  const auto compare = [](std::string_view a, std::string_view b) {
    return loader::compare_versions({a.data(), a.size()}, {b.data(), b.size()});
  };
  CHECK(compare("6.1.0-9", "6.1.0-10") < 0);
  CHECK(compare("6.10", "6.9") > 0);
  CHECK(compare("6.1", "6.1.1") < 0);
  CHECK(compare("6.01", "6.1") == 0);
  CHECK(compare("", "") == 0);
  CHECK(compare("0", "00") == 0);
  CHECK(compare("a", "1") > 0);

  const auto set = [](loader::entry& one, std::string_view id, std::string_view version, std::string_view key) {
    REQUIRE(one.id.set({id.data(), id.size()}));
    REQUIRE(one.version.set({version.data(), version.size()}));
    REQUIRE(one.sort_key.set({key.data(), key.size()}));
  };
  const auto a = std::make_unique<loader::entry>(), b = std::make_unique<loader::entry>();
  set(*a, "one", "6.1.0-9", "");
  set(*b, "one", "6.1.0-10", "");
  CHECK(stands_before(*b, *a));
  CHECK_FALSE(stands_before(*a, *b));
  set(*a, "one", "5", "debian");
  CHECK(stands_before(*a, *b));
  set(*a, "one", "5", "");
  set(*b, "two", "5", "");
  CHECK(stands_before(*b, *a));
  CHECK_FALSE(stands_before(*a, *a));
}

TEST_CASE("boot entries: the default is an id, with its ending or without, or the beginning of one",
          "[examples][boot]") {
  const auto one = std::make_unique<loader::entry>();
  REQUIRE(one->id.set(text("debian-6.1")));
  const auto prefers = [&](std::string_view file) {
    loader::settings s;
    s.parse({file.data(), file.size()});
    return s.prefers(*one);
  };
  CHECK(prefers("default debian-6.1\n"));
  CHECK(prefers("default debian-6.1.conf\ntimeout 3\n"));
  CHECK(prefers("default debian-*\n"));
  CHECK(prefers("default *\n"));
  CHECK_FALSE(prefers("default debian\n"));
  CHECK_FALSE(prefers("default .conf\n"));
  CHECK_FALSE(prefers("timeout 3\n"));
  CHECK_FALSE(prefers("default " + std::string(300, 'd') + "\n"));
  loader::settings s;
  s.parse(text("timeout 99999999999999999999\n"));
  CHECK(s.timeout <= 36009);
  s.parse(text("timeout menu-hidden\n"));
  CHECK(s.timeout == 0);
}

TEST_CASE("boot memory: a piece that is taken is in no other, and is never out of what is free", "[examples][boot]") {
  loader::memory m;
  m.add(0x10'0000, 0x700'0000);
  m.add(0x1'0000'0000, 0x1000'0000);
  m.take(0x40'0000, 0x10'0000);
  CHECK(m.is_free(0x10'0000, 0x30'0000));
  CHECK_FALSE(m.is_free(0x10'0000, 0x30'0001));
  CHECK(m.is_free(0x50'0000, 0x6c0'0000));
  CHECK_FALSE(m.is_free(0x4f'ffff, 1));
  CHECK(*m.take_lowest(0x10'0000, 0x20'0000, 0, ~u64{0}) == 0x20'0000);
  CHECK(*m.take_lowest(0x10'0000, 0x20'0000, 0, ~u64{0}) == 0x60'0000);
  CHECK(*m.take_highest(0x1000, 0x1000, 0x1'0000'0000) == 0x70f'f000);
  CHECK(*m.take_highest(0x1000, 0x1000, ~u64{0}) == 0x1'0fff'f000);
  CHECK(m.take_highest(0x1000'0000, 0x1000, ~u64{0}).error() == errc::no_space);
  CHECK(m.take_lowest(~u64{0}, 0x1000, 0, ~u64{0}).error() == errc::no_space);
  CHECK(m.take_lowest(0x1000, 0x1000, ~u64{0} - 1, ~u64{0}).error() == errc::no_space);
  CHECK(m.take_lowest(0x1000, 0x1000, 0, 0x10'0fff).error() == errc::no_space);

  loader::memory odd;
  odd.add(~u64{0} - 10, 100);  // wraps: no memory
  CHECK_FALSE(odd.is_free(~u64{0} - 10, 1));
  odd.add(0x1000, 0x1000);
  odd.take(0, ~u64{0});
  CHECK_FALSE(odd.is_free(0x1000, 1));
  for (u64 i = 0; i < 400; ++i) odd.add(i << 20, 0x1000);  // more than it has room for
  for (u64 i = 0; i < 400; ++i) odd.take((i << 20) + 16, 16);
  CHECK_FALSE(odd.is_free(16, 1));
}

TEST_CASE("boot kernels: a bzImage says where it belongs and what it takes", "[examples][boot]") {
  head h;
  loader::bzimage k;
  REQUIRE(h.read(k) == loader::kernel_flaw::none);
  CHECK(k.code_at == 40 * 512);
  CHECK(k.code_size == 12'000'000 - 40 * 512);
  CHECK(k.preferred == 0x100'0000);
  CHECK(k.memory == 0x300'0000);
  CHECK(k.initrd_end == 0x8000'0000);
  h.put(0x260, 1000, 4);  // less than there is to load
  REQUIRE(h.read(k) == loader::kernel_flaw::none);
  CHECK(k.memory == k.code_size);
  h.bytes[0x1f1] = 0;
  REQUIRE(h.read(k) == loader::kernel_flaw::none);
  CHECK(k.code_at == 5 * 512);
}

TEST_CASE("boot kernels: one is never placed below its preferred address, where it would move itself to",
          "[examples][boot]") {
  constexpr u64 mapped = u64{1} << 32;
  head h;  // 48 MiB at 16 MiB
  loader::bzimage k;
  const auto placed = [&](u64 free_from, u64 free_to) {
    REQUIRE(h.read(k) == loader::kernel_flaw::none);
    loader::memory m;
    m.add(0x10'0000, 0x3f0'0000);  // up to 64 MiB: 512 bytes too few at 16 MiB, enough below
    m.add(free_from, free_to - free_from);
    return k.place(m, 512, mapped);
  };
  CHECK(placed(0, 0).error() == errc::no_space);
  CHECK(*placed(0x500'0000, 0x900'0000) == 0x500'0000);
  CHECK(placed(0x400'0000, 0x400'0000).error() == errc::no_space);
  CHECK(*placed(0x100'0000, 0x900'0000) == 0x100'0000);
  CHECK(placed(mapped - 0x300'0000, mapped + 0x1000'0000).error() == errc::no_space);
  h.put(0x258, 0x110'0000, 8);  // not at a multiple of its alignment, so it would move itself up
  CHECK(*placed(0x100'0000, 0x900'0000) == 0x120'0000);
  h.put(0x234, 0, 1);
  CHECK(placed(0x100'0000, 0x900'0000).error() == errc::no_space);
  h.put(0x258, ~u64{0} << 21, 8);
  h.put(0x234, 1, 1);
  CHECK(placed(0x100'0000, 0x900'0000).error() == errc::no_space);
}

TEST_CASE("boot kernels: what is none, or cannot be entered in 64 bits, is named", "[examples][boot]") {
  using loader::kernel_flaw;
  const auto with = [](usize at, u64 value, unsigned size) {
    head h;
    h.put(at, value, size);
    return h.read();
  };
  CHECK(with(0x1fe, 0, 2) == kernel_flaw::not_linux);
  CHECK(with(0x202, 0, 4) == kernel_flaw::not_linux);
  CHECK(with(0x206, 0x020b, 2) == kernel_flaw::too_old);
  CHECK(with(0x236, 0x7e, 2) == kernel_flaw::not_64_bit);
  CHECK(with(0x230, 0, 4) == kernel_flaw::not_linux);
  CHECK(with(0x230, 0x3000, 4) == kernel_flaw::not_linux);
  CHECK(with(0x1f1, 255, 1) == kernel_flaw::none);
  head h;
  h.file_size = 40 * 512 + 0x200;
  CHECK(h.read() == kernel_flaw::cut_short);
  h.file_size = 0x1'0000'0000;
  CHECK(h.read() == kernel_flaw::cut_short);
  h.file_size = 12'000'000;
  h.bytes.resize(4095);
  CHECK(h.read() == kernel_flaw::cut_short);
  h.bytes.resize(100);
  h.file_size = 100;
  CHECK(h.read() == kernel_flaw::not_linux);
}

TEST_CASE("boot kernels: the zero page has the header, the map and the places in it", "[examples][boot]") {
  head h;
  h.bytes[0x201] = 0xff;  // a header that claims more than there is room for
  std::memset(&h.bytes[0x290], 0xee, 0x100);
  auto page = std::make_unique<loader::zero_page>();
  page->begin({h.bytes.data(), h.bytes.size()});
  page->put_initrd(0x1'2345'6000, 0x1'0000'0001);
  page->put_options(0x9000);
  page->put_root_of_acpi(0xf5ad0);
  CHECK(number(page->data(), 4) == 0);  // without a screen
  CHECK(page->data()[0x00f] == 0);
  page->put_text_screen(7, 24);
  for (unsigned i = 0; i < 200; ++i) page->add_range(u64{i} << 20, 0x1000, 1);
  const u8* const p = page->data();
  CHECK(std::memcmp(p + 0x202, "HdrS", 4) == 0);
  CHECK(p[0x210] == 0xff);
  CHECK(number(p + 0x218, 4) == 0x2345'6000);
  CHECK(number(p + 0x0c0, 4) == 1);
  CHECK(number(p + 0x21c, 4) == 1);
  CHECK(number(p + 0x0c4, 4) == 1);
  CHECK(number(p + 0x228, 4) == 0x9000);
  CHECK(long_number(p + 0x070) == 0xf5ad0);
  CHECK(number(p, 2) == 0x1807);  // the cursor
  CHECK(number(p + 0x006, 2) == 0x5003);
  CHECK(number(p + 0x00e, 2) == 0x0119);
  CHECK(number(p + 0x010, 2) == 16);
  CHECK(p[0x1e8] == 128);
  CHECK(long_number(p + 0x2d0 + 20 * 127) == u64{127} << 20);
  CHECK(number(p + 0x2d0 + 20 * 128, 4) == 0);
  CHECK(p[0x290] == 0);  // the list of disks' signatures, which is not the header's
}

TEST_CASE("boot kernels: an Image says how much memory it takes, and which pages it has", "[examples][boot]") {
  arm_head h;
  loader::arm64_image k;
  REQUIRE(h.read(k) == loader::image_flaw::none);
  CHECK(k.file_size == 27'236'288);
  CHECK(k.offset == 0);
  CHECK(k.memory == 0x1aa'0000);
  CHECK(k.page_kib == 4);
  h.put(16, 4096, 8);  // less than there is to load
  h.put(24, 0xc, 8);
  REQUIRE(h.read(k) == loader::image_flaw::none);
  CHECK(k.memory == 27'236'288);
  CHECK(k.page_kib == 16);
  h.put(24, 0x8, 8);
  REQUIRE(h.read(k) == loader::image_flaw::none);
  CHECK(k.page_kib == 0);
}

TEST_CASE("boot kernels: an Image that cannot be started is named", "[examples][boot]") {
  using loader::image_flaw;
  const auto with = [](usize at, u64 value, unsigned size) {
    arm_head h;
    h.put(at, value, size);
    loader::arm64_image k;
    return h.read(k);
  };
  CHECK(with(56, 0, 4) == image_flaw::not_linux);
  CHECK(with(16, 0, 8) == image_flaw::too_old);
  CHECK(with(24, 0xb, 8) == image_flaw::big_endian);
  CHECK(with(8, 0x20'0000, 8) == image_flaw::bad_size);
  CHECK(with(8, 0x1f'ffff, 8) == image_flaw::bad_size);
  CHECK(with(8, 0x1f'f000, 8) == image_flaw::none);
  CHECK(with(16, 0x1'0000'0001, 8) == image_flaw::bad_size);
  CHECK(with(16, ~u64{0}, 8) == image_flaw::bad_size);
  arm_head h;
  loader::arm64_image k;
  h.bytes.resize(63);
  CHECK(h.read(k) == image_flaw::not_linux);
  h.bytes.resize(64);
  CHECK(h.read(k) == image_flaw::none);
}

TEST_CASE("boot kernels: an Image is placed at its offset from 2 MiB, and its initrd within 32 GiB of it",
          "[examples][boot]") {
  constexpr u64 all = u64{1} << 48, gib = u64{1} << 30;
  arm_head h;
  h.put(8, 0x8'0000, 8);
  loader::arm64_image k;
  REQUIRE(h.read(k) == loader::image_flaw::none);
  loader::memory m;
  m.add(0x4000'1000, 64 * gib);
  CHECK(*k.place(m, 4096, all) == 0x4028'0000);
  CHECK(*k.place_initrd(m, 0x1000, 0x4028'0000) == 33 * gib - 0x1000);

  loader::memory below;  // the only room for an initrd is more than 32 GiB below the kernel
  below.add(gib, 0x1000);
  CHECK(k.place_initrd(below, 0x1000, 34 * gib).error() == errc::no_space);
  below.add(2 * gib, 0x1000);
  CHECK(*k.place_initrd(below, 0x1000, 33 * gib) == 2 * gib);

  loader::memory small;
  small.add(0x4000'0000, 0x8'0000 + k.memory + 4095);
  CHECK(k.place(small, 4096, all).error() == errc::no_space);
}

TEST_CASE("boot kernels: under UEFI a program for this processor is taken, and all else is named", "[examples][boot]") {
  using loader::check_program, loader::efi_processor;
  std::vector<u8> file(0x100);
  std::memcpy(file.data(), "MZ", 2);
  put_number(&file[0x3c], 0x80, 4);
  std::memcpy(&file[0x80], "PE\0", 4);
  put_number(&file[0x84], 0xaa64, 2);
  put_number(&file[0x80 + 24 + 68], 10, 2);
  const auto check = [&](usize size, efi_processor own = efi_processor::aarch64) {
    const char* const why = check_program(const_bytes{file.data(), file.size()}.part(0, size), own);
    return std::string{why != nullptr ? why : ""};
  };
  CHECK(check(file.size()) == "");
  CHECK(check(0x80 + 24 + 68 + 2) == "");
  for (const usize size : {usize{0}, usize{2}, usize{0x3f}, usize{0x40}, usize{0x80 + 24 + 68 + 1}})
    CHECK(check(size) == "it is no Linux kernel with an EFI stub");
  CHECK(check(file.size(), efi_processor::x86_64) == "it is for another processor");
  put_number(&file[0x80 + 24 + 68], 3, 2);
  CHECK(check(file.size()) == "it is no program for UEFI");
  for (const u32 at : {0xf0u, 0x100u, 0xffff'ffffu}) {  // the header begins behind what was read
    put_number(&file[0x3c], at, 4);
    CHECK(check(file.size()) == "it is no Linux kernel with an EFI stub");
  }
  std::memcpy(file.data(), "\x1f\x8b", 2);
  CHECK(check(file.size()) == "it is compressed: unpack it with gunzip");
}

TEST_CASE("boot kernels: a file of another format is named", "[examples][boot]") {
  using loader::kernel_kind;
  head x86;
  arm_head arm;
  CHECK(loader::kind_of({x86.bytes.data(), x86.bytes.size()}) == kernel_kind::x86);
  CHECK(loader::kind_of({arm.bytes.data(), arm.bytes.size()}) == kernel_kind::arm64);
  CHECK(loader::kind_of({arm.bytes.data(), 59}) == kernel_kind::unknown);
  arm.put(56, 0x0543'5352, 4);
  CHECK(loader::kind_of({arm.bytes.data(), arm.bytes.size()}) == kernel_kind::riscv64);
  CHECK(loader::kind_of(text("MZ\0\0zimg")) == kernel_kind::self_extracting);
  CHECK(loader::kind_of(text("\x1f\x8b\x08")) == kernel_kind::gzip);
  CHECK(loader::kind_of(text("\x7f"
                             "ELF")) == kernel_kind::elf);
  CHECK(loader::kind_of({}) == kernel_kind::unknown);
  CHECK(describe(kernel_kind::unknown) == nullptr);
}
