// SPDX-License-Identifier: MIT
// The device tree walker of the boot code, which runs before any error handler exists.
#include <catch2/catch_test_macros.hpp>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../../examples/boot/common/device_tree.hpp"

using boot::device_tree;

namespace {

/// Writes a tree token by token.
struct builder {
  std::vector<std::uint8_t> structure, strings;

  void word(std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) structure.push_back(static_cast<std::uint8_t>(value >> shift));
  }
  void bytes(const std::string& text) {
    structure.insert(structure.end(), text.begin(), text.end());
    structure.resize((structure.size() + 3) / 4 * 4);
  }
  void begin(const std::string& name) {
    word(1);
    bytes(name + '\0');
  }
  void end() { word(2); }
  void property(const std::string& name, const std::string& value) {
    word(3);
    word(static_cast<std::uint32_t>(value.size()));
    word(static_cast<std::uint32_t>(strings.size()));
    strings.insert(strings.end(), name.begin(), name.end());
    strings.push_back(0);
    bytes(value);
  }
  void property(const std::string& name, std::initializer_list<std::uint32_t> cells) {
    std::string value;
    for (const std::uint32_t one : cells)
      for (int shift = 24; shift >= 0; shift -= 8) value.push_back(static_cast<char>(one >> shift));
    property(name, value);
  }

  /// Returns the blob, in memory of exactly its size.
  [[nodiscard]] std::vector<std::uint8_t> blob() {
    builder head;
    const auto size = static_cast<std::uint32_t>(40 + structure.size() + strings.size());
    for (const std::uint32_t one :
         {0xd00dfeedu, size, 40u, static_cast<std::uint32_t>(40 + structure.size()), 40u, 17u, 16u, 0u,
          static_cast<std::uint32_t>(strings.size()), static_cast<std::uint32_t>(structure.size())})
      head.word(one);
    std::vector<std::uint8_t> all = head.structure;
    all.insert(all.end(), structure.begin(), structure.end());
    all.insert(all.end(), strings.begin(), strings.end());
    all.shrink_to_fit();
    return all;
  }
};

builder machine() {
  builder b;
  b.begin("");
  b.property("#address-cells", {2});
  b.property("#size-cells", {2});
  b.begin("chosen");
  b.property("bootargs", std::string{"run=disk\0", 9});
  b.end();
  b.word(4);
  b.begin("virtio_mmio@a000000");
  b.property("dma-coherent", std::string{});
  b.property("reg", {0, 0x0a000000, 0, 0x200});
  b.property("compatible", std::string{"virtio,mmio\0", 12});
  b.end();
  b.begin("soc");
  b.property("ranges", std::string{});
  b.property("#address-cells", {1});
  b.property("#size-cells", {1});
  b.begin("serial@9000000");
  b.property("compatible", std::string{"arm,pl011\0arm,primecell\0", 24});
  b.property("reg", {0x09000000, 0x1000, 0x09040000, 0x800});
  b.end();
  b.begin("secure@9100000");
  b.property("compatible", std::string{"arm,pl011\0", 10});
  b.property("status", std::string{"disabled\0", 9});
  b.end();
  b.end();
  b.end();
  b.word(9);
  return b;
}

}  // namespace

TEST_CASE("device tree: nodes are found by their compatible strings, and addresses by the cells of their parents",
          "[boot]") {
  const auto blob = machine().blob();
  const device_tree tree{blob.data()};
  REQUIRE(tree);
  unsigned nodes = 0, slots = 0, consoles = 0;
  std::string line;
  tree.each_node([&](const device_tree::node& node) {
    ++nodes;
    if (node.is("virtio,mmio")) {
      ++slots;
      CHECK(node.reg(0).base == 0x0a000000);
      CHECK(node.reg(0).size == 0x200);
      CHECK(node.reg(1).size == 0);
      CHECK(node.find("dma-coherent"));
    }
    if (node.is("arm,pl011")) {
      ++consoles;
      CHECK(node.reg(1).base == 0x09040000);
      CHECK(node.reg(1).size == 0x800);
      CHECK(node.reg(2).size == 0);
    }
    CHECK(!node.is("arm,pl01"));
    CHECK(!node.is("rm,pl011"));
    if (const auto args = node.find("bootargs")) line = reinterpret_cast<const char*>(args.data);
  });
  CHECK(nodes == 6);
  CHECK(slots == 1);
  CHECK(consoles == 1);  // the other one is disabled
  CHECK(line == "run=disk");
}

TEST_CASE("device tree: an invalid blob has no nodes", "[boot][hostile]") {
  const auto nothing = [](const device_tree::node&) { FAIL("a node"); };
  CHECK(!device_tree{nullptr});
  device_tree{nullptr}.each_node(nothing);
  auto blob = machine().blob();
  for (const std::size_t field : {0u, 4u, 8u, 12u, 32u, 36u}) {
    auto bad = blob;
    bad[field] ^= 0x80;  // a wrong magic number, or a huge offset or size
    CHECK(!device_tree{bad.data()});
    device_tree{bad.data()}.each_node(nothing);
  }
}

TEST_CASE("device tree: with any content the walk ends and stays inside the blob", "[boot][hostile]") {
  const auto whole = machine().blob();
  std::mt19937 random{2024};
  std::size_t visits = 0;
  const auto walk = [&](const std::vector<std::uint8_t>& blob) {
    device_tree{blob.data()}.each_node([&](const device_tree::node& node) {
      ++visits;
      (void)node.is("virtio,mmio");
      for (std::size_t i = 0; i < 4; ++i) (void)node.reg(i);
      const auto all = node.find("reg");
      (void)all.number(0, 7);
    });
  };
  for (int round = 0; round < 20000; ++round) {
    auto bad = whole;
    for (unsigned n = random() % 4 + 1; n-- != 0;)
      bad[40 + random() % (bad.size() - 40)] = static_cast<std::uint8_t>(random());
    walk(bad);
  }
  builder deep;
  for (int i = 0; i < 100; ++i) deep.begin("n");
  walk(deep.blob());
  CHECK(visits > 20000);
}

TEST_CASE("device tree: nodes that are too deep are skipped, and nodes after them are found", "[boot]") {
  builder b;
  b.begin("");
  for (int i = 0; i < 30; ++i) {
    b.begin("n");
    b.property("compatible", std::string{"deep\0", 5});
  }
  for (int i = 0; i < 30; ++i) b.end();
  b.begin("behind");
  b.property("compatible", std::string{"virtio,mmio\0", 12});
  b.property("reg", {0, 0x0a000000, 0x200});
  b.end();
  b.end();
  b.word(9);
  const auto blob = b.blob();
  unsigned deep = 0, found = 0;
  device_tree{blob.data()}.each_node([&](const device_tree::node& node) {
    if (node.is("deep")) ++deep;
    if (node.is("virtio,mmio") && node.reg(0).base == 0x0a000000 && node.depth() == 1) ++found;
  });
  CHECK(deep == 15);
  CHECK(found == 1);
}
