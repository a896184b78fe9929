// SPDX-License-Identifier: MIT
// Random traffic over every ring, against the independent device and against queues of what must be where: a million operations for each
// of the two formats, or as many as VIRTIO_TEST_OPERATIONS says. VIRTIO_TEST_SEED replays a run.
#include <catch2/catch_template_test_macros.hpp>

#include <deque>
#include <map>

#include "ring_types.hpp"

using namespace virtio;
using namespace rig;

namespace {

#define SPLIT_RINGS tiny, small, indirect, usual, largest, hardware, either_as_split
#define PACKED_RINGS packed_tiny, packed_odd, packed_small, packed_indirect, packed_usual, packed_largest, \
  packed_hardware, either_as_packed

constexpr u32 near_wrap = 65534;       // of all indices
constexpr u16 most_outstanding = 300;  // the largest rings would otherwise do nothing but fill

u64 operations(u32 rings) {
  const char* given = std::getenv("VIRTIO_TEST_OPERATIONS");
  const u64 all = given != nullptr ? std::strtoull(given, nullptr, 0) : 1'000'000;
  return all / rings + 1;
}

/// One ring's traffic, and where everything is: staged, shown, at the device, pushed, used, taken.
class traffic {
 public:
  traffic(subject& r, u32 seed) : r_{r}, random_{seed} {}

  void run(u64 operations) {
    start(near_wrap);
    for (u64 i = 0; i < operations; ++i) {
      if (i % 256 == 255) filling_ = any(3);
      if (i % 10'000 == 9'999) {
        take_back();
        start(any(4) == 0 ? near_wrap : 0);
      }
      step();
      if (r_.device.is_broken()) break;
    }
    r_.require_no_violations();
    finish();
    r_.require_no_violations();
    CHECK(taken_ > operations / 100);  // it was traffic
    CHECK(kicks_ > operations / 500);
    CHECK(silent_ > operations / 500);
  }

 private:
  struct request {
    token which;
    u16 readable, writable;
  };
  struct used {
    u64 cookie;
    u32 claimed;
  };

  u32 any(usize below) { return static_cast<u32>(random_() % below); }

  void start(u32 before) {
    const u16 maximum = static_cast<u16>(any(2) != 0 ? r_.slots : 1 + any(r_.slots));
    feature_set f{feature::version_1};
    if (any(2) != 0) f.set(static_cast<u8>(feature::event_idx));
    if (any(4) != 0) f.set(static_cast<u8>(feature::indirect_desc));
    r_.attach(r_.ring.fit(maximum, false), f, before);
    checked_ = r_.device.shown();
    unchecked_ = unpublished_ = 0;
    heard_ = heard::nothing;
    r_.ask(random_);
  }

  void step() {
    switch (any(16)) {
      case 0:
      case 1: return submit();
      case 2: return filling_ != 0 ? submit() : take();
      case 3: return publish();
      case 4: return kick();
      case 5:
      case 6: return pop();
      case 7:
      case 8: return push();
      case 9: return filling_ != 1 ? push() : submit();
      case 10: return device_publish();
      case 11:
      case 12: return take();
      case 13: return release();
      case 14: return any(2) != 0 ? arm() : disarm();
      default: return r_.ask(random_);
    }
  }

