// SPDX-License-Identifier: MIT
// A device model's registers as PCI shows them: the common configuration structure of modern devices and the register
// block of legacy ones. An access of the wrong width is recorded, reads 0 and writes nothing, as on strict hosts.
// Spec: virtio 1.4, 4.1.4.3 and 4.1.4.10. Layer: testing.
#pragma once

#include <algorithm>
#include <optional>

#include <virtio/testing/device_model.hpp>

namespace virtio::testing {

/// How hosts differ in the common configuration structure, where the specification leaves it open or forbids it.
struct register_behaviour {
  // halves_mixed_up: Alioth, where the lower half of two areas reads as the upper
  enum class areas : std::uint8_t { as_written, zero, halves_mixed_up };
  bool features_read = true;                 // driver_feature reads back the written value; false: 0
  areas addresses_read = areas::as_written;  // queue addresses
  bool two_feature_words = false;            // words above the second access the second (Alioth)
  std::uint32_t wrong_width_reads = 0;  // the value of a read of the wrong width; a write of the wrong width is dropped
};

/// Which reads of its configuration a device answers, if not all that the specification defines.
struct config_answers {
  enum class otherwise : std::uint8_t {
    zero,
    ones,
    stale,  // the guest's register is not changed and keeps the value of the previous access
  };
  /// Aligned reads in `length` bytes from `at` on, of the widths whose sum is `widths`.
  struct place {
    std::uint32_t at, length, widths;
  };
  std::vector<place> places{};
  bool one_byte = false;  // at any offset in a place, whatever the width
  otherwise rest = otherwise::zero;

  [[nodiscard]] bool fits(std::uint32_t offset, std::uint32_t width) const {
    return std::any_of(places.begin(), places.end(), [&](const place& p) {
      const bool inside = offset >= p.at && offset - p.at < p.length && (p.widths & width) != 0;
      return inside && (one_byte || ((offset - p.at) % width == 0 && width <= p.length - (offset - p.at)));
    });
  }
};

class fake_registers {
 public:
  explicit fake_registers(device_model& device) : device_{&device} {}

  register_behaviour behaviour;
  std::optional<config_answers> answers;  // none: as the specification defines
  std::uint32_t left = 0;                 // what the last access left in the guest's register

  [[nodiscard]] std::uint32_t read_device(std::uint32_t offset, std::uint32_t width, device_model::interface how) {
    ++device_->counts.device;
    if (!answers) return device_->read_config(offset, width, how);
    const bool fits = answers->fits(offset, width);
    if (device_->exact_config_width && (!fits || (answers->one_byte && width != 1)))
      device_->report("PCI-05: configuration access of " + std::to_string(width) + " at " + wire::hex(offset) +
                      ", which this host does not answer");
    if (fits) return device_->read_config(offset, answers->one_byte ? 1 : width, how);
    return answers->rest == config_answers::otherwise::stale  ? left
           : answers->rest == config_answers::otherwise::ones ? ~0u
                                                              : 0;
  }
  void write_device(std::uint32_t offset, std::uint32_t width, std::uint32_t value, device_model::interface how) {
    ++device_->counts.device;
    device_->write_config(offset, width, value, how);
  }

