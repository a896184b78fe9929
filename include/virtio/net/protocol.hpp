// SPDX-License-Identifier: MIT
// The interface between driver and network device: feature bits, configuration fields, the header of a frame. Also the
// choices of a driver.
// Spec: virtio 1.4, 5.1. Layer: net.
#pragma once

#include <virtio/base/cells.hpp>
#include <virtio/base/features.hpp>
#include <virtio/net/link.hpp>
#include <virtio/transport/config_field.hpp>

namespace virtio::net {

/// Feature bits of network devices (5.1.3).
enum class feature : u8 {
  csum = 0,
  guest_csum = 1,
  ctrl_guest_offloads = 2,
  mtu = 3,
  mac = 5,
  gso = 6,  // legacy only
  guest_tso4 = 7,
  guest_tso6 = 8,
  guest_ecn = 9,
  guest_ufo = 10,
  host_tso4 = 11,
  host_tso6 = 12,
  host_ecn = 13,
  host_ufo = 14,
  mrg_rxbuf = 15,
  status = 16,
  ctrl_vq = 17,
  ctrl_rx = 18,
  ctrl_vlan = 19,
  ctrl_rx_extra = 20,
  guest_announce = 21,
  mq = 22,
  ctrl_mac_addr = 23,
  device_stats = 50,
  hash_tunnel = 51,
  vq_notf_coal = 52,
  notf_coal = 53,
  guest_uso4 = 54,
  guest_uso6 = 55,
  host_uso = 56,
  hash_report = 57,
  guest_hdrlen = 59,
  rss = 60,
  rsc_ext = 61,
  standby = 62,
  speed_duplex = 63,
  rss_context = 64,
  guest_udp_tunnel_gso = 65,
  guest_udp_tunnel_gso_csum = 66,
  host_udp_tunnel_gso = 67,
  host_udp_tunnel_gso_csum = 68,
  out_net_header = 69,
  ipsec = 70,
};
/// Makes `feature_set` accept these bits.
constexpr void feature_bits_of(feature) {}

/// The specification's name of a feature bit; null for other values.
[[nodiscard]] constexpr const char* name(feature bit) {
  switch (bit) {
    case feature::csum: return "NET_CSUM";
    case feature::guest_csum: return "NET_GUEST_CSUM";
    case feature::ctrl_guest_offloads: return "NET_CTRL_GUEST_OFFLOADS";
    case feature::mtu: return "NET_MTU";
    case feature::mac: return "NET_MAC";
    case feature::gso: return "NET_GSO";
    case feature::guest_tso4: return "NET_GUEST_TSO4";
    case feature::guest_tso6: return "NET_GUEST_TSO6";
    case feature::guest_ecn: return "NET_GUEST_ECN";
    case feature::guest_ufo: return "NET_GUEST_UFO";
    case feature::host_tso4: return "NET_HOST_TSO4";
    case feature::host_tso6: return "NET_HOST_TSO6";
    case feature::host_ecn: return "NET_HOST_ECN";
    case feature::host_ufo: return "NET_HOST_UFO";
    case feature::mrg_rxbuf: return "NET_MRG_RXBUF";
    case feature::status: return "NET_STATUS";
    case feature::ctrl_vq: return "NET_CTRL_VQ";
    case feature::ctrl_rx: return "NET_CTRL_RX";
    case feature::ctrl_vlan: return "NET_CTRL_VLAN";
    case feature::ctrl_rx_extra: return "NET_CTRL_RX_EXTRA";
    case feature::guest_announce: return "NET_GUEST_ANNOUNCE";
    case feature::mq: return "NET_MQ";
    case feature::ctrl_mac_addr: return "NET_CTRL_MAC_ADDR";
    case feature::device_stats: return "NET_DEVICE_STATS";
    case feature::hash_tunnel: return "NET_HASH_TUNNEL";
    case feature::vq_notf_coal: return "NET_VQ_NOTF_COAL";
    case feature::notf_coal: return "NET_NOTF_COAL";
    case feature::guest_uso4: return "NET_GUEST_USO4";
    case feature::guest_uso6: return "NET_GUEST_USO6";
    case feature::host_uso: return "NET_HOST_USO";
    case feature::hash_report: return "NET_HASH_REPORT";
    case feature::guest_hdrlen: return "NET_GUEST_HDRLEN";
    case feature::rss: return "NET_RSS";
    case feature::rsc_ext: return "NET_RSC_EXT";
    case feature::standby: return "NET_STANDBY";
    case feature::speed_duplex: return "NET_SPEED_DUPLEX";
    case feature::rss_context: return "NET_RSS_CONTEXT";
    case feature::guest_udp_tunnel_gso: return "NET_GUEST_UDP_TUNNEL_GSO";
    case feature::guest_udp_tunnel_gso_csum: return "NET_GUEST_UDP_TUNNEL_GSO_CSUM";
    case feature::host_udp_tunnel_gso: return "NET_HOST_UDP_TUNNEL_GSO";
    case feature::host_udp_tunnel_gso_csum: return "NET_HOST_UDP_TUNNEL_GSO_CSUM";
    case feature::out_net_header: return "NET_OUT_NET_HEADER";
    case feature::ipsec: return "NET_IPSEC";
  }
  return nullptr;
}

/// Features that the driver accepts if they are offered.
inline constexpr feature_set accepted_features{feature::csum, feature::guest_csum, feature::mtu,
                                               feature::mac,  feature::mrg_rxbuf,  feature::status};
/// Features that it declines: no control queue, no segmentation either way, one pair of queues, no tunnels, no standby
/// device.
// clang-format off
inline constexpr feature_set declined_features{
    feature::ctrl_guest_offloads, feature::gso, feature::guest_tso4, feature::guest_tso6, feature::guest_ecn,
    feature::guest_ufo, feature::host_tso4, feature::host_tso6, feature::host_ecn, feature::host_ufo, feature::ctrl_vq,
    feature::ctrl_rx, feature::ctrl_vlan, feature::ctrl_rx_extra, feature::guest_announce, feature::mq,
    feature::ctrl_mac_addr, feature::device_stats, feature::hash_tunnel, feature::vq_notf_coal, feature::notf_coal,
    feature::guest_uso4, feature::guest_uso6, feature::host_uso, feature::hash_report, feature::guest_hdrlen,
    feature::rss, feature::rsc_ext, feature::standby, feature::speed_duplex, feature::rss_context,
    feature::guest_udp_tunnel_gso, feature::guest_udp_tunnel_gso_csum, feature::host_udp_tunnel_gso,
    feature::host_udp_tunnel_gso_csum, feature::out_net_header, feature::ipsec};
// clang-format on
static_assert((accepted_features & declined_features).empty());

/// Fields of the device configuration (5.1.4).
namespace config {
inline constexpr config_field<u8> mac{0};      // with MAC: the first of six
inline constexpr config_field<u16> status{6};  // with STATUS
inline constexpr config_field<u16> mtu{10};    // with MTU
inline constexpr u16 link_up = 1;              // in `status`
}  // namespace config

inline constexpr u16 least_mtu = 68;  // minimum that a device may report (5.1.4.1)

/// Choices that change a driver's layout. A received frame has at most `mtu` + 18 bytes: with a header and a VLAN tag.
struct options {
  /// Maximum that has room; the link uses the device's MTU, and without one the smaller of this and 1500
  u16 mtu = usual_mtu;
  u16 receive_buffers = 64;  // the device has those without a frame, as many as its queue holds
  /// Bytes of a frame in one of them; 0: a whole frame. If it is less, a device without MRG_RXBUF is rejected
  u16 receive_bytes = 0;
  u16 send_buffers = 32;  // one frame each

