// SPDX-License-Identifier: MIT
// Balloon driver: pages of the guest that the host may borrow. The host requests a number of pages, and the program
// selects them. The driver sends their numbers to the host, waits until the host has used the request, and reports the
// total.
//
// The program records which pages are in the balloon: a bit in its page allocator. From the moment at which `inflate`
// names a page until `deflate` returns with it, the page belongs to the host. A reset of the device empties the
// balloon: every page belongs to the program again, with undefined contents.
// Spec: virtio 1.4, 5.5. Layer: balloon (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/balloon/hints.hpp>
#include <virtio/balloon/protocol.hpp>
#include <virtio/base/cells.hpp>
#include <virtio/device/queue_set.hpp>

namespace virtio::balloon {

/// A memory balloon. All-zero until `start`. One context owns it.
template <platform P, transport T, queue_format Q>
class device {
  enum : u16 { inflate_queue, deflate_queue, stats_queue, hint_queue, reporting_queue, queues };
  using set = queue_set<P, T, Q, queues>;

  // After the rings: page numbers of one request, then the statistics, then the command id of a round of hints.
  static constexpr u16 most_pages = 256;  // in one request: as Linux sends, and every host accepts
  static constexpr u16 most_samples = 16;
  static constexpr usize sample_bytes = 10;
  static constexpr usize list_at = set::dma_bytes;
  static constexpr usize samples_at = list_at + sizeof(to_device<u32>) * most_pages;
  static constexpr usize command_at = virtio::detail::round_up(samples_at + sample_bytes * most_samples, sizeof(u32));
  static constexpr u16 most_pieces = 4;  // of a stretch of free memory that is scattered for the device

 public:
  using location = typename T::location;                        // what discovery returns for the device
  static constexpr usize dma_bytes = command_at + sizeof(u32);  // bytes of DMA storage that this type needs

  /// Brings the device up with an empty balloon. With samples, at most 16, the host receives these statistics and may
  /// request them again; without samples statistics are declined. With a poison, pages that the host returns contain
  /// it. The host receives the poison if it has PAGE_POISON; otherwise reports of free memory are declined. Errors:
  /// those of `blk::device::start`; `invalid_argument`: too many samples.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts = {}, samples first = {}, poison held = {}) {
    if (first.count > most_samples) return errc::invalid_argument;
    static constexpr feature_rule reports_keep_poison{static_cast<u8>(feature::page_reporting),
                                                      static_cast<u8>(feature::page_poison)};
    feature_plan plan{.wanted = feature_set{feature::must_tell_host, feature::deflate_on_oom, feature::free_page_hint,
                                            feature::page_reporting},
                      .rules = &reports_keep_poison};
    if (first.count != 0) plan.wanted.set(static_cast<u8>(feature::stats_vq));
    if (held.page != nullptr) {
      plan.wanted.set(static_cast<u8>(feature::page_poison));
      plan.rule_count = 1;
    }
    dma_area area;
    VIRTIO_TRY(set_.forget());
    unmap_lent(lifecycle().session().platform());
    actual_ = 0;
    rounds_ = {};
    VIRTIO_TRY(set_.begin(platform, where, storage, dma_bytes, device_type::balloon, plan, interrupts, area));
    memory_ = area;
    poison_ = held.page != nullptr ? held : poison{};
    // Optional queues have consecutive numbers in the order of the offered features, accepted or not. QEMU, crosvm,
    // Firecracker and Linux do so, against the letter of 5.5.2.
    constexpr feature with[queues] = {{}, {}, feature::stats_vq, feature::free_page_hint, feature::page_reporting};
    const feature_set offered = set_.lifecycle().session().transport().device_features(1);
    for (u16 queue = 0, number = 0; queue < queues; ++queue) {
      const bool always = queue <= deflate_queue;
      if (!always && !offered.has(with[queue])) continue;
      if (always || features().has(with[queue])) VIRTIO_TRY(set_.set_up(queue, number, area, interrupts));
      ++number;
    }
    auto& transport = set_.lifecycle().session().transport();
    auto known = read_field(transport, config::actual).error();
    if (known == errc::ok && features().has(feature::page_poison))
      known = write_field(transport, config::poison_val, held.value).error();
    if (known != errc::ok) return set_.refuse(verdict::config_unreadable, known);
    if (set_.has(stats_queue)) {
      count_ = first.count;
      for (u16 i = 0; i < count_; ++i) tags_[i] = first.data[i].what;
      write_samples(first);
      VIRTIO_TRY(stage_samples());
    }
    set_.go();
    if (set_.has(stats_queue)) set_.kick(stats_queue);
    return write_actual();  // the previous guest may have left a number
  }

