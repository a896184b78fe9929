// SPDX-License-Identifier: MIT
// What differs between processors: the folder of each contains `linux.hpp` with the class `loader::kernel`, which meets this concept, and
// `loader::architecture()`, the processor's name in boot entries.
#pragma once

#include <virtio/base/meta.hpp>
#include <virtio/base/result.hpp>

#include "../files/text.hpp"

namespace loader {

using virtio::same_as;

/// A kernel on its way into memory and to its first instruction. The calls come in this order; `open` begins anew, also after one that failed.
///
/// 1. `open(head, file_size)` looks at the first `head_bytes` of the file, or at all of a shorter one. It returns null, or what is wrong.
/// 2. `code_at()` and `code_size()`: the part of the file that is loaded. `code_at()` is a multiple of 512.
/// 3. `most_options()`: how long the command line may be, without its terminator.
/// 4. `place()` returns where that part goes, or `no_space`. A disk's largest block fits behind it.
/// 5. `place_initrd(size)`, unless there is none: the same for all initrds, one after the other.
/// 6. `prepare(options)` gives the kernel its command line, which stays where it is. It returns null, or what is wrong.
/// 7. `start()` does not return. No device may be at work.
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
