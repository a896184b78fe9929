// SPDX-License-Identifier: MIT
// A SCSI host with units, which checks every request against the specification; a test may change its answers. Offsets
// and numbers are its own, from virtio 1.4, 5.6, and from SPC-4, SBC-3 and MMC-6. Layer: testing.
#pragma once

#include <deque>
#include <map>
#include <set>

#include <virtio/testing/device_model.hpp>

namespace virtio::testing {

/// Sense data as three numbers, and as the bytes of both formats.
struct sense_bytes {
  std::uint8_t key = 0, asc = 0, ascq = 0;

  [[nodiscard]] std::vector<std::uint8_t> fixed() const {
    std::vector<std::uint8_t> out(18);
    out[0] = 0x70;
    out[2] = key;
    out[7] = 10;
    out[12] = asc;
    out[13] = ascq;
    return out;
  }
  [[nodiscard]] std::vector<std::uint8_t> descriptor() const { return {0x72, key, asc, ascq, 0, 0, 0, 0}; }
};

/// A unit: a disk, or the type in `kind`. `attentions` are reported one by one before commands except INQUIRY and
/// REPORT LUNS.
struct scsi_unit {
  std::uint8_t target = 0;
  std::uint16_t lun = 0;
  std::uint8_t kind = 0;
  std::uint32_t block = 512;
  std::vector<std::uint8_t> data = std::vector<std::uint8_t>(1024 * 512);
  bool read_only = false;
  bool cached = true;
  bool thin = true;                 // accepts UNMAP
  std::uint32_t most_unmapped = 0;  // blocks in one UNMAP; 0: not reported
  std::uint32_t most_blocks = 0;    // blocks in one transfer; 0: not reported
  std::deque<sense_bytes> attentions{};
  std::uint32_t becomes_ready_in = 0;  // commands until it is ready
  bool has_medium = true;
  std::optional<std::uint64_t> last_block{}, block_said{};    // what READ CAPACITY reports instead
  bool lists_units = true;                                    // supports REPORT LUNS
  std::vector<std::uint8_t> stable{};                         // the contents after the last flush
  std::map<std::uint8_t, std::vector<std::uint8_t>> pages{};  // vital product data after their headers, except B0h

  [[nodiscard]] std::uint64_t blocks() const { return data.size() / block; }
};

struct scsi_options {
  std::uint16_t queue_size = 128;
  std::uint32_t num_queues = 1, seg_max = 126, max_sectors = 0xffff, cmd_per_lun = 128;
  std::uint32_t event_info_size = 16, sense_size = 96, cdb_size = 32;
  std::uint16_t max_target = 3;
  std::uint32_t max_lun = 16383;
  bool fixed_sizes = false;                        // writes to sense_size and cdb_size have no effect
  std::uint16_t control_size = 0, event_size = 0;  // of these queues; 0: as the others
  // command and response need descriptors of their own, and all answers except READ(10)'s one descriptor (vmd)
  bool apart = false;
  bool only_first_unit = false;            // any address other than target 0, unit 0 is a bad target (vmd)
  bool ignores_pages = false;              // INQUIRY returns its standard data, whatever page is requested (vmd)
  std::vector<std::uint8_t> operations{};  // not empty: other operations complete without writing (vmd)
  std::vector<std::uint8_t> mode_pages{};  // not empty: MODE SENSE rejects others
  std::vector<unsigned> features{0, 1, 2, 3};
};

class scsi_model : public device_model {
 public:
  /// The answer to a command; `tamper` may change it before it is written.
  struct reply {
    std::uint8_t response = 0, status = 0;
    std::vector<std::uint8_t> sense{};
    std::optional<std::uint32_t> sense_length{}, residual{};
    std::vector<std::uint8_t> data{};  // for the driver
    bool writes_response = true;
  };
  /// A command as received.
  struct request {
    std::uint8_t target = 0;
    std::uint16_t lun = 0;
    std::uint64_t id = 0;
    std::vector<std::uint8_t> cdb{};
    std::uint64_t out = 0, in = 0;  // bytes of data
  };
  struct management {
    std::uint32_t subtype;
    std::uint8_t target;
    std::uint16_t lun;
    std::uint64_t id;
  };

