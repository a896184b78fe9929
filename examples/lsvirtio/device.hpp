// SPDX-License-Identifier: MIT
// A device's features, queues and configuration, read without a driver. The device is reset before and afterwards. No
// feature is accepted (only VERSION_1, of input devices), since some hosts (crosvm) remember accepted features.
#pragma once

#include <virtio/device/session.hpp>

#include "config.hpp"
#include "pci.hpp"

namespace lsvirtio {

/// Returns the offered features. QEMU's MMIO devices have two words of features, and return the second one for every
/// further word.
template <class Transport>
[[nodiscard]] virtio::feature_set features_of(writer& out, const Transport& transport) {
  virtio::feature_set offered = transport.device_features(transport.is_legacy() ? 1 : 4);
  if (offered.word(1) != 0 && offered.word(2) == offered.word(1) && offered.word(3) == offered.word(1)) {
    out.text("feature_words_repeat", "words 2 and 3 are as word 1: the host has no such words");
    offered.set_word(2, 0);
    offered.set_word(3, 0);
  }
  return offered;
}

inline void show_features(writer& out, const virtio::feature_set& offered, virtio::device_type type) {
  out.words("features");
  for (u8 bit = 0; bit < 128; ++bit)
    if (offered.has_bit(bit)) show_feature(out, nullptr, bit, type);
  out.close();
  out.text("feature_words", digits{offered.word(3), 8}, " ", digits{offered.word(2), 8}, " ",
           digits{offered.word(1), 8}, " ", digits{offered.word(0), 8});
}

template <class Transport>
void show_queues(writer& out, Transport& transport) {
  constexpr u16 most = 128;
  out.words("queues");  // entries of each, from queue 0 on
  u16 n = 0;
  for (; n < most; ++n) {
    const virtio::queue_limits limits = transport.queue(n);
    if (limits.maximum == 0) break;
    out.number(nullptr, limits.maximum);
  }
  out.close();
  if (n == most) out.text("more_queues", "there may be more than ", most);
}

/// An input device's answer to a query: its configuration contains one answer, to the query that was written there
/// (5.8.4). `size` 0: no answer.
struct input_answer {
  static constexpr usize most = 128;
  u8 bytes[most];
  usize size;

  [[nodiscard]] u64 half_word(usize at) const { return number_in(bytes + at, 2); }
};

template <class Transport>
void ask_input(const Transport& transport, u8 select, u8 subsel, input_answer& out) {
  out.size = 0;
  if (!transport.config_write(0, select) || !transport.config_write(1, subsel)) return;
  const auto size = transport.template config<u8>(2);
  if (size && *size <= out.most && read_by<virtio::by_byte, u8>(transport, 8, *size, out.bytes)) out.size = *size;
}

/// Prints an input device's name, its ids, and the types of its events.
template <class Transport>
void show_input(writer& out, Transport& transport) {
  constexpr u8 id_name = 1, id_serial = 2, id_devids = 3, ev_bits = 0x11;
  static input_answer answer;  // kept off the stack
  const auto show_string = [&](const char* key, u8 select) {
    ask_input(transport, select, 0, answer);
    usize length = answer.size;
    while (length != 0 && answer.bytes[length - 1] == 0) --length;  // QEMU counts the terminator
    if (length != 0) out.text(key, boot::text{reinterpret_cast<const char*>(answer.bytes), length});
  };
  show_string("input_name", id_name);
  show_string("input_serial", id_serial);
  ask_input(transport, id_devids, 0, answer);
  if (answer.size >= 8) {
    out.line("input_ids");
    out.hex("bustype", answer.half_word(0));
    out.hex("vendor", answer.half_word(2));
    out.hex("product", answer.half_word(4));
    out.hex("version", answer.half_word(6));
    out.close();
  }
  out.words("input_events");
  for (const bit_name& one : input_event_types) {
    ask_input(transport, ev_bits, one.bit, answer);
    if (answer.size != 0) out.word(one.name);
  }
  out.close();
  (void)transport.config_write(0, u8{0});
}

/// The register interfaces of a device, and the one that a driver uses.
template <class Found>
[[nodiscard]] const char* kind_of(const Found& one) {
  switch (one.seen.via) {
    case virtio::transport_kind::pci_modern:
      if constexpr (requires { one.may_be_legacy; }) return one.may_be_legacy ? "transitional" : "modern";
      else return "modern";
    case virtio::transport_kind::pci_legacy: return "legacy";
    case virtio::transport_kind::mmio_modern: return "mmio version 2";
    case virtio::transport_kind::mmio_legacy: return "mmio version 1";
    case virtio::transport_kind::none: break;
  }
  return "none";
}

/// A platform without a policy for restricted addresses, as one for machines without an IOMMU may be.
template <class Board>
struct refusing : Board {
  static constexpr virtio::access_policy access_platform = virtio::access_policy::refuse;
};

/// Checks a device with ACCESS_PLATFORM, whose addresses pass an IOMMU or reach shared memory only, on a platform that
/// does not support that.
template <class Board, class Transport, class Found>
void show_refusal(writer& out, const Board& board, const Found& one) {
  virtio::session<refusing<Board>, Transport> refused{};
  if (!refused.open({board}, one, one.seen.type)) return;
  out.open("without_access_platform");
  if (refused.negotiate({})) (void)refused.reset();  // it works without ACCESS_PLATFORM
  show_report(out, refused.why());
  refused.leave();
  out.close();
}

/// Reports on a device that discovery has found usable.
template <class Board, class Transport, class Found>
void show_device(writer& out, const Board& board, const Found& one) {
  out.open("device");
  out.text("type", type_name(one.seen.type));
  out.number("type_number", static_cast<u16>(one.seen.type));
  out.text("interface", kind_of(one));
  virtio::session<Board, Transport> looker{};
  if (const auto opened = looker.open(board, one, one.seen.type); !opened) {
    show_report(out, looker.why());
    return out.close();
  }
  bool wants_access = false;
  auto done = looker.reset();
  if (!done) {
    // A driver would fail here too.
    out.text("reset", looker.answers() ? "does not end" : "the device's decoding cannot be switched on");
    out.hex("status", looker.why().status);
  }
  if (looker.answers()) {
    Transport& transport = looker.transport();
    transport.set_status(virtio::status::acknowledge);
    transport.set_status(virtio::status::acknowledge | virtio::status::driver);
    const virtio::feature_set offered = features_of(out, transport);
    show_features(out, offered, one.seen.type);
    show_queues(out, transport);
    if (!transport.is_legacy()) out.number("config_generation", transport.config_generation());
    show_config(out, transport, offered);
    // Configuration may be written only after FEATURES_OK.
    if (one.seen.type == virtio::device_type::input && looker.negotiate({})) show_input(out, transport);
    done = looker.reset();
    wants_access = offered.has(virtio::feature::access_platform);
  }
  looker.leave();
  if (wants_access) show_refusal<Board, Transport>(out, board, one);
  out.close();
}

}  // namespace lsvirtio
