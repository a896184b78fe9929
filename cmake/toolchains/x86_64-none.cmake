# SPDX-License-Identifier: MIT
# Bare-metal x86-64 with clang and lld.
set(CMAKE_SYSTEM_PROCESSOR x86_64)
# No red zone: an exception pushes its frame where the red zone would be.
set(VIRTIO_TARGET_FLAGS "-mno-red-zone")
include("${CMAKE_CURRENT_LIST_DIR}/clang-none.cmake")
