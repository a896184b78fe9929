// SPDX-License-Identifier: MIT
// The rings for tests of all rings: the smallest, one whose size is no power of two, those that drivers use, the
// largest, and those with indirect tables, with a hardware device's barriers, with IN_ORDER, and of either format.
#pragma once

#include <virtio/queue/either.hpp>

#include "processor.hpp"
#include "ring_rig.hpp"

namespace rig {

using tiny = split_ring<1>;
using small = split_ring<8>;
using indirect = split_ring<8, ring_options{.indirect = 8}>;
using usual = split_ring<256>;
using largest = split_ring<32768>;
using hardware = split_ring<16, ring_options{}, hardware_barriers>;
using packed_tiny = packed_ring<1>;
using packed_odd = packed_ring<5>;
using packed_small = packed_ring<8>;
using packed_indirect = packed_ring<8, packed_options{.indirect = 8}>;
using packed_usual = packed_ring<256>;
using packed_largest = packed_ring<32768>;
using packed_hardware = packed_ring<16, packed_options{}, hardware_barriers>;
using in_order = split_ring<8, ring_options{.in_order = true}>;
using packed_in_order = packed_ring<5, packed_options{.in_order = true}>;
using split_one_in_order = split_ring<1, ring_options{.in_order = true}>;
using split_tables_in_order = split_ring<8, ring_options{.indirect = 4, .in_order = true}>;
using split_256_in_order = split_ring<256, ring_options{.in_order = true}>;
using packed_one_in_order = packed_ring<1, packed_options{.in_order = true}>;
using packed_8_in_order = packed_ring<8, packed_options{.in_order = true}>;
using packed_tables_in_order = packed_ring<8, packed_options{.indirect = 4, .in_order = true}>;
using packed_256_in_order = packed_ring<256, packed_options{.in_order = true}>;
struct either_as_split : either_ring<8> {};
struct either_as_packed : either_ring<8> {};
template <>
inline constexpr bool is_packed<either_as_packed> = true;
struct either_split_in_order : either_ring<8, ring_options{.indirect = 4, .in_order = true}> {};
struct either_packed_in_order : either_ring<8, ring_options{.indirect = 4, .in_order = true}> {};
template <>
inline constexpr bool is_packed<either_packed_in_order> = true;

#ifndef VIRTIO_TEST_ONE_UNIT  // compiled in split_rings.cpp and packed_rings.cpp: two processors share the work
extern template std::unique_ptr<subject> untyped<tiny>();
extern template std::unique_ptr<subject> untyped<small>();
extern template std::unique_ptr<subject> untyped<indirect>();
extern template std::unique_ptr<subject> untyped<usual>();
extern template std::unique_ptr<subject> untyped<largest>();
extern template std::unique_ptr<subject> untyped<hardware>();
extern template std::unique_ptr<subject> untyped<in_order>();
extern template std::unique_ptr<subject> untyped<split_one_in_order>();
extern template std::unique_ptr<subject> untyped<split_tables_in_order>();
extern template std::unique_ptr<subject> untyped<split_256_in_order>();
extern template std::unique_ptr<subject> untyped<either_as_split>();
extern template std::unique_ptr<subject> untyped<either_split_in_order>();
extern template std::unique_ptr<subject> untyped<packed_tiny>();
extern template std::unique_ptr<subject> untyped<packed_odd>();
extern template std::unique_ptr<subject> untyped<packed_small>();
extern template std::unique_ptr<subject> untyped<packed_indirect>();
extern template std::unique_ptr<subject> untyped<packed_usual>();
extern template std::unique_ptr<subject> untyped<packed_largest>();
extern template std::unique_ptr<subject> untyped<packed_hardware>();
extern template std::unique_ptr<subject> untyped<packed_in_order>();
extern template std::unique_ptr<subject> untyped<packed_one_in_order>();
extern template std::unique_ptr<subject> untyped<packed_8_in_order>();
extern template std::unique_ptr<subject> untyped<packed_tables_in_order>();
extern template std::unique_ptr<subject> untyped<packed_256_in_order>();
extern template std::unique_ptr<subject> untyped<either_as_packed>();
extern template std::unique_ptr<subject> untyped<either_packed_in_order>();
#endif

}  // namespace rig
