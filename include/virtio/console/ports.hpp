// SPDX-License-Identifier: MIT
// The ports of a console: messages about them in both directions of the control queues. A console with one port has no
// such queues.
// Spec: virtio 1.4, 5.3.6.2. Layer: console (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/console/protocol.hpp>
#include <virtio/device/buffer_pool.hpp>

namespace virtio::console {

/// The state of a port, from the host's messages.
template <u16 NameBytes>
struct port_facts {
  bool is_present = false;      // usable
  bool is_console = false;      // meant for a person
  bool host_is_open = false;    // at the other end; some hosts lose bytes that are sent before
  screen size{};                // of a console, from the last RESIZE message
  u16 name_size = 0;            // bytes
  char name_data[NameBytes]{};  // as the host sent them

  /// The host's name for the port, cut to `limits::name_bytes`; any bytes.
  [[nodiscard]] const_bytes name() const { return {name_data, name_size}; }
};

namespace detail {

/// Whether the host announces ports by messages.
enum class multiport : u8 { absent, negotiated };

/// The port of a console without a control queue: always present and open.
template <class Set, class Barriers, byte_order Order, limits L>
class one_port {
 public:
  using facts_type = port_facts<1>;
  static constexpr usize dma_bytes = 0;
  static constexpr bool has_control = false;

  void begin(u16, multiport) { facts_ = {.is_present = true, .is_console = true, .host_is_open = true}; }
  void end() { facts_ = {}; }
  void start(Set&, const dma_area&) {}
  void kick(Set&) {}
  [[nodiscard]] u16 count() const { return 1; }
  [[nodiscard]] facts_type& operator[](u16) { return facts_; }
  [[nodiscard]] const facts_type& operator[](u16) const { return facts_; }
  template <class Gone>
  [[nodiscard]] errc receive(Set&, bool&, Gone&&) {
    return errc::ok;
  }
  [[nodiscard]] errc send_open(Set&, u16, u16) { return errc::ok; }

 private:
  facts_type facts_{};
};

/// Several ports. Answers that wait for room in the queue are a state of each port, where the last one counts: a flood
/// of messages needs no memory. All bytes are zero until `begin`.
template <class Set, class Barriers, byte_order Order, limits L>
class several_ports {
  using ring = typename Set::ring_type;
  // QEMU drops a message that finds no buffer, so the pool has as many as the queue holds.
  using pool = buffer_pool<ring::slots, message_bytes + virtio::detail::round_up(L.name_bytes, 8)>;
  using written_message = message_cells<to_device, Order>;
  using read_message = message_cells<from_device, Order>;
  static_assert(sizeof(read_message) == message_bytes);
  enum : u16 { queue_in = 2, queue_out = 3 };

 public:
  using facts_type = port_facts<L.name_bytes>;
  static constexpr usize dma_bytes = 2 * pool::dma_bytes;
  static constexpr bool has_control = true;

  /// Without MULTIPORT there is one port, and no control queue.
  void begin(u16 count, multiport how) {
    end();
    count_ = count;
    negotiated_ = how == multiport::negotiated;
    if (!negotiated_) facts_[0].is_present = facts_[0].is_console = facts_[0].host_is_open = true;
  }
  void end() { virtio::detail::clear(*this); }

  /// Posts buffers before step 8, and stages the first message. Writes no doorbell.
  void start(Set& set, const dma_area& memory) {
    in_.start(memory.part(0, pool::dma_bytes));
    out_.start(memory.part(pool::dma_bytes, pool::dma_bytes));
    in_.post(set[queue_in]);
    (void)send(set, 0, control::device_ready, 1);  // the queue is empty, so there is room
  }
  void kick(Set& set) {
    set.kick(queue_in);
    set.kick(queue_out);
  }

  [[nodiscard]] u16 count() const { return count_; }
  [[nodiscard]] facts_type& operator[](u16 which) { return facts_[which]; }
  [[nodiscard]] const facts_type& operator[](u16 which) const { return facts_[which]; }

