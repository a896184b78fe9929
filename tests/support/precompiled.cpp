// SPDX-License-Identifier: MIT
// CMake precompiles a header for a target that has a source.
#include "precompiled.hpp"
