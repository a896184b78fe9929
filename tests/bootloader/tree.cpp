// SPDX-License-Identifier: MIT
// The device tree that examples/bootloader passes to a kernel for 64-bit Arm, read by the boards' own reader, which
// shares no code with libfdt.
#include <catch2/catch_test_macros.hpp>

#include <string>
#include <vector>

#include "../../examples/boot/common/device_tree.hpp"
#include "../../examples/bootloader/aarch64/tree.hpp"
#include "tree_blob.hpp"

namespace {

struct written {
  std::vector<std::uint64_t> memory;
  std::string wrong;

  written(const std::vector<std::uint64_t>& from, const loader::tree_changes& changes, virtio::usize room = 65536,
          virtio::usize size = 0)
      : memory(room / 8) {
    const char* const said =
        loader::write_tree(from.data(), size == 0 ? from.size() * 8 : size, {memory.data(), room}, changes);
    if (said != nullptr) wrong = said;
  }
  [[nodiscard]] boot::device_tree tree() const { return boot::device_tree{memory.data()}; }
  /// A property of /chosen, with its terminators; "-" if it is missing.
  [[nodiscard]] std::string chosen(const char* name) const {
    const boot::device_tree whole = tree();
    boot::device_tree::node node;
    if (!whole.at_path(boot::device_tree::characters("/chosen"), node)) return "no /chosen";
    const auto value = node.find(name);
    return value ? std::string(reinterpret_cast<const char*>(value.data), value.size) : "-";
  }
  [[nodiscard]] std::vector<boot::range> reservations() const {
    std::vector<boot::range> out;
    tree().each_reservation([&](boot::range one) { out.push_back(one); });
    return out;
  }
};

std::string string_of(const char* s) { return {s, std::strlen(s) + 1}; }

tree_blob machine() {
  tree_blob out;
  out.begin("");
  out.property("compatible", string_of("linux,dummy-virt"));
  return out;
}

}  // namespace

TEST_CASE("boot tree: the kernel gets its own options and initrd, and keeps the rest", "[examples][boot]") {
  tree_blob from = machine();
  from.begin("chosen");
  from.property("bootargs", string_of("disk=one"));
  from.property("stdout-path", string_of("/pl011@9000000"));
  from.property("linux,initrd-start", std::string("\x48\0\0\0", 4));
  from.end();
  from.end();
  const written to{from.finish(), {"root=LABEL=x quiet", 0x1'4567'8000, 12345}};
  REQUIRE(to.wrong.empty());
  CHECK(to.chosen("bootargs") == string_of("root=LABEL=x quiet"));
  CHECK(to.chosen("stdout-path") == string_of("/pl011@9000000"));
  CHECK(to.chosen("linux,initrd-start") == tree_blob::cells(0x1'4567'8000));
  CHECK(to.chosen("linux,initrd-end") == tree_blob::cells(0x1'4567'8000 + 12345));
}

TEST_CASE("boot tree: the previous loader's initrd is removed when the entry has none", "[examples][boot]") {
  tree_blob from = machine();
  from.begin("chosen");
  from.property("linux,initrd-start", tree_blob::cells(0x4800'0000));
  from.property("linux,initrd-end", tree_blob::cells(0x4900'0000));
  from.end();
  from.end();
  const written to{from.finish(), {"quiet"}};
  REQUIRE(to.wrong.empty());
  CHECK(to.chosen("linux,initrd-start") == "-");
  CHECK(to.chosen("linux,initrd-end") == "-");
}

TEST_CASE("boot tree: a tree without /chosen gets one", "[examples][boot]") {
  tree_blob from = machine();
  from.begin("memory@0");
  from.end();
  from.end();
  const written to{from.finish(), {"quiet", 0x1000, 1}};
  REQUIRE(to.wrong.empty());
  CHECK(to.chosen("bootargs") == string_of("quiet"));
  CHECK(to.chosen("linux,initrd-end") == tree_blob::cells(0x1001));
}

TEST_CASE("boot tree: memory stays reserved, except that of the old initrd and the old tree", "[examples][boot]") {
  const auto make = [](std::uint64_t tree_at) {
    tree_blob from = machine();
    from.reserve(0x8000'0000, 0x1000);
    from.reserve(tree_at, 0x10'0000);
    from.reserve(0x4800'0000, 0x10'0000);
    from.begin("chosen");
    from.property("linux,initrd-start", tree_blob::cells(0x4800'0000));
    from.property("linux,initrd-end", tree_blob::cells(0x4810'0000));
    from.end();
    from.end();
    return from.finish();
  };
  std::vector<std::uint64_t> place = make(0);
  const auto blob = make(reinterpret_cast<std::uintptr_t>(place.data()));
  std::memcpy(place.data(), blob.data(), blob.size() * 8);
  const written to{place, {""}};
  REQUIRE(to.wrong.empty());
  CHECK(to.reservations() == std::vector{boot::range{0x8000'0000, 0x1000}});
}

TEST_CASE("boot tree: a damaged tree is rejected, and so is one without room for the options", "[examples][boot]") {
  tree_blob from = machine();
  from.end();
  const auto good = from.finish();
  CHECK(written{good, {"quiet"}}.wrong.empty());
  CHECK(written{good, {"quiet"}, 64}.wrong == "the machine's device tree is too large");
  const std::string long_options(200, 'q');
  const written tight{good, {long_options.c_str()}, 160};
  CHECK(tight.wrong == "the machine's device tree is too large");
  CHECK_FALSE(tight.tree());
  CHECK(written{good, {"quiet"}, 65536, 40}.wrong == "the machine's device tree is damaged");
  std::vector<std::uint64_t> none(16);
  CHECK(written{none, {"quiet"}}.wrong == "the machine's device tree is damaged");
  tree_blob open = machine();  // the root does not end
  CHECK(written{open.finish(), {"quiet"}}.wrong == "the machine's device tree is damaged");
}
