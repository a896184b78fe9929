// SPDX-License-Identifier: MIT
// One virtio device without a bus: status, features, queues, configuration, interrupt state. It checks how the driver
// brings it up and reports each violation with its requirement. It can be made slow, broken or dishonest. Derive from
// it and override `process` for a device with a function, or set `on_request`.
// By default a doorbell is only recorded and `step()` does the work, so that the test decides when the device runs.
// Threads: one thread may call `step()` while the driver runs on another. Set-up and reset wait for a step to end.
// Doorbells, status and ISR take no lock, so that a race detector can see whether the rings alone order the hand-over.
// Use identity windows then (device_memory), change settings before, and read violations after joining.
// Spec: virtio 1.4, 2.1, 2.2, 2.4, 2.5, 3.1. Layer: testing.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <initializer_list>
#include <memory>

#include <virtio/testing/packed_device.hpp>
#include <virtio/testing/split_device.hpp>

namespace virtio::testing {

/// 128 feature bits.
struct feature_words {
  std::array<std::uint32_t, 4> word{};
  [[nodiscard]] bool has(unsigned bit) const { return bit < 128 && (word[bit / 32] >> (bit % 32) & 1u) != 0; }
  void set(unsigned bit) { word[bit / 32 % 4] |= std::uint32_t{1} << (bit % 32); }
  void clear(unsigned bit) { word[bit / 32 % 4] &= ~(std::uint32_t{1} << (bit % 32)); }
};

class device_model {
 public:
  enum class interface : std::uint8_t { modern, legacy };
  enum class run : std::uint8_t { in_step, at_doorbell };
  /// How a write to driver_feature combines with what was accepted before.
  enum class feature_store : std::uint8_t { replaces, adds, adds_across_reset };  // the specification, vmd, crosvm

  /// Where a host accepts rings.
  enum class ring_places : std::uint8_t {
    anywhere,
    // vmd up to 2025: checked at every write, for a ring with the legacy layout; if it is not in memory, the machine
    // ends
    at_once,
    apart,  // vmd of 2026: three areas, checked when the queue is enabled; if one is not in memory, the queue stays off
  };
  struct memory_range {
    std::uint64_t first, end;
  };
  /// The sizes of queues below the maximum that a host accepts.
  enum class size_rule : std::uint8_t { powers_of_two, even };

  static constexpr std::uint16_t no_vector = 0xffff;
  static constexpr std::uint32_t forever = 0xffffffff;

  struct queue_state {
    std::uint16_t maximum = 0, size = 0, vector = no_vector, notify_off = 0;
    std::uint64_t descriptors = 0, driver = 0, device = 0;
    std::uint32_t page = 0;  // legacy
    unsigned written = 0;    // the programmed ones of the three areas
    bool enabled = false;
    bool gave_back = false;       // a buffer was returned since the last decision on an interrupt
    std::uint32_t resetting = 0;  // remaining reads of queue_reset until it completes
    split_device ring;
    packed_device packed;
    ring_device* in_use = &ring;  // the format that the driver negotiated
    // the last buffer that waits for batch_in_order, and its length
    std::optional<std::pair<std::uint16_t, std::uint32_t>> batch;
    std::atomic<std::uint32_t> doorbells = 0;
    std::atomic<bool> rung = false;
  };
  struct held_request {
    std::uint16_t queue;
    chain buffer;
  };
  /// Register accesses since the last `counts = {}`.
  struct access_counts {
    std::uint32_t common = 0, isr = 0, notify = 0, device = 0;
    [[nodiscard]] std::uint32_t all() const { return common + isr + notify + device; }
  };

  device_model(device_memory& memory, std::uint16_t type, std::vector<std::uint16_t> queue_sizes,
               std::vector<std::uint8_t> configuration = {})
      : memory_{&memory}, type_{type}, config_{std::move(configuration)} {
    for (const std::uint16_t size : queue_sizes) {
      auto& q = *queues_.emplace_back(std::make_unique<queue_state>());
      q.maximum = q.size = size;
      q.notify_off = static_cast<std::uint16_t>(queues_.size() - 1);
    }
    offer({32});
  }
  device_model(const device_model&) = delete;
  device_model& operator=(const device_model&) = delete;
  virtual ~device_model() = default;

  // --- the device ---

