// SPDX-License-Identifier: MIT
// A socket device with its host in it: ports that listen, refuse or say nothing, connections with credit, and the habits of the hosts
// that there are. It takes every packet of the driver apart and objects, naming the requirement; a test plays the peers, and injects
// whatever no honest host would send. Packets of both directions are on record, also as lines of text.
// Header, counters and states are its own: an independent oracle for the library's.
// Spec: virtio 1.4, 5.10. Layer: testing.
#pragma once

#include <compare>
#include <deque>
#include <limits>
#include <set>

#include <virtio/testing/device_model.hpp>

namespace virtio::testing {

/// One packet. Those that a test injects go out as they are: any field, any claim.
struct vsock_packet {
  static constexpr std::uint64_t the_guest = ~std::uint64_t{0};

  std::uint64_t src_cid = 2, dst_cid = the_guest;
  std::uint32_t src_port = 0, dst_port = 0, len = 0;
  std::uint16_t type = 1, op = 0;
  std::uint32_t flags = 0, buf_alloc = 0, fwd_cnt = 0;

  std::vector<std::uint8_t> payload{};          // written behind the header, as far as it fits; `len` is only what the header says
  std::optional<std::uint32_t> used{};          // the used length claimed instead of what was written
  std::uint32_t header_bytes = 44;              // less: the rest of the header stays what the buffer held
};

/// Whom a connection is between. The guest's CID goes without saying.
struct vsock_flow {
  std::uint32_t guest_port = 0, host_port = 0;
  std::uint64_t cid = 2;  // of the peer: the host, or a sibling
  [[nodiscard]] friend auto operator<=>(const vsock_flow&, const vsock_flow&) = default;
};

/// The habits of a host.
struct vsock_host {
  std::vector<unsigned> features{};
  std::uint32_t buf_alloc = 256 * 1024;
  std::uint32_t max_payload = 65536;
  std::uint32_t update_below = 65536;    // tells of space when the guest knows of less than this
  std::uint32_t queued_packets = 0;      // resets a connection with more unread packets than this; 0: never
  bool asks_for_credit = false;
  bool resets_unknown = true;            // what belongs to no connection
  bool resets_refused = true;
  bool resets_wrong_type = true;
  bool resets_excess = false;            // data beyond its credit; else it is dropped
  bool resets_once_drained = true;       // a SHUTDOWN of both ends that comes before all was read; else nobody answers it
  bool resets_carry_credit = true;
  bool returns_malformed = true;
  bool throttles = false;                // takes no packets while as many replies wait as the send ring holds
  bool claims_sent = false;              // the used length of a sent packet is its length; else 0
  bool claims_event_buffer = false;      // the used length of an event is the buffer's; else 4

  [[nodiscard]] static vsock_host kernel() {
    vsock_host h{};
    h.features = {1, 28, 29};
    h.queued_packets = h.buf_alloc / 1024;
    h.returns_malformed = false;
    h.throttles = true;
    return h;
  }
  [[nodiscard]] static vsock_host firecracker() {
    vsock_host h{};
    h.features = {29, 35};
    h.buf_alloc = 65536;
    h.update_below = 4096;
    h.asks_for_credit = h.resets_excess = h.claims_event_buffer = true;
    h.resets_carry_credit = false;
    return h;
  }
  [[nodiscard]] static vsock_host vhost_device() {
    vsock_host h{};
    h.features = {29};
    h.buf_alloc = 65536;
    h.update_below = 16384;
    h.asks_for_credit = true;
    h.resets_unknown = h.resets_refused = h.resets_wrong_type = h.resets_once_drained = h.returns_malformed = false;
    return h;
  }
};

struct vsock_options {
  std::uint64_t cid = 3;
  std::array<std::uint16_t, 3> queue_sizes = {64, 64, 8};  // rx, tx, event
  vsock_host host = vsock_host::kernel();
};

class vsock_model : public device_model {
 public:
  enum : std::uint16_t { invalid, request, response, reset, shutdown, data, credit_update, credit_request };
  enum : std::uint32_t { no_receive = 1, no_send = 2, both_ends = 3, end_of_message = 1, end_of_record = 2 };
  static constexpr std::uint32_t header_size = 44;

  /// What a port of the host does with a REQUEST.
  enum class reception : std::uint8_t { accepts, refuses, is_silent, waits };  // waits: until accept()
  /// What becomes of the buffers of the send ring.
  enum class sending : std::uint8_t { serve, keep, ignore };  // keep: reads the packets and gives no buffer back

  struct message {
    std::vector<std::uint8_t> bytes;
    bool record_ends;
    [[nodiscard]] friend bool operator==(const message&, const message&) = default;
  };

  /// The host's end of a connection. A test reads it, and may set the knobs.
  struct connection {
    enum class state : std::uint8_t { asked, waiting, silent, open, closed };  // asked: the guest was, waiting: it asked
    enum class ending : std::uint8_t { none, by_guest, by_host, by_transport };

