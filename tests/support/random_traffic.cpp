// SPDX-License-Identifier: MIT
// Random traffic, compiled once for all rings. It records where every request is, and which side may sleep.
#include "random_traffic.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <random>

namespace rig {
namespace {

constexpr u32 near_wrap = 65534;       // of all indices
constexpr u16 most_outstanding = 300;  // the largest rings would otherwise only fill

/// One ring's traffic, and the state of each request: staged, shown, at the device, pushed, present, held.
class traffic {
 public:
  traffic(subject& r, u32 seed) : r_{r}, random_{seed}, event_idx_{any(2) != 0} {}

  void run(u64 operations, u64 between_resets) {
    start(near_wrap);
    for (u64 i = 0; i < operations; ++i) {
      if (i % 256 == 255) slow_ = static_cast<side>(any(3));
      if (i % between_resets == between_resets - 1) {
        take_back();
        start(any(4) == 0 ? near_wrap : 0);
      }
      step();
      if (r_.ring.in_flight() != shown_.size() + at_device_.size() + pushed_.size() + there_.size()) FAIL("in_flight");
      if (r_.device.is_broken()) break;
    }
    r_.require_no_violations();
    finish();
    r_.require_no_violations();
    CHECK(taken_ > operations / 100);  // it was traffic
    CHECK(kicks_ > operations / 1'000);
    CHECK(silent_ > operations / 1'000);
    CHECK(slept_ > operations / 200);
    CHECK(busy_ > operations / 500);
    if (batches_ > operations / 1'000) CHECK(armed_in_batch_ > 0);
  }

 private:
  enum class side : u8 { neither, device, driver };
  struct request {
    token which;
    u16 readable, writable;
  };
  struct used {
    u64 cookie;
    u32 claimed;
    bool known;  // its length is known; false: it precedes the last of a batch
  };

  u32 any(usize below) { return static_cast<u32>(random_() % below); }

  void start(u32 before) {
    in_order_ = r_.in_order && any(4) != 0;
    feature_set f{feature::version_1};
    event_idx_ = !event_idx_;
    if (event_idx_) f.set(static_cast<u8>(feature::event_idx));
    if (any(4) != 0) f.set(static_cast<u8>(feature::indirect_desc));
    if (in_order_) f.set(static_cast<u8>(feature::in_order));
    const u16 entries = r_.ring.fit(static_cast<u16>(any(2) != 0 ? r_.slots : 1 + any(r_.slots)), false);
    r_.attach(entries, f, in_order_ ? before / entries * entries : before);
    if (!in_order_ && r_.ring.longest_chain() > r_.entries) FAIL("a chain longer than the ring");
    (void)r_.device.should_interrupt();
    r_.ask(random_);
    checked_ = r_.device.shown();
    unchecked_ = unpublished_ = 0;
    asleep_ = disarmed_ = quiet_ = published_since_ = unasked_ = mid_batch_ = false;
  }

  void step() {
    switch (any(21)) {
      case 0:
      case 1: return submit();
      case 2: return slow_ != side::neither ? submit() : void(take());
      case 3:
      case 4: return publish();
      case 5: return kick();
      case 6:
      case 7: return pop();
      case 8:
      case 9: return push();
      case 10: return slow_ != side::device ? push() : submit();
      case 11: return device_publish();
      case 12: return ask_for_interrupt();
      case 13:
      case 14: return void(take());
      case 15: return slow_ != side::driver ? poll() : pop();
      case 16: return release();
      case 17:
      case 18: return arm();
      case 19: return disarm();
      default: return r_.ask(random_);
    }
  }

  // --- the driver ---

  void submit() {
    if (known_.size() >= most_outstanding) return;
    if (any(4) == 0) (void)r_.ring.reserve();  // reserved but not staged: no cost
    if (any(32) == 0) return refused();
    // Up to five pieces, as many as can ever fit; sometimes more.
    const u32 most = any(16) == 0 ? 12 : std::min<u32>(5, r_.ring.longest_chain());
    const u16 pieces = static_cast<u16>(1 + any(most)), readable = static_cast<u16>(any(pieces + 1u));
    const u16 writable = static_cast<u16>(pieces - readable);
    const auto t = r_.submit(readable, writable, cookie_);
    if (pieces > r_.ring.longest_chain()) {
      if (t || (t.error() != errc::out_of_range && t.error() != errc::queue_full))
        FAIL("a chain of " << pieces << " was taken");
      return;
    }
    if (!t) {
      if (t.error() != errc::queue_full || known_.empty()) FAIL("refused: " << describe(t.error()));
      return;
    }
    if (!r_.ring.is_live(*t)) FAIL("not live");
    const slot_record& record = r_.ring.record(t->slot);
    if (record.cookie != cookie_ || record.generation != t->generation) FAIL("the record is not what was staged");
    staged_.push_back(cookie_);
    unpublished_ += r_.places(pieces);
    known_[cookie_++] = {*t, readable, writable};
  }
  // 4 GiB.
  void refused() {
    const auto slot = r_.ring.reserve();
    if (!slot) return;
    segment_list<2> chain;
    for (int i = 0; i < 2; ++i) chain.append(dma_addr{buffers_at}, 0x8000'0000, direction::to_device);
    if (r_.ring.stage(*slot, chain, 0)) FAIL("4 GiB were taken");
  }
  void publish() {
    if (r_.ring.publish() == staged_.empty()) FAIL("publish, with " << staged_.size() << " staged");
    shown_.insert(shown_.end(), staged_.begin(), staged_.end());
    staged_.clear();
    unchecked_ += unpublished_;
    unpublished_ = 0;
    const u16 position = r_.moved(checked_, static_cast<int>(unchecked_));
    if (r_.ring.position() != position) FAIL("position " << r_.ring.position() << ", and not " << position);
    if (r_.device.shown() != position) FAIL("shown up to " << r_.device.shown() << ", and not " << position);
    if (any(2) != 0) kick();
  }
  void kick() {
    const bool wanted = r_.wants_kick(checked_, unchecked_), kicked = r_.ring.needs_kick();
    // After more than a lap without a check, a packed ring's position may be one ahead or one passed.
    const bool cannot_tell = r_.packed && unchecked_ > r_.entries;
    if (kicked != wanted && !cannot_tell) FAIL("kicked " << kicked << " after " << unchecked_);
    if (unchecked_ != 0) ++(kicked ? kicks_ : silent_);
    checked_ = r_.ring.position();
    unchecked_ = 0;
  }
  // A completion is taken in either of two ways.
  errc next(completion& out) {
    if (any(2) != 0) return r_.ring.take(out);
    const auto one = r_.ring.next_completion();
    if (!one) return one.error();
    out = *one;
    return errc::ok;
  }
  bool take() {
    completion done;
    if (const errc got = next(done); got != errc::ok) {
      if (got != errc::not_ready || !there_.empty()) FAIL("no completion: " << describe(got));
      return false;
    }
    if (asleep_ && !published_since_) FAIL("arm() said that nothing was there");
    if (there_.empty() || done.cookie != there_.front().cookie) FAIL("not the next completion: " << done.cookie);
    const request& expected = known_.at(done.cookie);
    const auto [cookie, claimed, known] = there_.front();
    // A used length beyond the buffer is cut to it.
    const u32 length = known ? std::min(claimed, 64u * expected.writable) : 0;
    if (done.which != expected.which || done.length_known != known || done.length != length)
      FAIL("length " << done.length);
    there_.pop_front();
    mid_batch_ = !known;
    ++taken_;
    held_.push_back(cookie);
    if (any(8) != 0) release();
    return true;
  }
  // A few at a time, as drivers do.
  void poll() {
    for (u32 budget = 1 + any(4); budget != 0 && take(); --budget) {}
    if (any(2) != 0) arm();
  }
  void release() {
    if (held_.empty()) return;
    const usize which = any(held_.size());
    const auto found = known_.find(held_[which]);
    if (!r_.ring.is_live(found->second.which)) FAIL("held, and not live");
    r_.ring.release(found->second.which);
    if (r_.ring.is_live(found->second.which)) FAIL("released, and live");
    known_.erase(found);
    held_[which] = held_.back();
    held_.pop_back();
  }
  void arm() {
    const bool there = r_.ring.arm();
    if (mid_batch_) ++armed_in_batch_;
    if (there != !there_.empty()) FAIL("arm() said " << there << " with " << there_.size() << " to take");
    asleep_ = !there;
    disarmed_ = quiet_ = published_since_ = false;
    ++(there ? busy_ : slept_);
  }
  void disarm() {
    r_.ring.disarm();
    asleep_ = false;
    disarmed_ = true;
    quiet_ = !unasked_;
  }

  // --- the device ---

  void pop() {
    if (shown_.empty()) {
      if (r_.device.pending() != 0) FAIL("more visible than published");
      return;
    }
    const auto one = r_.device.pop();
    const request& expected = known_.at(shown_.front());
    if (!one || !r_.is_chain(*one, expected.readable, expected.writable, shown_.front()))
      FAIL("not what was published");
    at_device_.emplace_back(shown_.front(), one->head);
    shown_.pop_front();
  }
  // In order: the oldest alone or a batch; otherwise any.
  void push() {
    if (at_device_.empty()) return;
    usize which = any(at_device_.size());
    if (in_order_ && any(2) != 0) which = 0;
    const auto [cookie, head] = at_device_[which];
    const u32 room = 64u * known_.at(cookie).writable;
    const u32 claimed = any(3) == 0 ? 0xffff'ffff : any(2) == 0 ? room : any(room + 1);
    const bool batch = in_order_ && which != 0;
    if (batch) r_.device.push_batch(head, claimed);
    else r_.device.push(head, claimed);
    const auto last = at_device_.begin() + static_cast<std::ptrdiff_t>(which),
               first = batch ? at_device_.begin() : last;
    for (auto one = first; one != last; ++one) pushed_.push_back({one->first, 0, false});
    pushed_.push_back({cookie, claimed, true});
    at_device_.erase(first, last + 1);
    if (batch) ++batches_;
    if (any(2) != 0) device_publish();
  }
  void device_publish() {
    r_.device.publish();
    if (!pushed_.empty()) published_since_ = unasked_ = true;
    there_.insert(there_.end(), pushed_.begin(), pushed_.end());
    pushed_.clear();
    if (any(4) != 0) ask_for_interrupt();
  }
  // The device may decide late.
  void ask_for_interrupt() {
    const bool wanted = r_.device.should_interrupt();
    if (asleep_ && published_since_ && unasked_ && !wanted) FAIL("slept through a completion");
    if (quiet_ && wanted) FAIL("an interrupt after disarm");
    if (wanted) asleep_ = false;
    unasked_ = false;
    quiet_ = disarmed_;
  }

  // --- both ---

  // A reset in the middle: every request in flight is returned once.
  void take_back() {
    r_.device.reset();
    while (!held_.empty()) release();
    while (const auto back = r_.ring.reclaim()) {
      const auto found = known_.find(back->cookie);
      if (found == known_.end() || found->second.which != back->which) FAIL("reclaimed twice, or never submitted");
      known_.erase(found);
      r_.ring.release(back->which);
    }
    if (!known_.empty() || r_.ring.in_flight() != 0) FAIL(known_.size() << " requests lost");
    if (r_.ring.publish()) FAIL("something staged is left");
    staged_.clear();
    shown_.clear();
    at_device_.clear();
    pushed_.clear();
    there_.clear();
  }
  // Every submitted request is returned without a reset.
  void finish() {
    publish();
    while (!shown_.empty()) pop();
    while (!at_device_.empty()) push();
    device_publish();
    while (!there_.empty()) (void)take();
    while (!held_.empty()) release();
    if (!known_.empty() || r_.ring.in_flight() != 0) FAIL(known_.size() << " requests lost");
  }

  subject& r_;
  std::mt19937 random_;
  bool event_idx_;                // alternates
  std::map<u64, request> known_;  // by cookie, until released
  u64 cookie_ = 0;
  std::deque<u64> staged_, shown_;
  std::vector<std::pair<u64, u16>> at_device_;
  std::deque<used> pushed_, there_;
  std::vector<u64> held_;
  side slow_ = side::neither;            // the side before which requests pile up
  u16 checked_ = 0;                      // the driver's position at the last kick decision
  u32 unchecked_ = 0, unpublished_ = 0;  // its progress since then
  bool in_order_ = false;
  bool asleep_ = false;           // arm() found nothing, and no interrupt has arrived
  bool disarmed_ = false;         // interrupts for later completions are disabled
  bool quiet_ = false;            // and no completion published so far needs an interrupt
  bool published_since_ = false;  // by the device, since arm()
  bool unasked_ = false;          // the decision on an interrupt for what was published is pending
  bool mid_batch_ = false;        // the next to take is in the same batch as the last
  u64 taken_ = 0, kicks_ = 0, silent_ = 0, slept_ = 0, busy_ = 0, batches_ = 0, armed_in_batch_ = 0;
};

}  // namespace

void random_traffic(subject& r, u64 operations, u64 between_resets) {
  const u32 start = seed();
  INFO("VIRTIO_TEST_SEED=" << start);
  traffic{r, start}.run(operations, between_resets);
}

}  // namespace rig
