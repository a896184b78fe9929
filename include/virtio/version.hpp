// SPDX-License-Identifier: MIT
// The one place with the version; CMakeLists.txt and meson.build parse these three lines.
// Layer: none (includes nothing).
#pragma once

#define VIRTIO_VERSION_MAJOR 0
#define VIRTIO_VERSION_MINOR 2
#define VIRTIO_VERSION_PATCH 0
