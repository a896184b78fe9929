// SPDX-License-Identifier: MIT
// The device side of one packed ring, which checks the driver at each step. Layout and arithmetic are its own: an
// independent oracle for the library's. Every violation names its requirement or fact. It can also write invalid
// values.
// One thread runs it; the driver may run on another: the 32-bit words of id and flags and the event words are atomic
// and order the rest. Race detectors require that the driver stores the same 32 bits.
// Internal positions are counts of descriptors since the start that never wrap; slot and wrap counter follow from them.
// Spec: virtio 1.4, 2.8. Layer: testing.
#pragma once

#include <virtio/testing/ring_device.hpp>

namespace virtio::testing {

class packed_device final : public ring_device {
 public:
  /// One used descriptor, as it is written. `honest` fills it in correctly; a test may change a field before `push`.
  struct used_entry {
    std::uint16_t slot = 0;  // its place in the ring
    std::uint16_t id = 0;
    std::uint32_t length = 0;
    std::uint16_t flags = 0;
    std::uint16_t skip = 1;  // descriptors from here to the next used one
  };
  /// The request in an event suppression structure.
  enum class suppression : std::uint16_t { enable = 0, disable = 1, at = 2 };

  /// QEMU omits WRITE from used descriptors but fills in the length.
  bool marks_written = true;

  void configure(device_memory& memory, std::uint16_t size, std::uint64_t descriptors, std::uint64_t driver,
                 std::uint64_t device, ring_features features) override {
    reset();
    memory_ = &memory;
    size_ = size;
    descriptors_ = descriptors;
    driver_ = driver;
    device_ = device;
    features_ = features;
    slots_.assign(size, {});
    if (size == 0) return broken("PCI-16: a queue of 0 entries");
    if (size > 32768) return broken("a packed queue of " + std::to_string(size) + " entries");
    if (descriptors % 16 != 0)
      return broken("PACKED-01: descriptor ring at " + wire::hex(descriptors) + ", not a multiple of 16");
    for (const std::uint64_t at : {driver, device})
      if (at % 4 != 0) return broken("PACKED-01: event suppression at " + wire::hex(at) + ", not a multiple of 4");
    if (area(descriptors_, 16u * size_, device_memory::access::write) == nullptr)
      return broken("descriptor ring outside of memory");
    if (area(driver_, 4, device_memory::access::read) == nullptr)
      return broken("driver event suppression outside of memory");
    if (area(device_, 4, device_memory::access::write) == nullptr)
      return broken("device event suppression outside of memory");
    configured_ = true;
    for (std::uint64_t at = 0; at < size_; ++at)
      if (const std::uint16_t bits = raw_flags(slot(at)) & used_or_available; bits != 0 && bits != available_bits(at))
        return broken("FACT-20: descriptor " + std::to_string(at) + " starts with flags " + wire::hex(bits) +
                      ", not zeroed");
    shown_event_ = event_at(device_word());
    if (shown_event_ != event{}) report("device event suppression not zeroed");
  }
  void reset() override {
    forget();
    staged_.clear();
    slots_.clear();
    next_available_ = used_ = published_ = signalled_ = asked_at_ = 0;
    kick_suppression_ = {};
    automatic_ = true;
  }
  /// The position has the form of an event suppression structure: slot, and the wrap counter in bit 15. The ring gets
  /// the flags that the previous laps would have left.
  void start_at(std::uint16_t position) override {
    next_available_ = used_ = published_ = signalled_ = asked_at_ = turn(position);
    for (std::uint64_t at = next_available_; at < next_available_ + size_; ++at) {
      slots_[slot(at)].bits = used_bits(at + size_);  // the previous lap has the other wrap counter, as the next lap
      wire::atomic_put32(flags_word(slot(at)), std::uint32_t{slots_[slot(at)].bits} << 16);
    }
  }

  [[nodiscard]] std::uint16_t next_available() const override { return position(next_available_); }
  [[nodiscard]] std::uint16_t shown() override { return position(frontier().first); }
  [[nodiscard]] std::uint16_t advance(std::uint16_t from, std::uint16_t count) const override {
    return position(turn(from) + count);
  }
  /// The place of the next used descriptor.
  [[nodiscard]] std::uint16_t next_used() const { return position(used_); }