  [[nodiscard]] std::uint16_t type() const { return type_; }
  [[nodiscard]] device_memory& memory() const { return *memory_; }
  void offer(std::initializer_list<unsigned> bits) {
    for (const unsigned b : bits) offered_.set(b);
  }
  void withdraw(std::initializer_list<unsigned> bits) {
    for (const unsigned b : bits) offered_.clear(b);
  }
  [[nodiscard]] bool offers(unsigned bit) const { return offered_.has(bit); }
  [[nodiscard]] bool accepted(unsigned bit) const { return accepted_.has(bit); }
  [[nodiscard]] const feature_words& accepted_features() const { return accepted_; }
  /// The configuration bytes; a test may write them directly. `change_config` changes them as a correct device does.
  [[nodiscard]] std::vector<std::uint8_t>& config() { return config_; }
  void put_config(std::size_t offset, std::uint64_t value, unsigned bytes) {
    wire::put(config_.data() + offset, value, bytes);
  }
  [[nodiscard]] std::size_t queue_count() const { return queues_.size(); }
  [[nodiscard]] queue_state& at(std::size_t q) { return *queues_.at(q); }
  /// The ring that the driver set up, and its two formats: only the one in use is configured.
  [[nodiscard]] ring_device& ring_in_use(std::size_t q = 0) { return *queues_.at(q)->in_use; }
  [[nodiscard]] split_device& ring(std::size_t q = 0) { return queues_.at(q)->ring; }
  [[nodiscard]] packed_device& packed_ring(std::size_t q = 0) { return queues_.at(q)->packed; }

  // --- behaviour (set before the driver acts or between its actions) ---

  run mode = run::in_step;
  feature_store features_stored = feature_store::replaces;
  std::uint32_t reset_reads = 0;  // status reads until a reset completes; `forever`: never
  bool reset_fails = false;       // in operation: reports FAILED instead and continues (libkrun's vsock)
  bool one_step = false;          // a status that is not the next one is dropped, except 0 and FAILED (Firecracker)
  // DRIVER_OK ends in NEEDS_RESET unless exactly the `asked_for` queues are enabled (crosvm)
  bool exact_queues = false;
  bool has_line = true;          // false: without MSI-X it is silent, and its ISR is 0 (Firecracker, Alioth)
  bool refuse_features = false;  // FEATURES_OK is cleared
  bool never_refuses = false;    // FEATURES_OK stays set, whatever was accepted (vmd)
  ring_places places = ring_places::anywhere;
  std::vector<memory_range> ram;  // where rings may be, if `places` limits it
  size_rule sizes = size_rule::powers_of_two;
  bool crashes_on_early_doorbell = false;  // at a doorbell for a queue without a ring (vmd)
  bool interrupts_always = false;          // whatever the ring's flags request (vmd's entropy)
  bool no_generation = false;              // config_generation is always 0 (vmd)
  // number of requests after which it sets DEVICE_NEEDS_RESET instead of serving
  std::uint32_t needs_reset_after = forever;
  std::uint32_t drop_requests = 0;           // takes this many requests without an answer
  std::optional<std::uint32_t> used_length;  // reports this used length, whatever it wrote
  bool batch_in_order = false;  // with IN_ORDER: one used entry for all buffers of a step that were used completely
  std::uint32_t generation_every = 0;       // changes config_generation every so many reads of it (1: never stable)
  std::uint32_t queue_reset_reads = 0;      // queue_reset reads until completion; `forever`: never
  bool keep_held_over_queue_reset = false;  // QEMU 7.2: a reset queue's requests still reach their buffers
  bool refuse_vectors = false;              // every vector register reads back NO_VECTOR
  std::uint16_t msix_vectors = 0;           // size of the MSI-X table, 0 without one
  wire::endian guest = wire::native;        // byte order of the guest; a legacy device uses it
  bool exact_config_width = true;           // reports config accesses whose width differs from the field's (PCI-05)
  std::function<std::uint32_t(std::uint16_t queue, chain&)> on_request;  // used by the default `process`
  // can tear a field between two reads
  std::function<void(std::uint32_t offset, std::uint32_t width)> before_config_read;
  std::function<void()> on_interrupt;

  /// Requests are held until complete() is called.
  void hold() { holding_ = true; }
  void release() { holding_ = false; }
  [[nodiscard]] const std::vector<held_request>& held() const { return held_; }
  /// Serves the held request `index` and returns it, with `length` as its used length if given.
  void complete(std::size_t index, std::optional<std::uint32_t> length = std::nullopt) {
    const std::lock_guard lock{run_lock_};
    if (index >= held_.size()) return;
    held_request one = held_[index];
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
    const std::uint32_t written = process(one.queue, one.buffer);
    queue_state& q = *queues_[one.queue];
    if (stalled_) return;
    if (!q.enabled || !q.in_use->configured()) return;  // its queue was reset: the buffer is written nevertheless
    q.gave_back = true;
    q.in_use->push(one.buffer.head, length.value_or(used_length.value_or(written)));
    finish_batch(q);
  }
  void complete_all() {
    while (!held_.empty()) complete(0);
  }
  void complete_all_backwards() {
    while (!held_.empty()) complete(held_.size() - 1);
  }

  /// Changes a configuration field as a correct device does: with a new generation and an interrupt.
  void change_config(std::size_t offset, std::uint64_t value, unsigned bytes) {
    put_config(offset, value, bytes);
    ++generation_;
    config_interrupt();
  }
  void bump_generation() { ++generation_; }
  void set_needs_reset() {
    status_ |= needs_reset_bit;
    config_interrupt();
  }
  /// Raises an interrupt without a reason.
  void spurious_interrupt(std::uint8_t isr_bits) { raise(no_vector, isr_bits); }

