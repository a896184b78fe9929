// SPDX-License-Identifier: MIT
// Console driver: bytes to and from the host, through one port, or through several named ports.
//
// A port is a pair of queues with buffers of its own. Bytes are copied: sent bytes are in the driver's storage until
// the host has taken them, and received bytes until they are read. `poll`, and every call that waits, processes the
// control queue (ports.hpp). Spec: virtio 1.4, 5.3. Layer: console (may include device, transport, queue, platform,
// base).
#pragma once

#include <virtio/console/ports.hpp>
#include <virtio/device/queue_set.hpp>

namespace virtio::console {

/// A console. All bytes are zero until `start`. One context owns it; an interrupt handler may call only
/// `acknowledge_interrupt`. Ports are named by their numbers: 0 is the first, and the only one without MULTIPORT.
///
/// The device's errors are `needs_reset` and `device_misbehaved` if it fails in the call, `device_broken` if it does
/// not confirm the reset and keeps the storage, and `not_started` if it is down already. A failure takes it down; bytes
/// that were not sent or not read are lost.
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
  using ports =
      virtio::detail::conditional<multiport, detail::several_ports<set, typename P::barriers, T::ring_order, L>,
                                  detail::one_port<set, typename P::barriers, T::ring_order, L>>;

  // After the rings: each port's buffers, then those of the control queues.
  static constexpr usize pools_bytes = in_pool::dma_bytes + out_pool::dma_bytes;
  static constexpr usize pools_at(usize port) { return set::dma_bytes + pools_bytes * port; }

 public:
  using location = typename T::location;          // what discovery returns for the device
  using facts_type = typename ports::facts_type;  // what `facts` returns
  /// Bytes of DMA storage that this type needs: `constinit virtio::dma_storage<console_t::dma_bytes> console_dma;`
  static constexpr usize dma_bytes = pools_at(L.ports) + ports::dma_bytes;
  static_assert(u64{set::dma_bytes} + u64{pools_bytes} * L.ports + u64{ports::dma_bytes} < 0x8000'0000,
                "the DMA storage of a console::device must stay below 2 GiB");

