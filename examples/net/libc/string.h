/* SPDX-License-Identifier: MIT
 * The part of it that lwIP uses. */
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
void* memcpy(void* to, const void* from, size_t n);
void* memmove(void* to, const void* from, size_t n);
void* memset(void* to, int value, size_t n);
int memcmp(const void* left, const void* right, size_t n);
size_t strlen(const char* s);
int strcmp(const char* left, const char* right);
int strncmp(const char* left, const char* right, size_t n);
char* strchr(const char* s, int c);
char* strstr(const char* s, const char* part);
#ifdef __cplusplus
}
#endif
