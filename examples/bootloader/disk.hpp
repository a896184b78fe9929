// SPDX-License-Identifier: MIT
// The disk that the loader reads: a virtio block device, or a unit of a virtio SCSI host. They differ only in
// discovery.
#pragma once

#include <virtio/blk/select.hpp>
#include <virtio/scsi.hpp>

#include "board.hpp"
#include "readable_disk.hpp"

namespace loader {

/// Storage for drivers: the board's, if it has one, otherwise a variable.
template <class Board, usize Bytes>
struct storage_on {
  using type = virtio::dma_storage<Bytes>;
};
template <class Board, usize Bytes>
  requires requires { typename Board::template dma_storage<Bytes>; }
struct storage_on<Board, Bytes> {
  using type = typename Board::template dma_storage<Bytes>;
};

/// One disk of either kind. All-zero until `start`.
class disk {
  using queue = virtio::queue<256>;
  using block_device = virtio::blk::device<board, bus::transport<board>, queue>;
  // A command that takes too long ends the use of this disk, so no task management is needed.
  using scsi_host = virtio::scsi::device<board, bus::transport<board>, queue,
                                         virtio::scsi::options{.late = virtio::scsi::late_command::resets_host}>;
  static constexpr usize dma_bytes =
      block_device::dma_bytes > scsi_host::dma_bytes ? block_device::dma_bytes : scsi_host::dma_bytes;

 public:
  using storage = typename storage_on<board, dma_bytes>::type;

  /// Starts the first disk: the device that this program was loaded from, if the board knows it; otherwise the first
  /// block device; otherwise the first disk of the first SCSI host that has one. With a serial: the block device that
  /// has it, otherwise the unit. With the id of a partition table: the first disk that has this table; if there is
  /// none, as without an id. A CD drive is selected only by its serial. Returns whether a disk is up; if not, prints
  /// the reason.
  [[nodiscard]] bool start(const_bytes serial, const_bytes table, storage& dma) {
    if (!serial.empty()) return start_by_serial(serial, dma);
    if (!table.empty()) {
      const auto has_it = [&] { return has_table(table); };
      if (start_block(dma, has_it) || start_unit({}, dma, has_it)) return true;
      boot::print("no disk has this partition table any more: the first is taken\n");
    }
    const auto any = [] { return true; };
    if (const auto host = started_from(virtio::device_type::scsi)) return start_unit({}, dma, any, *host);
    const auto own = started_from(virtio::device_type::block);
    const auto where =
        own ? bus::find_nth(board{}, virtio::device_type::block, *own) : bus::find(board{}, virtio::device_type::block);
    if (!where) return start_unit({}, dma, any) || (board::fail("no disk", where), false);
    const auto up = block_.start(board{}, *where, dma);
    return up ? true : (board::fail("start", up.error(), block_.why()), false);
  }

  [[nodiscard]] u64 capacity() const { return is_unit_ ? unit_.capacity() : block_.capacity(); }
  [[nodiscard]] u32 block_size() const { return is_unit_ ? unit_.block_size() : block_.block_size(); }
  [[nodiscard]] u32 largest_request() const { return is_unit_ ? unit_.largest_request() : block_.largest_request(); }
  [[nodiscard]] result<void> read(u64 sector, bytes to) {
    return seen((is_unit_ ? unit_.read(sector, to) : block_.read(sector, to)).error());
  }
  [[nodiscard]] result<virtio::token> submit_read(u64 sector, bytes to, u64 cookie) {
    return is_unit_ ? unit_.submit_read(sector, to, cookie) : block_.submit_read(sector, to, cookie);
  }
  [[nodiscard]] result<ended_read> wait_next() {
    const auto ended = [this](const auto& one) { return ended_read{one.cookie, seen(one.status)}; };
    if (!is_unit_)
      return block_.wait_next().and_then([&](const auto& one) -> result<ended_read> { return ended(one); });
    return host_.wait_next().and_then([&](const auto& one) -> result<ended_read> { return ended(one); });
  }
  /// Resets the device and switches its bus mastering off.
  [[nodiscard]] result<void> hand_off() { return is_unit_ ? host_.hand_off() : block_.hand_off(); }

  /// Returns the text of an error of a call.
  [[nodiscard]] const char* describe(errc why) const { return is_gone_ ? "the disk is gone" : virtio::describe(why); }
  /// Returns whether the last request failed because the unit was removed.
  [[nodiscard]] bool is_gone() const { return is_gone_; }

 private:
  // A SCSI host answers for a removed unit. The loader treats that as a read error: `not_found` means a missing file.
  [[nodiscard]] errc seen(errc how) {
    is_gone_ = is_unit_ && how == errc::not_found;
    return is_gone_ ? errc::io_error : how;
  }

  /// Returns which device of a type the program was loaded from. Error: `not_found`, none, or the board does not know.
  template <class Board = board>
  [[nodiscard]] static result<usize> started_from(virtio::device_type type) {
    auto where = bus::find_nth(Board{}, type, 0);
    if constexpr (requires {
                    { Board{}.started_from(*where) } -> virtio::same_as<bool>;
                  })
      for (usize n = 0; where; where = bus::find_nth(Board{}, type, ++n))
        if (Board{}.started_from(*where)) return n;
    return errc::not_found;
  }

