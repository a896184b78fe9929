// SPDX-License-Identifier: MIT
// A balloon that records every page and reports what no host accepts. Spec: virtio 1.4, 5.5. Layer: testing.
#pragma once

#include <map>
#include <set>

#include <virtio/testing/device_model.hpp>

namespace virtio::testing {

class balloon_model : public device_model {
 public:
  static constexpr unsigned stats_vq = 1, deflate_on_oom = 2, free_page_hint = 3, page_poison = 4, page_reporting = 5;

  bool in_place = false;  // the platform does not bounce: the model can read free memory

  /// Numbers queues as crosvm and QEMU do: consecutively, by the offered features.
  explicit balloon_model(device_memory& memory, const std::vector<unsigned>& offered = {0})
      : device_model{memory, 5, std::vector<std::uint16_t>(2 + count(offered), 16), std::vector<std::uint8_t>(16)} {
    for (const unsigned bit : offered) offer({bit});
    number([&](unsigned bit) { return offers(bit); });
  }
  /// Numbers queues as Alioth does: by the accepted features.
  bool numbers_by_choice = false;

  [[nodiscard]] const std::set<std::uint32_t>& pages() const { return pages_; }
  [[nodiscard]] std::uint32_t actual() const { return static_cast<std::uint32_t>(wire::get(config_at(4), 4)); }
  void want(std::uint32_t pages) { change_config(0, pages, 4); }

  /// Requests statistics from the guest: reads the buffer that the driver posted, and returns it.
  void ask() { asked_ = true; }
  [[nodiscard]] const std::map<unsigned, std::uint64_t>& statistics() const { return statistics_; }
  // Hints (5.5.6.4). A round is open until the host or the driver ends it. Memory hinted meanwhile is overwritten with
  // 0xdd.

  /// The command id of the open round; 0 or 1 if none is open.
  [[nodiscard]] std::uint32_t round() const { return static_cast<std::uint32_t>(wire::get(config_at(8), 4)); }
  void open_round() { change_round(++last_round_); }
  void stop_round() { change_round(0); }
  void finish_rounds() { change_round(1); }
  bool hides_round = false;  // as QEMU: the configuration reports STOP once the command id has arrived
  [[nodiscard]] std::uint64_t hinted() const { return hinted_; }         // bytes, in rounds that were open
  [[nodiscard]] std::uint64_t hinted_late() const { return too_late_; }  // bytes, after the host had ended the round
  [[nodiscard]] const std::vector<std::uint32_t>& commands() const { return commands_; }
  std::function<void()> on_hint;

  [[nodiscard]] std::uint64_t reported() const { return reported_; }             // bytes of free memory
  [[nodiscard]] std::optional<std::uint32_t> poison() const { return poison_; }  // as the driver wrote it
  [[nodiscard]] std::size_t largest_request() const { return largest_; }

 protected:
  [[nodiscard]] bool knows(unsigned bit) const override { return bit <= 5 || device_model::knows(bit); }
  [[nodiscard]] bool config_writable(std::uint32_t offset, std::uint32_t width) const override {
    return width == 4 && (offset == 4 || (offset == 12 && accepted(page_poison)));
  }
  void config_written(std::uint32_t offset, std::uint32_t) override {
    if (offset != 12) return;
    if ((status() & driver_ok_bit) != 0) report("BALLOON-36: poison_val changed after DRIVER_OK");
    poison_ = static_cast<std::uint32_t>(wire::get(config_at(12), 4));
  }
  [[nodiscard]] bool asked_for(std::uint16_t queue) const override { return queue < 2 || accepted(kind(queue)); }
  void features_are_chosen() override {
    if (numbers_by_choice) number([&](unsigned bit) { return accepted(bit); });
  }
  void was_reset() override {
    pages_.clear();
    poison_.reset();
    commands_.clear();
    hint_open_ = false;
  }

  std::optional<chain> take(std::uint16_t queue) override {
    if (kind(queue) != stats_vq) return device_model::take(queue);
    if (!asked_) return std::nullopt;
    auto got = device_model::take(queue);
    if (got) asked_ = false;
    return got;
  }

  std::uint32_t process(std::uint16_t queue, chain& buffer) override {
    if (accepted(page_poison) && !poison_) report("BALLOON-35: poison_val was not written ahead of DRIVER_OK");
    if (kind(queue) == page_reporting) {
      if (buffer.readable() != 0 || buffer.writable() == 0)
        report("balloon: a report is memory that the device may write");
      std::vector<std::uint8_t> gone(static_cast<std::size_t>(buffer.writable()), 0xee);
      if (accepted(page_poison)) {
        for (std::size_t at = 0; at + 4 <= gone.size(); at += 4)
          wire::put(gone.data() + at, poison_.value_or(0), 4, guest);
        if (in_place && writable_content(buffer) != gone)
          report("BALLOON-38: reported memory does not hold the poison");
      }
      (void)buffer.write(0, gone.data(), gone.size());
      reported_ += gone.size();
      return 0;
    }
    if (kind(queue) == free_page_hint) return take_hint(buffer);
    if (buffer.writable() != 0) report("balloon: writable bytes on queue " + std::to_string(queue));
    std::vector<std::uint8_t> data(static_cast<std::size_t>(buffer.readable()));
    (void)buffer.read(0, data.data(), data.size());
    if (kind(queue) == stats_vq) return take_statistics(data);
    if (data.empty() || data.size() % 4 != 0 || data.size() > 1024)
      report("balloon: " + std::to_string(data.size()) + " bytes of page numbers");
    largest_ = std::max(largest_, data.size() / 4);
    for (std::size_t at = 0; at + 4 <= data.size(); at += 4) {
      const auto page = static_cast<std::uint32_t>(shared(data.data() + at, 4));
      if (queue == 0 && !pages_.insert(page).second)
        report("BALLOON-12: page " + std::to_string(page) + " is in the balloon already");
      if (queue == 1 && pages_.erase(page) == 0)
        report("BALLOON-09: page " + std::to_string(page) + " is not in the balloon");
    }
    return 0;
  }