  void submit() {
    if (known_.size() >= most_outstanding) return;
    if (any(32) == 0) return refused();
    // Up to five pieces, as far as they can ever fit; some more now and then.
    const u32 most = any(16) == 0 ? 12 : std::min<u32>(5, r_.ring.longest_chain());
    const u16 pieces = static_cast<u16>(1 + any(most)), readable = static_cast<u16>(any(pieces + 1u));
    const u16 writable = static_cast<u16>(pieces - readable);
    const auto t = r_.submit(readable, writable, cookie_);
    if (pieces > r_.ring.longest_chain()) {
      if (t || (t.error() != errc::out_of_range && t.error() != errc::queue_full)) FAIL("a chain of " << pieces << " was taken");
      return;
    }
    if (!t) {
      if (t.error() != errc::queue_full || known_.empty()) FAIL("refused: " << describe(t.error()));
      return;
    }
    if (!r_.ring.is_live(*t)) FAIL("not live");
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
    if (any(16) == 0 && r_.device.shown() != position) FAIL("shown up to " << r_.device.shown() << ", and not " << position);
    if (any(2) != 0) kick();
  }
  void kick() {
    const bool wanted = r_.wants_kick(checked_, unchecked_), kicked = r_.ring.needs_kick();
    // After more than a lap without a look a packed ring's position may be one ahead or one passed.
    const bool cannot_tell = r_.packed && unchecked_ > r_.entries;
    if (kicked != wanted && !cannot_tell) FAIL("kicked " << kicked << " after " << unchecked_);
    if (unchecked_ != 0) ++(kicked ? kicks_ : silent_);
    checked_ = r_.ring.position();
    unchecked_ = 0;
  }
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
    const auto [cookie, head] = at_device_[which];
    const u32 room = 64u * known_.at(cookie).writable;
    const u32 claimed = any(3) == 0 ? 0xffff'ffff : any(2) == 0 ? room : any(room + 1);
    r_.device.push(head, claimed);
    pushed_.push_back({cookie, claimed});
    at_device_[which] = at_device_.back();
    at_device_.pop_back();
    if (any(2) != 0) device_publish();
  }
  void device_publish() {
    r_.device.publish();
    const bool wanted = r_.device.should_interrupt();
    if (pushed_.empty()) return;
    if (heard_ == heard::next && !wanted) FAIL("slept through a completion");
    if (heard_ == heard::none && wanted) FAIL("an interrupt after disarm");
    if (heard_ == heard::next) heard_ = heard::nothing;
    used_.insert(used_.end(), pushed_.begin(), pushed_.end());
    pushed_.clear();
  }
  void take() {
    const auto done = r_.ring.next_completion();
    if (!done) {
      if (done.error() != errc::not_ready || !used_.empty()) FAIL("no completion: " << describe(done.error()));
      return;
    }
    if (used_.empty() || done->cookie != used_.front().cookie) FAIL("not the next completion: " << done->cookie);
    const request& expected = known_.at(done->cookie);
    // A claim beyond the buffer is cut to it.
    if (done->which != expected.which || done->length != std::min(used_.front().claimed, 64u * expected.writable))
      FAIL("length " << done->length);
    used_.pop_front();
    ++taken_;
    if (heard_ == heard::next) heard_ = heard::nothing;
    held_.push_back(done->cookie);
    if (any(8) != 0) release();
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
    if (r_.ring.arm() != !used_.empty()) FAIL("arm, with " << used_.size() << " to take");
    heard_ = used_.empty() ? heard::next : heard::nothing;
  }
  void disarm() {
    r_.ring.disarm();
    heard_ = heard::none;
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
    staged_.clear();
    shown_.clear();
    at_device_.clear();
    pushed_.clear();
    used_.clear();
  }
  // Everything that was submitted comes back without one.
  void finish() {
    publish();
    while (!shown_.empty()) pop();
    while (!at_device_.empty()) push();
    device_publish();
    while (!used_.empty()) take();
    while (!held_.empty()) release();
    if (!known_.empty() || r_.ring.in_flight() != 0) FAIL(known_.size() << " requests lost");
  }

  subject& r_;
  std::mt19937 random_;
  std::map<u64, request> known_;  // by cookie, until released
  u64 cookie_ = 0;
  std::deque<u64> staged_, shown_;
  std::vector<std::pair<u64, u16>> at_device_;
  std::deque<used> pushed_, used_;
  std::vector<u64> held_;
  u16 checked_ = 0;                       // where the driver was at the last kick decision
  u32 unchecked_ = 0, unpublished_ = 0;   // by how much it went on since
  enum class heard : u8 { nothing, next, none } heard_ = heard::nothing;  // what is known of the next interrupt
  u32 filling_ = 0;
  u64 taken_ = 0, kicks_ = 0, silent_ = 0;
};

template <class Ring>
void drive(u32 rings) {
  const u32 start = seed();
  INFO("VIRTIO_TEST_SEED=" << start);
  const auto r = untyped<Ring>();
  traffic{*r, start}.run(operations(rings));
}

TEMPLATE_TEST_CASE("virtqueue: random traffic over split rings [SPLIT-07][SPLIT-09]", "[queue][contract]", SPLIT_RINGS) {
  drive<TestType>(7);
}

TEMPLATE_TEST_CASE("virtqueue: random traffic over packed rings [PACKED-02][PACKED-03][PACKED-11][PACKED-13]", "[queue][contract]",
                   PACKED_RINGS) {
  drive<TestType>(8);
}

}  // namespace
