// SPDX-License-Identifier: MIT
// A PCI bus with device models: configuration space (recorded from real hosts where possible), BARs that can be sized,
// capabilities, and a log of every register access as text: "w1@common+0x14=0x1 r1@common+0x14".
// A device's registers are fixed when it is built; a test may then edit any configuration byte to make it invalid.
// Spec: PCI 3.0, 6.1, 6.2.5; virtio 1.4, 4.1.4. Layer: testing (plugs into bus/pci).
#pragma once

#include <cctype>
#include <string_view>

#include <virtio/bus/pci/host.hpp>
#include <virtio/testing/dumps.hpp>
#include <virtio/testing/fake_registers.hpp>
#include <virtio/testing/host_behaviour.hpp>

namespace virtio::testing {

/// One function on the bus.
class fake_function {
 public:
  enum class part : u8 { common, notify, isr, device, legacy, scratch };
  /// The real place of a structure, whatever the capabilities report.
  struct region {
    part what;
    u8 bar;
    u64 offset;
    u64 length;
    u32 multiplier = 0;  // of a notification structure
  };

  std::array<u8, 256> config{};
  std::array<u64, 6> bar_sizes{};  // 0: not implemented; a 64-bit BAR has its size in the first slot
  std::vector<region> regions;
  u32 rom_size = 0;  // 0: no expansion ROM
  device_model* device = nullptr;
  bool present = true;
  bool gates_decoding = true;  // BARs respond only while the command register enables it, DMA needs bus mastering
  bool half_words = false;     // Alioth: command register and MSI-X control accept only 16-bit writes
  bool lanes_lost = false;     // vmd up to 2025: 16-bit writes change the lower half of their dword
  bool window_drops_doorbells = false;  // Firecracker: doorbells through the configuration window have no effect
  bool master_ends_decoding = false;    // enabling bus mastering clears the decoding bits
  bool narrow_io = false;               // I/O BARs whose upper 16 bits are hardwired to zero
  bool has_io_window = true;            // bridges; the memory window always exists
  bool has_prefetch_window = true;      // and has 64 bits
  bool logging = true;
  bool logs_command = false;  // writes to the command register are logged too: "command=0x6"
  u32 config_reads = 0, config_writes = 0;
  std::array<u32, 64> dword_reads{};  // config reads of each dword

  [[nodiscard]] u32 peek(usize offset, unsigned bytes = 4) const {
    return static_cast<u32>(wire::get(config.data() + offset, bytes));
  }
  /// Edits configuration space from the device's side.
  void poke(usize offset, u32 value, unsigned bytes) { wire::put(config.data() + offset, value, bytes); }
  /// Offset of the `nth` capability with this id (and cfg_type, for vendor ones); 0: none.
  [[nodiscard]] u8 capability(u8 id, int cfg_type = -1, unsigned nth = 0) const {
    u8 at = config[0x34] & 0xfc;
    for (int steps = 0; at >= 0x40 && steps < 48; ++steps, at = config[at + 1u] & 0xfc)
      if (config[at] == id && (cfg_type < 0 || config[at + 3u] == cfg_type) && nth-- == 0) return at;
    return 0;
  }
  /// Appends a capability to the list: `body` follows id and next. Returns its offset.
  u8 add_capability(u8 id, const std::vector<u8>& body, u8 at) {
    u8* link = &config[0x34];
    while (*link != 0) link = &config[*link + 1u];
    *link = at;
    config[at] = id;
    config[at + 1u] = 0;
    std::copy(body.begin(), body.end(), config.begin() + at + 2);
    config[0x06] |= 0x10;
    return at;
  }

  [[nodiscard]] const std::string& log() const { return log_; }
  void clear_log() { log_.clear(); }
  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  void clear_violations() { violations_.clear(); }
  void report(std::string what) { violations_.push_back(std::move(what)); }

