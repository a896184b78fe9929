// SPDX-License-Identifier: MIT
// A `net::link` as lwIP's network interface: `add` it once, then call `turn` in a loop.
//
// Received frames are lent to lwIP in place, as custom pbufs, and return to the link when lwIP frees them. Frames that
// the link cannot lend are copied. lwIP writes to the headers of received frames. If the host must not be able to
// change a frame while the stack reads it, `lwip_netif<link, 0>` copies all frames. Frames are sent from lwIP's own
// memory.
//
// The program compiles lwIP with lwipopts.h of this folder and NO_SYS, and defines `sys_now` and `lwip_port_random`.
#pragma once

#include <lwip/etharp.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/prot/ip.h>
#include <lwip/prot/ip4.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>

#include <virtio/net/link.hpp>

namespace net_example {

/// `Lent`: frames of the link that lwIP may hold at once. The object must not move.
template <virtio::net::link Link, unsigned Lent = 64>
class lwip_netif {
  using const_bytes = virtio::const_bytes;
  using errc = virtio::errc;
  using u8 = virtio::u8;
  using u16 = virtio::u16;
  using usize = virtio::usize;

 public:
  /// Makes the link lwIP's default interface. The link is started, and outlives the object. Returns whether lwIP
  /// accepts it.
  [[nodiscard]] bool add(Link& link) {
    link_ = &link;
    if (netif_add_noaddr(&netif_, this, set_up, ethernet_input) == nullptr) return false;
    netif_set_default(&netif_);
    netif_set_up(&netif_);
    follow_state();
    return true;
  }

  /// Sends, receives, and runs lwIP's timers. Errors: those of the link's `poll`; the call may be repeated.
  [[nodiscard]] errc turn() {
    constexpr unsigned most_frames = 64;  // between two runs of the timers
    const auto polled = link_->poll();
    follow_facts();
    follow_state();
    if (is_refused_) {  // there is room again, or will be soon
      is_refused_ = false;
      tcp_txnow();
    }
    pbuf* p = nullptr;
    auto sum = virtio::net::checksum::unknown;
    const auto look = [&](const virtio::net::frame& seen) {
      sum = seen.sum;
      return take(seen, p);
    };
    for (unsigned n = 0; n < most_frames && link_->receive_with(look); ++n) {
      if (p == nullptr) continue;  // lwIP has no memory: the frame is lost
      const bool is_right =
          may_do.has(virtio::net::offload::received_checksum) && sum != virtio::net::checksum::unknown;
      NETIF_SET_CHECKSUM_CTRL(&netif_, to_compute_ | (is_right ? to_check & ~segments_to_check : to_check));
      if (netif_.input(p, &netif_) != ERR_OK) pbuf_free(p);
    }
    sys_check_timeouts();
    link_->flush();
    return polled ? errc::ok : polled.error();
  }

  [[nodiscard]] netif& lwip() { return netif_; }
  [[nodiscard]] Link& link() { return *link_; }
  [[nodiscard]] unsigned lent() const { return lent_; }      // frames that lwIP holds
  [[nodiscard]] unsigned copied() const { return copied_; }  // frames that could not be lent, so far
  [[nodiscard]] unsigned lost() const { return lost_; }      // frames lost because lwIP had no memory

 private:
  static constexpr auto may_do = virtio::net::may_do<Link>;
  static constexpr usize headers = virtio::net::header_bytes + 60 + 60;  // Ethernet, IP and TCP at their longest
  static constexpr usize most_pieces = 16;                               // of a frame that is sent without a copy
  static constexpr u16 segments_to_check = NETIF_CHECKSUM_CHECK_TCP | NETIF_CHECKSUM_CHECK_UDP;
  static constexpr u16 to_check = segments_to_check | NETIF_CHECKSUM_CHECK_IP | NETIF_CHECKSUM_CHECK_ICMP;
  static constexpr u16 all_to_compute =
      NETIF_CHECKSUM_GEN_IP | NETIF_CHECKSUM_GEN_UDP | NETIF_CHECKSUM_GEN_TCP | NETIF_CHECKSUM_GEN_ICMP;

  struct loan {          // a piece of a frame, as a pbuf
    pbuf_custom custom;  // lwIP frees it by its address, which is the loan's too
    lwip_netif* to;
    virtio::net::kept_frame name;
    loan* first;      // of the same frame
    unsigned pieces;  // that lwIP still holds; valid in the first
    bool is_out;
  };

  static err_t set_up(netif* n) {
    lwip_netif& self = *static_cast<lwip_netif*>(n->state);
    n->name[0] = 'v', n->name[1] = 'n';
    n->output = etharp_output;
    n->linkoutput = [](netif* to, pbuf* p) { return static_cast<lwip_netif*>(to->state)->send(p); };
    n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
    n->hwaddr_len = sizeof n->hwaddr;
    const virtio::net::mac_address mac = self.link_->mac();
    __builtin_memcpy(n->hwaddr, mac.octets, sizeof mac.octets);
    self.follow_facts();
    return ERR_OK;
  }

  /// Reads the link's offloads again: a restart of the link may have changed them.
  void follow_facts() {
    const virtio::net::capabilities can = link_->facts();
    netif_.mtu = can.mtu;
    // The link computes one checksum per frame: TCP's, since lwIP's UDP packets are short.
    to_compute_ =
        can.does.has(virtio::net::offload::checksum) ? all_to_compute & ~NETIF_CHECKSUM_GEN_TCP : all_to_compute;
    NETIF_SET_CHECKSUM_CTRL(&netif_, static_cast<u16>(to_compute_ | to_check));
  }

