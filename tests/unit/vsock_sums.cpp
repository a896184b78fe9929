// SPDX-License-Identifier: MIT
// The sums of shared resources are right at any time: promised receive memory, receive and send buffers, reserved send
// buffers. This test reads private members, since the driver does not report them.
#include <random>

#include "vsock.hpp"

using namespace virtio;
using vsock::boundary;
using vsock::kind;

namespace {

constexpr vsock::limits layout{.connections = 8,
                               .receive_packet = 256,
                               .receive_buffer = 4096,
                               .receive_pool = 6144,
                               .pieces = 6,
                               .send_packet = 512,
                               .send_packets = 10,
                               .messages = true};
using rig_type = rig::basic_sockets<layout, split_queue<16>>;
using device_type_ = rig_type::device;
using insides = vsock::detail::exchange<rig::platform_type, rig::modern_pci, split_queue<16>, layout>;

// An explicit instantiation may name private members.
insides& inside(device_type_&);
template <insides device_type_::* Member>
struct opened {
  friend insides& inside(device_type_& d) { return d.*Member; }
};
template struct opened<&device_type_::all_>;

struct started : rig_type {
  std::vector<vsock::piece> held{};

  started() : rig_type{{.queue_sizes = {16, 8, 8}}} {
    this->model.offer({1});
    this->model.recording = false;
    m.expect_objections = true;
    REQUIRE(begin());
  }

  template <class Pool>
  static u32 free_in(const Pool& pool) {
    u32 n = 0;
    while (pool.has_free(n + 1)) ++n;
    return n;
  }
  template <class Pool>
  static u32 in_list(const buffer_list& list, const Pool& pool) {
    u32 n = 0;
    for (buffer_index at = list.first(); !at.is_none(); at = pool.after(at)) ++n;
    return n;
  }
  /// At any time.
  void check_promises() {
    insides& all = inside(*d);
    u32 extra = 0;
    for (u16 i = 0; i < layout.connections; ++i) {
      const auto& c = all.table[i];
      extra += c.extra;
      if (c.now == vsock::detail::state::unused) REQUIRE(c.extra == 0);
      REQUIRE(c.taken <= c.in.unread());
      if (!c.closed_ends.has(ends::receive) && !c.peer_closed_ends.has(ends::send))
        REQUIRE((c.extra + 1u) * layout.receive_packet >= c.in.promised());
    }
    REQUIRE(extra + all.unread.free_packets() == layout.pool_packets() - layout.connections);
  }
  /// When the device has nothing more to send.
  void check_buffers() {
    insides& all = inside(*d);
    auto& sent = all.queues.sent;
    auto& received = all.queues.received;
    u32 gathered = 0, unread = 0;
    for (u16 i = 0; i < layout.connections; ++i) {
      const auto& c = all.table[i];
      gathered += in_list(c.gathered, sent);
      unread += in_list(c.received, received);
    }
    REQUIRE(all.queues.is_idle());
    REQUIRE(free_in(sent) + gathered == layout.send_packets);
    const u32 posted = all.queues.all()[all.queues.receive_queue].in_flight();
    REQUIRE(free_in(received) + posted + unread + held.size() == std::remove_reference_t<decltype(received)>::count);
  }
  void check_nothing_left() {
    insides& all = inside(*d);
    REQUIRE(all.unread.free_packets() == layout.pool_packets() - layout.connections);
    REQUIRE(free_in(all.queues.sent) == layout.send_packets);
    REQUIRE_FALSE(all.unsent.has_work());
    REQUIRE(all.to_report.empty());
  }
};

}  // namespace

