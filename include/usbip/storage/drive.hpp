// SPDX-License-Identifier: MIT
// A disk as a USB drive: the bulk-only transport, over a disk that works at the same time as the connection.
//
// A command arrives, its data moves in one direction, its status leaves. A read requests the next pieces from the disk
// while an earlier one is sent. A write is split into pieces, each of which is submitted as soon as it is full. A host
// that announced more data than a command has gets a short transfer, and its surplus is dropped: neither needs a halted
// endpoint.
//
// Elsewhere: the meaning of commands (storage/command.hpp), and requests to a disk (storage/disk.hpp).
// Spec: USB Mass Storage Class, Bulk-Only Transport 1.0. Layer: storage (may include device, engine, codec, base).
#pragma once

#include <usbip/device/device.hpp>
#include <usbip/storage/command.hpp>

namespace usbip::storage {

/// The memory that a drive's disk reads and writes, in `Count` pieces. All zeros initially: it takes no room in an
/// image.
template <usize Count = 4, usize Bytes = 32768>
struct buffers {
  static_assert(Count >= 2 && Count <= 16, "a drive has 2 to 16 buffers: at least one to send and one to fill");
  static_assert(Bytes >= 4096 && Bytes % 4096 == 0, "a buffer has whole blocks: a multiple of 4096 bytes");
  static constexpr usize count = Count;      // number of pieces
  static constexpr usize size = Bytes;       // bytes of a piece
  alignas(4096) u8 room[Count][Bytes] = {};  // the pieces
};

inline constexpr drive_strings default_strings{};  // "virtio", "Disk"

/// A class driver for `device`. The caller owns the disk, the buffers and the texts. One drive per disk.
///
/// Requests that are in flight when a host goes end before the next host's first request begins.
template <disk Disk, class Buffers = buffers<>>
class drive {
 public:
  /// Presents `disk` by way of `room`.
  constexpr drive(Disk& disk, Buffers& room, const drive_strings& strings = default_strings)
      : disk_{&disk}, room_{&room}, strings_{&strings} {}

  /// `class_driver` concept.
  static constexpr void describe(configuration& all) {
    all.interface(0x08, 0x06, 0x50);
    all.bulk_out();
    all.bulk_in();
  }

  /// `class_driver` concept.
  void open() { known_blocks_ = disk_->blocks(); }
  /// `class_driver` concept: aborts what is in progress. Data that a host left in the disk's cache becomes stable after
  /// the disk has ended its writes: the caller must continue with `poll` while no connection has the device.
  void close() {
    abandon();
    flush_due_ = flush_due_ || is_dirty_;
    work();
  }
  /// `class_driver` concept.
  void cleared(u8) {}
  /// `class_driver` concept.
  void canceled(u8, const transfer&) {}

  /// `class_driver` concept.
  [[nodiscard]] control_answer control(const setup_packet& setup, bytes) {
    if (setup.type == 0xa1 && setup.request == 0xfe && setup.value == 0 && setup.length == 1) {  // Get Max LUN
      return control_answer::good({&zero, 1});
    }
    // Bulk-Only Mass Storage Reset
    if (setup.type == 0x21 && setup.request == 0xff && setup.value == 0 && setup.length == 0) {
      abandon();
      return control_answer::good();
    }
    return control_answer::stall();
  }

  /// `class_driver` concept: takes completions of the disk.
  void poll() {
    completion ended;
    // A disk has at most all pieces and a flush: further completions are invalid.
    for (usize n = 0; n < Buffers::count + 1 && disk_->next_completion(ended); ++n) take(ended);
    work();
  }

  /// `class_driver` concept.
  [[nodiscard]] room room_for(u8, const transfer& t) {
    if (phase_ == phase::command && t.length == command_bytes)
      return room::at({command_ + t.done, command_bytes - t.done});
    // Not a command, or more data than announced, or a command before the status of the previous one.
    if (phase_ != phase::data_out || t.length - t.done > host_left_) return phase_error();
    if (device_left_ == 0 || !result_.is_good()) {
      if (filling_ != no_piece) pieces_[filling_].is = state::free;
      filling_ = no_piece;
      return room::drop(host_left_);
    }
    if (filling_ == no_piece) {
      const u8 which = stale_ == 0 ? free_piece() : no_piece;
      if (which == no_piece) return room::none_now();
      begin_piece(which, device_left_, state::filling);
      filling_ = which;
    }
    const piece& one = pieces_[filling_];
    return room::at({room_->room[filling_] + one.done, one.size - one.done});
  }
  /// `class_driver` concept.
  void arrived(u8, const transfer&, u32 count) {
    if (phase_ != phase::data_out) return;
    host_left_ -= count;
    if (filling_ != no_piece) {
      piece& one = pieces_[filling_];
      one.done += count;
      device_left_ -= count;
      if (one.done == one.size) {
        one.is = state::full;
        push(filling_);
        filling_ = no_piece;
      }
    }
    if (host_left_ == 0) phase_ = phase::finishing;
    work();
  }

