// SPDX-License-Identifier: MIT
// The few type traits that the library uses, on compiler builtins: bare targets have no <type_traits>. Differences
// between compilers are handled here. Layer: base.
#pragma once

#include <virtio/base/types.hpp>

namespace virtio {
namespace detail {

template <class A, class B>
inline constexpr bool is_same = false;
template <class A>
inline constexpr bool is_same<A, A> = true;

template <class T>
struct without_reference {
  using type = T;
};
template <class T>
struct without_reference<T&> {
  using type = T;
};
template <class T>
struct without_reference<T&&> {
  using type = T;
};

template <class T>
struct without_cv {
  using type = T;
};
template <class T>
struct without_cv<const T> {
  using type = T;
};
template <class T>
struct without_cv<volatile T> {
  using type = T;
};
template <class T>
struct without_cv<const volatile T> {
  using type = T;
};

template <class T>
using bare = typename without_cv<typename without_reference<T>::type>::type;

template <class T>
inline constexpr bool is_reference = false;
template <class T>
inline constexpr bool is_reference<T&> = true;

struct nothing {};

template <bool Condition, class Then, class Else>
struct choice {
  using type = Then;
};
template <class Then, class Else>
struct choice<false, Then, Else> {
  using type = Else;
};
template <bool Condition, class Then, class Else>
using conditional = typename choice<Condition, Then, Else>::type;

// GCC 12 has only the old spelling, newer clang deprecates it.
template <class T>
inline constexpr bool trivially_destructible =
#if defined(__clang__)
    __is_trivially_destructible(T);
#else
    __has_trivial_destructor(T);
#endif

/// Resets an object to its initial state, all zeros. If a fresh object is assigned instead, compilers that optimize for
/// size build it on the stack and copy it.
template <class T>
  requires(__is_trivially_copyable(T))
void clear(T& object) {
  __builtin_memset(static_cast<void*>(__builtin_addressof(object)), 0, sizeof object);
}

template <class T>
T&& some();  // for unevaluated operands only; never defined

template <auto>
struct constant;  // checks that a value is known at compile time; never defined

}  // namespace detail

/// `A` and `B` are one type.
template <class A, class B>
concept same_as = detail::is_same<A, B> && detail::is_same<B, A>;

/// `From` converts to `To` implicitly.
template <class From, class To>
concept converts_to = requires(void (*take)(To), From (*give)()) { take(give()); };

/// A small value: trivially copyable, assignable, and default-constructible.
template <class T>
concept small_value = __is_trivially_copyable(T) && requires(void (*take)(T), const T& from, T& to) {
  T{};
  take(from);
  to = from;
};

/// One byte of plain memory: `unsigned char`, `char`, `signed char`, `std::byte`, `uint8_t`.
template <class T>
concept byte_like = sizeof(T) == 1 && __is_trivially_copyable(T) && !same_as<detail::bare<T>, bool>;

/// The integer types of registers and of memory shared with a device.
template <class T>
concept register_value = same_as<T, u8> || same_as<T, u16> || same_as<T, u32> || same_as<T, u64>;

/// An lvalue of `F` can be called with `Arguments`.
template <class F, class... Arguments>
concept callable_with = requires(F& f, Arguments... arguments) { f(arguments...); };

namespace detail {

// A null pointer to the class in which a member function was declared; to void for static functions.
template <class C, class R, class... A>
C* declarer(R (C::*)(A...) const);
template <class R, class... A>
void* declarer(R (*)(A...));

/// `First` was declared in the class of `Second`, or in a class derived from it. Otherwise `Second` is an override, and
/// the inherited `First` bypasses it.
template <auto First, auto Second>
concept goes_with = converts_to<decltype(declarer(First)), decltype(declarer(Second))>;

}  // namespace detail

}  // namespace virtio