  // --- running ---

  /// Serves every queue whose doorbell was written or that needs none. Returns the number of requests taken.
  std::size_t step() {
    const std::lock_guard lock{run_lock_};
    std::size_t served = 0;
    for (std::size_t i = 0; i < queues_.size(); ++i) {
      queue_state& q = *queues_[i];
      // Acquire: seeing the doorbell implies seeing the queue that was set up before it. The ring orders everything
      // else.
      if (q.rung.exchange(false, std::memory_order_acquire) || q.in_use->no_notify())
        served += serve(static_cast<std::uint16_t>(i));
    }
    return served;
  }
  /// Serves one queue, with or without a doorbell.
  std::size_t serve(std::uint16_t index) {
    const std::lock_guard lock{run_lock_};
    queue_state& q = *queues_[index];
    std::size_t served = 0;
    if (!live() || !q.enabled) return served;
    while (auto buffer = take(index)) {
      ++served;
      ++requests_;
      if (requests_ > needs_reset_after) {
        set_needs_reset();
        return served;
      }
      if (drop_requests != 0) {
        --drop_requests;
        continue;
      }
      if (holding_) {
        held_.push_back({index, *buffer});
        continue;
      }
      const std::uint32_t written = process(index, *buffer);
      if (stalled_ || aborted_) return served;
      give_back(q, *buffer, written);
    }
    finish_batch(q);
    return served;
  }
  /// Records `lost_kick` for every queue with buffers that needed a notification and received none.
  bool check_kicks() {
    bool right = true;
    for (const auto& q : queues_)
      if (q->enabled && live()) right = q->in_use->check_kick() && right;
    return right;
  }

  // --- results ---

  access_counts counts;
  [[nodiscard]] std::uint32_t doorbells() const {
    std::uint32_t sum = 0;
    for (const auto& q : queues_) sum += q->doorbells;
    return sum;
  }
  [[nodiscard]] std::uint32_t doorbells(std::size_t q) const { return queues_.at(q)->doorbells; }
  [[nodiscard]] std::uint32_t interrupts() const { return interrupts_; }
  [[nodiscard]] std::uint32_t interrupts(std::uint16_t vector) const {
    const auto found = vector_interrupts_.find(vector);
    return found == vector_interrupts_.end() ? 0 : found->second;
  }
  [[nodiscard]] std::uint32_t requests() const { return requests_; }
  [[nodiscard]] std::uint32_t resets() const { return resets_; }
  [[nodiscard]] std::uint8_t status() const { return status_; }  // without the side effects of a read by the driver
  [[nodiscard]] bool live() const {
    return (status_ & driver_ok_bit) != 0 && (status_ & (failed_bit | needs_reset_bit)) == 0 && dma_allowed_ &&
           !aborted_;
  }
  /// Whether the host's process has ended: all registers then read as ones, and no reset helps.
  [[nodiscard]] bool aborted() const { return aborted_; }
  [[nodiscard]] interface driven_as() const { return via_; }
  /// All violations so far, including those of the rings.
  [[nodiscard]] std::vector<std::string> violations() const {
    std::vector<std::string> all = violations_;
    for (std::size_t i = 0; i < queues_.size(); ++i)
      for (const auto* const seen : {&queues_[i]->ring.violations(), &queues_[i]->packed.violations()})
        for (const std::string& v : *seen) all.push_back("queue " + std::to_string(i) + ": " + v);
    return all;
  }
  void clear_violations() {
    violations_.clear();
    for (const auto& q : queues_) {
      q->ring.clear_violations();
      q->packed.clear_violations();
    }
  }
  void report(std::string what) {
    const std::lock_guard lock{violation_lock_};
    if (violations_.empty() || violations_.back() != what) violations_.push_back(std::move(what));
  }

  // --- the driver's side, called by the bus of the device ---

