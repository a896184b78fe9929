// SPDX-License-Identifier: MIT
// What most test files include, for one precompiled header. No driver is here: a change of one would compile all files again.
#pragma once

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <map>
#include <numeric>
#include <random>

#include "machine.hpp"
