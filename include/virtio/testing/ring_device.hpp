// SPDX-License-Identifier: MIT
// The common part of the device sides of both rings: the buffers that they take, the interface that a device model
// uses, and their record of the driver's violations. Independent of the library's rings, as the whole test kit.
// Spec: virtio 1.4, 2.6. Layer: testing.
#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <optional>
#include <span>

#include <virtio/testing/device_memory.hpp>

namespace virtio::testing {

/// One piece of a buffer, as a descriptor describes it.
struct element {
  std::uint64_t at;
  std::uint32_t length;
  bool writable;
};

/// A buffer that the driver made available.
class chain {
 public:
  std::uint16_t head = 0;  // identifies it on return: the first descriptor's index, or on a packed ring the buffer id
  std::vector<element> elements;
  std::uint16_t descriptors = 0;  // ring descriptors it occupies; an indirect table counts as one
  std::uint64_t table = 0;        // device address of the indirect table, 0 without
  device_memory* memory = nullptr;

  [[nodiscard]] std::uint64_t readable() const { return total(false); }
  [[nodiscard]] std::uint64_t writable() const { return total(true); }

  /// Gathers `length` bytes of the readable part, from its byte `offset` on. Returns the number of bytes found.
  std::uint64_t read(std::uint64_t offset, void* to, std::uint64_t length) const {
    auto* const out = static_cast<std::uint8_t*>(to);
    return walk(false, offset, length,
                [&](std::uint64_t at, std::uint64_t n, std::uint64_t done) { return memory->read(at, out + done, n); });
  }
  [[nodiscard]] std::vector<std::uint8_t> read_all() const {
    std::vector<std::uint8_t> all(static_cast<std::size_t>(readable()));
    (void)read(0, all.data(), all.size());
    return all;
  }
  /// Scatters `length` bytes over the writable part, from its byte `offset` on. Returns the number of bytes that
  /// fitted.
  std::uint64_t write(std::uint64_t offset, const void* from, std::uint64_t length) const {
    const auto* const in = static_cast<const std::uint8_t*>(from);
    return walk(true, offset, length,
                [&](std::uint64_t at, std::uint64_t n, std::uint64_t done) { return memory->write(at, in + done, n); });
  }

 private:
  [[nodiscard]] std::uint64_t total(bool writable) const {
    std::uint64_t sum = 0;
    for (const element& e : elements) sum += e.writable == writable ? e.length : 0;
    return sum;
  }
  template <class Copy>
  std::uint64_t walk(bool writable, std::uint64_t offset, std::uint64_t length, Copy&& copy) const {
    std::uint64_t done = 0;
    for (const element& e : elements) {
      if (e.writable != writable) continue;
      if (offset >= e.length) {
        offset -= e.length;
        continue;
      }
      const std::uint64_t n = std::min(e.length - offset, length - done);
      if (n == 0 || !copy(e.at + offset, n, done)) break;
      done += n;
      offset = 0;
    }
    return done;
  }
};

/// The negotiated features that concern the ring.
struct ring_features {
  bool event_idx = false;
  bool indirect = false;
  bool in_order = false;
  // byte order of the ring's words; big: a legacy device of a big-endian guest
  wire::endian endian = wire::endian::little;
};

/// The device side of one ring, whatever its format. One thread runs it; another may call `rang`.
class ring_device {
 public:
  ring_device() = default;
  ring_device(const ring_device&) = delete;
  ring_device& operator=(const ring_device&) = delete;
  virtual ~ring_device() = default;

  /// Starts with the three areas at these device addresses. Reports wrong alignment or size, and rings that are not
  /// fresh.
  virtual void configure(device_memory& memory, std::uint16_t size, std::uint64_t descriptors, std::uint64_t driver,
                         std::uint64_t device, ring_features features) = 0;
  /// Clears everything except the violations. Does not access memory afterwards.
  virtual void reset() = 0;
  /// Starts the ring at another position, to reach the wrap soon. The driver must start there too.
  virtual void start_at(std::uint16_t position) = 0;

  [[nodiscard]] bool configured() const { return configured_; }
  [[nodiscard]] bool is_broken() const { return broken_; }
  [[nodiscard]] std::uint16_t size() const { return size_; }
  [[nodiscard]] std::size_t in_flight() const { return in_flight_.size(); }

  // --- positions in the ring: 16 bits, in the form that a notification with data uses ---

  /// The position up to which the device took buffers, and the one up to which the driver shows some.
  [[nodiscard]] virtual std::uint16_t next_available() const = 0;
  [[nodiscard]] virtual std::uint16_t shown() = 0;
  /// The position `count` entries later.
  [[nodiscard]] virtual std::uint16_t advance(std::uint16_t position, std::uint16_t count) const = 0;

  // --- taking buffers ---

  /// The next available buffer. An empty ring arms the notification (unless set_no_notify) before it returns nothing.
  [[nodiscard]] virtual std::optional<chain> pop() = 0;
  /// The number of available buffers that pop() has not taken.
  [[nodiscard]] virtual std::uint16_t pending() = 0;

  // --- returning buffers ---

  /// Returns a buffer; the driver sees it after publish(). `written` is the used length, correct or not.
  virtual void push(std::uint16_t head, std::uint32_t written) = 0;
  /// With IN_ORDER: returns every buffer taken so far up to this one, by a single used entry.
  virtual void push_batch(std::uint16_t head, std::uint32_t written) = 0;
  /// Makes all pushed buffers visible at once.
  virtual void publish() = 0;
  /// Whether the driver requests an interrupt for what was published since the last call.
  [[nodiscard]] virtual bool should_interrupt() = 0;

