// SPDX-License-Identifier: MIT
// How a host serves a guest's packets: its ports accept, reject or do not answer, its connections take data and credit.
// It parses every packet and reports each violation with its requirement. vsock_model.hpp moves the packets through the
// rings.
// Spec: virtio 1.4, 5.10.6. Layer: testing.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <virtio/testing/vsock/peers.hpp>

namespace virtio::testing {

class vsock_service : public vsock_peers {
 public:
  /// What a port of the host does with a REQUEST.
  enum class reception : std::uint8_t { accepts, refuses, is_silent, waits };  // waits: until accept()

  std::map<std::uint32_t, reception> ports;  // of the host; other ports refuse
  std::set<std::uint64_t> siblings;          // existing CIDs other than 2
  bool resets_cross = false;                 // the guest resets before it polls: such a RST does not answer ours
  std::function<void(const vsock_packet&)> on_packet;  // from the guest, after it was served

 protected:
  using vsock_peers::vsock_peers;

  /// Serves a packet of the guest, number `taken`.
  void serve_packet(const vsock_packet& p, std::uint64_t taken) {
    serving_ = true;
    count_sent(p);
    dispatch(p, taken);
    serving_ = false;
    if (on_packet) on_packet(p);
  }

  /// The guest receives this packet, and has made `available` packets available so far.
  void delivered(const vsock_packet& p, std::uint64_t available) {
    const vsock_flow f = p.flow_to_guest();
    mark& m = marks_[f];
    connection* const c = live(f);
    if (c != nullptr && p.op != reset) c->was_delivered(p);
    if (p.op == reset) {
      m.reset_at = available + 1;
    } else {
      m.reset_at = 0;
      if (c == nullptr || p.type != c->type) ++m.strays;
    }
  }

  void change_cid(std::uint64_t new_cid) {
    old_cids_.insert(cid());
    put_config(0, new_cid, 8);
    bump_generation();
  }
  void was_reset() override {
    drop_connections();
    marks_.clear();
    old_cids_.clear();
  }

 private:
  // Decides whether a reset from the guest answers one of ours.
  struct mark {
    std::uint64_t reset_at = 0;  // packets that the driver had made available when our reset arrived; 0: none arrived
    std::uint32_t strays = 0;    // packets to no connection that it may answer
  };

  void dispatch(const vsock_packet& p, std::uint64_t taken) {
    const std::string name =
        vsock_wire::name_of(p.op) + " from port " + std::to_string(p.src_port) + " to " + std::to_string(p.dst_port);
    if (p.src_cid != cid()) {
      if (old_cids_.count(p.src_cid) == 0)
        report("VSOCK-07: " + name + " from CID " + std::to_string(p.src_cid) + ", which is " + std::to_string(cid()));
      return;  // else it was sent before the CID changed
    }
    old_cids_.clear();
    if (p.op == invalid || p.op > credit_request) return report("vsock: op " + std::to_string(p.op));
    if (p.op != data && p.len != 0) report("vsock: " + name + " with data");
    if (p.op != data && p.op != shutdown && p.flags != 0)
      report("vsock: " + name + " with flags " + wire::hex(p.flags));
    if (p.op == shutdown && (p.flags == 0 || p.flags > 3))
      report("vsock: " + name + " with flags " + wire::hex(p.flags));
    const vsock_flow f = p.flow_from_guest();
    if (p.op == reset) return serve_reset(f, name, taken);
    if (p.dst_cid != 2 && siblings.count(p.dst_cid) == 0) return;
    connection* const c = live(f);
    if (p.type != 1 && !(p.type == 2 && accepted(1))) {
      report("vsock: " + name + " of type " + std::to_string(p.type));
      if (host.resets_wrong_type) say(f, reset);
      return;
    }
    if (c != nullptr && c->type != p.type) report("vsock: " + name + " of another type than its connection");
    if (p.op == request) return serve_request(f, p, name);
    if (c == nullptr) {
      if (host.resets_unknown) say(f, reset);
      return;
    }
    check_credit(*c, p, name);
    switch (p.op) {
      case response:
        if (c->now != connection::state::asked) report("vsock: " + name + ", which nobody asked for");
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
    c->look_at_credit();
  }

  bool speaks(const connection& c, const std::string& name) {
    if (c.now == connection::state::open) return true;
    report("vsock: " + name + " before the connection was there");
    return false;
  }

  void serve_reset(const vsock_flow& f, const std::string& name, std::uint64_t taken) {
    mark& m = marks_[f];
    if (connection* const c = live(f); c != nullptr) {
      c->finish(connection::ending::by_guest);
    } else if (m.strays != 0) {
      --m.strays;
    } else if (m.reset_at != 0 && taken >= m.reset_at && !resets_cross) {
      report("vsock: " + name + " answers a RST");
    }
  }

  void serve_request(const vsock_flow& f, const vsock_packet& p, const std::string& name) {
    if (live(f) != nullptr) {
      report("vsock: " + name + ", where a connection is");
      abort(f);
      return;
    }
    const auto told = ports.find(f.host_port);
    reception how = told == ports.end() ? reception::refuses : told->second;
    if (how == reception::refuses && !host.resets_refused) how = reception::is_silent;
    if (how == reception::refuses) return say(f, reset);
    connection& c = open(f, p.type,
                         how == reception::accepts ? connection::state::open
                         : how == reception::waits ? connection::state::waiting
                                                   : connection::state::silent);
    check_credit(c, p, name);
    if (how == reception::accepts) say(f, response);
  }

  // VSOCK-06, as far as the host can check it.
  void check_credit(connection& c, const vsock_packet& p, const std::string& name) {
    const std::uint32_t more = p.fwd_cnt - c.guest_consumed;
    if (more > c.sent - c.guest_consumed)
      report("VSOCK-06: " + name + " with fwd_cnt " + std::to_string(p.fwd_cnt) + " after " +
             std::to_string(c.guest_consumed) + ", and " + std::to_string(c.sent) + " were sent");
    const auto moved = static_cast<std::int32_t>(p.fwd_cnt + p.buf_alloc - c.guest_consumed - c.guest_window);
    if (c.guest_has_spoken && moved < 0)
      report("VSOCK-06: " + name + " takes back " + std::to_string(-static_cast<std::int64_t>(moved)) +
             " bytes of its window");
    c.take_credit(p);
  }

  void serve_data(const vsock_flow& f, connection& c, const vsock_packet& p, const std::string& name) {
    if (p.len == 0 && c.type == 1) report("vsock: " + name + " without data");
    if (c.type == 1 ? p.flags != 0 : p.flags > 3) report("vsock: " + name + " with flags " + wire::hex(p.flags));
    if ((c.guest_ends & no_send) != 0) report("vsock: " + name + " after SHUTDOWN");
    if (const auto beyond = static_cast<std::int32_t>(c.received + p.len - c.furthest); beyond > 0) {
      report("VSOCK-05: " + name + " exceeds its credit by " + std::to_string(beyond));
      if (host.resets_excess) abort(f);
      return;
    }
    c.count(p);
    if ((c.ends_sent() & no_receive) != 0) return;
    if (c.take(p)) return update(f, c);
    if (host.queued_packets != 0 && c.unread_packets() > host.queued_packets) abort(f);
  }

  void answer_shutdown(const vsock_flow& f, connection& c) {
    if (c.guest_ends != both_ends || !c.answers_shutdown) return;
    if (c.is_read_out_after_shutdown(host)) abort(f);
  }

  std::map<vsock_flow, mark> marks_;
  std::set<std::uint64_t> old_cids_;  // packets with these may be in flight
};

}  // namespace virtio::testing