    state now = state::closed;
    ending end = ending::none;
    std::uint16_t type = 1;
    bool reads = true;                // consumes what comes at once; else read() does
    bool keeps = true;                // keeps what was consumed in `bytes` and `messages`; else it only counts
    bool answers_shutdown = true;

    std::vector<std::uint8_t> bytes{};      // consumed
    std::vector<message> messages{};        // seqpacket: complete ones
    std::uint64_t arrived = 0;              // payload bytes in all
    std::uint32_t packets = 0;              // of data, in all
    std::uint32_t guest_ends = 0;           // SHUTDOWN flags that came
    [[nodiscard]] std::size_t unread() const { return queued_bytes; }
    [[nodiscard]] std::uint64_t unsent() const { return outbox_bytes; }

    // Towards the host, in the host's words: how much has come, was consumed, may come ahead; and what of it the guest was told.
    std::uint32_t received = 0, consumed = 0, window = 0, told_consumed = 0, told_window = 0, furthest = 0;
    // Towards the guest: how much was sent, and what the guest has said.
    std::uint32_t sent = 0, guest_consumed = 0, guest_window = 0;
    bool guest_has_spoken = false;

    // What the guest lets us send now.
    [[nodiscard]] std::uint32_t credit() const {
      const std::uint32_t ahead = sent - guest_consumed;
      return guest_window > ahead ? guest_window - ahead : 0;
    }

   private:
    friend vsock_model;
    struct piece {
      std::vector<std::uint8_t> bytes;
      std::size_t done;
      std::uint32_t flags;
    };
    std::deque<piece> outbox{};
    std::uint64_t outbox_bytes = 0;
    std::deque<piece> queued{};  // packets that were not read
    std::size_t queued_bytes = 0;
    std::vector<std::uint8_t> partial{};
    std::uint32_t shut_wanted = 0, shut_sent = 0;
    bool asked_for_credit = false, reset_when_drained = false;
  };

  explicit vsock_model(device_memory& memory, vsock_options options = {})
      : device_model{memory, 19, {options.queue_sizes.begin(), options.queue_sizes.end()}, std::vector<std::uint8_t>(8)},
        host{std::move(options.host)} {
    for (const unsigned bit : host.features) offer({bit});
    put_config(0, options.cid, 8);
  }

  // --- knobs ---

  vsock_host host;
  std::map<std::uint32_t, reception> ports;                // of the host; any other refuses
  std::set<std::uint64_t> siblings;                        // CIDs other than 2 that are there
  sending tx = sending::serve;
  std::size_t burst = std::numeric_limits<std::size_t>::max();  // packets to the guest a step, at most
  std::uint32_t counters_start = 0;                        // of new connections; the driver has to start there too
  bool resets_cross = false;                               // the guest resets before it polls: such a RST is no answer to ours
  bool recording = true;
  std::function<void(const vsock_packet&)> on_packet;      // from the guest, after it was served

  [[nodiscard]] std::uint64_t cid() const { return wire::get64(const_cast<vsock_model*>(this)->config().data()); }

  // --- playing the peers: packets wait in order and leave as rx buffers are there ---

  /// Asks the guest for a connection.
  vsock_flow connect(std::uint32_t guest_port, std::uint32_t host_port, std::uint16_t type = 1, std::uint64_t from = 2) {
    const vsock_flow f{guest_port, host_port, from};
    open(f, type, connection::state::asked);
    say(f, request);
    return f;
  }
  /// Accepts what a port that waits was asked.
  void accept(const vsock_flow& f) {
    peer(f).now = connection::state::open;
    say(f, response);
  }
  /// The connection, whether it is open or has ended. There has to be one.
  [[nodiscard]] connection& peer(const vsock_flow& f) { return connections_.at(f); }
  [[nodiscard]] connection* find(const vsock_flow& f) {
    const auto found = connections_.find(f);
    return found == connections_.end() ? nullptr : &found->second;
  }
  [[nodiscard]] bool is_open(const vsock_flow& f) { return live(f) != nullptr && peer(f).now == connection::state::open; }
  /// Every connection with the host that has not ended, with what guest port it has.
  [[nodiscard]] std::vector<vsock_flow> open_flows() const {
    std::vector<vsock_flow> all;
    for (const auto& [f, c] : connections_)
      if (c.now == connection::state::open) all.push_back(f);
    return all;
  }

