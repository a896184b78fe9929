// SPDX-License-Identifier: MIT
// libFuzzer: the device tree that a boot loader edits. The input is the tree itself, or changes to a valid one: three
// bytes each, place and value.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "../../examples/boot/common/device_tree.hpp"
#include "../../examples/bootloader/aarch64/tree.hpp"
#include "../bootloader/tree_blob.hpp"

namespace {

void require(bool good) {
  if (!good) abort();
}

std::vector<std::uint64_t> usual() {
  tree_blob out;
  out.reserve(0x4800'0000, 0x1000);
  out.begin("");
  out.property("#address-cells", std::string("\0\0\0\2", 4));
  out.begin("memory@40000000");
  out.property("reg", tree_blob::cells(0x4000'0000) + tree_blob::cells(0x1000'0000));
  out.end();
  out.begin("chosen");
  out.property("bootargs", std::string("disk=one\0", 9));
  out.property("linux,initrd-start", tree_blob::cells(0x4800'0000));
  out.property("linux,initrd-end", tree_blob::cells(0x4800'1000));
  out.end();
  out.end();
  return out.finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  std::vector<std::uint64_t> from;
  size_t bytes = size - 1;
  if ((*data & 1) != 0) {
    from = usual();
    bytes = from.size() * 8;
    auto* const at = reinterpret_cast<std::uint8_t*>(from.data());
    for (size_t i = 1; i + 3 <= size; i += 3) at[(data[i] + size_t{256} * data[i + 1]) % bytes] = data[i + 2];
  } else {
    from.resize((bytes + 7) / 8);
    std::memcpy(from.data(), data + 1, bytes);
  }
  const std::unique_ptr<std::uint64_t[]> exact{new std::uint64_t[from.size()]};  // a read beyond the end is detected
  std::memcpy(exact.get(), from.data(), from.size() * 8);
  const size_t room = (*data & 2) != 0 ? 400 : 4096;
  const std::unique_ptr<std::uint64_t[]> to{new std::uint64_t[room / 8]};
  if (loader::write_tree(exact.get(), bytes, {to.get(), room},
                         {"root=LABEL=x", 0x5000'0000, (*data & 4) != 0 ? 0x1000u : 0u}) != nullptr)
    return 0;
  require(fdt_check_full(to.get(), room) == 0 && fdt_totalsize(to.get()) <= room);
  const int chosen = fdt_path_offset(to.get(), "/chosen");
  const void* const options = chosen < 0 ? nullptr : fdt_getprop(to.get(), chosen, "bootargs", nullptr);
  require(options != nullptr && std::strcmp(static_cast<const char*>(options), "root=LABEL=x") == 0);
  require((fdt_getprop(to.get(), chosen, "linux,initrd-end", nullptr) != nullptr) == ((*data & 4) != 0));
  boot::device_tree{to.get()}.each_node([](const boot::device_tree::node& one) { (void)one.find("reg"); });
  return 0;
}
