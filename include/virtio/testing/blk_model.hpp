// SPDX-License-Identifier: MIT
// A disk that checks every request against the specification, and that can fail, report invalid values and lose power.
// Spec: virtio 1.4, 5.2. Layer: testing.
#pragma once

#include <virtio/testing/device_model.hpp>

namespace virtio::testing {

/// Limits of one discard, write zeroes or secure erase request, as the configuration reports them; zero: field left
/// blank.
struct extent_rules {
  std::uint32_t sectors = 0;
  std::uint32_t extents = 0;
  std::uint32_t alignment = 0;  // not for write zeroes
};

/// Topology as the configuration reports it: the first field is a logarithm, the others count blocks.
struct topology_fields {
  std::uint8_t physical_block_exp = 0, alignment_offset = 0;
  std::uint16_t min_io_size = 0;
  std::uint32_t opt_io_size = 0;
};

/// The kind of disk. If size_max, seg_max or blk_size is zero, the feature is not offered. A limit that is not stated
/// is the strictest host's: one segment of data in a request (Firecracker, Alioth), and no extent with more bytes than
/// one request may have.
struct blk_options {
  std::uint64_t sectors = 2048;
  std::uint16_t queue_size = 128;
  std::uint16_t queues = 1;
  std::uint32_t size_max = 0;
  std::uint32_t seg_max = 0;
  std::uint32_t blk_size = 0;
  bool read_only = false;
  bool flush = true;
  std::string serial = "virtio-testing-disk";
  std::optional<extent_rules> discard{}, write_zeroes{}, secure_erase{};  // offered if they have a value
  std::optional<topology_fields> topology{};
  std::optional<bool> writeback{};  // CONFIG_WCE, and the cache mode after a reset
  std::optional<std::array<std::uint16_t, 3>> lifetime{};
  std::optional<std::uint8_t> zoned{};  // the model: 0 none, 1 host-managed, 2 host-aware
  bool get_id = true;                   // else unsupported
  // as vmd: the device stops at a chain that is not a header, data and a status, each in its own descriptors
  bool strict_chains = false;
  bool flushes_unasked = false;  // serves a flush without offering FLUSH (vmd of 2018)
};

class blk_model : public device_model {
 public:
  enum : std::uint8_t { ok = 0, io_error = 1, unsupported = 2 };

  /// Maximum bytes in one request: hosts count in int, and Linux's preadv and pwritev stop here. Longer ones end in
  /// io_error.
  static constexpr std::uint64_t most_bytes = 0x7fff'f000;

  explicit blk_model(device_memory& memory, blk_options options = {})
      : device_model{memory, 2, std::vector<std::uint16_t>(options.queues, options.queue_size),
                     std::vector<std::uint8_t>(96)},
        options_{std::move(options)},
        data_(static_cast<std::size_t>(options_.sectors * 512)),
        stable_{data_} {
    put_config(0x00, options_.sectors, 8);
    if (options_.size_max != 0) offer({1});
    put_config(0x08, options_.size_max, 4);
    if (options_.seg_max != 0) offer({2});
    put_config(0x0c, options_.seg_max, 4);
    if (options_.read_only) offer({5});
    if (options_.blk_size != 0) offer({6});
    put_config(0x14, options_.blk_size, 4);
    if (options_.flush) offer({9});
    if (options_.queues > 1) offer({12});
    put_config(0x22, options_.queues, 2);
    put_rules(13, 0x24, options_.discard);
    put_rules(14, 0x30, options_.write_zeroes);
    put_rules(16, 0x3c, options_.secure_erase);
    if (const auto& t = options_.topology) {
      offer({10});
      put_config(0x18, t->physical_block_exp, 1);
      put_config(0x19, t->alignment_offset, 1);
      put_config(0x1a, t->min_io_size, 2);
      put_config(0x1c, t->opt_io_size, 4);
    }
    if (options_.writeback) offer({11});
    put_config(0x20, options_.writeback.value_or(false), 1);
    if (options_.lifetime) offer({15});
    if (options_.zoned) offer({17});
    put_config(0x5c, options_.zoned.value_or(0), 1);
  }