  // --- taking buffers ---

  [[nodiscard]] std::optional<chain> pop() override {
    if (!configured_ || broken_) return std::nullopt;
    check_events();
    if (!ready()) {
      arm();
      if (!ready()) return std::nullopt;
    }
    chain c;
    c.memory = memory_;
    if (!follow(c)) return std::nullopt;
    next_available_ += c.descriptors;
    accept(c);
    return c;
  }
  [[nodiscard]] std::uint16_t pending() override {
    if (!configured_ || broken_ || !ready()) return 0;
    const auto [end, lists] = frontier();
    // A descriptor that was seen must not change.
    for (std::uint64_t at = next_available_; at < end; ++at)
      if (slot_state& s = slots_[slot(at)]; !s.held) {
        s.held = true;
        s.seen = read(at);
      }
    return lists;
  }

  // --- returning buffers ---

  /// The used descriptor that a correct device writes next for this buffer.
  [[nodiscard]] used_entry honest(std::uint16_t id, std::uint32_t written) const {
    const auto found = in_flight_.find(id);
    return entry(id, written, found == in_flight_.end() ? std::uint16_t{1} : found->second.descriptors);
  }
  void push(std::uint16_t id, std::uint32_t written) override {
    if (!configured_) return;
    const used_entry e = honest(id, written);
    if (in_flight_.count(id) != 0) check_untouched(e.skip);
    retire(id);
    push(e);
  }
  void push_batch(std::uint16_t id, std::uint32_t written) override {
    if (!configured_) return;
    used_entry e = honest(id, written);
    for (const std::uint16_t one : up_to(id)) {
      e.skip = static_cast<std::uint16_t>(e.skip + in_flight_.at(one).descriptors);
      retire(one);
    }
    if (in_flight_.count(id) != 0) check_untouched(e.skip);
    retire(id);
    push(e);
  }
  /// Writes any used descriptor; a buffer that it names stays with the device.
  void push(const used_entry& e) {
    if (!configured_) return;
    staged_.push_back(e);
    for (const std::uint64_t end = used_ + e.skip; used_ < end; ++used_) {
      slot_state& s = slots_[slot(used_)];
      s.held = s.offered = false;
      s.stored = 0;
    }
  }
  void publish() override {
    if (!configured_) return;
    // The driver checks only the first one, so the first one is written last.
    while (!staged_.empty()) {
      raw_used(staged_.back());
      staged_.pop_back();
    }
    published_ = used_;
  }
  /// Writes all but the first of the pushed descriptors, as reordered writes may become visible: the driver sees
  /// nothing yet.
  void publish_rest() {
    for (; staged_.size() > 1; staged_.pop_back()) raw_used(staged_.back());
  }
  [[nodiscard]] bool should_interrupt() override {
    if (!configured_) return false;
    const std::uint64_t before = signalled_;
    signalled_ = published_;
    if (before == published_) return false;
    const event asked = event_at(driver_word());
    if ((asked.flags & 3u) == 2 && features_.event_idx) return crossed(asked.position, before, published_);
    return (asked.flags & 3u) != 1;
  }

  // --- kicks ---

  void set_no_notify(bool on) override {
    automatic_ = !on;
    if (on) ask(suppression::disable);
    else ask(features_.event_idx ? suppression::at : suppression::enable, next_available());
    no_notify_ = on;
  }
  /// Requests this kind of notification until the next set_no_notify. `position` is for `suppression::at`, which needs
  /// EVENT_IDX.
  void ask_for(suppression what, std::uint16_t position = 0) {
    automatic_ = false;
    ask(what, position);
    no_notify_ = what == suppression::disable;
  }
  [[nodiscard]] bool expects_kick(std::uint16_t before, std::uint16_t after) const override {
    const std::uint64_t from = turn(before);
    return wants(from, from + (turn(after) + 2u * size_ - from) % (2u * size_));
  }
  bool check_kick() override {
    if (!configured_ || rung_ || pending() == 0 || !wants(asked_at_, frontier().first)) return true;
    report("lost_kick: PACKED-15: " + std::to_string(pending()) +
           " buffers available and no notification since the device asked for one");
    return false;
  }

