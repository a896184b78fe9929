// SPDX-License-Identifier: MIT
// The headers that most test files include, as one precompiled header. No driver: a change of one would compile all
// files again.
#pragma once

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <map>
#include <numeric>
#include <random>

#include "machine.hpp"
