// SPDX-License-Identifier: MIT
#include "slots.hpp"

#include "device_tree.hpp"
#include "loader.hpp"
#include "pages.hpp"
#include "runtime.hpp"

namespace boot {
namespace {

slot_list found;
rejected_list rejected;

void reject(text word, uint64_t base, const char* problem) {
  if (rejected.count < rejected.most) rejected.slots[rejected.count++] = {word, base, problem};
}

const char* add(const mmio_slot& one) {
  if (is_memory(one.base, one.size)) return "the machine has memory there";
  if (!map_device_memory(one.base, one.size)) return "the processor does not reach it";
  return found.add(one);
}

void by_words(const char* command_line) {
  each_mmio_word(command_line, [](const char* text, size_t size) {
    const mmio_word word = parse_mmio_word(text, size);
    const char* const problem = word.problem != nullptr ? word.problem : add(word.slot);
    if (problem == nullptr) return;
    reject({text, size}, word.slot.base, problem);
    print("virtio_mmio.device=", boot::text{text, size}, ": ", problem,
          "; wanted: <size>@<address>:<interrupt>[:<id>]\n");
  });
}

void by_tree(const void* blob) {
  device_tree{blob}.each_node([](const auto& node) {
    if (!node.is("virtio,mmio")) return;
    const range where = node.reg(0);
    const char* const problem =
        where.size == 0 ? "no address" : add({where.base, where.size, node.find("interrupts").cell(0)});
    if (problem == nullptr) return;
    reject({}, where.base, problem);
    print("virtio,mmio at ", hex(where.base), ": ", problem, "\n");
  });
}

// QEMU's microvm has a tree besides ACPI. The file and the tree's own size are 1 MiB, but its contents are at the
// beginning.
// Returns null if the contents do not fit.
const void* tree_of_qemu() {
  constexpr const char* name = "etc/fdt";
  alignas(8) static uint8_t tree[32 * 1024];
  const auto field = [](size_t at) {  // big-endian
    return uint32_t{tree[at]} << 24 | uint32_t{tree[at + 1]} << 16 | uint32_t{tree[at + 2]} << 8 | tree[at + 3];
  };
  constexpr size_t header = 40;
  if (read_config_file(name, tree, header) != header) return nullptr;
  const uint64_t structure = uint64_t{field(8)} + field(36), strings = uint64_t{field(12)} + field(32);
  const uint64_t end = structure > strings ? structure : strings;
  return end <= sizeof tree && read_config_file(name, tree, static_cast<size_t>(end)) == end ? tree : nullptr;
}

}  // namespace

const void* machine_tree() {
  const void* const given = loaded().device_tree;
  return given != nullptr ? given : tree_of_qemu();
}

const slot_list& mmio_slots() {
  static bool known;
  if (known) return found;
  known = true;
  by_words(loaded().command_line);
  if (found.count == 0) by_tree(loaded().device_tree);
  if (found.count == 0) by_tree(tree_of_qemu());
  return found;
}

const rejected_list& rejected_slots() {
  (void)mmio_slots();
  return rejected;
}

}  // namespace boot