  /// Bytes of the longest received frame.
  [[nodiscard]] constexpr u32 longest_frame() const { return u32{mtu} + header_bytes + 4; }
  /// Bytes of a frame in one receive buffer.
  [[nodiscard]] constexpr u32 frame_bytes() const { return receive_bytes == 0 ? longest_frame() : receive_bytes; }
  /// Whether the values are consistent.
  [[nodiscard]] constexpr bool make_sense() const {
    return mtu >= least_mtu && longest_frame() <= 0xff00 && receive_buffers >= 1 && receive_buffers <= 0x8000 &&
           send_buffers >= 1 && send_buffers <= 0x8000 && (receive_bytes == 0 || receive_bytes >= 64) &&
           frame_bytes() <= 0xff00;
  }
};

/// Received frames that were dropped since the last `start`, by reason. The counters wrap.
struct drop_counts {
  u32 too_short = 0;   // shorter than an Ethernet header, or empty
  u32 too_long = 0;    // longer than the MTU allows, or in more buffers than such a frame can fill
  u32 segmented = 0;   // gso_type marks several frames in one, which was not negotiated
  u32 no_buffers = 0;  // num_buffers is 0
  [[nodiscard]] friend constexpr bool operator==(const drop_counts&, const drop_counts&) = default;
};

namespace detail {

/// Bits of a header's `flags`.
enum : u8 { needs_csum = 1, data_valid = 2, rsc_info = 4 };

/// The header before each frame, in the transport's byte order (5.1.6). A legacy device without MRG_RXBUF omits the
/// last field.
template <template <class, byte_order> class Cell, byte_order Order>
struct header_cells {
  Cell<u8, Order> flags, gso_type;
  Cell<u16, Order> hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
inline constexpr u16 long_header = 12;
inline constexpr u16 short_header = 10;

}  // namespace detail
}  // namespace virtio::net
