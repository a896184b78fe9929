// SPDX-License-Identifier: MIT
// Console driver: bytes to the host and from it, through one port, or through several that have names.
//
// A port is a pair of queues with buffers of its own. Bytes are copied: what was sent is in the driver's storage until the host has taken
// it, and what has arrived is there until it is read. The control queue (ports.hpp) is processed in `poll` and in every call that
// waits. Spec: virtio 1.4, 5.3. Layer: console (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/console/ports.hpp>
#include <virtio/device/queue_set.hpp>

namespace virtio::console {

/// A console. All-zero until `start`. One context owns it; an interrupt handler may call `acknowledge_interrupt` alone. Ports are named
/// by their numbers: 0 is the first, and the only one without MULTIPORT.
///
/// The device's errors are `needs_reset` and `device_misbehaved` when it fails in the call: it is down then, and what it had not sent or
/// was not read is gone; `device_broken` when it does not confirm the reset and keeps the storage; `not_started` when it is down already.
template <platform P, transport T, queue_format Q, limits L = limits{}>
class device {
  static_assert(L.make_sense(), "console::limits: see the bounds at make_sense()");

  static constexpr bool multiport = L.ports > 1;
  // A queue's number at the device is also its number in the set. 2 and 3 are the control queues.
  static constexpr u16 receive_queue(u16 port) { return static_cast<u16>(port == 0 ? 0 : 2 * port + 2); }
  static constexpr u16 transmit_queue(u16 port) { return static_cast<u16>(receive_queue(port) + 1); }

  using set = queue_set<P, T, Q, (multiport ? 2 * L.ports + 2 : 2)>;
  using ring = typename set::ring_type;
  using in_pool = buffer_pool<L.receive_buffers, L.receive_bytes>;
  using out_pool = buffer_pool<L.send_buffers, L.send_bytes>;
  using ports = virtio::detail::conditional<multiport, detail::several_ports<set, typename P::barriers, T::ring_order, L>,
                                            detail::one_port<set, typename P::barriers, T::ring_order, L>>;

  // After the rings: each port's buffers, then those of the control queues.
  static constexpr usize pools_bytes = in_pool::dma_bytes + out_pool::dma_bytes;
  static constexpr usize pools_at(usize port) { return set::dma_bytes + pools_bytes * port; }

 public:
  using location = typename T::location;
  using facts_type = typename ports::facts_type;
  static constexpr usize dma_bytes = pools_at(L.ports) + ports::dma_bytes;
  static_assert(u64{set::dma_bytes} + u64{pools_bytes} * L.ports + u64{ports::dma_bytes} < 0x8000'0000,
                "the DMA storage of a console::device must stay below 2 GiB");

  /// Brings the device up: reset, features, queues, buffers, DRIVER_OK. `storage` belongs to the device until `reset` or `hand_off`
  /// succeeds, or `start` itself fails with anything but `device_broken`. Without MULTIPORT port 0 is there at once; with it, ports come
  /// by messages of the host. Errors: those of `blk::device::start`.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts = {}) {
    constexpr feature_set some{feature::size, feature::emergency_write};
    constexpr feature_plan plan{.wanted = multiport ? some | feature_set{feature::multiport} : some,
                                // How much has arrived is what the used length says: a batch, which skips lengths, is of no use.
                                .declined = feature_set{virtio::feature::in_order}};
    ports_.end();
    dma_area area;
    VIRTIO_TRY(set_.forget());
    VIRTIO_TRY(set_.begin(platform, where, storage, dma_bytes, device_type::console, plan, interrupts, area));
    const bool negotiated = ports::has_control && features().has(feature::multiport);
    u16 count = 1;
    if (negotiated) {
      const auto maximum = read_field(registers(), config::max_nr_ports);
      if (!maximum) return set_.refuse(verdict::config_unreadable, maximum.error());
      if (*maximum > 1) count = static_cast<u16>(virtio::detail::smaller(*maximum, u32{L.ports}));
    }
    for (u16 q = 0; q < 2 * count + (negotiated ? 2 : 0); ++q) VIRTIO_TRY(set_.set_up(q, q, area, interrupts));
    for (u16 i = 0; i < count; ++i) {
      port_data& one = port_data_[i];
      virtio::detail::clear(one);
      one.in.start(area.part(pools_at(i), in_pool::dma_bytes));
      one.out.start(area.part(pools_at(i) + in_pool::dma_bytes, out_pool::dma_bytes));
      one.in.post(set_[receive_queue(i)]);
    }
    ports_.begin(count, negotiated ? detail::multiport::negotiated : detail::multiport::absent);
    if (negotiated) ports_.start(set_, area.part(pools_at(L.ports), ports::dma_bytes));
    set_.go();
    for (u16 i = 0; i < count; ++i) set_.kick(receive_queue(i));
    if (negotiated) ports_.kick(set_);
    return {};
  }

