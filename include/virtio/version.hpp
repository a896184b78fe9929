// SPDX-License-Identifier: MIT
// The version, defined only here; CMakeLists.txt and meson.build parse these three lines.
// Layer: none (includes nothing).
#pragma once

/// Major version: changes with the API. 0 before the first stable release.
#define VIRTIO_VERSION_MAJOR 0
/// Minor version.
#define VIRTIO_VERSION_MINOR 2
/// Patch version.
#define VIRTIO_VERSION_PATCH 0
