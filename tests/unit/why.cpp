// SPDX-License-Identifier: MIT
// What to do about a verdict.
#include <string_view>

#include <catch2/catch_test_macros.hpp>
#include <virtio/base/report.hpp>

using namespace virtio;

TEST_CASE("why: every verdict has words and an advice of its own line, and no number has more", "[report]") {
  for (unsigned n = 0; n <= static_cast<unsigned>(verdict::storage_unusable); ++n) {
    CAPTURE(n);
    const auto why = static_cast<verdict>(n);
    CHECK(std::string_view{advice(why)}.size() > 10);
    CHECK(std::string_view{advice(why)}.find_first_of(".\n") == std::string_view::npos);
    CHECK(std::string_view{describe(why)} != "unknown");
  }
  CHECK(std::string_view{advice(static_cast<verdict>(200))}.empty());
}