  /// What the last `start` came to: bound, or why not.
  [[nodiscard]] const report& why() const { return lifecycle().session().why(); }
  [[nodiscard]] const feature_set& features() const { return lifecycle().session().features(); }

  // Calls that do not wait -----------------------------------------------------------------------------------------------

  /// Copies bytes that have arrived: says how many. Errors: `not_ready`; `not_found`, there is no such port; the device's.
  [[nodiscard]] result<usize> try_receive(bytes into, u16 port = 0) {
    VIRTIO_TRY(find(port));
    usize copied = 0;
    errc got = errc::ok;
    bool came = false;
    while (copied < into.size() && (got = fetch(port, came)) == errc::ok) {
      const const_bytes here = port_data_[port].unread().part(0, into.size() - copied);
      __builtin_memcpy(into.data() + copied, here.data(), here.size());
      copied += here.size();
      consume(port, static_cast<u32>(here.size()));
    }
    return received(port, copied != 0 ? errc::ok : got, copied);
  }
  /// Shows `look(bytes)` what has arrived, where it is, as much of it as lies together; `look` says how many bytes it is done with.
  /// The memory is the device's, too: a host may change it meanwhile, so look at each byte once. It is valid until `look` returns;
  /// `look` may call anything here but what receives from this port, starts or resets. Returns and fails as `try_receive`; `in_use`, it
  /// did one of those; `not_found` also when the port went meanwhile.
  template <callable_with<const_bytes> F>
  [[nodiscard]] result<usize> receive_with(F&& look, u16 port = 0) {
    VIRTIO_TRY(find(port));
    bool came = false;
    if (const errc got = fetch(port, came); got != errc::ok) return received(port, got, 0);
    port_data& one = port_data_[port];
    const const_bytes here = one.unread();
    one.showing = showing_state::yes;
    const usize done = virtio::detail::smaller(static_cast<usize>(look(here)), here.size());
    const bool has_gone = one.showing == showing_state::of_a_port_that_went;
    one.showing = showing_state::no;
    VIRTIO_TRY(lifecycle().ready());
    if (has_gone) {
      give_back(port);
      return received(port, errc::not_found, 0);
    }
    if (one.held.is_none() || one.unread().data() != here.data()) return errc::in_use;
    consume(port, static_cast<u32>(done));
    return received(port, errc::ok, done);
  }

  /// Takes bytes to send, as far as there are free buffers: says how many. They leave at once. Errors: `queue_full`, the host has to take
  /// some first; `not_found`; the device's.
  [[nodiscard]] result<usize> try_send(const_bytes data, u16 port = 0) {
    VIRTIO_TRY(find(port));
    out_pool& out = port_data_[port].out;
    ring& queue = set_[transmit_queue(port)];
    bool came = false;
    if (const errc problem = out.collect(queue, came); problem != errc::ok) return bring_down(problem);
    usize taken = 0;
    while (taken < data.size() && has_room(port)) {
      const const_bytes part = data.part(taken, L.send_bytes);
      const buffer_index buffer = out.take();
      __builtin_memcpy(out.payload(buffer), part.data(), part.size());
      segment_list<1> chain;
      out.append(chain, buffer, direction::to_device, 0, static_cast<u32>(part.size()));
      (void)queue.stage(*queue.reserve(), chain, buffer.cookie());  // there is room
      taken += part.size();
    }
    set_.kick(transmit_queue(port));
    if (taken != 0 || data.empty()) return taken;
    set_.found_nothing();
    return errc::queue_full;
  }

