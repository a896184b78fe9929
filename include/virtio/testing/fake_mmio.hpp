// SPDX-License-Identifier: MIT
// Device models behind MMIO registers, version 2 or the legacy version 1: slots with a device, without one, or with
// registers that are not virtio's. Every access is logged as text ("w4@0x70=0x1", "r4@config+0x0"). An access that the
// specification forbids is recorded as a violation, reads 0 and writes nothing.
// Spec: virtio 1.4, 4.2. Layer: testing (plugs into transport; shares nothing with it).
#pragma once

#include <deque>
#include <string_view>

#include <virtio/base/report.hpp>
#include <virtio/platform/registers.hpp>
#include <virtio/testing/host_behaviour.hpp>

namespace virtio::testing {

/// One slot. A test may change its registers at any time, also to invalid values.
class fake_mmio_slot {
 public:
  explicit fake_mmio_slot(device_model* device = nullptr, u32 of_version = 2)
      : version{of_version}, device_id{device == nullptr ? u32{0} : u32{device->type()}}, device_{device} {}

  u32 magic = 0x74726976;
  u32 version;
  u32 device_id;
  u32 vendor_id = 0x554d4551;
  usize length = 0x200;
  bool present = true;                // false: everything reads as ones, as of removed hardware
  u32 further_interrupt_bits = 0;     // undefined bits of InterruptStatus that read as 1
  u32 further_status_bits = 0;        // the same for Status
  std::optional<u32> queue_size_max;  // replaces the queue's real maximum
  std::optional<u32> queue_in_use;    // the value of QueueReady or QueuePFN before the queue is set up
  bool logging = true;

  [[nodiscard]] device_model* device() const { return device_; }
  [[nodiscard]] const std::string& log() const { return log_; }
  void clear_log() { log_.clear(); }
  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  void clear_violations() { violations_.clear(); }
  void report(std::string what) { violations_.push_back(std::move(what)); }

  /// One access; a write if `value` points to the value.
  u32 access(usize offset, u32 width, const u32* value) {
    write_log(offset, width, value);
    if (!present) return 0xffffffffu;
    if (offset >= 0x100) return config_access(static_cast<u32>(offset - 0x100), width, value);
    if (width != 4 || offset % 4 != 0)
      return refused("MMIO-04: access of " + std::to_string(width) + " bytes to the register " + wire::hex(offset));
    if (offset <= 0x0c && value == nullptr) return identity(offset);
    if (magic != 0x74726976)
      return refused("MMIO-06: register " + wire::hex(offset) + " of something that is not virtio");
    if (version != 1 && version != 2)
      return refused("MMIO-08: register " + wire::hex(offset) + " of an unknown version");
    if (device_id == 0 || device_ == nullptr)
      return refused("MMIO-27: register " + wire::hex(offset) + " of an empty slot");
    if (offset >= 0xac && offset <= 0xbc) return refused("MMIO-28: shared memory register " + wire::hex(offset));
    if (value == nullptr) return read(offset);
    write(offset, *value);
    return 0;
  }

 private:
  // The legacy and modern rows of the register table; offsets in neither are unassigned.
  [[nodiscard]] bool legacy() const { return version == 1; }
  [[nodiscard]] device_model::interface via() const {
    return legacy() ? device_model::interface::legacy : device_model::interface::modern;
  }
  u32 refused(std::string what) {
    report(std::move(what));
    return 0;
  }

  u32 identity(usize offset) {
    if (offset == 0x00) return magic;
    if (magic != 0x74726976)
      return refused("MMIO-06: register " + wire::hex(offset) + " of something that is not virtio");
    checked_ |= offset == 0x04;
    if (offset == 0x04) return version;
    if (!checked_) report("MMIO-24: DeviceID read before Version");
    if (offset == 0x08) return device_id;
    return device_id != 0 ? vendor_id : refused("MMIO-27: VendorID of an empty slot");
  }

  u32 read(usize offset) {
    device_model::queue_state* const q =
        queue_select_ < 0x10000 ? device_->find_queue(static_cast<u16>(queue_select_)) : nullptr;
    switch (offset) {
      case 0x10:
        ++device_->counts.common;
        if (!offer_selected_) report("MMIO-12: DeviceFeatures read before DeviceFeaturesSel was written");
        return device_->read_offer(offer_select_, via());
      case 0x34: ++device_->counts.common; return queue_size_max.value_or(q == nullptr ? 0u : q->maximum);
      case 0x60:
        ++device_->counts.isr;
        pending_ |= device_->read_isr();
        return pending_ | further_interrupt_bits;
      case 0x70: ++device_->counts.common; return device_->read_status() | further_status_bits;
      default: break;
    }
    ++device_->counts.common;
    if (legacy() && offset == 0x40) return queue_in_use.value_or(q == nullptr ? 0u : q->page);
    if (!legacy() && offset == 0x44) {
      ready_seen_ = true;
      return queue_in_use.value_or(q != nullptr && q->enabled ? 1u : 0u);
    }
    if (!legacy() && offset == 0xc0) return device_->read_queue_reset(static_cast<u16>(queue_select_));
    if (!legacy() && offset == 0xfc) return device_->read_generation();
    return refused((is_known(offset) ? "MMIO-03: read of the write-only register " : "MMIO-01: read of no register, ") +
                   wire::hex(offset));
  }