  // --- single stores ---

  void stored(const volatile void* at, std::size_t width) override {
    if (!configured_ || broken_) return;
    if (offset_in(device_, 4, at)) return report("device event suppression: stored to by the driver");
    if (const auto offset = offset_in(driver_, 4, at)) {
      if (*offset != 0 || width != 4) report("driver event suppression: not one store");
      return check_events();
    }
    const auto offset = offset_in(descriptors_, 16u * size_, at);
    if (!offset) return;
    const std::uint16_t place = static_cast<std::uint16_t>(*offset / 16);
    const std::string name = "descriptor " + std::to_string(place) + ": ";
    slot_state& s = slots_[place];
    // The next position at this place.
    const std::uint64_t count = used_ + (place + std::uint64_t{size_} - slot(used_)) % size_;
    const std::uint16_t bytes = covers(*offset, width);
    if (count < next_available_) report("PACKED-02: " + name + "stored to while the device has it");
    else if (s.offered) report("PACKED-03: " + name + "stored to after it was made available");
    else if ((s.stored & bytes) != 0) report(name + "stored to twice");
    s.stored |= bytes;
    if ((bytes & 0xc000) == 0) return;
    if (*offset % 16 != 12 || width != 4) report(name + "id and flags are not one store");
    if (!is_available(raw_flags(place), count)) return report("FACT-21: " + name + "flags of another lap");
    if (s.stored != 0xffff) report("PACKED-03: " + name + "made available before address and length were there");
    s.offered = true;
    // Everything that the device can reach from here is complete.
    const std::uint64_t end = used_ + size_;
    for (std::uint64_t now = next_available_; now < end && is_available(raw_flags(slot(now)), now); ++now)
      for (; (raw_flags(slot(now)) & flag_next) != 0; ++now) {
        if (now + 1 == end) return report("PACKED-08: " + name + "shown, and its list does not fit");
        if (!is_available(raw_flags(slot(now + 1)), now + 1))
          return report("PACKED-09: " + name + "shown while the next one of its list is not available");
      }
  }

  // --- invalid values, written directly to memory without the checks of the correct part ---

  /// Writes a used descriptor, its flags last.
  void raw_used(const used_entry& e) {
    wire::put32(ring_word(16u * (e.slot % size_) + 8, 4, device_memory::access::write), e.length);
    raw_word(e.slot, e.id, e.flags);
  }
  void raw_flags(std::uint16_t slot, std::uint16_t flags) {
    raw_word(slot, static_cast<std::uint16_t>(wire::atomic_get32(flags_word(slot))), flags);
  }
  [[nodiscard]] std::uint16_t raw_flags(std::uint16_t slot) {
    return static_cast<std::uint16_t>(wire::atomic_get32(flags_word(slot)) >> 16);
  }
  /// The flags of a used descriptor at this position.
  [[nodiscard]] std::uint16_t used_flags(std::uint16_t position) const { return used_bits(turn(position)); }
  /// The device's own event suppression structure, including reserved values.
  void raw_device_event(std::uint16_t offset_and_wrap, std::uint16_t flags) {
    shown_event_ = {offset_and_wrap, flags};
    wire::atomic_put32(device_word(), std::uint32_t{flags} << 16 | offset_and_wrap);
  }
  /// Both structures as they are in memory: offset and wrap counter in the lower half, flags in the upper half.
  [[nodiscard]] std::uint32_t raw_device_event() { return wire::atomic_get32(device_word()); }
  [[nodiscard]] std::uint32_t raw_driver_event() { return wire::atomic_get32(driver_word()); }
  /// Every byte of the three areas, writable.
  [[nodiscard]] std::span<std::uint8_t> descriptor_area() { return bytes(descriptors_, 16u * size_); }
  [[nodiscard]] std::span<std::uint8_t> driver_area() { return bytes(driver_, 4); }
  [[nodiscard]] std::span<std::uint8_t> device_area() { return bytes(device_, 4); }

