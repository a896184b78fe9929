// SPDX-License-Identifier: MIT
// The guest of the QEMU matrix. matrix.py tells it by its command line what to run (run=disk,rng) and what must come of it;
// status 0 means that everything was so.
#include "guest.hpp"

extern "C" int guest_main(const char* command_line) {
  boot::print("cell: ", command_line, "\n");
  boot::text list = boot::option("run");
  CHECK(list);
  while (list.size != 0) {
    boot::text word{list.data, 0};
    while (word.size < list.size && word.data[word.size] != ',') ++word.size;
    const size_t skip = word.size < list.size ? word.size + 1 : word.size;
    list = {list.data + skip, list.size - skip};
    const bool done = cell::run_disk(word) || cell::run_entropy(word) || cell::run_bus(word) ||
                      (cell::run_registers != nullptr && cell::run_registers(word)) ||
                      (cell::run_window != nullptr && cell::run_window(word)) ||
                      (cell::run_ecam != nullptr && cell::run_ecam(word));
    if (!done) {
      boot::print("no such thing to run: ", word, "\n");
      return 1;
    }
    boot::print("ok ", word, "\n");
  }
  return 0;
}
