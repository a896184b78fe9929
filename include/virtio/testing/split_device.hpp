// SPDX-License-Identifier: MIT
// The device side of one split ring, which checks the driver as it goes. Layout and arithmetic are its own: an independent
// oracle for the library's. Every objection names the requirement it is about. It can also lie, byte by byte.
// One thread runs it; the driver may be another one: index, flag and event words are atomic, the rest is ordered by them.
// Spec: virtio 1.4, 2.7. Layer: testing.
#pragma once

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <set>
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
  std::uint16_t head = 0;
  std::vector<element> elements;
  std::uint16_t descriptors = 0;   // ring descriptors it occupies; an indirect table counts as one
  std::uint64_t table = 0;         // device address of the indirect table, 0 without
  device_memory* memory = nullptr;

  [[nodiscard]] std::uint64_t readable() const { return total(false); }
  [[nodiscard]] std::uint64_t writable() const { return total(true); }

  /// Gathers `length` bytes of the readable part, from its byte `offset` on. Returns how many there were.
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
  /// Scatters `length` bytes over the writable part, from its byte `offset` on. Returns how many fitted.
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

/// What was negotiated, as far as the ring is concerned.
struct ring_features {
  bool event_idx = false;
  bool indirect = false;
  bool in_order = false;
};

class split_device {
 public:
  /// Starts with the three areas at these device addresses. Objects to alignment, size, and rings that are not fresh.
  void configure(device_memory& memory, std::uint16_t size, std::uint64_t descriptors, std::uint64_t available,
                 std::uint64_t used, ring_features features) {
    reset();
    memory_ = &memory;
    size_ = size;
    owned_.assign(size, false);
    descriptors_ = descriptors;
    available_ = available;
    used_ = used;
    features_ = features;
    if (size == 0 || (size & (size - 1)) != 0 || size > 32768)
      return broken("PCI-17: a queue of " + std::to_string(size) + " entries");
    if (descriptors % 16 != 0)
      return broken("SPLIT-01: descriptor table at " + wire::hex(descriptors) + ", not a multiple of 16");
    if (available % 2 != 0) return broken("SPLIT-01: available ring at " + wire::hex(available) + ", not a multiple of 2");
    if (used % 4 != 0) return broken("SPLIT-01: used ring at " + wire::hex(used) + ", not a multiple of 4");
    if (area(descriptors_, descriptor_bytes(), device_memory::access::read) == nullptr)
      return broken("descriptor table outside of memory");
    if (area(available_, available_bytes(), device_memory::access::read) == nullptr)
      return broken("available ring outside of memory");
    if (area(used_, used_bytes(), device_memory::access::write) == nullptr) return broken("used ring outside of memory");
    if (raw_used_flags() != 0) object("SPLIT-19: used ring flags not zeroed");
    if (raw_used_idx() != 0) object("FACT-08: used ring index not zeroed");
    event_ = wire::atomic_get16(used_word(4 + 8u * size_));
    configured_ = true;
  }
  /// The same from a legacy page number: one block, used ring on the next multiple of 4096.
  void configure_legacy(device_memory& memory, std::uint16_t size, std::uint32_t page, ring_features features) {
    const std::uint64_t descriptors = std::uint64_t{page} << 12;
    const std::uint64_t available = descriptors + std::uint64_t{size} * 16;
    std::uint64_t used = available + 2 * (3 + std::uint64_t{size});
    used += (4096 - used % 4096) % 4096;
    configure(memory, size, descriptors, available, used, features);
  }
  /// Forgets everything but the violations. From here on it touches no memory.
  void reset() {
    for (const auto& [head, c] : in_flight_) unpin(c);
    in_flight_.clear();
    copies_.clear();
    configured_ = broken_ = no_notify_ = false;
    rung_ = false;
    next_available_ = seen_available_ = used_index_ = published_ = signalled_ = event_ = next_in_order_ = 0;
  }
  /// Lets all counters start elsewhere, to meet the wrap soon. The driver has to start there too.
  void start_at(std::uint16_t index) {
    next_available_ = seen_available_ = used_index_ = published_ = signalled_ = event_ = index;
    wire::atomic_put16(used_word(2), index);
    wire::atomic_put16(used_word(4 + 8u * size_), index);
  }

