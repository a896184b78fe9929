# SPDX-License-Identifier: MIT
# Bare-metal 32-bit x86 with clang and lld: any processor since the Pentium II, without floating point and SSE.
set(CMAKE_SYSTEM_PROCESSOR i386)
set(VIRTIO_TARGET_FLAGS "-march=pentium2 -mgeneral-regs-only")
include("${CMAKE_CURRENT_LIST_DIR}/clang-none.cmake")
