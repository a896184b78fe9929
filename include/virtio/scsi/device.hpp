// SPDX-License-Identifier: MIT
// SCSI host driver: access to the logical units of a virtio device, disks and CD drives. `device` brings the host up,
// finds its units, sends commands and reports how they ended; scsi/unit.hpp is one unit with the calls of a disk.
//
// A request is a chain: a command that the device reads, the user's data, and a response that the device writes, which
// is before the data if the device writes the data too. Commands and responses are in DMA storage, one of each per slot
// of the queue. Task management has a queue of its own, which aborts commands that take too long. A third queue
// delivers events: units that were added, removed or changed. A call that waits repeats a command that the unit could
// not process yet, within bounds. Commands submitted by the engine are returned as they ended.
//
// Elsewhere: commands and their answers (scsi/commands.hpp), how they fail (scsi/sense.hpp), the place of the driver's
// parts of requests (scsi/cells.hpp), the host's limits (scsi/limits.hpp), events (scsi/events.hpp), and the calls that
// all drivers of requests share (device/request_driver.hpp).
// Spec: virtio 1.4, 5.6. Layer: scsi (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/device/request_driver.hpp>
#include <virtio/device/side_queues.hpp>
#include <virtio/scsi/cells.hpp>
#include <virtio/scsi/events.hpp>
#include <virtio/scsi/limits.hpp>

namespace virtio::scsi {

/// What the driver does about a command that takes longer than the platform waits.
enum class late_command : u8 {
  /// Resets the unit or, if that fails, the host. The unit's other commands end as `canceled`.
  resets_unit,
  /// Aborts the command by ABORT TASK; if that fails, as above. Not for QEMU 10.0 and 10.1 (Debian 13): in an ABORT
  /// TASK of a command in progress they take a lock twice, and the whole machine hangs.
  abort,
  /// Resets the host, as blk::device: all requests end. A program without a call of `abort` or `reset_unit` then has no
  /// task management.
  resets_host,
};

/// Choices that change a driver's layout.
struct options {
  u16 segments = 16;  // maximum number of pieces of memory in the data of one command; the device may allow fewer
  u16 units = 64;     // maximum number of units of one target that a scan finds
  late_command late = late_command::resets_unit;  // what to do if a command exceeds the platform's wait
};

/// The end of one command. The caller owns the buffers again, whatever the status.
struct done {
  token which{};           // as `submit_*` returned it
  u64 cookie = 0;          // as `submit_*` received it
  errc status = errc::ok;  // `ok`, or `error_of(how)`; `canceled` if a reset came first
  failure how{};           // the details
};

template <class Device>
class reader;
template <class Device>
class unit;

/// A SCSI host, driven through transport `T` with queues `Q` on platform `P`. All bytes are zero until `start`. One
/// context owns it and its units; an interrupt handler may call only `acknowledge_interrupt`, and
/// with `pci::windowed` not even that.
template <platform P, transport T, queue_format Q, options O = options{}>
class device : public request_driver<device<P, T, Q, O>, done> {
  using base = request_driver<device, done>;
  friend base;
  friend class reader<device>;
  friend class unit<device>;
  static_assert(O.segments >= 1 && O.units >= 12, "a list of 12 units is the room for the other answers of a unit");
  static_assert(O.segments <= 0xfffd,
                "a request has a command and a response besides its segments, 65535 pieces in all");

