// SPDX-License-Identifier: MIT
// Every device type of the specification as data: names, feature bits and configuration fields. The library has the
// feature names of types with a driver.
// Spec: virtio 1.4, 5. Types 30, 31 and 40 are as in Linux: the specification only reserves their numbers.
#pragma once

#include <virtio/base/types.hpp>

namespace lsvirtio {

using virtio::u16, virtio::u32, virtio::u64, virtio::u8, virtio::usize;

/// A row of constants; empty by default.
template <class T>
struct row_of {
  const T* data = nullptr;
  usize count = 0;

  constexpr row_of() = default;
  template <usize N>
  constexpr row_of(const T (&all)[N]) : data{all}, count{N} {}
  [[nodiscard]] constexpr const T* begin() const { return data; }
  [[nodiscard]] constexpr const T* end() const { return data + count; }
};

struct bit_name {
  u8 bit;
  const char* name;
};

enum class shown : u8 { number, hex, address, text };  // `address`: an Ethernet address

constexpr u8 always = 0xff, never = 0xfe;
constexpr u16 itself = 0xffff;

/// A field of a device's configuration: a number of 1, 2, 4 or 8 bytes, or `count` bytes.
struct field {
  u16 offset;
  u8 width;
  u8 needs;  // the feature bit without which the field does not exist
  const char* name;
  const char* unit = "";
  shown as = shown::number;
  u8 count = 1;
  u16 counted_by = itself;  // offset of a 2-byte number of valid elements, if not all are valid
  u8 or_needs = never;      // another feature with which it exists
  u8 unless = never;        // the feature bit with which it has no meaning
};

struct type_row {
  u16 type;
  const char* name;
  row_of<bit_name> features{};
  row_of<field> fields{};
};

// ---- configurations ----

inline constexpr field net_fields[] = {
    {0, 1, 5, "mac", "", shown::address, 6},
    {6, 2, 16, "status", " (1: link up, 2: announce)"},
    {8, 2, 22, "max_virtqueue_pairs", "", shown::number, 1, itself, 60},
    {10, 2, 3, "mtu", " bytes"},
    {12, 4, 63, "speed", " Mbit/s"},
    {16, 1, 63, "duplex"},
    {17, 1, 60, "rss_max_key_size", " bytes", shown::number, 1, itself, 57},
    {18, 2, 60, "rss_max_indirection_table_length"},
    {20, 4, 60, "supported_hash_types", "", shown::hex, 1, itself, 57},
    {24, 4, 51, "supported_tunnel_types", "", shown::hex},
};
inline constexpr bit_name blk_features[] = {{0, "BLK_BARRIER"}};  // legacy only
inline constexpr field blk_fields[] = {
    {0, 8, always, "capacity", " sectors of 512 bytes"},
    {8, 4, 1, "size_max", " bytes"},
    {12, 4, 2, "seg_max", " pieces"},
    {16, 2, 4, "geometry.cylinders"},
    {18, 1, 4, "geometry.heads"},
    {19, 1, 4, "geometry.sectors"},
    {20, 4, 6, "blk_size", " bytes"},
    {24, 1, 10, "topology.physical_block_exp", " (a power of two)"},
    {25, 1, 10, "topology.alignment_offset", " blocks"},
    {26, 2, 10, "topology.min_io_size", " blocks"},
    {28, 4, 10, "topology.opt_io_size", " blocks"},
    {32, 1, 11, "writeback", " (1: the write cache is on)"},
    {34, 2, 12, "num_queues"},
    {36, 4, 13, "max_discard_sectors", " sectors"},
    {40, 4, 13, "max_discard_seg", " extents"},
    {44, 4, 13, "discard_sector_alignment", " sectors"},
    {48, 4, 14, "max_write_zeroes_sectors", " sectors"},
    {52, 4, 14, "max_write_zeroes_seg", " extents"},
    {56, 1, 14, "write_zeroes_may_unmap"},
    {60, 4, 16, "max_secure_erase_sectors", " sectors"},
    {64, 4, 16, "max_secure_erase_seg", " extents"},
    {68, 4, 16, "secure_erase_sector_alignment", " sectors"},
    {72, 4, 17, "zoned.zone_sectors", " sectors"},
    {76, 4, 17, "zoned.max_open_zones"},
    {80, 4, 17, "zoned.max_active_zones"},
    {84, 4, 17, "zoned.max_append_sectors", " sectors"},
    {88, 4, 17, "zoned.write_granularity", " bytes"},
    {92, 1, 17, "zoned.model", " (1: host managed, 2: host aware)"},
};
inline constexpr field console_fields[] = {
    {0, 2, 0, "cols", " columns"},
    {2, 2, 0, "rows", " rows"},
    {4, 4, 1, "max_nr_ports", " ports"},
};
inline constexpr field balloon_fields[] = {
    {0, 4, always, "num_pages", " pages of 4096 bytes wanted"},
    {4, 4, always, "actual", " pages of 4096 bytes given"},
    {8, 4, 3, "free_page_hint_cmd_id"},
    {12, 4, 4, "poison_val", "", shown::hex},
};
inline constexpr field scsi_fields[] = {
    {0, 4, always, "num_queues", " request queues"},
    {4, 4, always, "seg_max", " pieces"},
    {8, 4, always, "max_sectors", " sectors"},
    {12, 4, always, "cmd_per_lun"},
    {16, 4, always, "event_info_size", " bytes"},
    {20, 4, always, "sense_size", " bytes"},
    {24, 4, always, "cdb_size", " bytes"},
    {28, 2, always, "max_channel"},
    {30, 2, always, "max_target"},
    {32, 4, always, "max_lun"},
};
inline constexpr bit_name p9_features[] = {{0, "9P_MOUNT_TAG"}};
inline constexpr field p9_fields[] = {
    {0, 2, 0, "tag_len", " bytes"},
    {2, 1, 0, "tag", "", shown::text, 32, 0},
};
inline constexpr bit_name gpu_features[] = {
    {0, "GPU_VIRGL"},         {1, "GPU_EDID"},         {2, "GPU_RESOURCE_UUID"},
    {3, "GPU_RESOURCE_BLOB"}, {4, "GPU_CONTEXT_INIT"}, {5, "GPU_BLOB_ALIGNMENT"},
};
inline constexpr field gpu_fields[] = {
    {0, 4, always, "events_read", "", shown::hex}, {4, 4, always, "events_clear", "", shown::hex},
    {8, 4, always, "num_scanouts", " displays"},   {12, 4, always, "num_capsets"},
    {16, 4, 5, "blob_alignment", " bytes"},
};
inline constexpr bit_name rtc_features[] = {{0, "RTC_ALARM"}};
inline constexpr field input_fields[] = {
    {0, 1, always, "select"}, {1, 1, always, "subsel"}, {2, 1, always, "size", " bytes"}};
inline constexpr field vsock_fields[] = {{0, 8, always, "guest_cid"}};
inline constexpr bit_name crypto_features[] = {
    {0, "CRYPTO_REVISION_1"},         {1, "CRYPTO_CIPHER_STATELESS_MODE"}, {2, "CRYPTO_HASH_STATELESS_MODE"},
    {3, "CRYPTO_MAC_STATELESS_MODE"}, {4, "CRYPTO_AEAD_STATELESS_MODE"},   {5, "CRYPTO_AKCIPHER_STATELESS_MODE"},
};
inline constexpr field crypto_fields[] = {
    {0, 4, always, "status", " (1: ready)"},
    {4, 4, always, "max_dataqueues"},
    {8, 4, always, "crypto_services", "", shown::hex},
    {12, 4, always, "cipher_algo_l", "", shown::hex},
    {16, 4, always, "cipher_algo_h", "", shown::hex},
    {20, 4, always, "hash_algo", "", shown::hex},
    {24, 4, always, "mac_algo_l", "", shown::hex},
    {28, 4, always, "mac_algo_h", "", shown::hex},
    {32, 4, always, "aead_algo", "", shown::hex},
    {36, 4, always, "max_cipher_key_len", " bytes"},
    {40, 4, always, "max_auth_key_len", " bytes"},
    {44, 4, always, "akcipher_algo", "", shown::hex},
    {48, 8, always, "max_size", " bytes"},
};
inline constexpr bit_name iommu_features[] = {
    {0, "IOMMU_INPUT_RANGE"}, {1, "IOMMU_DOMAIN_RANGE"}, {2, "IOMMU_MAP_UNMAP"},     {3, "IOMMU_BYPASS"},
    {4, "IOMMU_PROBE"},       {5, "IOMMU_MMIO"},         {6, "IOMMU_BYPASS_CONFIG"},
};
inline constexpr field iommu_fields[] = {
    {0, 8, always, "page_size_mask", "", shown::hex},
    {8, 8, 0, "input_range.start", "", shown::hex},
    {16, 8, 0, "input_range.end", "", shown::hex},
    {24, 4, 1, "domain_range.start"},
    {28, 4, 1, "domain_range.end"},
    {32, 4, 4, "probe_size", " bytes"},
    {36, 1, 6, "bypass", " (1: all devices bypass it)"},
};
inline constexpr bit_name memory_features[] = {
    {0, "MEM_ACPI_PXM"}, {1, "MEM_UNPLUGGED_INACCESSIBLE"}, {2, "MEM_PERSISTENT_SUSPEND"}};
inline constexpr field memory_fields[] = {
    {0, 8, always, "block_size", " bytes"},          {8, 2, 0, "node_id"},
    {16, 8, always, "addr", "", shown::hex},         {24, 8, always, "region_size", " bytes"},
    {32, 8, always, "usable_region_size", " bytes"}, {40, 8, always, "plugged_size", " bytes"},
    {48, 8, always, "requested_size", " bytes"},
};
inline constexpr bit_name sound_features[] = {{0, "SND_CTLS"}};
inline constexpr field sound_fields[] = {
    {0, 4, always, "jacks"}, {4, 4, always, "streams"}, {8, 4, always, "chmaps"}, {12, 4, 0, "controls"}};
inline constexpr bit_name fs_features[] = {{0, "FS_NOTIFICATION"}};
inline constexpr field fs_fields[] = {
    {0, 1, always, "tag", "", shown::text, 36},
    {36, 4, always, "num_request_queues"},
    {40, 4, 0, "notify_buf_size", " bytes"},
};
inline constexpr bit_name pmem_features[] = {{0, "PMEM_SHMEM_REGION"}};
// With SHMEM_REGION the memory is a shared memory region, and these fields have no meaning (5.19.4).
inline constexpr field pmem_fields[] = {{0, 8, always, "start", "", shown::hex, 1, itself, never, 0},
                                        {8, 8, always, "size", " bytes", shown::number, 1, itself, never, 0}};
inline constexpr field rpmb_fields[] = {{0, 1, always, "capacity", " units of 128 KiB"},
                                        {1, 1, always, "max_wr_cnt", " blocks"},
                                        {2, 1, always, "max_rd_cnt", " blocks"}};
inline constexpr field video_fields[] = {{0, 4, always, "version"},
                                         {4, 4, always, "max_caps_length", " bytes"},
                                         {8, 4, always, "max_resp_length", " bytes"}};
inline constexpr bit_name scmi_features[] = {{0, "SCMI_P2A_CHANNELS"}, {1, "SCMI_SHARED_MEMORY"}};
inline constexpr bit_name i2c_features[] = {{0, "I2C_ZERO_LENGTH_REQUEST"}};
inline constexpr bit_name can_features[] = {
    {0, "CAN_CAN_CLASSIC"}, {1, "CAN_CAN_FD"}, {2, "CAN_RTR_FRAMES"}, {3, "CAN_LATE_TX_ACK"}};
inline constexpr field can_fields[] = {{0, 2, always, "status", " (1: bus off)"}};
inline constexpr bit_name bluetooth_features[] = {
    {0, "BT_VND_HCI"}, {1, "BT_MSFT_EXT"}, {2, "BT_AOSP_EXT"}, {3, "BT_CONFIG_V2"}};
inline constexpr field bluetooth_fields[] = {{0, 1, always, "type"}};
inline constexpr bit_name gpio_features[] = {{0, "GPIO_IRQ"}};
inline constexpr field gpio_fields[] = {{0, 2, always, "ngpio", " lines"}, {4, 4, always, "gpio_names_size", " bytes"}};
inline constexpr field spi_fields[] = {
    {0, 1, always, "cs_max_number"},
    {1, 1, always, "cs_change_supported"},
    {2, 1, always, "tx_nbits_supported", "", shown::hex},
    {3, 1, always, "rx_nbits_supported", "", shown::hex},
    {4, 4, always, "bits_per_word_mask", "", shown::hex},
    {8, 4, always, "mode_func_supported", "", shown::hex},
    {12, 4, always, "max_freq_hz", " Hz"},
    {16, 4, always, "max_word_delay_ns", " ns"},
    {20, 4, always, "max_cs_setup_ns", " ns"},
    {24, 4, always, "max_cs_hold_ns", " ns"},
    {28, 4, always, "max_cs_inactive_ns", " ns"},
};
inline constexpr field media_fields[] = {{0, 4, always, "device_caps", "", shown::hex},
                                         {4, 4, always, "device_type"},
                                         {8, 1, always, "card", "", shown::text, 32}};

// OpenBSD's vmd: not a device of the specification. Reading the seconds latches the time.
inline constexpr bit_name vm_control_features[] = {{0, "VMMCI_TIMESYNC"}, {1, "VMMCI_ACK"}, {2, "VMMCI_SYNCRTC"}};
inline constexpr field vm_control_fields[] = {{0, 4, always, "command"},
                                              {4, 4, always, "time_sec", " s"},
                                              {8, 4, always, "time_sec_high"},
                                              {12, 4, always, "time_usec", " us"},
                                              {16, 4, always, "time_usec_high"}};

// The answers of an input device: numbers of evdev (5.8.2).
inline constexpr bit_name input_event_types[] = {{0x00, "SYN"}, {0x01, "KEY"}, {0x02, "REL"}, {0x03, "ABS"},
                                                 {0x04, "MSC"}, {0x05, "SW"},  {0x11, "LED"}, {0x12, "SND"},
                                                 {0x14, "REP"}, {0x15, "FF"},  {0x16, "PWR"}, {0x17, "FF_STATUS"}};

// Bits with another meaning on some hosts than in the specification, which has ADMIN_VQ at 41 and no feature at 42: old
// network devices use them for segments that the guest must not coalesce, crosvm for SUSPEND.
[[nodiscard]] constexpr const char* contested_name(u8 bit, virtio::device_type type) {
  const bool is_network = type == virtio::device_type::network;
  if (bit == 41 && is_network) return "ADMIN_VQ or NET_GUEST_RSC4";
  if (bit == 42) return is_network ? "SUSPEND of crosvm or NET_GUEST_RSC6" : "SUSPEND of crosvm";
  return nullptr;
}

// ---- types ----

inline constexpr type_row types[] = {
    {1, "network", {}, net_fields},
    {2, "block", blk_features, blk_fields},
    {3, "console", {}, console_fields},
    {4, "entropy"},
    {5, "balloon", {}, balloon_fields},
    {6, "ioMemory"},
    {7, "rpmsg"},
    {8, "scsi", {}, scsi_fields},
    {9, "9p file system", p9_features, p9_fields},
    {10, "mac80211 wlan"},
    {11, "rproc serial"},
    {12, "caif"},
    {13, "memory balloon"},
    {16, "gpu", gpu_features, gpu_fields},
    {17, "rtc", rtc_features},
    {18, "input", {}, input_fields},
    {19, "vsock", {}, vsock_fields},
    {20, "crypto", crypto_features, crypto_fields},
    {21, "signal distribution"},
    {22, "pstore"},
    {23, "iommu", iommu_features, iommu_fields},
    {24, "memory", memory_features, memory_fields},
    {25, "sound", sound_features, sound_fields},
    {26, "file system", fs_features, fs_fields},
    {27, "pmem", pmem_features, pmem_fields},
    {28, "rpmb", {}, rpmb_fields},
    {29, "mac80211 hwsim"},
    {30, "video encoder", {}, video_fields},
    {31, "video decoder", {}, video_fields},
    {32, "scmi", scmi_features},
    {33, "nitro secure module"},
    {34, "i2c adapter", i2c_features},
    {35, "watchdog"},
    {36, "can", can_features, can_fields},
    {38, "parameter server"},
    {39, "audio policy"},
    {40, "bluetooth", bluetooth_features, bluetooth_fields},
    {41, "gpio", gpio_features, gpio_fields},
    {42, "rdma"},
    {43, "camera"},
    {44, "ism"},
    {45, "spi controller", {}, spi_fields},
    {46, "tee"},
    {47, "cpu balloon"},
    {48, "media", {}, media_fields},
    {49, "usb controller"},
    {0xffff, "vm control", vm_control_features, vm_control_fields},
};

/// Returns the row of a type; a row without a name for an unknown type.
[[nodiscard]] constexpr type_row row_for(virtio::device_type type) {
  for (const type_row& one : types)
    if (one.type == static_cast<u16>(type)) return one;
  return {static_cast<u16>(type), nullptr};
}

/// Base classes of PCI functions.
[[nodiscard]] constexpr const char* class_name(u8 base) {
  constexpr const char* names[] = {"unclassified", "mass storage", "network",       "display", "multimedia",
                                   "memory",       "bridge",       "communication", "system",  "input",
                                   "docking",      "processor",    "serial bus",    "wireless"};
  if (base < sizeof names / sizeof *names) return names[base];
  return base == 0xff ? "unassigned" : "other";
}

}  // namespace lsvirtio