  [[nodiscard]] std::uint32_t read_common(std::uint32_t offset, std::uint32_t width) {
    ++device_->counts.common;
    if (!right_width("common", offset, width)) return behaviour.wrong_width_reads;
    device_model::queue_state* const q = device_->find_queue(queue_select_);
    switch (offset) {
      case 0x00: return device_select_;
      case 0x04: return device_->read_offer(feature_word(device_select_), via::modern);
      case 0x08: return driver_select_;
      case 0x0c: {
        const std::uint32_t word = feature_word(driver_select_);
        return !behaviour.features_read || word > 3 ? 0 : device_->accepted_features().word[word];
      }
      case 0x10: return device_->read_vector(device_model::no_vector);
      case 0x12: return static_cast<std::uint32_t>(device_->queue_count());
      case 0x14: return device_->read_status();
      case 0x15: return device_->read_generation();
      case 0x16: return queue_select_;
      case 0x18: return q == nullptr ? 0 : q->size;
      case 0x1a: return q == nullptr ? 0xffff : q->vector;
      case 0x1c: return q != nullptr && q->enabled ? 1 : 0;
      case 0x1e: return q == nullptr ? 0 : q->notify_off;
      case 0x38:
        if (!device_->accepted(39))
          device_->report("NOTIFY-05: queue_notif_config_data read without NOTIF_CONFIG_DATA");
        return device_->offers(39) ? notify_data(queue_select_) : 0u;
      case 0x3a: return device_->read_queue_reset(queue_select_);
      default: break;
    }
    if (offset < 0x20 || offset >= 0x38 || q == nullptr || behaviour.addresses_read == register_behaviour::areas::zero)
      return 0;
    const std::uint64_t area = offset < 0x28 ? q->descriptors : offset < 0x30 ? q->driver : q->device;
    const bool upper =
        offset % 8 != 0 || (offset >= 0x28 && behaviour.addresses_read == register_behaviour::areas::halves_mixed_up);
    return static_cast<std::uint32_t>(upper ? area >> 32 : area);
  }

  void write_common(std::uint32_t offset, std::uint32_t width, std::uint32_t value) {
    ++device_->counts.common;
    if (!right_width("common", offset, width)) return;
    const auto half_word = static_cast<std::uint16_t>(value);
    switch (offset) {
      case 0x00: device_select_ = value; return;
      case 0x08: driver_select_ = value; return;
      case 0x0c: return device_->write_accepted(feature_word(driver_select_), value, via::modern);
      case 0x10: return device_->write_vector(device_model::no_vector, half_word);
      case 0x14: return write_status(static_cast<std::uint8_t>(value), via::modern);
      case 0x16: queue_select_ = half_word; return;
      case 0x18: return device_->write_queue_size(queue_select_, half_word);
      case 0x1a: return device_->write_vector(queue_select_, half_word);
      case 0x1c: return device_->write_queue_enable(queue_select_, half_word);
      case 0x3a: return device_->write_queue_reset(queue_select_, half_word);
      default: break;
    }
    if (offset >= 0x20 && offset < 0x38)
      return device_->write_queue_area(queue_select_, (offset - 0x20) / 8, offset / 4 % 2, value);
    device_->report("PCI-15: write to the read-only register " + wire::hex(offset));
  }

  /// Handles a write to the notification structure at `offset`, with `multiplier` bytes between queues.
  void write_notify(std::uint32_t offset, std::uint32_t width, std::uint32_t value, std::uint32_t multiplier) {
    ++device_->counts.notify;
    const bool with_data = device_->accepted(38), with_token = device_->accepted(39);
    if (width != (with_data ? 4u : 2u)) {
      device_->report(std::string{with_data ? "NOTIFY-02" : "NOTIFY-01"} + ": a notification of " +
                      std::to_string(width) + " bytes");
      return;
    }
    const char* const rule = with_data    ? (with_token ? "NOTIFY-06" : "NOTIFY-04")
                             : with_token ? "NOTIFY-05"
                                          : "NOTIFY-03";
    const auto said = static_cast<std::uint16_t>(value);
    std::uint16_t queue = said;
    if (with_token) queue = static_cast<std::uint16_t>(said - notify_data(0));
    if (multiplier != 0) {
      // Hosts use the address; the value must match it.
      const device_model::queue_state* const named = device_->find_queue(queue);
      if (named == nullptr || std::uint64_t{named->notify_off} * multiplier != offset) {
        device_->report(std::string{rule} + ": value " + wire::hex(said) + " written to the notification address " +
                        wire::hex(offset));
        for (std::size_t i = 0; i < device_->queue_count(); ++i)
          if (std::uint64_t{device_->at(i).notify_off} * multiplier == offset) queue = static_cast<std::uint16_t>(i);
      }
    }
    if (with_data) device_->notify_with_data(queue, static_cast<std::uint16_t>(value >> 16 & 0x7fff), value >> 31 != 0);
    else device_->notify(queue);
  }

  [[nodiscard]] std::uint32_t read_isr() {
    ++device_->counts.isr;
    return device_->read_isr();
  }

