/* SPDX-License-Identifier: MIT
 * As much of it as lwIP uses. */
#pragma once

#ifdef __cplusplus
extern "C"
#endif
int atoi(const char* s);
