// SPDX-License-Identifier: MIT
// Partition tables: GPT, and MBR with logical partitions. An invalid table leads to an error or to fewer partitions:
// each reported partition lies within its disk, and every list is bounded.
//
// Formats: UEFI 2.10, 5.2 (MBR) and 5.3 (GPT).
#pragma once

#include <virtio/base/result.hpp>
#include <virtio/config.hpp>

#include "number.hpp"

namespace partitions {

using virtio::errc, virtio::result;

/// One partition.
struct partition {
  u64 first = 0;  // in sectors of 512 bytes
  u64 sectors = 0;
  u32 index = 0;      // from 1, as operating systems count
  u8 mbr_type = 0;    // 0 in a GPT
  u8 gpt_type[16]{};  // as it is on the disk

  /// Returns whether firmware looks for boot loaders in this partition.
  [[nodiscard]] bool is_efi_system() const {
    constexpr u8 id[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                           0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
    return mbr_type == 0 ? __builtin_memcmp(gpt_type, id, sizeof id) == 0 : mbr_type == 0xef;
  }
};

/// A failed read, and its sector of the disk.
struct failure {
  errc why = errc::ok;
  u64 sector = 0;
};

/// A part of a disk with a disk's interface, so that `fat::volume<slice<Disk>>` mounts a partition.
template <class Disk>
class slice {
 public:
  slice() = default;
  slice(Disk& disk, u64 first, u64 sectors) : disk_{&disk}, first_{first}, sectors_{sectors} {}

  [[nodiscard]] u64 capacity() const { return sectors_; }
  /// Returns its first sector on the disk.
  [[nodiscard]] u64 first() const { return first_; }
  [[nodiscard]] result<void> read(u64 sector, bytes into) {
    if (sector > sectors_ || into.size() / 512 > sectors_ - sector) return errc::out_of_range;
    if (into.size() / 512 % (disk_->block_size() / 512) != 0) return errc::misaligned;
    const auto done = disk_->read(first_ + sector, into);
    failed_ = {done.error(), first_ + sector};
    return done;
  }

  /// Returns the result of the last read, and its first sector.
  [[nodiscard]] const failure& failed() const { return failed_; }
  void forget_failure() { failed_ = {}; }

 private:
  Disk* disk_ = nullptr;
  u64 first_ = 0, sectors_ = 0;
  failure failed_{};
};

/// Reads the tables of one disk.
template <class Disk>
class reader {
 public:
  /// Calls `visit(const partition&)` for each partition of `disk`, in the order of the table. A disk without a table
  /// has none: its file system may begin at sector 0. Errors: `out_of_range`, the table is damaged: it leads outside
  /// the disk or is a loop, or neither copy of a GPT is intact; `unsupported`, blocks above 4 KiB; those of
  /// `disk.read`.
  template <class Visit>
  [[nodiscard]] result<void> for_each(Disk& disk, Visit&& visit) {
    disk_ = &disk;
    scale_ = disk.block_size() / 512;
    if (scale_ == 0 || scale_ > largest_block / 512) return errc::unsupported;
    VIRTIO_TRY(read_block(0));
    if (!is_table()) return {};
    record rows[4];
    for (unsigned i = 0; i < 4; ++i) rows[i] = row(i);
    for (const record& one : rows)
      if (one.status != 0 && one.status != 0x80) return {};  // the code of a file system's boot sector
    for (const record& one : rows)
      if (one.type == protective) return from_gpt(visit);
    result<void> out{};
    for (unsigned i = 0; i < 4; ++i) {
      if (is_extended(rows[i])) {
        // The partitions after a damaged extended one are shown too.
        if (const auto logical = from_extended(rows[i].first, visit); !logical && out) out = logical;
      } else if (rows[i].type != 0)
        show(visit, {.index = i + 1, .mbr_type = rows[i].type}, rows[i].first, rows[i].blocks);
    }
    return out;
  }

 private:
  static constexpr u32 largest_block = 4096;
  static constexpr u8 protective = 0xee;
  static constexpr unsigned most_logical = 64;
  static constexpr u32 most_entries = 8192;  // of a GPT; the usual number is 128

  struct record {
    u8 status, type;
    u32 first, blocks;
  };
  [[nodiscard]] record row(unsigned i) const {
    const u8* const at = block_ + 446 + 16 * i;
    return {at[0], at[4], number(at + 8, 4), number(at + 12, 4)};
  }
  [[nodiscard]] bool is_table() const { return number(block_ + 510, 2) == 0xaa55; }
  [[nodiscard]] static bool is_extended(const record& one) {
    return one.type == 0x05 || one.type == 0x0f || one.type == 0x85;
  }

