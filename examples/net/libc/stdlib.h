/* SPDX-License-Identifier: MIT
 * The part of it that lwIP uses. */
#pragma once

#ifdef __cplusplus
extern "C"
#endif
    int
    atoi(const char* s);