  /// Connects a device model; the regions follow from the current virtio capabilities.
  void attach(device_model& model) {
    device = &model;
    registers_ = std::make_unique<fake_registers>(model);
    regions.clear();
    for (u8 type = 1; type <= 4; ++type)
      for (unsigned nth = 0; const u8 cap = capability(0x09, type, nth); ++nth) {
        static constexpr part kinds[] = {part::common, part::notify, part::isr, part::device};
        regions.push_back(
            {kinds[type - 1], config[cap + 4u], peek(cap + 8u), peek(cap + 12u), type == 2 ? peek(cap + 16u) : 0});
      }
    const bool bar0_is_io = bar_sizes[0] != 0 && (config[0x10] & 1) != 0;
    const bool bar0_is_taken = std::any_of(regions.begin(), regions.end(), [](const region& r) { return r.bar == 0; });
    if (bar0_is_io && !bar0_is_taken) regions.push_back({part::legacy, 0, 0, bar_sizes[0]});
    if (const u8 msix = capability(0x11); msix != 0) {
      model.msix_vectors = static_cast<u16>((peek(msix + 2u, 2) & 0x7ff) + 1);
      const u8 bar = config[msix + 4u] & 7;
      if (bar < 6) regions.push_back({part::scratch, bar, 0, bar_sizes[bar]});
    }
    command_changed();
  }
  [[nodiscard]] fake_registers& registers() { return *registers_; }

  // --- the host's side ---

  [[nodiscard]] u32 config_read(u16 offset) {
    ++config_reads;
    ++dword_reads[offset / 4u % 64];
    if (!present) return 0xffffffff;
    if (const u8 window = data_window(); window != 0 && offset == window + 16) return window_access(window, nullptr);
    return peek(offset & 0xfcu);
  }

  /// The last value written to a dword of configuration space; 0 before any write.
  [[nodiscard]] u32 last_write(u16 offset) const {
    const auto found = last_writes_.find(offset);
    return found == last_writes_.end() ? 0 : found->second;
  }

  // One 16-bit write: the other half of the dword is not written.
  void config_write16(u16 offset, u16 value) {
    const bool upper = offset % 4 != 0 && !lanes_lost;
    const u32 dword = peek(offset & 0xfcu);
    const u32 beside = upper ? dword & 0xffffu : offset < 8 ? 0 : dword & 0xffff0000u;
    const bool before = std::exchange(half_words, false);
    config_write(offset & 0xfcu, beside | u32{value} << (upper ? 16 : 0));
    half_words = before;
  }

  void config_write(u16 offset, u32 value) {
    ++config_writes;
    if (half_words && (offset == 0x04 || (offset != 0 && offset == capability(0x11)))) return;
    last_writes_[offset] = value;
    if (!present) return;
    if (offset == 0x04) {
      if (value >> 16 != 0)
        report("PCI: " + wire::hex(value >> 16) + " written to the status half, which is write-one-to-clear");
      if (master_ends_decoding && (value & 4) != 0) value &= ~3u;
      poke(4, value & 0x0547, 2);
      if (logs_command) log_ += (log_.empty() ? "command=" : " command=") + wire::hex(peek(4, 2));
      poke(6, peek(6, 2) & ~(value >> 16 & 0xf900), 2);
      return command_changed();
    }
    const unsigned bars = (config[0x0e] & 0x7f) == 1 ? 2 : 6;
    if (offset >= 0x10 && offset < 0x10 + 4 * bars) return write_bar((offset - 0x10u) / 4, value);
    if (offset == (bars == 2 ? 0x38 : 0x30)) return poke(offset, rom_size == 0 ? 0 : value & (~(rom_size - 1) | 1), 4);
    if (bars == 2 && offset == 0x18) return poke(0x18, value, 4);
    if (bars == 2 && offset >= 0x1c && offset <= 0x30) return write_window(offset, value);
    if (offset == 0x3c) return poke(0x3c, value, 1);
    if (const u8 msix = capability(0x11); msix != 0 && offset == msix) {
      poke(msix + 2u, (peek(msix + 2u, 2) & 0x3fff) | (value >> 16 & 0xc000), 2);
      if (device != nullptr) device->set_msix_enabled((config[msix + 3u] & 0x80) != 0);
      return;
    }
    if (const u8 window = data_window(); window != 0 && offset >= window && offset < window + 20) {
      if (offset == window + 16) return (void)window_access(window, &value);
      if (offset == window) return report("PCI-14: write to the head of the configuration window's capability");
      write_log("window", offset - u32{window}, 4, &value);
      if (offset == window + 4) return poke(offset, value, 1);
      if (const u32 length = peek(window + 12u); offset == window + 8 && length != 0 && value % length != 0)
        report("PCI-29: offset " + wire::hex(value) + " written beside length " + std::to_string(length));
      return poke(offset, value, 4);
    }
    for (unsigned nth = 0; const u8 cap = capability(0x09, -1, nth); ++nth)
      if (offset >= cap && offset < cap + config[cap + 2u])
        return report("PCI-14: write to a virtio capability at " + wire::hex(offset));
  }