 private:
  static constexpr std::uint16_t flag_next = 1, flag_write = 2, flag_indirect = 4, flag_available = 0x80,
                                 flag_used = 0x8000, used_or_available = flag_used | flag_available;

  struct descriptor {
    std::uint64_t at = 0;
    std::uint32_t length = 0;
    std::uint16_t id = 0, flags = 0;
    bool operator==(const descriptor&) const = default;
  };
  struct slot_state {
    bool held = false;         // seen available, not returned
    std::uint16_t bits = 0;    // AVAIL and USED as last left
    descriptor seen;           // while held
    bool offered = false;      // AVAIL was flipped by a store that was checked
    std::uint16_t stored = 0;  // its bytes that were stored since it was returned
  };
  struct event {
    std::uint16_t position = 0, flags = 0;
    bool operator==(const event&) const = default;
  };

  // --- counts, slots, wrap counters ---

  [[nodiscard]] std::uint16_t slot(std::uint64_t count) const { return static_cast<std::uint16_t>(count % size_); }
  [[nodiscard]] bool wrap(std::uint64_t count) const { return count / size_ % 2 == 0; }
  [[nodiscard]] std::uint16_t position(std::uint64_t count) const {
    return static_cast<std::uint16_t>(slot(count) | (wrap(count) ? 0x8000u : 0u));
  }
  // The count of a position in the first two laps; positions repeat afterwards.
  [[nodiscard]] std::uint64_t turn(std::uint16_t position) const {
    return (position & 0x7fffu) + ((position & 0x8000u) != 0 ? 0u : size_);
  }
  [[nodiscard]] std::uint16_t available_bits(std::uint64_t count) const {
    return wrap(count) ? flag_available : flag_used;
  }
  [[nodiscard]] std::uint16_t used_bits(std::uint64_t count) const {
    return wrap(count) ? used_or_available : std::uint16_t{0};
  }

  // Whether the descriptor at this position is among those from `before` up to, but without, `after`.
  [[nodiscard]] bool crossed(std::uint16_t event_position, std::uint64_t before, std::uint64_t after) const {
    const std::uint64_t twice = 2u * size_;
    if ((event_position & 0x7fffu) >= size_) return false;
    return (turn(event_position) + twice - before % twice) % twice < after - before;
  }

  // --- memory ---

  std::uint8_t* ring_word(std::uint32_t offset, std::uint32_t length, device_memory::access how) {
    return word(descriptors_ + offset, length, how);
  }
  // Id in the lower half, flags in the upper one.
  std::uint8_t* flags_word(std::uint16_t slot) {
    return ring_word(16u * (slot % size_) + 12, 4, device_memory::access::write);
  }
  std::uint8_t* driver_word() { return word(driver_, 4, device_memory::access::read); }
  std::uint8_t* device_word() { return word(device_, 4, device_memory::access::write); }
  [[nodiscard]] static event event_at(const std::uint8_t* from) {
    const std::uint32_t both = wire::atomic_get32(from);
    return {static_cast<std::uint16_t>(both), static_cast<std::uint16_t>(both >> 16)};
  }
  void raw_word(std::uint16_t slot, std::uint16_t id, std::uint16_t flags) {
    if (slots_.empty()) return;
    slots_[slot % size_].held = false;  // not caused by the driver
    slots_[slot % size_].bits = flags & used_or_available;
    wire::atomic_put32(flags_word(slot), std::uint32_t{flags} << 16 | id);
  }

  // The flags first: they show that the rest is present.
  [[nodiscard]] descriptor read(std::uint64_t count) {
    const std::uint32_t both = wire::atomic_get32(flags_word(slot(count)));
    const std::uint8_t* const from = ring_word(16u * slot(count), 12, device_memory::access::read);
    return {wire::get64(from), wire::get32(from + 8), static_cast<std::uint16_t>(both),
            static_cast<std::uint16_t>(both >> 16)};
  }
  [[nodiscard]] bool is_available(std::uint16_t flags, std::uint64_t count) const {
    return (flags & used_or_available) == available_bits(count);
  }
  [[nodiscard]] std::uint64_t owned() const { return next_available_ > used_ ? next_available_ - used_ : 0; }

