/* SPDX-License-Identifier: MIT
 * Virtio drivers for firmware in C: a disk, an entropy source, a console, and connections to the host over vsock.
 * drivers.cpp, the only file in C++, implements them.
 *
 * Each call that returns a virtio_status returns VIRTIO_OK or an error. An invalid argument is an error, not a trap.
 * No call allocates memory. A comment says whether a call waits; the board's keep_waiting bounds each wait. All calls
 * come from one thread. The caller owns its buffers again when a call returns, except after VIRTIO_DEVICE_BROKEN. */
#ifndef VIRTIO_DRIVERS_H
#define VIRTIO_DRIVERS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int virtio_status;

/* The errors that a program may handle by name. Other errors exist; virtio_error() describes each of them. */
enum {
  VIRTIO_OK = 0,
  VIRTIO_NOT_READY = 1,        /* no data has arrived yet */
  VIRTIO_INVALID_ARGUMENT = 8, /* a null pointer, or a buffer of 0 bytes */
  VIRTIO_MISALIGNED = 9,       /* not a multiple of the disk's block size */
  VIRTIO_OUT_OF_RANGE = 10,    /* past the end of the disk */
  VIRTIO_READ_ONLY = 11,       /* a write to a read-only disk */
  VIRTIO_STALE_HANDLE = 12,    /* the connection was closed */
  VIRTIO_NO_SPACE = 13,        /* the buffer is too short; from a start: the driver's ring is too small */
  VIRTIO_NOT_STARTED = 15,     /* never started, stopped, or down after a device error: start it again */
  VIRTIO_NOT_FOUND = 19,       /* the machine has no such device */
  VIRTIO_UNSUPPORTED = 21,     /* after a start, virtio_why() prints the reason */
  VIRTIO_IO_ERROR = 23,        /* the device failed this request; later requests may succeed */
  VIRTIO_TIMED_OUT = 25,       /* no answer in time: the driver has reset the device */
  VIRTIO_REFUSED = 28,         /* the peer does not listen at that port */
  VIRTIO_PEER_SILENT = 29,     /* the peer did not answer, or did not read, in time; the device works */
  VIRTIO_PEER_CLOSED = 30,     /* the peer has ended the stream */
  VIRTIO_PEER_RESET = 31,      /* the peer has reset the connection */
  VIRTIO_DEVICE_BROKEN = 33    /* the device does not reset: it may still write to the memory that it was given */
};

/* Returns a sentence for a status; any number is valid. Static storage. */
const char* virtio_error(virtio_status why);

/* Disk ----------------------------------------------------------------------------------------------------------- */

/* Starts the disk with this number, counted from 0 in bus order. Stops the disk that was started before. Waits. */
virtio_status virtio_disk_start(unsigned number);
/* Return, for the started disk, its size in sectors of 512 bytes, its block size in bytes, and whether it is
 * read-only. Return 0 without a started disk. */
uint64_t virtio_disk_sectors(void);
uint32_t virtio_disk_block_size(void);
int virtio_disk_is_read_only(void);
/* Copies the serial number, at most 20 characters and a terminator: `room` is 21 or more. Waits.
 * VIRTIO_UNSUPPORTED: the disk has none. */
virtio_status virtio_disk_serial(char* to, size_t room);
/* Read or write `count` sectors of 512 bytes. `sector` and `count` are multiples of the block size. Wait. */
virtio_status virtio_disk_read(uint64_t sector, void* to, size_t count);
virtio_status virtio_disk_write(uint64_t sector, const void* from, size_t count);
/* Makes all completed writes stable. Waits. */
virtio_status virtio_disk_flush(void);
virtio_status virtio_disk_stop(void);

/* Entropy -------------------------------------------------------------------------------------------------------- */

/* Starts the first entropy source. Waits. */
virtio_status virtio_entropy_start(void);
/* Fills `size` bytes. After an error, use none of them. Waits. */
virtio_status virtio_entropy_fill(void* to, size_t size);
virtio_status virtio_entropy_stop(void);

/* Console -------------------------------------------------------------------------------------------------------- */

/* Starts the first console, with its first port. Waits. */
virtio_status virtio_console_start(void);
/* Sends all bytes. Waits for room. VIRTIO_PEER_SILENT: the host has not read enough, and some bytes are not sent. */
virtio_status virtio_console_put(const void* from, size_t size);
/* Receive at most `room` bytes; `*got` is their number. The first call waits for a byte. The second call does not
 * wait: it returns VIRTIO_NOT_READY. */
virtio_status virtio_console_get(void* to, size_t room, size_t* got);
virtio_status virtio_console_try_get(void* to, size_t room, size_t* got);
/* Waits until the host has read all bytes, then stops. VIRTIO_PEER_SILENT: stopped, but some bytes are lost. */
virtio_status virtio_console_stop(void);

/* Vsock: connections to the host, or to another guest ------------------------------------------------------------ */

/* The name of a connection. All-zero is the name of none. */
typedef struct virtio_socket {
  uint32_t slot, generation;
} virtio_socket;

enum { VIRTIO_HOST_CID = 2 };

/* Starts the first vsock device. `seed` differs from boot to boot: use random bits or a clock. Waits. */
virtio_status virtio_vsock_start(uint64_t seed);
/* Returns this guest's context id, for the started device. */
uint32_t virtio_vsock_cid(void);
/* Connects. Waits for the peer. VIRTIO_REFUSED: the port is closed. Some hosts do not report a closed port; the result
 * is then VIRTIO_PEER_SILENT. */
virtio_status virtio_vsock_connect(uint32_t cid, uint32_t port, virtio_socket* made);
/* Sends all bytes. Waits for room. After an error, some bytes may have been sent. */
virtio_status virtio_vsock_send(virtio_socket to, const void* from, size_t size);
/* Receive at most `room` bytes; `*got` is their number. VIRTIO_PEER_CLOSED: the stream has ended. The first call waits
 * for a byte. The second call does not wait: it returns VIRTIO_NOT_READY. */
virtio_status virtio_vsock_receive(virtio_socket from, void* to, size_t room, size_t* got);
virtio_status virtio_vsock_try_receive(virtio_socket from, void* to, size_t room, size_t* got);
/* Closes the connection after all sent bytes have arrived. Waits for the peer. VIRTIO_PEER_SILENT: the peer did not
 * agree in time, and the connection was reset. The name is stale after the call in each case. */
virtio_status virtio_vsock_close(virtio_socket which);
virtio_status virtio_vsock_stop(void);

/* All devices ---------------------------------------------------------------------------------------------------- */

/* Resets each device that was started and takes it off the bus: call this before the jump to the next stage. No device
 * writes to memory after success. Returns the first error. Each device can be started again. This call does not link
 * drivers that the program never starts. */
virtio_status virtio_stop_all(void);

/* Receives text in pieces; a line ends with '\n'. */
typedef void virtio_print(void* context, const char* text);
/* Prints a line for each virtio device: its address, its type, and whether a driver can use it, or why not. */
void virtio_list(virtio_print* print, void* context);
/* Prints why the last start failed, the property of the device that caused it, and the remedy. Prints nothing if that
 * start succeeded, or if it found no device. */
void virtio_why(virtio_print* print, void* context);

#ifdef __cplusplus
}
#endif

#endif
