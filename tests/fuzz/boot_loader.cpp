// SPDX-License-Identifier: MIT
// libFuzzer: the data that a boot loader reads from a disk. The first byte selects the rest: a boot entry, the head of
// a kernel, or changes to a disk with a GPT, an MBR with logical partitions, or neither.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "../../examples/bootloader/aarch64/image.hpp"
#include "../../examples/bootloader/entries.hpp"
#include "../../examples/bootloader/memory.hpp"
#include "../../examples/bootloader/other_kernels.hpp"
#include "../../examples/bootloader/uefi/program.hpp"
#include "../../examples/bootloader/x86_64/bzimage.hpp"
#include "../../examples/files/partitions.hpp"

namespace {

using virtio::errc, virtio::result;

void require(bool good) {
  if (!good) abort();
}

struct disk {
  std::vector<u8> image = std::vector<u8>(std::size_t{200} * 512);
  u32 block = 512;
  u64 reads = 0;

  [[nodiscard]] u64 capacity() const { return image.size() / 512; }
  [[nodiscard]] u32 block_size() const { return block; }
  result<void> read(u64 sector, bytes into) {
    require(into.size() % block == 0 && sector <= capacity() && into.size() / 512 <= capacity() - sector &&
            ++reads < 20'000);
    std::memcpy(into.data(), &image[sector * 512], into.size());
    return {};
  }
};

u32 crc(const u8* at, usize size) {
  u32 sum = ~0u;
  for (; size != 0; --size) {
    sum ^= *at++;
    for (unsigned bit = 0; bit < 8; ++bit) sum = (sum & 1) != 0 ? sum >> 1 ^ 0xedb88320 : sum >> 1;
  }
  return ~sum;
}

void write_gpt(disk& d) {
  u8* const mbr = d.image.data();
  mbr[450] = 0xee;
  put_number(mbr + 510, 0xaa55, 2);
  for (u8 i = 0; i < 3; ++i) {
    u8* const entry = mbr + 2 * d.block + 128 * i;
    entry[0] = static_cast<u8>(i + 1);
    put_number(entry + 32, 10u + i, 8);
    put_number(entry + 40, 10u + i, 8);
  }
  u8* const head = mbr + d.block;
  std::memcpy(head, "EFI PART", 8);
  put_number(head + 12, 92, 4);
  put_number(head + 24, 1, 8);
  put_number(head + 72, 2, 8);
  put_number(head + 80, 8, 4);
  put_number(head + 84, 128, 4);
}
void write_sums(disk& d) {  // so that changes pass the checksums
  u8* const head = d.image.data() + d.block;
  const u64 array = std::min<u64>(long_number(head + 72), 10) * d.block;
  const u64 size = std::min<u64>(u64{number(head + 80, 4)} * number(head + 84, 4), d.image.size() - array);
  put_number(head + 88, crc(d.image.data() + array, size), 4);
  put_number(head + 16, 0, 4);
  put_number(head + 16, crc(head, std::min<u32>(number(head + 12, 4), d.block)), 4);
}
void write_mbr(disk& d) {
  u8* const mbr = d.image.data();
  const auto row = [&](u8* table, unsigned i, u8 type, u32 first, u32 count) {
    table[446 + 16 * i + 4] = type;
    put_number(table + 446 + 16 * i + 8, first, 4);
    put_number(table + 446 + 16 * i + 12, count, 4);
    put_number(table + 510, 0xaa55, 2);
  };
  row(mbr, 0, 0xef, 3, 2);
  row(mbr, 1, 0x0f, 6, 10);
  row(mbr + 6 * d.block, 0, 0x83, 1, 1);
  row(mbr + 6 * d.block, 1, 0x05, 2, 2);
  row(mbr + 8 * d.block, 0, 0x83, 1, 1);
}

void partitions_of(const u8* script, size_t size) {
  disk d;
  const u8 kind = size != 0 ? *script : 0;
  if ((kind & 4) != 0) d.block = 4096;
  if ((kind & 3) == 1) write_gpt(d);
  if ((kind & 3) == 2) write_mbr(d);
  for (size_t i = 1; i + 3 <= size; i += 3)
    d.image[(script[i] + usize{256} * script[i + 1]) % d.image.size()] = script[i + 2];
  if ((kind & 3) == 1) write_sums(d);
  auto tables = std::make_unique<partitions::reader<disk>>();
  unsigned shown = 0;
  (void)tables->for_each(d, [&](const partitions::partition& one) {
    require(++shown <= 8192 && one.sectors != 0 && one.first < d.capacity() && one.sectors <= d.capacity() - one.first);
    partitions::slice<disk> part{d, one.first, one.sectors};
    std::vector<u8> block(d.block);
    if (one.sectors % (d.block / 512) == 0 && one.first % (d.block / 512) == 0)
      require(bool{part.read(one.sectors - d.block / 512, block)});
    require(part.read(one.sectors, block).error() == errc::out_of_range);
  });
}

void entry_of(const u8* file, size_t size) {
  auto one = std::make_unique<loader::entry>();
  loader::settings settings;
  const bool good = parse({file, size}, text("x64"), *one) == loader::flaw::none;
  settings.parse({file, size});
  require(!good || !one->kernel.empty());
  require(one->initrds <= loader::most_initrds && settings.timeout < 40'000);
  require(!stands_before(*one, *one));
  (void)settings.prefers(*one);
}

void arm64_kernel_of(const u8* head, size_t size) {
  (void)describe(loader::kind_of({head, size}));
  for (const auto own : {loader::efi_processor::x86_64, loader::efi_processor::aarch64})
    (void)loader::check_program({head, size}, own);
  loader::arm64_image image;
  const u64 file_size = size > 8 ? long_number(head) % 0x2'0000'0000 : size;
  if (loader::arm64_image::read({head, size}, file_size, image) != loader::image_flaw::none) return;
  require(image.file_size == file_size && image.memory >= file_size);
  loader::memory memory;
  memory.add(0x4000'1000, 0x4000'0000);
  const auto at = image.place(memory, 4096, u64{1} << 48);
  if (!at) return;
  require((*at - image.offset) % (2 << 20) == 0 && *at >= 0x4000'1000 && *at + image.memory + 4096 <= 0x8000'1000);
  require(!memory.is_free(*at, 1) && !memory.is_free(*at + image.memory + 4095, 1));
  if (const auto initrd = image.place_initrd(memory, 1 << 20, *at))
    require(*initrd + (1 << 20) <= *at || *initrd >= *at + image.memory);
}

void kernel_of(const u8* head, size_t size) {
  loader::bzimage image;
  const u64 file_size = size > 8 ? long_number(head) % 0x2'0000'0000 : size;
  if (loader::bzimage::read({head, size}, file_size, image) != loader::kernel_flaw::none) return;
  require(image.code_at + u64{image.code_size} == file_size && image.memory >= image.code_size);
  loader::memory memory;
  memory.add(0x10'0000, 0x4000'0000);
  if (const auto at = memory.take_lowest(image.memory, image.alignment, 1 << 20, u64{1} << 32)) {
    require(*at % image.alignment == 0 && *at >= 0x10'0000 && *at + image.memory <= 0x4010'0000);
    require(!memory.is_free(*at, 1) && !memory.is_free(*at + image.memory - 1, 1));
  }
  auto page = std::make_unique<loader::zero_page>();
  page->begin({head, size});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::unique_ptr<u8[]> exact{new u8[size]};  // a read beyond the end is detected
  std::memcpy(exact.get(), data, size);
  switch (*data % 4) {
    case 0: entry_of(exact.get() + 1, size - 1); break;
    case 1:
      kernel_of(exact.get() + 1, size - 1);
      arm64_kernel_of(exact.get() + 1, size - 1);
      break;
    default: partitions_of(exact.get() + 1, size - 1); break;
  }
  return 0;
}
