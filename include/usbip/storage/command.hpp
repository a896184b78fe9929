// SPDX-License-Identifier: MIT
// The SCSI commands of a disk: what each one needs, and the answers that need no disk.
// Spec: SPC-4, 6; SBC-3, 5. Layer: storage (may include device, engine, codec, base).
#pragma once

#include <usbip/storage/disk.hpp>

namespace usbip::storage {

/// The drive's identification: at most 8, 16, 4 and 20 ASCII characters.
struct drive_strings {
  const char* vendor = "virtio";  // INQUIRY, bytes 8 to 15
  const char* product = "Disk";   // INQUIRY, bytes 16 to 31
  const char* revision = "1.0";   // INQUIRY, bytes 32 to 35
  const char* serial = "0001";    // INQUIRY, pages 0x80 and 0x83
};

/// The state of a disk that commands need before they use the disk.
struct disk_facts {
  /// Whether the host may write.
  enum class writing : u8 { allowed, refused };
  u64 blocks = 0;         // number of blocks; 0: no medium
  u32 block_bytes = 512;  // bytes in one block
  writing writes{};       // whether the host may write
};

/// What a command requires. `answer`: no disk; the data is in the buffer.
enum class action : u8 { answer, read, write, flush, fail };

/// A command after it has been read.
struct plan {
  action what = action::answer;  // what to do
  sense why{};                   // for `fail`
  u64 block = 0;                 // for `read` and `write`
  u64 length = 0;                // bytes of data that the device would move
  bool stable = false;           // a `write` that must be flushed

  /// A command that fails.
  [[nodiscard]] static constexpr plan failed(sense reason) { return {action::fail, reason, 0, 0, false}; }
  /// An answer of `made` bytes for a host that accepts `allowed`.
  [[nodiscard]] static constexpr plan answer(usize made, usize allowed) {
    return {action::answer, {}, 0, made < allowed ? made : allowed, false};
  }
};

/// Bytes of the longest answer, that of INQUIRY for page 0x83.
inline constexpr usize answer_bytes = 64;

/// Reads one command. `to` is all zeros, and receives the answer of commands that need no disk.
struct command_reader {
  const u8 (&cdb)[16];           // the command
  u8 (&to)[answer_bytes];        // its answer
  disk_facts disk;               // the disk's state
  const drive_strings& strings;  // the drive's identification

  /// Returns the plan. `last` and `last_block`: the result of the previous command, for REQUEST SENSE.
  [[nodiscard]] plan read(sense last, u64 last_block) {
    // These work without a medium.
    switch (cdb[0]) {
      case 0x03: return request_sense(last, last_block);
      case 0x12: return (cdb[1] & 1) == 0 ? inquiry() : inquiry_page();
      case 0xa0:  // REPORT LUNS: one, 0
        to[3] = 8;
        return plan::answer(16, load_be32(cdb + 6));
      default: break;
    }
    if (disk.blocks == 0) return plan::failed(no_medium);
    switch (cdb[0]) {
      case 0x00:             // TEST UNIT READY
      case 0x1e: return {};  // PREVENT ALLOW MEDIUM REMOVAL
      case 0x1b:             // START STOP UNIT: written data must be stable before the unit stops
      case 0x35:             // SYNCHRONIZE CACHE
      case 0x91: return {action::flush, {}, 0, 0, false};
      case 0x1a:
      case 0x5a: return mode_sense();
      case 0x23:  // READ FORMAT CAPACITIES: formatted
        to[3] = 8;
        store_be32(to + 4, in_32_bits(disk.blocks));
        store_be32(to + 8, disk.block_bytes);
        to[8] = 2;
        return plan::answer(12, load_be16(cdb + 7));
      case 0x25:  // READ CAPACITY
        store_be32(to, in_32_bits(disk.blocks - 1));
        store_be32(to + 4, disk.block_bytes);
        return plan::answer(8, 8);
      case 0x9e:
        if ((cdb[1] & 31) != 0x10) return plan::failed(wrong_field);
        store_be64(to, disk.blocks - 1);
        store_be32(to + 8, disk.block_bytes);
        return plan::answer(32, load_be32(cdb + 10));
      case 0x28: return transfer(action::read, load_be32(cdb + 2), load_be16(cdb + 7));
      case 0x2a: return transfer(action::write, load_be32(cdb + 2), load_be16(cdb + 7));
      case 0x88: return transfer(action::read, load_be64(cdb + 2), load_be32(cdb + 10));
      case 0x8a: return transfer(action::write, load_be64(cdb + 2), load_be32(cdb + 10));
      case 0x2f:  // VERIFY, without comparing bytes
        if ((cdb[1] & 2) != 0) return plan::failed(wrong_field);
        if (transfer(action::read, load_be32(cdb + 2), load_be16(cdb + 7)).what == action::fail)
          return plan::failed(out_of_range);
        return {};
      default: return plan::failed(unknown_command);
    }
  }