  void write(usize offset, u32 value) {
    ++(offset == 0x50 ? device_->counts.notify : offset == 0x64 ? device_->counts.isr : device_->counts.common);
    switch (offset) {
      case 0x14:
        offer_select_ = value;
        offer_selected_ = true;
        return;
      case 0x20:
        if (!choice_selected_) report("MMIO-13: DriverFeatures written before DriverFeaturesSel");
        return device_->write_accepted(choice_select_, value, via());
      case 0x24:
        choice_select_ = value;
        choice_selected_ = true;
        return;
      case 0x30:
        queue_select_ = value;
        ready_seen_ = false;
        return;
      case 0x38: return write_queue_size(value);
      case 0x50:
        if (device_->accepted(38))
          return device_->notify_with_data(static_cast<u16>(value), static_cast<u16>(value >> 16 & 0x7fff),
                                           value >> 31 != 0);
        if (value > 0xffff) return report("NOTIFY-03: notification for queue " + wire::hex(value));
        return device_->notify(static_cast<u16>(value));
      case 0x64:
        if ((value & ~u32{3}) != 0) report("MMIO-20: undefined bits acknowledged, " + wire::hex(value));
        if ((value & 3 & ~pending_) != 0) report("MMIO-19: an interrupt acknowledged that nobody was told of");
        pending_ &= ~value;
        return;
      case 0x70: return write_status(value);
      default: break;
    }
    const u16 queue = static_cast<u16>(queue_select_);
    if (legacy()) switch (offset) {
        case 0x28:
          if (value != 4096) report("legacy MMIO: a page size of " + std::to_string(value) + " is not modelled");
          page_size_ = value;
          return;
        case 0x3c:
          if (value != 4096) report("legacy MMIO: an alignment of " + std::to_string(value) + " is not modelled");
          align_ = value;
          return;
        case 0x40:
          if (page_size_ == 0) report("FACT-44: QueuePFN written before GuestPageSize");
          if (align_ == 0) report("FACT-44: QueuePFN written before QueueAlign");
          if (!size_written_) report("FACT-44: QueuePFN written before QueueNum");
          return device_->write_queue_page(queue, value);
        default: break;
      }
    else switch (offset) {
        case 0x44:
          if (value == 0) return report("MMIO-16: a queue stopped by QueueReady is not modelled");
          return device_->write_queue_enable(queue, static_cast<u16>(value));
        case 0x80:
        case 0x84:
        case 0x90:
        case 0x94:
        case 0xa0:
        case 0xa4:
          if (in_use("an address")) return;
          return device_->write_queue_area(queue, static_cast<unsigned>(offset - 0x80) / 16, offset / 4 % 2, value);
        case 0xc0: return device_->write_queue_reset(queue, static_cast<u16>(value));
        default: break;
      }
    report((is_known(offset) ? "MMIO-02: write to the read-only register " : "MMIO-01: write to no register, ") +
           wire::hex(offset));
  }

  void write_queue_size(u32 value) {
    device_model::queue_state* const q = device_->find_queue(static_cast<u16>(queue_select_));
    if (q == nullptr || q->maximum == 0) return report("MMIO-14: size written for a queue that does not exist");
    if (value > q->maximum)
      return report("MMIO-14: queue size " + std::to_string(value) + " above the maximum " +
                    std::to_string(q->maximum));
    if (in_use("the size")) return;
    size_written_ = true;
    if (!legacy()) return device_->write_queue_size(static_cast<u16>(queue_select_), static_cast<u16>(value));
    if (value == 0 || (value & (value - 1)) != 0) report("SPLIT-01: a queue of " + std::to_string(value));
    q->size = static_cast<u16>(value);
  }

  // MMIO-15: these registers must not be written while the queue is ready, and a driver must read QueueReady to find
  // out.
  bool in_use(const char* what) {
    const device_model::queue_state* const q = device_->find_queue(static_cast<u16>(queue_select_));
    if (!legacy() && !ready_seen_) report(std::string{"MMIO-15: "} + what + " written without asking QueueReady first");
    if (q == nullptr || !q->enabled) return false;
    report(std::string{"MMIO-15: "} + what + " written while the queue is ready");
    return true;
  }

  void write_status(u32 value) {
    if (value > 0xff) report("STATUS: bits " + wire::hex(value) + " written to Status");
    device_->write_status(static_cast<u8>(value), via());
    if (value != 0) return;
    offer_select_ = choice_select_ = queue_select_ = pending_ = page_size_ = align_ = 0;
    offer_selected_ = choice_selected_ = ready_seen_ = size_written_ = false;
  }

