// SPDX-License-Identifier: MIT
// The words of a guest's command line, for its options and for MMIO slots.
#include <catch2/catch_test_macros.hpp>

#include <string>
#include <vector>

#include "../../examples/boot/common/mmio_slots.hpp"

namespace {

std::string option(const char* line, const char* key) {
  const boot::text found = boot::option_in(line, key);
  return found ? std::string{found.data, found.size} : "none";
}

}  // namespace

TEST_CASE("command line: spaces, tabs and ends of lines separate words, for options as for MMIO slots", "[boot]") {
  for (const char* between : {" ", "\t", "\n", "\r\n", "\v", "\f", " \t\n  "}) {
    const std::string sep{between}, line = sep + "json=1" + sep + "virtio_mmio.device=4K@0:5" + sep + "live=0" + sep;
    CHECK(option(line.c_str(), "json") == "1");
    CHECK(option(line.c_str(), "live") == "0");
    std::vector<std::string> slots;
    boot::each_mmio_word(line.c_str(), [&](const char* text, std::size_t size) { slots.emplace_back(text, size); });
    CHECK(slots == std::vector<std::string>{"4K@0:5"});
  }
}

TEST_CASE(
    "command line: the last of several options with exactly that name counts, and its value may be empty or contain a =",
    "[boot]") {
  CHECK(option("a=1 a=2", "a") == "2");
  CHECK(option("a=1 a=", "a").empty());
  CHECK(option("ab=1 xa=2 a", "a") == "none");
  CHECK(option("a=b=c", "a") == "b=c");
  CHECK(option("a=b=c", "b") == "none");
  CHECK(option("", "a") == "none");
  CHECK(option(" \t\n", "a") == "none");
}
