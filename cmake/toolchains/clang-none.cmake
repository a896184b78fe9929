# SPDX-License-Identifier: MIT
# The common part of the toolchain files in this folder: bare metal with clang and lld, which support every target, so
# that no cross compiler is needed. They set CMAKE_SYSTEM_PROCESSOR, and the processor's own flags in
# VIRTIO_TARGET_FLAGS and VIRTIO_ASSEMBLER_FLAGS.
# clang's own folder has <stddef.h> and <stdint.h>; there is no C++ standard library (-nostdinc++).
# Another clang: cmake -DCMAKE_CXX_COMPILER=clang++-19 ...
set(CMAKE_SYSTEM_NAME Generic)

foreach(language IN ITEMS C CXX ASM)
  set(CMAKE_${language}_COMPILER_TARGET ${CMAKE_SYSTEM_PROCESSOR}-none-elf)
endforeach()
if(NOT CMAKE_CXX_COMPILER)
  set(CMAKE_CXX_COMPILER clang++)
endif()
if(NOT CMAKE_C_COMPILER)
  set(CMAKE_C_COMPILER clang)
endif()
set(CMAKE_ASM_COMPILER ${CMAKE_CXX_COMPILER})

set(flags "-ffreestanding -fno-pic -fno-stack-protector ${VIRTIO_TARGET_FLAGS}")
set(CMAKE_C_FLAGS_INIT "${flags}")
set(CMAKE_CXX_FLAGS_INIT "${flags} -fno-exceptions -fno-rtti -fno-threadsafe-statics -nostdinc++")
# The same driver compiles C++ and assembler; a C++ driver still treats a .S file as assembler.
set(CMAKE_ASM_FLAGS_INIT "-fno-pic ${VIRTIO_ASSEMBLER_FLAGS}")

# lld is called directly: for this target clang's driver would link by the host's g++.
# So options in target_link_options are lld's own, without -Wl, or LINKER: before them.
find_program(VIRTIO_LLD NAMES ld.lld REQUIRED)
set(CMAKE_LINKER "${VIRTIO_LLD}")
foreach(language IN ITEMS C CXX ASM)
  set(CMAKE_${language}_LINK_EXECUTABLE "<CMAKE_LINKER> -static <LINK_FLAGS> <OBJECTS> -o <TARGET> <LINK_LIBRARIES>")
endforeach()

# CMake's own checks build no program, since there is no start code.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)

set(CMAKE_BUILD_TYPE Release CACHE STRING "Kind of build")
foreach(language IN ITEMS C CXX)
  set(CMAKE_${language}_FLAGS_RELEASE "-O2 -DNDEBUG" CACHE STRING "Flags of a Release build")
endforeach()