  /// Looks at all queues, and answers the host about its ports. True: something has come or left. Errors: the
  /// device's. Cost: a word of memory for each of two queues a port.
  [[nodiscard]] result<bool> poll() {
    VIRTIO_TRY(lifecycle().ready());
    bool came = false;
    if (const errc problem = look(came); problem != errc::ok) return problem;
    return came;
  }

  // Calls that wait ------------------------------------------------------------------------------------------------------

  /// Waits for bytes, and gives what there are. Errors: `peer_silent`, the platform has waited enough for `waiting::request`, and nothing
  /// has changed by that; those of `try_receive` but `not_ready`.
  [[nodiscard]] result<usize> receive(bytes into, u16 port = 0) {
    for (bool has_waited = false;; has_waited = true) {
      const auto got = try_receive(into, port);
      if (has_waited || got.error() != errc::not_ready) return got;
      const errc waited = wait_until(waiting::request, [&] { return !find(port) || !port_data_[port].held.is_none(); });
      if (waited != errc::ok) return waited;
    }
  }

  /// Sends all of `data`, and waits for room, bounded by `keep_waiting(waiting::request)` each time. Says how many bytes were taken: fewer
  /// when the platform has waited enough, or the port has gone. Errors, when none were: `peer_silent`, and those of `try_send` but
  /// `queue_full`; the device's.
  [[nodiscard]] result<usize> send(const_bytes data, u16 port = 0) {
    for (usize taken = 0;;) {
      const auto now = try_send(data.part(taken, data.size()), port);
      taken += now ? *now : 0;
      if (now && taken == data.size()) return taken;
      errc why = now.error();
      if (now || why == errc::queue_full) why = wait_until(waiting::request, [&] { return !find(port) || has_room(port); });
      if (why == errc::ok) continue;
      if (taken != 0 && lifecycle().is_up()) return taken;
      return why;
    }
  }

  /// Waits until the host has taken all that was sent to a port. Errors: `peer_silent`, and it may take the rest later; `not_found`; the
  /// device's.
  [[nodiscard]] result<void> flush(u16 port = 0) {
    VIRTIO_TRY(find(port));
    const ring& queue = set_[transmit_queue(port)];
    VIRTIO_TRY(result<void>{wait_until(waiting::request, [&] { return !find(port) || queue.in_flight() == 0; })});
    return queue.in_flight() == 0 ? result<void>{} : find(port);
  }

  /// Looks at all queues until `done()`. Errors: `peer_silent`, the platform has waited enough for `why`, and nothing has changed by that;
  /// the device's.
  template <class Done>
  [[nodiscard]] errc wait_until(waiting why, Done&& done) {
    if (!lifecycle().is_up()) return errc::not_started;
    const errc waited = set_.wait_until(why, [this](bool& came) { return look(came); }, [this] { return set_.arm(); }, done);
    if (waited == errc::timed_out) return errc::peer_silent;
    return waited == errc::needs_reset ? bring_down(waited) : waited;
  }

  // Ports and screens ----------------------------------------------------------------------------------------------------

  /// Ports 0 to this, without it, may be present.
  [[nodiscard]] u16 port_count() const { return ports_.count(); }
  /// The state of a port below `limits::ports`, from the host's messages.
  [[nodiscard]] const facts_type& facts(u16 port) const {
    VIRTIO_ASSERT(port < L.ports);
    return ports_[port];
  }
  /// The port with this name, of which `limits::name_bytes` count. Errors: `not_found`, as yet.
  [[nodiscard]] result<u16> find_named(const_bytes name) const {
    name = name.part(0, L.name_bytes);
    for (u16 i = 0; i < ports_.count(); ++i) {
      const const_bytes mine = ports_[i].name();
      if (ports_[i].is_present && mine.size() == name.size() && __builtin_memcmp(mine.data(), name.data(), name.size()) == 0) return i;
    }
    return errc::not_found;
  }
  /// Tells the host that the program reads from a port: before, many hosts send nothing to it. A console is opened by itself. Without
  /// MULTIPORT every port is open. Errors: `not_found`, the device's.
  [[nodiscard]] result<void> open(u16 port) { return send_open(port, 1); }
  /// Tells it the opposite. What has arrived can still be read.
  [[nodiscard]] result<void> close(u16 port) { return send_open(port, 0); }