  /// The result of the last `start`: bound, or the verdict and its numbers.
  [[nodiscard]] const report& why() const { return lifecycle().session().why(); }
  /// The features that the last `start` negotiated.
  [[nodiscard]] const feature_set& features() const { return lifecycle().session().features(); }

  /// The number of pages in the balloon, as reported to the host.
  [[nodiscard]] u32 actual() const { return actual_; }
  /// Reads the number of pages that the host requests in the balloon. It may exceed the guest's memory, and change
  /// between two reads. Errors: `not_started`; those of the transport.
  [[nodiscard]] result<u32> target() const {
    VIRTIO_TRY(lifecycle().ready());
    return read_field(lifecycle().session().transport(), config::num_pages);
  }

  /// Puts up to `most` pages into the balloon: `next(page)` sets `page` to a page number, or returns false if there are
  /// no more. Such a page belongs to the host until `deflate`. Returns the number of pages, after the host has used all
  /// requests. Waits; one request for each 256 pages. Errors: `timed_out` or `dma_unanswered`, `needs_reset`,
  /// `device_misbehaved`: the device was reset, and the balloon is empty; `device_broken`: the device did not confirm
  /// the reset and keeps all pages; `not_started`.
  template <class Next>
  [[nodiscard]] result<u32> inflate(u32 most, Next&& next) {
    return move(inflate_queue, most, next);
  }

  /// Takes up to `most` pages out of the balloon: `next(page)` names one that is in it. When this returns, they belong
  /// to the program and contain its poison; without a poison their contents are undefined. Without DEFLATE_ON_OOM at
  /// most `actual() - target()` pages are taken. Errors: as `inflate`; `out_of_range`: that difference is not positive.
  template <class Next>
  [[nodiscard]] result<u32> deflate(u32 most, Next&& next) {
    if (!features().has(feature::deflate_on_oom)) {
      VIRTIO_TRY_ASSIGN(const u32 wanted, target());
      if (wanted >= actual_) return errc::out_of_range;
      most = virtio::detail::smaller(most, actual_ - wanted);
    }
    return move(deflate_queue, most, next);
  }

  /// Follows the host's current request: `inflate` with `give`, or `deflate` with `take`. Returns the number of pages
  /// in the balloon. Waits. Errors: those of `inflate`.
  template <class Give, class Take>
  [[nodiscard]] result<u32> follow(Give&& give, Take&& take) {
    VIRTIO_TRY_ASSIGN(const u32 wanted, target());
    result<u32> moved = u32{0};
    if (wanted > actual_) moved = inflate(wanted - actual_, give);
    else if (wanted < actual_) moved = deflate(actual_ - wanted, take);
    // out_of_range: the host has changed its request in the meantime.
    if (!moved && moved.error() != errc::out_of_range) return moved;
    return actual_;
  }

  /// Sends statistics if the host has requested them, and returns whether it has. `now` has the statistics of `start`,
  /// in the same order. Call this regularly, or after an interrupt. Errors: `unsupported`: statistics were not
  /// negotiated; `invalid_argument`: other statistics than at `start`; `device_misbehaved`; `not_started`.
  [[nodiscard]] result<bool> answer_statistics(samples now) {
    VIRTIO_TRY(lifecycle().ready());
    if (!set_.has(stats_queue)) return errc::unsupported;
    if (now.count != count_) return errc::invalid_argument;
    for (u16 i = 0; i < count_; ++i)
      if (now.data[i].what != tags_[i]) return errc::invalid_argument;
    bool came = false;
    if (const errc problem = look(came); problem != errc::ok) return problem;
    if (set_[stats_queue].in_flight() != 0) return false;
    write_samples(now);
    VIRTIO_TRY(stage_samples());
    set_.kick(stats_queue);
    return true;
  }

  /// Reports a stretch of free memory to the host, which may release the memory behind it. The stretch belongs to the
  /// program again when this returns. It contains the poison, which is written before; without a poison its contents
  /// are undefined. Waits. Errors: `unsupported` without PAGE_REPORTING; `too_many_pieces`: more than four;
  /// `out_of_range`: longer than `largest_transfer`; those of the platform's `map`; those of `inflate`.
  [[nodiscard]] result<void> report_free(bytes stretch) {
    VIRTIO_TRY(lifecycle().ready());
    if (!set_.has(reporting_queue)) return errc::unsupported;
    if (stretch.empty()) return {};
    if (poison_.page != nullptr) initialize(stretch);
    return lend(reporting_queue, stretch);
  }

