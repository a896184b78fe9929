// SPDX-License-Identifier: MIT
// A platform that punishes shortcuts: buffers are copied through memory at other addresses and filled with rubbish
// while the device has them, pieces are small, mappings run out, waits end. `strict_machine` is the state and the
// record, `strict_platform` the value that a driver receives.
// Layer: testing (plugs into platform).
#pragma once

#include <algorithm>
#include <functional>
#include <memory>

#include <virtio/platform/concepts.hpp>
#include <virtio/testing/device_memory.hpp>

namespace virtio::testing {

class strict_machine {
 public:
  static constexpr u8 poison = 0xa5;     // content of a buffer that the device has not written
  static constexpr u8 pool_fill = 0x5a;  // content of the bounce pool before the device writes it
  static constexpr u64 never = ~u64{0};

  /// The memory that devices of this machine can address; follows the mappings.
  device_memory memory;

  // --- settings ---
  u32 largest_piece = 0x8000'0000;  // maximum bytes of a piece; longer buffers are cut
  bool one_mapping = false;         // a buffer is mapped once, as by an IOMMU or UEFI, and only push() cuts it
  u64 fail_map = never;             // the map() call, from 0, that fails
  errc fail_map_with = errc::dma_unreachable;
  u64 shared_base = 0x2'0000'0000;  // device addresses of shared memory; a page-aligned start stays aligned
  u64 pool_base = 0x4000'0000;      // device addresses of the bounce pool
  u64 wait_limit[5] = {1000, 1000, 1000, 1000, 1000};  // attempts, by `waiting`
  std::function<void(waiting, u64 attempt)> on_wait;   // runs the device: [&](auto, auto) { disk.step(); }
  /// Buffers that overlap this range are rejected.
  void refuse(const volatile void* first, usize length) {
    refused_.emplace_back(reinterpret_cast<uptr>(first), length);
  }

  // --- the record ---
  u64 maps = 0, unmaps = 0;
  u64 waits[5] = {};
  std::vector<event> events;
  [[nodiscard]] usize live() const { return live_.size(); }  // mappings not yet unmapped, except shared ones
  [[nodiscard]] usize shared() const { return shared_.size(); }
  [[nodiscard]] u64 mapped_bytes() const {
    u64 sum = 0;
    for (const auto& [handle, m] : live_) sum += m.length;
    return sum;
  }
  /// The driver's violations: mappings and waits here, wrong addresses in the devices' memory.
  [[nodiscard]] std::vector<std::string> violations() const {
    std::vector<std::string> all = violations_;
    for (const std::string& f : memory.faults()) all.push_back("memory: " + f);
    return all;
  }

  // --- platform functions ---

  result<void> map(const volatile void* va, usize n, direction way, segments& out) {
    const u64 call = maps++;
    if (n == 0) return {};
    if (va == nullptr) {
      violations_.push_back("map of a null pointer");
      return errc::invalid_argument;
    }
    if (call == fail_map) return fail_map_with;
    const uptr first = reinterpret_cast<uptr>(va);
    for (const auto& [start, length] : refused_)
      if (first < start + length && start < first + n) return errc::dma_unreachable;
    if (way == direction::shared) return share(va, n, out);
    const u16 start = out.size();
    const usize longest = one_mapping ? n : std::min<usize>(largest_piece, out.largest_piece());
    for (usize done = 0; done < n;) {
      const usize length = std::min(longest, n - done);
      const u16 before = out.size();
      const u64 handle =
          open(const_cast<u8*>(static_cast<const volatile u8*>(va)) + done, static_cast<u32>(length), way);
      if (const auto pushed = out.push(dma_addr{live_.at(handle).at}, length, way, handle); !pushed) {
        // All or nothing: the pieces mapped so far are returned unchanged.
        close(handle, 0, restore::everything);
        out.truncate(before);
        for (u16 i = start; i < out.size(); ++i)
          if (!out[i].continues()) close(out[i].handle, 0, restore::everything);
        return pushed.error();
      }
      done += length;
    }
    return {};
  }

  void unmap(const segment& piece, u32 written) {
    ++unmaps;
    const std::string name = wire::hex(raw(piece.at)) + "+" + wire::hex(piece.length);
    const auto found = live_.find(piece.handle);
    if (piece.way == direction::shared) return report("unmap of shared memory at " + name);
    if (found == live_.end())
      return report((piece.handle != 0 && piece.handle < next_handle_ ? "second unmap of "
                                                                      : "unmap of something never mapped: ") +
                    name);
    const mapping& m = found->second;
    if (m.at != raw(piece.at) || m.length != piece.length || m.way != piece.way)
      report("unmap of a changed segment: " + name);
    close(piece.handle, written, restore::written);
  }

