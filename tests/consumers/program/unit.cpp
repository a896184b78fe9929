// SPDX-License-Identifier: MIT
// A second translation unit with the same drivers.
#include "disk.hpp"

const char* drive_from_another_unit();
const char* drive_from_another_unit() { return memory_disk::drive(); }
