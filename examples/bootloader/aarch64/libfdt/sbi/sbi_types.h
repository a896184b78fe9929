/* SPDX-License-Identifier: MIT
 * The types that this copy of libfdt expects from OpenSBI. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
