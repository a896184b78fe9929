# SPDX-License-Identifier: MIT
# lwIP's source, from tools/setup or from the folder VIRTIO_LWIP. This project contains no part of it.
include_guard(GLOBAL)
enable_language(C)
include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/source_of.cmake")

# virtio_find_lwip(<variable>): its folder, or empty if it is not installed.
function(virtio_find_lwip result)
  virtio_source_of(folder LWIP src/core/tcp.c "No lwIP, so no guests with a network: tools/setup --for network fetches it")
  set(${result} "${folder}" PARENT_SCOPE)
endfunction()

# virtio_add_lwip(<target> <folder> [<include folder>...]): an object library of it with lwipopts.h of this folder,
# or of one of the include folders, which come first. Its headers are system headers: the project's warnings do not
# apply.
set(VIRTIO_LWIP_PORT "${CMAKE_CURRENT_LIST_DIR}" CACHE INTERNAL "")
function(virtio_add_lwip target folder)
  set(sources "")
  foreach(name IN ITEMS core/init core/def core/dns core/inet_chksum core/ip core/mem core/memp core/netif core/pbuf core/tcp core/tcp_in
      core/tcp_out core/timeouts core/udp core/ipv4/dhcp core/ipv4/etharp core/ipv4/icmp core/ipv4/ip4 core/ipv4/ip4_addr netif/ethernet)
    list(APPEND sources "${folder}/src/${name}.c")
  endforeach()
  add_library(${target} OBJECT ${sources})
  target_include_directories(${target} SYSTEM PUBLIC ${ARGN} "${VIRTIO_LWIP_PORT}" "${folder}/src/include")
  target_compile_options(${target} PRIVATE -w)
  if(CMAKE_SYSTEM_NAME STREQUAL "Generic")
    target_sources(${target} PRIVATE "${VIRTIO_LWIP_PORT}/libc.cpp")
    target_include_directories(${target} SYSTEM PUBLIC "${VIRTIO_LWIP_PORT}/libc")
    target_compile_options(${target} PUBLIC -nostdlibinc)
    target_compile_features(${target} PUBLIC cxx_std_20)
  endif()
endfunction()
