// SPDX-License-Identifier: MIT
// What a SCSI host takes, by its configuration: how much in one command, how many commands at once, which addresses there may be.
// Spec: virtio 1.4, 5.6.4. Layer: scsi.
#pragma once

#include <virtio/device/session.hpp>
#include <virtio/platform/dma.hpp>
#include <virtio/scsi/protocol.hpp>

namespace virtio::scsi {

/// All-zero until `read`.
class limits {
 public:
  /// Reads them from a device whose features are negotiated. A command's data has up to `pieces`, by what the driver and its queue hold, and
  /// `slots` commands are the most. Sizes of sense data and commands that somebody changed are put back to those of a device that was
  /// reset, which are part of the layout. Errors: those of the transport; `unsupported`, a size cannot be put back: `why` names it.
  template <class Session>
  [[nodiscard]] result<void> read(Session& session, u16 pieces, u32 slots, verdict& why) {
    snapshot said;
    auto& transport = session.transport();
    const auto fill_in = [&transport](snapshot& all) -> result<void> {
      for (u32 i = 0; i < 7; ++i) {
        VIRTIO_TRY_ASSIGN(all.of[i], read_field(transport, config_field<u32>{config::num_queues.offset + 4 * i}));
      }
      VIRTIO_TRY_ASSIGN(all.target, read_field(transport, config::max_target));
      VIRTIO_TRY_ASSIGN(all.lun, read_field(transport, config::max_lun));
      return {};
    };
    const auto of = [&said](config_field<u32> field) { return said.of[field.offset / 4]; };
    why = verdict::config_unreadable;
    VIRTIO_TRY(read_config(transport, said, fill_in));
    if (of(config::sense_size) != sense_bytes) VIRTIO_TRY(put_back(transport, config::sense_size, sense_bytes, why));
    if (of(config::cdb_size) != cdb_bytes) VIRTIO_TRY(put_back(transport, config::cdb_size, cdb_bytes, why));
    // Zero says nothing: as little as any device takes, or no limit of its own.
    const auto at_least_one = [](u32 value) { return value == 0 ? 1u : value; };
    segments_ = static_cast<u16>(virtio::detail::smaller(u32{pieces}, at_least_one(of(config::seg_max))));
    most_commands_ = static_cast<u16>(virtio::detail::smaller(slots, at_least_one(of(config::cmd_per_lun))));
    const u32 sectors = of(config::max_sectors);
    largest_ = sectors == 0 ? largest_transfer : virtio::detail::smaller(sectors, largest_transfer / config_sector) * config_sector;
    last_target_ = static_cast<u8>(virtio::detail::smaller(said.target, u32{scsi::last_target}));
    last_lun_ = static_cast<u16>(virtio::detail::smaller(said.lun, u32{scsi::last_lun}));
    return {};
  }

  /// Pieces of data in one command.
  [[nodiscard]] u16 segments() const { return segments_; }
  /// Bytes of data in one command.
  [[nodiscard]] u32 largest() const { return largest_; }
  /// Commands at once, of all units together: no unit has more than it may then.
  [[nodiscard]] u16 most_commands() const { return most_commands_; }
  [[nodiscard]] u8 last_target() const { return last_target_; }
  [[nodiscard]] u16 last_lun() const { return last_lun_; }

 private:
  static constexpr u32 config_sector = 512;  // max_sectors counts these

  struct snapshot {
    u32 of[7]{};  // the first fields, in their order
    u32 target = 0, lun = 0;
    [[nodiscard]] friend constexpr bool operator==(const snapshot&, const snapshot&) = default;
  };

  template <class Transport>
  [[nodiscard]] static result<void> put_back(Transport& transport, config_field<u32> field, u32 size, verdict& why) {
    VIRTIO_TRY(write_field(transport, field, size));
    VIRTIO_TRY_ASSIGN(const u32 now, read_field(transport, field));
    why = now == size ? why : verdict::limits_unusable;
    return now == size ? errc::ok : errc::unsupported;
  }

  u32 largest_ = 0;
  u16 segments_ = 0;
  u16 most_commands_ = 0;
  u16 last_lun_ = 0;
  u8 last_target_ = 0;
};

}  // namespace virtio::scsi
