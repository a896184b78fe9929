// SPDX-License-Identifier: MIT
// The virtqueue contract that every ring format passes (tests/contract). A queue is memory and arithmetic: it touches no
// register, knows no bus, and keeps its truth in private memory that the device cannot see.
// Spec: virtio 1.4, 2.6 to 2.8. Layer: queue.
#pragma once

#include <virtio/base/cells.hpp>
#include <virtio/base/features.hpp>
#include <virtio/platform/barriers.hpp>
#include <virtio/platform/dma.hpp>

namespace virtio {

/// Names a request in flight. A token whose request has ended is stale, not somebody else's: the generation tells, until the same
/// slot has served 2^32 more. `token{}` names none.
struct token {
  u16 slot = 0;
  u32 generation = 0;
  [[nodiscard]] friend constexpr bool operator==(const token&, const token&) = default;
};

/// What the device gave back.
struct completion {
  token which{};
  u64 cookie = 0;
  u32 length = 0;            // the used length: bytes the device says it wrote, cut to what it was allowed to write
  bool length_known = true;  // false for buffers that a batched in-order entry skipped
};

/// What a device says of a queue's size: the driver may use fewer entries, or must use so many (legacy PCI).
enum class ring_size : u8 { at_most, exactly };

/// Where the ring's parts lie in the storage: offsets from its start.
struct ring_layout {
  u32 descriptors = 0;
  u32 driver = 0;
  u32 device = 0;
};

/// A virtqueue, made from nothing and never copied:
///  1. `slots` is the most requests that can be in flight, and bounds slot numbers; `fit(maximum, offered)` is how many ring
///     entries to use with a device that allows `maximum` (0: it cannot be served);
///  2. `dma_bytes` is the storage it needs at most, page-aligned; `attach(storage, entries, features)` zeroes it, lays the
///     ring out and starts afresh. Errors: `no_space`, `misaligned`, `unsupported`;
///  3. `wanted` are features it can use, `required` those it cannot work without;
///  4. `reserve()` names the slot that the next `stage()` will use, so that the caller can fill that slot's header cells.
///     Not calling stage() afterwards costs nothing. Error: `queue_full`;
///  5. `stage(slot, chain, cookie)` writes a chain, invisible to the device until `publish()` makes everything staged
///     visible by one store, and says whether there was anything. Errors, without effect: `queue_full` (no room now),
///     `out_of_range` (never any room, or more bytes than `largest_transfer` and a page), `invalid_argument` (empty);
///  6. `needs_kick()` after `publish()`: fence, then whether the device wants a doorbell for what was published since this was
///     last asked, however long ago that is. Once true, the caller rings;
///  7. `next_completion()` takes one used entry, in the device's order. The slot and its descriptors stay taken until
///     `release(token)`. Errors: `not_ready`; `device_misbehaved` when the entry is a lie, and then nothing is given back until a
///     reset. `take(out)` is the same for those who have a place for it: `out` is written on success alone;
///  8. `arm()` asks for an interrupt and says whether something is there: completions, what is left of a batch, or a lie. Once it
///     has said no, nothing can be taken until the device gives something back, and then the device interrupts. After yes, look
///     and arm again before sleeping. `disarm()` asks for none;
///  9. `reclaim()` hands back one request in flight, in any order, then `not_ready`. Only after a confirmed device reset;
///  10. a value that the device wrote decides nothing before it was checked, and is read once;
///  11. `in_flight()` counts what was published and not taken; `longest_chain()` is the most descriptors of one chain, tables included;
///     `record(slot)` is the private record of a slot; `is_live(token)` says whether it was staged and not released;
///  12. `limit(most)`, after `attach` and ahead of the first `stage`, keeps the queue to `most` descriptors, at least 1, until the next
///     `attach`: for devices that go wrong with more. The ring's memory stays as it was laid out.
template <class Q>
concept virtqueue = detail::trivially_destructible<Q> &&
    requires(Q& q, const Q& cq, const dma_area& storage, u16 n, ring_size offered, const feature_set& f, token t, u16 slot, const segments& chain,
             u64 cookie, completion& into) {
  Q{};
  typename detail::constant<u16{Q::slots}>;
  typename detail::constant<usize{Q::dma_bytes}>;
  typename detail::constant<feature_set{Q::wanted}.words()>;
  typename detail::constant<feature_set{Q::required}.words()>;
  typename detail::constant<byte_order{Q::order}>;
  { Q::fit(n, offered) } -> same_as<u16>;
  { q.attach(storage, n, f) } -> same_as<result<ring_layout>>;
  { cq.longest_chain() } -> same_as<u16>;
  { cq.in_flight() } -> same_as<u16>;
  { q.reserve() } -> same_as<result<u16>>;
  { q.stage(slot, chain, cookie) } -> same_as<result<token>>;
  { q.publish() } -> same_as<bool>;
  { q.needs_kick() } -> same_as<bool>;
  { cq.position() } -> same_as<u16>;
  { q.next_completion() } -> same_as<result<completion>>;
  { q.take(into) } -> same_as<errc>;
  { q.release(t) };
  { cq.is_live(t) } -> same_as<bool>;
  { cq.record(slot).cookie } -> converts_to<u64>;
  { cq.record(slot).generation } -> converts_to<u32>;
  { q.arm() } -> same_as<bool>;
  { q.disarm() };
  { q.reclaim() } -> same_as<result<completion>>;
  { q.limit(n) };
};

/// A choice of ring, to be paired with a platform's barriers.
template <class F>
concept queue_format = virtqueue<typename F::template ring<smp_barriers>>;

}  // namespace virtio