  // Whether a list starts at the next position. The flags there may change in only one other way: they may look as if
  // the descriptor had been used on the previous lap, so that a driver may abandon it.
  [[nodiscard]] bool ready() {
    if (broken_) return false;
    const std::uint16_t flags = raw_flags(slot(next_available_));
    if (is_available(flags, next_available_)) return true;
    const slot_state& s = slots_[slot(next_available_)];
    const std::string name = "descriptor " + std::to_string(slot(next_available_)) + " has flags " + wire::hex(flags);
    if (owned() < size_ && s.held) broken("PACKED-03: " + name + ", and was available before");
    else if (const auto bits = flags & used_or_available; bits == s.bits || bits == used_bits(next_available_ + size_))
      return false;
    else if (owned() >= size_) broken("PACKED-02: " + name + " while the device has it");
    else broken("FACT-21: " + name + ", with the wrong wrap counter");
    return false;
  }
  // The end of the visible lists, and their number.
  [[nodiscard]] std::pair<std::uint64_t, std::uint16_t> frontier() {
    std::uint64_t at = next_available_;
    std::uint16_t lists = 0;
    const std::uint64_t end = next_available_ + size_ - std::min<std::uint64_t>(owned(), size_);
    while (at < end && is_available(raw_flags(slot(at)), at)) {
      while ((raw_flags(slot(at)) & flag_next) != 0 && at + 1 < end) ++at;
      ++at;
      ++lists;
    }
    return {at, lists};
  }

  // --- following a list ---

  // False if the device cannot continue: it then stalls, as strict hosts do.
  bool follow(chain& c) {
    const std::string name = "list at " + std::to_string(slot(next_available_)) + ": ";
    std::vector<descriptor> copy;
    for (std::uint64_t at = next_available_;; ++at) {
      const std::string here = name + "descriptor " + std::to_string(slot(at));
      if (copy.size() == size_)
        return refuse("PACKED-05: " + name + "longer than the queue of " + std::to_string(size_));
      if (owned() + copy.size() >= size_)
        return refuse("PACKED-08: " + here + " is one that the device has not given back");
      const descriptor d = read(at);
      if (!is_available(d.flags, at))
        return refuse("PACKED-09: " + here + " has flags " + wire::hex(d.flags) + " while the first one is available");
      if (slots_[slot(at)].held && slots_[slot(at)].seen != d)
        report("PACKED-03: " + here + " changed after it was available");
      if (const auto known = used_or_available | flag_next | flag_write | flag_indirect; (d.flags & ~known) != 0)
        report(here + " has unknown flags " + wire::hex(d.flags));
      copy.push_back(d);
      if ((d.flags & flag_indirect) != 0) {
        if (!features_.indirect) return refuse("PACKED-10: " + here + ": INDIRECT without the feature");
        if (copy.size() > 1 || (d.flags & flag_next) != 0) return refuse("PACKED-13: " + here + ": INDIRECT in a list");
        if ((d.flags & flag_write) != 0) report("FACT-25: " + here + ": WRITE together with INDIRECT");
        if (!follow_indirect(c, d, name)) return false;
        break;
      }
      if (!add(c, {d.at, d.length, (d.flags & flag_write) != 0}, name, "PACKED-06")) return false;
      if ((d.flags & flag_next) == 0) break;
    }
    c.head = copy.back().id;  // FACT-22: the other ids have no meaning
    c.descriptors = static_cast<std::uint16_t>(copy.size());
    if (in_flight_.count(c.head) != 0)
      return refuse("FACT-23: " + name + "buffer id " + std::to_string(c.head) + " is one that the device has already");
    if (!not_empty(c, name)) return false;
    for (std::size_t i = 0; i < copy.size(); ++i)
      slots_[slot(next_available_ + i)] = {true, static_cast<std::uint16_t>(copy[i].flags & used_or_available), copy[i],
                                           false, 0};
    return true;
  }