  [[nodiscard]] bool configured() const { return configured_; }
  [[nodiscard]] bool is_broken() const { return broken_; }
  [[nodiscard]] std::uint16_t size() const { return size_; }
  [[nodiscard]] std::size_t in_flight() const { return in_flight_.size(); }
  [[nodiscard]] std::uint16_t next_available() const { return next_available_; }

  // --- taking buffers ---

  /// The next available buffer. An empty ring arms the notification (unless set_no_notify) before it says so.
  [[nodiscard]] std::optional<chain> pop() {
    if (!configured_ || broken_) return std::nullopt;
    check_flags();
    if (pending() == 0) {
      arm();
      if (pending() == 0) return std::nullopt;
    }
    if (broken_) return std::nullopt;
    return take(next_available_);
  }
  /// The buffer in slot `index` mod size, whatever the available index says, and everything before `next` counts as taken:
  /// for devices that look in the wrong place.
  [[nodiscard]] std::optional<chain> pop_at(std::uint16_t index, std::uint16_t next) {
    if (!configured_ || broken_) return std::nullopt;
    auto taken = take(index);
    next_available_ = next;
    return taken;
  }

  /// Whether the driver has made buffers available that pop() has not taken.
  [[nodiscard]] std::uint16_t pending() {
    if (!configured_ || broken_) return 0;
    const std::uint16_t now = raw_available_idx();
    const auto waiting = static_cast<std::uint16_t>(now - next_available_);
    if (static_cast<std::uint16_t>(now - seen_available_) > size_ && now != seen_available_) {
      broken("SPLIT-11: available index went from " + std::to_string(seen_available_) + " to " + std::to_string(now) +
             ", backwards or by more than the queue size");
      return 0;
    }
    if (waiting > size_) {
      broken("SPLIT-11: " + std::to_string(waiting) + " buffers available in a queue of " + std::to_string(size_));
      return 0;
    }
    seen_available_ = now;
    return waiting;
  }

  // --- giving buffers back ---

  /// Writes a used element; the driver sees it after publish(). `written` is what the device claims, true or not.
  void push(std::uint16_t head, std::uint32_t written) {
    if (!configured_) return;
    if (const auto found = in_flight_.find(head); found != in_flight_.end()) {
      check_untouched(found->second);
      unpin(found->second);
      copies_.erase(head);
      in_flight_.erase(found);
    }
    raw_used_element(used_index_, head, written);
    ++used_index_;
  }
  /// With IN_ORDER one element may stand for a batch: skips `count` used slots without writing them.
  void skip_used(std::uint16_t count) { used_index_ = static_cast<std::uint16_t>(used_index_ + count); }
  /// Makes all pushed elements visible at once.
  void publish() {
    if (!configured_ || published_ == used_index_) return;
    published_ = used_index_;
    wire::atomic_put16(used_word(2), published_);
  }
  /// Whether the driver wants to hear of what was published since this was last asked.
  [[nodiscard]] bool should_interrupt() {
    if (!configured_) return false;
    const std::uint16_t before = signalled_;
    signalled_ = published_;
    if (before == published_) return false;
    if (!features_.event_idx) return (raw_available_flags() & 1u) == 0;
    return crossed(raw_used_event(), published_, before);
  }

  // --- kicks ---

  /// Asks the driver not to notify / to notify again. Without notifications the device has to look by itself.
  void set_no_notify(bool on) {
    no_notify_ = on;
    if (!configured_) return;
    if (features_.event_idx) set_event(on ? static_cast<std::uint16_t>(next_available_ - 1) : next_available_);
    else raw_used_flags(on ? 1 : 0);
    rung_ = false;
  }
  [[nodiscard]] bool no_notify() const { return no_notify_; }
  /// A doorbell rang.
  void rang() { rung_ = true; }
  /// Whether a driver that moves the index from `before` to `after` has to notify, by what the device has asked for.
  [[nodiscard]] bool expects_kick(std::uint16_t before, std::uint16_t after) const {
    if (before == after) return false;
    return features_.event_idx ? crossed(event_, after, before) : !no_notify_;
  }
  /// Call when the driver claims to be done publishing: records `lost_kick` if buffers wait that it had to announce.
  bool check_kick() {
    if (!configured_ || no_notify_ || rung_ || pending() == 0) return true;
    object(std::string{"lost_kick: "} + (features_.event_idx ? "SPLIT-24" : "SPLIT-22") + ": " + std::to_string(pending()) +
           " buffers available and no notification since the ring was last found empty");
    return false;
  }