  void send(const vsock_flow& f, std::vector<std::uint8_t> bytes, std::uint32_t flags = 0) {
    connection& c = peer(f);
    c.outbox_bytes += bytes.size();
    c.outbox.push_back({std::move(bytes), 0, flags});
    busy_.insert(f);
    wake(0);
  }
  void send_message(const vsock_flow& f, std::vector<std::uint8_t> bytes, bool record_ends = false) {
    send(f, std::move(bytes), end_of_message | (record_ends ? end_of_record : 0u));
  }
  /// Consumes up to `most` of what has come; whole packets' worth of credit goes back as the host's habit is.
  std::vector<std::uint8_t> read(const vsock_flow& f, std::size_t most = ~std::size_t{0}) {
    connection& c = peer(f);
    const std::size_t before = c.bytes.size();
    const bool kept = c.keeps;
    c.keeps = true;
    consume(f, c, most);
    c.keeps = kept;
    return {c.bytes.begin() + static_cast<std::ptrdiff_t>(before), c.bytes.end()};
  }
  /// Ends sending and/or receiving, behind what is to be sent yet.
  void shut(const vsock_flow& f, std::uint32_t ends) {
    peer(f).shut_wanted |= ends;
    busy_.insert(f);
    wake(0);
  }
  /// An orderly close.
  void close(const vsock_flow& f) { shut(f, both_ends); }
  /// A reset, at once: nothing else is sent any more.
  void abort(const vsock_flow& f) {
    if (live(f) == nullptr) return;
    say(f, reset);
    finish(peer(f), connection::ending::by_host);
  }
  /// How much may come ahead. Less than before: with data in flight.
  void set_window(const vsock_flow& f, std::uint32_t bytes) {
    peer(f).window = bytes;
    say(f, credit_update);
  }
  void say(const vsock_flow& f, std::uint16_t op, std::uint32_t flags = 0) {
    vsock_packet p;
    p.op = op;
    p.flags = flags;
    const connection* const c = find(f);
    p.type = c != nullptr ? c->type : std::uint16_t{1};
    address(p, f);
    out_.push_back({std::move(p), false, serving_});
    replies_ += serving_;
    wake(0);
  }
  /// A packet as it is.
  void inject(vsock_packet p) {
    out_.push_back({std::move(p), true, false});
    wake(0);
  }
  /// A packet to the guest with these ports, for inject().
  [[nodiscard]] static vsock_packet packet(const vsock_flow& f, std::uint16_t op, std::vector<std::uint8_t> payload = {}) {
    vsock_packet p;
    p.op = op;
    p.buf_alloc = 65536;
    p.len = static_cast<std::uint32_t>(payload.size());
    p.payload = std::move(payload);
    address(p, f);
    return p;
  }

  /// All connections are gone, and the guest has this CID from now on. Nothing is sent until the guest has kicked the event queue.
  void reset_transport(std::uint64_t new_cid) {
    old_cids_.insert(cid());
    put_config(0, new_cid, 8);
    bump_generation();
    for (auto& [f, c] : connections_)
      if (c.now != connection::state::closed) finish(c, connection::ending::by_transport);
    out_.clear();
    replies_ = 0;
    raise(0);
    paused_at_ = doorbells(2);
  }
  /// Raises an event.
  void raise(std::uint32_t id) {
    if (events_.empty() && at(2).in_use->pending() == 0)
      object("VSOCK-09: no buffer for an event");
    events_.push_back(id);
    wake(2);
  }

  /// Steps until nothing is left to do that does not need the driver.
  void settle() {
    for (bool again = true; again;) {
      again = step() != 0;
      for (std::size_t q = 0; q < queue_count(); ++q) again = again || at(q).rung;
    }
  }

  // --- what happened ---

  struct seen {
    bool to_guest;
    vsock_packet packet;  // without its payload
    std::uint32_t payload;
  };
  /// Every packet since the last clear(), in order.
  [[nodiscard]] const std::vector<seen>& record() const { return record_; }
  void clear() {
    record_.clear();
    for (auto& one : sent_) one = 0;
    small_ = 0;
  }
  /// The same as text: direction as the guest sees it, op, guest port:peer port. Credit is left out if so wanted, as hosts differ in it.
  [[nodiscard]] std::vector<std::string> transcript(bool with_credit = true) const {
    std::vector<std::string> all;
    for (const seen& one : record_)
      if (with_credit || (one.packet.op != credit_update && one.packet.op != credit_request)) all.push_back(line(one));
    return all;
  }
  [[nodiscard]] std::string text(bool with_credit = true) const {
    std::string all;
    for (const std::string& one : transcript(with_credit)) all += (all.empty() ? "" : "\n") + one;
    return all;
  }
  /// Packets from the guest since the last clear(), of one op; and data packets of less than 1 KiB.
  [[nodiscard]] std::uint32_t count(std::uint16_t op) const { return op < std::size(sent_) ? sent_[op] : 0; }
  [[nodiscard]] std::uint32_t small_packets() const { return small_; }
  /// Packets of both directions, ever.
  [[nodiscard]] std::uint64_t packets() const { return packets_; }
  /// The last packet from the guest on a flow.
  [[nodiscard]] std::optional<vsock_packet> last(const vsock_flow& f) const {
    for (auto one = record_.rbegin(); one != record_.rend(); ++one)
      if (!one->to_guest && flow_of(one->packet) == f) return one->packet;
    return std::nullopt;
  }
  /// Packets that wait for receive buffers, those of connections with credit included.
  [[nodiscard]] bool has_more() { return ready(); }
  /// What the guest has promised to take and we have not sent, over all connections.
  [[nodiscard]] std::uint64_t promised() const {
    std::uint64_t sum = 0;
    for (const auto& [f, c] : connections_)
      if (c.now == connection::state::open && c.guest_has_spoken) sum += c.credit();
    return sum;
  }
  /// Event buffers that the driver has posted.
  [[nodiscard]] std::uint16_t event_buffers() { return at(2).in_use->pending(); }
  /// The guest has seen everything that was sent: from here on only the last word about credit counts.
  void settled(const vsock_flow& f) {
    connection& c = peer(f);
    c.furthest = c.told_consumed + c.told_window;
  }

