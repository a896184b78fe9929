// SPDX-License-Identifier: MIT
// The guest of the QEMU matrix. matrix.py passes on its command line what to run (run=disk,rng) and the expected
// results; status 0 means that all were met. together.py passes several cells, their command lines between bars: the
// start and end of each is marked, and the first that fails ends the guest.
#include "guest.hpp"

namespace {

/// Runs the words of `run=`.
int run_cell() {
  boot::print("cell: ", boot::command_line(), "\n");
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
                      (cell::run_ecam != nullptr && cell::run_ecam(word)) ||
                      (cell::run_loader != nullptr && cell::run_loader(word)) ||
                      (cell::run_far != nullptr && cell::run_far(word));
    if (word == "hang") {  // these two only test the program that runs the cells
      boot::print("hanging\n");
      for (;;) boot::pause();
    } else if (word == "leave") {
      boot::exit(0);
    } else if (!done) {
      boot::print("no such thing to run: ", word, "\n");
      return 1;
    }
    boot::print("ok ", word, "\n");
  }
  return 0;
}

constexpr char between_cells = '|';
char all[4096];  // the whole command line; the loader's copy then holds the cell's own, which is never longer

bool takes_all(const char* command_line) {
  bool several = false;
  cell::usize n = 0;
  for (; command_line[n] != '\0'; ++n) {
    CHECK(n + 1 < sizeof all);
    all[n] = command_line[n];
    several = several || command_line[n] == between_cells;
  }
  all[n] = '\0';
  return several;
}

}  // namespace

extern "C" int guest_main(const char* command_line) {
  if (!takes_all(command_line)) return run_cell();
  char* const own = const_cast<char*>(command_line);  // in writable memory, whichever loader put it there
  const char* next = all;
  for (unsigned number = 1; *next != '\0'; ++number) {
    cell::usize n = 0;
    for (; *next != '\0' && *next != between_cells; ++next) own[n++] = *next;
    own[n] = '\0';
    if (*next == between_cells) ++next;
    boot::print("cell ", number, " begins\n");
    if (const int status = run_cell(); status != 0) return status;
    cell::end_of_cell();
    boot::print("cell ", number, " ends\n");
  }
  return 0;
}