 private:
  template <class Numbered>
  void number(Numbered is_numbered) {
    kinds_.clear();
    std::uint16_t next = 2;
    for (const unsigned bit : {stats_vq, free_page_hint, page_reporting})
      if (is_numbered(bit)) kinds_[next++] = bit;
  }
  static std::size_t count(const std::vector<unsigned>& offered) {
    return static_cast<std::size_t>(std::count_if(offered.begin(), offered.end(), [](unsigned bit) {
      return bit == stats_vq || bit == free_page_hint || bit == page_reporting;
    }));
  }
  [[nodiscard]] unsigned kind(std::uint16_t queue) const {
    const auto found = kinds_.find(queue);
    return found == kinds_.end() ? 0 : found->second;
  }
  [[nodiscard]] const std::uint8_t* config_at(std::size_t offset) const {
    return const_cast<balloon_model*>(this)->config().data() + offset;
  }

  void change_round(std::uint32_t id) {
    host_round_ = id;
    change_config(8, id, 4);
  }
  std::uint32_t take_hint(chain& buffer) {
    if (buffer.readable() != 0 && buffer.writable() != 0) report("balloon: a command id and memory in one buffer");
    if (buffer.writable() == 0) {
      const auto data = buffer.read_all();
      if (data.size() != 4) report("BALLOON-24: a command id of " + std::to_string(data.size()) + " bytes");
      const auto id =
          static_cast<std::uint32_t>(shared(data.data(), static_cast<unsigned>(std::min<std::size_t>(data.size(), 4))));
      if (id == 1) report("balloon: DONE is the host's to say");
      if (id > 1 && std::find(commands_.begin(), commands_.end(), id) != commands_.end())
        report("BALLOON-26: round " + std::to_string(id) + " is begun twice");
      if (id > 1 && id > last_round_) report("BALLOON-25: there is no round " + std::to_string(id));
      if (id == 0 && !hint_open_) report("BALLOON-29: the end of no round");
      commands_.push_back(id);
      hint_open_ = id > 1;
      if (hint_open_ && id == host_round_ && hides_round) put_config(8, 0, 4);
      return 0;
    }
    if (!hint_open_) report("BALLOON-25: memory is hinted outside of a round");
    const bool wanted = hint_open_ && commands_.back() == host_round_;
    (wanted ? hinted_ : too_late_) += buffer.writable();
    if (wanted) {
      const std::vector<std::uint8_t> gone(static_cast<std::size_t>(buffer.writable()), 0xdd);
      (void)buffer.write(0, gone.data(), gone.size());
    }
    if (on_hint) on_hint();
    return 0;
  }

  [[nodiscard]] std::vector<std::uint8_t> writable_content(const chain& buffer) const {
    std::vector<std::uint8_t> all;
    for (const element& one : buffer.elements) {
      std::vector<std::uint8_t> here(static_cast<std::size_t>(one.writable ? one.length : 0));
      (void)memory().read(one.at, here.data(), here.size());
      all.insert(all.end(), here.begin(), here.end());
    }
    return all;
  }

  std::uint32_t take_statistics(const std::vector<std::uint8_t>& data) {
    if (data.size() % 10 != 0) report("balloon: " + std::to_string(data.size()) + " bytes of statistics");
    std::map<unsigned, std::uint64_t> now;
    for (std::size_t at = 0; at + 10 <= data.size(); at += 10)
      now[static_cast<unsigned>(shared(data.data() + at, 2))] = shared(data.data() + at + 2, 8);
    for (const auto& [tag, value] : statistics_)
      if (now.count(tag) == 0) report("BALLOON-23: statistic " + std::to_string(tag) + " is left out");
    statistics_ = now;
    return 0;
  }

  std::map<std::uint16_t, unsigned> kinds_;  // optional queues: the feature that they come with
  std::set<std::uint32_t> pages_;
  std::map<unsigned, std::uint64_t> statistics_;
  std::uint64_t reported_ = 0, hinted_ = 0, too_late_ = 0;
  std::uint32_t last_round_ = 0x7fffffff, host_round_ = 0;
  std::vector<std::uint32_t> commands_;
  bool hint_open_ = false;
  std::optional<std::uint32_t> poison_;
  std::size_t largest_ = 0;
  bool asked_ = false;
};

}  // namespace virtio::testing
