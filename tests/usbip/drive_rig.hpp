// SPDX-License-Identifier: MIT
// A drive with a disk in memory, and a host's mass storage driver for it. The driver shares no code with the library.
#pragma once

#include <deque>
#include <array>
#include <set>
#include <string>

#include <usbip/storage.hpp>

#include "client.hpp"

namespace usb_rig {

/// A disk that ends requests on command, and fails requests for chosen blocks. It reports requests that a drive must
/// not send.
class memory_disk {
 public:
  explicit memory_disk(std::uint64_t blocks, std::uint32_t block_bytes = 512)
      : content(blocks * block_bytes), block_bytes_{block_bytes} {
    for (std::size_t at = 0; at < content.size(); ++at) content[at] = static_cast<std::uint8_t>(at * 31 + at / 509);
  }

  [[nodiscard]] usbip::u64 blocks() const { return content.size() / block_bytes_; }
  [[nodiscard]] usbip::u32 block_bytes() const { return block_bytes_; }
  [[nodiscard]] bool is_read_only() const { return read_only; }
  usbip::storage::submitted submit_read(usbip::u64 block, usbip::bytes into, usbip::u64 cookie) {
    return submit({'r', block, into.data, nullptr, into.size, cookie});
  }
  usbip::storage::submitted submit_write(usbip::u64 block, usbip::const_bytes from, usbip::u64 cookie) {
    return submit({'w', block, nullptr, from.data, from.size, cookie});
  }
  usbip::storage::submitted submit_flush(usbip::u64 cookie) { return submit({'f', 0, nullptr, nullptr, 0, cookie}); }
  void kick() { ++kicks; }
  bool next_completion(usbip::storage::completion& done) {
    if (!lies.empty()) return done = lies.front(), lies.pop_front(), true;
    if (ended_.empty() && !hold && !pending.empty()) end_one();
    if (ended_.empty()) return false;
    done = ended_.front();
    ended_.pop_front();
    return true;
  }
  /// Ends the oldest or the latest request.
  void end_one() {
    const request one = backwards ? pending.back() : pending.front();
    backwards ? pending.pop_back() : pending.pop_front();
    usbip::storage::sense result{};
    for (std::size_t at = 0; at < one.size / block_bytes_; ++at) {
      if (bad.count(one.block + at) != 0) result = error;
    }
    const auto where = content.begin() + static_cast<std::ptrdiff_t>(one.block * block_bytes_);
    if (one.what == 'r' && result.is_good()) std::copy(where, where + static_cast<std::ptrdiff_t>(one.size), one.into);
    if (one.what == 'w' && result.is_good()) std::copy(one.from, one.from + one.size, where);
    if (one.what == 'f') {
      if (flush_error) result = error;
      ++flushes;
    }
    ended_.push_back({one.cookie, result});
  }

  struct request {
    char what;
    std::uint64_t block;
    std::uint8_t* into;
    const std::uint8_t* from;
    std::size_t size;
    std::uint64_t cookie;
  };
  std::vector<std::uint8_t> content;
  std::deque<request> pending;
  std::deque<usbip::storage::completion> lies;  // invalid completions, returned before all others
  std::vector<request> asked;
  std::set<std::uint64_t> bad;
  usbip::storage::sense error = usbip::storage::read_error;
  usbip::storage::submitted flush_refused = usbip::storage::submitted::taken();
  std::vector<std::string> objections;
  std::size_t room = 64;
  std::size_t deepest = 0;
  unsigned flushes = 0;
  unsigned kicks = 0;
  bool hold = false;
  bool backwards = false;
  bool read_only = false;
  bool flush_error = false;
  bool refuse = false;

 private:
  usbip::storage::submitted submit(const request& one) {
    if (refuse) return usbip::storage::submitted::refused(usbip::storage::not_ready);
    if (one.what == 'f' && flush_refused.what != usbip::storage::submitted::kind::taken) return flush_refused;
    if (pending.size() >= room) return usbip::storage::submitted::later();
    if (one.what != 'f' && (one.size == 0 || one.size % block_bytes_ != 0)) objections.emplace_back("not whole blocks");
    if (one.block * block_bytes_ + one.size > content.size()) objections.emplace_back("past the end");
    if (one.what == 'w' && read_only) objections.emplace_back("a write to a disk that is not to be written");
    for (const request& other : pending) {
      const auto* mine = one.into != nullptr ? one.into : one.from;
      const auto* its = other.into != nullptr ? other.into : other.from;
      if (mine != nullptr && mine == its) objections.emplace_back("memory that another request has");
      if (other.cookie == one.cookie) objections.emplace_back("a cookie that another request has");
      if (one.what == 'f' && other.what == 'w') objections.emplace_back("a flush ahead of a write");
    }
    pending.push_back(one);
    asked.push_back(one);
    deepest = std::max(deepest, pending.size());
    return usbip::storage::submitted::taken();
  }

