// SPDX-License-Identifier: MIT
// Filters between a link and its stack. A filter has a link and is one, so filters can be stacked. `traced` shows every
// frame to a function; `faulty` drops, repeats and corrupts some.
//
//   net::faulty bad{card, {.drop = 20, .corrupt = 5}};                            // of a thousand frames
//   net::traced seen{bad, [](net::passing way, const net::frame& f) { … }};     // the stack has `seen`
//
// Neither has memory for frames: they pass on what the link below shows. Layer: net (may include platform, base).
#pragma once

#include <virtio/net/link.hpp>

namespace virtio::net {

/// The direction of a frame, as the stack sees it.
enum class passing : u8 { sent, received };

/// The calls that a filter passes on unchanged. `below` must outlive it.
template <link Link>
class filter {
 public:
  /// The offloads of the link below.
  static constexpr flags<offload> may_do = net::may_do<Link>;

  constexpr filter() = default;
  /// Filters `below`.
  constexpr explicit filter(Link& below) : below_{&below} {}

  /// `link` concept.
  [[nodiscard]] mac_address mac() const { return below_->mac(); }
  /// `link` concept.
  [[nodiscard]] capabilities facts() const { return below_->facts(); }
  /// `link` concept.
  [[nodiscard]] link_state state() const { return below_->state(); }
  /// `link` concept.
  [[nodiscard]] result<bool> poll() { return below_->poll(); }
  /// `link` concept.
  [[nodiscard]] result<void> try_send(scatter<const_bytes> pieces, to_compute compute = {}) {
    return below_->try_send(pieces, compute);
  }
  /// `link` concept.
  void flush() { below_->flush(); }
  /// `link` concept.
  template <class F>
  [[nodiscard]] result<void> receive_with(F&& look) {
    return below_->receive_with(static_cast<F&&>(look));
  }
  /// `link` concept.
  [[nodiscard]] result<void> give_back(kept_frame name) { return below_->give_back(name); }
  /// `link` concept, without a way to give up.
  template <class Done>
  [[nodiscard]] errc wait_until(waiting why, Done&& done) {
    return below_->wait_until(why, static_cast<Done&&>(done));
  }
  /// `link` concept.
  template <class Done, class GiveUp>
  [[nodiscard]] errc wait_until(waiting why, Done&& done, GiveUp&& give_up) {
    return below_->wait_until(why, static_cast<Done&&>(done), static_cast<GiveUp&&>(give_up));
  }
  /// `link` concept.
  [[nodiscard]] bool arm() { return below_->arm(); }
  /// `link` concept.
  void disarm() { below_->disarm(); }
  /// `link` concept.
  auto acknowledge_interrupt() { return below_->acknowledge_interrupt(); }

 protected:
  Link* below_ = nullptr;  // the link that this filter has
};

/// Shows to `show(passing, const frame&)` each frame that the link has taken to send, and each received frame before
/// the stack sees it. `show` must not call the link. A frame to send has no name; `compute` states which checksum it
/// still lacks.
template <link Link, class Show>
class traced : public filter<Link> {
 public:
  constexpr traced() = default;
  /// Shows the frames of `below` to `show`.
  constexpr traced(Link& below, Show show) : filter<Link>{below}, show_{show} {}

  /// `link` concept.
  [[nodiscard]] result<void> try_send(scatter<const_bytes> pieces, to_compute compute = {}) {
    VIRTIO_TRY(this->below_->try_send(pieces, compute));
    frame taken;
    taken.pieces = pieces;
    taken.size = static_cast<u32>(pieces.size());
    taken.compute = compute;
    if (compute.start != 0) taken.sum = checksum::missing;
    show_(passing::sent, static_cast<const frame&>(taken));
    return {};
  }
  /// `link` concept.
  template <class F>
  [[nodiscard]] result<void> receive_with(F&& look) {
    return this->below_->receive_with([&](const frame& f) {
      show_(passing::received, f);
      return look(f);
    });
  }

 private:
  VIRTIO_EMPTY_MEMBER Show show_{};
};

/// How many of a thousand frames get each fault, each way.
struct fault_rates {
  u16 drop = 0;     // are lost
  u16 corrupt = 0;  // have one wrong byte after the header
  u16 repeat = 0;   // are sent twice; sent frames only
  u64 seed = 0;     // the same value causes the same faults in the same frames
};

/// Number of frames with each fault.
struct fault_counts {
  u32 lost[2]{};       // by `passing`
  u32 corrupted[2]{};  // by `passing`
  u32 repeated = 0;    // sent twice
};

/// Drops, corrupts and repeats frames. It does not offer checksum offload: a corrupted frame must have the checksum of
/// the original. A received frame is not corrupted if its checksum is missing or it has more than 30 pieces; of kept
/// frames, at most 8 are corrupted.
template <link Link>
class faulty : public filter<Link> {
 public:
  constexpr faulty() = default;
  /// Applies faults at these rates to frames of `below`.
  constexpr faulty(Link& below, const fault_rates& rates) : filter<Link>{below}, rates_{rates}, random_{rates.seed} {}

  /// What it has done since it was made.
  [[nodiscard]] const fault_counts& counts() const { return counts_; }

