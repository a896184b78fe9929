// SPDX-License-Identifier: MIT
// A driver of the test kit's echo device (testing/echo_model.hpp), written from CONTRIBUTING.md, and the shared part of
// its tests.
#pragma once

#include <virtio/device/buffer_pool.hpp>
#include <virtio/device/request_driver.hpp>
#include <virtio/testing/echo_model.hpp>
#include <virtio/transport/config_field.hpp>

#include "machine.hpp"

namespace virtio::echo {

enum class feature : u8 { events = 0 };
constexpr void feature_bits_of(feature) {}
[[nodiscard]] constexpr const char* name(feature bit) { return bit == feature::events ? "ECHO_F_EVENTS" : nullptr; }

namespace config {
inline constexpr config_field<u32, field_order::little> largest{0};  // maximum bytes of one request
}

/// The end of one request: the device reports that it wrote the first `length` bytes of the room; later bytes are
/// undefined.
struct done {
  token which{};
  u64 cookie = 0;
  errc status = errc::ok;
  u32 length = 0;
};

/// An echo. All bytes are zero until `start`. One context owns it.
template <platform P, transport T, queue_format Q>
class device : public request_driver<device<P, T, Q>, done> {
  using base = request_driver<device, done>;
  friend base;
  enum : u16 { requestq, eventq, queues };
  using set = queue_set<P, T, Q, queues>;
  using ring = typename set::ring_type;
  using event = from_device<u32, T::ring_order>;
  using pool = buffer_pool<ring::slots, sizeof(event)>;
  static constexpr u16 most_segments = 8;  // of both buffers of a request

 public:
  using location = typename T::location;
  using base::features;
  static constexpr usize dma_bytes = set::dma_bytes + pool::dma_bytes;
  static_assert(u64{dma_bytes} < 0x8000'0000, "the DMA storage of an echo::device must stay below 2 GiB");

  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts = {}) {
    constexpr feature_plan plan{.wanted = feature_set{feature::events},
                                .required = feature_set{virtio::feature::version_1},
                                .declined = feature_set{virtio::feature::in_order}};
    dma_area area;
    VIRTIO_TRY(requests_.forget(set_, requestq));
    VIRTIO_TRY(set_.forget());
    VIRTIO_TRY(set_.begin(platform, where, storage, dma_bytes, device_type{62}, plan, interrupts, area));
    VIRTIO_TRY(set_.set_up(requestq, requestq, area, interrupts, 2));
    if (features().has(feature::events)) VIRTIO_TRY(set_.set_up(eventq, eventq, area, interrupts));
    const auto largest = read_field(set_.session().transport(), config::largest);
    if (!largest) return set_.refuse(verdict::config_unreadable, largest.error());
    if (*largest == 0) return set_.refuse(verdict::config_unreadable, errc::device_misbehaved);
    largest_ = *largest;
    if (set_.has(eventq)) {
      events_.start(area.part(set::dma_bytes, pool::dma_bytes));
      events_.post(set_[eventq]);
    }
    set_.go();
    if (set_.has(eventq)) set_.kick(eventq);
    return {};
  }

  [[nodiscard]] u32 largest() const { return largest_; }

  /// Sends `what` in as many requests as needed, and receives the same number of bytes into `room`, which is at least
  /// as large. Waits. Errors: `io_error` if fewer bytes return than were sent.
  [[nodiscard]] result<void> echo(const_bytes what, bytes room) {
    VIRTIO_TRY(set_.ready());
    if (room.size() < what.size()) return errc::invalid_argument;
    usize piece = largest_;
    for (usize have = 0; have < what.size();) {
      const const_bytes part = what.part(have, piece);
      const auto asked = submit(part, room.part(have, part.size()));
      if (!asked && asked.error() == errc::too_many_pieces && part.size() > 1) {
        piece = part.size() / 2;
        continue;
      }
      if (!asked) return asked.error();
      const result<done> got = wait(*asked, owner::call);
      if (!got) return got.error();
      if (got->status != errc::ok) return got->status;
      if (got->length != part.size()) return errc::io_error;
      have += part.size();
    }
    return {};
  }

  /// Stages a request. Both buffers belong to the device until it ends. Errors: `invalid_argument` (empty),
  /// `out_of_range` (more than `largest`), `too_many_pieces`, `queue_full`, `dma_unreachable`, `not_started`.
  [[nodiscard]] result<token> submit(const_bytes what, bytes room, u64 cookie = 0) {
    VIRTIO_TRY_ASSIGN(const u16 slot, requests_.reserve(set_));
    if (what.empty() || room.empty()) return errc::invalid_argument;
    if (what.size() > largest_) return errc::out_of_range;
    segment places[most_segments];
    segments chain{places};
    chain.limit_count(set_[requestq].longest_chain());
    const auto refused = [](errc why) { return why == errc::no_space ? errc::too_many_pieces : why; };
    if (const auto mapped = set_.platform().map(what.data(), what.size(), direction::to_device, chain); !mapped)
      return refused(mapped.error());
    const u16 sent = chain.size();
    const bytes back = room.part(0, what.size());  // the ring cuts a longer used length to this
    if (const auto mapped = set_.platform().map(back.data(), back.size(), direction::from_device, chain); !mapped) {
      requests_.release_pieces(set_, chain, 0, sent);
      return refused(mapped.error());
    }
    return requests_.stage(set_, slot, chain, 0, chain.size(), cookie);
  }
  [[nodiscard]] result<done> wait(token which) { return wait(which, owner::user); }

  /// The number of served requests that the device reports, which may be any number. Errors: `not_ready`; `unsupported`
  /// (it has no events); `device_misbehaved`; `not_started`.
  [[nodiscard]] result<u32> next_event() {
    VIRTIO_TRY(set_.ready());
    if (!set_.has(eventq)) return errc::unsupported;
    buffer_index one;
    u32 length = 0;
    const errc got = pool::arrived(set_[eventq], one, length);
    if (got == errc::not_ready) set_.found_nothing();
    if (got != errc::ok) return got == errc::not_ready ? got : bring_down(got);
    set_.found_something();
    // a number to show; no decision depends on it
    const u32 served = events_.template cells<event>(one).template fetch<typename P::barriers>().unchecked();
    events_.give_back(one);
    if (length != sizeof(event)) return bring_down(errc::device_misbehaved);
    events_.post(set_[eventq]);
    set_.kick(eventq);
    return served;
  }

  /// Requests an interrupt at the next completion or event. True: a completion or event is already present.
  [[nodiscard]] bool arm() {
    const bool ended = requests_.arm(set_);
    return set_.arm(eventq) || ended;
  }

 private:
  errc bring_down(errc why) { return requests_.bring_down(set_, why); }
  [[nodiscard]] result<done> wait(token which, owner whose) {
    answer ended;
    return done_of(this->await(which, whose, ended), ended);
  }
  [[nodiscard]] result<done> done_of(errc got, const answer& ended) {
    if (got != errc::ok) return got;
    const u32 length = ended.error == errc::ok ? ended.what.length : 0;
    requests_.finish(set_, ended, length);
    return done{ended.what.which, ended.what.cookie, ended.error, length};
  }

  u32 largest_ = 0;
  pool events_{};
  request_queue<set, most_segments> requests_{};
  set set_{};
};

}  // namespace virtio::echo

namespace rig {

using virtio::testing::echo_model;
using echo_offers = std::initializer_list<unsigned>;

template <class Queue = split_queue<8>, class Transport = any_pci>
using echo_driver = driver<echo::device<platform_type, Transport, Queue>>;

}  // namespace rig