  /// `class_driver` concept.
  [[nodiscard]] answer answer_to(u8 order, const transfer& t) {
    return order == out_endpoint ? take_out(t) : give_in(t);
  }

  /// `class_driver` concept.
  [[nodiscard]] const_bytes piece_of(u8, const transfer& t) {
    if (phase_ == phase::status) return const_bytes{status_, status_bytes}.part(t.done, status_bytes);
    if (plan_.what != action::read) return const_bytes{answer_, answer_bytes}.part(answered_, answer_bytes);
    if (queued_ == 0 || pieces_[queue_[0]].is != state::full) return {};
    const u8 which = queue_[0];
    const piece& one = pieces_[which];
    return {room_->room[which] + one.done, one.size - one.done};
  }
  /// `class_driver` concept.
  void sent(u8, const transfer& t, u32 count) {
    const bool is_last = t.done + count == committed_;
    if (phase_ == phase::status) {
      if (is_last) phase_ = phase::command;
      return;
    }
    if (phase_ != phase::data_in) return;  // a reset has aborted the command; zeros are sent for the promised rest
    device_left_ -= count;
    if (plan_.what == action::read) {
      piece& one = pieces_[queue_[0]];
      if (one.good) processed_ += count;
      one.done += count;
      if (one.done == one.size) {
        one.is = state::free;
        pop();
      }
    } else {
      answered_ += count;
      processed_ += count;
    }
    if (is_last && data_end_) return end_data();
    work();
  }

 private:
  enum class phase : u8 { command, data_in, data_out, finishing, status, invalid };
  enum class state : u8 { free, filling, due, in_flight, full, stale };
  enum : u8 { out_endpoint, in_endpoint };
  static constexpr u8 no_piece = 0xff;
  static constexpr u64 flush_cookie = ~u64{0};
  static constexpr usize command_bytes = 31;
  static constexpr usize status_bytes = 13;
  static constexpr u8 zero = 0;

  /// A part of a transfer, in the buffer of the same number. Read: due, in flight, full. Write: filling, full, in
  /// flight. `stale`: the disk still has it, for an aborted command.
  struct piece {
    state is{};
    bool good = false;
    u32 size = 0;
    u32 done = 0;
    u64 block = 0;
  };

  // The command -------------------------------------------------------------------------------------------------------

  /// Not a valid command: everything stalls until the host resets the transport (6.6.1).
  room phase_error() {
    abandon();
    phase_ = phase::invalid;
    return room::refused();
  }

  answer take_out(const transfer& t) {
    if (phase_ == phase::invalid) return answer::failed();
    if (phase_ == phase::command && t.length != 0 && !begin_command()) {
      (void)phase_error();
      return answer::failed();
    }
    return answer::good(t.length);
  }

  bool begin_command() {
    if (load_le32(command_) != 0x43425355 || command_[13] != 0 || (command_[12] & 0x7f) != 0) return false;
    const u8 size = command_[14];
    if (size < 1 || size > 16) return false;
    const bool host_in = (command_[12] & 0x80) != 0;
    host_length_ = host_left_ = load_le32(command_ + 8);
    u8 cdb[16] = {};
    copy(cdb, command_ + 15, size);
    for (u8& byte : answer_) byte = 0;
    const disk_facts facts{disk_->blocks(), disk_->block_bytes(),
                           disk_->is_read_only() ? disk_facts::writing::refused : disk_facts::writing::allowed};
    plan_ = command_reader{cdb, answer_, facts, *strings_}.read(result_, failed_block_);
    // These report the change, or continue without it
    const bool reports = cdb[0] == 0x03 || cdb[0] == 0x12 || cdb[0] == 0xa0;
    if (facts.blocks != known_blocks_ && !reports) {
      known_blocks_ = facts.blocks;
      plan_ = plan::failed(capacity_changed);
    }
    result_ = plan_.why;
    // The thirteen cases of 6.7: the data that the device would move must fit into what the host announced, in the same
    // direction.
    const bool device_in = plan_.what != action::write;
    is_phase_error_ = plan_.length > host_length_ || (plan_.length != 0 && device_in != host_in);
    if (is_phase_error_) plan_ = {};
    device_left_ = plan_.length;
    unread_ = plan_.what == action::read ? plan_.length : 0;
    flush_due_ = flush_due_ || plan_.what == action::flush;
    next_block_ = plan_.block;
    processed_ = 0;
    answered_ = 0;
    data_end_ = false;
    phase_ = host_length_ == 0 ? phase::finishing : host_in ? phase::data_in : phase::data_out;
    work();
    return true;
  }