  bool keep_waiting(waiting why, u64 attempt) {
    const auto kind = static_cast<usize>(why);
    ++waits[kind];
    if (attempt != 0 && attempt != last_attempt_[kind] + 1)
      report("keep_waiting: attempt " + std::to_string(attempt) + " after " + std::to_string(last_attempt_[kind]));
    last_attempt_[kind] = attempt;
    if (on_wait) on_wait(why, attempt);
    return attempt < wait_limit[kind];
  }

 private:
  enum class restore : u8 { written, everything };

  struct mapping {
    u64 at;
    u32 length;
    direction way;
    u8* original;
    // each of exactly this size, so that a memory checker sees every access beyond its end
    std::unique_ptr<u8[]> bounce;
    std::unique_ptr<u8[]> saved;  // from_device only: the previous content of the buffer
  };

  result<void> share(const volatile void* va, usize n, segments& out) {
    const uptr first = reinterpret_cast<uptr>(va);
    auto found = shared_.find(first);
    if (found == shared_.end() || found->second.second < n) {
      if (found != shared_.end()) (void)memory.remove(found->second.first);
      const u64 at = shared_base + shared_used_ + first % 4096;
      shared_used_ += (first % 4096 + n + 2 * 4096) / 4096 * 4096;  // an unmapped page between any two
      (void)memory.add(at, va, n, device_memory::permission::read_write);
      found = shared_.insert_or_assign(first, std::pair{at, n}).first;
    }
    return out.push(dma_addr{found->second.first}, n, direction::shared);
  }

  u64 open(u8* original, u32 length, direction way) {
    const u64 handle = next_handle_++;
    // Never the same address twice, to catch a late access by the device; same offset in the page as the original.
    const u64 at = pool_base + pool_used_ + reinterpret_cast<uptr>(original) % 4096;
    pool_used_ += (u64{length} + 3 * 4096 - 1) / 4096 * 4096;
    mapping m{at, length, way, original, std::make_unique<u8[]>(length), nullptr};
    if (way == direction::to_device) {
      std::memcpy(m.bounce.get(), original, length);
    } else {
      std::memset(m.bounce.get(), pool_fill, length);
      m.saved = std::make_unique<u8[]>(length);
      std::memcpy(m.saved.get(), original, length);
      std::memset(original, poison, length);
    }
    (void)memory.add(
        at, m.bounce.get(), length,
        way == direction::to_device ? device_memory::permission::read_only : device_memory::permission::read_write);
    live_.emplace(handle, std::move(m));
    return handle;
  }

  void close(u64 handle, u32 written, restore what) {
    mapping& m = live_.at(handle);
    if (what == restore::everything) {
      if (m.saved) std::memcpy(m.original, m.saved.get(), m.length);
    } else if (m.way == direction::to_device) {
      if (std::memcmp(m.original, m.bounce.get(), m.length) != 0) report("a buffer changed while the device read it");
    } else {
      for (u32 i = 0; i < m.length; ++i)
        if (m.original[i] != poison) {
          report("a buffer changed on the CPU's side while the device wrote it");
          break;
        }
      std::memcpy(m.original, m.bounce.get(), std::min(written, m.length));
    }
    (void)memory.remove(m.at);
    live_.erase(handle);
  }

  void report(std::string what) { violations_.push_back(std::move(what)); }

  std::map<u64, mapping> live_;
  std::map<uptr, std::pair<u64, usize>> shared_;
  std::vector<std::pair<uptr, usize>> refused_;
  std::vector<std::string> violations_;
  u64 next_handle_ = 1, pool_used_ = 0, shared_used_ = 0;
  u64 last_attempt_[5] = {};
};

template <barrier_set Barriers = smp_barriers, access_policy Policy = access_policy::through_map>
struct strict_platform {
  using barriers = Barriers;
  static constexpr access_policy access_platform = Policy;

  strict_machine* machine = nullptr;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return machine->map(va, n, way, out);
  }
  void unmap(const segment& piece, u32 written) const { machine->unmap(piece, written); }
  bool keep_waiting(waiting why, u64 attempt) const { return machine->keep_waiting(why, attempt); }
  void trace(event happened) const { machine->events.push_back(happened); }
};

static_assert(platform<strict_platform<>>);

}  // namespace virtio::testing