 private:
  static constexpr u32 in_32_bits(u64 blocks) { return blocks < 0xffffffffu ? static_cast<u32>(blocks) : 0xffffffffu; }

  void text(usize at, usize size, const char* from) {
    for (usize n = 0; n < size; ++n) to[at + n] = *from != 0 ? static_cast<u8>(*from++) : u8{' '};
  }

  /// Fixed format. For an error of the medium, the information field has the block.
  plan request_sense(sense last, u64 last_block) {
    to[0] = 0x70;
    to[2] = last.key;
    to[7] = 10;
    to[12] = last.code;
    to[13] = last.qualifier;
    if (last.key == 3 && last_block <= 0xffffffffu) {
      to[0] |= 0x80;
      store_be32(to + 3, static_cast<u32>(last_block));
    }
    return plan::answer(18, cdb[4]);
  }

  plan inquiry() {
    if (cdb[2] != 0) return plan::failed(wrong_field);
    to[2] = 6;   // SPC-4
    to[3] = 2;   // the format of this answer
    to[4] = 31;  // bytes after this one
    text(8, 8, strings.vendor);
    text(16, 16, strings.product);
    text(32, 4, strings.revision);
    return plan::answer(36, load_be16(cdb + 3));
  }
  plan inquiry_page() {
    const usize allowed = load_be16(cdb + 3);
    to[1] = cdb[2];
    switch (cdb[2]) {
      case 0x00:
        to[3] = 3;
        to[5] = 0x80;
        to[6] = 0x83;
        return plan::answer(7, allowed);
      case 0x80:
        to[3] = 20;
        text(4, 20, strings.serial);
        return plan::answer(24, allowed);
      case 0x83:
        to[3] = 48;
        to[4] = 2;  // ASCII
        to[5] = 1;  // the vendor, and what it calls the unit
        to[7] = 44;
        text(8, 8, strings.vendor);
        text(16, 16, strings.product);
        text(32, 20, strings.serial);
        return plan::answer(52, allowed);
      default: return plan::failed(wrong_field);
    }
  }

  /// For 6 and 10 bytes: no block descriptor, and the cache page if that page or all pages are requested.
  plan mode_sense() {
    const usize head = cdb[0] == 0x1a ? 4 : 8;
    const u8 page = cdb[2] & 0x3f;
    const u32 control = cdb[2] >> 6;
    if (page != 0x3f && page != 8 && page != 0) return plan::failed(wrong_field);
    if (control == 3) return plan::failed(not_saved);
    usize size = head;
    if (page != 0) {
      to[size] = 8;
      to[size + 1] = 18;
      if (control != 1) to[size + 2] = 4;  // a write cache, which SYNCHRONIZE CACHE empties; it is not changeable
      size += 20;
    }
    const u8 protection = disk.writes == disk_facts::writing::refused ? 0x80 : 0;
    to[head == 4 ? 0 : 1] = static_cast<u8>(size - (head == 4 ? 1 : 2));
    to[head == 4 ? 2 : 3] = protection;
    return plan::answer(size, head == 4 ? cdb[4] : load_be16(cdb + 7));
  }

  plan transfer(action what, u64 block, u64 count) {
    constexpr u8 force_unit_access = 8;
    if (block > disk.blocks || count > disk.blocks - block) return plan::failed(out_of_range);
    if (what == action::write && disk.writes == disk_facts::writing::refused) return plan::failed(write_protected);
    return {what, {}, block, count * disk.block_bytes, what == action::write && (cdb[1] & force_unit_access) != 0};
  }
};

}  // namespace usbip::storage