  /// Sends data to the host, then the status.
  answer give_in(const transfer& t) {
    switch (phase_) {
      case phase::invalid: return answer::failed();
      case phase::status:
        committed_ = status_bytes < t.length ? u32{status_bytes} : t.length;
        if (committed_ == 0) phase_ = phase::command;
        return answer::good(committed_);
      case phase::data_in: break;
      default: return answer::not_yet();
    }
    u32 count = device_left_ < t.length ? static_cast<u32>(device_left_) : t.length;
    if (plan_.what == action::read && count != 0) {
      // The length of an answer is a promise. It is made when the first piece has been read, and not for a failed
      // piece.
      if (queued_ == 0 || pieces_[queue_[0]].is != state::full) return answer::not_yet();
      if (!pieces_[queue_[0]].good) count = 0;
    }
    committed_ = count;
    host_left_ -= t.length < host_left_ ? t.length : host_left_;
    data_end_ = count < t.length || host_left_ == 0;
    if (count == 0 && data_end_) end_data();
    return answer::good(count);
  }

  void end_data() {
    drop_pieces();  // data that was read and is not needed
    unread_ = 0;
    phase_ = phase::finishing;
    work();
  }

  void finish() {
    store_le32(status_, 0x53425355);
    copy(status_ + 4, command_ + 4, 4);
    store_le32(status_ + 8, host_length_ - static_cast<u32>(processed_));
    status_[12] = is_phase_error_ ? 2 : result_.is_good() ? 0 : 1;
    phase_ = phase::status;
  }

  void abandon() {
    drop_pieces();
    plan_ = {};
    unread_ = 0;
    device_left_ = 0;
    host_left_ = 0;
    answered_ = 0;
    for (u8& byte : answer_) byte = 0;
    phase_ = phase::command;
  }

  // Pieces ------------------------------------------------------------------------------------------------------------

  [[nodiscard]] u8 free_piece() const {
    for (u8 which = 0; which < Buffers::count; ++which) {
      if (pieces_[which].is == state::free) return which;
    }
    return no_piece;
  }
  /// Makes this piece the next part of the transfer, of which `left` bytes have no piece.
  void begin_piece(u8 which, u64 left, state is) {
    const u32 size = left < Buffers::size ? static_cast<u32>(left) : u32{Buffers::size};
    pieces_[which] = {is, false, size, 0, next_block_};
    u32 blocks = size;
    for (u32 bytes_of = disk_->block_bytes(); bytes_of > 1; bytes_of >>= 1) blocks >>= 1;
    next_block_ += blocks;
  }
  void push(u8 which) { queue_[queued_++] = which; }
  void pop() {
    --queued_;
    for (u8 at = 0; at < queued_; ++at) queue_[at] = queue_[at + 1];
  }
  /// Frees all pieces except those that the disk still has.
  void drop_pieces() {
    for (piece& one : pieces_) {
      if (one.is == state::in_flight) {
        one.is = state::stale;
        ++stale_;
      } else if (one.is != state::stale) {
        one.is = state::free;
      }
    }
    queued_ = 0;
    filling_ = no_piece;
  }
  [[nodiscard]] bool is_idle() const {
    for (const piece& one : pieces_) {
      if (one.is != state::free) return false;
    }
    return true;
  }

  // The disk ----------------------------------------------------------------------------------------------------------

  void take(const completion& ended) {
    if (ended.cookie == flush_cookie) {
      if (is_flushing_) end_flush(ended.result);
      return;
    }
    if (ended.cookie >= Buffers::count) return;
    piece& one = pieces_[ended.cookie];
    if (one.is == state::in_flight) {
      end_piece(static_cast<u8>(ended.cookie), ended.result);
    } else if (one.is == state::stale) {
      one.is = state::free;
      --stale_;
    }
  }

  void end_flush(sense result) {
    is_flushing_ = false;
    if (result.is_good()) return;
    is_dirty_ = true;
    if (phase_ == phase::finishing && result_.is_good()) result_ = result;
  }

