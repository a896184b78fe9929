// SPDX-License-Identifier: MIT
// Packets in and out of a vsock device: its three queues, and the two pools of packet buffers. Connections are in
// exchange.hpp. A chain is {header, payload} in both directions, the one shape that every host accepts.
// Spec: virtio 1.4, 5.10.6. Layer: vsock (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/device/buffer_pool.hpp>
#include <virtio/device/queue_set.hpp>
#include <virtio/vsock/limits.hpp>
#include <virtio/vsock/protocol.hpp>

namespace virtio::vsock::detail {

/// A received packet, and the buffer that holds its payload until it is returned.
struct received_packet {
  packet header{};
  buffer_index buffer{};
  bool whole = false;  // the buffer has header.length bytes of payload
};

template <platform P, transport T, queue_format Q, limits L>
class packet_queues {
  using set = queue_set<P, T, Q, 3>;
  using ring = typename set::ring_type;

  static constexpr u16 events = ring::slots < 8 ? ring::slots : 8;
  // The device always has as many receive buffers as its queue holds, however many the connections keep: two for each
  // promised packet, since one of two neighbours may be almost empty (inbox.hpp fills buffers that have room).
  static constexpr u32 posted = ring::wanted.has(virtio::feature::indirect_desc) ? ring::slots : ring::slots / 2;
  static_assert(u64{2} * L.pool_packets() + posted + L.pieces < 0xffff, "more buffers than 16 bits can number");
  static constexpr u32 receive_buffers = 2 * L.pool_packets() + posted + L.pieces;
  static_assert(receive_buffers < 0xffff && L.send_packets < 0xffff, "more buffers than 16 bits can number");

 public:
  using location = typename T::location;
  using receive_pool = buffer_pool<receive_buffers, L.receive_packet, header_bytes>;
  using send_pool = buffer_pool<L.send_packets, L.send_packet>;

 private:
  // All memory that the device accesses: the three rings, headers by the slot that sends them, events, and the buffers.
  static constexpr usize sent_headers_at = set::dma_bytes;
  static constexpr usize events_at = sent_headers_at + sizeof(sent_header) * ring::slots;
  static constexpr usize send_pool_at = virtio::detail::round_up(events_at + 4 * usize{events}, dma_page);
  static constexpr usize receive_pool_at = send_pool_at + send_pool::dma_bytes;

 public:
  static constexpr usize dma_bytes = receive_pool_at + receive_pool::dma_bytes;
  // Includes pages for the ends of the parts, which are rounded up.
  static_assert(u64{set::dma_bytes} + u64{sizeof(sent_header)} * ring::slots +
                        u64{sizeof(received_header)} * receive_buffers + u64{L.send_packet} * L.send_packets +
                        u64{L.receive_packet} * receive_buffers + u64{4} * dma_page <
                    0x8000'0000,
                "the DMA storage of a vsock::device must stay below 2 GiB: fewer or smaller buffers in vsock::limits");

  /// Brings the device up to, but not including, step 8: buffers are in the queues, no doorbell is written.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts, const feature_plan& plan) {
    dma_area area;
    VIRTIO_TRY(set_.forget());
    VIRTIO_TRY(set_.begin(platform, where, storage, dma_bytes, device_type::vsock, plan, interrupts, area));
    memory_ = area;
    unshown_ = false;
    for (u16 q = 0; q < 3; ++q) VIRTIO_TRY(set_.set_up(q, q, area, interrupts, q == event_queue ? 1 : 2));

    received.start(area.part(receive_pool_at, receive_pool::dma_bytes));
    sent.start(area.part(send_pool_at, send_pool::dma_bytes));
    for (u16 i = 0; i < events; ++i) post_event(i);
    post_buffers();
    return {};
  }

  /// Step 8 and the doorbells. The event queue's is first, so that no event is lost.
  void go() {
    set_.go();
    set_.kick(event_queue);
    set_.kick(receive_queue);
  }

  /// Buffers of packets that have arrived: free, with the device, or held by their reader.
  receive_pool received{};
  /// Buffers of data to send: free, held while they are filled, or with the device.
  send_pool sent{};

