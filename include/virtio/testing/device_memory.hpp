// SPDX-License-Identifier: MIT
// The memory that a device can address: windows, each at its own device address. An access outside is rejected and
// recorded, so that a driver with a wrong address fails a test instead of corrupting it.
// The windows have no lock: they do not change while a device runs on its own thread, and a lock would hide from the
// race detector the ordering that the rings must provide.
// Layer: testing (shares nothing with the library; the byte orders here are its own).
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace virtio::testing {

namespace wire {

/// The byte of a number that is first in memory.
enum class endian : std::uint8_t { little, big };
inline constexpr endian native = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? endian::little : endian::big;

// Numbers in raw memory, byte by byte: any alignment, any CPU. Little-endian, except for the guest of a legacy device.
inline std::uint64_t get(const std::uint8_t* from, unsigned bytes, endian e = endian::little) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < bytes; ++i)
    value |= std::uint64_t{from[i]} << (8 * (e == endian::little ? i : bytes - 1 - i));
  return value;
}
inline std::uint16_t get16(const std::uint8_t* from) { return static_cast<std::uint16_t>(get(from, 2)); }
inline std::uint32_t get32(const std::uint8_t* from) { return static_cast<std::uint32_t>(get(from, 4)); }
inline std::uint64_t get64(const std::uint8_t* from) { return get(from, 8); }
inline void put(std::uint8_t* to, std::uint64_t value, unsigned bytes, endian e = endian::little) {
  for (unsigned i = 0; i < bytes; ++i)
    to[i] = static_cast<std::uint8_t>(value >> (8 * (e == endian::little ? i : bytes - 1 - i)));
}
inline void put16(std::uint8_t* to, std::uint16_t value) { put(to, value, 2); }
inline void put32(std::uint8_t* to, std::uint32_t value) { put(to, value, 4); }
inline void put64(std::uint8_t* to, std::uint64_t value) { put(to, value, 8); }

inline std::uint16_t order(std::uint16_t value, endian e) {
  return e == native ? value : static_cast<std::uint16_t>(value << 8 | value >> 8);
}
inline std::uint32_t order(std::uint32_t value, endian e) { return e == native ? value : __builtin_bswap32(value); }
// The words that both sides access at the same time. Sequentially consistent, so that the device needs no fence between
// its stores and the later loads: race detectors follow atomics but not fences.
inline std::uint16_t atomic_get16(const std::uint8_t* from, endian e = endian::little) {
  return order(__atomic_load_n(reinterpret_cast<const std::uint16_t*>(from), __ATOMIC_SEQ_CST), e);
}
inline void atomic_put16(std::uint8_t* to, std::uint16_t value, endian e = endian::little) {
  __atomic_store_n(reinterpret_cast<std::uint16_t*>(to), order(value, e), __ATOMIC_SEQ_CST);
}
inline std::uint32_t atomic_get32(const std::uint8_t* from) {
  return order(__atomic_load_n(reinterpret_cast<const std::uint32_t*>(from), __ATOMIC_SEQ_CST), endian::little);
}
inline void atomic_put32(std::uint8_t* to, std::uint32_t value) {
  __atomic_store_n(reinterpret_cast<std::uint32_t*>(to), order(value, endian::little), __ATOMIC_SEQ_CST);
}

inline std::string hex(std::uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace wire

/// The memory that one or more devices can address.
class device_memory {
 public:
  enum class access : std::uint8_t { read, write };
  enum class permission : std::uint8_t { read_only, read_write };

  /// Maps `length` bytes at `host` to device address `at`. The caller keeps the memory. A window that overlaps another
  /// in device addresses is a fault of the test's platform and is rejected.
  bool add(std::uint64_t at, const volatile void* host, std::uint64_t length, permission allowed) {
    for (const auto& [first, w] : windows_)
      if (at < first + w.length && first < at + length) return fault("windows overlap at " + wire::hex(at));
    // The device writes only where `allowed` permits it; the cast serves the read-only windows over const buffers.
    windows_[at] = window{length, const_cast<std::uint8_t*>(static_cast<const volatile std::uint8_t*>(host)), allowed};
    return true;
  }
  /// The same, with the host address as the device address.
  bool add_identity(const volatile void* host, std::uint64_t length, permission allowed = permission::read_write) {
    return add(reinterpret_cast<std::uintptr_t>(host), host, length, allowed);
  }
  /// Removes a window. If the device still holds a buffer in it, it could write to memory that it no longer owns: a
  /// fault.
  bool remove(std::uint64_t at) {
    const auto found = windows_.find(at);
    if (found == windows_.end()) return fault("removing a window that is not there: " + wire::hex(at));
    const std::lock_guard lock{pin_lock_};
    for (const auto& [pin, length] : pins_)
      if (pin < at + found->second.length && at < pin + length)
        (void)fault("memory at " + wire::hex(at) + " is taken back while a device owns " + wire::hex(pin) + "+" +
                    wire::hex(length) + " (SHUTDOWN-02)");
    windows_.erase(found);
    return true;
  }
  [[nodiscard]] std::size_t windows() const { return windows_.size(); }

  /// Returns where the device finds `length` bytes at `at`; nullptr, and a fault, unless one window contains and allows
  /// them.
  [[nodiscard]] std::uint8_t* pointer(std::uint64_t at, std::uint64_t length, access how) {
    auto next = windows_.upper_bound(at);
    if (next != windows_.begin()) {
      const auto& [first, w] = *std::prev(next);
      const std::uint64_t offset = at - first;
      if (offset < w.length && length <= w.length - offset) {
        if (how == access::read || w.allowed == permission::read_write) return w.host + offset;
        (void)fault("write to read-only memory at " + wire::hex(at) + "+" + wire::hex(length));
        return nullptr;
      }
    }
    (void)fault(std::string{how == access::read ? "read" : "write"} +
                " outside of what the device can address: " + wire::hex(at) + "+" + wire::hex(length));
    return nullptr;
  }
  bool read(std::uint64_t at, void* to, std::uint64_t length) {
    if (length == 0) return true;
    const std::uint8_t* const from = pointer(at, length, access::read);
    if (from != nullptr) std::memcpy(to, from, static_cast<std::size_t>(length));
    return from != nullptr;
  }
  bool write(std::uint64_t at, const void* from, std::uint64_t length) {
    if (length == 0) return true;
    std::uint8_t* const to = pointer(at, length, access::write);
    if (to != nullptr) std::memcpy(to, from, static_cast<std::size_t>(length));
    return to != nullptr;
  }

  /// The device owns these bytes from now on, or no longer. `remove` reports a fault while it does.
  void pin(std::uint64_t at, std::uint64_t length) {
    const std::lock_guard lock{pin_lock_};
    pins_.emplace_back(at, length);
  }
  void unpin(std::uint64_t at, std::uint64_t length) {
    const std::lock_guard lock{pin_lock_};
    for (auto i = pins_.begin(); i != pins_.end(); ++i)
      if (*i == std::pair{at, length}) {
        pins_.erase(i);
        return;
      }
  }

  [[nodiscard]] const std::vector<std::string>& faults() const { return faults_; }
  void clear_faults() { faults_.clear(); }

 private:
  struct window {
    std::uint64_t length;
    std::uint8_t* host;
    permission allowed;
  };

  bool fault(std::string what) {
    faults_.push_back(std::move(what));
    return false;
  }

  std::map<std::uint64_t, window> windows_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> pins_;
  std::mutex pin_lock_;
  std::vector<std::string> faults_;
};

}  // namespace virtio::testing