  /// The contents that the device serves, and those that survive a power cut.
  [[nodiscard]] std::vector<std::uint8_t>& data() { return data_; }
  [[nodiscard]] const std::vector<std::uint8_t>& stable() const { return stable_; }
  void power_cut() { data_ = stable_; }
  /// Changes the capacity, as a resize on the host does.
  void resize(std::uint64_t sectors) {
    options_.sectors = sectors;
    data_.resize(static_cast<std::size_t>(sectors * 512));
    stable_.resize(data_.size());
    change_config(0x00, sectors, 8);
  }

  // --- settings; requests are counted from 0 in the order of service: `disk.fail[disk.served()] = disk.io_error;` ---
  [[nodiscard]] std::uint32_t served() const { return number_; }
  std::map<std::uint32_t, std::uint8_t> fail;   // request number -> the status that replaces serving it
  std::set<std::uint32_t> no_status;            // served, but the status byte is not written
  std::map<std::uint32_t, std::uint8_t> claim;  // served, but with this status, whatever happened
  bool keep_cache_mode = false;                 // writes to writeback have no effect

  // --- results ---
  struct extent_seen {
    std::uint32_t type;
    std::uint64_t sector;
    std::uint32_t sectors, flags;
    std::uint32_t request;  // number, as above
    [[nodiscard]] friend bool operator==(const extent_seen&, const extent_seen&) = default;
  };
  std::vector<extent_seen> extents;  // of all requests served
  [[nodiscard]] std::uint32_t count(std::uint32_t type) const {
    const auto found = per_type_.find(type);
    return found == per_type_.end() ? 0 : found->second;
  }
  [[nodiscard]] std::uint32_t reads() const { return count(0); }
  [[nodiscard]] std::uint32_t writes() const { return count(1); }
  [[nodiscard]] std::uint32_t flushes() const { return count(4); }

 protected:
  std::uint32_t process(std::uint16_t, chain& buffer) override {
    const std::uint32_t number = number_++;
    const std::uint64_t readable = buffer.readable(), writable = buffer.writable();
    if (readable < 16) {
      report("blk: a request with " + std::to_string(readable) + " readable bytes, its header needs 16");
      return 0;
    }
    if (writable == 0) {
      report("blk: a request without a writable byte for its status");
      return 0;
    }
    std::uint8_t header[16];
    (void)buffer.read(0, header, sizeof header);
    const auto type = static_cast<std::uint32_t>(shared(header, 4));
    const std::uint64_t sector = shared(header + 8, 8);
    const std::uint64_t out = readable - 16, in = writable - 1;
    ++per_type_[type];
    if (const std::uint64_t reserved = shared(header + 4, 4); reserved != 0)
      report("blk: the reserved field of the header is " + wire::hex(reserved));
    check_framing(buffer);
    if (options_.strict_chains && !is_strict(buffer, type, out)) {
      stall("blk: a chain that is not a header, data and a status");
      return 0;
    }
    if (const std::vector<element> data = check_limits(buffer); data.size() > 1 && !accepted(2)) {
      report("blk: " + std::to_string(data.size()) + " segments of data to a device that has stated no SEG_MAX");
      return serve_first(data, type, sector);
    }

    std::uint8_t status = ok;
    if (in > most_bytes || out > most_bytes) status = io_error;
    else if (const auto told = fail.find(number); told != fail.end()) status = told->second;
    else status = serve_request(buffer, type, sector, out, in);
    // Used length counts bytes from the first writable one; a failed read wrote none of its data.
    const std::uint64_t written = status == ok ? writable : in == 0 ? 1 : 0;
    if (const auto told = claim.find(number); told != claim.end()) status = told->second;
    if (no_status.count(number) == 0) (void)buffer.write(writable - 1, &status, 1);
    return static_cast<std::uint32_t>(written);
  }