  using set = queue_set<P, T, Q, 1>;  // of requests
  using side_set = side_queues<set, 2>;
  using ring = typename set::ring_type;
  using barriers = typename P::barriers;
  using events = event_buffers<ring, barriers>;
  static constexpr usize sides_at = set::dma_bytes, events_at = sides_at + side_set::dma_bytes,
                         cells_at = events_at + events::dma_bytes;
  using cells = request_cells<cells_at, ring::order, ring::slots, O.units>;
  // Descriptors of the longest chain: a request and its response (5.6.6.2); a buffer for an event (5.6.6.3); a command,
  // data and a response (5.6.6.1).
  static constexpr u16 fewest_descriptors[queue_numbers] = {2, 1, 3};
  static constexpr u32 longest_list = O.segments + 2u;  // data, a command and a response
  static_assert(cells_at + cells::exact_bytes < 0x8000'0000, "the DMA storage of a scsi::device must stay below 2 GiB");

 public:
  using location = typename T::location;  // what discovery returns for the device
  using base::features;

  /// Bytes of DMA storage that this type needs: `constinit virtio::dma_storage<host_t::dma_bytes> host_dma;`
  static constexpr usize dma_bytes = cells_at + cells::bytes;

  /// Brings the host up: reset, features, queues, limits, DRIVER_OK. Finds no unit yet. `storage` belongs to the device
  /// until `reset` or `hand_off` succeeds, or until `start` fails with any error except `device_broken`. `start` may be
  /// called again at any time; units must then be opened again. Errors and waits: as `blk::device::start`.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts = {}) {
    static constexpr feature_plan plan{.wanted = feature_set{feature::hotplug, feature::change}};
    dma_area area;
    commands_out_ = 0;
    for (bool& one : managing_) one = false;
    ++starts_;
    VIRTIO_TRY(requests_.forget(set_));
    sides_.forget();
    VIRTIO_TRY(set_.begin(platform, where, storage, dma_bytes, device_type::scsi, plan, interrupts, area));
    VIRTIO_TRY(set_.set_up(0, request_queue_number, area, interrupts, fewest_descriptors[request_queue_number]));
    for (u16 queue = 0; queue < request_queue_number; ++queue)
      VIRTIO_TRY(sides_.set_up(set_, queue, queue, area.part(sides_at + set::ring_bytes * queue, set::ring_bytes),
                               interrupts, fewest_descriptors[queue]));
    cells_ = cells{area};
    cells_.clear();
    events_.forget();

    verdict wrong;
    const u16 pieces = virtio::detail::smaller(static_cast<u16>(set_[0].longest_chain() - 2), O.segments);
    if (const auto said = limits_.read(set_.session(), pieces, ring::slots, wrong); !said)
      return set_.refuse(wrong, said.error());
    set_.go();
    return {};
  }

  /// Searches every target for units, and calls `take(found)` for each. Returns their number. If a target lists its
  /// units, the first `options::units` of the list are used. If it has no list, numbers from 0 on are tried up to the
  /// first without a unit.
  ///
  /// Waits, for at least one command per target: 256 of them at QEMU's host. A unit's failure of an inquiry is not an
  /// error; the unit counts as absent, or as without a list. Errors: `queue_full` (the program's own commands fill the
  /// queue); `timed_out` (a target does not answer: `scan_target` searches the others); those of the device, as of
  /// `unit::read`.
  template <callable_with<found> F>
  [[nodiscard]] result<u32> scan(F&& take) {
    u32 count = 0;
    for (u32 target = 0; target <= limits_.last_target(); ++target) {
      VIRTIO_TRY_ASSIGN(const u32 here, scan_target(static_cast<u8>(target), take));
      count += here;
    }
    return count;
  }
  /// The same for one target, for example after an event about it.
  template <callable_with<found> F>
  [[nodiscard]] result<u32> scan_target(u8 target, F&& take) {
    unit_list list;
    VIRTIO_TRY(list_units(target, list));
    u32 found_here = 0;
    for (u32 i = 0; i < list.count; ++i) {
      const auto one = inquire({.lun = list.numbers[i], .target = target});
      if (one) {
        take(*one);
        ++found_here;
      } else if (!is_answer(one.error())) {
        return one.error();
      } else if (list.is_guess) {
        break;  // numbers are tried one by one, and this is the end
      }
    }
    return found_here;
  }
  /// Returns what is at an address. Waits. Errors: `not_found`; `invalid_argument` (no unit has such a number); as
  /// `unit::read`.
  [[nodiscard]] result<found> inquire(address where) {
    if (where.lun > last_lun) return errc::invalid_argument;
    if (const errc how = ask(lun_of(where), inquiry, 36); how != errc::ok) return how;
    const u8 first = static_cast<u8>(answered(0, 1));
    if (first >> 5 != 0) return errc::not_found;  // another qualifier: a unit is possible, but absent
    found one{where, static_cast<kind>(first & 0x1f)};
    for (u32 i = 0; i < sizeof one.vendor; ++i) one.vendor[i] = static_cast<char>(answered(8 + i, 1));
    for (u32 i = 0; i < sizeof one.product; ++i) one.product[i] = static_cast<char>(answered(16 + i, 1));
    return one;
  }
  /// Copies a unit's serial without surrounding blanks: its serial number page (VPD 80h) or, without such a page, the
  /// first ASCII text of its device identification page (83h). Returns the serial's length, up to 100 bytes; bytes that
  /// do not fit into `into` are left out. Waits. Errors: `unsupported` (the unit has neither); `not_found` (no such
  /// target); `invalid_argument` (no unit has such a number); as `unit::read`.
  [[nodiscard]] result<usize> get_serial(address where, bytes into) {
    if (where.lun > last_lun) return errc::invalid_argument;
    VIRTIO_TRY_ASSIGN(const u32 size, ask_page(lun_of(where), serial_page));
    if (const usize length = copy_text(page_head, size, into); length != 0) return length;
    VIRTIO_TRY_ASSIGN(const u32 all, ask_page(lun_of(where), identification_page));
    constexpr u32 head = 4;  // code set; association and kind; reserved; length
    for (u32 at = page_head; at + head <= page_head + all;) {
      const u32 length = static_cast<u32>(answered(at + 3, 1));
      if (length > page_head + all - at - head) break;
      // The vendor's own text, or a vendor's name followed by such a text, for the unit rather than its port or target.
      const bool is_text = (answered(at, 1) & 0x0f) == 2 && (answered(at + 1, 1) & 0x3e) == 0;
      if (const usize copied = is_text ? copy_text(at + head, length, into) : 0; copied != 0) return copied;
      at += head + length;
    }
    return errc::unsupported;
  }

