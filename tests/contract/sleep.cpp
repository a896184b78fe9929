// SPDX-License-Identifier: MIT
// When a driver may sleep. Random traffic that calls every operation of every ring, with IN_ORDER and without, served one by one and in
// batches, polled in part and in whole, against one rule: once arm() has said that nothing is there, nothing can be taken until the
// device does something, and then the device interrupts. VIRTIO_TEST_SEED replays a run.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <deque>
#include <functional>
#include <map>

#include "ring_types.hpp"

using namespace virtio;
using namespace rig;

namespace {

using split_one_in_order = split_ring<1, ring_options{.in_order = true}>;
using split_tables_in_order = split_ring<8, ring_options{.indirect = 4, .in_order = true}>;
using split_256_in_order = split_ring<256, ring_options{.in_order = true}>;
using packed_one_in_order = packed_ring<1, packed_options{.in_order = true}>;
using packed_8_in_order = packed_ring<8, packed_options{.in_order = true}>;
using packed_tables_in_order = packed_ring<8, packed_options{.indirect = 4, .in_order = true}>;
using packed_256_in_order = packed_ring<256, packed_options{.in_order = true}>;
struct either_split_in_order : either_ring<8, ring_options{.indirect = 4, .in_order = true}> {};
struct either_packed_in_order : either_ring<8, ring_options{.indirect = 4, .in_order = true}> {};

}  // namespace

template <>
inline constexpr bool rig::is_packed<either_packed_in_order> = true;

namespace {

#define IN_ORDER_RINGS in_order, split_one_in_order, split_tables_in_order, split_256_in_order, packed_in_order, packed_one_in_order, \
  packed_8_in_order, packed_tables_in_order, packed_256_in_order, either_split_in_order, either_packed_in_order
#define RINGS tiny, small, indirect, usual, largest, hardware, packed_tiny, packed_odd, packed_small, packed_indirect, packed_usual, \
  packed_largest, packed_hardware, either_as_split, either_as_packed, IN_ORDER_RINGS

constexpr u32 near_wrap = 65534;
constexpr u16 most_outstanding = 300;

/// What a subject does not have.
struct more {
  std::function<errc(completion&)> take;
  std::function<const slot_record&(u16)> record;
};

class traffic {
 public:
  traffic(subject& r, more extra, u32 seed) : r_{r}, extra_{std::move(extra)}, random_{seed} {}

  void run(u32 operations) {
    start(any(2) != 0 ? near_wrap : 0);
    for (u32 i = 0; i < operations; ++i) {
      if (i % 5'000 == 4'999) {
        take_back();
        start(any(4) == 0 ? near_wrap : 0);
      }
      step();
      if (r_.ring.in_flight() != shown_.size() + at_device_.size() + pushed_.size() + there_.size()) FAIL("in_flight");
      if (r_.device.is_broken()) break;
    }
    r_.require_no_violations();
    CHECK(taken_ > operations / 100);
    CHECK(slept_ > operations / 200);
    CHECK(busy_ > operations / 500);
    if (batches_ != 0) CHECK(armed_in_batch_ > 0);
  }

 private:
  struct request {
    token which;
    u16 readable, writable;
  };

  u32 any(usize below) { return static_cast<u32>(random_() % below); }

  void start(u32 before) {
    in_order_ = r_.in_order && any(4) != 0;
    feature_set f{feature::version_1};
    if (any(2) != 0) f.set(static_cast<u8>(feature::event_idx));
    if (any(4) != 0) f.set(static_cast<u8>(feature::indirect_desc));
    if (in_order_) f.set(static_cast<u8>(feature::in_order));
    const u16 entries = r_.ring.fit(static_cast<u16>(any(2) != 0 ? r_.slots : 1 + any(r_.slots)), false);
    r_.attach(entries, f, in_order_ ? before / entries * entries : before);
    if (!in_order_ && r_.ring.longest_chain() > r_.entries) FAIL("a chain longer than the ring");
    (void)r_.device.should_interrupt();
    asleep_ = quiet_ = published_since_ = unasked_ = false;
    mid_batch_ = 0;
    news_ = false;
  }