  [[nodiscard]] field config_field(std::uint32_t offset) const override {
    static constexpr field fields[] = {
        {0x00, 8, 128}, {0x08, 4, 1},  {0x0c, 4, 2},  {0x10, 2, 4},  {0x12, 1, 4},  {0x13, 1, 4},  {0x14, 4, 6},
        {0x18, 1, 10},  {0x19, 1, 10}, {0x1a, 2, 10}, {0x1c, 4, 10}, {0x20, 1, 11}, {0x22, 2, 12}, {0x24, 4, 13},
        {0x28, 4, 13},  {0x2c, 4, 13}, {0x30, 4, 14}, {0x34, 4, 14}, {0x38, 1, 14}, {0x3c, 4, 16}, {0x40, 4, 16},
        {0x44, 4, 16},  {0x48, 4, 17}, {0x4c, 4, 17}, {0x50, 4, 17}, {0x54, 4, 17}, {0x58, 4, 17}, {0x5c, 1, 17}};
    for (const field& f : fields)
      if (offset >= f.first && offset < f.first + f.width) return f;
    return device_model::config_field(offset);
  }
  [[nodiscard]] bool knows(unsigned bit) const override {
    return bit < 24 ? bit <= 17 && bit != 3 && bit != 8 : device_model::knows(bit);
  }
  // a driver may use fewer queues than are offered
  [[nodiscard]] bool asked_for(std::uint16_t queue) const override { return queue == 0; }
  [[nodiscard]] bool config_writable(std::uint32_t offset, std::uint32_t width) const override {
    return accepted(11) && offset == 0x20 && width == 1;
  }

 private:
  // FACT-28: as writeback reports; without FLUSH negotiated, writethrough.
  [[nodiscard]] bool caches() { return accepted(11) ? config()[0x20] != 0 : accepted(9); }
  void was_reset() override { put_config(0x20, options_.writeback.value_or(false), 1); }
  void config_written(std::uint32_t, std::uint32_t) override {
    if (config()[0x20] > 1) report("BLK-16: " + std::to_string(config()[0x20]) + " written to writeback");
    if (keep_cache_mode) was_reset();
  }

  /// Handles several segments as Firecracker and Alioth do: the first is the data, and the status is written to the
  /// second, which fails if the device may only read it.
  std::uint32_t serve_first(const std::vector<element>& data, std::uint32_t type, std::uint64_t sector) {
    const element &first = data[0], &second = data[1];
    if (!second.writable) return 0;
    const std::uint64_t length = first.length;
    std::uint8_t status = unsupported;
    if (type == 0) status = check_range("read", sector, length) ? ok : io_error;
    if (status == ok) (void)memory().write(first.at, data_.data() + sector * 512, length);
    (void)memory().write(second.at, &status, 1);
    return static_cast<std::uint32_t>(status == ok ? length + 1 : 1);
  }