  /// How many characters fit on a console's screen; it may change, which interrupts. Errors: `unsupported`, the device does not have it;
  /// `not_found`; `not_started`; those of reading config.
  [[nodiscard]] result<screen> size(u16 port = 0) const {
    VIRTIO_TRY(find(port));
    screen now = ports_[port].size;
    if (now != screen{}) return now;
    if (port != 0 || !features().has(feature::size)) return errc::unsupported;
    VIRTIO_TRY(read_config(registers(), now, [this](screen& one) -> result<void> {
      VIRTIO_TRY_ASSIGN(one.columns, read_field(registers(), config::columns));
      VIRTIO_TRY_ASSIGN(one.rows, read_field(registers(), config::rows));
      return {};
    }));
    return now;
  }

  /// Writes text through a register, a character at a time: for a program that has not started the device, or cannot go on. Needs no
  /// driver object and changes none, no queue and no memory. Errors: `unsupported` without EMERG_WRITE; those of `open`. Cost: the search
  /// for the registers, then an exit to the host for each character. Spec: 5.3.5.
  [[nodiscard]] static result<void> emergency_write(const location& where, const_bytes text) {
    if (T::type_of(where) != device_type::console) return errc::wrong_device;
    T at{};
    report seen;
    VIRTIO_TRY(at.open(where, seen));
    const auto use = [&](bus_use what) {
      if constexpr (requires { at.use(what); }) return at.use(what);
      else return true;
    };
    result<void> done = errc::unsupported;
    if (use(bus_use::registers) && at.device_features(1).has(feature::emergency_write)) {
      done = {};
      for (usize i = 0; i < text.size() && done; ++i) done = write_field(at, config::emergency_write, u32{text.data()[i]});
    }
    (void)use(bus_use::as_found);
    return done;
  }

  // Interrupts and the end -----------------------------------------------------------------------------------------------

