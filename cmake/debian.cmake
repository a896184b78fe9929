# SPDX-License-Identifier: MIT
# Run by CPack between installing and packing: the licence is where Debian's policy wants it.
set(folder "${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr/share/doc/libvirtio-dev")
file(MAKE_DIRECTORY "${folder}")
file(COPY_FILE "${CMAKE_CURRENT_LIST_DIR}/../LICENSE" "${folder}/copyright")
