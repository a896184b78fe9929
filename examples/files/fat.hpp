// SPDX-License-Identifier: MIT
// A small reader of FAT12, FAT16 and FAT32: directories, long names, chains of clusters. Whatever the disk contains, no
// read leaves the volume and every loop is bounded.
//
// Directories and the allocation table are read through a small cache, by calls that wait for the disk. The caller
// reads the contents of files: `take` returns their location, in the longest contiguous pieces.
//
// Not supported: exFAT, case beyond ASCII. Partition tables are in partitions.hpp.
// Format: Microsoft's FAT32 File System Specification, 1.03.
#pragma once

#include <virtio/blk.hpp>

#include "number.hpp"

namespace fat {

using virtio::errc, virtio::result;

/// A byte of a file or directory, and its cluster: 0 for the root of FAT12 and FAT16, which is not a chain.
struct position {
  u32 cluster = 0;
  u32 offset = 0;
};

/// Contiguous sectors of the disk.
struct extent {
  u64 sector = 0;
  u32 size = 0;  // bytes, whole sectors
};

struct entry {
  u8 name_[3 * 260]{};  // UTF-8
  u32 name_size = 0;
  bool is_directory = false;
  u32 size = 0;  // bytes, of a file
  u32 cluster = 0;

  [[nodiscard]] const_bytes name() const { return {name_, name_size}; }
  [[nodiscard]] position begin() const { return {cluster, 0}; }
};

/// A name of up to 260 units of UTF-16: its parts precede their short entry, in reverse order.
class long_name {
 public:
  void forget() { size_ = 0; }
  void add(const u8* record) {
    const u32 part = record[0] & 0x3f;
    if ((record[0] & 0x40) != 0 && part >= 1 && part <= 20) {
      size_ = awaited_ = part;
      sum_ = record[13];
    }
    if (size_ == 0 || part != awaited_ || part == 0 || record[13] != sum_) return forget();
    constexpr u8 places[13] = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};
    u16* to = units_ + 13 * --awaited_;
    for (const u8 at : places) *to++ = static_cast<u16>(number(record + at, 2));
  }
  /// Returns whether the name is complete and belongs to this entry.
  [[nodiscard]] bool is_of(const u8* record) const {
    u8 sum = 0;
    for (unsigned i = 0; i < 11; ++i) sum = static_cast<u8>((sum << 7 | sum >> 1) + record[i]);
    return size_ != 0 && awaited_ == 0 && sum == sum_;
  }
  void put(writer& out) const {
    for (u32 i = 0; i < 13 * size_ && units_[i] != 0; ++i) {
      u32 c = units_[i];
      if (c >> 10 == 0x36 && i + 1 < 13 * size_ && units_[i + 1] >> 10 == 0x37)  // two units for one character
        c = 0x10000 + ((c & 0x3ff) << 10 | (units_[++i] & 0x3ff));
      else if (c >> 11 == 0x1b) c = 0xfffd;  // half of one
      unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
      out.put(static_cast<char>(more == 0 ? c : 0xffu << (7 - more) | c >> 6 * more));
      while (more-- != 0) out.put(static_cast<char>(0x80 | (c >> 6 * more & 0x3f)));
    }
  }

 private:
  u16 units_[260];
  u32 size_ = 0;     // parts
  u32 awaited_ = 0;  // parts still to come
  u8 sum_ = 0;
};

