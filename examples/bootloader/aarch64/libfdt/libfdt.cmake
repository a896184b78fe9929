# SPDX-License-Identifier: MIT
# libfdt's source, from tools/setup or from the folder VIRTIO_LIBFDT. This project contains no part of it.
include_guard(GLOBAL)
enable_language(C)
include("${CMAKE_CURRENT_LIST_DIR}/../../../../cmake/source_of.cmake")

# virtio_find_libfdt(<variable>): its folder, or empty if it is not installed.
function(virtio_find_libfdt result)
  virtio_source_of(folder LIBFDT fdt_rw.c "No libfdt, so no boot loader for 64-bit Arm: tools/setup fetches it")
  set(${result} "${folder}" PARENT_SCOPE)
endfunction()

# virtio_add_libfdt(<target> <folder>): an object library of the parts that read and edit a tree. Its headers are
# system headers: the project's warnings do not apply to them.
set(VIRTIO_LIBFDT_PORT "${CMAKE_CURRENT_LIST_DIR}" CACHE INTERNAL "")
function(virtio_add_libfdt target folder)
  set(sources "")
  foreach(name IN ITEMS fdt fdt_check fdt_ro fdt_rw fdt_wip)
    list(APPEND sources "${folder}/${name}.c")
  endforeach()
  add_library(${target} OBJECT ${sources})
  target_include_directories(${target} SYSTEM PUBLIC "${VIRTIO_LIBFDT_PORT}" "${folder}")
  target_compile_options(${target} PRIVATE -w)
  if(CMAKE_SYSTEM_NAME STREQUAL "Generic")
    target_sources(${target} PRIVATE "${VIRTIO_LIBFDT_PORT}/strings.cpp")
    target_compile_options(${target} PRIVATE -nostdlibinc)
    target_compile_features(${target} PRIVATE cxx_std_20)
  endif()
endfunction()