  std::uint8_t serve_request(chain& buffer, std::uint32_t type, std::uint64_t sector, std::uint64_t out,
                             std::uint64_t in) {
    switch (type) {
      case 0:
        if (out != 0) report("blk: a read with " + std::to_string(out) + " readable data bytes");
        if (!check_range("read", sector, in)) return io_error;
        return buffer.write(0, data_.data() + sector * 512, in) == in ? ok : io_error;
      case 1:
        if (in != 0) report("blk: a write with " + std::to_string(in) + " writable data bytes");
        if (options_.read_only) {
          report("blk: a write to a read-only disk");
          return io_error;
        }
        if (!check_range("write", sector, out)) return io_error;
        if (buffer.read(16, data_.data() + sector * 512, out) != out) return io_error;
        if (!caches())
          std::copy_n(data_.begin() + static_cast<std::ptrdiff_t>(sector * 512), out,
                      stable_.begin() + static_cast<std::ptrdiff_t>(sector * 512));
        return ok;
      case 4:
        if (sector != 0) report("BLK-08: a flush of sector " + std::to_string(sector));
        if (out != 0 || in != 0) report("BLK-09: a flush with data");
        if (!accepted(9)) {
          report("BLK-01: a flush without the feature");
          if (!options_.flushes_unasked) return unsupported;
        }
        stable_ = data_;
        return ok;
      case 8: {
        if (!options_.get_id) return unsupported;
        if (in != 20 || out != 0) report("BLK-12: GET_ID with " + std::to_string(in) + " bytes, not 20");
        std::uint8_t id[20] = {};
        std::copy_n(options_.serial.begin(), std::min<std::size_t>(options_.serial.size(), sizeof id), id);
        (void)buffer.write(0, id, std::min<std::uint64_t>(in, sizeof id));
        return ok;
      }
      case 10: {
        if (in != 6 || out != 0) report("blk: GET_LIFETIME with " + std::to_string(in) + " bytes, not 6");
        if (!options_.lifetime || !accepted(15)) {
          report("blk: GET_LIFETIME without its feature");
          return unsupported;
        }
        std::uint8_t raw[6];
        for (unsigned i = 0; i < 3; ++i) put_shared(raw + 2 * i, (*options_.lifetime)[i], 2);
        (void)buffer.write(0, raw, std::min<std::uint64_t>(in, sizeof raw));
        return ok;
      }
      case 11: return serve_extents(buffer, type, sector, out, in, 13, options_.discard, "BLK-13");
      case 13: return serve_extents(buffer, type, sector, out, in, 14, options_.write_zeroes, "BLK-15");
      case 14: return serve_extents(buffer, type, sector, out, in, 16, options_.secure_erase, "BLK-14");
      default: return unsupported;
    }
  }

  std::uint8_t serve_extents(chain& buffer, std::uint32_t type, std::uint64_t header_sector, std::uint64_t out,
                             std::uint64_t in, unsigned feature, const std::optional<extent_rules>& rules,
                             const char* count_rule) {
    const std::string name = "a request of type " + std::to_string(type);
    if (!rules || !accepted(feature)) {
      report("blk: " + name + " without its feature");
      return unsupported;
    }
    if (options_.read_only) {
      report("blk: " + name + " on a read-only disk");
      return io_error;
    }
    if (header_sector != 0) report("blk: " + name + " for sector " + std::to_string(header_sector));
    if (in != 0) report("blk: " + name + " with " + std::to_string(in) + " writable data bytes");
    if (out == 0 || out % 16 != 0) {
      report("BLK-11: " + name + " with " + std::to_string(out) + " bytes of extents");
      return io_error;
    }
    const std::uint64_t count = out / 16, most = rules->extents == 0 ? 1 : rules->extents;
    if (count > most)
      report(count_rule + (": " + name) + " with " + std::to_string(count) + " extents, the limit is " +
             std::to_string(most));
    std::vector<extent_seen> all;
    for (std::uint64_t i = 0; i < count; ++i) {
      std::uint8_t raw[16];
      (void)buffer.read(16 + 16 * i, raw, sizeof raw);
      all.push_back({type, shared(raw, 8), static_cast<std::uint32_t>(shared(raw + 8, 4)),
                     static_cast<std::uint32_t>(shared(raw + 12, 4)), number_ - 1});
      const extent_seen& one = all.back();
      if (rules->sectors != 0 && one.sectors > rules->sectors)
        report("blk: " + name + " over " + std::to_string(one.sectors) + " sectors, the limit is " +
               std::to_string(rules->sectors));
      if (rules->sectors == 0 && std::uint64_t{one.sectors} * 512 > most_bytes) return io_error;
      if ((one.flags & ~1u) != 0) report("blk: " + name + " with flags " + wire::hex(one.flags));
      if (type != 13 && (one.flags & 1u) != 0) report("BLK-18: " + name + " with the unmap flag");
      if (!check_range(name.c_str(), one.sector, std::uint64_t{one.sectors} * 512)) return io_error;
    }
    for (const extent_seen& one : all) {
      extents.push_back(one);
      // BLK-19: discarded sectors may read as any value.
      for (std::vector<std::uint8_t>* where : {&data_, caches() ? &data_ : &stable_})
        std::fill_n(where->begin() + static_cast<std::ptrdiff_t>(one.sector * 512), std::uint64_t{one.sectors} * 512,
                    std::uint8_t(type == 13 ? 0 : 0xdd));
    }
    return ok;
  }