  /// The details of the last command whose end a call has returned.
  [[nodiscard]] const failure& last_failure() const { return last_failure_; }
  /// The last UNIT ATTENTION of any command, including commands that a waiting call repeated. All-zero: none.
  [[nodiscard]] const failure& last_attention() const { return attention_; }

  /// The next event, without waiting. The first call of this function or of `arm` gives the device buffers for events:
  /// the device reports that earlier events were missed. Errors: `not_ready`; `not_started`, `device_misbehaved`.
  [[nodiscard]] result<event> next_event() {
    VIRTIO_TRY(set_.ready());
    post_events();
    event one;
    const errc got = events_.next(sides_[event_queue], one);
    if (got != errc::ok) return got == errc::not_ready ? got : requests_.bring_down(set_, got);
    post_events();
    return one;
  }

  /// Aborts a command by ABORT TASK or, if that fails, by a reset of its unit, which also ends the unit's other
  /// commands. `next_completion` or `wait` still returns the command, as `canceled`, or as done if it was faster. Kicks
  /// first, since the device aborts only commands that it has seen. A host that serves its queues in several threads
  /// may see the command after the abort and execute it then. Waits. Errors: `stale_handle`; `unsupported`, `io_error`
  /// (the device did neither); as `unit::read`.
  [[nodiscard]] result<void> abort(token which) {
    if (!set_[0].is_live(which)) return errc::stale_handle;
    requests_.kick(set_);
    const errc how = control(task_function::abort_task, who_[which.slot].lun, which.slot);
    if (how == errc::ok || !set_.is_up()) return how;
    // A device also rejects it if the command has ended meanwhile; the unit's other commands must not be reset then.
    const errc ended = requests_.look_for(set_, which);
    if (ended != errc::not_ready) return ended;
    return control(task_function::logical_unit_reset, who_[which.slot].lun, 0);
  }
  /// Resets a unit: its commands end as `canceled`, including staged ones, with the exception described at `abort`.
  /// Waits. Errors: `not_found`; `invalid_argument` (no unit has such a number); as `abort`.
  [[nodiscard]] result<void> reset_unit(address where) {
    if (where.lun > last_lun) return errc::invalid_argument;
    requests_.kick(set_);
    return control(task_function::logical_unit_reset, lun_of(where), 0);
  }