template <class Disk>
class volume {
 public:
  /// Mounts the file system that fills `disk`. Errors: `unsupported`, the disk has none; `out_of_range`, it is larger
  /// than its disk; those of `disk.read`.
  [[nodiscard]] result<void> mount(Disk& disk) {
    disk_ = &disk;
    for (u64& line : cached_) line = 0;  // of the previous disk
    VIRTIO_TRY_ASSIGN(const u8* const boot, sector(0));
    const auto either = [&](u32 small, u32 large) {  // a field of two bytes, or if it is 0 one of four
      const u32 n = number(boot + small, 2);
      return n != 0 ? n : number(boot + large, 4);
    };
    const auto is_power = [](u32 n, u32 from, u32 to) { return n >= from && n <= to && (n & (n - 1)) == 0; };
    const u32 sector_bytes = number(boot + 11, 2), per_cluster = boot[13], reserved = number(boot + 14, 2),
              tables = boot[16];
    const u32 table_sectors = either(22, 36);
    if (number(boot + 510, 2) != 0xaa55 || reserved == 0 || tables == 0 || table_sectors == 0) return errc::unsupported;
    if (!is_power(sector_bytes, 512, 4096) || !is_power(per_cluster, 1, 128)) return errc::unsupported;

    const u64 scale = sector_bytes / 512;  // below, sectors are the disk's
    cluster_bytes_ = sector_bytes * per_cluster;
    root_bytes_ = number(boot + 17, 2) * 32;
    table_ = reserved * scale;
    root_ = table_ + u64{tables} * table_sectors * scale;
    data_ = root_ + (root_bytes_ + sector_bytes - 1) / sector_bytes * scale;
    const u64 end = either(19, 32) * scale;
    if (data_ > end || end > disk.capacity()) return errc::out_of_range;

    const bool is_32 = number(boot + 22, 2) == 0;
    const u64 clusters = (end - data_) / (cluster_bytes_ / 512);
    entry_bits_ = is_32 ? 32 : clusters < 4085 ? 12 : 16;
    const u64 in_table = u64{table_sectors} * sector_bytes * 8 / entry_bits_;
    end_ = static_cast<u32>(virtio::detail::smaller(virtio::detail::smaller(clusters + 2, in_table), u64{0x0ffffff7}));
    root_cluster_ = is_32 ? number(boot + 44, 4) : 0;
    const u32 mirroring = number(boot + 40, 2);
    if (is_32 && (mirroring & 0x80) != 0) {  // off: one of the tables is up to date
      if ((mirroring & 0xf) >= tables) return errc::out_of_range;
      table_ += u64{mirroring & 0xf} * table_sectors * scale;
    }
    return {};
  }

  /// Finds the entry of a path: names separated by slashes; the empty path is the root. Errors: `not_found`, those of
  /// `disk.read`, `io_error` for a broken directory.
  [[nodiscard]] result<void> find(const_bytes path, entry& out) {
    out.is_directory = true;
    out.cluster = root_cluster_;
    while (!path.empty()) {
      const usize size = ::find(path, '/');
      const const_bytes name = path.part(0, size);
      path = path.part(size + 1, path.size());
      if (name.empty()) continue;
      if (!out.is_directory) return errc::not_found;
      position at = out.begin();
      do VIRTIO_TRY(next(at, out));
      while (!alike(out.name(), name));
    }
    return {};
  }

  /// Returns the next entry of a directory from `at` on, and moves `at` after it. Errors: `not_found`, there are no
  /// more; those of `find`.
  [[nodiscard]] result<void> next(position& at, entry& out) {
    constexpr u32 largest_directory = 65536 * 32;
    long_name full;
    while (at.offset < largest_directory) {
      if (at.cluster == 0 ? at.offset >= root_bytes_ : at.cluster >= last) break;
      if (at.cluster != 0 && !is_data(at.cluster)) return errc::io_error;
      VIRTIO_TRY_ASSIGN(const u8* const here, sector(at.cluster == 0 ? root_ + at.offset / 512 : sector_of(at)));
      u8 record[32];
      __builtin_memcpy(record, here + at.offset % 512, sizeof record);
      if (record[0] == 0) break;
      at.offset += 32;
      if (at.cluster != 0 && at.offset % cluster_bytes_ == 0) VIRTIO_TRY(follow(at.cluster));

      const u8 attributes = record[11];
      if (record[0] != 0xe5 && (attributes & 0x3f) == 0x0f) {
        full.add(record);
      } else if (record[0] == 0xe5 || record[0] == '.' ||
                 (attributes & 0x08) != 0) {  // deleted; itself and its parent; the label
        full.forget();
      } else {
        writer name{out.name_};
        if (full.is_of(record)) full.put(name);
        else put_short_name(name, record);
        out.name_size = static_cast<u32>(name.size());
        out.is_directory = (attributes & 0x10) != 0;
        out.size = number(record + 28, 4);
        out.cluster = (entry_bits_ == 32 ? number(record + 20, 2) << 16 : 0) | number(record + 26, 2);
        return {};
      }
    }
    return errc::not_found;
  }

  /// Returns the location of a file's bytes from `at` on, at most `most` of them, and moves `at` after them. Both are
  /// multiples of 512. The caller bounds its calls by the file's size. Errors: `io_error`, the chain ends early or is
  /// invalid; those of `disk.read`.
  [[nodiscard]] result<extent> take(position& at, u32 most) {
    if (!is_data(at.cluster)) return errc::io_error;
    extent out{sector_of(at), 0};
    for (u32 here = at.cluster;; ++here) {
      const u32 now = virtio::detail::smaller(most - out.size, cluster_bytes_ - at.offset % cluster_bytes_);
      out.size += now;
      at.offset += now;
      if (at.offset % cluster_bytes_ != 0) return out;
      VIRTIO_TRY(follow(at.cluster));
      if (out.size == most || at.cluster != here + 1 || !is_data(at.cluster)) return out;
    }
  }