  /// Gives back what the send ring had kept, and serves it again.
  void give_back() {
    tx = sending::serve;
    wake(1);
  }

 protected:
  [[nodiscard]] bool knows(unsigned bit) const override { return bit < 24 ? bit <= 2 : device_model::knows(bit); }
  [[nodiscard]] field config_field(std::uint32_t offset) const override {
    return offset < 8 ? field{0, 8, 128} : device_model::config_field(offset);
  }

  std::optional<chain> take(std::uint16_t queue) override {
    switch (queue) {
      case 0: return take_receive();
      case 1: return take_send();
      case 2: return take_event();
      default: return device_model::take(queue);
    }
  }
  // The work is done when a buffer is taken: what is left is the length to claim.
  std::uint32_t process(std::uint16_t queue, chain& buffer) override {
    const auto found = lengths_.find({queue, buffer.head});
    if (found == lengths_.end()) return 0;
    const std::uint32_t length = found->second;
    lengths_.erase(found);
    return length;
  }
  void was_reset() override {
    for (auto& [f, c] : connections_)
      if (c.now != connection::state::closed) finish(c, connection::ending::by_transport);
    out_.clear();
    replies_ = 0;
    events_.clear();
    kept_.clear();
    lengths_.clear();
    marks_.clear();
    taken_ = burst_ = 0;
    paused_at_.reset();
    throttled_ = events_checked_ = false;
    old_cids_.clear();
  }

 private:
  struct outgoing {
    vsock_packet packet;
    bool as_it_is, is_reply;
  };
  // What decides whether a reset from the guest answers one of ours.
  struct mark {
    std::uint64_t reset_at = 0;  // packets the driver had made available when our reset arrived; 0: none has
    std::uint32_t strays = 0;    // packets to no connection that it may answer
  };

  void wake(std::uint16_t queue) {
    if (mode == run::at_doorbell) (void)serve(queue);
    else at(queue).rung.store(true, std::memory_order_release);
  }

  [[nodiscard]] connection* live(const vsock_flow& f) {
    connection* const c = find(f);
    return c != nullptr && c->now != connection::state::closed ? c : nullptr;
  }
  connection& open(const vsock_flow& f, std::uint16_t type, connection::state now) {
    connection& c = connections_[f];
    c = connection{};
    c.now = now;
    c.type = type;
    c.window = host.buf_alloc;
    c.received = c.consumed = c.told_consumed = c.furthest = c.sent = c.guest_consumed = counters_start;
    return c;
  }
  static void finish(connection& c, connection::ending how) {
    c.now = connection::state::closed;
    c.end = how;
    c.outbox.clear();
    c.outbox_bytes = 0;
  }
  [[nodiscard]] static vsock_flow flow_of(const vsock_packet& from_guest) {
    return {from_guest.src_port, from_guest.dst_port, from_guest.dst_cid};
  }
  static void address(vsock_packet& p, const vsock_flow& f) {
    p.src_cid = f.cid;
    p.src_port = f.host_port;
    p.dst_port = f.guest_port;
  }

  // --- to the guest ---

  [[nodiscard]] bool has_data(connection& c) {
    if (c.now != connection::state::open || c.outbox.empty() || !c.guest_has_spoken) return false;
    if (c.outbox.front().bytes.empty() || c.credit() != 0) return true;
    if (host.asks_for_credit && !c.asked_for_credit) return true;
    return false;
  }
  [[nodiscard]] static bool has_shutdown(const connection& c) {
    return c.now == connection::state::open && c.outbox.empty() && (c.shut_wanted & ~c.shut_sent) != 0;
  }
  [[nodiscard]] bool ready() {
    if (!out_.empty()) return true;
    for (auto i = busy_.begin(); i != busy_.end();) {
      connection& c = peer(*i);
      if (has_data(c) || has_shutdown(c)) return true;
      if (c.now == connection::state::closed || (c.outbox.empty() && (c.shut_wanted & ~c.shut_sent) == 0)) i = busy_.erase(i);
      else ++i;
    }
    return false;
  }