  /// Requests an interrupt at the next completion or event. True: work is already present, so check again before
  /// sleeping.
  [[nodiscard]] bool arm() {
    if (set_.is_up()) post_events();
    const bool some = sides_.arm(set_, event_queue);
    return requests_.arm(set_) || some;
  }

  /// Requests no interrupts. A hint: one may still arrive.
  void disarm() {
    base::disarm();
    sides_.disarm(set_);
  }

  /// Waits for one command. Others that end meanwhile are kept for `next_completion`. If the command exceeds the
  /// platform's wait, `options::late` decides what happens; if neither the command nor its unit can be reset in time,
  /// the device is reset. Errors: as `unit::read`, `stale_handle`.
  [[nodiscard]] result<void> wait(token which) { return end_of(which, owner::user); }

 private:
  using base::await;

  // Commands ----------------------------------------------------------------------------------------------------------

  /// Makes a chain of command, data and response. If fewer bytes of a program's data than requested are transferred,
  /// that is a failure.
  template <class Data>
  [[nodiscard]] result<token> submit(u32 lun, command what, const Data& from, direction way, u64 cookie) {
    if (commands_out_ >= limits_.most_commands()) [[unlikely]]
      return set_.is_up() ? errc::queue_full : errc::not_started;
    VIRTIO_TRY_ASSIGN(const u16 slot, requests_.reserve(set_));
    segment room[longest_list];
    segments chain{room, limits_.pieces()};
    const bool is_read = way == direction::from_device;
    chain.append(cells_.command_at(slot), sizeof(command_bytes), direction::to_device);
    if (is_read) append_response(chain, slot);
    const u16 first = chain.size();
    VIRTIO_TRY(add(chain, first, slot, from, way));
    const bool is_users = maps(from);
    const u16 pieces = is_users ? static_cast<u16>(chain.size() - first) : u16{0};
    if (!is_read) append_response(chain, slot);
    cells_.write(slot, lun, what);
    who_[slot] = {lun, is_users};
    const result<token> staged = requests_.stage(set_, slot, chain, first, pieces, cookie);
    if (staged) [[likely]]
      ++commands_out_;
    return staged;
  }
  using command_bytes = u8[__builtin_offsetof(command_cells<byte_order::little>, cdb) + cdb_bytes];
  VIRTIO_NOINLINE_FOR_SIZE void append_response(segments& chain, u16 slot) const {
    chain.append(cells_.response_at(slot), sizeof(response_cells<byte_order::little>), direction::from_device);
  }
  /// Whether data is the user's, not in the driver's own memory: it is then mapped, and a short transfer is a failure.
  [[nodiscard]] bool maps(bytes from) const { return from.data() != cells_.room_bytes() && !from.empty(); }
  template <class Range>
  [[nodiscard]] static bool maps(const scatter<Range>&) {
    return true;
  }
  [[nodiscard]] static bool maps(const unmap_list&) { return false; }

  /// The number of the driver's own pieces after the data, of a command and a response, if `first` of them are before
  /// it.
  [[nodiscard]] static constexpr u16 behind(u16 first) { return static_cast<u16>(2 - first); }
  template <class Range>
  [[nodiscard]] result<void> add(segments& chain, u16 first, u16, const scatter<Range>& from, direction way) const {
    return requests_.add(set_, chain, first, behind(first), from, way);
  }
  [[nodiscard]] result<void> add(segments& chain, u16 first, u16, bytes from, direction way) const {
    if (from.data() != cells_.room_bytes()) return requests_.add(set_, chain, first, behind(first), from, way);
    chain.append(cells_.room_at(), static_cast<u32>(from.size()), way);
    return {};
  }
  [[nodiscard]] result<void> add(segments& chain, u16, u16 slot, const unmap_list& list, direction way) const {
    cells_.write_list(slot, list);
    chain.append(cells_.list_at(slot), unmap_list_bytes, way);
    return {};
  }

