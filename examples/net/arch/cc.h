/* SPDX-License-Identifier: MIT
 * lwIP's settings for the compiler and the machine. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BYTE_ORDER LITTLE_ENDIAN
#define lwip_htons(x) __builtin_bswap16(x) /* not functions: a call is larger */
#define lwip_htonl(x) __builtin_bswap32(x)
#define MEMCPY(to, from, size) __builtin_memcpy(to, from, size) /* a few bytes are copied without a call */
#define SMEMCPY(to, from, size) __builtin_memcpy(to, from, size)
#define LWIP_NO_INTTYPES_H 1
#define LWIP_NO_LIMITS_H 1
#define LWIP_NO_UNISTD_H 1
#define LWIP_NO_CTYPE_H 1
#define SSIZE_MAX INTPTR_MAX
typedef intptr_t ssize_t;
#define X8_F "02x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "lu"

#define LWIP_PLATFORM_DIAG(x) \
  do {                        \
  } while (0)
#define LWIP_PLATFORM_ASSERT(x) \
  do {                          \
  } while (0)

#ifdef __cplusplus
extern "C"
#endif
    uint32_t
    lwip_port_random(void); /* the program's */
#define LWIP_RAND() lwip_port_random()