  /// Asks for an interrupt when bytes come or leave, or a control message comes. True: something is there already; bytes that were not
  /// read, of any port, count.
  [[nodiscard]] bool arm() {
    if (!lifecycle().is_up()) return false;
    for (u16 i = 0; i < ports_.count(); ++i)
      if (ports_[i].is_present && !port_data_[i].held.is_none()) return true;
    return set_.arm();
  }
  void disarm() { set_.disarm(); }
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return set_.acknowledge_interrupt(); }
  /// Reads the status: `needs_reset` when the device has failed; it is then reset. Errors also: `not_started`; `device_broken`, it will
  /// not reset and keeps the storage.
  [[nodiscard]] result<void> check() { return set_.check([this](errc why) { return bring_down(why); }); }
  /// Resets the device. Errors: `not_started`; `device_broken`, it keeps the storage; `timed_out`, it has nothing.
  [[nodiscard]] result<void> reset() { return set_.reset([this](errc why) { return bring_down(why); }); }
  /// As `reset`, and takes the device off the bus.
  [[nodiscard]] result<void> hand_off() { return set_.hand_off([this](errc why) { return bring_down(why); }); }

 private:
  enum class showing_state : u8 { no, yes, of_a_port_that_went };
  struct port_data {
    in_pool in{};
    out_pool out{};
    buffer_index held{};  // a buffer that has arrived, of which bytes `from` to `to` were not read; others wait in the queue
    u32 from = 0, to = 0;
    showing_state showing{};  // receive_with shows what is held: it must not go back meanwhile

    [[nodiscard]] const_bytes unread() const { return {in.payload(held) + from, to - from}; }
  };

  [[nodiscard]] const device_lifecycle<P, T>& lifecycle() const { return set_.lifecycle(); }
  [[nodiscard]] const T& registers() const { return lifecycle().session().transport(); }
  [[nodiscard]] result<void> find(u16 port) const {
    VIRTIO_TRY(lifecycle().ready());
    return port < ports_.count() && ports_[port].is_present ? errc::ok : errc::not_found;
  }
  [[nodiscard]] bool has_room(u16 port) { return port_data_[port].out.has_free() && set_[transmit_queue(port)].reserve(); }
  [[nodiscard]] result<void> send_open(u16 port, u16 value) {
    VIRTIO_TRY(find(port));
    if (const errc problem = ports_.send_open(set_, port, value); problem != errc::ok) return bring_down(problem);
    return {};
  }

  // The next buffer that has arrived is held. `came` becomes true if there was any, be it without a byte. Errors: `not_ready`;
  // `device_misbehaved`, it is down.
  [[nodiscard, gnu::noinline]] errc fetch(u16 port, bool& came) {
    port_data& one = port_data_[port];
    // Buffers without a byte are given back at once, and may come again: not for ever in one call.
    for (u32 looks = 0; one.held.is_none(); ++looks) {
      if (looks == ring::slots) return errc::not_ready;
      const errc got = in_pool::arrived(set_[receive_queue(port)], one.held, one.to);
      if (got != errc::ok) return got == errc::not_ready ? got : bring_down(got);
      came = true;
      set_.found_something();
      one.from = 0;
      if (one.to == 0) give_back(port);
    }
    return errc::ok;
  }
  void consume(u16 port, u32 count) {
    port_data& one = port_data_[port];
    one.from += virtio::detail::smaller(count, one.to - one.from);
    if (one.from == one.to) give_back(port);
  }
  [[gnu::noinline]] void give_back(u16 port) {
    port_data& one = port_data_[port];
    one.in.give_back(one.held);
    one.held = no_buffer;
    one.in.post(set_[receive_queue(port)]);
  }
  // What a call that receives returns, once the device has got its buffers back.
  [[nodiscard]] result<usize> received(u16 port, errc got, usize count) {
    if (lifecycle().is_up()) {
      set_.kick(receive_queue(port));
      if (got == errc::not_ready) set_.found_nothing();
    }
    if (got != errc::ok) return got;
    return count;
  }

  // What was received for a port that is not there goes back, so that a port which comes later at the same number does not get it.
  [[gnu::noinline]] void drop_received(u16 port) {
    port_data& one = port_data_[port];
    if (one.showing != showing_state::no) one.showing = showing_state::of_a_port_that_went;
    else if (!one.held.is_none()) give_back(port);
    buffer_index buffer;
    u32 length = 0;
    for (u32 taken = 0; taken < ring::slots; ++taken) {  // a flood has its turn, and no more; a lie is found by whoever looks next
      if (in_pool::arrived(set_[receive_queue(port)], buffer, length) != errc::ok) break;
      one.in.give_back(buffer);
    }
    one.in.post(set_[receive_queue(port)]);
  }

  // Takes what has come in any queue: of each port one buffer at most, since only that one is read next.
  [[nodiscard, gnu::noinline]] errc look(bool& came) {
    for (u16 i = 0; i < ports_.count(); ++i) {
      if (!ports_[i].is_present) {
        drop_received(i);
        set_.kick(receive_queue(i));
      } else if (port_data_[i].held.is_none()) {
        if (const errc got = fetch(i, came); got != errc::ok && got != errc::not_ready) return got;
        set_.kick(receive_queue(i));
      }
      if (const errc got = port_data_[i].out.collect(set_[transmit_queue(i)], came); got != errc::ok) return bring_down(got);
    }
    const auto gone = [this](u16 port) { drop_received(port); };
    if (const errc got = ports_.receive(set_, came, gone); got != errc::ok) return bring_down(got);
    came ? set_.found_something() : set_.found_nothing();
    return errc::ok;
  }

  [[gnu::cold, gnu::noinline]] errc bring_down(errc why) {
    why = set_.take_down(why);
    for (port_data& one : port_data_) one.held = no_buffer;
    ports_.end();
    return why;
  }

  port_data port_data_[L.ports]{};
  ports ports_{};
  set set_{};
};

}  // namespace virtio::console
