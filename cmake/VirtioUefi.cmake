# SPDX-License-Identifier: MIT
# virtio_add_uefi(<name> FILE <file> SOURCES <file>...): a UEFI application from the sources and examples/boot/uefi.
# clang compiles for a Windows target of the same processor, whose object files and calls are UEFI's, and lld links
# them.
# Has the requirements of VirtioGuest.cmake, and x86-64 or 64-bit Arm. Include it in a folder without other programs: it
# changes how programs are linked there.
set(VIRTIO_UEFI_BOOT_DIR "${CMAKE_CURRENT_LIST_DIR}/../examples/boot" CACHE INTERNAL "")
set(VIRTIO_UEFI_TARGET "--target=${CMAKE_SYSTEM_PROCESSOR}-unknown-windows" CACHE INTERNAL "")
set(CMAKE_CXX_LINK_EXECUTABLE
  "<CMAKE_CXX_COMPILER> ${VIRTIO_UEFI_TARGET} -nostdlib -fuse-ld=lld -Wl,-entry:efi_main,-subsystem:efi_application <OBJECTS> -o <TARGET>")

function(virtio_add_uefi name)
  cmake_parse_arguments(PARSE_ARGV 1 uefi "" "FILE" "SOURCES")
  if(uefi_UNPARSED_ARGUMENTS OR NOT uefi_SOURCES OR NOT uefi_FILE)
    message(FATAL_ERROR "virtio_add_uefi(${name}): want virtio_add_uefi(<name> FILE <file> SOURCES <file>...)")
  endif()
  set(uefi "${VIRTIO_UEFI_BOOT_DIR}/uefi")
  set(common "${VIRTIO_UEFI_BOOT_DIR}/common")

  if(NOT TARGET virtio_uefi_boot)
    add_library(virtio_uefi_boot OBJECT "${uefi}/machine.cpp" "${common}/runtime.cpp")
    target_include_directories(virtio_uefi_boot PUBLIC "${uefi}" "${common}")
    target_link_libraries(virtio_uefi_boot PUBLIC virtio::virtio)
    set_target_properties(virtio_uefi_boot PROPERTIES CXX_EXTENSIONS OFF)
    # The target follows the toolchain's, so it overrides it. No -fpie, which this target does not support: a PE image
    # has relocations anyway.
    target_compile_options(virtio_uefi_boot PUBLIC ${VIRTIO_UEFI_TARGET} -fno-pie -Wall -Wextra -Wconversion -Wshadow -Werror)
  endif()
  add_executable(${name} ${uefi_SOURCES})
  target_link_libraries(${name} PRIVATE virtio_uefi_boot)
  set_target_properties(${name} PROPERTIES OUTPUT_NAME "${uefi_FILE}" SUFFIX "" CXX_EXTENSIONS OFF)
endfunction()
