# SPDX-License-Identifier: MIT
# virtio_add_guest(<name> [BOARD <folder>] SOURCES <file>...): a bootable image from the sources and
# examples/boot/<processor>.
# BOARD: a subfolder with another board.hpp. Requires a build configured with one of cmake/toolchains, and the target
# virtio::virtio. The sources may be C++, C and assembler. Include it after project(): it enables C and assembler.
include_guard(GLOBAL)
enable_language(C)
enable_language(ASM)

set(VIRTIO_GUEST_BOOT_DIR "${CMAKE_CURRENT_LIST_DIR}/../examples/boot" CACHE INTERNAL "")

function(virtio_add_guest name)
  cmake_parse_arguments(PARSE_ARGV 1 guest "" "BOARD" "SOURCES")
  if(guest_UNPARSED_ARGUMENTS OR NOT guest_SOURCES)
    message(FATAL_ERROR "virtio_add_guest(${name}): want virtio_add_guest(<name> SOURCES <file>...)")
  endif()
  if(NOT CMAKE_SYSTEM_NAME STREQUAL "Generic")
    message(FATAL_ERROR "virtio_add_guest(${name}): configure with --toolchain cmake/toolchains/x86_64-none.cmake or its like")
  endif()
  set(common "${VIRTIO_GUEST_BOOT_DIR}/common")
  set(boot "${VIRTIO_GUEST_BOOT_DIR}/${CMAKE_SYSTEM_PROCESSOR}")
  set(machine "${boot}")
  set(script "${boot}/link.ld")
  set(more "")
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
    set(more "${boot}/pages.cpp" "${boot}/loader.cpp" "${boot}/slots.cpp")
  endif()
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|riscv64)$")
    set(script "${common}/anywhere.ld")
    set(more "${common}/tree_console.cpp")
  endif()
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
    list(APPEND more "${boot}/pages.cpp")
  endif()
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL "i386")  # the same machine, entered differently
    set(machine "${VIRTIO_GUEST_BOOT_DIR}/x86_64")
    set(script "${machine}/link.ld")
    set(more "${boot}/division.cpp" "${boot}/pages.cpp" "${machine}/loader.cpp" "${machine}/slots.cpp")
  endif()

  if(NOT TARGET virtio_guest_boot)
    add_library(virtio_guest_boot OBJECT "${boot}/start.S" "${machine}/machine.cpp" "${common}/runtime.cpp" ${more})
    target_include_directories(virtio_guest_boot PUBLIC "${boot}" "${machine}" "${common}")
    target_compile_features(virtio_guest_boot PUBLIC cxx_std_20)
    set_target_properties(virtio_guest_boot PROPERTIES CXX_EXTENSIONS OFF)
    target_compile_options(virtio_guest_boot PUBLIC
      "$<$<COMPILE_LANGUAGE:C,CXX>:-Wall;-Wextra;-Wconversion;-Wshadow;-Werror>")
  endif()

  add_executable(${name} ${guest_SOURCES})
  if(guest_BOARD)
    target_include_directories(${name} BEFORE PRIVATE "${boot}/${guest_BOARD}")
  endif()
  target_link_libraries(${name} PRIVATE virtio::virtio virtio_guest_boot)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|riscv64)$")
    # The raw image for loaders of Linux images, at any load address.
    target_link_options(${name} PRIVATE --oformat=binary -pie --no-dynamic-linker)
  endif()
  # Bare: the toolchain file calls lld directly.
  target_link_options(${name} PRIVATE "SHELL:-T \"${script}\"" --fatal-warnings)
  set_target_properties(${name} PROPERTIES
    LINK_DEPENDS "${script}" LINKER_LANGUAGE CXX CXX_EXTENSIONS OFF)
endfunction()
