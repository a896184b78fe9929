// SPDX-License-Identifier: MIT
// One connection: an operation phase if there is one, then URBs until it ends. `poll` does what is possible without
// waiting.
//
// Three activities run at once. A message arrives, piece by piece (`message_`, or the data of `receiving_`). Submits
// are in the table in the order of their arrival until they have an answer (`waiting_`). An answer leaves, piece by
// piece (`head_`, then the data of `sending_`). An answer is begun when the device has decided its status and length,
// and its bytes are contiguous in the stream.
//
// Elsewhere: the form of messages (codec), and the answers of a USB device (device).
// Layer: engine (may include codec, base).
#pragma once

#include <usbip/engine/ending.hpp>
#include <usbip/engine/exports.hpp>
#include <usbip/engine/stream.hpp>

namespace usbip {

/// The result of `poll`.
enum class activity : u8 { idle, worked, ended };

/// Choices that change a connection's layout.
struct connection_options {
  /// Maximum number of outstanding transfers. At the limit nothing more is read, not even an unlink: it must be above
  /// the number that the endpoints keep waiting. Linux's cdc-acm keeps 16 reads and a notification waiting, usb-storage
  /// one transfer.
  u32 transfers = 32;
  urb_limits limits{};  // of messages that it accepts
  /// Maximum number of messages and pieces that one `poll` takes or sends.
  u32 turns = 64;
};

/// One connection. All bytes are zero initially. After its end, `serve` or `bridge` may start it again.
template <class Exports, connection_options Options = connection_options{}>
class connection {
  static_assert(Options.transfers >= 1 && Options.transfers <= 255, "1 to 255 transfers can be outstanding");

 public:
  constexpr connection() = default;

  /// Server mode: the peer requests a list or imports a device, as `usbip list` and `usbip attach` do.
  void serve(Exports& devices) {
    begin(devices);
    phase_ = phase::operation;
    needed_ = operation_header_bytes;
  }
  /// Bridge mode: the peer is a kernel that received the connection from another program. The peer sends first; this
  /// side sends only answers. Ends as `taken` if another connection has the device.
  void bridge(Exports& devices, u32 which = 0) {
    begin(devices);
    if (which >= Exports::count || !devices.take(which)) return over(end::taken);
    attach(which);
  }

  /// Takes bytes that have arrived and sends what has room. Never waits. After `ended` the caller closes the stream;
  /// `ending` has the reason.
  template <byte_stream S>
  [[nodiscard]] activity poll(S& stream) {
    if (phase_ == phase::over) return activity::ended;
    if (attached_) with_device([](auto& device) { device.poll(); });
    activity done = activity::idle;
    for (u32 turn = 0; turn < Options.turns; ++turn) {
      const u64 before = ended_.received + ended_.sent;
      const step sent = transmit(stream);
      const step taken = phase_ == phase::over ? step::nothing : receive(stream);
      if (phase_ == phase::over) return activity::ended;
      if (sent == step::nothing && taken == step::nothing && before == ended_.received + ended_.sent) {
        look_for_end(stream);
        return phase_ == phase::over ? activity::ended : done;
      }
      done = activity::worked;
    }
    return done;
  }

  /// Ends the connection: the device is free for another one. The caller closes the stream.
  void stop() {
    if (phase_ != phase::over) over(ended_.received == 0 ? end::silent : end::stopped);
  }

  /// How it ended; before its end, the bytes received and sent so far.
  [[nodiscard]] const usbip::ending& ending() const { return ended_; }
  /// The index of its device; `Exports::count` if none.
  [[nodiscard]] u32 device() const { return attached_ ? which_ : Exports::count; }
  /// Number of outstanding transfers.
  [[nodiscard]] u32 outstanding() const { return live_; }

 private:
  enum class phase : u8 { over, operation, list, refusal, urbs };
  enum class step : u8 { nothing, something };
  enum class state : u8 { free, receiving, waiting, decided, sending, unlinked };
  struct entry {
    transfer what{};
    u32 seqnum = 0;
    urb_status status{};
    u32 actual = 0;   // valid after `decided`
    u32 entries = 0;  // bytes of isochronous entries to drop
    state is{};
  };
  static constexpr u8 none = 255;

  void begin(Exports& devices) {
    *this = connection{};
    devices_ = &devices;
  }

  void attach(u32 which) {
    which_ = which;
    attached_ = true;
    phase_ = phase::urbs;
    had_ = 0;
    needed_ = urb_header_bytes;
    with_device([](auto& device) { device.attach(); });
  }