  [[nodiscard]] bool start_by_serial(const_bytes serial, storage& dma) {
    const auto up = virtio::blk::start_by_serial(block_, board{}, board{}, serial, dma);
    if (up) return true;
    if (up.error() != errc::not_found) return board::fail("no disk of this serial", up.error(), block_.why()), false;
    return start_unit(serial, dma, [] { return true; }) || (boot::print("no disk of this serial\n"), false);
  }

  /// Starts the first usable block device for which `is_it()` returns true; `is_it` may read it.
  template <class Is>
  [[nodiscard]] bool start_block(storage& dma, Is&& is_it) {
    for (usize n = 0;; ++n) {
      const auto where = bus::find_nth(board{}, virtio::device_type::block, n);
      if (!where) return false;
      if (block_.start(board{}, *where, dma) && is_it()) return true;
      if (const auto quiet = block_.hand_off(); quiet.error() == errc::device_broken)
        return false;  // it keeps the storage
    }
  }
  /// Starts the first disk behind a SCSI host for which `is_it()` returns true, or the unit with a serial. It is an
  /// error if several units have the serial.
  template <class Is>
  [[nodiscard]] bool start_unit(const_bytes serial, storage& dma, Is&& is_it, usize first_host = 0) {
    bool is_chosen = false;
    usize chosen = 0;
    virtio::scsi::address unit{};
    for (usize n = first_host; start_host(n, dma); ++n) {
      constexpr usize most = 32;
      virtio::scsi::address found[most];
      usize count = 0;
      const auto scanned = host_.scan([&](const virtio::scsi::found& one) {
        if (count != most && (serial.empty() ? is_disk(one) : has_serial(one.where, serial)))
          found[count++] = one.where;
      });
      if (!scanned) boot::print("SCSI host ", n, ": ", virtio::describe(scanned.error()), "\n");
      if (serial.empty()) {
        for (usize i = 0; i < count; ++i)
          if (open(found[i]) && is_it()) return true;
        is_unit_ = false;
      } else if (count > 1 || (count == 1 && is_chosen)) {
        boot::print("more than one unit has this serial\n");
        return false;
      } else if (count == 1) {
        is_chosen = true;
        chosen = n;
        unit = found[0];
      }
      if (const auto quiet = host_.hand_off(); quiet.error() == errc::device_broken)
        return false;  // it keeps the storage
    }
    return is_chosen && start_host(chosen, dma) && open(unit);
  }
  /// Starts the `n`th SCSI host. Returns whether it exists; a host that fails to start has no units.
  [[nodiscard]] bool start_host(usize n, storage& dma) {
    const auto where = bus::find_nth(board{}, virtio::device_type::scsi, n);
    if (!where) return false;
    if (const auto up = host_.start(board{}, *where, dma); !up) {
      board::fail("start", up.error(), host_.why());
      return up.error() != errc::device_broken;
    }
    return true;
  }
  [[nodiscard]] bool open(virtio::scsi::address where) {
    boot::print("SCSI unit ", u32{where.target}, ":", u32{where.lun});
    const auto opened = unit_.open(host_, where);
    is_unit_ = bool{opened};
    if (!opened)
      boot::print(": ", virtio::describe(opened.error()), "; ", virtio::scsi::describe(host_.last_failure()));
    boot::print("\n");
    return is_unit_;
  }
  [[nodiscard]] static bool is_disk(const virtio::scsi::found& one) {
    return one.kind == virtio::scsi::kind::disk || one.kind == virtio::scsi::kind::reduced_disk;
  }
  [[nodiscard]] bool has_serial(virtio::scsi::address where, const_bytes serial) {
    u8 text[100];
    const auto size = host_.get_serial(where, text);
    return size && *size == serial.size() && __builtin_memcmp(text, serial.data(), *size) == 0;
  }

  /// Returns whether the disk has a partition table with this id: the GUID of a GPT or the signature of an MBR, as
  /// hexadecimal digits, with the bytes in the order of the disk.
  [[nodiscard]] bool has_table(const_bytes id) {
    alignas(4096) static u8 block[4096];
    const usize size = block_size();
    if (size > sizeof block || !read(0, bytes{block, size}) || block[510] != 0x55 || block[511] != 0xaa) return false;
    bool is_gpt = false;
    for (usize type = 450; type < 510; type += 16)
      is_gpt = is_gpt || block[type] == 0xee;  // of a hybrid table it may be any row
    if (!is_gpt) return is_hex_of(id, {block + 440, 4});
    return read(size / 512, bytes{block, size}) && __builtin_memcmp(block, "EFI PART", 8) == 0 &&
           is_hex_of(id, {block + 56, 16});
  }
  [[nodiscard]] static bool is_hex_of(const_bytes digits, const_bytes raw) {
    if (digits.size() != 2 * raw.size()) return false;
    for (usize i = 0; i < digits.size(); ++i) {
      const u8 half = i % 2 == 0 ? raw.data()[i / 2] >> 4 : raw.data()[i / 2] & 0xf;
      if (digits.data()[i] != static_cast<u8>("0123456789abcdef"[half])) return false;
    }
    return true;
  }

  block_device block_{};
  scsi_host host_{};
  virtio::scsi::unit<scsi_host> unit_{};
  bool is_unit_ = false;
  bool is_gone_ = false;
};

static_assert(readable_disk<disk>);

}  // namespace loader
