// SPDX-License-Identifier: MIT
// The device tree for the kernel: the machine's own, with the command line and the initrd in /chosen.
//
// Format: Devicetree Specification 0.4; Linux, Documentation/devicetree/bindings/chosen.txt. libfdt reads and writes
// it.
#pragma once

#include <libfdt.h>

#include <virtio/base/bytes.hpp>

namespace loader {

/// The changes to the tree.
struct tree_changes {
  const char* options = "";
  virtio::u64 initrd = 0, initrd_size = 0;  // size 0: none
};

/// Writes a copy of the tree `from` into `to` with these changes. `size` bytes of `from` are readable; both are at
/// multiples of 8. The copy does not reserve the memory of the tree `from` and of the initrd that it names. Returns
/// null, or what is wrong; then `to` contains no tree.
[[nodiscard]] inline const char* write_tree(const void* from, virtio::usize size, virtio::bytes to,
                                            const tree_changes& changes) {
  using virtio::u64;
  constexpr virtio::usize most = 0x7fff'ffff;  // of libfdt's numbers
  static constexpr char start_name[] = "linux,initrd-start", end_name[] = "linux,initrd-end";
  // For a version before 16, fdt_check_full (1.6.1) reads a name through a null pointer; 17 is from 2006.
  if (size < sizeof(fdt_header) || fdt_version(from) < 17 || fdt_check_full(from, size) != 0)
    return "the machine's device tree is damaged";
  void* const tree = to.data();
  const auto room = static_cast<int>(to.size() < most ? to.size() : most);
  if (fdt_open_into(from, tree, room) != 0) return "the machine's device tree is too large";
  int chosen = fdt_path_offset(tree, "/chosen");
  if (chosen == -FDT_ERR_NOTFOUND) chosen = fdt_add_subnode(tree, 0, "chosen");

  const auto address = [&](const char* name) -> u64 {
    int length = 0;
    const void* const value = chosen < 0 ? nullptr : fdt_getprop(tree, chosen, name, &length);
    if (value == nullptr) return 0;
    return length == 8   ? fdt64_ld(static_cast<const fdt64_t*>(value))
           : length == 4 ? fdt32_ld(static_cast<const fdt32_t*>(value))
                         : 0;
  };
  const u64 old_initrd = address(start_name), old_end = address(end_name);
  const auto old_tree = static_cast<u64>(reinterpret_cast<virtio::uptr>(from));
  for (int i = fdt_num_mem_rsv(tree); i-- > 0;) {
    u64 at = 0, bytes = 0;
    if (fdt_get_mem_rsv(tree, i, &at, &bytes) != 0) continue;
    const bool is_initrd = old_end > old_initrd && at == old_initrd;
    if (at == old_tree || is_initrd) (void)fdt_del_mem_rsv(tree, i);
  }

  int wrong = chosen;
  if (chosen >= 0)
    wrong =
        fdt_setprop(tree, chosen, "bootargs", changes.options, static_cast<int>(__builtin_strlen(changes.options) + 1));
  const auto set = [&](const char* name, u64 value) {
    while (wrong == 0) wrong = fdt_delprop(tree, chosen, name);  // an odd tree has it twice
    if (wrong != -FDT_ERR_NOTFOUND) return;
    wrong = changes.initrd_size != 0 ? fdt_setprop_u64(tree, chosen, name, value) : 0;
  };
  set(start_name, changes.initrd);
  set(end_name, changes.initrd + changes.initrd_size);
  if (wrong == 0) wrong = fdt_pack(tree);
  if (wrong == 0) return nullptr;
  fdt_set_magic(tree, 0);
  return wrong == -FDT_ERR_NOSPACE ? "the machine's device tree is too large" : "the machine's device tree is damaged";
}

}  // namespace loader
