/* SPDX-License-Identifier: MIT
 * The part of it that lwIP uses. */
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C"
#endif
    int
    snprintf(char* to, size_t size, const char* format, ...); /* %s and %d */