  /// Returns whether the host requests hints (5.5.6.4), and whether hinted memory may be used again; `done` is returned
  /// once. A change raises a configuration interrupt. One register access. Errors: `unsupported` without
  /// FREE_PAGE_HINT; `not_started`; those of the transport.
  [[nodiscard]] result<hinting> hints() {
    VIRTIO_TRY(lifecycle().ready());
    if (!set_.has(hint_queue)) return errc::unsupported;
    const auto now = rounds_.state(lifecycle().session().transport());
    if (now && *now == hinting::done) rounds_.forget();
    return now;
  }

  /// Hints free memory to a host that requests it: `next(stretch)` names a stretch, or returns false if there are no
  /// more. It is called while the round is open. Returns the number of stretches that were hinted; 0 if no round is
  /// open. They belong to the program and have undefined contents. Do not use them until `hints` returns `done`; call
  /// `initialize` before an earlier use. Waits; one request for each stretch, so large ones are cheap. Errors:
  /// `invalid_argument`: an empty stretch; `too_many_pieces`, `out_of_range` and those of the platform's `map`, as
  /// `report_free`: all stretches but the last one named are hinted; those of `inflate`.
  template <class Next>
  [[nodiscard]] result<u32> hint(Next&& next) {
    VIRTIO_TRY(lifecycle().ready());
    if (!set_.has(hint_queue)) return errc::unsupported;
    return rounds_.run(
        lifecycle().session().transport(), next, [this](u32 id) { return send_command(id); },
        [this](bytes stretch) { return lend(hint_queue, stretch); }, [this] { return lifecycle().is_up(); });
  }

  /// Writes the poison, or zeros without one, into memory that has undefined contents: after a reset, for example, all
  /// pages that were in the balloon.
  void initialize(bytes stretch) const {
    constexpr usize word = sizeof poison_.value;
    usize at = 0;
    for (; stretch.size() - at >= word; at += word) __builtin_memcpy(stretch.data() + at, &poison_.value, word);
    __builtin_memcpy(stretch.data() + at, &poison_.value, stretch.size() - at);
  }

  /// Requests an interrupt for the host's next request for statistics; changes of `target` raise configuration
  /// interrupts. True: something is ready already.
  [[nodiscard]] bool arm() { return lifecycle().is_up() && (is_asked() || set_.arm()); }
  /// Requests no interrupts. A hint: one may still arrive.
  void disarm() { set_.disarm(); }
  /// For the interrupt handler (not with MSI-X): reads the ISR, which deasserts the line.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return set_.acknowledge_interrupt(); }
  /// Returns `needs_reset` if the device has failed; it is then reset. One register read. Errors: as
  /// `queue_set::check`.
  [[nodiscard]] result<void> check() {
    return set_.check([this](errc why) { return bring_down(why); });
  }
  /// Resets the device, which empties the balloon. Errors: `not_started`; `device_broken`: it did not reset and keeps
  /// the storage and all pages; `timed_out`: it did not reset and has no memory.
  [[nodiscard]] result<void> reset() {
    return set_.reset([this](errc why) { return bring_down(why); });
  }
  /// As `reset`, and takes the device off the bus.
  [[nodiscard]] result<void> hand_off() {
    return set_.hand_off([this](errc why) { return bring_down(why); });
  }

 private:
  [[nodiscard]] const device_lifecycle<P, T>& lifecycle() const { return set_.lifecycle(); }

  template <class Next>
  [[nodiscard]] result<u32> move(u16 queue, u32 most, Next&& next) {
    VIRTIO_TRY(lifecycle().ready());
    auto* const list = reinterpret_cast<to_device<u32, T::ring_order>*>(memory_.data + list_at);
    u32 moved = 0;
    for (bool more = true; more && moved < most;) {
      u32 count = 0;
      for (u32 page = 0; count < most_pages && moved + count < most && (more = next(page)); ++count) {
        list[count].store(page);
        named_[count] = page;
      }
      if (count == 0) break;
      if (const errc done = pass_on(queue, count); done != errc::ok) return done;
      moved += count;
    }
    return moved;
  }
  // Sends the numbers of the `count` named pages.
  [[nodiscard]] errc pass_on(u16 queue, u32 count) {
    segment_list<1> chain;
    chain.append(memory_.at + list_at, count * static_cast<u32>(sizeof(u32)), direction::to_device);
    if (const errc done = request(queue, chain); done != errc::ok) return done;
    if (queue == deflate_queue && poison_.page != nullptr)
      for (u32 i = 0; i < count; ++i) initialize({poison_.page(named_[i]), page_bytes});
    actual_ = queue == inflate_queue ? actual_ + count : actual_ - virtio::detail::smaller(count, actual_);
    return write_actual().error();
  }