  /// Reads a command's response and releases its slot.
  [[nodiscard]] errc finish(const answer& ended) {
    errc how = ended.error;
    last_failure_ = failure{};
    if (how == errc::ok) {
      const u32 residual = cells_.template fetch<barriers>(ended.what.which.slot, sense_bytes, last_failure_);
      last_failure_.is_short = who_[ended.what.which.slot].has_user_data && residual != 0;
      how = error_of(last_failure_);
      if (last_failure_.sense.key == sense_key::unit_attention) attention_ = last_failure_;
      if (is_change(last_failure_)) changed_[changes_++ % changes_kept] = who_[ended.what.which.slot].lun;
    }
    requests_.finish(set_, ended, how == errc::ok ? 0xffffffffu : 0);
    --commands_out_;
    return how;
  }
  [[nodiscard]] result<done> done_of(errc got, const answer& ended) {
    if (got != errc::ok) return got;
    const errc how = finish(ended);
    return done{ended.what.which, ended.what.cookie, how, last_failure_};
  }

  /// Waits for a command's end, and aborts it if that takes too long.
  [[nodiscard]] errc end_of(token which, owner whose) {
    answer ended;
    if constexpr (O.late == late_command::resets_host) {
      const errc waited = base::await(which, whose, ended);
      return waited == errc::ok ? finish(ended) : waited;
    } else {
      if (!requests_.is_live(set_, which)) return errc::stale_handle;
      errc problem = requests_.watch(set_, which, waiting::request, ended);
      const bool late = problem == errc::timed_out;
      if (late) problem = rescue(which, ended);
      if (problem != errc::ok) {
        if (const errc kept = requests_.give_up(set_, which, problem, ended, whose); kept != errc::ok) return kept;
      }
      const errc how = finish(ended);
      return late && how != errc::ok && ended.error == errc::ok ? errc::timed_out : how;
    }
  }
  /// Ends a command that takes too long, by task management. Errors: `timed_out` (the device does neither); the reason
  /// why it went down.
  [[nodiscard, gnu::cold, gnu::noinline]] errc rescue(token which, answer& ended) {
    for (u32 attempt = O.late == late_command::abort ? 0 : 1; attempt < task_functions; ++attempt) {
      const errc how = control(attempt == 0 ? task_function::abort_task : task_function::logical_unit_reset,
                               who_[which.slot].lun, which.slot);
      if (!set_.is_up()) return how;
      // A device that rejects either may do so because the command has ended.
      const errc got = requests_.look_for(set_, which);
      if (got == errc::ok) return requests_.watch(set_, which, waiting::request, ended);
      if (got != errc::not_ready) return got;
    }
    return errc::timed_out;
  }

  /// Whether a unit has reported a change since all units had reported `since` changes. The units of the last
  /// `changes_kept` changes are recorded.
  [[nodiscard, gnu::cold, gnu::noinline]] bool has_changed(u32 lun, u32 since) const {
    if (changes_ - since > changes_kept) return true;
    for (; since != changes_; ++since)
      if (changed_[since % changes_kept] == lun) return true;
    return false;
  }

  /// What to do with a command that ends in a report of a change: its medium may be another one.
  enum class on_change : u8 { end, repeat };