  // One access to a BAR; a write if `value` points to the value.
  u32 bar_access(u8 bar, u64 offset, u32 width, const u32* value) {
    const u32 ones = width == 4 ? 0xffffffffu : (1u << (8 * width)) - 1;
    if (!present) return ones;
    if (gates_decoding && (config[0x04] & ((config[0x10u + 4u * bar] & 1) != 0 ? 1 : 2)) == 0) {
      report("PCI: access to BAR " + std::to_string(bar) + " while its decoding is off");
      return ones;
    }
    for (const region& r : regions)
      if (r.bar == bar && offset >= r.offset && offset - r.offset < r.length) {
        if (offset - r.offset + width > r.length) report("PCI-11: access over the end of " + std::string{name(r.what)});
        return routed(r, static_cast<u32>(offset - r.offset), width, value) & ones;
      }
    write_log("bar" + std::to_string(bar), static_cast<u32>(offset), width, value);
    if (device != nullptr)
      report("PCI: access to BAR " + std::to_string(bar) + "+" + wire::hex(offset) + ", where no structure is");
    return ones;
  }

 private:
  [[nodiscard]] static const char* name(part p) {
    static constexpr const char* names[] = {"common", "notify", "isr", "device", "legacy", "msix"};
    return names[static_cast<usize>(p)];
  }
  void write_log(std::string_view where, u32 offset, u32 width, const u32* value) {
    if (!logging) return;
    if (!log_.empty()) log_ += ' ';
    log_ += value != nullptr ? 'w' : 'r';
    log_ += std::to_string(width) + "@" + std::string{where} + "+" + wire::hex(offset);
    if (value != nullptr) log_ += "=" + wire::hex(*value);
  }

  u32 routed(const region& r, u32 offset, u32 width, const u32* value) {
    write_log(name(r.what), offset, width, value);
    if (r.what == part::scratch) {
      scratch_.resize(std::max<usize>(scratch_.size(), offset + 4u));
      if (value != nullptr) wire::put(scratch_.data() + offset, *value, width);
      return static_cast<u32>(wire::get(scratch_.data() + offset, width));
    }
    if (device == nullptr) return 0;
    if (device->aborted()) return 0xffffffff;
    const u32 answer = answered(r, offset, width, value);
    registers_->left = value != nullptr ? *value : answer;
    return answer;
  }
  u32 answered(const region& r, u32 offset, u32 width, const u32* value) {
    switch (r.what) {
      case part::common:
        if (value == nullptr) return registers_->read_common(offset, width);
        registers_->write_common(offset, width, *value);
        return 0;
      case part::notify:
        if (value != nullptr) registers_->write_notify(offset, width, *value, r.multiplier);
        else device->report("NOTIFY: read of the notification structure");
        return 0;
      case part::isr:
        if (value != nullptr || width != 1 || offset != 0) device->report("ISR: anything but a read of one byte");
        return value == nullptr ? registers_->read_isr() : 0;
      case part::device:
        if (value == nullptr) return registers_->read_device(offset, width, device_model::interface::modern);
        registers_->write_device(offset, width, *value, device_model::interface::modern);
        return 0;
      case part::legacy:
        if (value == nullptr) return registers_->read_legacy(offset, width);
        registers_->write_legacy(offset, width, *value);
        return 0;
      case part::scratch: break;
    }
    return 0;
  }