  u32 config_access(u32 offset, u32 width, const u32* value) {
    if (device_ == nullptr || device_id == 0) return refused("MMIO-27: configuration of an empty slot");
    ++device_->counts.device;
    if (offset % width != 0) report("MMIO-05: misaligned configuration access at " + wire::hex(offset));
    if (value == nullptr) return device_->read_config(offset, width, via());
    device_->write_config(offset, width, *value, via());
    return 0;
  }

  [[nodiscard]] bool is_known(usize offset) const {
    static constexpr usize both[] = {0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x20, 0x24,
                                     0x30, 0x34, 0x38, 0x50, 0x60, 0x64, 0x70};
    static constexpr usize modern[] = {0x44, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xc0, 0xfc};
    static constexpr usize old[] = {0x28, 0x3c, 0x40};
    for (const usize one : both)
      if (one == offset) return true;
    if (legacy()) return offset == old[0] || offset == old[1] || offset == old[2];
    for (const usize one : modern)
      if (one == offset) return true;
    return false;
  }

  void write_log(usize offset, u32 width, const u32* value) {
    if (!logging) return;
    if (!log_.empty()) log_ += ' ';
    log_ += value != nullptr ? 'w' : 'r';
    log_ += std::to_string(width) + (offset < 0x100 ? "@" + wire::hex(offset) : "@config+" + wire::hex(offset - 0x100));
    if (value != nullptr) log_ += "=" + wire::hex(*value);
  }

  device_model* device_;
  u32 offer_select_ = 0, choice_select_ = 0, queue_select_ = 0, pending_ = 0, page_size_ = 0, align_ = 0;
  bool checked_ = false, offer_selected_ = false, choice_selected_ = false, ready_seen_ = false, size_written_ = false;
  std::string log_;
  std::vector<std::string> violations_;
};

/// The registers of one slot, or a part of them: a register space.
struct fake_slot_space {
  fake_mmio_slot* owner = nullptr;
  usize start = 0;
  usize length = 0;

  template <class T>
  [[nodiscard]] T read(usize offset) const {
    return static_cast<T>(check(offset, sizeof(T)) ? owner->access(start + offset, sizeof(T), nullptr)
                                                   : u32{0xffffffff});
  }
  template <class T>
  void write(usize offset, T value) const {
    const u32 wide = value;
    if (check(offset, sizeof(T))) (void)owner->access(start + offset, sizeof(T), &wide);
  }
  [[nodiscard]] usize size() const { return length; }
  [[nodiscard]] fake_slot_space part(usize offset, usize n) const {
    if (owner != nullptr && (offset > length || n > length - offset))
      owner->report("register space: part " + wire::hex(offset) + "+" + wire::hex(n) + " of " + wire::hex(length));
    return {owner, start + offset, n};
  }

 private:
  [[nodiscard]] bool check(usize offset, usize width) const {
    if (owner == nullptr) return false;
    if (offset <= length && width <= length - offset) return true;
    owner->report("register space: access of " + std::to_string(width) + " at " + wire::hex(offset) + " of " +
                  wire::hex(length));
    return false;
  }
};

/// A row of slots.
class fake_mmio {
 public:
  /// The bus as a driver receives it: a pointer to the row.
  struct bus_type {
    using slot_space = fake_slot_space;

    fake_mmio* row = nullptr;

    [[nodiscard]] fake_slot_space slot(usize n) const { return {&row->at(n), 0, row->at(n).length}; }
    [[nodiscard]] usize slot_count() const { return row->slots_.size(); }
    void trace(event happened) const { row->events.push_back(happened); }
  };

  std::vector<event> events;

  [[nodiscard]] bus_type bus() { return {this}; }

  /// Adds a slot; slots are numbered in the order of addition, and references to them stay valid.
  fake_mmio_slot& add(device_model& device, u32 version = 2) {
    if (version == 1) device.offer({24, 27});  // as QEMU's
    return slots_.emplace_back(&device, version);
  }
  /// A slot as a host shows it, with the ring features that the host offers.
  fake_mmio_slot& place(device_model& device, const host_behaviour& host) {
    fake_mmio_slot& slot = add(device, host.mmio.version);
    slot.vendor_id = host.mmio.vendor_id;
    slot.length = host.mmio.slot_bytes;
    host.device.apply_to(device);
    return slot;
  }
  fake_mmio_slot& add_empty(u32 version = 2) { return slots_.emplace_back(nullptr, version); }
  [[nodiscard]] fake_mmio_slot& at(usize n) { return slots_.at(n); }

  /// Violations of the slots, and of all device models in them.
  [[nodiscard]] std::vector<std::string> violations() const {
    std::vector<std::string> all;
    for (const fake_mmio_slot& one : slots_) {
      all.insert(all.end(), one.violations().begin(), one.violations().end());
      if (one.device() == nullptr) continue;
      const auto more = one.device()->violations();
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }

 private:
  std::deque<fake_mmio_slot> slots_;
};

}  // namespace virtio::testing
