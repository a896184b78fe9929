// SPDX-License-Identifier: MIT
// Packets in and out of a vsock device: its three queues, the memory of their headers and payloads, and who has which buffer.
// It knows addresses no more than a mailbag does; connections are in exchange.hpp.
//
// Receive buffers go round: free, with the device, holding a packet that arrived, free again. A chain is {header, payload} in both
// directions, the one shape that every host takes.
// Spec: virtio 1.4, 5.10.6. Layer: vsock (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/device/queue_set.hpp>
#include <virtio/vsock/limits.hpp>
#include <virtio/vsock/protocol.hpp>

namespace virtio::vsock::detail {

/// A received packet, and the buffer that holds its payload until it is given back.
struct arrival {
  packet header{};
  u16 buffer = 0;
  bool whole = false;  // header.length bytes of payload are there
};

template <platform P, transport T, queue_format Q, limits L>
class packet_queues {
  using set = queue_set<P, T, Q, 3>;
  using ring = typename set::ring_type;

  static constexpr u16 events = ring::slots < 8 ? ring::slots : 8;
  // The device always has as many receive buffers as its queue holds, whatever connections keep: two for each packet's worth of
  // promises, since of two neighbours one may be all but empty (inbox.hpp fills up what has room).
  static constexpr u32 posted = ring::wanted.has(virtio::feature::indirect_desc) ? ring::slots : ring::slots / 2;
  static_assert(u64{2} * L.pool_packets() + posted < 0xffff, "more buffers than 16 bits can number");
  static constexpr u32 receive_buffers = 2 * L.pool_packets() + posted;
  static_assert(receive_buffers < 0xffff && L.send_packets < 0xffff, "more buffers than 16 bits can number");

  // All that the device touches: the three rings, then headers, events, payloads.
  static constexpr usize sent_headers_at = set::dma_bytes;
  static constexpr usize received_headers_at = sent_headers_at + sizeof(sent_header) * ring::slots;
  static constexpr usize events_at = received_headers_at + sizeof(received_header) * receive_buffers;
  static constexpr usize sent_at = virtio::detail::round_up(events_at + 4 * usize{events}, dma_page);
  static constexpr usize received_at = sent_at + usize{L.send_packet} * L.send_packets;

 public:
  using location = typename T::location;
  static constexpr u32 received_count = receive_buffers;
  static constexpr usize dma_bytes = received_at + usize{L.receive_packet} * receive_buffers;
  // Pages for the ends of the parts, which are rounded up, included.
  static_assert(u64{set::dma_bytes} + u64{sizeof(sent_header)} * ring::slots + u64{sizeof(received_header)} * receive_buffers +
                        u64{L.send_packet} * L.send_packets + u64{L.receive_packet} * receive_buffers + u64{2} * dma_page <
                    0x8000'0000,
                "the DMA storage of a vsock::device must stay below 2 GiB: fewer or smaller buffers in vsock::limits");

  /// Up to, but without, step 8: buffers are in the queues, no doorbell has rung.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts, const feature_plan& plan) {
    dma_area area;
    VIRTIO_TRY(set_.begin(platform, where, storage, dma_bytes, device_type::vsock, plan, interrupts, area));
    memory_ = area;
    for (u16 q = 0; q < 3; ++q) VIRTIO_TRY(set_.set_up(q, q, area, interrupts, q == event_queue ? 1 : 2));

    free_received_ = line<receive_buffers>(received_next_);
    free_sent_ = line<L.send_packets>(sent_next_);
    for (u16 i = 0; i < events; ++i) post_event(i);
    post_buffers();
    return {};
  }

  /// Step 8, and the doorbells. The first of the event queue: nothing is lost before anybody listens.
  void go() {
    set_.go();
    set_.kick(event_queue);
    set_.kick(receive_queue);
  }

  /// The three queues, under one life. No user's buffer is with the device: what it keeps, when it does, is storage.
  [[nodiscard]] set& all() { return set_; }
  [[nodiscard]] const set& all() const { return set_; }

  // Receiving ------------------------------------------------------------------------------------------------------------

  /// The next packet to have arrived. Its buffer is the caller's until `give_back`. Errors: `not_ready`, `device_misbehaved`.
  [[nodiscard]] errc next(arrival& out) {
    completion one;
    const errc got = receive().take(one);
    if (got != errc::ok) return got;
    receive().release(one.which);
    out.buffer = static_cast<u16>(one.cookie);
    out.header = {};
    out.whole = false;
    if (one.length < header_bytes) return errc::ok;  // nothing was said: operation 0
    out.header = read<typename P::barriers>(received_headers()[out.buffer]);
    out.whole = out.header.length <= one.length - header_bytes;
    return errc::ok;
  }

  /// The payload that a receive buffer holds, `receive_packet` bytes at most.
  [[nodiscard]] u8* received(u16 buffer) { return memory_.data + received_at + usize{L.receive_packet} * buffer; }

  /// Bytes in it that count.
  [[nodiscard]] u32& filled(u16 buffer) { return filled_[buffer]; }

  void give_back(u16 buffer) {
    received_next_[buffer] = free_received_;
    free_received_ = static_cast<u16>(buffer + 1);
  }
  /// Receive buffers are linked by those who have them: the index of the next and one, 0 for none.
  [[nodiscard]] u16& after(u16 buffer) { return received_next_[buffer]; }

