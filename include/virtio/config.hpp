// SPDX-License-Identifier: MIT
// The library's macros, all of them. Anything that changes a layout is a template argument instead, so that two
// translation units cannot disagree.
// Layer: none (includes nothing).
#pragma once

/// What happens on a broken contract of the caller or a bug of the library; never on anything that a device can cause.
/// Define it before the first include to change it, the same in every translation unit.
#ifndef VIRTIO_ASSERT
#define VIRTIO_ASSERT(condition) ((condition) ? static_cast<void>(0) : __builtin_trap())
#endif

/// Leaves the enclosing function with the error of `expression` (a `result`), goes on otherwise.
#define VIRTIO_TRY(expression)                                                             \
  do {                                                                                     \
    if (const auto virtio_outcome = (expression); !virtio_outcome) [[unlikely]]            \
      return virtio_outcome.error();                                                       \
  } while (false)

/// Declares `declaration` with the value of `expression` (a `result`), or leaves with its error:
/// `VIRTIO_TRY_ASSIGN(const u16 slot, ring.reserve());`
#define VIRTIO_TRY_ASSIGN(declaration, expression) VIRTIO_TRY_ASSIGN_AT(declaration, expression, __LINE__)
#define VIRTIO_TRY_ASSIGN_AT(declaration, expression, line) VIRTIO_TRY_ASSIGN_AS(declaration, expression, line)
#define VIRTIO_TRY_ASSIGN_AS(declaration, expression, line)                                \
  const auto virtio_outcome_##line = (expression);                                         \
  if (!virtio_outcome_##line) [[unlikely]]                                                 \
    return virtio_outcome_##line.error();                                                  \
  declaration = *virtio_outcome_##line

/// Inlined by GCC, which keeps some functions out of line to save space although the call forces its callers' values into memory and so
/// takes more. Clang decides by itself, and better.
/// The second is for a lambda, behind its parameters: GCC then knows what it captures before it looks which arguments are always the same.
#if defined(__clang__)
#define VIRTIO_INLINE_ON_CLANG [[gnu::always_inline]]
#define VIRTIO_INLINE_ON_GCC
#define VIRTIO_INLINE_LAMBDA_ON_GCC
#else
#define VIRTIO_INLINE_ON_CLANG
#define VIRTIO_INLINE_ON_GCC [[gnu::always_inline]]
#define VIRTIO_INLINE_LAMBDA_ON_GCC __attribute__((always_inline))
#endif

/// Not inlined in a program that is built for size: clang's -Os inlines small functions into each of their callers.
/// The second is for what is inlined into each of its callers, but in such a program, where drivers side by side share it: compilers inline
/// what has one caller there all the same.
#if defined(__OPTIMIZE_SIZE__)
#define VIRTIO_NOINLINE_FOR_SIZE [[gnu::noinline]]
#define VIRTIO_INLINE_FOR_SPEED
#else
#define VIRTIO_NOINLINE_FOR_SIZE
#define VIRTIO_INLINE_FOR_SPEED [[gnu::always_inline]]
#endif

/// Ahead of a loop that runs once a start: clang's -Os makes hundreds of bytes of vector code of it.
#if defined(__clang__)
#define VIRTIO_SCALAR_LOOP _Pragma("clang loop vectorize(disable) unroll(disable)")
#else
#define VIRTIO_SCALAR_LOOP
#endif

/// A member that costs no byte when its type is empty, where the compiler can: for Windows (UEFI) targets clang knows only
/// its own spelling, and older ones not even that.
#if defined(_WIN32) && defined(__clang__)
#if __has_cpp_attribute(msvc::no_unique_address)
#define VIRTIO_EMPTY_MEMBER [[msvc::no_unique_address]]
#else
#define VIRTIO_EMPTY_MEMBER
#endif
#else
#define VIRTIO_EMPTY_MEMBER [[no_unique_address]]
#endif
