# SPDX-License-Identifier: MIT
# Run by CPack between installing and packing: puts the licence at the place of Debian's policy.
set(folder "${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr/share/doc/libvirtio-dev")
file(MAKE_DIRECTORY "${folder}")
file(COPY_FILE "${CMAKE_CURRENT_LIST_DIR}/../LICENSE" "${folder}/copyright")