  void over(end how, fault why = fault::none) {
    ended_.how = how;
    ended_.why = why;
    ended_.what = phase_ == phase::urbs ? (receiving() ? due::data : due::urb) : due::operation;
    if (receiving()) {
      ended_.had = entries_[receiving_ - 1u].what.done;
      ended_.needed = entries_[receiving_ - 1u].what.length;
    } else {
      ended_.had = had_;
      ended_.needed = needed_;
      copy(ended_.first, message_, had_ < 8 ? had_ : 8);
    }
    phase_ = phase::over;
    live_ = 0;
    if (!attached_) return;
    with_device([](auto& device) { device.detach(); });
    devices_->give_back(which_);
    attached_ = false;
  }

  template <class S>
  void look_for_end(S& stream) {
    const stream_state is = stream.state();
    if (is == stream_state::open) return;
    if (is == stream_state::broken) return over(end::broken);
    // A peer that needs only the answer may close its direction.
    if (phase_ == phase::list || phase_ == phase::refusal) return;
    if (ended_.received == 0) return over(end::never_spoke);
    over(receiving() || had_ != 0 ? end::cut_off : end::closed);
  }

  template <class F>
  auto with_device(F&& f) {
    return devices_->with(which_, f);
  }

  // Receiving --------------------------------------------------------------------------------------------------------

  [[nodiscard]] bool receiving() const { return receiving_ != 0; }

  template <class S>
  step receive(S& stream) {
    if (phase_ == phase::list || phase_ == phase::refusal) return step::nothing;
    if (receiving()) return receive_data(stream, entries_[receiving_ - 1u]);
    if (had_ < needed_) {
      const usize came = stream.receive([&](const_bytes here) {
        const usize count = here.part(0, needed_ - had_).size;
        copy(message_ + had_, here.data, count);
        had_ = static_cast<u8>(had_ + count);
        return count;
      });
      ended_.received += came;
      if (came == 0) return step::nothing;
    }
    return phase_ == phase::operation ? take_operation() : take_urb();
  }

  step take_operation() {
    const auto got = parse_operation_request({message_, had_});
    if (got.incomplete()) return await(got.missing);
    if (got.wrong()) return wrong(got.why);
    if (got.value.what == operation::list_request) {
      phase_ = phase::list;
      which_ = 0;
      put(head_, operation_header{operation::list_answer, operation_status::ok});
      store_be32(head_ + operation_header_bytes, Exports::count);
      head_end_ = operation_header_bytes + 4;
      return step::something;
    }
    const u32 which = Exports::find(got.value.busid);
    operation_status status = operation_status::ok;
    if (which == Exports::count) {
      status = operation_status::no_device;
    } else if (!devices_->take(which)) {
      status = operation_status::busy;
    }
    put(head_, operation_header{operation::import_answer, status});
    head_end_ = operation_header_bytes;
    if (status != operation_status::ok) {
      phase_ = phase::refusal;
      return step::something;
    }
    attach(which);
    put_record(operation_header_bytes);
    return step::something;
  }

  step await(usize missing) {
    needed_ = static_cast<u8>(had_ + missing);
    return step::something;
  }
  step wrong(fault why) {
    over(end::wrong, why);
    return step::something;
  }

  step take_urb() {
    const auto got = parse_urb_request({message_, had_}, Options.limits);
    if (got.incomplete()) return await(got.missing);
    if (got.wrong()) return wrong(got.why);
    const step taken = got.value.what == command::submit ? submit(got.value) : unlink(got.value);
    if (taken == step::something && phase_ == phase::urbs) {
      had_ = 0;
      needed_ = urb_header_bytes;
    }
    return taken;
  }

  /// A place at the end of the queue; `none` if the table is full.
  u8 new_entry() {
    if (live_ == Options.transfers) return none;
    u8 which = 0;
    while (entries_[which].is != state::free) ++which;
    order_[live_++] = which;
    return which;
  }
  /// The entry with this number, if it has no answer yet.
  u8 find(u32 seqnum) {
    for (u32 at = 0; at < live_; ++at) {
      const entry& one = entries_[order_[at]];
      if (one.seqnum == seqnum && one.is != state::unlinked) return order_[at];
    }
    return none;
  }
  void forget(u8 which) {
    entries_[which].is = state::free;
    u32 at = 0;
    while (order_[at] != which) ++at;
    for (--live_; at < live_; ++at) order_[at] = order_[at + 1];
  }