  // --- lies: straight into memory, behind the back of the honest part ---

  void raw_used_element(std::uint16_t slot, std::uint32_t id, std::uint32_t length) {
    std::uint8_t* const at = used_word(4 + 8u * (slot % size_), 8);
    wire::put32(at, id);
    wire::put32(at + 4, length);
  }
  void raw_used_idx(std::uint16_t value) { wire::atomic_put16(used_word(2), value); }
  void raw_used_flags(std::uint16_t value) { wire::atomic_put16(used_word(0), value); }
  void raw_avail_event(std::uint16_t value) { wire::atomic_put16(used_word(4 + 8u * size_), value); }
  [[nodiscard]] std::uint16_t raw_used_idx() { return wire::atomic_get16(used_word(2)); }
  [[nodiscard]] std::uint16_t raw_used_flags() { return wire::atomic_get16(used_word(0)); }
  [[nodiscard]] std::uint16_t raw_available_idx() { return wire::atomic_get16(available_word(2)); }
  [[nodiscard]] std::uint16_t raw_available_flags() { return wire::atomic_get16(available_word(0)); }
  [[nodiscard]] std::uint16_t raw_available_entry(std::uint16_t slot) {
    return wire::get16(available_word(4 + 2u * (slot % size_)));
  }
  [[nodiscard]] std::uint16_t raw_used_event() { return wire::atomic_get16(available_word(4 + 2u * size_)); }
  /// Every byte of the three areas, writable.
  [[nodiscard]] std::span<std::uint8_t> descriptor_area() { return bytes(descriptors_, descriptor_bytes()); }
  [[nodiscard]] std::span<std::uint8_t> available_area() { return bytes(available_, available_bytes()); }
  [[nodiscard]] std::span<std::uint8_t> used_area() { return bytes(used_, used_bytes()); }

  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  void clear_violations() { violations_.clear(); }

 private:
  static constexpr std::uint16_t flag_next = 1, flag_write = 2, flag_indirect = 4;

  struct descriptor {
    std::uint64_t at;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint16_t next;
    bool operator==(const descriptor&) const = default;
  };

  [[nodiscard]] std::uint32_t descriptor_bytes() const { return 16u * size_; }
  [[nodiscard]] std::uint32_t available_bytes() const { return 6u + 2u * size_; }
  [[nodiscard]] std::uint32_t used_bytes() const { return 6u + 8u * size_; }

  std::uint8_t* area(std::uint64_t at, std::uint64_t length, device_memory::access how) {
    return memory_->pointer(at, length, how);
  }
  // Ring words that have lost their memory read and write a dummy; the fault is on record.
  std::uint8_t* word(std::uint64_t at, std::uint32_t length, device_memory::access how) {
    std::uint8_t* const found = memory_ == nullptr ? nullptr : area(at, length, how);
    return found != nullptr ? found : nowhere_;
  }
  std::uint8_t* available_word(std::uint32_t offset) { return word(available_ + offset, 2, device_memory::access::read); }
  std::uint8_t* used_word(std::uint32_t offset, std::uint32_t length = 2) {
    return word(used_ + offset, length, device_memory::access::write);
  }
  std::span<std::uint8_t> bytes(std::uint64_t at, std::uint32_t length) {
    std::uint8_t* const first = memory_ == nullptr ? nullptr : area(at, length, device_memory::access::read);
    return first == nullptr ? std::span<std::uint8_t>{} : std::span{first, length};
  }

  // FACT-15, in 16-bit arithmetic: has the index passed `event` on its way from `before` to `after`?
  static bool crossed(std::uint16_t event, std::uint16_t after, std::uint16_t before) {
    return static_cast<std::uint16_t>(after - event - 1) < static_cast<std::uint16_t>(after - before);
  }
  void set_event(std::uint16_t value) {
    event_ = value;
    raw_avail_event(value);
  }
  void arm() {
    if (no_notify_) return;
    if (features_.event_idx) set_event(next_available_);
    rung_ = false;
  }

