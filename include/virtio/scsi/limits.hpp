// SPDX-License-Identifier: MIT
// The limits of a SCSI host, from its configuration: size of one command, number of commands, possible addresses.
// Spec: virtio 1.4, 5.6.4. Layer: scsi.
#pragma once

#include <virtio/device/session.hpp>
#include <virtio/platform/dma.hpp>
#include <virtio/scsi/protocol.hpp>

namespace virtio::scsi {

/// The limits. All-zero until `read`.
class limits {
 public:
  /// Reads the limits of a device whose features are negotiated. The driver and its queue allow `pieces` pieces of data
  /// in one command, and `slots` commands. Errors: those of the transport; `unsupported` (the sizes of sense data and
  /// commands are not those after a reset (5.6.4), which the layout of requests requires): `why` names it.
  template <class Session>
  [[nodiscard]] result<void> read(Session& session, u16 pieces, u32 slots, verdict& why) {
    snapshot said;
    auto& transport = session.transport();
    const auto fill_in = [&transport](snapshot& all) -> result<void> {
      for (u32 i = 0; i < fields; ++i) {
        if (i == target) {
          VIRTIO_TRY_ASSIGN(all.of[i], read_field(transport, config::max_target));
        } else {
          VIRTIO_TRY_ASSIGN(all.of[i], read_field(transport, config_field<u32>{config::num_queues.offset + 4 * i}));
        }
      }
      return {};
    };
    const auto of = [&said](config_field<u32> field) { return said.of[field.offset / 4]; };
    why = verdict::config_unreadable;
    VIRTIO_TRY(read_config(transport, said, fill_in));
    why = verdict::limits_unusable;
    if (of(config::sense_size) != sense_bytes || of(config::cdb_size) != cdb_bytes) return errc::unsupported;
    // Zero means no value: use the minimum of any device, or no limit.
    const auto at_least_one = [](u32 value) { return value == 0 ? 1u : value; };
    segments_ = static_cast<u16>(virtio::detail::smaller(u32{pieces}, at_least_one(of(config::seg_max))));
    most_commands_ = static_cast<u16>(virtio::detail::smaller(slots, at_least_one(of(config::cmd_per_lun))));
    const u32 sectors = of(config::max_sectors);
    largest_ = sectors == 0 ? largest_transfer
                            : virtio::detail::smaller(sectors, largest_transfer / config_sector) * config_sector;
    last_target_ = static_cast<u8>(virtio::detail::smaller(said.of[target], u32{scsi::last_target}));
    last_lun_ = static_cast<u16>(virtio::detail::smaller(of(config::max_lun), u32{scsi::last_lun}));
    return {};
  }

  /// Maximum pieces of data in one command.
  [[nodiscard]] u16 segments() const { return segments_; }
  /// Maximum pieces of a whole request: its data, a command and a response.
  [[nodiscard]] u16 pieces() const { return static_cast<u16>(segments_ + 2); }
  /// Maximum bytes of data in one command.
  [[nodiscard]] u32 largest() const { return largest_; }
  /// Maximum commands in flight, of all units together. It is at most the limit of one unit.
  [[nodiscard]] u16 most_commands() const { return most_commands_; }
  /// The last possible target.
  [[nodiscard]] u8 last_target() const { return last_target_; }
  /// The last possible number of a unit.
  [[nodiscard]] u16 last_lun() const { return last_lun_; }

 private:
  static constexpr u32 config_sector = 512;  // max_sectors counts these

  static constexpr u32 fields = 9;  // at multiples of four bytes
  static constexpr u32 target = 7;  // the exception: two bytes, after max_channel, which is not read

  struct snapshot {
    u32 of[fields]{};
    [[nodiscard]] friend constexpr bool operator==(const snapshot&, const snapshot&) = default;
  };

  u32 largest_ = 0;
  u16 segments_ = 0;
  u16 most_commands_ = 0;
  u16 last_lun_ = 0;
  u8 last_target_ = 0;
};

}  // namespace virtio::scsi