  /// Runs one command from submit to end, and again while the unit only requires a repeat.
  [[nodiscard, gnu::noinline]] errc run(u32 lun, command what, bytes data, direction way, on_change then) {
    constexpr u32 most_attentions = 16;
    u64 pauses = 0;
    u32 spell = 1;
    for (u32 attentions = 0;;) {
      const u32 changes = changes_;
      const result<token> sent = submit(lun, what, data, way, 0);
      if (!sent) return sent.error();
      const errc how = end_of(*sent, owner::call);
      const step next = then == on_change::end && changes_ != changes ? step::end : next_step(how);
      if (next == step::end || (next == step::again ? ++attentions > most_attentions : !pause(pauses, spell)))
        return how;
    }
  }
  /// Waits a little between two commands, longer each time, without a sleep: no interrupt signals that a unit is ready.
  /// On a board that polls, one pause is a few cycles. False: the platform ends the wait.
  [[nodiscard, gnu::cold, gnu::noinline]] bool pause(u64& pauses, u32& spell) const {
    for (u32 i = 0; i < spell; ++i)
      if (!set_.platform().keep_waiting(waiting::reset, pauses++)) return false;
    if (spell < 1024) spell *= 2;
    return true;
  }
  enum class step : u8 { end, again, later };
  [[nodiscard]] step next_step(errc how) const {
    if (how == errc::canceled && last_failure_.response == response::reset) return step::again;
    if (how != errc::not_ready) return step::end;
    // The unit reports each change once, and executes the command next time.
    if (last_failure_.sense.key == sense_key::unit_attention) return step::again;
    // Without a medium, or not started, the unit does not become ready by waiting. BUSY has no sense data.
    const bool becomes_ready = last_failure_.sense == sense{sense_key::not_ready, 0x04, 0x01};
    return last_failure_.sense.key != sense_key::not_ready || becomes_ready ? step::later : step::end;
  }

  /// Runs an inquiry of the driver's own. `answered` returns the bytes that arrived, and zeros for others.
  [[nodiscard]] errc ask(u32 lun, command what, u32 size) {
    if (!set_.is_up()) return errc::not_started;  // the storage may belong to another owner
    cells_.clear_room();
    return run(lun, what, room(size), direction::from_device, on_change::repeat);
  }
  [[nodiscard]] bytes room(u32 size) const { return {cells_.room_bytes(), size}; }
  // Unchecked: each caller handles every value.
  [[nodiscard]] u64 answered(u32 from, u32 size) const {
    return cells_.template answer<barriers>(from, size).unchecked();
  }

  /// Requests a page of vital product data. Returns how many bytes after its head are in the answer's memory; 0 if
  /// there is no such page. Some units send their standard data, whichever page is requested.
  [[nodiscard]] result<u32> ask_page(u32 lun, command page) {
    const errc how = ask(lun, page, page_bytes);
    if (how == errc::not_found || (how != errc::ok && !is_answer(how))) return how;
    if (how != errc::ok || answered(1, 1) != page_of(page)) return u32{0};
    return static_cast<u32>(virtio::detail::smaller(answered(2, 2), u64{page_bytes - page_head}));
  }
  /// Copies ASCII text from the answer without surrounding blanks, as much as fits. Returns the text's length; 0 if it
  /// is not text.
  [[nodiscard]] usize copy_text(u32 from, u32 size, bytes into) const {
    const auto at = [&](u32 i) { return static_cast<u8>(answered(from + i, 1)); };
    while (size != 0 && (at(size - 1) == ' ' || at(size - 1) == 0)) --size;
    for (; size != 0 && at(0) == ' '; --size) ++from;
    for (u32 i = 0; i < size; ++i) {
      const u8 c = at(i);
      if (c < 0x20 || c > 0x7e) return 0;
      if (i < into.size()) into.data()[i] = c;
    }
    return size;
  }
  static constexpr u32 page_head = 4;

  /// Whether an inquiry failed by the unit's answer. With other errors the command was not sent or got no answer.
  [[nodiscard]] bool is_answer(errc how) const {
    return how != errc::queue_full && how != errc::timed_out && set_.is_up();
  }

  /// The numbers of the units that a target may have. `is_guess`: it has no list, and these are the first numbers.
  struct unit_list {
    u16 numbers[O.units];
    u32 count = 0;
    bool is_guess = false;
  };
  [[nodiscard]] result<void> list_units(u8 target, unit_list& list) {
    const errc how = ask(lun_of({.target = target}), report_luns(cells::answer_bytes), cells::answer_bytes);
    if (how != errc::ok && !is_answer(how)) return how;
    if (how == errc::not_found) return {};
    if (how != errc::ok) {
      list.is_guess = true;
      list.count = virtio::detail::smaller(u32{O.units}, limits_.last_lun() + 1u);
      for (u32 i = 0; i < list.count; ++i) list.numbers[i] = static_cast<u16>(i);
      return {};
    }
    const u32 listed = static_cast<u32>(virtio::detail::smaller(answered(0, 4) / 8, u64{O.units}));
    for (u32 i = 0; i < listed; ++i) {
      // A number in SAM's peripheral form on bus 0, or in its flat form; other forms have several levels.
      const u32 lun = static_cast<u32>(answered(8 + 8 * i, 2));
      const bool is_flat = lun >> 14 == 1;
      if (is_flat || lun >> 8 == 0) list.numbers[list.count++] = static_cast<u16>(lun & last_lun);
    }
    return {};
  }

