# SPDX-License-Identifier: MIT
# Bare-metal 64-bit RISC-V with clang and lld: integers, multiplication, atomics and compressed instructions, no
# floating point.
set(CMAKE_SYSTEM_PROCESSOR riscv64)
# An image runs at any load address (examples/boot/riscv64/start.S), so code addresses its data relative to itself.
# No relaxation: lld before 15 does not support it, and rejects code that requests it.
set(VIRTIO_TARGET_FLAGS "-march=rv64imac -mabi=lp64 -mcmodel=medany -mno-relax -fpie")
set(VIRTIO_ASSEMBLER_FLAGS "-march=rv64imac -mno-relax")
include("${CMAKE_CURRENT_LIST_DIR}/clang-none.cmake")