  bool check_range(const char* what, std::uint64_t sector, std::uint64_t bytes) {
    const std::string name =
        std::string{"a "} + what + " of " + std::to_string(bytes) + " bytes at sector " + std::to_string(sector);
    if (bytes % 512 != 0 || bytes == 0) {
      report("BLK-10: " + name);
      return false;
    }
    if (const std::uint64_t block = accepted(6) ? options_.blk_size : 512; (bytes | sector * 512) % block != 0) {
      report("blk: BLK_SIZE: " + name + ", a block has " + std::to_string(block));
      return false;
    }
    if (sector > options_.sectors || bytes / 512 > options_.sectors - sector) {
      report("BLK-06: " + name + ", the capacity is " + std::to_string(options_.sectors));
      return false;
    }
    return true;
  }

  void put_rules(unsigned feature, std::size_t offset, const std::optional<extent_rules>& rules) {
    if (!rules) return;
    offer({feature});
    put_config(offset, rules->sectors, 4);
    put_config(offset + 4, rules->extents, 4);
    if (feature == 14) put_config(offset + 8, 1, 1);  // unmap frees memory
    else put_config(offset + 8, rules->alignment, 4);
  }

  [[nodiscard]] static bool is_strict(const chain& buffer, std::uint32_t type, std::uint64_t out) {
    const element &first = buffer.elements.front(), &last = buffer.elements.back();
    if (first.writable || first.length != 16 || !last.writable || last.length != 1) return false;
    if (type > 1) return true;
    return buffer.elements.size() > 2 && (type == 1) == (out != 0);
  }
  void check_framing(const chain& buffer) {
    if (!framing_is_legacy()) return;
    const element &first = buffer.elements.front(), &last = buffer.elements.back();
    if (first.writable || first.length != 16) report("BLKL-10: the header is not one readable descriptor of 16 bytes");
    if (!last.writable || last.length != 1) report("BLKL-10: the status is not one writable descriptor of 1 byte");
  }

  /// Returns the segments of data.
  std::vector<element> check_limits(const chain& buffer) {
    std::uint64_t readable_seen = 0, writable_seen = 0;
    std::vector<element> data;
    for (const element& e : buffer.elements) {
      std::uint64_t& seen = e.writable ? writable_seen : readable_seen;
      seen += e.length;
      const bool header_only = !e.writable && seen <= 16;
      const bool status_only = e.writable && seen == buffer.writable() && e.length == 1;
      if (header_only || status_only) continue;
      data.push_back(e);
      if (const std::uint32_t most = wire::get32(&config()[0x08]); accepted(1) && e.length > most)
        report("blk: SIZE_MAX: a segment of " + std::to_string(e.length) + ", the limit is " + std::to_string(most));
    }
    if (const std::uint32_t most = wire::get32(&config()[0x0c]); accepted(2) && data.size() > most)
      report("blk: SEG_MAX: " + std::to_string(data.size()) + " segments, the limit is " + std::to_string(most));
    return data;
  }

  blk_options options_;
  std::vector<std::uint8_t> data_, stable_;
  std::map<std::uint32_t, std::uint32_t> per_type_;
  std::uint32_t number_ = 0;
};

}  // namespace virtio::testing
