// SPDX-License-Identifier: MIT
// Sets of flags: their content, and conversions that do not compile.
#include <catch2/catch_test_macros.hpp>

#include <virtio/base/flags.hpp>

using namespace virtio;

namespace {

enum class colour : u8 { red = 1, green = 2, blue = 4, violet = 5 };
enum class other : u8 { red = 1 };

template <class A, class B>
concept can_be_asked_for = requires(A set, B what) { set.has(what); };
template <class A, class B>
concept can_be_masked_with = requires(A set, B what) { set & what; };
template <class A, class B>
concept can_be_compared_with = requires(A set, B what) { set == what; };

}  // namespace

TEST_CASE("flags: a set has the flags that were added, and a name for several bits if all of them are set", "[base]") {
  constexpr flags<colour> none{}, some{colour::red, colour::green};
  static_assert(none.empty() && !some.empty());
  static_assert(some.has(colour::red) && some.has(colour::green) && !some.has(colour::blue));
  static_assert(!some.has(colour::violet) && (some | colour::blue).has(colour::violet));
  static_assert((some - colour::red) == flags<colour>{colour::green});
  static_assert((some - colour::violet) == flags<colour>{colour::green});
  static_assert(flags<colour>::of(0xff).raw() == 0xff);
  flags<colour> now = colour::blue;
  now |= some;
  now -= colour::green;
  CHECK(now.has(colour::violet));
  CHECK_FALSE(now.has(colour::green));
}

TEST_CASE("flags: a number or a flag of another type does not convert", "[base]") {
  static_assert(!__is_constructible(flags<colour>, int));
  static_assert(!__is_constructible(flags<colour>, other));
  static_assert(can_be_asked_for<flags<colour>, colour> && !can_be_asked_for<flags<colour>, other> &&
                !can_be_asked_for<flags<colour>, int>);
  static_assert(!can_be_masked_with<flags<colour>, int>);
  static_assert(can_be_compared_with<flags<colour>, flags<colour>> && !can_be_compared_with<flags<colour>, int>);
  SUCCEED();
}