  [[nodiscard]] std::uint8_t read_status() {
    if (resetting_ != 0 && resetting_ != forever && --resetting_ == 0) finish_reset();
    // A slow reset shows the previous status meanwhile; a driver that starts after firmware finds a status other than
    // 0.
    const std::uint8_t now = resetting_ != 0 && status_ == 0 ? acknowledge_bit : status_.load();
    if (now == 0) reset_unconfirmed_ = false;
    features_ok_unread_ = false;
    return now;
  }
  void write_status(std::uint8_t value, interface via) {
    via_ = via;
    if (value == 0) return begin_reset();
    const std::uint8_t old = status_;
    const auto fresh = static_cast<std::uint8_t>(value & ~old);
    if (reset_unconfirmed_)
      report(std::string{via == interface::modern ? "PCI-19" : "RESET-01"} +
             ": status written before it was seen to be 0 after a reset");
    if (resetting_ != 0) return;
    if (!was_reset_) report("INIT-01: bring-up without a reset");
    if ((old & ~value & ~needs_reset_bit) != 0)
      report("STATUS-02: status bits " + wire::hex(old & ~value) + " cleared");
    if ((value & 0x30) != 0 || (fresh & needs_reset_bit) != 0)
      report("STATUS: bits " + wire::hex(value & 0x70) + " are not the driver's to set");
    if ((old & failed_bit) != 0 && (fresh & ~failed_bit) != 0) report("STATUS-03: bring-up goes on after FAILED");
    auto next = static_cast<std::uint8_t>((value & ~needs_reset_bit) | (old & needs_reset_bit));
    if (one_step && (value & failed_bit) == 0 && via == interface::modern) {
      static constexpr std::uint8_t steps[] = {0x00, 0x01, 0x03, 0x0b, 0x0f};
      const auto* const at = std::find(std::begin(steps), std::end(steps) - 1, old);
      if (at == std::end(steps) - 1 || at[1] != value)
        return report("STATUS: step from " + wire::hex(old) + " to " + wire::hex(value));
    }
    if ((fresh & acknowledge_bit) != 0 && (fresh & ~(acknowledge_bit | failed_bit)) != 0)
      report("INIT-02: ACKNOWLEDGE written together with a later step");
    if ((fresh & driver_bit) != 0 && (old & acknowledge_bit) == 0) report("INIT-03: DRIVER before ACKNOWLEDGE");
    if ((fresh & features_ok_bit) != 0) next = features_chosen(next, old);
    unfit_ = false;
    if ((fresh & driver_ok_bit) != 0) ready(old, fresh);
    status_ = next;
    if (unfit_) set_needs_reset();
  }

  [[nodiscard]] std::uint32_t read_offer(std::uint32_t select, interface via) {
    if (resetting_ != 0) early("device_feature");
    features_read_ = true;
    return offered(select, via);
  }
  void write_accepted(std::uint32_t select, std::uint32_t bits, interface via) {
    if (resetting_ != 0) return early("driver_feature");
    if ((status_ & driver_bit) == 0) report("INIT-04: features accepted before DRIVER");
    if ((status_ & (via == interface::modern ? features_ok_bit : driver_ok_bit)) != 0)
      return report("INIT-08: features written after FEATURES_OK");
    if (!features_read_) report("INIT-04: features accepted without reading the offer");
    features_written_ = true;
    if (select > 3) return bits == 0 ? void() : report("FEAT-01: feature bits above 127 accepted");
    const std::uint32_t offer = offered(select, via);
    if ((bits & ~offer) != 0)
      report("FEAT-01: bits " + wire::hex(bits & ~offer) + " of feature word " + std::to_string(select) +
             " were not offered");
    accepted_.word[select] =
        features_stored == feature_store::replaces ? bits : accepted_.word[select] | (bits & offer);
  }

