// SPDX-License-Identifier: MIT
// The device trees of tests/trees, compiled.
#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch_test_macros.hpp>

namespace rig {

/// The blob of one of them, in memory of exactly its size. Without a compiler the test case is skipped, or fails if all
/// parts are required.
inline std::vector<unsigned char> compiled_tree(const std::string& name) {
  if (std::system("command -v dtc >/dev/null") != 0) {
    const char* const required = std::getenv("VIRTIO_TEST_REQUIRE_ALL");
    if (required != nullptr && *required == '1') FAIL("missing: no dtc on this machine (tools/setup installs it)");
    SKIP("no dtc on this machine (tools/setup installs it)");
  }
  const std::string command = "dtc -q -I dts -O dtb '" + std::string{VIRTIO_TEST_TREES} + "/" + name + ".dts'";
  const std::unique_ptr<FILE, int (*)(FILE*)> out{popen(command.c_str(), "r"), pclose};
  REQUIRE(out);
  std::vector<unsigned char> blob;
  std::array<unsigned char, 4096> some;
  for (std::size_t n; (n = std::fread(some.data(), 1, some.size(), out.get())) != 0;)
    blob.insert(blob.end(), some.data(), some.data() + n);
  REQUIRE(blob.size() > 40);
  blob.shrink_to_fit();
  return blob;
}

}  // namespace rig
