// SPDX-License-Identifier: MIT
// The driver's own parts of requests in DMA memory. For each slot of the request queue: the command, a list of one
// extent, and the response. Once, for the driver's own commands, one of which is in flight at a time: memory for an
// answer, and a control request for each task management function.
// Spec: virtio 1.4, 5.6.6. Layer: scsi.
#pragma once

#include <virtio/platform/dma.hpp>
#include <virtio/scsi/commands.hpp>
#include <virtio/scsi/sense.hpp>

namespace virtio::scsi {

/// This memory, from `At` on in the driver's storage, for requests in byte order `Order` in `Slots` slots, with room
/// for a list of `Units`. A view; all-zero: of nothing.
template <usize At, byte_order Order, u32 Slots, u16 Units>
class request_cells {
  struct slot_cells {
    command_cells<Order> command;
    to_device<u8> list[unmap_list_bytes];
    response_cells<Order> response;
  };
  struct control {
    control_cells<Order> request;
    from_device<u8> response;
  };
  static constexpr usize answer_at = sizeof(slot_cells) * Slots;
  static constexpr usize control_at = virtio::detail::round_up(answer_at + list_bytes(Units), alignof(control));

 public:
  static constexpr u32 answer_bytes = list_bytes(Units);  // of the memory for answers
  /// Without padding between parts
  static constexpr u64 exact_bytes =
      u64{sizeof(slot_cells)} * Slots + answer_bytes + sizeof(control) * task_functions + alignof(control);
  static constexpr usize bytes = control_at + sizeof(control) * task_functions;  // with padding

  constexpr request_cells() = default;
  /// A view of `storage`.
  constexpr explicit request_cells(const dma_area& storage) : storage_{storage} {}
  /// All of the driver's storage.
  [[nodiscard]] const dma_area& storage() const { return storage_; }

  /// Clears commands and responses before the first command: `write` does not write the bytes of a command that are
  /// always zero.
  void clear() const {
    VIRTIO_SCALAR_LOOP
    for (usize i = At; i < At + answer_at; ++i) storage_.data[i] = 0;
  }

  // Addresses for the device.
  /// The slot's command.
  [[nodiscard]] dma_addr command_at(u16 slot) const { return at(slot) + __builtin_offsetof(slot_cells, command); }
  /// The slot's list of one extent.
  [[nodiscard]] dma_addr list_at(u16 slot) const { return at(slot) + __builtin_offsetof(slot_cells, list); }
  /// The slot's response.
  [[nodiscard]] dma_addr response_at(u16 slot) const { return at(slot) + __builtin_offsetof(slot_cells, response); }
  /// The memory for an answer.
  [[nodiscard]] dma_addr room_at() const { return storage_.at + (At + answer_at); }
  /// A control request.
  [[nodiscard]] dma_addr control_request_at(task_function what) const {
    return storage_.at + (At + control_at + sizeof(control) * index_of(what));
  }
  /// Its response.
  [[nodiscard]] dma_addr control_response_at(task_function what) const {
    return control_request_at(what) + __builtin_offsetof(control, response);
  }

  /// Writes the slot's command, and clears its response. The tag is the slot's number, so that no two requests in
  /// flight have the same one.
  void write(u16 slot, u32 lun, command what) const {
    slot_cells& cells = at_slot(slot);
    cells.command.lun.first.store(lun);
    cells.command.id.store(slot);
    VIRTIO_SCALAR_LOOP
    for (u32 i = 0; i < longest_command; ++i) {
      cells.command.cdb[i].store(static_cast<u8>(what.high >> 56));
      what.high = what.high << 8 | what.low >> 56;
      what.low <<= 8;
    }
    cells.response.sense_length.clear_before_use();
    cells.response.residual.clear_before_use();
    cells.response.response.clear_before_use(static_cast<u8>(response::unwritten));
  }
  /// Writes the slot's list of one extent.
  void write_list(u16 slot, const unmap_list& list) const {
    VIRTIO_SCALAR_LOOP
    for (u32 i = 0; i < unmap_list_bytes; ++i) at_slot(slot).list[i].store(list.bytes[i]);
  }
  /// Reads the response of the slot's request into `how`, which is all-zero, and returns the residual. At most as much
  /// sense data as fits is read.
  template <class Barriers>
  [[nodiscard]] u32 fetch(u16 slot, u32 sense_size, failure& how) const {
    const response_cells<Order>& cells = at_slot(slot).response;
    // Unchecked: the numbers are only compared with known ones.
    how.response = static_cast<response>(cells.response.template fetch<Barriers>().unchecked());
    const u32 residual = cells.residual.template fetch<Barriers>().unchecked();
    if (how.response != response::ok) return residual;
    how.status = static_cast<status>(cells.status.template fetch<Barriers>().unchecked());
    if (how.status != status::check_condition) return residual;
    const auto byte = [&cells](u32 i) { return cells.sense[i].template fetch<Barriers>().unchecked(); };
    parse_sense(byte, cells.sense_length.template fetch<Barriers>().clamped(sense_size), how.sense);
    return residual;
  }

  /// The memory for an answer, or for the data of a command of the driver's own.
  [[nodiscard]] u8* room_bytes() const { return storage_.data + (At + answer_at); }
  /// Writes a list of one extent there.
  void write_room(const unmap_list& list) const {
    VIRTIO_SCALAR_LOOP
    for (u32 i = 0; i < unmap_list_bytes; ++i) reinterpret_cast<to_device<u8>*>(room_bytes())[i].store(list.bytes[i]);
  }
  /// Clears the memory for an answer before a command; bytes that the device does not write stay zero.
  void clear_room() const {
    VIRTIO_SCALAR_LOOP
    for (u32 i = 0; i < answer_bytes; ++i) room()[i].clear_before_use();
  }
  /// Returns `size` bytes of an answer as one big-endian number.
  template <class Barriers>
  [[nodiscard, gnu::noinline]] untrusted<u64> answer(u32 from, u32 size) const {
    u64 value = 0;
    VIRTIO_SCALAR_LOOP
    for (u32 i = 0; i < size; ++i) value = value << 8 | room()[from + i].template fetch<Barriers>().unchecked();
    return untrusted<u64>{value};
  }

  /// Writes a control request, and clears its response.
  void write_control(task_function what, u32 lun, u64 id) const {
    control& cells = control_of(what);
    cells.request.type.store(task_management);
    cells.request.subtype.store(static_cast<u32>(what));
    cells.request.lun.store(lun);
    cells.request.id.store(id);
    cells.response.clear_before_use(static_cast<u8>(response::unwritten));
  }
  /// Reads the response of a control request.
  template <class Barriers>
  [[nodiscard]] response control_response(task_function what) const {
    return static_cast<response>(control_of(what).response.template fetch<Barriers>().unchecked());
  }

 private:
  [[nodiscard]] control& control_of(task_function what) const {
    return reinterpret_cast<control*>(storage_.data + (At + control_at))[index_of(what)];
  }
  [[nodiscard]] slot_cells& at_slot(u16 slot) const { return reinterpret_cast<slot_cells*>(storage_.data + At)[slot]; }
  [[nodiscard]] dma_addr at(u16 slot) const { return storage_.at + (At + sizeof(slot_cells) * slot); }
  [[nodiscard]] from_device<u8>* room() const {
    return reinterpret_cast<from_device<u8>*>(storage_.data + (At + answer_at));
  }

  dma_area storage_{};
};

}  // namespace virtio::scsi