  /// The three queues, under one lifecycle. The device has no buffer of a user: all its memory is storage.
  [[nodiscard]] set& all() { return set_; }
  [[nodiscard]] const set& all() const { return set_; }

  // Receiving ---------------------------------------------------------------------------------------------------------

  /// The next packet that has arrived. Its buffer belongs to the caller until it is returned. Errors: `not_ready`,
  /// `device_misbehaved`.
  [[nodiscard]] errc next(received_packet& out) {
    u32 length;
    const errc got = receive_pool::arrived(receive(), out.buffer, length);
    if (got != errc::ok) return got;
    if (length < header_bytes) {  // no header was written: operation 0
      out.header = {};
      out.whole = false;
      return errc::ok;
    }
    out.header = read<typename P::barriers>(received.template header<received_header>(out.buffer));
    out.whole = out.header.length <= length - header_bytes;
    return errc::ok;
  }

  /// Stages free buffers until the receive queue is full.
  void post_buffers() {
    received.post(receive(), [this](buffer_index one) { clear(received.template header<received_header>(one)); });
  }

  /// The next event; its buffer has already been returned to the device. Errors: `not_ready`, `device_misbehaved`.
  [[nodiscard]] errc next_event(u32& id) {
    completion one;
    const errc got = event().take(one);
    if (got != errc::ok) return got;
    event().release(one.which);
    const u16 cell = static_cast<u16>(one.cookie);
    // The used length is ignored: some hosts report the buffer's length, others arbitrary values.
    // The caller compares it with known values
    id = event_cells()[cell].template fetch<typename P::barriers>().unchecked();
    post_event(cell);
    return errc::ok;
  }

  // Sending -----------------------------------------------------------------------------------------------------------

  /// Reclaims what the device has sent; `some` becomes true if there was any. Errors: `device_misbehaved`.
  [[nodiscard]] errc collect(bool& some) { return sent.collect(transmit(), some); }
  /// Whether no packet is in flight.
  [[nodiscard]] bool is_idle() const { return set_[transmit_queue].in_flight() == 0; }

  /// Stages a packet, with its payload from byte `from` of `buffer` on, which then belongs to the device until it is
  /// sent. False if the queue has no room now.
  [[nodiscard]] bool send(const packet& p, buffer_index buffer = no_buffer, u32 from = 0) {
    const auto slot = transmit().reserve();
    if (!slot) return false;
    segment room[2];
    segments chain{room};
    chain.append(memory_.at + sent_headers_at + sizeof(sent_header) * *slot, header_bytes, direction::to_device);
    if (!buffer.is_none()) sent.append(chain, buffer, direction::to_device, from, p.length);
    write(reinterpret_cast<sent_header*>(memory_.data + sent_headers_at)[*slot], p);
    unshown_ = true;
    return stage(transmit(), *slot, chain, buffer.cookie());
  }

  /// Whether packets are staged that have not been published.
  [[nodiscard]] bool has_unshown() const { return unshown_; }
  void show_sent() {
    unshown_ = false;
    set_.kick(transmit_queue);
  }

  static constexpr u16 receive_queue = 0;
  static constexpr u16 transmit_queue = 1;
  static constexpr u16 event_queue = 2;

 private:
  [[nodiscard]] ring& receive() { return set_[receive_queue]; }
  [[nodiscard]] ring& transmit() { return set_[transmit_queue]; }
  [[nodiscard]] ring& event() { return set_[event_queue]; }

  [[nodiscard]] from_device<u32>* event_cells() {
    return reinterpret_cast<from_device<u32>*>(memory_.data + events_at);
  }

  void post_event(u16 cell) {
    const auto slot = event().reserve();
    if (!slot) return;
    segment_list<1> chain;
    chain.append(memory_.at + events_at + 4 * usize{cell}, 4, direction::from_device);
    event_cells()[cell].clear_before_use(0xffffffff);  // no event
    (void)stage(event(), *slot, chain, cell);
  }
  VIRTIO_NOINLINE_FOR_SIZE static bool stage(ring& to, u16 slot, segments& chain, u64 cookie) {
    return to.stage(slot, chain, cookie).has_value();
  }

  dma_area memory_{};
  bool unshown_ = false;
  set set_{};
};

}  // namespace virtio::vsock::detail