  /// Processes the host's messages, and sends pending answers. `gone(port)` is called for each removed port. `came`
  /// becomes true if there was any message. Errors: `device_misbehaved`.
  template <class Gone>
  [[nodiscard]] errc receive(Set& set, bool& came, Gone&& gone) {
    if (!negotiated_) return errc::ok;
    for (u32 taken = 0; taken < ring::slots; ++taken) {  // bounds a flood
      buffer_index buffer;
      u32 length = 0;
      const errc got = pool::arrived(set[queue_in], buffer, length);
      if (got == errc::not_ready) break;
      if (got != errc::ok) return got;
      came = true;
      if (length >= message_bytes) act(set, in_.payload(buffer), length - message_bytes, gone);
      in_.give_back(buffer);
      in_.post(set[queue_in]);
    }
    return send_pending(set, came);
  }

  /// Informs the host that the port is open, 1, or closed, 0; now, or when there is room. Errors: `device_misbehaved`.
  [[nodiscard]] errc send_open(Set& set, u16 which, u16 value) {
    if (!negotiated_) return errc::ok;
    pending_[which].open = value == 0 ? opening::closed : opening::open;
    bool some = false;
    return send_pending(set, some);
  }

 private:
  enum class opening : u8 { none, open, closed };
  struct pending {
    bool ready = false;
    opening open = opening::none;
  };

  // Every field is loaded once, and compared with the existing ports. `more` bytes follow it.
  template <class Gone>
  void act(Set& set, const u8* data, u32 more, Gone& gone) {
    const auto& message = *reinterpret_cast<const read_message*>(data);
    const u32 which = message.port.template fetch<Barriers>().unchecked();
    const control what{message.event.template fetch<Barriers>().unchecked()};
    const u16 value = message.value.template fetch<Barriers>().unchecked();
    data += message_bytes;
    if (which >= count_) {
      // Best effort: without room no answer is sent
      if (what == control::port_add) (void)send(set, which, control::port_ready, 0);
      return;
    }
    facts_type& facts = facts_[which];
    if (what == control::port_add) facts.is_present = pending_[which].ready = true;
    if (!facts.is_present) return;
    switch (what) {
      case control::port_remove:
        virtio::detail::clear(facts);
        pending_[which] = {};
        gone(static_cast<u16>(which));
        break;
      case control::console_port:
        facts.is_console = true;
        pending_[which].open = opening::open;
        break;
      case control::resize:
        if (more >= 4) facts.size = {half_word(data), half_word(data + 2)};
        break;
      case control::port_open: facts.host_is_open = value != 0; break;
      case control::port_name:
        facts.name_size = static_cast<u16>(virtio::detail::smaller(more, u32{L.name_bytes}));
        __builtin_memcpy(facts.name_data, data, facts.name_size);
        while (facts.name_size != 0 && facts.name_data[facts.name_size - 1] == '\0') --facts.name_size;
        break;
      default: break;
    }
  }
  [[nodiscard]] static u16 half_word(const u8* from) {
    return reinterpret_cast<const from_device<u16, Order>*>(from)->template fetch<Barriers>().unchecked();
  }

  // Sends as far as there is room: a port is ready before it is open.
  [[nodiscard]] errc send_pending(Set& set, bool& came) {
    if (const errc problem = out_.collect(set[queue_out], came); problem != errc::ok) return problem;
    for (u16 i = 0; i < count_; ++i) {
      pending& one = pending_[i];
      if (one.ready && send(set, i, control::port_ready, 1)) one.ready = false;
      if (one.ready || one.open == opening::none) continue;
      if (send(set, i, control::port_open, one.open == opening::open ? 1 : 0)) one.open = opening::none;
    }
    kick(set);
    return errc::ok;
  }
  [[nodiscard]] bool send(Set& set, u32 which, control what, u16 value) {
    const auto slot = set[queue_out].reserve();
    if (!slot || !out_.has_free()) return false;
    const buffer_index buffer = out_.take();
    auto& message = out_.template cells<written_message>(buffer);
    message.port.store(which);
    message.event.store(static_cast<u16>(what));
    message.value.store(value);
    segment_list<1> chain;
    out_.append(chain, buffer, direction::to_device, 0, message_bytes);
    (void)set[queue_out].stage(*slot, chain, buffer.cookie());  // there is room
    return true;
  }

  u16 count_ = 0;
  bool negotiated_ = false;
  pool in_{};
  pool out_{};
  pending pending_[L.ports]{};
  facts_type facts_[L.ports]{};
};

}  // namespace detail
}  // namespace virtio::console