  [[nodiscard]] u64 blocks() const { return disk_->capacity() / scale_; }
  [[nodiscard]] result<void> read_block(u64 n) {
    if (n >= blocks()) return errc::out_of_range;
    return disk_->read(n * scale_, bytes{block_, usize{scale_} * 512});
  }

  /// Leaves out partitions that are not within the disk or that contain the table's own block.
  template <class Visit>
  void show(Visit& visit, partition one, u64 first, u64 count) {
    if (first == 0 || count == 0 || first >= blocks() || count > blocks() - first) return;
    one.first = first * scale_;
    one.sectors = count * scale_;
    visit(static_cast<const partition&>(one));
  }

  /// A chain of tables with one partition each. A partition's address is relative to its table, the next table's to the
  /// first one.
  template <class Visit>
  [[nodiscard]] result<void> from_extended(u64 begin, Visit& visit) {
    u64 here = begin;
    for (unsigned i = 0; i < most_logical; ++i) {
      VIRTIO_TRY(read_block(here));
      if (!is_table()) return errc::out_of_range;
      const record one = row(0), next = row(1);
      if (one.type != 0) show(visit, {.index = 5 + i, .mbr_type = one.type}, here + one.first, one.blocks);
      if (!is_extended(next)) return {};
      here = begin + next.first;
    }
    return errc::out_of_range;
  }

  struct header {
    u64 array;  // where the entries begin, a block
    u32 count, size, sum;
  };
  /// Returns the header in block `n`, if it is one and its own checksum is right.
  [[nodiscard]] result<header> read_header(u64 n) {
    VIRTIO_TRY(read_block(n));
    const u32 size = number(block_ + 12, 4);
    if (__builtin_memcmp(block_, "EFI PART", 8) != 0 || size < 92 || size > scale_ * 512) return errc::out_of_range;
    const u32 sum = number(block_ + 16, 4);
    put_number(block_ + 16, 0, 4);
    if (~crc(~0u, block_, size) != sum || long_number(block_ + 24) != n) return errc::out_of_range;
    const header out{long_number(block_ + 72), number(block_ + 80, 4), number(block_ + 84, 4), number(block_ + 88, 4)};
    // An entry is 128 bytes times a power of two; entries larger than a block are not in use.
    if (out.count > most_entries || out.size < 128 || out.size > scale_ * 512 || (out.size & (out.size - 1)) != 0)
      return errc::out_of_range;
    return out;
  }
  /// Calls `see` with each entry of the array. Returns the checksum of all.
  template <class See>
  [[nodiscard]] result<u32> walk(const header& of, See&& see) {
    u32 sum = ~0u;
    const u32 per_block = scale_ * 512 / of.size;
    for (u32 i = 0; i < of.count; ++i) {
      if (i % per_block == 0) VIRTIO_TRY(read_block(of.array + i / per_block));
      const u8* const entry = block_ + i % per_block * of.size;
      sum = crc(sum, entry, of.size);
      see(i, entry);
    }
    return ~sum;
  }

  /// Uses the copy at the end of the disk if the first is damaged or cannot be read. If neither is intact, returns the
  /// error of the first.
  template <class Visit>
  [[nodiscard]] result<void> from_gpt(Visit& visit) {
    const auto first = check_copy(1);
    const auto used = first ? first : check_copy(blocks() - 1);
    if (!used) return first.error();
    VIRTIO_TRY(walk(*used, [&](u32 i, const u8* entry) {
      constexpr u8 unused[16]{};
      if (__builtin_memcmp(entry, unused, sizeof unused) == 0) return;
      const u64 begin = long_number(entry + 32), last = long_number(entry + 40);
      partition one{.index = i + 1};
      __builtin_memcpy(one.gpt_type, entry, sizeof one.gpt_type);
      if (last >= begin) show(visit, one, begin, last - begin + 1);
    }));
    return {};
  }
  /// Returns the header in block `at`, if it and its entries are intact.
  [[nodiscard]] result<header> check_copy(u64 at) {
    VIRTIO_TRY_ASSIGN(const header seen, read_header(at));
    VIRTIO_TRY_ASSIGN(const u32 sum, walk(seen, [](u32, const u8*) {}));
    if (sum != seen.sum) return errc::out_of_range;
    return seen;
  }

  /// CRC-32 of IEEE 802.3: starts with all ones, inverted at the end.
  [[nodiscard]] static u32 crc(u32 sum, const u8* at, u32 size) {
    for (; size != 0; --size) {
      sum ^= *at++;
      for (unsigned bit = 0; bit < 8; ++bit) sum = sum >> 1 ^ (0xedb88320 & (0u - (sum & 1)));
    }
    return sum;
  }

  Disk* disk_ = nullptr;
  u32 scale_ = 0;  // sectors in a block of the disk
  alignas(largest_block) u8 block_[largest_block]{};
};

}  // namespace partitions