  [[nodiscard]] std::uint32_t read_legacy(std::uint32_t offset, std::uint32_t width) {
    if (const std::uint32_t start = legacy_config(); offset >= start)
      return read_device(offset - start, width, via::legacy);
    ++(offset == 0x13 ? device_->counts.isr : device_->counts.common);
    if (!right_legacy_width(offset, width)) return 0;
    device_model::queue_state* const q = device_->find_queue(queue_select_);
    switch (offset) {
      case 0x00: return device_->read_offer(0, via::legacy);
      case 0x04: return device_->accepted_features().word[0];
      case 0x08: return q == nullptr ? 0 : q->page;
      case 0x0c: return q == nullptr ? 0 : q->maximum;
      case 0x0e: return queue_select_;
      case 0x12: return device_->read_status();
      case 0x13: return device_->read_isr();
      case 0x14: return device_->read_vector(device_model::no_vector);
      case 0x16: return device_->read_vector(queue_select_);
      default: return 0;
    }
  }

  void write_legacy(std::uint32_t offset, std::uint32_t width, std::uint32_t value) {
    if (const std::uint32_t start = legacy_config(); offset >= start)
      return write_device(offset - start, width, value, via::legacy);
    ++(offset == 0x10 ? device_->counts.notify : device_->counts.common);
    if (!right_legacy_width(offset, width)) return;
    const auto half_word = static_cast<std::uint16_t>(value);
    switch (offset) {
      case 0x04: return device_->write_accepted(0, value, via::legacy);
      case 0x08: return device_->write_queue_page(queue_select_, value);
      case 0x0e: queue_select_ = half_word; return;
      case 0x10: return device_->notify(half_word);
      case 0x12: return write_status(static_cast<std::uint8_t>(value), via::legacy);
      case 0x14: return device_->write_vector(device_model::no_vector, half_word);
      case 0x16: return device_->write_vector(queue_select_, half_word);
      default: return device_->report("PCI-15: write to the read-only legacy register " + wire::hex(offset));
    }
  }

  /// The value of queue_notif_config_data; it differs from the queue's number, so that a mix-up shows.
  [[nodiscard]] static std::uint16_t notify_data(std::uint16_t queue) {
    return static_cast<std::uint16_t>(queue + 0x40);
  }

 private:
  using via = device_model::interface;

  void write_status(std::uint8_t value, via how) {
    device_->write_status(value, how);
    if (value == 0) device_select_ = driver_select_ = queue_select_ = 0;
  }

  [[nodiscard]] std::uint32_t feature_word(std::uint32_t selected) const {
    return behaviour.two_feature_words && selected > 1 ? 1 : selected;
  }
  // Width of the register that starts at `offset` of the common configuration; 0: none starts there.
  [[nodiscard]] static std::uint32_t common_width(std::uint32_t offset) {
    if (offset < 0x10 || (offset >= 0x20 && offset < 0x38)) return offset % 4 == 0 ? 4 : 0;
    if (offset == 0x14 || offset == 0x15) return 1;
    return offset % 2 == 0 && offset < 0x40 ? 2 : 0;
  }
  bool right_width(const char* where, std::uint32_t offset, std::uint32_t width) {
    if (width == common_width(offset)) return true;
    device_->report(std::string{"PCI-05: access of "} + std::to_string(width) + " bytes to " + where + "+" +
                    wire::hex(offset));
    return false;
  }
  bool right_legacy_width(std::uint32_t offset, std::uint32_t width) {
    const std::uint32_t right = offset < 0x0c                      ? (offset % 4 == 0 ? 4 : 0)
                                : offset == 0x12 || offset == 0x13 ? 1
                                : offset % 2 == 0                  ? 2
                                                                   : 0;
    if (width == right) return true;
    device_->report("PCI-05: access of " + std::to_string(width) + " bytes to legacy+" + wire::hex(offset));
    return false;
  }
  // FACT-11: enabling MSI-X moves the configuration.
  [[nodiscard]] std::uint32_t legacy_config() const { return device_->msix_enabled() ? 0x18 : 0x14; }

  device_model* device_;
  std::uint32_t device_select_ = 0, driver_select_ = 0;
  std::uint16_t queue_select_ = 0;
};

}  // namespace virtio::testing