TEST_CASE("vsock sums: reservations and buffers add up at every step of random traffic, and all are free at the end",
          "[vsock]") {
  started s;
  std::mt19937 random{23};
  const auto chance = [&](u32 n) { return static_cast<u32>(random() % n); };
  u8 into[700];
  for (int life = 0; life < 40; ++life) {
    struct one {
      vsock::socket who;
      vsock_flow f;
    };
    std::vector<one> all;
    for (u32 i = 0; i < 6; ++i) {
      const auto who = s->try_connect(rig::echo, i % 2 == 0 ? kind::stream : kind::seqpacket);
      REQUIRE(who);
      s.settle();
      all.push_back({*who, s.flow(*who)});
    }
    for (int step = 0; step < 400; ++step) {
      const one& c = all[chance(6)];
      const auto data = pattern(1 + chance(chance(3) == 0 ? 1500 : 60), chance(9));
      const const_bytes halves[] = {const_bytes{data.data(), data.size() / 2},
                                    const_bytes{data.data() + data.size() / 2, data.size() - data.size() / 2}};
      const bool is_open = s.model.is_open(c.f);
      switch (chance(22)) {
        case 0: (void)s->try_send(c.who, data); break;
        case 1: (void)s->try_send_all(c.who, halves); break;
        case 2:
        case 3: (void)s->try_send_message(c.who, halves, chance(2) == 0 ? boundary::record : boundary::message); break;
        case 4:
        case 5:
          if (is_open && &c - all.data() < 6 && (&c - all.data()) % 2 == 0) s.model.send(c.f, data);
          else if (is_open) s.model.send_message(c.f, data, chance(2) == 0);
          break;
        case 6: (void)s->try_receive(c.who, bytes{into}.part(0, 1 + chance(600))); break;
        case 7: (void)s->receive_with(c.who, [&](const vsock::arrived& here) { return here.copy_to(0, into); }); break;
        case 8: (void)s->try_receive_message(c.who, bytes{into}.part(0, 1 + chance(600))); break;
        case 9:
          (void)s->receive_message_with(c.who,
                                        [&](const vsock::arrived& here, boundary) { (void)here.copy_to(0, into); });
          break;
        case 10:
          if (const auto p = s->try_take(c.who)) s.held.push_back(*p);
          break;
        case 11:
        case 12:
          if (s.held.empty()) break;
          REQUIRE(s->give_back(s.held.back()));
          s.held.pop_back();
          break;
        case 13: (void)s->set_window(c.who, 1 + chance(layout.receive_buffer)); break;
        case 14:
          if (is_open) s.model.set_window(c.f, chance(3000));
          break;
        case 15: s.model.tx = chance(2) == 0 ? op::sending::ignore : op::sending::keep; break;
        case 16: s.model.give_back(); break;
        case 17: (void)s->flush(c.who); break;
        case 18:
          if (chance(20) == 0) (void)s->shutdown(c.who, chance(2) == 0 ? ends::receive : ends::send);
          if (is_open && chance(20) == 0) s.model.shut(c.f, 1 + chance(3));
          if (is_open && chance(20) == 0) s.model.inject(vsock_model::packet(c.f, vsock_model::reset));
          if (chance(40) == 0) (void)s->close(c.who);
          if (chance(40) == 0) (void)s->abort(c.who);
          break;
        // Also everything that a callback may do
        case 19:
          (void)s->receive_with(c.who, [&](const_bytes here) -> usize {
            if (chance(3) == 0) (void)s->try_receive(c.who, into);
            if (chance(30) == 0) (void)s->close(c.who);
            (void)s.poll();
            return here.size();
          });
          break;
        default: (void)s.model.step(); (void)s.poll();
      }
      s.check_promises();
      if (step % 50 == 49) {
        s.model.give_back();
        s.settle();
        s.check_promises();
        s.check_buffers();
      }
    }
    s.model.give_back();
    s.settle();
    s.check_buffers();
    if (chance(4) == 0) s.model.reset_transport(3 + static_cast<u64>(life));
    for (const one& c : all) (void)(chance(2) == 0 ? s->close(c.who) : s->abort(c.who));
    s.settle();
    for (const auto& p : s.held) REQUIRE(s->give_back(p));
    s.held.clear();
    s.events.clear();
    for (int i = 0; i < 3; ++i) s->tick({.connecting = 1, .closing = 1});  // peers that withdrew their room
    s.settle();
    s.events.clear();
    s.check_promises();
    s.check_buffers();
    s.check_nothing_left();
  }
}
