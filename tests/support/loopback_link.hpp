// SPDX-License-Identifier: MIT
// A network link without a device: sent frames are in a list, and a test supplies the received ones.
#pragma once

#include <deque>
#include <vector>

#include <virtio/net/link.hpp>

namespace rig {

class loopback_link {
 public:
  using u8 = virtio::u8;
  using u16 = virtio::u16;
  using u32 = virtio::u32;
  using usize = virtio::usize;
  using bytes_of_frame = std::vector<u8>;
  template <class T = void>
  using result = virtio::result<T>;
  using errc = virtio::errc;

  std::vector<bytes_of_frame> sent{};
  std::deque<bytes_of_frame> to_receive{};
  usize room = ~usize{0};   // frames that can be sent
  usize piece = ~usize{0};  // maximum size of the pieces of a received frame
  virtio::net::link_state is = virtio::net::link_state::up;
  virtio::net::capabilities can{1500, 16, 4, virtio::net::offload::checksum};
  virtio::net::checksum sum = virtio::net::checksum::right;  // of received frames
  usize flushes = 0, polls = 0;

  [[nodiscard]] virtio::net::mac_address mac() const { return {{2, 0, 0, 0, 0, 1}}; }
  [[nodiscard]] virtio::net::capabilities facts() const { return can; }
  [[nodiscard]] virtio::net::link_state state() const { return is; }
  [[nodiscard]] result<bool> poll() {
    ++polls;
    return !to_receive.empty();
  }
  [[nodiscard]] result<> try_send(virtio::scatter<virtio::const_bytes> pieces, virtio::net::to_compute = {}) {
    if (is != virtio::net::link_state::up) return errc::not_ready;
    if (pieces.size() < 14) return errc::invalid_argument;
    if (pieces.size() > 1514) return errc::too_long;
    if (pieces.count > can.most_pieces) return errc::too_many_pieces;
    if (room == 0) return errc::queue_full;
    --room;
    bytes_of_frame all;
    for (const auto& one : pieces) all.insert(all.end(), one.data(), one.data() + one.size());
    sent.push_back(all);
    return {};
  }
  void flush() { ++flushes; }
  template <class F>
  [[nodiscard]] result<> receive_with(F&& look) {
    if (to_receive.empty()) return errc::not_ready;
    usize slot = 0;
    while (slot < kept_.size() && kept_[slot].generation % 2 != 0) ++slot;
    if (slot == kept_.size()) kept_.push_back({});
    kept& one = kept_[slot];
    one.bytes = to_receive.front();
    ++one.generation;
    to_receive.pop_front();
    std::vector<virtio::const_bytes> pieces;
    for (usize at = 0; at < one.bytes.size(); at += virtio::detail::smaller(piece, one.bytes.size() - at))
      pieces.push_back(virtio::const_bytes{one.bytes}.part(at, piece));
    virtio::net::frame f;
    f.pieces = {pieces.data(), pieces.size()};
    f.size = static_cast<u32>(one.bytes.size());
    f.sum = sum;
    f.name = {static_cast<u16>(slot), one.generation};
    if (look(static_cast<const virtio::net::frame&>(f)) == virtio::net::after_look::done) (void)give_back(f.name);
    return {};
  }
  [[nodiscard]] result<> give_back(virtio::net::kept_frame name) {
    if (name.slot >= kept_.size() || name.generation % 2 == 0 || kept_[name.slot].generation != name.generation)
      return errc::stale_handle;
    ++kept_[name.slot].generation;
    return {};
  }
  /// Does what `start` does.
  void forget_kept() {
    for (kept& one : kept_) one.generation = (one.generation + 1) & ~u32{1};
  }
  template <class Done>
  [[nodiscard]] errc wait_until(virtio::waiting, Done&& done) {
    return done() ? errc::ok : errc::peer_silent;
  }
  template <class Done, class GiveUp>
  [[nodiscard]] errc wait_until(virtio::waiting, Done&& done, GiveUp&& give_up) {
    return done() ? errc::ok : give_up() ? errc::canceled : errc::peer_silent;
  }
  [[nodiscard]] bool arm() { return !to_receive.empty(); }
  void disarm() {}
  int acknowledge_interrupt() { return 7; }

 private:
  struct kept {
    bytes_of_frame bytes;
    u32 generation;  // odd: held
  };
  std::deque<kept> kept_{};
};
static_assert(virtio::net::link<loopback_link>);

}  // namespace rig