  std::optional<chain> take_receive() {
    if (paused_at_) return std::nullopt;
    if (burst_ >= burst) {
      burst_ = 0;
      if (ready()) at(0).rung.store(true, std::memory_order_release);
      return std::nullopt;
    }
    if (!ready()) {
      burst_ = 0;
      return std::nullopt;
    }
    auto buffer = device_model::take(0);
    if (!buffer) {
      burst_ = 0;
      return std::nullopt;
    }
    ++burst_;
    const auto& e = buffer->elements;
    std::uint8_t old[header_size];
    if (e.size() != 2 || !e[0].writable || !e[1].writable || e[0].length != header_size)
      object("vsock: a receive buffer that is not a header and one piece of data, both writable");
    if (buffer->writable() >= header_size) {
      read_back(*buffer, old);
      for (const std::uint8_t byte : old)
        if (byte != 0) {
          object("vsock: the header of a receive buffer was not zeroed before it was posted");
          break;
        }
    }
    const std::uint64_t room = buffer->writable() > header_size ? buffer->writable() - header_size : 0;
    deliver(*buffer, next(static_cast<std::uint32_t>(std::min<std::uint64_t>(room, host.max_payload))));
    if (throttled_ && replies_ < at(1).size) {
      throttled_ = false;
      at(1).rung.store(true, std::memory_order_release);
    }
    return buffer;
  }

  void read_back(const chain& buffer, std::uint8_t* to) {
    std::uint32_t done = 0;
    for (const element& e : buffer.elements) {
      const std::uint32_t n = std::min(e.length, header_size - done);
      if (n != 0) (void)memory().read(e.at, to + done, n);
      done += n;
    }
  }

  // There is something.
  vsock_packet next(std::uint32_t room) {
    if (!out_.empty()) {
      outgoing one = std::move(out_.front());
      out_.pop_front();
      replies_ -= one.is_reply;
      if (connection* const c = one.as_it_is ? nullptr : find(flow_to(one.packet)); c != nullptr) tell(*c, one.packet);
      return std::move(one.packet);
    }
    // From the connection behind the one that was served last.
    auto i = busy_.upper_bound(last_served_);
    for (std::size_t n = 0; n <= busy_.size(); ++n, ++i) {
      if (i == busy_.end()) i = busy_.begin();
      const vsock_flow f = *i;
      connection& c = peer(f);
      if (!has_data(c) && !has_shutdown(c)) continue;
      last_served_ = f;
      vsock_packet p;
      p.type = c.type;
      address(p, f);
      tell(c, p);
      if (has_shutdown(c)) {
        p.op = shutdown;
        c.shut_sent |= c.shut_wanted;
        p.flags = c.shut_sent;
        return p;
      }
      auto& piece = c.outbox.front();
      const auto n_bytes =
          static_cast<std::uint32_t>(std::min<std::size_t>({piece.bytes.size() - piece.done, c.credit(), room}));
      if (n_bytes == 0 && !piece.bytes.empty()) {
        p.op = credit_request;
        c.asked_for_credit = true;
        return p;
      }
      p.op = data;
      p.len = n_bytes;
      const auto from = piece.bytes.begin() + static_cast<std::ptrdiff_t>(piece.done);
      p.payload.assign(from, from + n_bytes);
      piece.done += n_bytes;
      c.outbox_bytes -= n_bytes;
      if (piece.done == piece.bytes.size()) {
        p.flags = piece.flags;
        c.outbox.pop_front();
      }
      return p;
    }
    return {};
  }
  [[nodiscard]] static vsock_flow flow_to(const vsock_packet& to_guest) {
    return {to_guest.dst_port, to_guest.src_port, to_guest.src_cid};
  }
  void tell(const connection& c, vsock_packet& p) const {
    if (p.op == reset && !host.resets_carry_credit) return;
    p.buf_alloc = c.window;
    p.fwd_cnt = c.consumed;
  }