  // --- kicks ---

  /// Disables or enables the driver's notifications. Without them the device polls.
  virtual void set_no_notify(bool on) = 0;
  [[nodiscard]] bool no_notify() const { return no_notify_; }
  /// Called when a doorbell was written.
  void rang() { rung_ = true; }
  /// Whether a driver that moves from position `before` to `after` must notify, given the device's request.
  [[nodiscard]] virtual bool expects_kick(std::uint16_t before, std::uint16_t after) const = 0;
  /// Called when the driver has finished publishing: records `lost_kick` if buffers wait whose notification is missing.
  virtual bool check_kick() = 0;

  // --- single stores ---

  /// Called after the driver has stored `width` bytes at this place of host memory, after every single store. Reports
  /// what a device that looks at that moment must not see, and words that are stored more than once. Ignores other
  /// memory.
  virtual void stored(const volatile void* at, std::size_t width) = 0;

  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  void clear_violations() { violations_.clear(); }

 protected:
  void forget() {
    for (const auto& [head, c] : in_flight_) unpin(c);
    in_flight_.clear();
    order_.clear();
    configured_ = broken_ = no_notify_ = false;
    rung_ = false;
  }

  std::uint8_t* area(std::uint64_t at, std::uint64_t length, device_memory::access how) {
    return memory_->pointer(at, length, how);
  }
  // Ring words whose memory was removed read and write a dummy; the fault is recorded.
  std::uint8_t* word(std::uint64_t at, std::uint32_t length, device_memory::access how) {
    std::uint8_t* const found = memory_ == nullptr ? nullptr : area(at, length, how);
    return found != nullptr ? found : nowhere_;
  }
  std::span<std::uint8_t> bytes(std::uint64_t at, std::uint32_t length) {
    std::uint8_t* const first = memory_ == nullptr ? nullptr : area(at, length, device_memory::access::read);
    return first == nullptr ? std::span<std::uint8_t>{} : std::span{first, length};
  }

  // The offset of a store in this area; no value if it went elsewhere.
  [[nodiscard]] std::optional<std::uint32_t> offset_in(std::uint64_t at, std::uint32_t length,
                                                       const volatile void* host) {
    const std::span<std::uint8_t> all = bytes(at, length);
    const auto offset = reinterpret_cast<std::uintptr_t>(host) - reinterpret_cast<std::uintptr_t>(all.data());
    if (all.empty() || offset >= length) return std::nullopt;
    return static_cast<std::uint32_t>(offset);
  }
  // The bytes of a descriptor that a store covers, one bit each.
  [[nodiscard]] static std::uint16_t covers(std::uint32_t offset, std::size_t width) {
    return static_cast<std::uint16_t>(((1u << width) - 1) << offset % 16);
  }

  // Adds an element of a chain. False if the chain cannot be continued.
  bool add(chain& c, const element& e, const std::string& name, const char* order_rule) {
    if (!e.writable && !c.elements.empty() && c.elements.back().writable)
      report(order_rule + (": " + name) + "readable element after a writable one");
    if (e.length == 0) report(name + "element of length 0");
    else if (area(e.at, e.length, e.writable ? device_memory::access::write : device_memory::access::read) == nullptr)
      return refuse(name + (e.writable ? "writable" : "readable") + " element outside of memory at " + wire::hex(e.at) +
                    "+" + wire::hex(e.length));
    c.elements.push_back(e);
    return true;
  }
  bool not_empty(const chain& c, const std::string& name) {
    return c.readable() + c.writable() != 0 || refuse(name + "empty chain");
  }
  // The device owns the buffer until retire().
  void accept(const chain& c) {
    for (const element& e : c.elements) memory_->pin(e.at, e.length);
    if (c.table != 0) memory_->pin(c.table, 1);
    in_flight_[c.head] = c;
    order_.push_back(c.head);
  }
  void retire(std::uint16_t head) {
    const auto found = in_flight_.find(head);
    if (found == in_flight_.end()) return;
    unpin(found->second);
    in_flight_.erase(found);
    order_.erase(std::find(order_.begin(), order_.end(), head));
  }
  // The earlier buffers that the device still has; none if it does not have this one.
  [[nodiscard]] std::vector<std::uint16_t> up_to(std::uint16_t head) const {
    const auto end = std::find(order_.begin(), order_.end(), head);
    return end == order_.end() ? std::vector<std::uint16_t>{} : std::vector<std::uint16_t>(order_.begin(), end);
  }

  void report(std::string what) {
    if (violations_.empty() || violations_.back() != what) violations_.push_back(std::move(what));
  }
  bool refuse(std::string what) {
    broken(std::move(what));
    return false;
  }
  void broken(std::string what) {
    broken_ = true;
    report(std::move(what));
  }

  device_memory* memory_ = nullptr;
  ring_features features_;
  std::uint16_t size_ = 1;
  bool configured_ = false, broken_ = false, no_notify_ = false;
  std::atomic<bool> rung_ = false;  // the driver's thread sets it
  std::map<std::uint16_t, chain> in_flight_;

 private:
  void unpin(const chain& c) {
    for (const element& e : c.elements) memory_->unpin(e.at, e.length);
    if (c.table != 0) memory_->unpin(c.table, 1);
  }

  std::deque<std::uint16_t> order_;  // in the order of taking
  alignas(8) std::uint8_t nowhere_[16] = {};
  std::vector<std::string> violations_;
};

}  // namespace virtio::testing