  explicit scsi_model(device_memory& memory, scsi_options options = {},
                      std::vector<scsi_unit> units_there = {scsi_unit{}})
      : device_model{memory, 8, queue_sizes(options), std::vector<std::uint8_t>(36)},
        units{std::move(units_there)},
        options_{std::move(options)} {
    for (const unsigned bit : options_.features) offer({bit});
    const std::uint32_t words[] = {options_.num_queues,  options_.seg_max,         options_.max_sectors,
                                   options_.cmd_per_lun, options_.event_info_size, options_.sense_size,
                                   options_.cdb_size};
    for (std::size_t i = 0; i < 7; ++i) put_config(4 * i, words[i], 4);
    put_config(0x1e, options_.max_target, 2);
    put_config(0x20, options_.max_lun, 4);
  }

  std::vector<scsi_unit> units;
  bool descriptor_sense = false;
  std::function<void(const request&, reply&)> tamper;
  std::uint8_t management_response = 0;      // of task management
  std::optional<bool> ignores_management{};  // reports success for task management without doing it
  std::vector<request> requests_seen{};
  std::vector<management> managed{};
  std::uint32_t events_dropped = 0;
  [[nodiscard]] std::uint32_t count(std::uint8_t operation) const {
    std::uint32_t n = 0;
    for (const request& one : requests_seen) n += one.cdb[0] == operation;
    return n;
  }

  /// Sends an event; it is lost if the driver has posted no buffer.
  void send_event(std::uint32_t event, std::uint8_t target, std::uint16_t lun, std::uint32_t reason) {
    std::vector<std::uint8_t> raw(16);
    if (missed_) event |= 0x80000000u;
    put_shared(raw.data(), event, 4);
    raw[4] = 1;
    raw[5] = target;
    raw[6] = static_cast<std::uint8_t>(0x40 | lun >> 8);
    raw[7] = static_cast<std::uint8_t>(lun);
    put_shared(raw.data() + 12, reason, 4);
    send_raw(raw);
  }
  void send_raw(std::vector<std::uint8_t> raw) {
    if (ring_in_use(1).pending() == 0) {
      missed_ = true;
      ++events_dropped;
      return;
    }
    missed_ = false;
    events_.push_back(std::move(raw));
    (void)serve(1);
  }
  /// Event buffers that the device holds unused.
  [[nodiscard]] std::uint16_t event_buffers() { return ring_in_use(1).pending(); }

 protected:
  [[nodiscard]] bool knows(unsigned bit) const override { return bit <= 3 || (bit >= 24 && device_model::knows(bit)); }
  [[nodiscard]] bool config_writable(std::uint32_t offset, std::uint32_t width) const override {
    return width == 4 && (offset == 0x14 || offset == 0x18);
  }
  void config_written(std::uint32_t, std::uint32_t) override {
    if (!options_.fixed_sizes) return;
    put_config(0x14, options_.sense_size, 4);
    put_config(0x18, options_.cdb_size, 4);
  }
  [[nodiscard]] field config_field(std::uint32_t offset) const override {
    if (offset >= 0x1c && offset < 0x20) return {offset & ~1u, 2, 128};
    return {offset & ~3u, 4, 128};
  }

  std::optional<chain> take(std::uint16_t queue) override {
    if (queue == 1) {
      if (events_.empty()) return std::nullopt;
      return device_model::take(queue);
    }
    if (queue >= 2) {
      const std::size_t most = number(0x0c) == 0 ? 1 : number(0x0c);
      if (ring_in_use(queue).pending() + held().size() > most)
        report("SCSI-05: " + std::to_string(ring_in_use(queue).pending() + held().size()) +
               " commands at once, cmd_per_lun is " + std::to_string(most));
    }
    return device_model::take(queue);
  }

  std::uint32_t process(std::uint16_t queue, chain& buffer) override {
    if (queue == 0) return manage(buffer);
    if (queue == 1) return fill_event(buffer);
    return execute(buffer);
  }

