# SPDX-License-Identifier: MIT
# Another project's source, which tools/setup fetches. This project contains no part of it.
include_guard(GLOBAL)

# virtio_source_of(<variable> <name> <file> <message>): the folder of VIRTIO_<name>, of the environment's <name>, or of
# tools/setup --print, in this order. Empty, with the message, if <file> is not in it.
function(virtio_source_of result name file message)
  set(folder "${VIRTIO_${name}}")
  if(NOT folder)
    set(folder "$ENV{${name}}")
  endif()
  if(NOT folder)
    execute_process(COMMAND "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../tools/setup" --print OUTPUT_VARIABLE printed ERROR_QUIET)
    string(REGEX MATCH "(^|\n)${name}='([^']*)'" found "${printed}")
    set(folder "${CMAKE_MATCH_2}")
  endif()
  if(NOT EXISTS "${folder}/${file}")
    message(STATUS "${message}")
    set(folder "")
  endif()
  set(${result} "${folder}" PARENT_SCOPE)
endfunction()
