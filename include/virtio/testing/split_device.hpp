// SPDX-License-Identifier: MIT
// The device side of one split ring, which checks the driver at each step. Layout and arithmetic are its own: an
// independent oracle for the library's. Every violation names its requirement. It can also write any invalid value.
// One thread runs it; the driver may run on another: index, flag and event words are atomic and order the rest.
// Spec: virtio 1.4, 2.7. Layer: testing.
#pragma once

#include <set>
#include <span>

#include <virtio/testing/ring_device.hpp>

namespace virtio::testing {

class split_device final : public ring_device {
 public:
  /// Starts with the three areas at these device addresses. Reports wrong alignment or size, and rings that are not
  /// fresh.
  void configure(device_memory& memory, std::uint16_t size, std::uint64_t descriptors, std::uint64_t available,
                 std::uint64_t used, ring_features features) override {
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
    if (available % 2 != 0)
      return broken("SPLIT-01: available ring at " + wire::hex(available) + ", not a multiple of 2");
    if (used % 4 != 0) return broken("SPLIT-01: used ring at " + wire::hex(used) + ", not a multiple of 4");
    if (area(descriptors_, descriptor_bytes(), device_memory::access::read) == nullptr)
      return broken("descriptor table outside of memory");
    if (area(available_, available_bytes(), device_memory::access::read) == nullptr)
      return broken("available ring outside of memory");
    if (area(used_, used_bytes(), device_memory::access::write) == nullptr)
      return broken("used ring outside of memory");
    if (raw_used_flags() != 0) report("SPLIT-19: used ring flags not zeroed");
    if (raw_used_idx() != 0) report("FACT-08: used ring index not zeroed");
    event_ = wire::atomic_get16(used_word(4 + 8u * size_), features_.endian);
    stores_.assign(size, {});
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
  /// Clears everything except the violations. Does not access memory afterwards.
  void reset() override {
    forget();
    copies_.clear();
    next_available_ = seen_available_ = used_index_ = published_ = signalled_ = event_ = next_in_order_ =
        stored_index_ = 0;
  }
  /// Starts all counters elsewhere, to reach the wrap soon: as after so many buffers of one descriptor. The driver must
  /// start there too.
  void start_at(std::uint16_t index) override {
    next_available_ = seen_available_ = used_index_ = published_ = signalled_ = event_ = stored_index_ = index;
    next_in_order_ = index % size_;
    wire::atomic_put16(used_word(2), index, features_.endian);
    wire::atomic_put16(used_word(4 + 8u * size_), index, features_.endian);
  }

  // Positions on a split ring are free-running 16-bit indices.
  [[nodiscard]] std::uint16_t next_available() const override { return next_available_; }
  [[nodiscard]] std::uint16_t shown() override { return raw_available_idx(); }
  [[nodiscard]] std::uint16_t advance(std::uint16_t position, std::uint16_t count) const override {
    return static_cast<std::uint16_t>(position + count);
  }

  // --- taking buffers ---

  /// The next available buffer. An empty ring arms the notification (unless set_no_notify) before it returns nothing.
  [[nodiscard]] std::optional<chain> pop() override {
    if (!configured_ || broken_) return std::nullopt;
    check_flags();
    if (pending() == 0) {
      arm();
      if (pending() == 0) return std::nullopt;
    }
    if (broken_) return std::nullopt;
    return take(next_available_);
  }
  /// The buffer in slot `index` mod size, whatever the available index is; everything before `next` counts as taken.
  /// For devices that look in the wrong place.
  [[nodiscard]] std::optional<chain> pop_at(std::uint16_t index, std::uint16_t next) {
    if (!configured_ || broken_) return std::nullopt;
    auto taken = take(index);
    next_available_ = next;
    return taken;
  }

  /// Whether the driver has made buffers available that pop() has not taken.
  [[nodiscard]] std::uint16_t pending() override {
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

  // --- returning buffers ---

  /// Writes a used element; the driver sees it after publish(). `written` is the used length, correct or not.
  void push(std::uint16_t head, std::uint32_t written) override {
    if (!configured_) return;
    if (const auto found = in_flight_.find(head); found != in_flight_.end()) {
      check_untouched(found->second);
      copies_.erase(head);
      retire(head);
    }
    raw_used_element(used_index_, head, written);
    ++used_index_;
  }
  void push_batch(std::uint16_t head, std::uint32_t written) override {
    const std::vector<std::uint16_t> skipped = up_to(head);
    push(head, written);
    for (const std::uint16_t one : skipped) {
      check_untouched(in_flight_.at(one));
      copies_.erase(one);
      retire(one);
    }
    skip_used(static_cast<std::uint16_t>(skipped.size()));
  }
  /// With IN_ORDER one element may stand for a batch: skips `count` used slots without writing them.
  void skip_used(std::uint16_t count) { used_index_ = static_cast<std::uint16_t>(used_index_ + count); }
  /// Makes all pushed elements visible at once.
  void publish() override {
    if (!configured_ || published_ == used_index_) return;
    published_ = used_index_;
    wire::atomic_put16(used_word(2), published_, features_.endian);
  }
  /// Whether the driver requests an interrupt for what was published since the last call.
  [[nodiscard]] bool should_interrupt() override {
    if (!configured_) return false;
    const std::uint16_t before = signalled_;
    signalled_ = published_;
    if (before == published_) return false;
    if (!features_.event_idx) return (raw_available_flags() & 1u) == 0;
    return crossed(raw_used_event(), published_, before);
  }

  // --- kicks ---

  /// Disables or enables the driver's notifications. Without them the device polls.
  void set_no_notify(bool on) override {
    no_notify_ = on;
    if (!configured_) return;
    if (features_.event_idx) set_event(on ? static_cast<std::uint16_t>(next_available_ - 1) : next_available_);
    else raw_used_flags(on ? 1 : 0);
    rung_ = false;
  }
  /// Whether a driver that moves the index from `before` to `after` must notify, given the device's request.
  [[nodiscard]] bool expects_kick(std::uint16_t before, std::uint16_t after) const override {
    if (before == after) return false;
    return features_.event_idx ? crossed(event_, after, before) : !no_notify_;
  }
  /// Called when the driver has finished publishing: records `lost_kick` if buffers wait whose notification is missing.
  bool check_kick() override {
    if (!configured_ || no_notify_ || rung_ || pending() == 0) return true;
    report(std::string{"lost_kick: "} + (features_.event_idx ? "SPLIT-24" : "SPLIT-22") + ": " +
           std::to_string(pending()) + " buffers available and no notification since the ring was last found empty");
    return false;
  }

  // --- single stores ---

  void stored(const volatile void* at, std::size_t width) override {
    if (!configured_ || broken_) return;
    if (offset_in(used_, used_bytes(), at)) return report("SPLIT-11: used ring stored to by the driver");
    if (const auto offset = offset_in(descriptors_, descriptor_bytes(), at)) {
      const std::string name = "descriptor " + std::to_string(*offset / 16) + ": ";
      store_state& s = stores_[*offset / 16];
      const std::uint16_t bytes = covers(*offset, width);
      if (owned_[*offset / 16]) report("SHUTDOWN-01: " + name + "stored to while the device has it");
      else if (s.shown) report("SPLIT-26: " + name + "stored to after the index that shows it");
      else if ((s.bytes & bytes) != 0) report(name + "stored to twice");
      s.bytes |= bytes;
      return;
    }
    const auto offset = offset_in(available_, available_bytes(), at);
    if (!offset) return;
    if (*offset % 2 != 0 || width != 2) return report("available ring: not one store a word");
    if (*offset == 0) return check_flags();
    if (*offset == 2) return index_stored();
    if (*offset == 4u + 2u * size_) return;  // used_event: any place will do
    store_state& s = stores_[(*offset - 4) / 2];
    if (s.entry)
      report("SPLIT-26: entry " + std::to_string((*offset - 4) / 2) + " of the available ring stored to twice");
    s.entry = true;
  }

  // --- invalid values, written directly to memory without the checks of the correct part ---

  void raw_used_element(std::uint16_t slot, std::uint32_t id, std::uint32_t length) {
    std::uint8_t* const at = used_word(4 + 8u * (slot % size_), 8);
    wire::put(at, id, 4, features_.endian);
    wire::put(at + 4, length, 4, features_.endian);
  }
  void raw_used_idx(std::uint16_t value) { wire::atomic_put16(used_word(2), value, features_.endian); }
  void raw_used_flags(std::uint16_t value) { wire::atomic_put16(used_word(0), value, features_.endian); }
  void raw_avail_event(std::uint16_t value) { wire::atomic_put16(used_word(4 + 8u * size_), value, features_.endian); }
  [[nodiscard]] std::uint16_t raw_used_idx() { return wire::atomic_get16(used_word(2), features_.endian); }
  [[nodiscard]] std::uint16_t raw_used_flags() { return wire::atomic_get16(used_word(0), features_.endian); }
  [[nodiscard]] std::uint16_t raw_available_idx() { return wire::atomic_get16(available_word(2), features_.endian); }
  [[nodiscard]] std::uint16_t raw_available_flags() { return wire::atomic_get16(available_word(0), features_.endian); }
  [[nodiscard]] std::uint16_t raw_available_entry(std::uint16_t slot) {
    return static_cast<std::uint16_t>(wire::get(available_word(4 + 2u * (slot % size_)), 2, features_.endian));
  }
  [[nodiscard]] std::uint16_t raw_used_event() {
    return wire::atomic_get16(available_word(4 + 2u * size_), features_.endian);
  }
  /// Every byte of the three areas, writable.
  [[nodiscard]] std::span<std::uint8_t> descriptor_area() { return bytes(descriptors_, descriptor_bytes()); }
  [[nodiscard]] std::span<std::uint8_t> available_area() { return bytes(available_, available_bytes()); }
  [[nodiscard]] std::span<std::uint8_t> used_area() { return bytes(used_, used_bytes()); }

 private:
  static constexpr std::uint16_t flag_next = 1, flag_write = 2, flag_indirect = 4;

  struct descriptor {
    std::uint64_t at;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint16_t next;
    bool operator==(const descriptor&) const = default;
  };

  // The single stores since the device returned the descriptor.
  struct store_state {
    std::uint16_t bytes = 0;  // of the descriptor
    bool shown = false;       // the index covers its chain
    bool entry = false;       // the entry of the available ring
  };

  // Everything that the index covers now is complete. pop() checks whether the chains are valid.
  void index_stored() {
    const std::uint16_t now = raw_available_idx();
    (void)pending();
    for (; !broken_ && stored_index_ != now; ++stored_index_) {
      const std::uint16_t entry = stored_index_ % size_;
      if (!stores_[entry].entry)
        report("SPLIT-26: the index covers entry " + std::to_string(entry) + ", which was not stored");
      std::uint16_t index = raw_available_entry(entry);
      for (std::uint32_t steps = 0; steps < size_ && index < size_; ++steps) {
        store_state& s = stores_[index];
        if (s.bytes != 0xffff)
          report("SPLIT-26: the index covers descriptor " + std::to_string(index) + ", which was not stored");
        s.shown = true;
        const std::uint8_t* const raw = area(descriptors_ + 16u * index, 16, device_memory::access::read);
        const descriptor d = decode(raw);
        if ((d.flags & flag_next) == 0) break;
        index = d.next;
      }
    }
  }

  [[nodiscard]] std::uint32_t descriptor_bytes() const { return 16u * size_; }
  [[nodiscard]] std::uint32_t available_bytes() const { return 6u + 2u * size_; }
  [[nodiscard]] std::uint32_t used_bytes() const { return 6u + 8u * size_; }

  std::uint8_t* available_word(std::uint32_t offset) {
    return word(available_ + offset, 2, device_memory::access::read);
  }
  std::uint8_t* used_word(std::uint32_t offset, std::uint32_t length = 2) {
    return word(used_ + offset, length, device_memory::access::write);
  }
  // FACT-15, in 16-bit arithmetic: whether the index passed `event` between `before` and `after`.
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
      report("SPLIT-14: available ring flags are " + wire::hex(flags) + " with EVENT_IDX");
    if (!features_.event_idx && flags > 1) report("SPLIT-12: available ring flags are " + wire::hex(flags));
  }

  [[nodiscard]] descriptor decode(const std::uint8_t* from) const {
    const auto number = [&](unsigned at, unsigned bytes) { return wire::get(from + at, bytes, features_.endian); };
    return {number(0, 8), static_cast<std::uint32_t>(number(8, 4)), static_cast<std::uint16_t>(number(12, 2)),
            static_cast<std::uint16_t>(number(14, 2))};
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
    stores_[index % size_].entry = false;
    accept(c);
    return c;
  }

  // Walks one chain. False if the device cannot continue: it then stalls, as strict hosts do.
  bool follow(chain& c) {
    const std::string name = "buffer " + std::to_string(c.head) + ": ";
    if (c.head >= size_) return refuse(name + "head out of range");
    if (in_flight_.count(c.head) != 0)
      return refuse("SHUTDOWN-01: " + name + "made available again while the device has it");
    if (features_.in_order && c.head != next_in_order_)
      report("SPLIT-05: " + name + "IN_ORDER wants descriptor " + std::to_string(next_in_order_) + " next");
    std::set<std::uint16_t> visited;
    std::vector<std::pair<std::uint16_t, descriptor>> copy;
    std::uint16_t index = c.head;
    for (;;) {
      if (!visited.insert(index).second)
        return refuse("SPLIT-04: " + name + "the chain loops at descriptor " + std::to_string(index));
      if (owned_[index])
        report("SHUTDOWN-01: " + name + "descriptor " + std::to_string(index) + " belongs to a buffer the device has");
      const std::uint8_t* const raw = area(descriptors_ + 16u * index, 16, device_memory::access::read);
      if (raw == nullptr) return refuse(name + "descriptor table outside of memory");
      const descriptor d = decode(raw);
      copy.emplace_back(index, d);
      if ((d.flags & ~(flag_next | flag_write | flag_indirect)) != 0)
        report(name + "unknown descriptor flags " + wire::hex(d.flags));
      if ((d.flags & flag_indirect) != 0) {
        if (!features_.indirect) return refuse("SPLIT-06: " + name + "INDIRECT without the feature");
        if ((d.flags & flag_next) != 0) return refuse("SPLIT-09: " + name + "INDIRECT together with NEXT");
        if (!follow_indirect(c, d, name)) return false;
        break;
      }
      if (!add(c, {d.at, d.length, (d.flags & flag_write) != 0}, name, "SPLIT-02")) return false;
      if ((d.flags & flag_next) == 0) break;
      if (d.next >= size_)
        return refuse(name + "next is " + std::to_string(d.next) + " in a table of " + std::to_string(size_));
      if (features_.in_order && d.next != (index + 1) % size_)
        report("SPLIT-05: " + name + "next is not the following descriptor, with IN_ORDER");
      index = d.next;
    }
    c.descriptors = static_cast<std::uint16_t>(copy.size());
    next_in_order_ = static_cast<std::uint16_t>((c.head + c.descriptors) % size_);
    for (const auto& [at, d] : copy) owned_[at] = true;
    copies_[c.head] = std::move(copy);
    if (c.elements.size() > size_)
      report("SPLIT-08: " + name + std::to_string(c.elements.size()) + " descriptors in a queue of " +
             std::to_string(size_));
    if (c.readable() + c.writable() > std::uint64_t{1} << 32)
      return refuse("SPLIT-04: " + name + "longer than 2^32 bytes");
    return not_empty(c, name);
  }

  bool follow_indirect(chain& c, const descriptor& d, const std::string& name) {
    if (d.length == 0 || d.length % 16 != 0)
      return refuse(name + "indirect table of " + std::to_string(d.length) + " bytes");
    const std::uint32_t count = d.length / 16;
    if (count > size_)
      report("SPLIT-08: " + name + "indirect table of " + std::to_string(count) + " in a queue of " +
             std::to_string(size_));
    const std::uint8_t* const table = area(d.at, d.length, device_memory::access::read);
    if (table == nullptr) return refuse(name + "indirect table outside of memory");
    c.table = d.at;
    std::uint32_t index = 0;
    for (std::uint32_t steps = 0; steps < count; ++steps) {
      const descriptor entry = decode(table + 16 * std::size_t{index});
      if ((entry.flags & flag_indirect) != 0) return refuse("SPLIT-07: " + name + "INDIRECT inside an indirect table");
      if ((entry.flags & ~(flag_next | flag_write)) != 0)
        report(name + "unknown descriptor flags " + wire::hex(entry.flags));
      if (!add(c, {entry.at, entry.length, (entry.flags & flag_write) != 0}, name, "SPLIT-02")) return false;
      if ((entry.flags & flag_next) == 0) return true;
      if (entry.next >= count)
        return refuse(name + "next is " + std::to_string(entry.next) + " in an indirect table of " +
                      std::to_string(count));
      if (features_.in_order && entry.next != index + 1)
        report("SPLIT-10: " + name + "indirect entries not consecutive, with IN_ORDER");
      index = entry.next;
    }
    return refuse("SPLIT-04: " + name + "the indirect table loops");
  }

  void check_untouched(const chain& c) {
    for (const auto& [index, before] : copies_[c.head]) {
      owned_[index] = false;
      stores_[index] = {.entry = stores_[index].entry};
      const std::uint8_t* const raw = area(descriptors_ + 16u * index, 16, device_memory::access::read);
      if (raw != nullptr && decode(raw) != before)
        report("SHUTDOWN-01: buffer " + std::to_string(c.head) + ": descriptor " + std::to_string(index) +
               " changed while the device had it");
    }
  }

  std::uint64_t descriptors_ = 0, available_ = 0, used_ = 0;
  std::uint16_t next_available_ = 0, seen_available_ = 0;         // taken, shown by the driver
  std::uint16_t used_index_ = 0, published_ = 0, signalled_ = 0;  // pushed, visible, covered by an interrupt
  std::uint16_t event_ = 0, next_in_order_ = 0;
  std::uint16_t stored_index_ = 0;   // single stores were checked up to here
  std::vector<bool> owned_;          // by descriptor
  std::vector<store_state> stores_;  // by descriptor, and by entry
  std::map<std::uint16_t, std::vector<std::pair<std::uint16_t, descriptor>>> copies_;  // as they were when taken
};

}  // namespace virtio::testing