  /// Brings the device up: reset, features, queues, buffers, DRIVER_OK. `storage` belongs to the device until `reset`
  /// or `hand_off` succeeds, or until `start` fails with any error except `device_broken`. Without MULTIPORT port 0 is
  /// present at once; with it, messages of the host add ports. Errors: those of `blk::device::start`.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts = {}) {
    constexpr feature_set some{feature::size, feature::emergency_write};
    constexpr feature_plan plan{.wanted = multiport ? some | feature_set{feature::multiport} : some,
                                // The used length is the number of bytes that arrived; a batch skips lengths.
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

  /// The result of the last `start`: bound, or the reason why not.
  [[nodiscard]] const report& why() const { return lifecycle().session().why(); }
  /// The features that `start` accepted.
  [[nodiscard]] const feature_set& features() const { return lifecycle().session().features(); }

  // Calls that do not wait --------------------------------------------------------------------------------------------

  /// Copies bytes that have arrived and returns how many. Errors: `not_ready`; `not_found` (no such port); the
  /// device's.
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
  /// Shows bytes that have arrived without a copy: `look(bytes)` receives those in the first buffer, and returns how
  /// many it has used. The memory is shared with the device: a host may change it meanwhile, so read each byte once. It
  /// is valid until `look` returns. `look` may call any function except those that receive from this port, start or
  /// reset. Returns and fails as `try_receive`. Additional errors: `in_use` (`look` called one of those); `not_found`
  /// also if the port was removed meanwhile.
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

  /// Takes bytes to send, as far as buffers are free, and returns how many. They leave at once. Errors: `queue_full`
  /// (the host must take some first); `not_found`; the device's. Cost: one copy.
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

  /// Processes all queues, and answers the host's messages about ports. True: bytes have arrived or left. Errors: the
  /// device's. Cost: one load from memory for each of two queues per port.
  [[nodiscard]] result<bool> poll() {
    VIRTIO_TRY(lifecycle().ready());
    bool came = false;
    if (const errc problem = look(came); problem != errc::ok) return problem;
    return came;
  }

  // Calls that wait ---------------------------------------------------------------------------------------------------

  /// Waits for bytes and returns how many were copied. Errors: `peer_silent` (the platform ends the wait
  /// `waiting::request`; nothing has changed); those of `try_receive` except `not_ready`.
  [[nodiscard]] result<usize> receive(bytes into, u16 port = 0) {
    for (bool has_waited = false;; has_waited = true) {
      const auto got = try_receive(into, port);
      if (has_waited || got.error() != errc::not_ready) return got;
      const errc waited = wait_until(waiting::request, [&] { return !find(port) || !port_data_[port].held.is_none(); });
      if (waited != errc::ok) return waited;
    }
  }

  /// Sends all of `data`, and waits for room, bounded by `keep_waiting(waiting::request)` each time. Returns how many
  /// bytes were taken: fewer if the platform ends the wait or the port is removed. Errors, if none were taken:
  /// `peer_silent`; those of `try_send` except `queue_full`; the device's.
  [[nodiscard]] result<usize> send(const_bytes data, u16 port = 0) {
    for (usize taken = 0;;) {
      const auto now = try_send(data.part(taken, data.size()), port);
      taken += now ? *now : 0;
      if (now && taken == data.size()) return taken;
      errc why = now.error();
      if (now || why == errc::queue_full)
        why = wait_until(waiting::request, [&] { return !find(port) || has_room(port); });
      if (why == errc::ok) continue;
      if (taken != 0 && lifecycle().is_up()) return taken;
      return why;
    }
  }

  /// Waits until the host has taken all bytes sent to a port. Errors: `peer_silent` (the host may take the rest later);
  /// `not_found`; the device's.
  [[nodiscard]] result<void> flush(u16 port = 0) {
    VIRTIO_TRY(find(port));
    const ring& queue = set_[transmit_queue(port)];
    VIRTIO_TRY(result<void>{wait_until(waiting::request, [&] { return !find(port) || queue.in_flight() == 0; })});
    return queue.in_flight() == 0 ? result<void>{} : find(port);
  }

  /// Processes all queues until `done()`. Errors: `peer_silent` (the platform ends the wait `why`; nothing has
  /// changed); the device's.
  template <class Done>
  [[nodiscard]] errc wait_until(waiting why, Done&& done) {
    if (!lifecycle().is_up()) return errc::not_started;
    const errc waited =
        set_.wait_until(why, [this](bool& came) { return look(came); }, [this] { return set_.arm(); }, done);
    if (waited == errc::timed_out) return errc::peer_silent;
    return waited == errc::needs_reset ? bring_down(waited) : waited;
  }

  // Ports and screens -------------------------------------------------------------------------------------------------

  /// Only ports with numbers below this one may be present.
  [[nodiscard]] u16 port_count() const { return ports_.count(); }
  /// The state of a port below `limits::ports`, from the host's messages.
  [[nodiscard]] const facts_type& facts(u16 port) const {
    VIRTIO_ASSERT(port < L.ports);
    return ports_[port];
  }
  /// The port with this name, of which `limits::name_bytes` are compared. Errors: `not_found` (not yet present).
  [[nodiscard]] result<u16> find_named(const_bytes name) const {
    name = name.part(0, L.name_bytes);
    for (u16 i = 0; i < ports_.count(); ++i) {
      const const_bytes mine = ports_[i].name();
      if (ports_[i].is_present && mine.size() == name.size() &&
          __builtin_memcmp(mine.data(), name.data(), name.size()) == 0)
        return i;
    }
    return errc::not_found;
  }
  /// Informs the host that the program reads from a port; many hosts send nothing before that. The driver opens a
  /// console port by itself. Without MULTIPORT every port is open. Errors: `not_found`, the device's.
  [[nodiscard]] result<void> open(u16 port) { return send_open(port, 1); }
  /// Informs the host that the program has stopped reading. Bytes that have arrived can still be read.
  [[nodiscard]] result<void> close(u16 port) { return send_open(port, 0); }

  /// The size of a console's screen in characters. A change raises a configuration interrupt. Errors: `unsupported`
  /// (the device does not report it); `not_found`; `not_started`; those of reading the configuration.
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

  /// Writes text through a register, one character at a time: for a program that has not started the device, or cannot
  /// continue. Uses no driver object, no queue and no memory. Errors: `unsupported` without EMERG_WRITE; those of
  /// `open`. Cost: the search for the registers, then one exit to the host for each character. Spec: 5.3.5.
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
      for (usize i = 0; i < text.size() && done; ++i)
        done = write_field(at, config::emergency_write, u32{text.data()[i]});
    }
    (void)use(bus_use::as_found);
    return done;
  }

  // Interrupts and the end --------------------------------------------------------------------------------------------

  /// Requests an interrupt for bytes that arrive or leave, and for control messages. True: work is already present,
  /// which includes unread bytes of any port.
  [[nodiscard]] bool arm() {
    if (!lifecycle().is_up()) return false;
    for (u16 i = 0; i < ports_.count(); ++i)
      if (ports_[i].is_present && !port_data_[i].held.is_none()) return true;
    return set_.arm();
  }
  /// Stops interrupts that `arm` requested.
  void disarm() { set_.disarm(); }
  /// Acknowledges an interrupt and returns its cause. An interrupt handler may call it.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return set_.acknowledge_interrupt(); }
  /// Reads the device's status. `needs_reset`: the device has failed and was reset. Other errors: `not_started`;
  /// `device_broken` (the device does not reset and keeps the storage).
  [[nodiscard]] result<void> check() {
    return set_.check([this](errc why) { return bring_down(why); });
  }
  /// Resets the device. Errors: `not_started`; `device_broken` (it keeps the storage); `timed_out` (it has no memory).
  [[nodiscard]] result<void> reset() {
    return set_.reset([this](errc why) { return bring_down(why); });
  }
  /// Resets as `reset`, and takes the device off the bus.
  [[nodiscard]] result<void> hand_off() {
    return set_.hand_off([this](errc why) { return bring_down(why); });
  }

 private:
  enum class showing_state : u8 { no, yes, of_a_port_that_went };
  struct port_data {
    in_pool in{};
    out_pool out{};
    // A buffer that has arrived, of which bytes `from` to `to` are unread; others wait in the queue
    buffer_index held{};
    u32 from = 0, to = 0;
    showing_state showing{};  // receive_with shows the held buffer, which must not be returned meanwhile

    [[nodiscard]] const_bytes unread() const { return {in.payload(held) + from, to - from}; }
  };

  [[nodiscard]] const device_lifecycle<P, T>& lifecycle() const { return set_.lifecycle(); }
  [[nodiscard]] const T& registers() const { return lifecycle().session().transport(); }
  [[nodiscard]] result<void> find(u16 port) const {
    VIRTIO_TRY(lifecycle().ready());
    return port < ports_.count() && ports_[port].is_present ? errc::ok : errc::not_found;
  }
  [[nodiscard]] bool has_room(u16 port) {
    return port_data_[port].out.has_free() && set_[transmit_queue(port)].reserve();
  }
  [[nodiscard]] result<void> send_open(u16 port, u16 value) {
    VIRTIO_TRY(find(port));
    if (const errc problem = ports_.send_open(set_, port, value); problem != errc::ok) return bring_down(problem);
    return {};
  }

  // Holds the next buffer that has arrived. `came` becomes true if there was any, even an empty one. Errors:
  // `not_ready`; `device_misbehaved` (the device is down).
  [[nodiscard, gnu::noinline]] errc fetch(u16 port, bool& came) {
    port_data& one = port_data_[port];
    // Empty buffers are returned at once, and may arrive again: the loop bounds their number in one call.
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
  // The result of a call that receives, after the device has its buffers again.
  [[nodiscard]] result<usize> received(u16 port, errc got, usize count) {
    if (lifecycle().is_up()) {
      set_.kick(receive_queue(port));
      if (got == errc::not_ready) set_.found_nothing();
    }
    if (got != errc::ok) return got;
    return count;
  }

  // Returns buffers received for a port that is absent, so that a later port with the same number does not receive
  // their bytes.
  [[gnu::noinline]] void drop_received(u16 port) {
    port_data& one = port_data_[port];
    if (one.showing != showing_state::no) one.showing = showing_state::of_a_port_that_went;
    else if (!one.held.is_none()) give_back(port);
    buffer_index buffer;
    u32 length = 0;
    for (u32 taken = 0; taken < ring::slots; ++taken) {  // bounds a flood; the next look reports an invalid completion
      if (in_pool::arrived(set_[receive_queue(port)], buffer, length) != errc::ok) break;
      one.in.give_back(buffer);
    }
    one.in.post(set_[receive_queue(port)]);
  }

  // Takes completions of all queues: of each port at most one buffer, since only that one is read next.
  [[nodiscard, gnu::noinline]] errc look(bool& came) {
    for (u16 i = 0; i < ports_.count(); ++i) {
      if (!ports_[i].is_present) {
        drop_received(i);
        set_.kick(receive_queue(i));
      } else if (port_data_[i].held.is_none()) {
        if (const errc got = fetch(i, came); got != errc::ok && got != errc::not_ready) return got;
        set_.kick(receive_queue(i));
      }
      if (const errc got = port_data_[i].out.collect(set_[transmit_queue(i)], came); got != errc::ok)
        return bring_down(got);
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