  bool follow_indirect(chain& c, const descriptor& d, const std::string& name) {
    if (d.length == 0 || d.length % 16 != 0)
      return refuse(name + "indirect table of " + std::to_string(d.length) + " bytes");
    const std::uint32_t count = d.length / 16;
    if (count > size_)
      report("PACKED-05: " + name + "indirect table of " + std::to_string(count) + " in a queue of " +
             std::to_string(size_));
    const std::uint8_t* const table = area(d.at, d.length, device_memory::access::read);
    if (table == nullptr) return refuse(name + "indirect table outside of memory");
    c.table = d.at;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint8_t* const from = table + 16 * i;
      const std::uint16_t flags = wire::get16(from + 14);
      if ((flags & ~flag_write) != 0)
        report("PACKED-11: " + name + "flags " + wire::hex(flags) + " in an indirect table");
      if (!add(c, {wire::get64(from), wire::get32(from + 8), (flags & flag_write) != 0}, name, "PACKED-06"))
        return false;
    }
    return true;
  }

  // --- returning ---

  [[nodiscard]] used_entry entry(std::uint16_t id, std::uint32_t written, std::uint16_t descriptors) const {
    const unsigned write = written != 0 && marks_written ? flag_write : 0u;
    return {slot(used_), id, written, static_cast<std::uint16_t>(used_bits(used_) | write), descriptors};
  }
  // Returns this many descriptors to the driver, from the next used position on, whichever buffers they belong to.
  // Until now they must be unchanged since they were taken.
  void check_untouched(std::uint16_t count) {
    for (std::uint64_t at = used_; at < used_ + count; ++at) {
      const slot_state& s = slots_[slot(at)];
      if (s.held && read(at) != s.seen)
        report("PACKED-02: descriptor " + std::to_string(slot(at)) + " changed while the device had it");
    }
  }

  // --- events ---

  void check_events() {
    const auto [position, flags] = event_at(driver_word());
    const std::string name = "driver event suppression: ";
    if ((flags & ~3u) != 0 || flags == 3) report(name + "reserved flags " + wire::hex(flags));
    if (flags == 2 && !features_.event_idx) report(name + "flags 2 without EVENT_IDX");
    if (flags == 2 && (position & 0x7fffu) >= size_)
      report(name + "offset " + std::to_string(position & 0x7fffu) + " in a queue of " + std::to_string(size_));
    const event now = event_at(device_word());
    if (now == shown_event_) return;
    report("device event suppression: written by the driver");
    shown_event_ = now;
  }
  void ask(suppression what, std::uint16_t position = 0) {
    kick_suppression_ = {position, static_cast<std::uint16_t>(what)};
    if (!configured_) return;
    raw_device_event(position, kick_suppression_.flags);
    rung_ = false;
    asked_at_ = frontier().first;
  }
  void arm() {
    if (automatic_) set_no_notify(false);
  }
  [[nodiscard]] bool wants(std::uint64_t before, std::uint64_t after) const {
    if (before >= after || kick_suppression_.flags == static_cast<std::uint16_t>(suppression::disable)) return false;
    return kick_suppression_.flags == static_cast<std::uint16_t>(suppression::enable) ||
           crossed(kick_suppression_.position, before, after);
  }

  std::uint64_t descriptors_ = 0, driver_ = 0, device_ = 0;
  std::uint64_t next_available_ = 0;                        // taken
  std::uint64_t used_ = 0, published_ = 0, signalled_ = 0;  // pushed, visible, covered by an interrupt
  event kick_suppression_, shown_event_;                    // what the device requests; what is in memory
  std::uint64_t asked_at_ = 0;                              // the driver's position at the time of the request
  bool automatic_ = true;                                   // arm() each time the ring is found empty
  std::vector<slot_state> slots_;
  std::vector<used_entry> staged_;
};

}  // namespace virtio::testing