  void step() {
    switch (any(20)) {
      case 0:
      case 1:
      case 2: return submit();
      case 3:
      case 4: return publish();
      case 5:
      case 6: return pop();
      case 7:
      case 8: return push();
      case 9:
      case 10: return device_publish();
      case 11: return ask_for_interrupt();
      case 12:
      case 13: return void(take());
      case 14: return poll();
      case 15: return release();
      case 16:
      case 17: return arm();
      case 18: return disarm();
      default: return r_.ask(random_);
    }
  }

  // --- the driver ---

  void submit() {
    if (known_.size() >= most_outstanding) return;
    if (any(4) == 0) (void)r_.ring.reserve();  // and then nothing: costs nothing
    const u32 most = std::min<u32>(4, r_.ring.longest_chain());
    const u16 pieces = static_cast<u16>(1 + any(most)), readable = static_cast<u16>(any(pieces + 1u));
    const auto t = r_.submit(readable, static_cast<u16>(pieces - readable), cookie_);
    if (!t) {
      if (t.error() != errc::queue_full || known_.empty()) FAIL("refused: " << describe(t.error()));
      return;
    }
    if (!r_.ring.is_live(*t) || extra_.record(t->slot).cookie != cookie_ || extra_.record(t->slot).generation != t->generation)
      FAIL("the record is not what was staged");
    staged_.push_back(cookie_);
    known_[cookie_++] = {*t, readable, static_cast<u16>(pieces - readable)};
  }
  void publish() {
    if (r_.ring.publish() == staged_.empty()) FAIL("publish, with " << staged_.size() << " staged");
    if (!staged_.empty()) news_ = true;
    shown_.insert(shown_.end(), staged_.begin(), staged_.end());
    staged_.clear();
    if (r_.device.shown() != r_.ring.position()) FAIL("position");
    if (any(3) == 0) return;
    if (r_.ring.needs_kick() && !news_) FAIL("a doorbell for nothing");
    news_ = false;
  }
  bool take() {
    completion done;
    errc got;
    if (any(2) != 0) {
      got = extra_.take(done);
    } else {
      const auto one = r_.ring.next_completion();
      got = one ? errc::ok : one.error();
      if (one) done = *one;
    }
    if (got != errc::ok) {
      if (got != errc::not_ready || !there_.empty()) FAIL("no completion: " << describe(got));
      return false;
    }
    if (asleep_ && !published_since_) FAIL("arm() said that nothing was there");
    if (there_.empty() || done.cookie != there_.front().first) FAIL("not the next completion: " << done.cookie);
    const request& expected = known_.at(done.cookie);
    const bool known = there_.front().second;
    if (done.which != expected.which || done.length_known != known || done.length != (known ? 64u * expected.writable : 0)) FAIL("what");
    there_.pop_front();
    mid_batch_ = !known;
    ++taken_;
    held_.push_back(done.cookie);
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
    published_since_ = quiet_ = false;
    ++(there ? busy_ : slept_);
  }
  void disarm() {
    r_.ring.disarm();
    asleep_ = false;
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
    if (!one || !r_.is_chain(*one, expected.readable, expected.writable, shown_.front())) FAIL("not what was published");
    at_device_.emplace_back(shown_.front(), one->head);
    shown_.pop_front();
  }
  void push() {
    if (at_device_.empty()) return;
    const usize which = any(at_device_.size());
    if (in_order_) {
      const usize last = any(2) != 0 ? which : 0;
      const auto [cookie, head] = at_device_[last];
      const u32 written = 64u * known_.at(cookie).writable;
      if (last != 0) r_.device.push_batch(head, written);
      else r_.device.push(head, written);
      for (usize i = 0; i <= last; ++i) pushed_.emplace_back(at_device_[i].first, i == last);
      at_device_.erase(at_device_.begin(), at_device_.begin() + static_cast<std::ptrdiff_t>(last) + 1);
      if (last != 0) ++batches_;
    } else {
      const auto [cookie, head] = at_device_[which];
      r_.device.push(head, 64u * known_.at(cookie).writable);
      pushed_.emplace_back(cookie, true);
      at_device_.erase(at_device_.begin() + static_cast<std::ptrdiff_t>(which));
    }
    if (any(2) != 0) device_publish();
  }
  void device_publish() {
    r_.device.publish();
    if (!pushed_.empty()) published_since_ = unasked_ = true;
    there_.insert(there_.end(), pushed_.begin(), pushed_.end());
    pushed_.clear();
    if (any(4) != 0) ask_for_interrupt();
  }
  // The device may be slow to decide.
  void ask_for_interrupt() {
    const bool wanted = r_.device.should_interrupt();
    if (asleep_ && published_since_ && unasked_ && !wanted) FAIL("slept through a completion");
    if (quiet_ && wanted) FAIL("an interrupt after disarm");
    if (wanted) asleep_ = false;
    unasked_ = false;
  }