  // Task management and events ----------------------------------------------------------------------------------------

  /// Sends one request on the control queue. An ABORT TASK without an answer in time stays there, since its command's
  /// unit may still be reset: QEMU answers after the command has ended. Without an answer to the reset, the device goes
  /// down. Additional error: `busy` (an earlier ABORT TASK has no answer yet).
  [[nodiscard, gnu::noinline, gnu::cold]] errc control(task_function what, u32 lun, u64 id) {
    bool& is_out = managing_[index_of(what)];
    if (!set_.is_up()) return errc::not_started;
    if (is_out) {
      if (const errc got = take_managed(); got != errc::ok) return got;
    }
    if (is_out) return errc::busy;
    const auto slot = sides_[control_queue].reserve();
    if (!slot) return slot.error();
    cells_.write_control(what, lun, id);
    segment_list<2> chain;
    chain.append(cells_.control_request_at(what), sizeof(control_cells<byte_order::little>), direction::to_device);
    chain.append(cells_.control_response_at(what), 1, direction::from_device);
    if (const auto staged = sides_[control_queue].stage(*slot, chain, index_of(what)); !staged) return staged.error();
    is_out = true;
    sides_.kick(set_, control_queue);
    idle_polls idle;
    const auto look = [&](bool&) {
      const errc got = take_managed();
      if (got == errc::ok && is_out) sides_.found_nothing(set_, control_queue, idle);
      return got;
    };
    const auto arm = [&] {
      const bool some = sides_.arm(set_, control_queue);
      if (!some) sides_.found_nothing(set_, control_queue, idle, idle_polls::sleep);
      return some;
    };
    const errc waited = set_.wait_until(waiting::request, look, arm, [&is_out] { return !is_out; });
    if (waited == errc::timed_out && what == task_function::abort_task) return waited;
    if (waited != errc::ok) return set_.is_up() ? requests_.bring_down(set_, waited) : waited;
    switch (cells_.template control_response<barriers>(what)) {
      case response::ok:
      case response::function_succeeded: return errc::ok;
      case response::function_rejected: return errc::unsupported;
      case response::bad_target:
      case response::incorrect_lun: return errc::not_found;
      default: return errc::io_error;
    }
  }

  /// Takes answers that have arrived. Errors: those of the device, which is down.
  [[nodiscard]] errc take_managed() {
    for (completion one;;) {
      const errc got = sides_[control_queue].take(one);
      if (got != errc::ok) {
        if (got != errc::not_ready) return requests_.bring_down(set_, got);
        return errc::ok;
      }
      sides_[control_queue].release(one.which);
      managing_[one.cookie & 1] = false;
    }
  }

  void post_events() {
    if (events_.post(sides_[event_queue], cells_.storage(), events_at)) sides_.kick(set_, event_queue);
  }

  cells cells_{};
  limits limits_{};
  u32 starts_ = 0;
  u16 commands_out_ = 0;             // staged, in flight, or with an end that was not returned
  bool managing_[task_functions]{};  // requests that are on the control queue
  failure last_failure_{};
  failure attention_{};
  static constexpr u32 changes_kept = 4;
  u32 changes_ = 0;              // reported by any unit
  u32 changed_[changes_kept]{};  // the addresses of those units
  // The record of a slot's command.
  struct note {
    u32 lun = 0;
    bool has_user_data = false;
  };
  note who_[ring::slots]{};
  events events_{};
  side_set sides_{};
  request_queue<set, O.segments> requests_{};
  set set_{};  // last, since it ends in long tables: members near the start have shorter offsets
};

}  // namespace virtio::scsi
