// SPDX-License-Identifier: MIT
// All macros of the library. Everything that changes a layout is a template argument instead, so that two translation
// units cannot disagree.
// Layer: none (includes nothing).
#pragma once

/// Checks contracts of the caller, and the library itself; never a condition that a device can cause. To replace it,
/// define it before the first include, identically in every translation unit.
#ifndef VIRTIO_ASSERT
#define VIRTIO_ASSERT(condition) ((condition) ? static_cast<void>(0) : __builtin_trap())
#endif

/// Returns from the enclosing function with the error of `expression` (a `result`) if it has one.
#define VIRTIO_TRY(expression)                                                  \
  do {                                                                          \
    if (const auto virtio_outcome = (expression); !virtio_outcome) [[unlikely]] \
      return virtio_outcome.error();                                            \
  } while (false)

/// Declares `declaration` with the value of `expression` (a `result`), or returns its error:
/// `VIRTIO_TRY_ASSIGN(const u16 slot, ring.reserve());`
#define VIRTIO_TRY_ASSIGN(declaration, expression) VIRTIO_TRY_ASSIGN_AT(declaration, expression, __LINE__)
#define VIRTIO_TRY_ASSIGN_AT(declaration, expression, line) VIRTIO_TRY_ASSIGN_AS(declaration, expression, line)
#define VIRTIO_TRY_ASSIGN_AS(declaration, expression, line) \
  const auto virtio_outcome_##line = (expression);          \
  if (!virtio_outcome_##line) [[unlikely]]                  \
    return virtio_outcome_##line.error();                   \
  declaration = *virtio_outcome_##line

/// Inlines by GCC. GCC keeps some functions out of line to save space, although the call forces values of the caller
/// into memory and so needs more. Clang decides better by itself.
/// The variant for lambdas stands after the parameters: GCC then inlines before it propagates constant arguments.
#if defined(__clang__)
#define VIRTIO_INLINE_ON_CLANG [[gnu::always_inline]]
#define VIRTIO_INLINE_ON_GCC
#define VIRTIO_INLINE_LAMBDA_ON_GCC
#else
#define VIRTIO_INLINE_ON_CLANG
#define VIRTIO_INLINE_ON_GCC [[gnu::always_inline]]
#define VIRTIO_INLINE_LAMBDA_ON_GCC __attribute__((always_inline))
#endif

/// Prevents inlining in a program that is built for size: clang's -Os inlines small functions into each caller.
/// VIRTIO_INLINE_FOR_SPEED forces inlining in all other programs. Built for size, several drivers share the function,
/// and compilers still inline it if it has one caller.
#if defined(__OPTIMIZE_SIZE__)
#define VIRTIO_NOINLINE_FOR_SIZE [[gnu::noinline]]
#define VIRTIO_INLINE_FOR_SPEED
#else
#define VIRTIO_NOINLINE_FOR_SIZE
#define VIRTIO_INLINE_FOR_SPEED [[gnu::always_inline]]
#endif

/// Stands before a loop that runs once per start: clang's -Os makes hundreds of bytes of vector code of it.
#if defined(__clang__)
#define VIRTIO_SCALAR_LOOP _Pragma("clang loop vectorize(disable) unroll(disable)")
#else
#define VIRTIO_SCALAR_LOOP
#endif

/// Gives a member of an empty type no size, where the compiler supports it. For Windows (UEFI) targets clang has only
/// its own spelling, and older versions have none.
#if defined(_WIN32) && defined(__clang__)
#if __has_cpp_attribute(msvc::no_unique_address)
#define VIRTIO_EMPTY_MEMBER [[msvc::no_unique_address]]
#else
#define VIRTIO_EMPTY_MEMBER
#endif
#else
#define VIRTIO_EMPTY_MEMBER [[no_unique_address]]
#endif