  [[nodiscard]] queue_state* find_queue(std::uint16_t index) {
    return index < queues_.size() ? queues_[index].get() : nullptr;
  }
  void write_queue_size(std::uint16_t index, std::uint16_t size) {
    queue_state* const q = may_program(index, "queue_size");
    if (q == nullptr) return;
    if (accepted(34) && size == 0) return report("PCI-16: queue_size 0");
    if (!accepted(34) && (size == 0 || (sizes == size_rule::even ? size % 2 : size & (size - 1)) != 0))
      return report("PCI-17: queue_size " + std::to_string(size) + " is no power of 2");
    if (size > q->maximum)
      return report("PCI-17: queue_size " + std::to_string(size) + " above the maximum " + std::to_string(q->maximum));
    q->size = size;
    look_up(*q, index);
  }
  /// Half `half` of area 0 (descriptors), 1 (driver) or 2 (device).
  void write_queue_area(std::uint16_t index, unsigned area, unsigned half, std::uint32_t value) {
    queue_state* const q = may_program(index, "queue address");
    if (q == nullptr) return;
    std::uint64_t& address = area == 0 ? q->descriptors : area == 1 ? q->driver : q->device;
    address = half == 0 ? (address & ~0xffffffffull) | value : (address & 0xffffffffull) | std::uint64_t{value} << 32;
    q->written |= 1u << (2 * area + half);
    look_up(*q, index);
  }
  void write_queue_enable(std::uint16_t index, std::uint16_t value) {
    if (value == 0) return report("PCI-20: 0 written to queue_enable");
    if (value != 1) report("PCI-20: " + std::to_string(value) + " written to queue_enable");
    queue_state* const q = may_program(index, "queue_enable");
    if (q == nullptr) return;
    if (q->written != 0x3f)
      report("PCI-18: queue " + std::to_string(index) + " enabled before all of its addresses were written");
    if (!has_places(*q, index)) return;
    const std::lock_guard lock{run_lock_};
    q->enabled = true;
    q->in_use = accepted(34) ? static_cast<ring_device*>(&q->packed) : &q->ring;
    q->in_use->configure(*memory_, q->size, q->descriptors, q->driver, q->device, negotiated());
  }
  void write_queue_page(std::uint16_t index, std::uint32_t page) {  // legacy
    queue_state* const q = find_queue(index);
    if (q == nullptr || q->maximum == 0)
      return report("SPLITL-01: address written for queue " + std::to_string(index) + ", which does not exist");
    if ((status_ & driver_bit) == 0) report("INIT-10: queue " + std::to_string(index) + " set up before DRIVER");
    if ((status_ & driver_ok_bit) != 0 && page != 0)
      report("INIT-10: queue " + std::to_string(index) + " set up after DRIVER_OK");
    if (q->enabled && page != 0) report("SPLITL-03: queue " + std::to_string(index) + " moved while in use");
    if (places == ring_places::at_once && page != 0 && !in_ram(std::uint64_t{page} << 12, legacy_bytes(q->size)))
      return abort("the ring of queue " + std::to_string(index) + " at page " + wire::hex(page) + " is not in memory");
    const std::lock_guard lock{run_lock_};
    q->page = page;
    q->enabled = page != 0;
    q->in_use = &q->ring;
    if (q->enabled) q->ring.configure_legacy(*memory_, q->size, page, negotiated());
    else q->ring.reset();
  }
  void write_queue_reset(std::uint16_t index, std::uint16_t value) {
    queue_state* const q = find_queue(index);
    if (!accepted(40)) return report("RESET: queue_reset written without RING_RESET");
    if (q == nullptr || value != 1)
      return report("RESET: " + std::to_string(value) + " written to queue_reset of queue " + std::to_string(index));
    q->resetting = queue_reset_reads == forever ? forever : queue_reset_reads + 1;
  }
  [[nodiscard]] std::uint16_t read_queue_reset(std::uint16_t index) {
    queue_state* const q = find_queue(index);
    if (q == nullptr || q->resetting == 0) return 0;
    if (q->resetting == forever || --q->resetting != 0) return 1;
    const std::lock_guard lock{run_lock_};
    stop(*q);
    if (!keep_held_over_queue_reset) std::erase_if(held_, [&](const held_request& h) { return h.queue == index; });
    return 0;
  }
  /// Queue vectors and, with `index` no_vector, the config vector.
  void write_vector(std::uint16_t index, std::uint16_t vector) {
    queue_state* const q = index == no_vector ? nullptr : find_queue(index);
    if (index != no_vector && q == nullptr)
      return report("MSI-X vector for queue " + std::to_string(index) + ", which does not exist");
    if (q != nullptr && q->enabled && via_ == interface::modern)
      report("PCI-18: vector of queue " + std::to_string(index) + " written after queue_enable");
    if (vector != no_vector && vector >= msix_vectors)
      report("PCI-34: vector " + std::to_string(vector) + " of " + std::to_string(msix_vectors));
    (q != nullptr ? q->vector : config_vector_) = refuse_vectors || vector >= msix_vectors ? no_vector : vector;
  }
  [[nodiscard]] std::uint16_t read_vector(std::uint16_t index) {
    if (index == no_vector) return config_vector_;
    queue_state* const q = find_queue(index);
    return q == nullptr ? no_vector : q->vector;
  }

  void notify(std::uint16_t index) {
    queue_state* const q = find_queue(index);
    if ((status_ & driver_ok_bit) == 0)
      report("INIT-14: queue " + std::to_string(index) + " notified before DRIVER_OK");
    if ((status_ & failed_bit) != 0) report("STATUS-03: queue " + std::to_string(index) + " notified after FAILED");
    if (q == nullptr)
      return report("NOTIFY-03: notification for queue " + std::to_string(index) + ", which does not exist");
    if (!q->enabled) {
      const std::string what = "notification for queue " + std::to_string(index) + ", which is not set up";
      return crashes_on_early_doorbell ? abort(what) : report(what);
    }
    if (!dma_allowed_) report("notification while bus mastering is off");
    q->doorbells.fetch_add(1, std::memory_order_relaxed);
    q->in_use->rang();
    if (mode == run::at_doorbell) (void)serve(index);
    else q->rung.store(true, std::memory_order_release);
  }
  /// A notification with NOTIFICATION_DATA: checks the ring position that the driver reports.
  void notify_with_data(std::uint16_t index, std::uint16_t next_offset, bool next_wrap) {
    queue_state* const q = find_queue(index);
    if (q != nullptr && q->in_use->configured()) {
      const std::uint16_t shown = q->in_use->shown();
      const auto said = static_cast<std::uint16_t>(next_offset | (next_wrap ? 0x8000u : 0u));
      if (said != shown && !accepted(34))
        report("NOTIFY-04: notification says available index " + std::to_string(said) + ", the ring says " +
               std::to_string(shown));
      else if (said != shown)
        report("NOTIFY-07: notification says position " + wire::hex(said) + ", the ring says " + wire::hex(shown));
    }
    notify(index);
  }