  [[nodiscard]] result<void> write_actual() {
    return write_field(set_.lifecycle().session().transport(), config::actual, actual_);
  }

  // Whether the device has returned the statistics buffer, which is its request for new ones.
  [[nodiscard]] bool is_asked() const { return set_.has(stats_queue) && set_[stats_queue].in_flight() == 0; }

  // Free memory is mapped while the device holds it: if the device does not reset, until a later reset succeeds.
  [[nodiscard]] errc lend(u16 queue, bytes stretch) {
    if (stretch.empty()) return errc::invalid_argument;
    segments chain{lent_};
    chain.limit_count(set_[queue].longest_chain());
    const P& platform = lifecycle().session().platform();
    if (const auto mapped = platform.map(stretch.data(), stretch.size(), direction::from_device, chain); !mapped)
      return mapped.error() == errc::no_space ? errc::too_many_pieces : mapped.error();
    lent_count_ = chain.size();
    const errc done = request(queue, chain);
    if (done != errc::device_broken) unmap_lent(platform);
    return done;
  }
  void unmap_lent(const P& platform) {
    if constexpr (virtio::detail::unmaps<P>) {
      virtio::detail::unmap(platform, lent_, lent_count_, 0);
      lent_count_ = 0;
    }
  }

  [[nodiscard]] errc send_command(u32 id) {
    reinterpret_cast<to_device<u32, T::ring_order>*>(memory_.data + command_at)->store(id);
    segment_list<1> chain;
    chain.append(memory_.at + command_at, sizeof id, direction::to_device);
    return request(hint_queue, chain);
  }

  // Performs one request, from staging to its end. A queue has at most one.
  [[nodiscard]] errc request(u16 queue, const segments& chain) {
    const auto slot = set_[queue].reserve();
    if (!slot) return slot.error();
    if (const auto staged = set_[queue].stage(*slot, chain, 0); !staged) return staged.error();
    set_.kick(queue);
    const auto step = [this](bool& came) { return look(came); };
    const auto ended = [&] { return set_[queue].in_flight() == 0; };
    const errc waited = set_.wait_until(waiting::request, step, [this] { return set_.arm(); }, ended);
    if (waited == errc::ok || !lifecycle().is_up()) return waited;
    return bring_down(waited);
  }

  // Takes the completions of all queues. Each queue has at most one request, so its ring has the whole state.
  [[nodiscard]] errc look(bool& came) {
    for (u16 queue = 0; queue < queues; ++queue) {
      if (!set_.has(queue)) continue;
      completion one;
      const errc got = set_[queue].take(one);
      if (got == errc::not_ready) continue;
      if (got != errc::ok) return bring_down(got);
      set_[queue].release(one.which);
      came = true;
    }
    came ? set_.found_something() : set_.found_nothing();
    return errc::ok;
  }

  void write_samples(samples now) {
    u8* to = memory_.data + samples_at;
    const auto put = [&](u64 value, u32 size) {
      for (u32 i = 0; i < size; ++i)
        *to++ = static_cast<u8>(value >> 8 * (T::ring_order == byte_order::little ? i : size - 1 - i));
    };
    for (u16 i = 0; i < now.count; ++i) {
      put(static_cast<u16>(now.data[i].what), 2);
      put(now.data[i].value, 8);
    }
  }
  [[nodiscard]] result<void> stage_samples() {
    VIRTIO_TRY_ASSIGN(const u16 slot, set_[stats_queue].reserve());
    segment_list<1> chain;
    chain.append(memory_.at + samples_at, count_ * static_cast<u32>(sample_bytes), direction::to_device);
    VIRTIO_TRY(set_[stats_queue].stage(slot, chain, 0));
    return {};
  }

  errc bring_down(errc why) {
    why = set_.take_down(why);
    if (lifecycle().has_memory()) return why;
    unmap_lent(lifecycle().session().platform());
    actual_ = 0;
    rounds_ = {};
    return why;
  }

  dma_area memory_{};
  poison poison_{};
  u32 named_[most_pages]{};  // the pages of a request: the device may overwrite the list that it reads
  u32 actual_ = 0;
  u16 count_ = 0;
  statistic tags_[most_samples]{};
  hint_rounds rounds_{};
  segment lent_[most_pieces]{};  // free memory that the device holds
  u16 lent_count_ = 0;
  set set_{};
};

}  // namespace virtio::balloon
