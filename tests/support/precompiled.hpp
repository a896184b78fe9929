// SPDX-License-Identifier: MIT
// What most test files include, for one precompiled header.
#pragma once

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <map>
#include <numeric>
#include <random>

#include "disk.hpp"
#include "vsock.hpp"