  // BAR sizing: address bits below the size read as 0, whatever is written.
  void write_bar(unsigned index, u32 value) {
    const usize at = 0x10 + 4 * usize{index};
    const u32 low = peek(index != 0 && upper_half(index) ? at - 4 : at);
    if (index != 0 && upper_half(index))
      return poke(at, value & static_cast<u32>(~(bar_sizes[index - 1] - 1) >> 32), 4);
    if (bar_sizes[index] == 0) return poke(at, 0, 4);
    const u32 flags = (low & 1u) != 0 ? low & 3u : low & 15u;
    if (narrow_io && (low & 1u) != 0) value &= 0xffff;
    poke(at, (value & static_cast<u32>(~(bar_sizes[index] - 1)) & ~((low & 1u) != 0 ? 3u : 15u)) | flags, 4);
  }
  // A bridge's windows: address bits are stored if the window exists, the rest is fixed.
  void write_window(u16 offset, u32 value) {
    switch (offset) {
      case 0x1c:
        if (value >> 16 != 0)
          report("PCI: " + wire::hex(value >> 16) + " written to the secondary status, which is write-one-to-clear");
        return has_io_window ? poke(0x1c, (value & 0xf0f0) | 0x0101, 2) : void();
      case 0x20: return poke(0x20, value & 0xfff0fff0, 4);
      case 0x24: return has_prefetch_window ? poke(0x24, (value & 0xfff0fff0) | 0x00010001, 4) : void();
      case 0x28:
      case 0x2c: return has_prefetch_window ? poke(offset, value, 4) : void();
      default: return has_io_window ? poke(offset, value, 4) : void();
    }
  }
  [[nodiscard]] bool upper_half(unsigned index) const {
    return bar_sizes[index - 1] != 0 && (peek(0x10 + 4 * (usize{index} - 1)) & 7u) == 4u;
  }

  void command_changed() {
    if (device != nullptr) device->set_dma_allowed(!gates_decoding || (config[0x04] & 4) != 0);
  }

  // The capability after crosvm's window is another capability, not pci_cfg_data. A length of 16 alone does not show
  // that.
  [[nodiscard]] u8 data_window() const {
    const u8 window = capability(0x09, 5);
    if (window == 0 || window + 20u > config.size()) return 0;
    u8 at = config[0x34] & 0xfc;
    for (int steps = 0; at >= 0x40 && steps < 48; ++steps, at = config[at + 1u] & 0xfc)
      if (at > window && at < window + 20) return 0;
    return window;
  }
  // The access window in configuration space: the driver writes bar, offset and length.
  u32 window_access(u8 window, const u32* value) {
    write_log("window", 16, 4, value);
    const u8 bar = config[window + 4u];
    const u32 offset = peek(window + 8u), length = peek(window + 12u);
    if (length != 1 && length != 2 && length != 4) {
      report("PCI-30: configuration window used with length " + std::to_string(length));
      return 0;
    }
    if (offset % length != 0)
      report("PCI-29: configuration window at " + wire::hex(offset) + " with length " + std::to_string(length));
    const auto inside = [&](const region& r) {
      return r.what <= part::device && r.bar == bar && offset >= r.offset && offset - r.offset + length <= r.length;
    };
    if (std::none_of(regions.begin(), regions.end(), inside)) {
      report("PCI-30: configuration window into BAR " + std::to_string(bar) + "+" + wire::hex(offset) +
             " with length " + std::to_string(length) + ", where no virtio capability points");
      return 0;
    }
    const bool lost = std::any_of(regions.begin(), regions.end(),
                                  [&](const region& r) { return r.what == part::notify && inside(r); });
    if (value != nullptr && window_drops_doorbells && lost) return 0;
    return bar_access(bar, offset, length, value);
  }

  std::unique_ptr<fake_registers> registers_;
  std::vector<u8> scratch_;
  std::string log_;
  std::map<u16, u32> last_writes_;
  std::vector<std::string> violations_;
};

class fake_pci;

/// The registers in one BAR: a register space.
struct fake_bar {
  fake_function* owner = nullptr;
  u8 index = 0;
  u64 start = 0;
  usize length = 0;

