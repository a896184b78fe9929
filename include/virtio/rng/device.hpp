// SPDX-License-Identifier: MIT
// Entropy device driver: random bytes from the host. A request is one writable buffer. The used length is the number of
// bytes that the device filled; the driver returns only those.
// Spec: virtio 1.4, 5.4. Layer: rng (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/device/request_driver.hpp>

namespace virtio::rng {

/// The end of one request. The caller owns the buffer again, whatever the status.
struct done {
  token which{};           // as `submit` returned it
  u64 cookie = 0;          // as `submit` received it
  errc status = errc::ok;  // `canceled` if a reset came first
  u32 length = 0;          // the device filled this many bytes of the buffer, from its start; do not use the others
};

/// An entropy source. All-zero until `start`. One context owns it. device/request_driver.hpp has the engine's other
/// calls, interrupts, reset and hand-off.
template <platform P, transport T, queue_format Q>
class device : public request_driver<device<P, T, Q>, done> {
  friend request_driver<device, done>;
  static constexpr u16 most_segments = 4;  // `fill` makes several requests for a buffer that is more scattered
  using set = queue_set<P, T, Q, 1>;
  using ring = typename set::ring_type;

 public:
  using location = typename T::location;  // what discovery returns for the device
  /// Maximum bytes of one request. OpenBSD's vmd rejects more, and Firecracker returns no more.
  static constexpr u32 largest_request = 65536;
  static constexpr usize dma_bytes = ring::dma_bytes;  // bytes of DMA storage that this type needs
  static_assert(u64{dma_bytes} < 0x8000'0000, "the DMA storage of an rng::device must stay below 2 GiB");

  /// Brings the device up, as `blk::device::start`, with the same errors.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts = {}) {
    // The driver needs the used length of every buffer, and IN_ORDER allows batches, which skip lengths.
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

  /// Fills the whole buffer, by requests for at most `largest_request` bytes. If the device returns less, another
  /// request is made for the rest. Waits. The rules for failures are those of `blk::device::read`. Errors: `io_error`
  /// (16 answers of 0 bytes in a row), `dma_unreachable`, `queue_full`, `timed_out` or `dma_unanswered`, `needs_reset`,
  /// `device_misbehaved`, `not_started`; `device_broken`: the only error after which the device keeps the buffer.
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
        piece = part.size() / 2;  // the memory has more pieces than one request
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

  /// Stages a request for `buffer.size()` bytes, at most `largest_request`. That part of the buffer belongs to the
  /// device until the request ends. Devices may fill less: many use only the first piece of scattered memory. Errors:
  /// `invalid_argument` (empty), `too_many_pieces` (more than four), `queue_full`, `dma_unreachable`, `not_started`.
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

  /// Waits for one request. Others that end in the meantime are kept for `next_completion`. Errors: as `wait_next`, and
  /// `stale_handle`.
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
  set set_{};  // last, since it ends in long tables: members near the start have shorter offsets
};

}  // namespace virtio::rng