  [[nodiscard]] std::uint8_t read_isr() { return isr_.exchange(0); }
  [[nodiscard]] std::uint8_t read_generation() {
    if (no_generation) return 0;
    if (generation_every != 0 && ++generation_reads_ % generation_every == 0) ++generation_;
    return generation_;
  }
  /// Bytes after the end read as ones.
  [[nodiscard]] std::uint32_t read_config(std::uint32_t offset, std::uint32_t width, interface via) {
    check_config_access(offset, width, via, device_memory::access::read);
    if (before_config_read) before_config_read(offset, width);
    std::uint32_t value = 0;
    for (std::uint32_t i = 0; i < width; ++i) {
      const std::uint32_t at = config_place(offset + i, via);
      value |= std::uint32_t{at < config_.size() ? config_[at] : std::uint8_t{0xff}} << (8 * i);
    }
    return value;
  }
  void write_config(std::uint32_t offset, std::uint32_t width, std::uint32_t value, interface via) {
    check_config_access(offset, width, via, device_memory::access::write);
    if (via == interface::modern && (status_ & features_ok_bit) == 0 && !config_writable_at_once(offset))
      report("INIT-06: configuration written before FEATURES_OK");
    if (!config_writable(offset, width)) return report("write to read-only configuration at " + wire::hex(offset));
    for (std::uint32_t i = 0; i < width && offset + i < config_.size(); ++i)
      config_[config_place(offset + i, via)] = static_cast<std::uint8_t>(value >> (8 * i));
    config_written(offset, width);
  }

  /// For the bus: whether MSI-X is enabled, and whether the device may master the bus.
  void set_msix_enabled(bool on) { msix_enabled_ = on; }
  [[nodiscard]] bool msix_enabled() const { return msix_enabled_; }
  void set_dma_allowed(bool on) { dma_allowed_ = on; }

 protected:
  static constexpr std::uint8_t acknowledge_bit = 0x01, driver_bit = 0x02, driver_ok_bit = 0x04, features_ok_bit = 0x08,
                                needs_reset_bit = 0x40, failed_bit = 0x80;

  /// Serves one request; returns the number of bytes written.
  virtual std::uint32_t process(std::uint16_t queue, chain& buffer) {
    return on_request ? on_request(queue, buffer) : 0;
  }
  /// The next buffer of a queue; overridden by devices that look in the wrong place.
  virtual std::optional<chain> take(std::uint16_t queue) { return queues_[queue]->in_use->pop(); }
  virtual void was_reset() {}
  virtual void features_are_chosen() {}
  /// Whether the driver must enable this existing queue, given the features that it accepted.
  [[nodiscard]] virtual bool asked_for(std::uint16_t) const { return true; }
  /// Whether the specification defines this feature bit for this device type. The default accepts all device-specific
  /// bits.
  [[nodiscard]] virtual bool knows(unsigned bit) const {
    if (bit >= 24 && bit <= 43) return bit == 24 || (bit >= 27 && bit != 30 && bit != 31 && bit != 42);
    return bit < 44 || bit > 49;
  }
  virtual void config_written(std::uint32_t, std::uint32_t) {}
  [[nodiscard]] virtual bool config_writable(std::uint32_t, std::uint32_t) const { return false; }
  /// Whether the field may be written before any feature was accepted.
  [[nodiscard]] virtual bool config_writable_at_once(std::uint32_t) const { return false; }
  /// Start and width of the field at `offset`, and the feature that it needs (128: none); width 0: not known, and
  /// little-endian for every guest.
  struct field {
    std::uint32_t first, width;
    unsigned needs;
  };
  [[nodiscard]] virtual field config_field(std::uint32_t) const { return {0, 0, 128}; }

  /// The device stops: the buffer that it has is not returned, and the driver is notified that a reset is needed.
  void stall(std::string what) {
    report(std::move(what));
    stalled_ = true;
    set_needs_reset();
  }
  /// The host's process ends.
  void abort(std::string what) {
    report("abort: " + std::move(what));
    aborted_ = true;
  }

  [[nodiscard]] bool framing_is_legacy() const { return !accepted(32) && !accepted(27); }

  /// Numbers in memory shared with the driver; those of the legacy interface are in the guest's order.
  [[nodiscard]] wire::endian shared_endian() const { return via_ == interface::legacy ? guest : wire::endian::little; }
  [[nodiscard]] std::uint64_t shared(const std::uint8_t* from, unsigned bytes) const {
    return wire::get(from, bytes, shared_endian());
  }
  void put_shared(std::uint8_t* to, std::uint64_t value, unsigned bytes) const {
    wire::put(to, value, bytes, shared_endian());
  }

