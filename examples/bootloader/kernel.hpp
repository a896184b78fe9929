// SPDX-License-Identifier: MIT
// The interface to the processors' parts: the folder of each contains `linux.hpp` with the class `loader::kernel`,
// which meets this concept, and `loader::architecture()`, the processor's name in boot entries.
#pragma once

#include <virtio/base/meta.hpp>
#include <virtio/base/result.hpp>

#include "../files/text.hpp"

namespace loader {

using virtio::same_as;

/// A kernel, from its file to its first instruction. The calls are made in this order; `open` starts again, also after
/// a failed call.
///
/// 1. `open(head, file_size)` reads the first `head_bytes` of the file, or all of a shorter one. It returns null, or
///    what is wrong.
/// 2. `code_at()` and `code_size()`: the part of the file that is loaded. `code_at()` is a multiple of 512.
/// 3. `most_options()`: the longest command line, without its terminator.
/// 4. `place()` returns the memory for that part, or `no_space`. A disk's largest block fits after it.
/// 5. `place_initrd(size)`, unless there is none: the same for all initrds, one after the other.
/// 6. `prepare(options)` passes the command line, which must stay in place. It returns null, or what is wrong.
/// 7. `start()` does not return. No device may be active.
template <class K>
concept bootable = requires(K k, const_bytes head, u64 size, const char* options) {
  usize{K::head_bytes};
  { k.open(head, size) } -> same_as<const char*>;
  { k.code_at() } -> same_as<u32>;
  { k.code_size() } -> same_as<u32>;
  { k.most_options() } -> same_as<u32>;
  { k.place() } -> same_as<virtio::result<u8*>>;
  { k.place_initrd(size) } -> same_as<virtio::result<u8*>>;
  { k.prepare(options) } -> same_as<const char*>;
  { k.start() } -> same_as<void>;
};

}  // namespace loader
