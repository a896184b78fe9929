# SPDX-License-Identifier: MIT
# find_package(virtio): virtio::virtio is the library, virtio::testing its hosted test kit, virtio::usbip the
# library of USB devices.
include("${CMAKE_CURRENT_LIST_DIR}/virtio-targets.cmake")