  /// `link` concept: two pieces fewer than the link accepts, for the wrong byte and the bytes after it.
  [[nodiscard]] capabilities facts() const {
    capabilities f = this->below_->facts();
    f.most_pieces = static_cast<u16>(f.most_pieces - virtio::detail::smaller(f.most_pieces, u16{2}));
    if (f.does.has(offload::checksum)) f.does -= offload::checksum;
    return f;
  }
  /// `link` concept. A lost frame counts as taken. Errors: those of the link, also for a lost frame, except those for
  /// lack of room.
  [[nodiscard]] result<void> try_send(scatter<const_bytes> pieces, to_compute compute = {}) {
    const capabilities can = facts();
    const u64 size = pieces.size();
    if (this->below_->state() != link_state::up || size < header_bytes || size > u64{can.mtu} + header_bytes ||
        compute.start != 0 || pieces.count > can.most_pieces || pieces.count > most_pieces) {
      if (compute.start != 0) return errc::invalid_argument;
      if (pieces.count > can.most_pieces || pieces.count > most_pieces) return errc::too_many_pieces;
      return this->below_->try_send(pieces);  // returns the reason
    }
    // The faults are drawn once for each frame: a frame that found no room has the same faults when it is sent again.
    if (!drawn_) next_ = draw_fault(static_cast<u32>(size));
    drawn_ = true;
    if (next_.drop) {
      drawn_ = false;
      ++counts_.lost[0];
      return {};
    }
    u8 wrong = 0;
    const_bytes parts[most_pieces + 2];
    const bool corrupts = next_.corrupt && next_.at < size;
    const scatter<const_bytes> out = corrupts ? corrupted(pieces, next_.at, wrong, parts) : pieces;
    VIRTIO_TRY(this->below_->try_send(out));
    drawn_ = false;
    if (corrupts) ++counts_.corrupted[0];
    if (next_.repeat && this->below_->try_send(out)) ++counts_.repeated;
    return {};
  }
  /// `link` concept.
  template <class F>
  [[nodiscard]] result<void> receive_with(F&& look) {
    for (u32 most = 64; most != 0; --most) {  // bounds a flood of frames that are all lost
      bool was_dropped = false;
      VIRTIO_TRY(this->below_->receive_with([&](const frame& f) {
        const fault drawn = draw_fault(f.size);
        was_dropped = drawn.drop;
        if (was_dropped) {
          ++counts_.lost[1];
          return after_look::done;
        }
        forget_place(f.name.slot);
        wrong_byte* const room =
            drawn.corrupt && f.sum != checksum::missing && f.pieces.count <= most_pieces && drawn.at < f.size
                ? free_byte()
                : nullptr;
        if (room == nullptr) return look(f);
        const_bytes parts[most_pieces + 2];
        frame other = f;
        other.pieces = corrupted(f.pieces, drawn.at, room->value, parts);
        other.sum = checksum::unknown;
        ++counts_.corrupted[1];
        room->of = f.name;
        const after_look then = look(static_cast<const frame&>(other));
        if (then == after_look::done) room->of = {};
        return then;
      }));
      if (!was_dropped) return {};
    }
    return errc::not_ready;
  }
  /// `link` concept.
  [[nodiscard]] result<void> give_back(kept_frame name) {
    for (wrong_byte& one : wrong_)
      if (one.of == name) one.of = {};
    return this->below_->give_back(name);
  }

 private:
  static constexpr usize most_pieces = 30;

  struct fault {
    bool drop = false, corrupt = false, repeat = false;
    u32 at = 0;
  };
  /// Replaces one of a frame's bytes while the frame is shown or kept.
  struct wrong_byte {
    kept_frame of{};
    u8 value = 0;
  };

  [[nodiscard]] u32 random(u32 below) {
    u64 z = random_ += 0x9e37'79b9'7f4a'7c15;  // splitmix64
    z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
    z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
    return static_cast<u32>((z ^ z >> 31) >> 32) % below;
  }
  [[nodiscard]] fault draw_fault(u32 size) {
    fault d;
    d.drop = random(1000) < rates_.drop;
    d.corrupt = random(1000) < rates_.corrupt && size > header_bytes;
    d.repeat = random(1000) < rates_.repeat;
    if (d.corrupt) d.at = header_bytes + random(size - header_bytes);
    return d;
  }
  /// Another frame has the place of a kept one: the link was started again meanwhile.
  void forget_place(u16 slot) {
    for (wrong_byte& one : wrong_)
      if (one.of.slot == slot) one.of = {};
  }
  [[nodiscard]] wrong_byte* free_byte() {
    for (wrong_byte& one : wrong_)
      if (one.of.generation == 0) return &one;
    return nullptr;
  }
  /// The pieces with byte `at` replaced by `wrong`, which receives a wrong value.
  [[nodiscard]] static scatter<const_bytes> corrupted(scatter<const_bytes> pieces, usize at, u8& wrong,
                                                      const_bytes (&out)[most_pieces + 2]) {
    usize count = 0;
    for (const const_bytes& piece : pieces) {
      if (at >= piece.size()) {
        out[count++] = piece;
        at -= at == ~usize{0} ? 0 : piece.size();
        continue;
      }
      wrong = static_cast<u8>(~piece.data()[at]);
      out[count++] = piece.part(0, at);
      out[count++] = {&wrong, 1};
      out[count++] = piece.part(at + 1, piece.size());
      at = ~usize{0};  // after all bytes
    }
    return {out, count};
  }

  fault_rates rates_{};
  u64 random_ = 0;
  fault next_{};
  bool drawn_ = false;
  fault_counts counts_{};
  wrong_byte wrong_[8]{};
};

}  // namespace virtio::net