  std::uint32_t block_bytes_;
  std::deque<usbip::storage::completion> ended_;
};

inline constexpr usbip::device_description about_stick{.vendor = 0x1209, .product = 0x0003, .name = "Disk"};
using small_buffers = usbip::storage::buffers<3, 4096>;
using drive_type = usbip::storage::drive<memory_disk, small_buffers>;
using stick_type = usbip::device<about_stick, drive_type>;

struct stick {
  explicit stick(std::uint64_t blocks = 256, std::uint32_t block_bytes = 512) : disk(blocks, block_bytes) {
    connection.bridge(all);
    ask(host.control_out(0x00, 9, 1, 0));
  }

  using bytes = client::bytes;
  struct status {
    int code = -1;  // -1: none
    std::uint32_t residue = 0;
    bytes data;
    bool operator==(const status&) const = default;
  };

  usbip::activity run() {
    usbip::activity did = usbip::activity::worked;
    for (int idle = 0; idle < 3 && did != usbip::activity::ended;) {
      did = connection.poll(stream);
      idle = did == usbip::activity::idle ? idle + 1 : 0;
    }
    host.take_answers();
    return did;
  }
  client::done ask(std::uint32_t seqnum) {
    run();
    return host.answers.count(seqnum) != 0 ? host.answers[seqnum] : client::done{-1, 0, {}, false};
  }

  static bytes wrapper(std::uint32_t tag, std::uint32_t length, bool in, const bytes& cdb) {
    bytes w{'U', 'S', 'B', 'C'};
    for (const std::uint32_t value : {tag, length}) {
      for (unsigned n = 0; n < 4; ++n) w.push_back(static_cast<std::uint8_t>(value >> 8 * n));
    }
    w.push_back(in ? 0x80 : 0);
    w.push_back(0);
    w.push_back(static_cast<std::uint8_t>(cdb.size()));
    w.insert(w.end(), cdb.begin(), cdb.end());
    w.resize(31);
    return w;
  }
  /// Sends a command that reads `length` bytes, in transfers of `each` bytes.
  status read(std::uint32_t length, const bytes& cdb, std::uint32_t each = 0xffffffff) {
    if (ask(host.submit_out(1, wrapper(++tag_, length, true, cdb))).status != 0) return {};
    status s;
    for (std::uint32_t left = length; left != 0;) {
      const std::uint32_t size = std::min(left, each);
      const auto got = ask(host.submit_in(1, size));
      if (got.status != 0) return s;
      s.data.insert(s.data.end(), got.data.begin(), got.data.end());
      left -= size;
      if (got.actual < size) break;
    }
    return finish(s);
  }
  /// Sends a command that writes `data`.
  status write(const bytes& data, const bytes& cdb, std::size_t each = SIZE_MAX) {
    if (ask(host.submit_out(1, wrapper(++tag_, static_cast<std::uint32_t>(data.size()), false, cdb))).status != 0)
      return {};
    for (std::size_t at = 0; at < data.size(); at += std::min(each, data.size() - at)) {
      const auto end = data.begin() + static_cast<std::ptrdiff_t>(at + std::min(each, data.size() - at));
      if (ask(host.submit_out(1, bytes(data.begin() + static_cast<std::ptrdiff_t>(at), end))).status != 0) return {};
    }
    return finish({});
  }
  status finish(status s) { return finish(s, tag_); }
  status finish(status s, std::uint32_t tag) {
    const auto got = ask(host.submit_in(1, 13));
    if (got.data.size() != 13) return s;
    const bytes& d = got.data;
    if (bytes(d.begin(), d.begin() + 4) != bytes{'U', 'S', 'B', 'S'} || d[4] != (tag & 0xff)) return s;
    s.code = d[12];
    s.residue = d[8] | static_cast<std::uint32_t>(d[9]) << 8 | static_cast<std::uint32_t>(d[10]) << 16 |
                static_cast<std::uint32_t>(d[11]) << 24;
    return s;
  }
  static bytes rw10(std::uint8_t code, std::uint32_t block, unsigned count, std::uint8_t flags = 0) {
    const auto byte = [](std::uint32_t v) { return static_cast<std::uint8_t>(v); };
    return {code,        flags, byte(block >> 24), byte(block >> 16), byte(block >> 8),
            byte(block), 0,     byte(count >> 8),  byte(count),       0};
  }
  /// The key, code and qualifier from REQUEST SENSE.
  std::array<unsigned, 3> sense() {
    const auto s = read(18, {3, 0, 0, 0, 18, 0});
    if (s.data.size() != 18 || s.code != 0) return {};
    return {s.data[2], s.data[12], s.data[13]};
  }

  memory_disk disk;
  small_buffers room;
  drive_type drive{disk, room};
  stick_type device{drive};
  usbip::exports<stick_type> all{device};
  wire stream;
  client host{stream};
  usbip::connection<usbip::exports<stick_type>> connection;

 private:
  std::uint32_t tag_ = 0;
};

}  // namespace usb_rig