  step submit(const urb_request& request) {
    if (find(request.seqnum) != none) return wrong(fault::seqnum_in_use);
    const u8 which = new_entry();
    if (which == none) return step::nothing;  // the header stays where it is, and nothing more is read
    entry& one = entries_[which];
    one = entry{};
    one.seqnum = request.seqnum;
    one.what.way = request.way;
    one.what.endpoint = static_cast<u8>(request.endpoint);
    if (request.endpoint != 0 && request.way == direction::in) one.what.endpoint |= 0x80;
    one.what.length = request.length;
    one.what.flags = request.flags;
    copy(one.what.setup, request.setup, 8);
    one.entries = request.entry_bytes();
    one.is = state::waiting;
    // No device of this library has isochronous endpoints.
    const u8 endpoint = one.what.endpoint;
    if (request.packets != 0 || !with_device([&](auto& device) { return device.has(endpoint); }))
      refuse(one, urb_status::stall);
    if (request.data_bytes() != 0 || one.entries != 0) {
      if (one.is == state::waiting) one.is = state::receiving;
      receiving_ = static_cast<u8>(which + 1);
    }
    return step::something;
  }

  /// Whether a transfer older than `t`, the latest one, is active at its endpoint. A device may use the same memory for
  /// the data of both.
  [[nodiscard]] bool is_behind_another(const transfer& t) const {
    for (u32 at = 0; at + 1 < live_; ++at) {
      const entry& other = entries_[order_[at]];
      if (other.what.endpoint == t.endpoint && (other.is == state::waiting || other.is == state::sending)) return true;
    }
    return false;
  }

  static void refuse(entry& one, urb_status why) {
    one.is = state::decided;
    one.status = why;
    one.actual = 0;
  }

  template <class S>
  step receive_data(S& stream, entry& one) {
    transfer& t = one.what;
    const u32 left = t.way == direction::out ? t.length - t.done : 0;
    if (left == 0 && one.entries == 0) {
      receiving_ = 0;
      if (one.is == state::receiving) one.is = state::waiting;
      return step::something;
    }
    bytes where{};
    if (one.is == state::receiving) {
      if (t.done == 0 && is_behind_another(t)) return step::nothing;
      const room place = with_device([&](auto& device) { return device.room_for(t); });
      if (place.what == room::kind::refuse) {
        refuse(one, place.status);
      } else if (place.what == room::kind::later || place.where.empty()) {
        return step::nothing;
      }
      where = {place.where.data, place.where.size < left ? place.where.size : left};
    }
    const usize most = one.is == state::receiving ? where.size : left != 0 ? left : one.entries;
    const usize came = stream.receive([&](const_bytes here) {
      const usize count = here.part(0, most).size;
      if (where.data != nullptr) copy(where.data, here.data, count);
      return count;
    });
    if (came == 0) return step::nothing;
    const u32 count = static_cast<u32>(came);
    ended_.received += came;
    if (one.is == state::receiving) with_device([&](auto& device) { device.arrived(t, count); });
    if (left != 0) {
      t.done += count;
    } else {
      one.entries -= count;
    }
    return step::something;
  }

  step unlink(const urb_request& request) {
    u8 which = find(request.target);
    urb_status status = urb_status::ok;
    if (which != none && (entries_[which].is == state::waiting || entries_[which].is == state::decided)) {
      status = urb_status::canceled;
      if (entries_[which].is == state::waiting)
        with_device([&](auto& device) { device.canceled(entries_[which].what); });
    } else {
      which = new_entry();
      if (which == none) return step::nothing;
      entries_[which] = entry{};
    }
    entries_[which].seqnum = request.seqnum;
    entries_[which].status = status;
    entries_[which].is = state::unlinked;
    return step::something;
  }

  // Sending ----------------------------------------------------------------------------------------------------------

  template <class S>
  step transmit(S& stream) {
    if (head_at_ == head_end_ && sending_ == 0 && next_answer() == step::nothing) return step::nothing;
    const const_bytes head{head_ + head_at_, static_cast<usize>(head_end_ - head_at_)};
    const_bytes list[2] = {head, {}};
    entry* const one = sending_ != 0 ? &entries_[sending_ - 1u] : nullptr;
    const u32 left = one != nullptr ? one->actual - one->what.done : 0;
    if (left != 0) {
      list[1] = with_device([&](auto& device) { return device.piece_of(one->what); }).part(0, left);
      if (head.empty() && list[1].empty()) return step::nothing;
    }
    if (!head.empty() || left != 0) {
      const usize gone =
          stream.send({head.empty() ? list + 1 : list, head.empty() || list[1].empty() ? usize{1} : usize{2}});
      if (gone == 0) return step::nothing;
      ended_.sent += gone;
      const usize of_head = gone < head.size ? gone : head.size;
      head_at_ = static_cast<u16>(head_at_ + of_head);
      if (const u32 of_data = static_cast<u32>(gone - of_head); of_data != 0) {
        with_device([&](auto& device) { device.sent(one->what, of_data); });
        one->what.done += of_data;
      }
    }
    if (one != nullptr && head_at_ == head_end_ && one->what.done == one->actual) {
      sending_ = 0;
      forget(static_cast<u8>(one - entries_));
    }
    return step::something;
  }

