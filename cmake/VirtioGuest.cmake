# SPDX-License-Identifier: MIT
# virtio_add_guest(<name> SOURCES <file>...): a bootable image from the sources and examples/boot/x86_64.
# Needs a build configured with cmake/toolchains/x86_64-none.cmake, and the target virtio::virtio.
# The sources may be C++, C and assembler. Include it after project(): it switches C and assembler on.
include_guard(GLOBAL)
enable_language(C)
enable_language(ASM)

set(VIRTIO_GUEST_BOOT_DIR "${CMAKE_CURRENT_LIST_DIR}/../examples/boot/x86_64" CACHE INTERNAL "")

function(virtio_add_guest name)
  cmake_parse_arguments(PARSE_ARGV 1 guest "" "" "SOURCES")
  if(guest_UNPARSED_ARGUMENTS OR NOT guest_SOURCES)
    message(FATAL_ERROR "virtio_add_guest(${name}): want virtio_add_guest(<name> SOURCES <file>...)")
  endif()
  if(NOT CMAKE_SYSTEM_NAME STREQUAL "Generic")
    message(FATAL_ERROR "virtio_add_guest(${name}): configure with --toolchain cmake/toolchains/x86_64-none.cmake")
  endif()

  if(NOT TARGET virtio_guest_boot)
    add_library(virtio_guest_boot OBJECT "${VIRTIO_GUEST_BOOT_DIR}/start.S" "${VIRTIO_GUEST_BOOT_DIR}/runtime.cpp")
    target_include_directories(virtio_guest_boot PUBLIC "${VIRTIO_GUEST_BOOT_DIR}")
    target_compile_features(virtio_guest_boot PUBLIC cxx_std_20)
    set_target_properties(virtio_guest_boot PROPERTIES CXX_EXTENSIONS OFF)
    target_compile_options(virtio_guest_boot PUBLIC
      "$<$<COMPILE_LANGUAGE:C,CXX>:-Wall;-Wextra;-Wconversion;-Wshadow;-Werror>")
  endif()

  add_executable(${name} ${guest_SOURCES})
  target_link_libraries(${name} PRIVATE virtio::virtio virtio_guest_boot)
  # Bare: the toolchain file calls lld directly.
  target_link_options(${name} PRIVATE "SHELL:-T \"${VIRTIO_GUEST_BOOT_DIR}/link.ld\"" --fatal-warnings)
  set_target_properties(${name} PROPERTIES
    LINK_DEPENDS "${VIRTIO_GUEST_BOOT_DIR}/link.ld" LINKER_LANGUAGE CXX CXX_EXTENSIONS OFF)
endfunction()