 private:
  [[nodiscard]] static std::vector<std::uint16_t> queue_sizes(const scsi_options& options) {
    std::vector<std::uint16_t> sizes(2 + options.num_queues, options.queue_size);
    if (options.control_size != 0) sizes[0] = options.control_size;
    if (options.event_size != 0) sizes[1] = options.event_size;
    return sizes;
  }
  [[nodiscard]] std::uint32_t number(std::size_t offset) { return wire::get32(config().data() + offset); }
  [[nodiscard]] static std::uint64_t big(const std::uint8_t* at, unsigned bytes) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < bytes; ++i) value = value << 8 | at[i];
    return value;
  }
  static void put_big(std::vector<std::uint8_t>& out, std::size_t at, std::uint64_t value, unsigned bytes) {
    while (bytes-- != 0) {
      out[at + bytes] = static_cast<std::uint8_t>(value);
      value >>= 8;
    }
  }

  // A unit's address: 1, the target, and a number of a single level.
  bool parse_lun(const std::uint8_t* at, std::uint8_t& target, std::uint16_t& lun) {
    target = at[1];
    lun = static_cast<std::uint16_t>((at[2] << 8 | at[3]) & 0x3fff);
    const bool right = at[0] == 1 && (at[2] == 0 || at[2] >> 6 == 1) && big(at + 4, 4) == 0;
    if (!right) report("scsi: an address that is none: " + wire::hex(static_cast<std::uint32_t>(big(at, 4))));
    return right;
  }
  [[nodiscard]] scsi_unit* find(std::uint8_t target, std::uint16_t lun) {
    for (scsi_unit& one : units)
      if (one.target == target && one.lun == lun) return &one;
    return nullptr;
  }
  [[nodiscard]] bool has_target(std::uint8_t target) const {
    for (const scsi_unit& one : units)
      if (one.target == target) return true;
    return false;
  }

  std::uint32_t fill_event(chain& buffer) {
    if (buffer.readable() != 0) report("SCSI-14: an event buffer that the device may only read");
    if (buffer.writable() < 16) report("SCSI-16: an event buffer of " + std::to_string(buffer.writable()) + " bytes");
    if (buffer.writable() < number(0x10))
      report("SCSI-15: an event buffer of " + std::to_string(buffer.writable()) + " bytes");
    const std::vector<std::uint8_t> raw = events_.front();
    events_.pop_front();
    return static_cast<std::uint32_t>(buffer.write(0, raw.data(), raw.size()));
  }

  std::uint32_t manage(chain& buffer) {
    std::uint8_t raw[24] = {};
    if (buffer.readable() != 24 || buffer.writable() != 1)
      report("scsi: task management of " + std::to_string(buffer.readable()) + " and " +
             std::to_string(buffer.writable()) + " bytes");
    (void)buffer.read(0, raw, sizeof raw);
    if (shared(raw, 4) != 0) report("scsi: a control request of type " + std::to_string(shared(raw, 4)));
    management one{static_cast<std::uint32_t>(shared(raw + 4, 4)), 0, 0, shared(raw + 16, 8)};
    (void)parse_lun(raw + 8, one.target, one.lun);
    managed.push_back(one);
    if (management_response == 0 && !ignores_management.value_or(false)) {
      for (std::size_t i = held().size(); i-- != 0;) {
        const auto [target, lun, id] = address_of(held()[i].buffer);
        if (target != one.target || lun != one.lun || (one.subtype == 0 && id != one.id)) continue;
        ended_by_[id] = one.subtype == 0 ? 2 : 4;
        complete(i);
      }
    }
    (void)buffer.write(0, &management_response, 1);
    return 1;
  }
  [[nodiscard]] std::tuple<std::uint8_t, std::uint16_t, std::uint64_t> address_of(const chain& buffer) {
    std::uint8_t raw[16] = {};
    (void)buffer.read(0, raw, sizeof raw);
    return {raw[1], static_cast<std::uint16_t>((raw[2] << 8 | raw[3]) & 0x3fff), shared(raw + 8, 8)};
  }

  std::uint32_t execute(chain& buffer) {
    const std::uint32_t cdb_size = number(0x18), sense_size = number(0x14);
    const std::uint64_t head = 19 + cdb_size, tail = 12 + sense_size;
    if (buffer.readable() < head || buffer.writable() < tail) {
      report("scsi: a request of " + std::to_string(buffer.readable()) + " and " + std::to_string(buffer.writable()) +
             " bytes");
      return 0;
    }
    if (framing_is_legacy() || options_.apart) {
      if (buffer.elements.front().length != head) report("SCSIL-06: the command is not one descriptor");
      bool alone = false;
      for (const element& one : buffer.elements)
        if (one.writable) {
          alone = one.length == tail;
          break;
        }
      if (!alone) report("SCSIL-07: the response is not one descriptor");
    }
    if (const std::uint32_t most = number(0x04) == 0 ? 1 : number(0x04); buffer.elements.size() > most + 2)
      report("scsi: " + std::to_string(buffer.elements.size() - 2) + " pieces of data, seg_max is " +
             std::to_string(most));
    std::vector<std::uint8_t> raw(static_cast<std::size_t>(head));
    (void)buffer.read(0, raw.data(), raw.size());
    request asked;
    const bool right = parse_lun(raw.data(), asked.target, asked.lun);
    asked.id = shared(raw.data() + 8, 8);
    asked.cdb.assign(raw.begin() + 19, raw.end());
    asked.out = buffer.readable() - head;
    asked.in = buffer.writable() - tail;
    if (raw[16] != 0 || raw[17] != 0 || raw[18] != 0) report("SCSI-11: task_attr, prio or crn is not 0");
    if (asked.out != 0 && asked.in != 0) report("scsi: data in both directions without INOUT");
    if (number(0x08) != 0 && (asked.out + asked.in) / 512 > number(0x08))
      report("scsi: more than max_sectors in one command");
    for (const auto& other : held())
      if (other.buffer.head != buffer.head && std::get<2>(address_of(other.buffer)) == asked.id)
        report("scsi: two commands with one id");
    requests_seen.push_back(asked);
    if (options_.apart && asked.cdb[0] != 0x28 && buffer.elements.size() > 3)
      report("scsi: the data of operation " + wire::hex(asked.cdb[0]) + " is in " +
             std::to_string(buffer.elements.size() - 2) + " pieces");

    reply said;
    if (const auto ended = ended_by_.find(asked.id); ended != ended_by_.end()) {
      said.response = ended->second;
      ended_by_.erase(ended);
    } else if (!right || !has_target(asked.target) ||
               (options_.only_first_unit && (asked.target != 0 || asked.lun != 0))) {
      said.response = 3;
    } else {
      std::vector<std::uint8_t> out(static_cast<std::size_t>(asked.out));
      (void)buffer.read(head, out.data(), out.size());
      serve_command(asked, out, said);
    }
    if (tamper) tamper(asked, said);

    const std::uint64_t data = std::min<std::uint64_t>(asked.in, said.data.size());
    (void)buffer.write(tail, said.data.data(), data);
    if (!said.writes_response) return static_cast<std::uint32_t>(data);
    std::vector<std::uint8_t> answer(static_cast<std::size_t>(tail));
    const bool moved_out = said.response == 0 && said.status == 0 ? asked.out != 0 : false;
    const std::uint64_t residual = asked.in != 0 ? asked.in - data : moved_out ? 0 : asked.out;
    put_shared(answer.data(), said.sense_length.value_or(static_cast<std::uint32_t>(said.sense.size())), 4);
    put_shared(answer.data() + 4, said.residual.value_or(static_cast<std::uint32_t>(residual)), 4);
    answer[10] = said.status;
    answer[11] = said.response;
    std::copy_n(said.sense.begin(), std::min<std::size_t>(said.sense.size(), sense_size), answer.begin() + 12);
    (void)buffer.write(0, answer.data(), answer.size());
    return static_cast<std::uint32_t>(tail + data);
  }

  void fail(reply& said, std::uint8_t key, std::uint8_t asc, std::uint8_t ascq = 0) const {
    const sense_bytes what{key, asc, ascq};
    said.status = 2;
    said.sense = descriptor_sense ? what.descriptor() : what.fixed();
    said.data.clear();
  }

  void serve_command(const request& asked, const std::vector<std::uint8_t>& out, reply& said) {
    const std::uint8_t* const cdb = asked.cdb.data();
    const std::uint8_t operation = cdb[0];
    scsi_unit* const unit = find(asked.target, asked.lun);
    if (const auto& known = options_.operations;
        !known.empty() && std::find(known.begin(), known.end(), operation) == known.end()) {
      said.writes_response = false;
      return;
    }
    if (operation == 0xa0) return report_luns(asked, said);
    if (operation == 0x12) return inquire(asked, unit, said);
    if (unit == nullptr) return fail(said, 5, 0x25);
    if (!unit->attentions.empty()) {
      const sense_bytes what = unit->attentions.front();
      unit->attentions.pop_front();
      return fail(said, what.key, what.asc, what.ascq);
    }
    if (unit->becomes_ready_in != 0) {
      --unit->becomes_ready_in;
      return fail(said, 2, 0x04, 0x01);
    }
    if (!unit->has_medium) return fail(said, 2, 0x3a);
    const std::uint64_t last = unit->last_block.value_or(unit->blocks() - 1),
                        block = unit->block_said.value_or(unit->block);
    switch (operation) {
      case 0x00: return;
      case 0x1a:
        if (const auto& pages = options_.mode_pages;
            !pages.empty() && std::find(pages.begin(), pages.end(), cdb[2] & 0x3f) == pages.end())
          return fail(said, 5, 0x24);
        said.data.assign(24, 0);
        said.data[0] = 23;
        said.data[2] = unit->read_only ? 0x80 : 0;
        said.data[4] = 0x08;
        said.data[5] = 18;
        said.data[6] = unit->cached ? 0x04 : 0;
        return cut(asked, cdb[4], said);
      case 0x25:
        said.data.assign(8, 0);
        put_big(said.data, 0, std::min<std::uint64_t>(last, 0xffffffff), 4);
        put_big(said.data, 4, block, 4);
        return;
      case 0x9e:
        if (unit->kind == 5) return fail(said, 5, 0x20);
        said.data.assign(32, 0);
        put_big(said.data, 0, last, 8);
        put_big(said.data, 8, block, 4);
        said.data[14] = unit->thin ? 0x80 : 0;
        return cut(asked, big(cdb + 10, 4), said);
      case 0x28:
      case 0x2a: return transfer(*unit, operation == 0x2a, big(cdb + 2, 4), big(cdb + 7, 2), asked, out, said);
      case 0x88:
      case 0x8a: return transfer(*unit, operation == 0x8a, big(cdb + 2, 8), big(cdb + 10, 4), asked, out, said);
      case 0x35: unit->stable = unit->data; return;
      case 0x42: return unmap(*unit, asked, out, said);
      default: return fail(said, 5, 0x20);
    }
  }
  void cut(const request&, std::uint64_t most, reply& said) {
    if (said.data.size() > most) said.data.resize(static_cast<std::size_t>(most));
  }

  void report_luns(const request& asked, reply& said) {
    if (const scsi_unit* const first = find(asked.target, asked.lun); first != nullptr && !first->lists_units)
      return fail(said, 5, 0x20);
    said.data.assign(8, 0);
    for (const scsi_unit& one : units) {
      if (one.target != asked.target) continue;
      said.data.resize(said.data.size() + 8);
      put_big(said.data, said.data.size() - 8, one.lun < 256 ? one.lun : 0x4000u | one.lun, 2);
    }
    put_big(said.data, 0, said.data.size() - 8, 4);
    cut(asked, big(asked.cdb.data() + 6, 4), said);
  }
  void inquire(const request& asked, const scsi_unit* unit, reply& said) {
    const std::uint64_t most = big(asked.cdb.data() + 3, 2);
    if ((asked.cdb[1] & 1) == 0 || options_.ignores_pages) {
      said.data.assign(36, ' ');
      said.data[0] = unit == nullptr ? 0x7f : unit->kind;
      std::fill_n(said.data.begin() + 1, 7, std::uint8_t{0});
      if (unit != nullptr && unit->kind == 5) said.data[1] = 0x80;  // the medium can be taken out
      said.data[4] = 31;
      const std::string name = "VIRTIO  TESTING UNIT    ";
      std::copy(name.begin(), name.end(), said.data.begin() + 8);
      return cut(asked, most, said);
    }
    if (unit == nullptr) return fail(said, 5, 0x24);
    if (const auto page = unit->pages.find(asked.cdb[2]); page != unit->pages.end()) {
      said.data = {unit->kind, asked.cdb[2], 0, 0};
      put_big(said.data, 2, page->second.size(), 2);
      said.data.insert(said.data.end(), page->second.begin(), page->second.end());
      return cut(asked, most, said);
    }
    if (asked.cdb[2] != 0xb0) return fail(said, 5, 0x24);
    said.data.assign(64, 0);
    said.data[0] = unit->kind;
    said.data[1] = 0xb0;
    said.data[3] = 60;
    put_big(said.data, 8, unit->most_blocks, 4);
    put_big(said.data, 20, unit->most_unmapped, 4);
    cut(asked, most, said);
  }
  void transfer(scsi_unit& unit, bool is_write, std::uint64_t block, std::uint64_t count, const request& asked,
                const std::vector<std::uint8_t>& out, reply& said) {
    const std::string name = std::string{"scsi: a "} + (is_write ? "write" : "read") + " of " + std::to_string(count) +
                             " blocks at " + std::to_string(block);
    if (block > unit.blocks() || count > unit.blocks() - block) return fail(said, 5, 0x21);
    if (unit.most_blocks != 0 && count > unit.most_blocks)
      report(name + ", the most is " + std::to_string(unit.most_blocks));
    if ((is_write ? asked.out : asked.in) != count * unit.block) report(name + ", with data of another length");
    const auto at = unit.data.begin() + static_cast<std::ptrdiff_t>(block * unit.block);
    if (!is_write) {
      said.data.assign(at, at + static_cast<std::ptrdiff_t>(count * unit.block));
    } else if (unit.read_only || unit.kind == 5) {
      fail(said, 7, 0x27);
    } else {
      std::copy_n(out.begin(), std::min<std::size_t>(out.size(), static_cast<std::size_t>(count * unit.block)), at);
    }
  }
  void unmap(scsi_unit& unit, const request& asked, const std::vector<std::uint8_t>& out, reply& said) {
    if (!unit.thin) return fail(said, 5, 0x20);
    if (unit.read_only) return fail(said, 7, 0x27);
    if (out.size() < 8 || out.size() != big(asked.cdb.data() + 7, 2) || big(out.data(), 2) != out.size() - 2 ||
        big(out.data() + 2, 2) != out.size() - 8)
      return report("scsi: UNMAP with a list of " + std::to_string(out.size()) +
                    " bytes that does not fit its lengths");
    for (std::size_t i = 8; i + 16 <= out.size(); i += 16) {
      const std::uint64_t block = big(out.data() + i, 8), count = big(out.data() + i + 8, 4);
      if (block > unit.blocks() || count > unit.blocks() - block) return fail(said, 5, 0x21);
      if (unit.most_unmapped != 0 && count > unit.most_unmapped)
        report("scsi: UNMAP of " + std::to_string(count) + " blocks");
      std::fill_n(unit.data.begin() + static_cast<std::ptrdiff_t>(block * unit.block), count * unit.block,
                  std::uint8_t{0xdd});
    }
  }

  scsi_options options_;
  std::deque<std::vector<std::uint8_t>> events_;
  std::map<std::uint64_t, std::uint8_t> ended_by_;
  bool missed_ = false;
};

}  // namespace virtio::testing