  void deliver(chain& buffer, vsock_packet p) {
    if (p.dst_cid == vsock_packet::the_guest) p.dst_cid = cid();
    std::uint8_t raw[header_size];
    wire::put64(raw, p.src_cid);
    wire::put64(raw + 8, p.dst_cid);
    wire::put32(raw + 16, p.src_port);
    wire::put32(raw + 20, p.dst_port);
    wire::put32(raw + 24, p.len);
    wire::put16(raw + 28, p.type);
    wire::put16(raw + 30, p.op);
    wire::put32(raw + 32, p.flags);
    wire::put32(raw + 36, p.buf_alloc);
    wire::put32(raw + 40, p.fwd_cnt);
    (void)buffer.write(0, raw, std::min(p.header_bytes, header_size));
    const std::uint64_t written = buffer.write(header_size, p.payload.data(), p.payload.size());
    lengths_[{0, buffer.head}] = p.used.value_or(static_cast<std::uint32_t>(header_size + written));

    const vsock_flow f = flow_to(p);
    mark& m = marks_[f];
    connection* const c = live(f);
    if (c != nullptr && p.op != reset) {
      c->told_consumed = p.fwd_cnt;
      c->told_window = p.buf_alloc;
      if (static_cast<std::int32_t>(p.fwd_cnt + p.buf_alloc - c->furthest) > 0) c->furthest = p.fwd_cnt + p.buf_alloc;
      if (p.op == data) c->sent += p.len;
    }
    if (p.op == reset) {
      m.reset_at = taken_ + at(1).in_use->pending() + 1;
    } else {
      m.reset_at = 0;
      if (c == nullptr || p.type != c->type) ++m.strays;
    }
    note(true, std::move(p));
  }

  std::optional<chain> take_event() {
    if (events_.empty()) {
      if (paused_at_ && doorbells(2) != *paused_at_) {
        paused_at_.reset();
        wake(0);
      }
      return std::nullopt;
    }
    auto buffer = device_model::take(2);
    if (!buffer) return std::nullopt;
    if (buffer->readable() != 0 || buffer->writable() < 4) object("vsock: an event buffer without room for an event");
    std::uint8_t raw[4];
    wire::put32(raw, events_.front());
    events_.pop_front();
    (void)buffer->write(0, raw, sizeof raw);
    lengths_[{2, buffer->head}] = host.claims_event_buffer ? static_cast<std::uint32_t>(buffer->writable()) : 4;
    if (paused_at_) paused_at_ = doorbells(2);
    events_checked_ = true;
    return buffer;
  }

  // --- from the guest ---

  std::optional<chain> take_send() {
    for (;;) {
      if (tx == sending::ignore) return std::nullopt;
      if (tx == sending::serve && !kept_.empty()) {
        chain one = kept_.front();
        kept_.pop_front();
        return one;
      }
      if (host.throttles && replies_ >= at(1).size) {
        throttled_ = true;
        return std::nullopt;
      }
      auto buffer = device_model::take(1);
      if (!buffer) return std::nullopt;
      ++taken_;
      if (!events_checked_ && at(2).in_use->pending() == 0) object("VSOCK-09: packets before there was a buffer for events");
      events_checked_ = true;
      const bool sound = packet_from(*buffer);
      if (ready()) wake(0);
      if (!sound && !host.returns_malformed) continue;
      lengths_[{1, buffer->head}] = host.claims_sent ? static_cast<std::uint32_t>(buffer->readable()) : 0;
      if (tx == sending::serve) return buffer;
      kept_.push_back(*buffer);
    }
  }

  bool packet_from(const chain& buffer) {
    const auto& e = buffer.elements;
    if (buffer.writable() != 0 || e.empty() || e.size() > 2 || e[0].length != header_size) {
      object("vsock: a packet that is not a header, or a header and one piece of data, both readable");
      return false;
    }
    std::uint8_t raw[header_size];
    (void)buffer.read(0, raw, sizeof raw);
    vsock_packet p;
    p.src_cid = wire::get64(raw);
    p.dst_cid = wire::get64(raw + 8);
    p.src_port = wire::get32(raw + 16);
    p.dst_port = wire::get32(raw + 20);
    p.len = wire::get32(raw + 24);
    p.type = wire::get16(raw + 28);
    p.op = wire::get16(raw + 30);
    p.flags = wire::get32(raw + 32);
    p.buf_alloc = wire::get32(raw + 36);
    p.fwd_cnt = wire::get32(raw + 40);
    const std::uint64_t rest = buffer.readable() - header_size;
    if (p.len != rest)
      object("vsock: a header that says " + std::to_string(p.len) + " bytes, and " + std::to_string(rest) + " of them");
    if (p.len > rest || p.len > 65536) {
      object("vsock: a packet of " + std::to_string(p.len) + " bytes");
      return false;
    }
    p.payload.resize(p.len);
    (void)buffer.read(header_size, p.payload.data(), p.len);
    serving_ = true;
    serve_packet(p);
    serving_ = false;
    if (on_packet) on_packet(p);
    note(false, std::move(p));
    return true;
  }