  void follow_state() {
    const bool is_up = link_->state() == virtio::net::link_state::up;
    if (is_up == (netif_is_link_up(&netif_) != 0)) return;
    if (is_up) netif_set_link_up(&netif_);
    else netif_set_link_down(&netif_);
  }

  // ---- Received frames ----

  /// Returns a frame as a pbuf, or null without memory.
  virtio::net::after_look take(const virtio::net::frame& seen, pbuf*& p) {
    using virtio::net::after_look;
    if ((p = lend(seen)) != nullptr) return after_look::keep;
    p = pbuf_alloc(PBUF_RAW, static_cast<u16>(seen.size), PBUF_POOL);
    usize offset = 0;
    for (pbuf* q = p; q != nullptr; q = q->next) offset += seen.copy_to(offset, {q->payload, q->len});
    ++(p != nullptr ? copied_ : lost_);
    return after_look::done;
  }
  pbuf* lend(const virtio::net::frame& seen) {
    if (Lent == 0 || lent_ >= link_->facts().most_kept || seen.pieces.count == 0) return nullptr;
    // lwIP looks for headers in the first pbuf only, and drops frames with headers elsewhere.
    if (seen.pieces.first[0].size() < virtio::detail::smaller<usize>(seen.size, headers)) return nullptr;
    loan* pieces[most_pieces];
    usize found = 0;
    for (loan& one : loans_) {
      if (found == seen.pieces.count || found == most_pieces) break;
      if (!one.is_out && one.pieces == 0) pieces[found++] = &one;
    }
    if (found != seen.pieces.count) return nullptr;
    pbuf* all = nullptr;
    for (usize i = 0; i < found; ++i) {
      loan& one = *pieces[i];
      one.to = this, one.name = seen.name, one.first = pieces[0], one.is_out = true;
      one.custom.custom_free_function = [](pbuf* p) {
        loan& back = *reinterpret_cast<loan*>(p);
        back.to->take_back(back);
      };
      u8* const data = const_cast<u8*>(seen.pieces.first[i].data());
      const u16 size = static_cast<u16>(seen.pieces.first[i].size());
      pbuf* const p = pbuf_alloced_custom(PBUF_RAW, size, PBUF_REF, &one.custom, data, size);
      if (all == nullptr) all = p;
      else pbuf_cat(all, p);
    }
    pieces[0]->pieces = static_cast<unsigned>(found);
    ++lent_;
    return all;
  }
  void take_back(loan& one) {
    one.is_out = false;
    if (--one.first->pieces != 0) return;
    --lent_;
    (void)link_->give_back(one.name);  // stale after a restart of the link, which already has the frame
  }

  // ---- Frames to send ----

  err_t send(pbuf* p) {
    const errc sent = try_send(p, prepare(p));
    if (sent == errc::ok) return ERR_OK;
    // TCP keeps the segment and sends it again; other frames may be lost.
    is_refused_ = is_refused_ || sent == errc::queue_full;
    return sent == errc::queue_full ? ERR_MEM : sent == errc::not_ready ? ERR_CONN : ERR_IF;
  }
  errc try_send(pbuf* p, virtio::net::to_compute sum) {
    const usize most = virtio::detail::smaller<usize>(most_pieces, link_->facts().most_pieces);
    const_bytes pieces[most_pieces];
    usize count = 0;
    pbuf* joined = nullptr;
    for (pbuf* q = p; q != nullptr; q = q->next) {
      if (q->len == 0) continue;
      if (count == most) {
        joined = pbuf_clone(PBUF_RAW, PBUF_RAM, p);
        if (joined == nullptr) return errc::queue_full;
        pieces[0] = {joined->payload, joined->len};
        count = 1;
        break;
      }
      pieces[count++] = {q->payload, q->len};
    }
    const errc sent = link_->try_send({pieces, count}, sum).error();
    if (joined != nullptr) pbuf_free(joined);
    return sent;
  }

  /// Leaves a TCP checksum to a link that computes it: the field then contains the pseudo header's sum.
  virtio::net::to_compute prepare(pbuf* p) const {
    if (!may_do.has(virtio::net::offload::checksum) || (to_compute_ & NETIF_CHECKSUM_GEN_TCP) != 0) return {};
    auto* const ip = static_cast<ip_hdr*>(static_cast<void*>(static_cast<u8*>(p->payload) + virtio::net::header_bytes));
    const auto* const type = static_cast<const u8*>(p->payload) + 12;
    if (p->len < virtio::net::header_bytes + IP_HLEN || type[0] != 8 || type[1] != 0 || IPH_PROTO(ip) != IP_PROTO_TCP)
      return {};
    const u16 start = static_cast<u16>(virtio::net::header_bytes + IPH_HL_BYTES(ip)), offset = 16;
    if (p->len < start + offset + 2) return {};
    virtio::u32 sum = IP_PROTO_TCP + lwip_ntohs(IPH_LEN(ip)) - IPH_HL_BYTES(ip);
    const virtio::u32 from = lwip_ntohl(ip->src.addr), to = lwip_ntohl(ip->dest.addr);
    sum += (from >> 16) + (from & 0xffff) + (to >> 16) + (to & 0xffff);
    while (sum > 0xffff) sum = (sum >> 16) + (sum & 0xffff);
    auto* const field = static_cast<u8*>(p->payload) + start + offset;
    field[0] = static_cast<u8>(sum >> 8), field[1] = static_cast<u8>(sum);
    return {start, offset};
  }

  netif netif_{};
  Link* link_ = nullptr;
  u16 to_compute_ = 0;
  unsigned lent_ = 0, copied_ = 0, lost_ = 0;
  bool is_refused_ = false;  // the link has rejected a frame to send since the last turn
  loan loans_[Lent == 0 ? 1 : Lent]{};
};

}  // namespace net_example
