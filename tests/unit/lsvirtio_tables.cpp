// SPDX-License-Identifier: MIT
// lsvirtio's tables against the specification's text: the feature bits of each type without a driver, and the offset,
// width and features of each configuration field.
// Spec: virtio 1.4, 5; types 30, 31 and 40 as in Linux, VM control as in OpenBSD's vmd.
#include <map>
#include <string>

#include <catch2/catch_test_macros.hpp>

#include "../../examples/lsvirtio/tables.hpp"

using namespace lsvirtio;

namespace {

// For each type: "bit name" for features, then "name offset:width" for fields, with "xN" for an array and the features.
const std::map<unsigned, std::string> specified = {
    {1,
     "mac 0:1x6 if 5, status 6:2 if 16, max_virtqueue_pairs 8:2 if 22 or 60, mtu 10:2 if 3, "
     "speed 12:4 if 63, duplex 16:1 if 63, rss_max_key_size 17:1 if 60 or 57, "
     "rss_max_indirection_table_length 18:2 if 60, supported_hash_types 20:4 if 60 or 57, "
     "supported_tunnel_types 24:4 if 51"},
    {2,
     "0 BLK_BARRIER, capacity 0:8, size_max 8:4 if 1, seg_max 12:4 if 2, geometry.cylinders 16:2 if 4, "
     "geometry.heads 18:1 if 4, geometry.sectors 19:1 if 4, blk_size 20:4 if 6, "
     "topology.physical_block_exp 24:1 if 10, topology.alignment_offset 25:1 if 10, "
     "topology.min_io_size 26:2 if 10, topology.opt_io_size 28:4 if 10, writeback 32:1 if 11, "
     "num_queues 34:2 if 12, max_discard_sectors 36:4 if 13, max_discard_seg 40:4 if 13, "
     "discard_sector_alignment 44:4 if 13, max_write_zeroes_sectors 48:4 if 14, "
     "max_write_zeroes_seg 52:4 if 14, write_zeroes_may_unmap 56:1 if 14, "
     "max_secure_erase_sectors 60:4 if 16, max_secure_erase_seg 64:4 if 16, "
     "secure_erase_sector_alignment 68:4 if 16, zoned.zone_sectors 72:4 if 17, "
     "zoned.max_open_zones 76:4 if 17, zoned.max_active_zones 80:4 if 17, "
     "zoned.max_append_sectors 84:4 if 17, zoned.write_granularity 88:4 if 17, zoned.model 92:1 if 17"},
    {3, "cols 0:2 if 0, rows 2:2 if 0, max_nr_ports 4:4 if 1"},
    {5, "num_pages 0:4, actual 4:4, free_page_hint_cmd_id 8:4 if 3, poison_val 12:4 if 4"},
    {8,
     "num_queues 0:4, seg_max 4:4, max_sectors 8:4, cmd_per_lun 12:4, event_info_size 16:4, "
     "sense_size 20:4, cdb_size 24:4, max_channel 28:2, max_target 30:2, max_lun 32:4"},
    {9, "0 9P_MOUNT_TAG, tag_len 0:2 if 0, tag 2:1x32 if 0"},
    {16,
     "0 GPU_VIRGL, 1 GPU_EDID, 2 GPU_RESOURCE_UUID, 3 GPU_RESOURCE_BLOB, 4 GPU_CONTEXT_INIT, "
     "5 GPU_BLOB_ALIGNMENT, events_read 0:4, events_clear 4:4, num_scanouts 8:4, num_capsets 12:4, "
     "blob_alignment 16:4 if 5"},
    {17, "0 RTC_ALARM"},
    {18, "select 0:1, subsel 1:1, size 2:1"},
    {19, "guest_cid 0:8"},
    {20,
     "0 CRYPTO_REVISION_1, 1 CRYPTO_CIPHER_STATELESS_MODE, 2 CRYPTO_HASH_STATELESS_MODE, "
     "3 CRYPTO_MAC_STATELESS_MODE, 4 CRYPTO_AEAD_STATELESS_MODE, 5 CRYPTO_AKCIPHER_STATELESS_MODE, "
     "status 0:4, max_dataqueues 4:4, crypto_services 8:4, cipher_algo_l 12:4, cipher_algo_h 16:4, "
     "hash_algo 20:4, mac_algo_l 24:4, mac_algo_h 28:4, aead_algo 32:4, max_cipher_key_len 36:4, "
     "max_auth_key_len 40:4, akcipher_algo 44:4, max_size 48:8"},
    {23,
     "0 IOMMU_INPUT_RANGE, 1 IOMMU_DOMAIN_RANGE, 2 IOMMU_MAP_UNMAP, 3 IOMMU_BYPASS, 4 IOMMU_PROBE, "
     "5 IOMMU_MMIO, 6 IOMMU_BYPASS_CONFIG, page_size_mask 0:8, input_range.start 8:8 if 0, "
     "input_range.end 16:8 if 0, domain_range.start 24:4 if 1, domain_range.end 28:4 if 1, "
     "probe_size 32:4 if 4, bypass 36:1 if 6"},
    {24,
     "0 MEM_ACPI_PXM, 1 MEM_UNPLUGGED_INACCESSIBLE, 2 MEM_PERSISTENT_SUSPEND, block_size 0:8, "
     "node_id 8:2 if 0, addr 16:8, region_size 24:8, usable_region_size 32:8, plugged_size 40:8, "
     "requested_size 48:8"},
    {25, "0 SND_CTLS, jacks 0:4, streams 4:4, chmaps 8:4, controls 12:4 if 0"},
    {26, "0 FS_NOTIFICATION, tag 0:1x36, num_request_queues 36:4, notify_buf_size 40:4 if 0"},
    {27, "0 PMEM_SHMEM_REGION, start 0:8 unless 0, size 8:8 unless 0"},
    {28, "capacity 0:1, max_wr_cnt 1:1, max_rd_cnt 2:1"},
    {30, "version 0:4, max_caps_length 4:4, max_resp_length 8:4"},
    {31, "version 0:4, max_caps_length 4:4, max_resp_length 8:4"},
    {32, "0 SCMI_P2A_CHANNELS, 1 SCMI_SHARED_MEMORY"},
    {34, "0 I2C_ZERO_LENGTH_REQUEST"},
    {36, "0 CAN_CAN_CLASSIC, 1 CAN_CAN_FD, 2 CAN_RTR_FRAMES, 3 CAN_LATE_TX_ACK, status 0:2"},
    {40, "0 BT_VND_HCI, 1 BT_MSFT_EXT, 2 BT_AOSP_EXT, 3 BT_CONFIG_V2, type 0:1"},
    {41, "0 GPIO_IRQ, ngpio 0:2, gpio_names_size 4:4"},
    {45,
     "cs_max_number 0:1, cs_change_supported 1:1, tx_nbits_supported 2:1, rx_nbits_supported 3:1, "
     "bits_per_word_mask 4:4, mode_func_supported 8:4, max_freq_hz 12:4, max_word_delay_ns 16:4, "
     "max_cs_setup_ns 20:4, max_cs_hold_ns 24:4, max_cs_inactive_ns 28:4"},
    {48, "device_caps 0:4, device_type 4:4, card 8:1x32"},
    {65535,
     "0 VMMCI_TIMESYNC, 1 VMMCI_ACK, 2 VMMCI_SYNCRTC, command 0:4, time_sec 4:4, time_sec_high 8:4, "
     "time_usec 12:4, time_usec_high 16:4"},
};

std::string in_words(const type_row& row) {
  std::string out;
  for (const bit_name& one : row.features) out += std::to_string(one.bit) + " " + one.name + ", ";
  for (const field& one : row.fields) {
    out += one.name + (" " + std::to_string(one.offset)) + ":" + std::to_string(one.width);
    if (one.count != 1) out += "x" + std::to_string(one.count);
    if (one.needs != always) out += " if " + std::to_string(one.needs);
    if (one.or_needs != never) out += " or " + std::to_string(one.or_needs);
    if (one.unless != never) out += " unless " + std::to_string(one.unless);
    out += ", ";
  }
  return out.empty() ? out : out.substr(0, out.size() - 2);
}

}  // namespace

TEST_CASE("lsvirtio: features and fields of every type match the specification", "[examples][lsvirtio]") {
  unsigned described = 0;
  for (const type_row& row : types) {
    INFO(row.name);
    const auto wanted = specified.find(row.type);
    CHECK(in_words(row) == (wanted != specified.end() ? wanted->second : ""));
    described += wanted != specified.end();
  }
  CHECK(described == specified.size());
}
