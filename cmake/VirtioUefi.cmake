# SPDX-License-Identifier: MIT
# virtio_add_uefi(<name> FILE <file> SOURCES <file>...): a UEFI application from the sources and examples/boot/uefi, as
# FILE in the current build folder. clang compiles for a Windows target of the same processor, whose object files and
# calls are UEFI's, and lld links them. Needs what VirtioGuest.cmake needs, and x86-64 or 64-bit Arm.
include_guard(GLOBAL)

set(VIRTIO_UEFI_BOOT_DIR "${CMAKE_CURRENT_LIST_DIR}/../examples/boot" CACHE INTERNAL "")

function(virtio_add_uefi name)
  cmake_parse_arguments(PARSE_ARGV 1 uefi "" "FILE" "SOURCES")
  if(uefi_UNPARSED_ARGUMENTS OR NOT uefi_SOURCES OR NOT uefi_FILE)
    message(FATAL_ERROR "virtio_add_uefi(${name}): want virtio_add_uefi(<name> FILE <file> SOURCES <file>...)")
  endif()
  set(uefi "${VIRTIO_UEFI_BOOT_DIR}/uefi")
  set(common "${VIRTIO_UEFI_BOOT_DIR}/common")
  set(target "--target=${CMAKE_SYSTEM_PROCESSOR}-unknown-windows")  # behind the toolchain's, so it counts

  if(NOT TARGET virtio_uefi_boot)
    add_library(virtio_uefi_boot OBJECT "${uefi}/machine.cpp" "${common}/runtime.cpp")
    target_include_directories(virtio_uefi_boot PUBLIC "${uefi}" "${common}")
    target_link_libraries(virtio_uefi_boot PUBLIC virtio::virtio)
    set_target_properties(virtio_uefi_boot PROPERTIES CXX_EXTENSIONS OFF)
    # Without -fpie, which this target does not know: a PE image has relocations all the same.
    target_compile_options(virtio_uefi_boot PUBLIC ${target} -fno-pie -Wall -Wextra -Wconversion -Wshadow -Werror)
  endif()
  add_library(${name}_objects OBJECT ${uefi_SOURCES})
  target_link_libraries(${name}_objects PRIVATE virtio_uefi_boot)
  set_target_properties(${name}_objects PROPERTIES CXX_EXTENSIONS OFF)

  set(file "${CMAKE_CURRENT_BINARY_DIR}/${uefi_FILE}")
  set(objects "$<TARGET_OBJECTS:virtio_uefi_boot>" "$<TARGET_OBJECTS:${name}_objects>")
  add_custom_command(OUTPUT "${file}" DEPENDS ${objects} VERBATIM COMMAND_EXPAND_LISTS COMMENT "Linking ${uefi_FILE}"
    COMMAND "${CMAKE_CXX_COMPILER}" ${target} -nostdlib -fuse-ld=lld -Wl,-entry:efi_main,-subsystem:efi_application
      ${objects} -o "${file}")
  add_custom_target(${name} ALL DEPENDS "${file}")
endfunction()
