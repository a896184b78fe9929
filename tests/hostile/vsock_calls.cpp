// SPDX-License-Identifier: MIT
// Random calls, honest and lying peers, extreme limits. After each step the driver's own sums are checked: every buffer
// is in one place, budgets and promises add up, and what is in a line belongs there. In the end every connection is
// served, and every place is free.
// It looks inside the driver, which says nothing of most of this: every header of the standard library comes before
// `private` is public.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#define private public
#include "lies.hpp"
#include "vsock.hpp"
#undef private

using namespace virtio;
using namespace virtio::vsock::detail;

namespace {

u64 g_seed;
int g_step;
const char* g_what = "";

// Ends the program at once: the seed and the step lead there again.
#define MUST(x, ...)                                                                                              \
  do {                                                                                                            \
    if (!(x)) {                                                                                                   \
      std::printf("seed %llu step %d (%s): !(" #x ") ", static_cast<unsigned long long>(g_seed), g_step, g_what); \
      std::printf(" " __VA_ARGS__);                                                                               \
      std::printf("\n");                                                                                          \
      std::fflush(stdout);                                                                                        \
      std::abort();                                                                                               \
    }                                                                                                             \
  } while (0)

template <class S>
void check(S& s, const auto& L) {
  auto& x = s.d->all_;
  auto& q = x.queues;
  if (!x.lifecycle().is_up()) return;
  u32 rfree = 0;
  for (buffer_index b = q.received.free_; !b.is_none(); b = q.received.after(b)) {
    ++rfree;
    MUST(rfree <= q.received.count);
  }
  u32 held = 0, gathered = 0, sfree = 0;
  for (buffer_index b = q.sent.free_; !b.is_none(); b = q.sent.after(b)) {
    ++sfree;
    MUST(sfree <= q.sent.count);
  }
  u64 extra = 0, promised_bytes = 0, promised_packets = 0, promised = 0;
  for (u16 i = 0; i < L.connections; ++i) {
    connection& c = x.table[i];
    if (c.now == state::unused) {
      MUST(!c.to_send.previous && !c.to_report.previous && !c.in_queue.previous && !c.gathering.previous &&
           !c.waiting.previous);
      MUST(c.received.empty() && c.gathered.empty() && (c.generation & 1) == 0);
      MUST(c.extra == 0);
      continue;
    }
    u32 bytes = 0;
    for (buffer_index b = c.received.first(); !b.is_none(); b = q.received.after(b)) {
      ++held;
      bytes += x.unread.filled_[b.number()];
      MUST(held <= q.received.count);
    }
    bytes -= c.received.empty() ? 0 : c.read_up_to;
    MUST(bytes + c.taken == c.in.unread(), "bytes %u taken %u unread %u", bytes, c.taken, c.in.unread());
    for (buffer_index b = c.gathered.first(); !b.is_none(); b = q.sent.after(b)) {
      ++gathered;
      MUST(gathered <= q.sent.count);
    }
    MUST(c.gathered.empty() == !c.gathering.previous);
    extra += c.extra;
    const bool discards = c.closed_ends.has(vsock::ends::receive) || c.peer_closed_ends.has(vsock::ends::send);
    const u64 p = discards ? c.in.unread() : c.in.promised();
    promised_packets += std::max<u64>(1, (p + L.receive_packet - 1) / L.receive_packet);
    promised += c.reserved;
    MUST(c.reserved == 0 || (c.waiting.previous != 0 && !c.awaits_credit), "a reservation that does not expire");
    if (c.now == state::ended || c.now == state::leaving) {
      MUST(c.waiting.previous == 0, "an ended one waits for a buffer");
      MUST(c.gathered.empty());
      MUST((c.pending - vsock::detail::pending_packet::reset).empty(), "an ended one owes %x", c.pending.raw());
    }
    MUST(c.shown_up_to.is_none());
    MUST(c.in.promised() <= 0x7fffffff && c.in.left() <= 0x7fffffff);
    MUST(c.whole_messages == 0 || !c.received.empty());
  }
  u32 pieces = 0;
  for (u32 i = 0; i < L.pieces; ++i) pieces += x.pieces.all_[i].generation & 1;
  const u32 flight = q.set_[0].in_flight();
  MUST(rfree + held + pieces + flight == q.received.count, "rfree %u held %u pieces %u flight %u of %u", rfree, held,
       pieces, flight, q.received.count);
  if (q.set_[1].in_flight() == 0) MUST(sfree + gathered == q.sent.count, "sfree %u gathered %u", sfree, gathered);
  MUST(promised == x.unsent.reserved_, "%llu %u", (unsigned long long)promised, x.unsent.reserved_);
  if constexpr (S::layout.pool_packets() < u64{S::layout.connections} * S::layout.buffer_packets()) {
    MUST(x.unread.budget_.free_ + extra == std::remove_reference_t<decltype(x.unread)>::shared, "free %u extra %llu",
         x.unread.budget_.free_, (unsigned long long)extra);
    MUST(promised_packets <= L.pool_packets(), "%llu of %u", (unsigned long long)promised_packets, L.pool_packets());
  }
  (void)promised_bytes;
}

template <vsock::limits L>
void fuzz(u64 seed, bool lies, bool with_messages) {
  g_seed = seed;
  g_step = 0;
  std::mt19937_64 r{seed};
  vsock_options o;
  const u16 qs[] = {2, 4, 8, 16, 64};
  o.queue_sizes = {qs[1 + r() % 4], qs[1 + r() % 4], qs[1 + r() % 3]};
  if (r() % 3 == 0) o.host = vsock_host::vhost_device();
  o.host.queued_packets = 0;
  o.host.throttles = 0;
  if (r() % 2) {
    const u32 a[] = {300, 2000, 20000, 262144};
    o.host.buf_alloc = a[r() % 4];
  }
  rig::basic_sockets<L> s{o};
  if (with_messages) s.model.offer({1});
  s.m.expect_objections = lies;
  s.model.recording = false;
  if (!lies) s.model.resets_cross = true;
  if (!s.begin()) {
    s.m.expect_objections = true;
    return;
  }
  s.model.ports[6000] = op::reception::is_silent;
  s.model.ports[7000] = op::reception::refuses;
  (void)s->listen(80, 3);
  (void)s->listen(81, 2, vsock::kind::seqpacket);
  std::vector<vsock::socket> known;
  std::vector<vsock_flow> flows;
  std::vector<vsock::piece> pieces;
  std::map<std::pair<u16, u32>, vsock_flow> flow_of;
  std::map<std::tuple<u32, u32, u32>, std::pair<u64, u64>> counts;
  (void)counts;
  u32 port = 1000;
  const auto buffer = pattern(70000);
  std::vector<u8> into(70000);
  u64 cid = 3;
  const auto remember = [&](const result<vsock::socket>& got) {
    if (!got) return;
    known.push_back(*got);
    flows.push_back(s.flow(*got));
  };
  const auto some = [&] { return known.empty() ? vsock::socket{} : known[r() % known.size()]; };
  std::function<void(int)> move = [&](int depth) {
    ++g_step;
    const int what = static_cast<int>(r() % 35);
    const auto size = [&]() -> usize {
      const usize a[] = {1, 10, 100, 1000, 5000, 20000, 60000};
      return 1 + r() % a[r() % 7];
    };
    switch (what) {
      case 0:
        g_what = "connect";
        remember(s->try_connect({2, r() % 8   ? open_port
                                    : r() % 2 ? 6000u
                                              : 7000u},
                                with_messages && r() % 3 == 0 ? vsock::kind::seqpacket : vsock::kind::stream));
        break;
      case 1:
        g_what = "accept";
        remember(s->try_accept(80 + r() % 2));
        break;
      case 2:
      case 3:
      case 4:
        g_what = "send";
        (void)s->try_send(some(), const_bytes{buffer.data(), size()});
        break;
      case 5:
      case 6:
        g_what = "send_all";
        {
          const usize n = size(), m = r() % 3 ? size() % 1000 : 0;
          (void)s->try_send_all(some(), {const_bytes{buffer.data(), m}, const_bytes{buffer.data(), n}});
          break;
        }
      case 7:
      case 8:
        g_what = "send_message";
        (void)s->try_send_message(some(), const_bytes{buffer.data(), size()});
        break;
      case 9:
      case 10:
        g_what = "receive";
        (void)s->try_receive(some(), bytes{into.data(), size()});
        break;
      case 11:
        g_what = "receive_message";
        (void)s->try_receive_message(some(), bytes{into.data(), r() % 4 ? into.size() : size()});
        break;
      case 12:
      case 13: {
        g_what = "receive_with";
        const auto one = some();
        (void)s->receive_with(one, [&](const vsock::arrived& a) -> usize {
          const auto sum = [&] {
            u64 h = 0;
            usize n = 0;
            for (const_bytes p : a)
              for (usize i = 0; i < p.size(); ++i, ++n) h = h * 31 + p.data()[i];
            MUST(n == a.size());
            return h;
          };
          const u64 before = lies ? 0 : sum();
          const usize n = a.size();
          if (depth < 3)
            for (u64 k = r() % 4; k-- != 0;) move(depth + 1);
          if (!lies) MUST(sum() == before, "what is shown has changed");
          if (lies) (void)sum();
          return r() % 3 ? r() % (n + 1) : n;
        });
        break;
      }
      case 14: {
        g_what = "receive_message_with";
        (void)s->receive_message_with(some(), [&](const vsock::arrived& a, vsock::boundary) {
          usize n = 0;
          for (const_bytes p : a) n += p.size();
          MUST(n == a.size());
          if (depth < 3)
            for (u64 k = r() % 4; k-- != 0;) move(depth + 1);
          n = 0;
          for (const_bytes p : a) n += p.size();
          MUST(n == a.size());
        });
        break;
      }
      case 15:
        g_what = "take";
        if (const auto p = s->try_take(some())) pieces.push_back(*p);
        break;
      case 16:
      case 17:
        g_what = "give_back";
        if (!pieces.empty()) {
          const auto i = r() % pieces.size();
          (void)s->give_back(pieces[i]);
          if (r() % 4) pieces.erase(pieces.begin() + (long)i);
        }
        break;
      case 18:
        g_what = "flush";
        (void)s->flush(some());
        break;
      case 19:
        g_what = "close";
        if (r() % 2) (void)s->close(some());
        break;
      case 20:
        g_what = "abort";
        if (r() % 3 == 0) (void)s->abort(some());
        break;
      case 21:
        g_what = "shutdown";
        if (r() % 3 == 0) {
          const vsock::ends e[] = {vsock::ends::send, vsock::ends::receive, vsock::ends::both};
          (void)s->shutdown(some(), e[r() % 3]);
        }
        break;
      case 22:
        g_what = "tick";
        s->tick({.connecting = static_cast<u32>(r() % 5),
                 .closing = static_cast<u32>(r() % 5),
                 .idle = static_cast<u32>(r() % 5)});
        break;
      case 23:
        g_what = "host connects";
        {
          const u32 t = with_messages && r() % 3 == 0;
          flows.push_back(s.model.connect(80 + t, ++port, static_cast<u16>(1 + t)));
        }
        break;
      case 24:
      case 25:
        g_what = "host sends";
        for (const auto& f : s.model.open_flows())
          if (r() % 2) {
            if (s.model.peer(f).type == 2) s.model.send_message(f, pattern(r() % 2 ? 1 + r() % 30 : size() % 3000));
            else s.model.send(f, pattern(r() % 2 ? 1 + r() % 30 : size()));
          }
        break;
      case 26:
        g_what = "host knobs";
        for (const auto& f : s.model.open_flows()) {
          auto& p = s.model.peer(f);
          if (r() % 4 == 0) p.reads = r() % 2;
          if (r() % 4 == 0) (void)s.model.read(f, size());
          if (lies && r() % 8 == 0) s.model.set_window(f, static_cast<u32>(size() - 1));
          if (r() % 16 == 0) s.model.close(f);
          if (r() % 32 == 0) s.model.abort(f);
          if (r() % 32 == 0) s.model.shut(f, 1 + r() % 3);
          p.answers_shutdown = r() % 4 != 0;
        }
        break;
      case 27:
        g_what = "tx";
        s.model.tx = r() % 2 ? op::sending::keep : op::sending::ignore;
        break;
      case 28:
        g_what = "give_back";
        s.model.give_back();
        break;
      case 29:
        g_what = "event";
        if (r() % 20 == 0 && s.model.event_buffers() != 0) s.model.reset_transport(++cid);
        break;
      case 30:
        g_what = "unlisten";
        if (r() % 10 == 0) {
          (void)s->unlisten(80);
          (void)s->listen(80, static_cast<u16>(1 + r() % 4));
        }
        break;
      case 31:
        g_what = "lie";
        if (!lies) break;
        for (u64 k = r() % 3; k-- != 0;) {
          vsock_packet p = op::packet(flows.empty() ? vsock_flow{80, 5, 2} : flows[r() % flows.size()],
                                      static_cast<u16>(r() % 9), r() % 2 ? std::vector<u8>{} : pattern(size()));
          if (p.op != virtio::testing::vsock_wire::data) {
            p.payload.clear();
            p.len = 0;
          }
          p.type = static_cast<u16>(r() % 6 == 0 ? r() % 4 : 1 + (r() % 3 == 0));
          const u32 a[] = {0, 1, 1000, 65536, 0xffffffff};
          p.buf_alloc = a[r() % 5];
          p.fwd_cnt = r() % 3 ? 0 : static_cast<u32>(r() % 70000);
          p.flags = static_cast<u32>(r() % 4);
          if (r() % 6 == 0) p.len = static_cast<u32>(size());
          if (r() % 8 == 0) p.used = static_cast<u32>(r() % 200);
          if (r() % 8 == 0) p.header_bytes = static_cast<u32>(r() % 45);
          s.model.inject(p);
        }
        break;
      case 32:
        g_what = "set_window/probe";
        (void)s->set_window(some(), 1 + static_cast<u32>(r() % L.receive_buffer));
        if (r() % 3 == 0) (void)s->probe(some());
        break;
      case 34:
        g_what = "ring lie";
        if (lies && r() % 25 == 0)
          rig::lie(static_cast<virtio::testing::split_device&>(s.model.ring_in_use(r() % 3)), static_cast<int>(r() % 4),
                   static_cast<u32>(r() % 8));
        break;
      case 33:
        g_what = "arm";
        (void)s->arm();
        s->disarm();
        break;
    }
    if (r() % 3 == 0) s.model.settle();
    if (r() % 3 == 0 || !s->lifecycle().is_up()) {
      const char* w = g_what;
      g_what = "poll";
      (void)s->poll(
          [&](vsock::event e) {
            MUST(!e.what.empty());
            if (depth < 3 && r() % 8 == 0) move(depth + 1);
          },
          r() % 4 ? ~usize{0} : r() % 3);
      g_what = w;
    }
    if (depth == 0) check(s, L);
  };
  for (int i = 0; i < 600; ++i) {
    move(0);
    if (known.size() > 40) known.erase(known.begin(), known.begin() + 20);
    if (!s->lifecycle().is_up() && r() % 4 == 0) {
      MUST(s.begin());
      pieces.clear();
      known.clear();
      (void)s->listen(80, 3);
      (void)s->listen(81, 2, vsock::kind::seqpacket);
    }
    if (r() % 300 == 0) {
      (void)s->reset();
      for (auto& p : pieces) MUST(!s->give_back(p));
      MUST(s.begin());
      pieces.clear();
      known.clear();
      (void)s->listen(80, 3);
      (void)s->listen(81, 2, vsock::kind::seqpacket);
    }
  }
  // The end: everything reads, everybody is served.
  g_what = "end";
  if (!s->lifecycle().is_up()) {
    MUST(s.begin());
    pieces.clear();
    known.clear();
  }
  s.model.give_back();
  for (auto& p : pieces) (void)s->give_back(p);
  for (int k = 0; k < 40; ++k) {
    s.model.settle();
    for (const auto& f : s.model.open_flows()) {
      s.model.peer(f).reads = true;
      (void)s.model.read(f);
      s.model.say(f, virtio::testing::vsock_wire::credit_update);
    }
    s.model.settle();
    (void)s->poll([](vsock::event) {});
    for (auto w : known) {
      (void)s->try_receive(w, into);
      while (s->try_receive_message(w, into)) {}
      (void)s->flush(w);
    }
    check(s, L);
  }
  auto& x = s.d->all_;
  if (!lies)
    for (u16 i = 0; i < L.connections; ++i) {
      connection& c = x.table[i];
      if (c.now == state::unused) continue;
      MUST(!(c.wants_bytes != 0) || c.now != state::established, "wants room still, state %d avail %u", (int)c.now,
           c.out.available());
      MUST(c.gathered.empty(), "gathered still, state %d avail %u alloc %u", (int)c.now, c.out.available(),
           c.out.allocation());
      MUST(c.now != state::established || c.in.left() != 0 || !c.received.empty() || c.taken != 0,
           "window never reopens");
    }
  MUST(!x.unsent.has_waiting());
  MUST(x.unsent.reserved_ == 0);
  for (u32 i = 0; i < L.connections; ++i)
    if (x.table[i].generation & 1)
      if (x.table[i].accepted) (void)s->abort({static_cast<u16>(i), x.table[i].generation});
  (void)s->unlisten(80);
  (void)s->unlisten(81);
  for (int k = 0; k < 6; ++k) s->tick({.closing = 1});
  for (int k = 0; k < 40; ++k) {
    s.model.settle();
    (void)s->poll([](vsock::event) {});
    s->tick({.closing = 1});
  }
  check(s, L);
  for (u16 i = 0; i < L.connections; ++i)
    MUST(x.table[i].now == state::unused,
         "place %u in state %d lies %d owed %x to_send %d flight %u replies %d up %d gen %u accepted %d", i,
         (int)x.table[i].now, lies, x.table[i].pending.raw(), x.table[i].to_send.previous, x.queues.set_[1].in_flight(),
         !x.replies.empty(), x.lifecycle().is_up(), x.table[i].generation, x.table[i].accepted);
  MUST(x.table.unused() == L.connections && x.listeners.waiting() == 0);
  if (!lies)
    for (const auto& what : s.m.objections()) {
      std::printf("seed %llu objection: %s\n", (unsigned long long)seed, what.c_str());
    }
  s.m.expect_objections = true;
}
template <vsock::limits L>
void many(bool m) {
  for (u64 i = 1; i <= 40; ++i) {
    fuzz<L>(i, false, m);
    fuzz<L>(i, true, m);
  }
}
constexpr vsock::limits A{.connections = 1,
                          .listeners = 1,
                          .replies = 1,
                          .receive_packet = 64,
                          .receive_buffer = 64,
                          .send_packet = 64,
                          .send_packets = 2};
constexpr vsock::limits B{.connections = 6,
                          .listeners = 2,
                          .replies = 2,
                          .receive_packet = 64,
                          .receive_buffer = 1024,
                          .receive_pool = 6 * 64,
                          .pieces = 1,
                          .send_packet = 100,
                          .send_packets = 2,
                          .messages = true};
constexpr vsock::limits C{.connections = 8,
                          .outgoing = 3,
                          .listeners = 2,
                          .replies = 3,
                          .receive_packet = 256,
                          .receive_buffer = 4096,
                          .receive_pool = 8192,
                          .pieces = 7,
                          .send_packet = 1000,
                          .send_packets = 5,
                          .messages = true};
constexpr vsock::limits D{.connections = 5,
                          .listeners = 2,
                          .receive_packet = 4096,
                          .receive_buffer = 16384,
                          .pieces = 3,
                          .send_packet = 65536,
                          .send_packets = 3,
                          .messages = true};
}  // namespace

TEST_CASE(
    "vsock calls: at random, with packets at random, they leave every sum right: one place, and one packet of everything",
    "[vsock][hostile]") {
  many<A>(false);
}
TEST_CASE(
    "vsock calls: at random, with packets at random, they leave every sum right: little memory, shared, and messages",
    "[vsock][hostile]") {
  many<B>(true);
}
TEST_CASE("vsock calls: at random, with packets at random, they leave every sum right: shared memory and pieces",
          "[vsock][hostile]") {
  many<C>(true);
}
TEST_CASE("vsock calls: at random, with packets at random, they leave every sum right: large send buffers",
          "[vsock][hostile]") {
  many<D>(true);
}
