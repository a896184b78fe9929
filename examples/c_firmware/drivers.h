/* SPDX-License-Identifier: MIT
 * What firmware written in C sees of the drivers: the machine's disk and its source of entropy. drivers.cpp is the other side.
 * One caller at a time; every call waits for the device, with a bound. */
#ifndef DRIVERS_H
#define DRIVERS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 0, or why not: drivers_describe() has the sentence. */
typedef int drivers_status;

/* Finds and starts the one disk. May be called again. */
drivers_status disk_start(void);
/* In sectors of 512 bytes; 0 when the disk is not started. */
uint64_t disk_sectors(void);
/* `size` is a multiple of 512. The memory is the caller's again when these return. */
drivers_status disk_read(uint64_t sector, void *to, size_t size);
drivers_status disk_write(uint64_t sector, const void *from, size_t size);
/* Makes what was written stable. */
drivers_status disk_flush(void);

drivers_status entropy_start(void);
/* All of `size` bytes are random, or an error. */
drivers_status entropy_fill(void *to, size_t size);

/* Leaves the devices quiet for the operating system; before the jump. */
drivers_status drivers_hand_off(void);

/* A sentence about an error. Static storage. */
const char *drivers_describe(drivers_status why);

/* After a start that failed: what stood in the way, and what to do about it; empty when there was no device. Static storage.
 * Where it was a BAR: its address on the bus and its size in bytes, each as far as it is known, else 0. */
const char *drivers_verdict(void);
const char *drivers_advice(void);
uint64_t drivers_bar_address(void);
uint64_t drivers_bar_size(void);

#ifdef __cplusplus
}
#endif

#endif
