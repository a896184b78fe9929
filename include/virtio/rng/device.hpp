// SPDX-License-Identifier: MIT
// Entropy device driver: random bytes from the host. A request is one writable buffer; how much of it the device filled is
// the used length, and only that much is ever handed out.
// Spec: virtio 1.4, 5.4. Layer: rng (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/device/request_driver.hpp>

namespace virtio::rng {

/// How one request ended: the device says that it wrote the first `length` bytes of the buffer, and no others count. `canceled`
/// when the device was reset first, with length 0.
struct done {
  token which{};
  u64 cookie = 0;
  errc status = errc::ok;
  u32 length = 0;
};

/// An entropy source. All-zero until `start`. One context owns it. The engine's other calls, interrupts and the end are in
/// device/request_driver.hpp.
template <platform P, transport T, queue_format Q>
class device : public request_driver<device<P, T, Q>, done> {
  friend request_driver<device, done>;
  static constexpr u16 most_segments = 4;  // a buffer that is scattered for the device is filled in several rounds
  using set = queue_set<P, T, Q, 1>;
  using ring = typename set::ring_type;

 public:
  using location = typename T::location;
  /// The most bytes that one request asks for. OpenBSD's vmd refuses more, and Firecracker gives no more.
  static constexpr u32 largest_request = 65536;
  static constexpr usize dma_bytes = ring::dma_bytes;
  static_assert(u64{dma_bytes} < 0x8000'0000, "the DMA storage of an rng::device must stay below 2 GiB");

  /// Brings the device up, as `blk::device::start` does; same errors.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts = {}) {
    // How much of a buffer is random is what its used length says: a batch, which skips lengths, is of no use.
    constexpr feature_plan plan{.declined = feature_set{feature::in_order}};
    dma_area area;
    VIRTIO_TRY(requests_.forget(set_));
    VIRTIO_TRY(set_.begin(platform, where, storage, dma_bytes, device_type::entropy, plan, interrupts, area));
    VIRTIO_TRY(set_.set_up(0, 0, area, interrupts, 1));
    if constexpr (detail::has_quirks<location>)
      if (const u16 most = where.quirks().entropy_descriptors; most != 0) set_[0].limit(most);
    set_.go();
    return {};
  }

  /// Fills the whole buffer: requests for `largest_request` bytes at most, and another for the rest when the device gives less.
  /// Waits. Devices that answer with nothing are asked again a few times. Errors: `io_error` when the device keeps giving nothing,
  /// `dma_unreachable`, `queue_full`, `timed_out` or `dma_unanswered`, `needs_reset`, `device_misbehaved`, `device_broken`, after which
  /// alone the device has the buffer still, `not_started`. All calls here fail as those of `blk::device`.
  [[nodiscard]] result<void> fill(bytes buffer) {
    constexpr u32 most_empty = 16;  // answers of zero bytes in a row
    u32 empty = 0;
    if (buffer.empty()) return set_.ready();
    usize have = 0;
    usize piece = largest_request;
    while (have < buffer.size()) {
      const bytes part = buffer.part(have, piece);
      const auto asked = submit(part);
      if (!asked && asked.error() == errc::too_many_pieces && part.size() > 1) {
        piece = part.size() / 2;  // the memory is more scattered than one request can say
        continue;
      }
      if (!asked) return asked.error();
      const result<done> got = wait(*asked, owner::call);
      if (!got) return got.error();
      if (got->status != errc::ok) return got->status;
      if (got->length != 0) empty = 0;
      else if (++empty == most_empty) return errc::io_error;
      have += got->length;
    }
    return {};
  }

  /// Stages a request for up to `buffer.size()` bytes, of which `largest_request` are asked for at most; so much of the buffer belongs
  /// to the device until the request ends. Devices may fill less: many look at the first piece of scattered memory alone. Errors:
  /// `invalid_argument` (empty), `too_many_pieces` (scattered over more than four), `queue_full`, `dma_unreachable`.
  [[nodiscard]] result<token> submit(bytes buffer, u64 cookie = 0) {
    if (buffer.empty()) return errc::invalid_argument;
    VIRTIO_TRY_ASSIGN(const u16 slot, requests_.reserve(set_));
    segment room[most_segments];
    segments chain{room};
    chain.limit_count(set_[0].longest_chain());
    const bytes part = buffer.part(0, largest_request);
    if (const auto mapped = set_.platform().map(part.data(), part.size(), direction::from_device, chain); !mapped)
      return mapped.error() == errc::no_space ? errc::too_many_pieces : mapped.error();
    return requests_.stage(set_, slot, chain, 0, chain.size(), cookie);
  }

  /// Waits for one request; others that end meanwhile are kept for `next_completion`. Errors: as `wait_next`; `stale_handle`.
  [[nodiscard]] result<done> wait(token which) { return wait(which, owner::user); }

 private:
  [[nodiscard]] result<done> wait(token which, owner whose) {
    answer ended;
    return done_of(this->await(which, whose, ended), ended);
  }
  [[nodiscard]] result<done> done_of(errc got, const answer& ended) {
    if (got != errc::ok) return got;
    const u32 length = ended.error == errc::ok && ended.what.length_known ? ended.what.length : 0;
    requests_.finish(set_, ended, length);
    return done{ended.what.which, ended.what.cookie, ended.error, length};
  }

  request_queue<set, most_segments> requests_{};
  set set_{};  // ends in long tables: what is near the start is cheaper to reach
};

}  // namespace virtio::rng