  void end_piece(u8 which, sense result) {
    piece& one = pieces_[which];
    one.good = result.is_good();
    if (!one.good && result_.is_good()) {
      result_ = result;
      failed_block_ = one.block;
    }
    if (plan_.what == action::read) {
      // The length may have been promised: zeros replace what could not be read.
      for (u32 at = 0; !one.good && at < one.size; ++at) room_->room[which][at] = 0;
      one.is = state::full;
      return;
    }
    if (one.good) processed_ += one.size;
    one.is = state::free;
  }

  /// Submits what the disk can take, and ends the command when all of it is done.
  void work() {
    // Pieces of aborted commands end first: they may concern the same blocks.
    if (stale_ != 0) return;
    bool some = plan_.what == action::read ? submit_reads() : submit_writes();
    if (flush_due_ && !is_flushing_ && is_idle()) some = submit_flush() || some;
    if (some) disk_->kick();
    if (phase_ != phase::finishing || !is_idle() || flush_due_ || is_flushing_) return;
    if (plan_.stable && is_dirty_ && result_.is_good()) {
      plan_.stable = false;
      flush_due_ = true;
      return work();
    }
    finish();
  }

  bool submit_reads() {
    for (bool some = false;;) {
      u8 which = queued_ != 0 ? queue_[queued_ - 1u] : no_piece;
      if (which == no_piece || pieces_[which].is != state::due) {  // otherwise the disk had no room for it
        which = unread_ != 0 ? free_piece() : no_piece;
        if (which == no_piece) return some;
        begin_piece(which, unread_, state::due);
        unread_ -= pieces_[which].size;
        push(which);
      }
      piece& one = pieces_[which];
      submitted got = submitted::refused(result_);  // nothing is read after a failed piece
      if (result_.is_good()) got = disk_->submit_read(one.block, {room_->room[which], one.size}, which);
      if (got.what == submitted::kind::later) return some;
      one.is = state::in_flight;
      some = some || got.what == submitted::kind::taken;
      if (got.what == submitted::kind::refused) end_piece(which, got.why.is_good() ? hardware_error : got.why);
    }
  }

  bool submit_writes() {
    bool some = false;
    while (queued_ != 0) {
      const u8 which = queue_[0];
      piece& one = pieces_[which];
      submitted got = submitted::refused(result_);  // nothing is written after a failed piece
      if (result_.is_good()) got = disk_->submit_write(one.block, {room_->room[which], one.size}, which);
      if (got.what == submitted::kind::later) break;
      pop();
      one.is = state::in_flight;
      is_dirty_ = is_dirty_ || got.what == submitted::kind::taken;
      some = some || got.what == submitted::kind::taken;
      if (got.what == submitted::kind::refused) end_piece(which, got.why.is_good() ? hardware_error : got.why);
    }
    return some;
  }

  bool submit_flush() {
    const submitted got = disk_->submit_flush(flush_cookie);
    if (got.what == submitted::kind::later) return false;
    flush_due_ = false;
    is_dirty_ = false;
    is_flushing_ = true;
    if (got.what == submitted::kind::refused) end_flush(got.why);
    return is_flushing_;
  }

  Disk* disk_;
  Buffers* room_;
  const drive_strings* strings_;
  plan plan_{};
  sense result_{};  // of the command, or of the previous one until the next begins
  u64 failed_block_ = 0;
  u64 known_blocks_ = 0;
  u64 device_left_ = 0;  // bytes of data that the command will still move
  u64 unread_ = 0;       // of a read: bytes without a piece
  u64 processed_ = 0;    // bytes that were read and sent, or written
  u64 next_block_ = 0;
  u32 host_length_ = 0;  // bytes that the host announced
  u32 host_left_ = 0;
  u32 committed_ = 0;  // bytes of the IN transfer in progress
  u32 answered_ = 0;   // bytes of `answer_` that were sent
  u32 stale_ = 0;
  phase phase_{};
  bool data_end_ = false;
  bool is_phase_error_ = false;
  bool is_dirty_ = false;
  bool is_flushing_ = false;
  bool flush_due_ = false;
  u8 filling_ = no_piece;
  u8 queued_ = 0;
  u8 queue_[Buffers::count] = {};  // of a read: to be sent; of a write: to be submitted
  piece pieces_[Buffers::count] = {};
  u8 command_[command_bytes] = {};
  u8 status_[status_bytes] = {};
  u8 answer_[answer_bytes] = {};
};

}  // namespace usbip::storage