  // A reset in the middle: everything in flight comes back, once.
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

  subject& r_;
  more extra_;
  std::mt19937 random_;
  std::map<u64, request> known_;  // by cookie, until released
  u64 cookie_ = 0;
  std::deque<u64> staged_, shown_;
  std::vector<std::pair<u64, u16>> at_device_;
  std::deque<std::pair<u64, bool>> pushed_, there_;  // cookies, and whether their lengths are known
  std::vector<u64> held_;
  bool news_ = false;             // published since the last question whether to ring
  bool in_order_ = false;
  bool asleep_ = false;           // arm() has said that nothing is there, and no interrupt has come
  bool quiet_ = false;            // disarmed
  bool published_since_ = false;  // by the device, since arm()
  bool unasked_ = false;          // whether what was published is worth an interrupt is still to be decided
  bool mid_batch_ = false;        // the next to take is of the same batch as the last
  u32 taken_ = 0, slept_ = 0, busy_ = 0, batches_ = 0, armed_in_batch_ = 0;
};

TEMPLATE_TEST_CASE("sleep: once arm() says that nothing is there, nothing can be taken before the device interrupts "
                   "[SPLIT-13][SPLIT-15][PACKED-17]",
                   "[queue][contract]", RINGS) {
  const u32 start = seed();
  INFO("VIRTIO_TEST_SEED=" << start);
  const auto r = std::make_unique<pair<TestType>>();
  traffic{*r, {[&](completion& out) { return r->ring.take(out); }, [&](u16 slot) -> const slot_record& { return r->ring.record(slot); }},
          start}
      .run(30'000);
}

// Driver and device take turns at random. Each sleeps when it has nothing to do, and wakes when it is told.
void both_asleep(subject& r, u32 seed) {
  std::mt19937 random{seed};
  const bool event_idx = random() % 2 != 0, in_order = r.in_order && random() % 4 != 0;
  feature_set f{feature::version_1};
  if (event_idx) f.set(static_cast<u8>(feature::event_idx));
  if (in_order) f.set(static_cast<u8>(feature::in_order));
  r.attach(r.slots, f);
  constexpr u32 requests = 3'000;
  u32 sent = 0, back = 0;
  bool driver_asleep = false, device_asleep = false, rang = false, interrupted = false;
  std::vector<u16> heads;
  while (back < requests) {
    if (driver_asleep && interrupted) driver_asleep = interrupted = false;
    if (device_asleep && rang) device_asleep = rang = false;
    if (driver_asleep && device_asleep) FAIL("both sleep, with " << sent - back << " requests outstanding");
    if (!driver_asleep && (device_asleep || random() % 2 != 0)) {
      for (auto n = random() % 5; n != 0 && sent < requests && r.submit(1, 0, sent); --n) ++sent;
      r.ring.publish();
      if (r.ring.needs_kick()) rang = true;
      for (auto budget = 1 + random() % 4; budget != 0; --budget) {
        const auto one = r.ring.next_completion();
        if (!one) break;
        r.ring.release(one->which);
        ++back;
      }
      if (random() % 3 == 0) r.ring.disarm();
      if (r.ring.in_flight() != 0 && !r.ring.arm()) driver_asleep = true;
    } else if (!device_asleep) {
      auto one = r.device.pop();
      device_asleep = !one;
      if (one) heads.push_back(one->head);
      if (heads.empty() || (one && random() % 3 != 0)) continue;
      if (in_order && random() % 2 != 0) r.device.push_batch(heads.back(), 0);
      else for (const u16 head : heads) r.device.push(head, 0);
      heads.clear();
      r.device.publish();
      if (r.device.should_interrupt()) interrupted = true;
    }
  }
  r.require_no_violations();
}
TEMPLATE_TEST_CASE("sleep: a driver that polls a few at a time and a device that batches never both sleep [SPLIT-22][SPLIT-24][PACKED-15]",
                   "[queue][contract]", RINGS) {
  const u32 start = seed();
  INFO("VIRTIO_TEST_SEED=" << start);
  for (u32 i = 0; i < 8; ++i) both_asleep(*std::make_unique<pair<TestType>>(), start + i);
}

// A batch of three, of which one has been taken.
void in_the_middle(subject& r) {
  const bool event_idx = GENERATE(false, true);
  const u32 taken = GENERATE(as<u32>{}, 1, 2);
  CAPTURE(event_idx, taken);
  feature_set f{feature::version_1, feature::in_order};
  if (event_idx) f.set(static_cast<u8>(feature::event_idx));
  r.attach(r.slots, f);
  for (u64 i = 0; i < 3; ++i) REQUIRE(r.submit(1, 0, i));
  r.kick();
  u16 last = 0;
  while (const auto one = r.device.pop()) last = one->head;
  r.device.push_batch(last, 0);
  r.device.publish();
  (void)r.device.should_interrupt();
  for (u32 i = 0; i < taken; ++i) (void)r.collect();
  CHECK(r.ring.arm());
  for (u32 i = taken; i < 3; ++i) (void)r.collect();
  CHECK_FALSE(r.ring.arm());
  CHECK_FALSE(r.ring.next_completion());
  // What comes next interrupts.
  REQUIRE(r.submit(1, 0, 3));
  r.kick();
  r.serve();
  CHECK(r.device.should_interrupt());
  CHECK(r.collect().cookie == 3);
  r.require_no_violations();
}
TEMPLATE_TEST_CASE("sleep: arm() in the middle of a batch says that there is more, and behind it asks for what comes next [FACT-18]",
                   "[queue][contract]", in_order, split_tables_in_order, packed_in_order, packed_8_in_order, packed_tables_in_order,
                   either_split_in_order, either_packed_in_order) {
  in_the_middle(*std::make_unique<pair<TestType>>());
}

// Whoever sleeps would not hear of it.
void after_a_lie(subject& r) {
  r.attach(r.slots, feature_set{feature::version_1, feature::event_idx});
  REQUIRE(r.submit(1, 0, 0));
  r.kick();
  r.claim(r.slots - 1u, 0);
  REQUIRE(r.ring.next_completion().error() == errc::device_misbehaved);
  CHECK(r.ring.arm());
  const auto areas = r.shared();
  for (u8& one : areas[2]) one = 0;  // and now the device would have it that nothing was
  CHECK(r.ring.arm());
  CHECK(r.ring.next_completion().error() == errc::device_misbehaved);
}
TEMPLATE_TEST_CASE("sleep: nobody sleeps on a ring whose device has lied", "[queue][contract][hostile]", small, packed_small, packed_odd,
                   either_as_split, either_as_packed) {
  after_a_lie(*std::make_unique<pair<TestType>>());
}

}  // namespace