  void check_flags() {
    const std::uint16_t flags = raw_available_flags();
    if (features_.event_idx && flags != 0)
      object("SPLIT-14: available ring flags are " + wire::hex(flags) + " with EVENT_IDX");
    if (!features_.event_idx && flags > 1) object("SPLIT-12: available ring flags are " + wire::hex(flags));
  }

  [[nodiscard]] static descriptor decode(const std::uint8_t* from) {
    return {wire::get64(from), wire::get32(from + 8), wire::get16(from + 12), wire::get16(from + 14)};
  }

  std::optional<chain> take(std::uint16_t index) {
    chain c;
    c.memory = memory_;
    c.head = raw_available_entry(index);
    if (!follow(c)) {
      if (!broken_) broken("a chain that cannot be followed");
      return std::nullopt;
    }
    next_available_ = static_cast<std::uint16_t>(index + 1);
    for (const element& e : c.elements) memory_->pin(e.at, e.length);
    if (c.table != 0) memory_->pin(c.table, 1);
    in_flight_[c.head] = c;
    return c;
  }

  // Walks one chain. False when it makes no sense to go on: the device then stalls, as strict hosts do.
  bool follow(chain& c) {
    const std::string name = "buffer " + std::to_string(c.head) + ": ";
    if (c.head >= size_) return refuse(name + "head out of range");
    if (in_flight_.count(c.head) != 0) return refuse("SHUTDOWN-01: " + name + "made available again while the device has it");
    if (features_.in_order && c.head != next_in_order_)
      object("SPLIT-05: " + name + "IN_ORDER wants descriptor " + std::to_string(next_in_order_) + " next");
    std::set<std::uint16_t> visited;
    std::vector<std::pair<std::uint16_t, descriptor>> copy;
    std::uint16_t index = c.head;
    for (;;) {
      if (!visited.insert(index).second)
        return refuse("SPLIT-04: " + name + "the chain loops at descriptor " + std::to_string(index));
      if (owned_[index])
        object("SHUTDOWN-01: " + name + "descriptor " + std::to_string(index) + " belongs to a buffer the device has");
      const std::uint8_t* const raw = area(descriptors_ + 16u * index, 16, device_memory::access::read);
      if (raw == nullptr) return refuse(name + "descriptor table outside of memory");
      const descriptor d = decode(raw);
      copy.emplace_back(index, d);
      if ((d.flags & ~(flag_next | flag_write | flag_indirect)) != 0)
        object(name + "unknown descriptor flags " + wire::hex(d.flags));
      if ((d.flags & flag_indirect) != 0) {
        if (!features_.indirect) return refuse("SPLIT-06: " + name + "INDIRECT without the feature");
        if ((d.flags & flag_next) != 0) return refuse("SPLIT-09: " + name + "INDIRECT together with NEXT");
        if (!follow_indirect(c, d, name)) return false;
        break;
      }
      if (!add(c, d, name)) return false;
      if ((d.flags & flag_next) == 0) break;
      if (d.next >= size_)
        return refuse(name + "next is " + std::to_string(d.next) + " in a table of " + std::to_string(size_));
      if (features_.in_order && d.next != (index + 1) % size_)
        object("SPLIT-05: " + name + "next is not the following descriptor, with IN_ORDER");
      index = d.next;
    }
    c.descriptors = static_cast<std::uint16_t>(copy.size());
    next_in_order_ = static_cast<std::uint16_t>((c.head + c.descriptors) % size_);
    for (const auto& [at, d] : copy) owned_[at] = true;
    copies_[c.head] = std::move(copy);
    if (c.elements.size() > size_)
      object("SPLIT-08: " + name + std::to_string(c.elements.size()) + " descriptors in a queue of " + std::to_string(size_));
    if (c.readable() + c.writable() > std::uint64_t{1} << 32) return refuse("SPLIT-04: " + name + "longer than 2^32 bytes");
    if (c.readable() + c.writable() == 0) return refuse(name + "empty chain");
    return true;
  }