  template <class T>
  [[nodiscard]] T read(usize offset) const {
    return static_cast<T>(check(offset, sizeof(T)) ? owner->bar_access(index, start + offset, sizeof(T), nullptr)
                                                   : u32{0xffffffff});
  }
  template <class T>
  void write(usize offset, T value) const {
    const u32 wide = value;
    if (check(offset, sizeof(T))) (void)owner->bar_access(index, start + offset, sizeof(T), &wide);
  }
  [[nodiscard]] usize size() const { return length; }
  [[nodiscard]] fake_bar part(usize offset, usize n) const {
    if (owner != nullptr && (offset > length || n > length - offset))
      owner->report("register space: part " + wire::hex(offset) + "+" + wire::hex(n) + " of " + wire::hex(length));
    return {owner, index, start + offset, n};
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

/// The host as a driver receives it: a pointer to the bus.
struct fake_host {
  using function_id = pci::address;
  using bar_space = fake_bar;

  fake_pci* bus = nullptr;

  [[nodiscard]] u32 config_read32(pci::address at, u16 offset) const;
  void config_write32(pci::address at, u16 offset, u32 value) const;
  [[nodiscard]] result<fake_bar> bar(pci::address at, u8 index) const;
  template <class Visit>
  void each_function(Visit&& visit) const {
    pci::each_numbered_function(*this, 0, visit);
  }
  void trace(event happened) const;
};

/// The same, with 16-bit writes of configuration space.
struct fake_host16 : fake_host {
  void config_write16(pci::address at, u16 offset, u16 value) const;
  template <class Visit>
  void each_function(Visit&& visit) const {
    pci::each_numbered_function(*this, 0, visit);
  }
};

class fake_pci {
 public:
  [[nodiscard]] fake_host host() { return {this}; }

  std::vector<event> events;
  u64 reach = ~u64{0};  // BARs at or above this address are out of the CPU's reach

  /// Adds a function with this configuration space (hex bytes, any white space; a "00:" at the start of a line is
  /// skipped). BAR sizes that are not given follow from the virtio capabilities.
  fake_function& raw(pci::address at, std::string_view text, device_model* model = nullptr,
                     std::array<u64, 6> sizes = {}) {
    fake_function& f = functions_[key(at)];
    f = {};
    usize filled = 0;
    for (usize i = 0; i < text.size();) {
      usize end = i;
      while (end < text.size() && std::isxdigit(static_cast<unsigned char>(text[end])) != 0) ++end;
      const bool label = end < text.size() && text[end] == ':';
      if (!label)
        for (usize k = i; k + 1 < end && filled < 256; k += 2)
          f.config[filled++] = static_cast<u8>(std::stoul(std::string{text.substr(k, 2)}, nullptr, 16));
      i = end + 1;
    }
    f.bar_sizes = sizes;
    for (unsigned nth = 0; const u8 cap = f.capability(0x09, -1, nth); ++nth) {
      const u8 bar = f.config[cap + 4u];
      const u64 end = u64{f.peek(cap + 8u)} + f.peek(cap + 12u);
      while (bar < 6 && sizes[bar] == 0 && f.config[cap + 3u] <= 4 && f.bar_sizes[bar] < end)
        f.bar_sizes[bar] = f.bar_sizes[bar] == 0 ? 16 : f.bar_sizes[bar] * 2;
    }
    if (model != nullptr) f.attach(*model);
    return f;
  }
  fake_function& raw(pci::address at, const pci_dump& dump, device_model* model = nullptr) {
    return raw(at, dump.text, model, dump.bar_sizes);
  }

  /// QEMU 7.2: modern capabilities in BAR 4, the legacy block in BAR 0.
  fake_function& qemu_transitional(pci::address at, device_model& model) {
    model.offer({24, 27});
    return qemu(at, model, model.type() == 4 ? dumps::qemu_7_2_rng_transitional : dumps::qemu_7_2_blk_transitional,
                transitional_id(model.type()), model.type());
  }
  fake_function& qemu_modern(pci::address at, device_model& model) {
    return qemu(at, model, model.type() == 4 ? dumps::qemu_7_2_rng_modern : dumps::qemu_7_2_blk_modern,
                static_cast<u16>(0x1040 + model.type()), 0x1100);
  }
  /// QEMU 7.2: the legacy block in BAR 0 and no virtio capability. A block device then lacks ANY_LAYOUT.
  fake_function& qemu_legacy(pci::address at, device_model& model) {
    model.offer({24});
    if (model.type() != 2) model.offer({27});
    return qemu(at, model, model.type() == 4 ? dumps::qemu_7_2_rng_legacy : dumps::qemu_7_2_blk_legacy,
                transitional_id(model.type()), model.type());
  }

  /// A device as a host shows it. The model offers the ring features that this host offers; a test may change that
  /// afterwards.
  fake_function& place(pci::address at, device_model& model, const host_behaviour& host) {
    const pci_behaviour& as = host.pci;
    const u16 id = as.legacy ? transitional_id(model.type()) : static_cast<u16>(0x1040 + model.type());
    const u64 nth = at.routing_id() >> 3;
    fake_function& f = blank(at, id, as.subsystem_is_type ? model.type() : id, as.subsystem_vendor, as.revision);
    for (const auto& [type, what] : as.classes)
      if (type == model.type()) f.poke(0x0a, what, 2);
    const u64 bar = as.grows_down ? as.bar0 - nth * as.bar0_size : as.bar0 + nth * as.bar0_size;
    f.poke(0x10, static_cast<u32>(bar) | (as.bar0_is_io ? 1u : as.bar0_is_64_bit ? 4u : 0u), 4);
    if (as.bar0_is_64_bit) f.poke(0x14, static_cast<u32>(bar >> 32), 4);
    f.bar_sizes = {as.bar0_size, as.bar1_size, 0, 0, 0, 0};
    if (as.bar1_size != 0) f.poke(0x14, static_cast<u32>(as.bar1 + nth * as.bar1_size), 4);
    if (as.decodes_always) f.poke(0x04, 0x0007, 2);
    if (as.decodes_at_first) f.poke(0x04, as.bar0_is_io ? 1 : 2, 2);

    std::vector<fake_function::region> msix;
    u32 behind = 0;
    u8 next = 0x40;
    for (const shown_capability& one : as.capabilities) {
      using kind = shown_capability::kind;
      const u8 stride = one.stride != 0 ? one.stride : one.cap_len;
      u32 start = one.at, length = one.length;
      if (one.what == kind::msix) {
        const auto last = static_cast<u8>(model.queue_count());  // one for each queue and one for the configuration
        std::vector<u8> body{last, 0};
        for (const u32 word : {start | one.bar, length | one.bar})
          for (unsigned i = 0; i < 4; ++i) body.push_back(static_cast<u8>(word >> (8 * i)));
        f.add_capability(0x11, body, next);
        msix = {{fake_function::part::scratch, one.bar, start, 16u * (last + 1u)},
                {fake_function::part::scratch, one.bar, length, 8}};
        next = static_cast<u8>(next + stride);
        continue;
      }
      if (one.what == kind::msi) {  // one message to a 64-bit address
        f.add_capability(0x05, {0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, next);
        next = static_cast<u8>(next + stride);
        continue;
      }
      if (one.what == kind::notify && length == 0) length = 4 * static_cast<u32>(model.queue_count());
      if (one.what == kind::device) {
        if (start == 0) start = behind;
        if (length == 0) length = static_cast<u32>(model.config().size());
        if (!as.config_lengths.empty()) length = config_length(as, model.type());
        if (length == 0) continue;
      }
      static constexpr u8 types[] = {1, 2, 3, 4, 5};
      next = virtio_capability(f, next, types[static_cast<usize>(one.what)], start, length, one.cap_len,
                               one.what == kind::notify ? as.notify_multiplier : 0, stride);
      behind = start + length;
    }

    const auto holds = [&](const std::vector<u16>& types) {
      return std::find(types.begin(), types.end(), model.type()) != types.end();
    };
    f.gates_decoding = !as.decodes_always;
    f.half_words = as.half_words;
    f.lanes_lost = as.lanes_lost;
    f.window_drops_doorbells = as.window == window_use::no_doorbells;
    for (usize q = 0; as.one_doorbell && q < model.queue_count(); ++q) model.at(q).notify_off = 0;
    host.device.apply_to(model);
    f.attach(model);
    std::erase_if(f.regions, [](const fake_function::region& r) { return r.what == fake_function::part::scratch; });
    f.regions.insert(f.regions.end(), msix.begin(), msix.end());
    f.registers().behaviour = host.registers;
    if (holds(as.ones_elsewhere)) f.registers().behaviour.wrong_width_reads = 0xffffffff;
    for (const auto& [type, answers] : as.config)
      if (type == model.type()) f.registers().answers = answers;
    return f;
  }

  /// crosvm (2026): one 32-bit memory BAR; write-only addresses, features that survive a reset, an unusable window.
  fake_function& crosvm(pci::address at, device_model& model) { return place(at, model, host_behaviour::crosvm()); }

  /// The functions of a host that are not virtio devices.
  void populate(const host_behaviour& host) {
    for (const plain_function& one : host.pci.functions) {
      fake_function& f = blank({0, 0, one.slot, 0}, one.device, one.subsystem, one.subsystem_vendor, 0);
      f.poke(0x00, one.vendor, 2);
      f.poke(0x0a, one.class_and_subclass, 2);
      if (!one.has_bar0) continue;
      f.bar_sizes[0] = host.pci.bar0_size;
      f.poke(0x10,
             static_cast<u32>(host.pci.bar0 + one.slot * u64{host.pci.bar0_size}) | (host.pci.bar0_is_io ? 1u : 0u), 4);
      if (host.pci.decodes_always) f.gates_decoding = false;
    }
  }

  /// OpenBSD's vmd since it has 1.x devices (2025): every structure in an I/O BAR, cap_len 16 even for notify, one
  /// notification register for all queues, no decoding gates, and a block configuration that returns only three dwords.
  /// Removes the features that vmd never offers; set `used_length = 16` for its disks.
  fake_function& vmd_modern(pci::address at, device_model& model) {
    fake_function& f = place(at, model, host_behaviour::vmd());
    if (model.type() == 2) {
      model.withdraw({1, 5, 6, 9, 12});
      if (!model.offers(2)) model.put_config(0x0c, 126, 4);
      model.offer({2});
    }
    return f;
  }

  /// A PCI-to-PCI bridge to bus `secondary`.
  fake_function& bridge(pci::address at, u8 secondary, u8 subordinate) {
    fake_function& f = blank(at, 0x0001, 0, 0, 0);
    f.poke(0x00, 0x8086, 2);
    f.poke(0x0a, 0x0604, 2);
    f.config[0x0e] = 1;
    f.poke(0x18, u32{at.bus} | u32{secondary} << 8 | u32{subordinate} << 16, 4);
    return f;
  }
  /// Sets the multi-function bit of a function's header.
  void multi_function(pci::address at) { functions_[key(at)].config[0x0e] |= 0x80; }

  /// Removes the function: everything reads as ones from now on.
  void unplug(pci::address at) { function(at).present = false; }

  [[nodiscard]] fake_function& function(pci::address at) { return functions_.at(key(at)); }
  [[nodiscard]] bool has(pci::address at) const { return functions_.count(key(at)) != 0; }

  /// Violations of the bus, and of all device models on it.
  [[nodiscard]] std::vector<std::string> violations() const {
    std::vector<std::string> all;
    for (const auto& [at, f] : functions_) {
      all.insert(all.end(), f.violations().begin(), f.violations().end());
      if (f.device == nullptr) continue;
      const auto more = f.device->violations();
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }

  /// Absent functions read as ones.
  [[nodiscard]] fake_function* find(pci::address at) {
    const auto found = functions_.find(key(at));
    return found == functions_.end() ? nullptr : &found->second;
  }

 private:
  [[nodiscard]] static u64 key(pci::address at) { return u64{at.segment} << 32 | at.routing_id(); }

  [[nodiscard]] static u16 transitional_id(u16 type) {
    switch (type) {
      case 1: return 0x1000;
      case 2: return 0x1001;
      case 3: return 0x1003;
      case 4: return 0x1005;
      case 5: return 0x1002;
      case 8: return 0x1004;
      case 9: return 0x1009;
      default: return 0x103f;
    }
  }

  fake_function& qemu(pci::address at, device_model& model, const pci_dump& dump, u16 id, u16 subsystem) {
    fake_function& f = raw(at, dump);
    f.poke(0x02, id, 2);
    f.poke(0x2e, subsystem, 2);
    if (model.type() != 2 && model.type() != 4) f.poke(0x09, 0xff0000, 3);
    // The recorded devices have one queue; the table has a vector for each queue and one for configuration changes.
    if (const u8 msix = f.capability(0x11); msix != 0) f.config[msix + 2u] = static_cast<u8>(model.queue_count());
    // Each device has its own addresses, as firmware assigns them. They only distinguish the buses of different tests.
    const u32 number = at.routing_id();
    for (u8 bar = 0; bar < 6; ++bar) {
      const usize reg = 0x10u + 4u * bar;
      if (f.bar_sizes[bar] == 0) continue;
      if ((f.peek(reg) & 1u) != 0) f.poke(reg, 0xc001u + (number >> 3) * 0x80u % 0x3000u, 4);
      else f.poke(reg, 0xfe000000u + bar * 0x200000u + number % 0x80u * 0x4000u + (f.peek(reg) & 15u), 4);
    }
    f.attach(model);
    return f;
  }

  fake_function& blank(pci::address at, u16 id, u16 subsystem, u16 subsystem_vendor, u8 revision) {
    fake_function& f = functions_[key(at)];
    f = {};
    f.poke(0x00, 0x1af4, 2);
    f.poke(0x02, id, 2);
    f.poke(0x08, revision, 1);
    f.poke(0x0a, 0x0880, 2);
    f.poke(0x2c, subsystem_vendor, 2);
    f.poke(0x2e, subsystem, 2);
    f.poke(0x3d, 1, 1);
    return f;
  }

  [[nodiscard]] static u32 config_length(const pci_behaviour& as, u16 type) {
    for (const auto& [of, length] : as.config_lengths)
      if (of == type) return length;
    return 0;
  }

  // Returns the place of the next capability.
  static u8 virtio_capability(fake_function& f, u8 at, u8 type, u32 offset, u32 length, u8 cap_len, u32 multiplier = 0,
                              u8 stride = 0) {
    std::vector<u8> body(cap_len > 16 || type == 2 ? 18u : 14u);
    body[0] = cap_len;
    body[1] = type;
    wire::put32(&body[6], offset);
    wire::put32(&body[10], length);
    if (body.size() > 14) wire::put32(&body[14], multiplier);
    f.add_capability(0x09, body, at);
    return static_cast<u8>(at + (stride != 0 ? stride : cap_len));
  }

  std::map<u64, fake_function> functions_;
};

inline u32 fake_host::config_read32(pci::address at, u16 offset) const {
  fake_function* const f = bus->find(at);
  if (f != nullptr && (offset % 4 != 0 || offset > 252)) f->report("PCI: configuration read at " + wire::hex(offset));
  return f == nullptr ? 0xffffffffu : f->config_read(offset);
}
inline void fake_host::config_write32(pci::address at, u16 offset, u32 value) const {
  fake_function* const f = bus->find(at);
  if (f != nullptr && (offset % 4 != 0 || offset > 252)) f->report("PCI: configuration write at " + wire::hex(offset));
  if (f != nullptr) f->config_write(offset, value);
}
inline void fake_host16::config_write16(pci::address at, u16 offset, u16 value) const {
  fake_function* const f = bus->find(at);
  if (f != nullptr && (offset % 2 != 0 || offset > 254)) f->report("PCI: configuration write at " + wire::hex(offset));
  if (f != nullptr) f->config_write16(offset, value);
}
inline result<fake_bar> fake_host::bar(pci::address at, u8 index) const {
  fake_function* const f = bus->find(at);
  if (f == nullptr || !f->present || index > 5 || f->bar_sizes[index] == 0) return errc::not_found;
  const u32 low = f->peek(0x10u + 4u * index);
  u64 base = low & ((low & 1u) != 0 ? ~3u : ~15u);
  if ((low & 7u) == 4u && index < 5) base |= u64{f->peek(0x14u + 4u * index)} << 32;
  if (base == 0) return errc::not_found;
  if (base >= bus->reach || f->bar_sizes[index] > bus->reach - base) return errc::out_of_range;
  return fake_bar{f, index, 0, static_cast<usize>(f->bar_sizes[index])};
}
inline void fake_host::trace(event happened) const { bus->events.push_back(happened); }

static_assert(pci::host<fake_host> && pci::host<fake_host16>);

}  // namespace virtio::testing
