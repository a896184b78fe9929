# SPDX-License-Identifier: MIT
# The hosted tests on a big-endian processor, which QEMU emulates: Debian's cross compiler and qemu-user. Programs are
# linked statically, so that the emulator needs no folder of another system.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR s390x)
set(CMAKE_CXX_COMPILER s390x-linux-gnu-g++)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
find_program(VIRTIO_QEMU_S390X NAMES qemu-s390x qemu-s390x-static REQUIRED)
set(CMAKE_CROSSCOMPILING_EMULATOR "${VIRTIO_QEMU_S390X}")
# CMAKE_PREFIX_PATH names the folder of its libraries; this machine's own libraries are not linked.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