  void serve_packet(const vsock_packet& p) {
    const std::string name = name_of(p.op) + " from port " + std::to_string(p.src_port) + " to " + std::to_string(p.dst_port);
    if (p.op < std::size(sent_)) ++sent_[p.op];
    if (p.op == data && p.len < 1024) ++small_;
    if (p.src_cid != cid()) {
      if (old_cids_.count(p.src_cid) == 0)
        object("VSOCK-07: " + name + " from CID " + std::to_string(p.src_cid) + ", which is " + std::to_string(cid()));
      return;  // else it was on its way when the CID changed
    }
    old_cids_.clear();
    if (p.op == invalid || p.op > credit_request) return object("vsock: op " + std::to_string(p.op));
    if (p.op != data && p.len != 0) object("vsock: " + name + " with data");
    if (p.op != data && p.op != shutdown && p.flags != 0) object("vsock: " + name + " with flags " + wire::hex(p.flags));
    if (p.op == shutdown && (p.flags == 0 || p.flags > 3)) object("vsock: " + name + " with flags " + wire::hex(p.flags));
    const vsock_flow f = flow_of(p);
    if (p.op == reset) return serve_reset(f, name);
    if (p.dst_cid != 2 && siblings.count(p.dst_cid) == 0) return;
    connection* const c = live(f);
    if (p.type != 1 && !(p.type == 2 && accepted(1))) {
      object("vsock: " + name + " of type " + std::to_string(p.type));
      if (host.resets_wrong_type) say(f, reset);
      return;
    }
    if (c != nullptr && c->type != p.type) object("vsock: " + name + " of another type than its connection");
    if (p.op == request) return serve_request(f, p, name);
    if (c == nullptr) {
      if (host.resets_unknown) say(f, reset);
      return;
    }
    check_credit(*c, p, name);
    switch (p.op) {
      case response:
        if (c->now != connection::state::asked) object("vsock: " + name + ", which nobody asked for");
        else c->now = connection::state::open;
        break;
      case shutdown:
        if (!speaks(*c, name)) break;
        c->guest_ends |= p.flags;
        answer_shutdown(f, *c);
        break;
      case data:
        if (speaks(*c, name)) serve_data(f, *c, p, name);
        break;
      case credit_request:
        if (speaks(*c, name)) say(f, credit_update);
        break;
      default: (void)speaks(*c, name); break;
    }
    if (c->credit() != 0) c->asked_for_credit = false;
  }

  bool speaks(const connection& c, const std::string& name) {
    if (c.now == connection::state::open) return true;
    object("vsock: " + name + " before the connection was there");
    return false;
  }

  void serve_reset(const vsock_flow& f, const std::string& name) {
    mark& m = marks_[f];
    if (connection* const c = live(f); c != nullptr) {
      finish(*c, connection::ending::by_guest);
    } else if (m.strays != 0) {
      --m.strays;
    } else if (m.reset_at != 0 && taken_ >= m.reset_at && !resets_cross) {
      object("vsock: " + name + " answers a RST");
    }
  }

  void serve_request(const vsock_flow& f, const vsock_packet& p, const std::string& name) {
    if (live(f) != nullptr) {
      object("vsock: " + name + ", where a connection is");
      abort(f);
      return;
    }
    const auto told = ports.find(f.host_port);
    reception how = told == ports.end() ? reception::refuses : told->second;
    if (how == reception::refuses && !host.resets_refused) how = reception::is_silent;
    if (how == reception::refuses) return say(f, reset);
    connection& c = open(f, p.type, how == reception::accepts ? connection::state::open
                                    : how == reception::waits ? connection::state::waiting
                                                              : connection::state::silent);
    check_credit(c, p, name);
    if (how == reception::accepts) say(f, response);
  }

  // VSOCK-06, as far as the host can tell.
  void check_credit(connection& c, const vsock_packet& p, const std::string& name) {
    const std::uint32_t more = p.fwd_cnt - c.guest_consumed;
    if (more > c.sent - c.guest_consumed)
      object("VSOCK-06: " + name + " with fwd_cnt " + std::to_string(p.fwd_cnt) + " after " + std::to_string(c.guest_consumed) +
             ", and " + std::to_string(c.sent) + " were sent");
    const auto moved = static_cast<std::int32_t>(p.fwd_cnt + p.buf_alloc - c.guest_consumed - c.guest_window);
    if (c.guest_has_spoken && moved < 0)
      object("VSOCK-06: " + name + " takes back " + std::to_string(-static_cast<std::int64_t>(moved)) + " bytes of its window");
    c.guest_consumed = p.fwd_cnt;
    c.guest_window = p.buf_alloc;
    c.guest_has_spoken = true;
  }

