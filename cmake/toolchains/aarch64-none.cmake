# SPDX-License-Identifier: MIT
# Bare-metal 64-bit Arm with clang and lld. Memory may be accessed at any alignment, since the start code turns caches
# on first.
set(CMAKE_SYSTEM_PROCESSOR aarch64)
# An image runs at any load address (examples/boot/aarch64/start.S).
set(VIRTIO_TARGET_FLAGS "-fpie")
include("${CMAKE_CURRENT_LIST_DIR}/clang-none.cmake")
