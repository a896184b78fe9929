// SPDX-License-Identifier: MIT
// A plugin for QEMU's TCG that counts what a guest does between two markers: instructions, by range of code, and
// accesses to device registers, by page. Exact and repeatable, unlike a clock. One virtual processor only.
//
// A marker is the no-op 0F 1F 84 00 <id, two bytes> 11 47, harmless on any x86. At each one the plugin prints to stderr
// the counts since the previous one:   count mark=2 waiting=1200 rest=48000 page=fe000000:21:9
// (a page's writes, then reads). Instructions of repeated string operations count once an iteration.
//
// Arguments: range=NAME:FIRST:END (hexadecimal, repeatable), registers=on, and profile=MARK:FILE, which at that marker
// writes the runs of each instruction of the first megabytes since the previous marker.
// The required functions of QEMU's plugin interface, version 1, are declared here: distributions do not package its
// header.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct block;
struct instruction;
struct hardware_address;
enum { ADD = 0, NO_REGISTERS = 0, READS_AND_WRITES = 3 };

#define PUBLIC __attribute__((visibility("default")))
PUBLIC int qemu_plugin_version = 1;
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct block*));
size_t qemu_plugin_tb_n_insns(const struct block*);
struct instruction* qemu_plugin_tb_get_insn(const struct block*, size_t);
const void* qemu_plugin_insn_data(const struct instruction*);
size_t qemu_plugin_insn_size(const struct instruction*);
uint64_t qemu_plugin_insn_vaddr(const struct instruction*);
void qemu_plugin_register_vcpu_insn_exec_inline(struct instruction*, int, void*, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct instruction*, void (*)(unsigned, void*), int, void*);
void qemu_plugin_register_vcpu_mem_cb(struct instruction*, void (*)(unsigned, uint32_t, uint64_t, void*), int, int,
                                      void*);
struct hardware_address* qemu_plugin_get_hwaddr(uint32_t, uint64_t);
bool qemu_plugin_hwaddr_is_io(const struct hardware_address*);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct hardware_address*);
bool qemu_plugin_mem_is_store(uint32_t);

// The last range is all code outside the others.
static struct {
  char name[32];
  uint64_t first, end, count, reported;
} ranges[16];
static int range_count;

static struct {
  uint64_t address, writes, reads;
} pages[64];
static int page_count;
static bool count_registers;

enum { PROFILED = 4 << 20 };
static uint64_t runs[PROFILED];  // by address
static char profile_path[256];
static unsigned profile_mark;

static void write_profile(void) {
  FILE* file = fopen(profile_path, "w");
  if (!file) return;
  for (size_t at = 0; at < PROFILED; ++at)
    if (runs[at]) fprintf(file, "%zx %llu\n", at, (unsigned long long)runs[at]);
  fclose(file);
}

static void report(unsigned processor, void* mark) {
  (void)processor;
  fprintf(stderr, "count mark=%u", (unsigned)(uintptr_t)mark);
  for (int i = 0; i < range_count; ++i) {
    fprintf(stderr, " %s=%llu", ranges[i].name, (unsigned long long)(ranges[i].count - ranges[i].reported));
    ranges[i].reported = ranges[i].count;
  }
  for (int i = 0; i < page_count; ++i)
    fprintf(stderr, " page=%llx:%llu:%llu", (unsigned long long)pages[i].address, (unsigned long long)pages[i].writes,
            (unsigned long long)pages[i].reads);
  page_count = 0;
  if (profile_path[0]) {
    if ((unsigned)(uintptr_t)mark == profile_mark) write_profile();
    memset(runs, 0, sizeof runs);
  }
  fputc('\n', stderr);
}

static void access(unsigned processor, uint32_t what, uint64_t address, void* unused) {
  (void)processor;
  (void)unused;
  const struct hardware_address* where = qemu_plugin_get_hwaddr(what, address);
  if (!where || !qemu_plugin_hwaddr_is_io(where)) return;
  const uint64_t page = qemu_plugin_hwaddr_phys_addr(where) & ~(uint64_t)0xfff;
  int i = 0;
  while (i < page_count && pages[i].address != page) ++i;
  if (i == page_count) {
    if (i == sizeof pages / sizeof *pages) return;
    pages[i].address = page;
    pages[i].writes = pages[i].reads = 0;
    ++page_count;
  }
  if (qemu_plugin_mem_is_store(what)) ++pages[i].writes;
  else ++pages[i].reads;
}

static bool is_marker(const struct instruction* one) {
  const uint8_t* bytes = qemu_plugin_insn_data(one);
  return qemu_plugin_insn_size(one) == 8 && !memcmp(bytes, "\x0f\x1f\x84\x00", 4) && bytes[6] == 0x11 &&
         bytes[7] == 0x47;
}

static void translate(uint64_t plugin, struct block* block) {
  (void)plugin;
  for (size_t i = 0, n = qemu_plugin_tb_n_insns(block); i < n; ++i) {
    struct instruction* one = qemu_plugin_tb_get_insn(block, i);
    const uint64_t at = qemu_plugin_insn_vaddr(one);
    int r = 0;
    while (r < range_count - 1 && (at < ranges[r].first || at >= ranges[r].end)) ++r;
    qemu_plugin_register_vcpu_insn_exec_inline(one, ADD, &ranges[r].count, 1);
    if (profile_path[0] && at < PROFILED) qemu_plugin_register_vcpu_insn_exec_inline(one, ADD, &runs[at], 1);
    if (is_marker(one)) {
      const uint8_t* bytes = qemu_plugin_insn_data(one);
      qemu_plugin_register_vcpu_insn_exec_cb(one, report, NO_REGISTERS, (void*)(uintptr_t)(bytes[4] | bytes[5] << 8));
    }
    if (count_registers) qemu_plugin_register_vcpu_mem_cb(one, access, NO_REGISTERS, READS_AND_WRITES, NULL);
  }
}

PUBLIC int qemu_plugin_install(uint64_t plugin, const void* info, int argc, char** argv) {
  (void)info;
  for (int i = 0; i < argc; ++i) {
    unsigned long long first, end;
    if (range_count < 15 && sscanf(argv[i], "range=%31[^:]:%llx:%llx", ranges[range_count].name, &first, &end) == 3) {
      ranges[range_count].first = first;
      ranges[range_count++].end = end;
    } else if (!strcmp(argv[i], "registers=on")) {
      count_registers = true;
    } else if (sscanf(argv[i], "profile=%u:%255s", &profile_mark, profile_path) == 2) {
      // writes at its marker
    } else {
      fprintf(stderr, "count: what is %s?\n", argv[i]);
      return 1;
    }
  }
  strcpy(ranges[range_count++].name, "rest");
  qemu_plugin_register_vcpu_tb_trans_cb(plugin, translate);
  return 0;
}