 private:
  [[nodiscard]] std::uint32_t offered(std::uint32_t select, interface via) const {
    if (select > 3 || (via == interface::legacy && select != 0)) return 0;
    // 24, 27 and 30 exist only on the legacy interface, 32 and above only on the modern one.
    return offered_.word[select] & (via == interface::modern && select == 0 ? ~0x49000000u : ~0u);
  }
  void begin_reset() {
    was_reset_ = reset_unconfirmed_ = true;
    if (reset_fails && (status_ & driver_ok_bit) != 0) return void(status_ |= failed_bit);
    if (reset_reads == 0) return finish_reset();
    resetting_ = reset_reads;  // until then it continues: held requests may still be completed
  }
  void finish_reset() {
    const std::lock_guard lock{run_lock_};
    resetting_ = 0;
    ++resets_;
    status_ = 0;
    isr_ = 0;
    stalled_ = false;
    if (features_stored != feature_store::adds_across_reset) accepted_ = {};
    features_read_ = features_written_ = features_ok_unread_ = features_refused_ = false;
    config_vector_ = no_vector;
    held_.clear();
    for (const auto& q : queues_) stop(*q);
    was_reset();
  }
  void stop(queue_state& q) {
    q.in_use->reset();
    q.batch.reset();
    q.size = q.maximum;
    q.vector = no_vector;
    q.descriptors = q.driver = q.device = 0;
    q.page = 0;
    q.written = 0;
    q.enabled = q.gave_back = false;
    q.resetting = 0;
    q.rung = false;
  }

  std::uint8_t features_chosen(std::uint8_t next, std::uint8_t old) {
    if (via_ == interface::legacy) {
      report("INITL-01: FEATURES_OK on the legacy interface");
      return next;
    }
    if ((old & driver_bit) == 0) report("INIT-03: FEATURES_OK before DRIVER");
    if (!features_written_) report("INIT-07: FEATURES_OK before features were written");
    if (offers(32) && !accepted(32)) report("FEAT-09: VERSION_1 offered and not accepted");
    for (unsigned bit = 0; bit < 128; ++bit)
      if (accepted(bit) && !knows(bit))
        report("FEAT-05: feature " + std::to_string(bit) + " accepted, which means nothing on this device");
    features_ok_unread_ = true;
    bool acceptable = !refuse_features && (accepted(32) || !offers(32));
    for (std::size_t i = 0; i < 4; ++i) acceptable = acceptable && (accepted_.word[i] & ~offered_.word[i]) == 0;
    features_refused_ = !acceptable;
    features_are_chosen();
    if (never_refuses) features_refused_ = false;
    return acceptable || never_refuses ? next : static_cast<std::uint8_t>(next & ~features_ok_bit);
  }
  void ready(std::uint8_t old, std::uint8_t fresh) {
    if ((old & driver_bit) == 0) report("INIT-11: DRIVER_OK before DRIVER");
    if (via_ == interface::legacy) return;
    if (features_refused_) report("INIT-13: DRIVER_OK although the features were refused");
    else if ((old & features_ok_bit) == 0) report("INIT-11: DRIVER_OK before FEATURES_OK");
    if (features_ok_unread_ || (fresh & features_ok_bit) != 0)
      report("INIT-09: FEATURES_OK not read back before DRIVER_OK");
    for (std::uint16_t i = 0; exact_queues && i < queues_.size(); ++i)
      if (queues_[i]->enabled != asked_for(i)) {
        report("DRIVER_OK with queue " + std::to_string(i) +
               (asked_for(i) ? " not enabled" : " enabled, without its feature"));
        unfit_ = true;
      }
  }
  queue_state* may_program(std::uint16_t index, const char* what) {
    if (resetting_ != 0) {
      early(what);
      return nullptr;
    }
    queue_state* const q = find_queue(index);
    const std::string name = std::string{what} + " of queue " + std::to_string(index);
    if (q == nullptr || q->maximum == 0) {
      report(name + ", which does not exist");
      return nullptr;
    }
    if ((status_ & features_ok_bit) == 0) report("INIT-10: " + name + " written before FEATURES_OK");
    else if (features_ok_unread_) report("INIT-09: " + name + " written before FEATURES_OK was read back");
    if (q->enabled) {
      report("PCI-18: " + name + " written after queue_enable");
      return nullptr;
    }
    if ((status_ & driver_ok_bit) != 0 && !accepted(40)) report("INIT-10: " + name + " written after DRIVER_OK");
    return q;
  }
  // A split ring as one block, of the size that the legacy interface defines.
  [[nodiscard]] static std::uint64_t legacy_bytes(std::uint16_t size) {
    return (std::uint64_t{16} * size + 2u * (3u + size) + 4095) / 4096 * 4096 +
           (6 + std::uint64_t{8} * size + 4095) / 4096 * 4096;
  }
  [[nodiscard]] const memory_range* range_of(std::uint64_t at, std::uint64_t length) const {
    for (const memory_range& one : ram)
      if (at >= one.first && at < one.end && length <= one.end - at) return &one;
    return nullptr;
  }
  [[nodiscard]] bool in_ram(std::uint64_t at, std::uint64_t length) const { return range_of(at, length) != nullptr; }
  // With `at_once`, half of an address is taken as a whole address.
  void look_up(const queue_state& q, std::uint16_t index) {
    if (places != ring_places::at_once || q.descriptors == 0 || in_ram(q.descriptors, legacy_bytes(q.size))) return;
    abort("the ring of queue " + std::to_string(index) + " with " + std::to_string(q.size) + " entries at " +
          wire::hex(q.descriptors) + " is not in memory");
  }
  bool has_places(const queue_state& q, std::uint16_t index) {
    const std::string name = "queue " + std::to_string(index) + ": ";
    if (places == ring_places::at_once) {
      look_up(q, index);
      const memory_range* const all = range_of(q.descriptors, 1);
      for (const std::uint64_t area : {q.driver, q.device})
        if (!aborted_ &&
            (all == nullptr || area < q.descriptors || area - q.descriptors > 0xffffffff || area >= all->end))
          abort(name + "an area at " + wire::hex(area) + " is not behind the descriptors at " +
                wire::hex(q.descriptors));
      return !aborted_;
    }
    if (places != ring_places::apart) return true;
    const std::uint64_t n = q.size;
    const bool fits = q.descriptors % 16 == 0 && q.driver % 2 == 0 && q.device % 4 == 0 &&
                      in_ram(q.descriptors, 16 * n) && in_ram(q.driver, 6 + 2 * n) && in_ram(q.device, 6 + 8 * n);
    if (!fits) report(name + "its areas are misaligned or not in memory, and it stays off");
    return fits;
  }
  void early(const char* what) { report(std::string{"PCI-19: "} + what + " accessed before the reset was done"); }

