// SPDX-License-Identifier: MIT
// The firmware's services, and a clock by them.
#pragma once

#include <virtio/platform/concepts.hpp>

#include "efi.hpp"

namespace uefi {

/// The firmware's arguments of this program. Set before other code runs.
inline efi::system_table* system = nullptr;
inline efi::handle self = nullptr;
/// The PCI function of the disk that the program was loaded from; null if it was loaded from elsewhere.
inline efi::handle boot_function = nullptr;

[[nodiscard]] inline efi::boot_services& services() { return *system->boot; }

/// Returns the interface `T` of a handle, or null if the handle has none.
template <class T>
[[nodiscard]] T* interface_of(efi::handle h) {
  void* found = nullptr;
  return efi::failed(services().handle_protocol(h, &T::id, &found)) ? nullptr : static_cast<T*>(found);
}

/// Calls `visit(handle, interface)` for every handle that has the interface `T`, until it returns false.
template <class T, class Visit>
void each_interface(Visit&& visit) {
  size_t count = 0;
  efi::handle* all = nullptr;
  if (efi::failed(services().locate_handle_buffer(efi::search::by_protocol, &T::id, nullptr, &count, &all))) return;
  for (size_t i = 0; i < count; ++i)
    if (T* const one = interface_of<T>(all[i]); one != nullptr && !visit(all[i], *one)) break;
  services().free_pool(all);
}

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

/// Makes one step of a wait. A request usually ends within the first steps, which only pause; later steps are Stalls of
/// 20 us.
inline bool keep_waiting(virtio::waiting why, virtio::u64 attempt) {
  constexpr virtio::u64 pauses = 20'000, turns_per_second = 50'000;
  const virtio::u64 seconds = why == virtio::waiting::connect || why == virtio::waiting::shutdown ? 5 : 60;
  if (attempt < pauses) pause();
  else services().stall(20);
  return attempt < pauses + seconds * turns_per_second;
}

}  // namespace uefi