  void serve_data(const vsock_flow& f, connection& c, const vsock_packet& p, const std::string& name) {
    if (p.len == 0 && c.type == 1) object("vsock: " + name + " without data");
    if (c.type == 1 ? p.flags != 0 : p.flags > 3) object("vsock: " + name + " with flags " + wire::hex(p.flags));
    if ((c.guest_ends & no_send) != 0) object("vsock: " + name + " after SHUTDOWN");
    if (const auto beyond = static_cast<std::int32_t>(c.received + p.len - c.furthest); beyond > 0) {
      object("VSOCK-05: " + name + " exceeds its credit by " + std::to_string(beyond));
      if (host.resets_excess) abort(f);
      return;
    }
    c.received += p.len;
    c.arrived += p.len;
    ++c.packets;
    if ((c.shut_sent & no_receive) != 0) return;
    if (c.reads && c.queued.empty()) {
      hand_up(c, p.payload.data(), p.len, p.flags, true);
      c.consumed += p.len;
      return update(f, c);
    }
    c.queued_bytes += p.len;
    c.queued.push_back({p.payload, 0, p.flags});
    if (host.queued_packets != 0 && c.queued.size() > host.queued_packets) abort(f);
  }
  // So many bytes of a packet go to the program, whether these are its last ones or not.
  static void hand_up(connection& c, const std::uint8_t* bytes, std::size_t n, std::uint32_t flags, bool whole) {
    auto& to = c.type == 1 ? c.bytes : c.partial;
    if (c.keeps) to.insert(to.end(), bytes, bytes + n);
    if (c.type == 1 || !whole || (flags & end_of_message) == 0) return;
    c.messages.push_back({std::move(c.partial), (flags & end_of_record) != 0});
    c.partial.clear();
  }
  void consume(const vsock_flow& f, connection& c, std::size_t most) {
    while (!c.queued.empty()) {
      auto& one = c.queued.front();
      const std::size_t n = std::min(most, one.bytes.size() - one.done);
      if (n == 0 && !one.bytes.empty()) break;
      const bool whole = one.done + n == one.bytes.size();
      hand_up(c, one.bytes.data() + one.done, n, one.flags, whole);
      one.done += n;
      most -= n;
      c.queued_bytes -= n;
      c.consumed += static_cast<std::uint32_t>(n);
      if (whole) c.queued.pop_front();
    }
    if (c.now != connection::state::open) return;
    update(f, c);
    if (c.reset_when_drained && c.queued.empty()) abort(f);
  }
  void update(const vsock_flow& f, const connection& c) {
    const std::uint32_t ahead = c.received - c.told_consumed;
    const std::uint32_t known = c.told_window > ahead ? c.told_window - ahead : 0;
    if (c.consumed == c.told_consumed || known >= host.update_below) return;
    for (const outgoing& one : out_)
      if (!one.as_it_is && one.packet.op == credit_update && flow_to(one.packet) == f) return;
    say(f, credit_update);
  }
  void answer_shutdown(const vsock_flow& f, connection& c) {
    if (c.guest_ends != both_ends || !c.answers_shutdown) return;
    if (c.queued.empty()) abort(f);
    else c.reset_when_drained = host.resets_once_drained;
  }

  // --- the record ---

  [[nodiscard]] static std::string name_of(std::uint16_t op) {
    static constexpr const char* names[] = {"INVALID", "REQUEST", "RESPONSE", "RST", "SHUTDOWN", "RW", "CREDIT_UPDATE", "CREDIT_REQUEST"};
    return op < std::size(names) ? names[op] : "op " + std::to_string(op);
  }
  [[nodiscard]] static std::string line(const seen& one) {
    const vsock_packet& p = one.packet;
    const vsock_flow f = one.to_guest ? flow_to(p) : flow_of(p);
    std::string text = (one.to_guest ? "< " : "> ") + name_of(p.op) + " " + std::to_string(f.guest_port) + ":" +
                       std::to_string(f.host_port);
    if (f.cid != 2) text += " cid=" + std::to_string(f.cid);
    if (p.type != 1) text += " type=" + std::to_string(p.type);
    if (p.flags != 0) text += " flags=" + std::to_string(p.flags);
    if (p.len != 0) text += " len=" + std::to_string(p.len);
    return text;
  }
  void note(bool to_guest, vsock_packet p) {
    ++packets_;
    if (!recording) return;
    const auto n = static_cast<std::uint32_t>(p.payload.size());
    p.payload = {};
    record_.push_back({to_guest, std::move(p), n});
  }

  std::map<vsock_flow, connection> connections_;
  std::map<vsock_flow, mark> marks_;
  std::set<vsock_flow> busy_;  // may have something to send; all that have are in it
  std::deque<outgoing> out_;
  std::uint32_t replies_ = 0;  // of out_
  bool serving_ = false;
  std::deque<std::uint32_t> events_;
  std::deque<chain> kept_;
  std::map<std::pair<std::uint16_t, std::uint16_t>, std::uint32_t> lengths_;  // by queue and head: what to claim
  vsock_flow last_served_{};
  std::vector<seen> record_;
  std::uint32_t sent_[8] = {}, small_ = 0;
  std::uint64_t taken_ = 0, packets_ = 0;
  std::size_t burst_ = 0;
  std::set<std::uint64_t> old_cids_;  // under which packets may be on their way
  std::optional<std::uint32_t> paused_at_;  // doorbells of the event queue before anything may be sent
  bool throttled_ = false, events_checked_ = false;
};

}  // namespace virtio::testing
