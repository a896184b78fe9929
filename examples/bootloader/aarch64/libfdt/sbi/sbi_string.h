/* SPDX-License-Identifier: MIT
 * The functions that this copy of libfdt expects from OpenSBI; they are those of the C library. */
#pragma once

#include <stddef.h>

#if __STDC_HOSTED__
#include <string.h>
#else
#ifdef __cplusplus
extern "C" {
#endif
void* memcpy(void* to, const void* from, size_t n);
void* memmove(void* to, const void* from, size_t n);
void* memset(void* to, int value, size_t n);
int memcmp(const void* left, const void* right, size_t n);
void* memchr(const void* in, int c, size_t n);
size_t strlen(const char* s);
size_t strnlen(const char* s, size_t most);
char* strrchr(const char* s, int c);
#ifdef __cplusplus
}
#endif
#endif

/* libfdt_env.h defines the plain names as these. A macro is not expanded within itself, so the plain names remain. */
#define sbi_memchr memchr
#define sbi_memcmp memcmp
#define sbi_memcpy memcpy
#define sbi_memmove memmove
#define sbi_memset memset
#define sbi_strchr strchr
#define sbi_strcmp strcmp
#define sbi_strcpy strcpy
#define sbi_strlen strlen
#define sbi_strncmp strncmp
#define sbi_strncpy strncpy
#define sbi_strnlen strnlen
#define sbi_strrchr strrchr