  /// Puts free buffers into the receive queue until it is full.
  void post_buffers() {
    while (free_received_ != 0) {
      const auto slot = receive().reserve();
      if (!slot) return;
      const u16 buffer = static_cast<u16>(free_received_ - 1);
      segment room[2];
      segments chain{room};
      chain.append(memory_.at + received_headers_at + sizeof(received_header) * buffer, header_bytes, direction::from_device);
      chain.append(memory_.at + received_at + usize{L.receive_packet} * buffer, L.receive_packet, direction::from_device);
      clear(received_headers()[buffer]);
      if (!receive().stage(*slot, chain, buffer)) return;  // a slot, but not the descriptors
      free_received_ = received_next_[buffer];
    }
  }

  /// The next event, whose buffer is the device's again before anybody acts on it. Errors: `not_ready`, `device_misbehaved`.
  [[nodiscard]] errc next_event(u32& id) {
    completion one;
    const errc got = event().take(one);
    if (got != errc::ok) return got;
    event().release(one.which);
    const u16 cell = static_cast<u16>(one.cookie);
    // Of its length nothing is asked: hosts report that of the buffer, or what they like.
    id = event_cells()[cell].template fetch<typename P::barriers>().unchecked();  // compared with what we know
    post_event(cell);
    return errc::ok;
  }

  // Sending --------------------------------------------------------------------------------------------------------------

  /// Takes back what the device has sent; `some` becomes true if there was any. Errors: `device_misbehaved`.
  [[nodiscard]] errc collect(bool& some) {
    for (completion one;;) {
      const errc got = transmit().take(one);
      if (got != errc::ok) return got == errc::not_ready ? errc::ok : got;
      some = true;
      transmit().release(one.which);
      if (one.cookie != 0) drop(static_cast<u16>(one.cookie));
    }
  }

  /// A buffer for `send_packet` bytes of payload; 0 when all are taken.
  [[nodiscard]] u16 take_buffer() {
    const u16 buffer = free_sent_;
    if (buffer == 0) return 0;
    free_sent_ = sent_next_[buffer - 1];
    sent_next_[buffer - 1] = 0;
    return buffer;
  }
  /// Buffers that are taken are linked by who has them.
  [[nodiscard]] u16& after_sent(u16 buffer) { return sent_next_[buffer - 1]; }
  [[nodiscard]] bool has_buffer() const { return free_sent_ != 0; }
  /// Nothing is on its way out.
  [[nodiscard]] bool is_idle() const { return set_[transmit_queue].in_flight() == 0; }
  void drop(u16 buffer) {
    sent_next_[buffer - 1] = free_sent_;
    free_sent_ = buffer;
  }
  [[nodiscard]] u8* payload(u16 buffer) { return memory_.data + payload_offset(buffer); }

  /// Stages a packet; with its payload from byte `from` of `buffer` on, which then belongs to the device until it has sent it. False
  /// when the queue has no room now.
  [[nodiscard]] bool send(const packet& p, u16 buffer = 0, u32 from = 0) {
    const auto slot = transmit().reserve();
    if (!slot) return false;
    segment room[2];
    segments chain{room};
    chain.append(memory_.at + sent_headers_at + sizeof(sent_header) * *slot, header_bytes, direction::to_device);
    if (buffer != 0) chain.append(memory_.at + (payload_offset(buffer) + from), p.length, direction::to_device);
    write(reinterpret_cast<sent_header*>(memory_.data + sent_headers_at)[*slot], p);
    return transmit().stage(*slot, chain, buffer).has_value();
  }

  static constexpr u16 receive_queue = 0;
  static constexpr u16 transmit_queue = 1;
  static constexpr u16 event_queue = 2;

 private:
  [[nodiscard]] ring& receive() { return set_[receive_queue]; }
  [[nodiscard]] ring& transmit() { return set_[transmit_queue]; }
  [[nodiscard]] ring& event() { return set_[event_queue]; }

  [[nodiscard]] received_header* received_headers() {
    return reinterpret_cast<received_header*>(memory_.data + received_headers_at);
  }
  [[nodiscard]] from_device<u32>* event_cells() { return reinterpret_cast<from_device<u32>*>(memory_.data + events_at); }
  [[nodiscard]] static constexpr usize payload_offset(u16 buffer) { return sent_at + usize{L.send_packet} * (buffer - 1u); }

  void post_event(u16 cell) {
    const auto slot = event().reserve();
    if (!slot) return;
    segment_list<1> chain;
    chain.append(memory_.at + events_at + 4 * usize{cell}, 4, direction::from_device);
    event_cells()[cell].clear_before_use(0xffffffff);  // no event
    (void)event().stage(*slot, chain, cell);
  }

  /// Links `count` buffers, the first one first. Returns the first and one.
  template <u32 Count>
  [[nodiscard]] static u16 line(u16 (&next)[Count]) {
    for (u32 i = 0; i + 1 < Count; ++i) next[i] = static_cast<u16>(i + 2);
    next[Count - 1] = 0;
    return 1;
  }

  dma_area memory_{};
  u16 free_received_ = 0;
  u16 free_sent_ = 0;
  set set_{};
  u16 received_next_[receive_buffers]{};
  u32 filled_[receive_buffers]{};
  u16 sent_next_[L.send_packets]{};
};

}  // namespace virtio::vsock::detail