  [[nodiscard]] ring_features negotiated() const { return {accepted(29), accepted(28), accepted(35), shared_endian()}; }

  // `config_` is little-endian: the index of the byte that the driver finds at `offset`.
  [[nodiscard]] std::uint32_t config_place(std::uint32_t offset, interface via) const {
    const field f = config_field(offset);
    if (via == interface::modern || guest == wire::endian::little || f.width == 0 || f.first + f.width > config_.size())
      return offset;
    return f.first + f.width - 1 - (offset - f.first);
  }

  void check_config_access(std::uint32_t offset, std::uint32_t width, interface via, device_memory::access) {
    const std::string name = "configuration access of " + std::to_string(width) + " at " + wire::hex(offset);
    if (resetting_ != 0) early("configuration");
    if (offset + width > config_.size()) return report("CFG-04: " + name + ", behind the end");
    const field f = config_field(offset);
    if (f.width == 0) return;
    if (f.needs < 128 && !offers(f.needs))
      report("CFG-04: " + name + ": the field needs feature " + std::to_string(f.needs) + ", which is not offered");
    if (via == interface::modern && exact_config_width &&
        (width != std::min(f.width, 4u) || (offset - f.first) % width != 0))
      report("PCI-05: " + name + ", a field of " + std::to_string(f.width));
  }

  void give_back(queue_state& q, const chain& buffer, std::uint32_t written) {
    q.gave_back = true;
    q.batch = {buffer.head, used_length.value_or(written)};
    // A buffer that an entry skips counts as used completely (FACT-18), so any other buffer must end its batch.
    if (!batch_in_order || !accepted(35) || written != buffer.writable()) end_batch(q);
  }
  void end_batch(queue_state& q) {
    if (!q.batch) return;
    if (batch_in_order && accepted(35)) q.in_use->push_batch(q.batch->first, q.batch->second);
    else q.in_use->push(q.batch->first, q.batch->second);
    q.batch.reset();
  }
  void finish_batch(queue_state& q) {
    end_batch(q);
    q.in_use->publish();
    const bool wanted = q.in_use->should_interrupt();
    const bool gave_back = std::exchange(q.gave_back, false);
    if (wanted || (interrupts_always && gave_back)) raise(q.vector, 1);
  }
  void config_interrupt() { raise(config_vector_, 2); }
  void raise(std::uint16_t vector, std::uint8_t isr_bits) {
    if (msix_enabled_) {
      if (vector == no_vector) return;  // an event without a vector is silent, and the ISR stays 0 with MSI-X
      ++vector_interrupts_[vector];
    } else {
      if (!has_line) return;
      isr_ |= isr_bits;
    }
    ++interrupts_;
    if (on_interrupt) on_interrupt();
  }

  device_memory* memory_;
  std::uint16_t type_;
  std::vector<std::uint8_t> config_;
  std::vector<std::unique_ptr<queue_state>> queues_;
  feature_words offered_, accepted_;
  interface via_ = interface::modern;
  std::atomic<std::uint8_t> status_ = 0, isr_ = 0;
  std::atomic<std::uint32_t> interrupts_ = 0;
  std::map<std::uint16_t, std::uint32_t> vector_interrupts_;
  std::uint8_t generation_ = 0;
  std::uint16_t config_vector_ = no_vector;
  std::uint32_t resetting_ = 0, requests_ = 0, resets_ = 0, generation_reads_ = 0;
  bool was_reset_ = false, reset_unconfirmed_ = false, features_read_ = false, features_written_ = false,
       features_ok_unread_ = false, features_refused_ = false, holding_ = false, msix_enabled_ = false, unfit_ = false,
       stalled_ = false;
  std::atomic<bool> aborted_ = false;
  std::atomic<bool> dma_allowed_ = true;
  std::vector<held_request> held_;
  std::recursive_mutex run_lock_;  // a hook may complete or step again
  std::mutex violation_lock_;
  std::vector<std::string> violations_;
};

}  // namespace virtio::testing
