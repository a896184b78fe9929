# SPDX-License-Identifier: MIT
# Installs the headers by directory, a CMake package and a pkg-config file, all independent of the architecture.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_DATADIR}/virtio/cmake")
install(DIRECTORY include/virtio include/usbip DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.hpp")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/virtio")
install(TARGETS virtio virtio_testing virtio_usbip EXPORT virtio_targets INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT virtio_targets NAMESPACE virtio:: FILE virtio-targets.cmake DESTINATION "${package_dir}")

write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/virtio-config-version.cmake"
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES cmake/virtio-config.cmake "${CMAKE_CURRENT_BINARY_DIR}/virtio-config-version.cmake"
  DESTINATION "${package_dir}")

# The folders may be absolute, or deeper than usual.
set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_DATADIR}")
  file(RELATIVE_PATH pc_prefix "/${CMAKE_INSTALL_DATADIR}/pkgconfig" "/")
  string(REGEX REPLACE "/$" "" pc_prefix "\${pcfiledir}/${pc_prefix}")
endif()
cmake_path(APPEND pc_includedir "\${prefix}" "${CMAKE_INSTALL_INCLUDEDIR}")  # an absolute one stays alone
configure_file(cmake/virtio.pc.in virtio.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/virtio.pc" DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig")

# A Debian package: cpack -G DEB.
if(PROJECT_IS_TOP_LEVEL)
  set(CPACK_PACKAGE_NAME libvirtio-dev)
  set(CPACK_PACKAGE_CONTACT "The virtio authors")
  set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "drivers for virtio devices, for code without an operating system (headers)")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
  set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  set(CPACK_PRE_BUILD_SCRIPTS "${PROJECT_SOURCE_DIR}/cmake/debian.cmake")
  include(CPack)
endif()
