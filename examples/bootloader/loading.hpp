// SPDX-License-Identifier: MIT
// Loads files of a FAT volume into memory, with several requests in flight. Each request covers a contiguous part of
// the file, and the next parts are looked up meanwhile. Layer: the boot loader's.
#pragma once

#include "../files/fat.hpp"
#include "../files/partitions.hpp"
#include "readable_disk.hpp"

namespace loader {

/// The error of a failed read of a file, and its place; `sector` counts from the disk's beginning.
struct read_error {
  errc why = errc::ok;
  u64 sector = 0;
};

template <readable_disk Disk>
class file_reader {
 public:
  using volume = fat::volume<partitions::slice<Disk>>;

  /// `first` is the volume's first sector on its disk.
  file_reader(Disk& disk, volume& files, u64 first) : disk_{disk}, files_{files}, first_{first} {}

  /// Reads `size` bytes of `file` from `from` on, a multiple of 512, to `to`, which has room for
  /// whole blocks. Calls `progress(done)` with the bytes read so far. When it returns, no request is in flight, unless
  /// the error is `device_broken`.
  template <class Progress>
  [[nodiscard]] read_error read(const fat::entry& file, u32 from, u32 size, u8* to, Progress&& progress) {
    at_ = file.begin();
    rest_ = {};
    to_ = to;
    wrong_ = {};
    const u32 lead = from & (disk_.block_size() - 1);
    if (const auto there = files_.skip(at_, from - lead); !there) return {there.error(), 0};
    u64 done = 0;
    if (lead != 0) {
      done = read_rest_of_block(lead, size);
      if (wrong_.why != errc::ok) return wrong_;
    }
    const u64 block = disk_.block_size();
    left_ = (size - done + block - 1) & ~(block - 1);
    do {
      if (in_flight_ <= depth / 2)  // so that one doorbell announces several
        while (left_ != 0 && wrong_.why == errc::ok && submit()) {}
      if (in_flight_ == 0) break;
      const auto ended = disk_.wait_next();
      if (!ended) {  // the disk is down, and so are all requests in flight
        for (piece& one : pieces_) one.size = 0;
        in_flight_ = 0;
        return {ended.error(), 0};
      }
      // A failure ends the read after the other requests have completed.
      piece& one = pieces_[ended->cookie];
      if (ended->status != errc::ok) read_again(one, ended->status);
      done += one.size;
      one.size = 0;
      --in_flight_;
      progress(static_cast<u32>(virtio::detail::smaller(done, u64{size})));
    } while (true);
    return wrong_;
  }

 private:
  static constexpr u32 largest = 1 << 20;
  static constexpr u32 depth = 8;
  static constexpr u64 most_at_once = u64{1} << 30;  // of a look into the table: a file may have almost 4 GiB

  struct piece {
    u64 sector = 0;
    u8* to = nullptr;
    u32 size = 0;  // 0: free
  };

  /// Reads a piece again, alone: QEMU merges neighbouring requests, and one bad sector fails all of them. A SCSI unit
  /// also fails a read once to report an event, for example that another unit was plugged in. If the second read fails
  /// too, reads halves of the piece until the bad sector is known.
  void read_again(const piece& one, errc why) {
    u64 sector = one.sector;
    u8* to = one.to;
    u32 size = one.size;
    if (disk_.read(sector, bytes{to, size})) return;
    while (size > disk_.block_size()) {
      const u32 half = size / 2 & ~(disk_.block_size() - 1);
      if (disk_.read(sector, bytes{to, half})) {
        sector += half / 512;
        to += half;
        size -= half;
      } else {
        size = half;
      }
    }
    if (wrong_.why == errc::ok || (wrong_.sector != 0 && sector < wrong_.sector)) wrong_ = {why, sector};
  }

  /// Reads a part of a file from `lead` bytes after the beginning of a block, up to the block's end or `most` bytes.
  /// Returns the number of bytes.
  [[nodiscard]] u32 read_rest_of_block(u32 lead, u32 most) {
    u8 whole[4096];
    const u32 block = disk_.block_size();
    const auto there = files_.take(at_, block);
    if (!there || there->size != block || block > sizeof whole) {
      wrong_ = {there ? errc::misaligned : there.error(), 0};
      return 0;
    }
    const u64 sector = first_ + there->sector;
    if (const auto read = disk_.read(sector, bytes{whole, block}); !read)
      read_again({sector, whole, block}, read.error());
    const u32 part = virtio::detail::smaller(block - lead, most);
    __builtin_memcpy(to_, whole + lead, part);
    to_ += part;
    return part;
  }

  /// Submits the read of one more piece. Returns whether to try another.
  [[nodiscard]] bool submit() {
    u32 n = 0;
    while (n < depth && pieces_[n].size != 0) ++n;
    if (n == depth) return false;
    if (rest_.size == 0) {
      const auto next = files_.take(at_, static_cast<u32>(virtio::detail::smaller(left_, most_at_once)));
      if (!next) {
        wrong_ = {next.error(), 0};
        return false;
      }
      rest_ = *next;
    }
    const u64 sector = first_ + rest_.sector;
    const u32 part = virtio::detail::smaller(virtio::detail::smaller(rest_.size, largest), disk_.largest_request());
    const auto sent = disk_.submit_read(sector, bytes{to_, part}, n);
    if (!sent) {
      if (sent.error() != errc::queue_full || in_flight_ == 0) wrong_ = {sent.error(), sector};
      return false;
    }
    pieces_[n] = {sector, to_, part};
    ++in_flight_;
    to_ += part;
    left_ -= part;
    rest_.sector += part / 512;
    rest_.size -= part;
    return true;
  }

  Disk& disk_;
  volume& files_;
  u64 first_;
  fat::position at_{};  // in the file, after `rest_`
  fat::extent rest_{};  // was looked up, and is not submitted yet
  u8* to_ = nullptr;
  u64 left_ = 0;  // bytes to submit
  read_error wrong_{};
  piece pieces_[depth]{};
  u32 in_flight_ = 0;
};

}  // namespace loader