  bool follow_indirect(chain& c, const descriptor& d, const std::string& name) {
    if (d.length == 0 || d.length % 16 != 0) return refuse(name + "indirect table of " + std::to_string(d.length) + " bytes");
    const std::uint32_t count = d.length / 16;
    if (count > size_)
      object("SPLIT-08: " + name + "indirect table of " + std::to_string(count) + " in a queue of " + std::to_string(size_));
    const std::uint8_t* const table = area(d.at, d.length, device_memory::access::read);
    if (table == nullptr) return refuse(name + "indirect table outside of memory");
    c.table = d.at;
    std::uint32_t index = 0;
    for (std::uint32_t steps = 0; steps < count; ++steps) {
      const descriptor entry = decode(table + 16 * std::size_t{index});
      if ((entry.flags & flag_indirect) != 0) return refuse("SPLIT-07: " + name + "INDIRECT inside an indirect table");
      if ((entry.flags & ~(flag_next | flag_write)) != 0) object(name + "unknown descriptor flags " + wire::hex(entry.flags));
      if (!add(c, entry, name)) return false;
      if ((entry.flags & flag_next) == 0) return true;
      if (entry.next >= count)
        return refuse(name + "next is " + std::to_string(entry.next) + " in an indirect table of " + std::to_string(count));
      if (features_.in_order && entry.next != index + 1)
        object("SPLIT-10: " + name + "indirect entries not consecutive, with IN_ORDER");
      index = entry.next;
    }
    return refuse("SPLIT-04: " + name + "the indirect table loops");
  }

  bool add(chain& c, const descriptor& d, const std::string& name) {
    const bool writable = (d.flags & flag_write) != 0;
    if (!writable && !c.elements.empty() && c.elements.back().writable)
      object("SPLIT-02: " + name + "readable element after a writable one");
    if (d.length == 0) object(name + "element of length 0");
    else if (area(d.at, d.length, writable ? device_memory::access::write : device_memory::access::read) == nullptr)
      return refuse(name + (writable ? "writable" : "readable") + " element outside of memory at " + wire::hex(d.at) + "+" +
                    wire::hex(d.length));
    c.elements.push_back({d.at, d.length, writable});
    return true;
  }

  void check_untouched(const chain& c) {
    for (const auto& [index, before] : copies_[c.head]) {
      owned_[index] = false;
      const std::uint8_t* const raw = area(descriptors_ + 16u * index, 16, device_memory::access::read);
      if (raw != nullptr && decode(raw) != before)
        object("SHUTDOWN-01: buffer " + std::to_string(c.head) + ": descriptor " + std::to_string(index) +
               " changed while the device had it");
    }
  }
  void unpin(const chain& c) {
    for (const element& e : c.elements) memory_->unpin(e.at, e.length);
    if (c.table != 0) memory_->unpin(c.table, 1);
  }

  void object(std::string what) {
    if (violations_.empty() || violations_.back() != what) violations_.push_back(std::move(what));
  }
  bool refuse(std::string what) {
    broken(std::move(what));
    return false;
  }
  void broken(std::string what) {
    broken_ = true;
    object(std::move(what));
  }

  device_memory* memory_ = nullptr;
  std::uint64_t descriptors_ = 0, available_ = 0, used_ = 0;
  ring_features features_;
  std::uint16_t size_ = 1;
  std::uint16_t next_available_ = 0, seen_available_ = 0;              // what we have taken, what the driver has shown
  std::uint16_t used_index_ = 0, published_ = 0, signalled_ = 0;       // pushed, visible, interrupted for
  std::uint16_t event_ = 0, next_in_order_ = 0;
  bool configured_ = false, broken_ = false, no_notify_ = false;
  std::atomic<bool> rung_ = false;  // the driver's thread sets it
  std::map<std::uint16_t, chain> in_flight_;
  std::vector<bool> owned_;  // by descriptor
  std::map<std::uint16_t, std::vector<std::pair<std::uint16_t, descriptor>>> copies_;  // descriptors as they were when taken
  alignas(8) std::uint8_t nowhere_[8] = {};
  std::vector<std::string> violations_;
};

}  // namespace virtio::testing