  /// Moves from a file's first byte to another, a multiple of 512. Errors: as `take`. Cost: one table lookup per
  /// cluster.
  [[nodiscard]] result<void> skip(position& at, u32 to) {
    for (u32 left = to / cluster_bytes_; left != 0; --left) {
      if (!is_data(at.cluster)) return errc::io_error;
      VIRTIO_TRY(follow(at.cluster));
    }
    at.offset = to;
    return {};
  }

 private:
  static constexpr u32 lines = 64, line_sectors = 8;
  static constexpr u32 last = 0x0ffffff8;  // this and above: the end of the chain

  [[nodiscard]] bool is_data(u32 cluster) const { return cluster >= 2 && cluster < end_; }
  [[nodiscard]] u64 sector_of(position at) const {
    return data_ + u64{at.cluster - 2} * (cluster_bytes_ / 512) + at.offset % cluster_bytes_ / 512;
  }
  /// Moves to the next cluster of a chain.
  [[nodiscard]] result<void> follow(u32& cluster) {
    const u64 at = u64{cluster} * entry_bits_ / 8;
    VIRTIO_TRY_ASSIGN(const u32 low, table_bytes(at, entry_bits_ == 32 ? 4 : entry_bits_ == 16 ? 2 : 1));
    if (entry_bits_ == 12) {  // two entries in three bytes; a sector may end between them
      VIRTIO_TRY_ASSIGN(const u32 high, table_bytes(at + 1, 1));
      cluster = cluster % 2 != 0 ? high << 4 | low >> 4 : (high & 0xf) << 8 | low;
    } else {
      cluster = low & 0x0fffffff;
    }
    if (entry_bits_ != 32 && cluster >= (1u << entry_bits_) - 9)
      cluster |= ~0u << entry_bits_ & 0x0fffffff;  // bad, or the last one
    return {};
  }
  [[nodiscard]] result<u32> table_bytes(u64 at, unsigned bytes) {
    VIRTIO_TRY_ASSIGN(const u8* const here, sector(table_ + at / 512));
    return number(here + at % 512, bytes);
  }

  static void put_short_name(writer& out, const u8* record) {
    const auto put = [&](unsigned from, unsigned to, bool small) {
      while (to > from && record[to - 1] == ' ') --to;
      for (; from < to; ++from) {
        const u8 c = record[from];
        out.put(static_cast<char>(c < 0x20 || c > 0x7e ? '_' : small ? lower(c) : c));  // the code page is unknown
      }
    };
    put(0, 8, (record[12] & 0x08) != 0);
    if (record[8] == ' ') return;
    out.put('.');
    put(8, 11, (record[12] & 0x10) != 0);
  }

  /// Returns a sector of the disk, valid until the next call.
  [[nodiscard]] result<const u8*> sector(u64 n) {
    if (n >= disk_->capacity()) return errc::out_of_range;
    const u64 block = n / line_sectors, first = block * line_sectors;
    const u32 line = block % lines;
    if (cached_[line] != block + 1) {
      cached_[line] = 0;  // empty while it is being read
      const u64 sectors = virtio::detail::smaller<u64>(line_sectors, disk_->capacity() - first);
      if (const auto all = disk_->read(first, bytes{cache_[line], static_cast<usize>(sectors) * 512}); !all) {
        // The unreadable sector may be a neighbour. A disk with larger blocks cannot read a part of one.
        u8* const one = cache_[line] + n % line_sectors * 512;
        if (!disk_->read(n, bytes{one, 512})) return all.error();
        return one;
      }
      cached_[line] = block + 1;
    }
    return cache_[line] + n % line_sectors * 512;
  }

  Disk* disk_ = nullptr;
  u64 table_ = 0, root_ = 0, data_ = 0;  // sectors
  u32 cluster_bytes_ = 0;
  u32 root_bytes_ = 0;    // of FAT12's and FAT16's root
  u32 root_cluster_ = 0;  // of FAT32's
  u32 end_ = 0;           // clusters are numbered from 2 to here
  u32 entry_bits_ = 0;    // of the table
  u64 cached_[lines]{};   // the sector in each line, plus one
  alignas(4096) u8 cache_[lines][line_sectors * 512]{};
};

}  // namespace fat
