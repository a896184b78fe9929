// SPDX-License-Identifier: MIT
// The contract of every ring format; tests/contract checks it. A queue is memory and arithmetic: it accesses no
// register and no bus. All state that its decisions depend on is in private memory, outside the device's reach.
// Spec: virtio 1.4, 2.6 to 2.8. Layer: queue.
#pragma once

#include <virtio/base/cells.hpp>
#include <virtio/base/features.hpp>
#include <virtio/platform/barriers.hpp>
#include <virtio/platform/dma.hpp>

namespace virtio {

/// Names a request in flight. When the request has ended, its token is stale and never names a later request: the
/// generation differs, until the same slot has served 2^31 more. `token{}` names no request.
struct token {
  u16 slot = 0;        // the request's slot, less than `slots` of the ring
  u32 generation = 0;  // the slot's generation; odd for a request
  [[nodiscard]] friend constexpr bool operator==(const token&, const token&) = default;
};

/// What the device returned for one chain.
struct completion {
  token which{};   // as `stage` returned it
  u64 cookie = 0;  // as `stage` received it
  u32 length = 0;  // the used length: bytes that the device reports to have written, at most what it may write
  bool length_known = true;  // false for buffers that a batched in-order entry skipped
};

/// How a device limits a queue's size: the driver may use fewer entries, or must use this number (legacy PCI).
enum class ring_size : u8 { at_most, exactly };

/// The ring's parts in its storage: offsets from the start, in bytes.
struct ring_layout {
  u32 descriptors = 0;  // of the descriptors
  u32 driver = 0;       // of the driver area
  u32 device = 0;       // of the device area
};

/// A virtqueue. It is default-constructible; the library never copies one:
///  1. `slots` is the maximum number of requests in flight, and bounds slot numbers. `fit(maximum, offered)` returns
///     the number of ring entries for a device that allows `maximum`; 0 if the ring cannot serve the device;
///  2. `dma_bytes` is the storage that it needs at most, page-aligned. `attach(storage, entries, features)` zeroes the
///     storage, lays the ring out and starts with no requests. Errors: `no_space`, `misaligned`, `unsupported`;
///  3. `wanted` are the features that it can use, `required` those that it cannot work without;
///  4. `reserve()` returns the slot that the next `stage()` will use, so that the caller can fill that slot's header
///     cells. A call without a later `stage()` has no effect. Error: `queue_full`;
///  5. `stage(slot, chain, cookie)` writes a chain, invisible to the device until `publish()`. `publish()` makes all
///     staged chains visible by one store, and returns whether there were any. Errors of `stage`, without effect:
///     `queue_full` (no room now), `out_of_range` (never any room, or more bytes than `largest_transfer` and a page),
///     `invalid_argument` (empty);
///  6. `needs_kick()` after `publish()`: a full fence, then whether the device requests a doorbell for what was
///     published since the previous call, however long ago that was. If true, the caller rings the doorbell;
///  7. `next_completion()` takes one used entry, in the device's order. The slot and its descriptors stay taken until
///     `release(token)`. Errors: `not_ready`; `device_misbehaved` if the entry is invalid: the ring then returns
///     nothing until a reset. `take(out)` is the same, and writes `out` only on success;
///  8. `arm()` requests an interrupt and returns whether something is ready: completions, the rest of a batch, or an
///     invalid index. After false, nothing can be taken until the device returns a buffer, and then it interrupts.
///     After true, take completions and arm again before sleeping. `disarm()` requests no interrupts;
///  9. `reclaim()` returns one request in flight, in any order, then `not_ready`. Only after a confirmed device reset;
///  10. a value that the device wrote is checked before use, and read once;
///  11. `in_flight()` counts requests published and not taken; `longest_chain()` is the maximum number of descriptors
///     in one chain, tables included; `record(slot)` is the private record of a slot; `is_live(token)` returns whether
///     the request was staged and not released;
///  12. `limit(most)`, after `attach` and before the first `stage`, restricts the queue to `most` descriptors, at least
///     1, until the next `attach`: for devices that fail with more. The layout of the ring's memory does not change.
template <class Q>
concept virtqueue = detail::trivially_destructible<Q> &&
                    requires(Q& q, const Q& cq, const dma_area& storage, u16 n, ring_size offered, const feature_set& f,
                             token t, u16 slot, const segments& chain, u64 cookie, completion& into) {
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

/// A choice of ring. The driver instantiates it with its platform's barriers.
template <class F>
concept queue_format = virtqueue<typename F::template ring<smp_barriers>>;

}  // namespace virtio
