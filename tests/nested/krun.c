/* SPDX-License-Identifier: MIT
 * Starts a kernel with libkrun, a library: one processor, a serial port to standard output, the given disks; an entropy
 * device and a balloon are always present.
 * usage: krun IMAGE COMMAND-LINE [DISK]...
 * libkrun ends the process when the machine ends. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Of libkrun.h, which the crates registry's package does not have. */
int32_t krun_set_log_level(uint32_t level);
int32_t krun_create_ctx(void);
int32_t krun_set_vm_config(uint32_t context, uint8_t processors, uint32_t mebibytes);
int32_t krun_set_kernel(uint32_t context, const char* path, uint32_t format, const char* initramfs,
                        const char* command_line);
int32_t krun_add_disk(uint32_t context, const char* name, const char* path, bool read_only);
int32_t krun_disable_implicit_console(uint32_t context);
int32_t krun_disable_implicit_vsock(uint32_t context);
int32_t krun_add_serial_console_default(uint32_t context, int input, int output);
int32_t krun_start_enter(uint32_t context);

enum { warnings = 2, elf = 1 };

static uint32_t context;

static bool is_done(int32_t result, const char* what) {
  if (result < 0) fprintf(stderr, "krun: %s: error %d\n", what, (int)-result);
  return result >= 0;
}

int main(int count, char** arguments) {
  if (count < 3) {
    fprintf(stderr, "usage: krun IMAGE COMMAND-LINE [DISK]...\n");
    return 2;
  }
  krun_set_log_level(warnings);
  const int32_t created = krun_create_ctx();
  if (!is_done(created, "a context")) return 1;
  context = (uint32_t)created;
  if (!is_done(krun_set_vm_config(context, 1, 256), "processor and memory") ||
      !is_done(krun_set_kernel(context, arguments[1], elf, NULL, arguments[2]), arguments[1]) ||
      !is_done(krun_disable_implicit_console(context), "no console device") ||
      !is_done(krun_disable_implicit_vsock(context), "no socket device") ||
      !is_done(krun_add_serial_console_default(context, -1, 1), "a serial port"))
    return 1;
  for (int i = 3; i < count; ++i) {
    char name[] = {'d', (char)('0' + i - 3), 0};
    if (!is_done(krun_add_disk(context, name, arguments[i], false), arguments[i])) return 1;
  }
  is_done(krun_start_enter(context), "the machine");
  return 1;
}
