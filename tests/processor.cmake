# SPDX-License-Identifier: MIT
# Which tests run on an emulated big-endian processor, and how. Without one all run.
set(big_endian OFF)
if(CMAKE_CXX_BYTE_ORDER STREQUAL "BIG_ENDIAN")
  set(big_endian ON)
endif()

# Those where a byte order can be wrong: rings, configuration, and what drivers and devices put into buffers. Left out is what cannot be
# there, since it goes through a transport that serves modern and legacy devices alike, which big-endian guests do not have (pci, mmio,
# hosts, lsvirtio, start_failures, blk_select, blk_serials and others), or is about boards of x86 and Arm (tables of loaders, trees, ports);
# and what tells the same on any processor: waits, lists, buffers, bookkeeping, thousands of connections.
set(big_endian_unit
  base flags words guest_order # numbers in memory and in registers
  config_access
  split packed slots formats # rings
  blk blk_facts blk_legacy
  rng
  balloon balloon_hints balloon_legacy balloon_poison
  console_legacy net_legacy scsi_legacy
  vsock vsock_messages vsock_model)
set(big_endian_contract doorbells full in_order sleep stores tables traffic virtqueue)
set(big_endian_hostile balloon virtqueue)

# virtio_for_this_processor(<label> <list>): takes the sources from a list that do not run here.
function(virtio_for_this_processor label list)
  if(big_endian)
    set(kept "${${list}}")
    list(JOIN big_endian_${label} "|" names)
    list(FILTER kept INCLUDE REGEX "/(${names})[.]cpp$")
    set(${list} "${kept}" PARENT_SCOPE)
  else()
    list(FILTER ${list} EXCLUDE REGEX "/guest_order[.]cpp$")  # shows nothing where the guest's order is little-endian
    set(${list} "${${list}}" PARENT_SCOPE)
  endif()
endfunction()

# virtio_emulated_tests(<program> <label> <file>...): one ctest entry a file, since each start of the emulator translates the program anew.
# Cases tagged [laps] are left out: they count to 2^17 many times, and show counters.
function(virtio_emulated_tests program label)
  foreach(source IN LISTS ARGN)
    cmake_path(GET source STEM file)
    set(test "${VIRTIO_TEST_PREFIX}tests/${label}/${file}.cpp")
    add_test(NAME "${test}" COMMAND ${program} --filenames-as-tags "[#${file}]~[laps]")
    # Of random traffic a twentieth: each operation takes twenty times as long.
    set_tests_properties("${test}" PROPERTIES LABELS ${label} TIMEOUT ${VIRTIO_TEST_LIMIT} ENVIRONMENT VIRTIO_TEST_OPERATIONS=50000)
  endforeach()
endfunction()