  /// Makes the next message to send, if there is one.
  step next_answer() {
    head_at_ = head_end_ = 0;
    if (phase_ == phase::list) return next_of_list();
    if (phase_ == phase::refusal) {
      over(end::refused);
      return step::nothing;
    }
    if (phase_ != phase::urbs) return step::nothing;
    u32 asked = 0;  // a bit for each endpoint whose oldest transfer has been seen
    for (u32 at = 0; at < live_; ++at) {
      entry& one = entries_[order_[at]];
      if (one.is == state::receiving) continue;
      if (one.is == state::waiting) {
        const u32 bit = u32{1} << ((one.what.endpoint & 15) | (one.what.endpoint >> 7) << 4);
        if ((asked & bit) != 0) continue;
        asked |= bit;
        if (decide(one) == step::nothing) continue;
      }
      // Rejected, and its data has not all arrived: the answer follows the data
      if (receiving_ == order_[at] + 1u) continue;
      begin_answer(order_[at]);
      return step::something;
    }
    return step::nothing;
  }

  step decide(entry& one) {
    transfer& t = one.what;
    const answer got = with_device([&](auto& device) { return device.answer_to(t); });
    if (got.what == answer::kind::later) return step::nothing;
    one.is = state::decided;
    one.status = got.status;
    one.actual = got.length < t.length ? got.length : t.length;
    if (t.way == direction::in) {
      if (got.length > t.length) one.status = urb_status::overflow;
      if (got.status == urb_status::ok && one.actual < t.length && (t.flags & flag_short_not_ok) != 0) {
        one.status = urb_status::short_packet;
      }
    }
    return step::something;
  }

  void begin_answer(u8 which) {
    entry& one = entries_[which];
    const command what = one.is == state::unlinked ? command::unlink_answer : command::submit_answer;
    u8 header[urb_header_bytes];
    put(header, urb_answer{what, one.seqnum, one.status, one.actual, 0, 0, 0});
    copy(head_, header, urb_header_bytes);
    head_end_ = urb_header_bytes;
    one.is = state::sending;
    one.what.done = one.what.way == direction::in ? 0 : one.actual;  // an answer to OUT has no data
    sending_ = static_cast<u8>(which + 1);
  }

  /// Writes the record of `which_` into `head_`.
  void put_record(u16 at) {
    u8 bytes_of[device_record_bytes];
    put(bytes_of, devices_->record_of(which_));
    copy(head_ + at, bytes_of, device_record_bytes);
    head_end_ = static_cast<u16>(at + device_record_bytes);
  }

  /// Sends a device with its interfaces, one piece at a time.
  step next_of_list() {
    if (which_ == Exports::count) {
      over(end::listed);
      return step::nothing;
    }
    if (interface_ == 0) {
      put_record(0);
      interfaces_ = head_[device_record_bytes - 1];
    } else {
      const u8 number = static_cast<u8>(interface_ - 1);
      u8 one[interface_record_bytes];
      put(one, with_device([&](auto& device) { return device.interface_of(number); }));
      copy(head_, one, interface_record_bytes);
      head_end_ = interface_record_bytes;
    }
    if (interface_++ == interfaces_) {
      interface_ = 0;
      ++which_;
    }
    return step::something;
  }

  Exports* devices_ = nullptr;
  u32 which_ = 0;
  bool attached_ = false;
  phase phase_{};
  u8 had_ = 0;
  u8 needed_ = 0;
  u8 receiving_ = 0;  // 1 + the entry whose data is arriving
  u8 sending_ = 0;    // 1 + the entry whose answer is leaving
  u16 head_at_ = 0;
  u16 head_end_ = 0;
  u16 interface_ = 0;
  u8 interfaces_ = 0;
  u32 live_ = 0;
  usbip::ending ended_{};
  u8 message_[urb_header_bytes] = {};
  u8 head_[operation_header_bytes + device_record_bytes] = {};
  entry entries_[Options.transfers] = {};
  u8 order_[Options.transfers] = {};
};

}  // namespace usbip
