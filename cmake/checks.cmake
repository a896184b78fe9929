# SPDX-License-Identifier: MIT
# Checks that are part of building, for builds of the tests.
include_guard(GLOBAL)

# virtio_check_layers(): the build fails if a header includes upwards, sideways or a foreign header.
# Runs again after a change of a header or the rules. May be called more than once.
function(virtio_check_layers)
  if(TARGET virtio_layers)
    return()
  endif()
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  set(root "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/..")
  cmake_path(NORMAL_PATH root)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${root}/include/*.hpp")
  set(stamp "${CMAKE_BINARY_DIR}/virtio_layers.stamp")
  add_custom_command(OUTPUT "${stamp}"
    COMMAND "${Python3_EXECUTABLE}" "${root}/tools/check-layers" "${root}" --stamp "${stamp}"
    DEPENDS ${headers} "${root}/tools/check-layers"
    COMMENT "Checking that includes point downwards" VERBATIM)
  add_custom_target(virtio_layers ALL DEPENDS "${stamp}")
endfunction()
