// SPDX-License-Identifier: MIT
// The guest's board without a guest: its disk, console and waits are this process, its bus is the test kit's. For
// tests/unit/vsock_guest.cpp, which runs the script of guest.cpp against the model.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>

#include <virtio/pci.hpp>
#include <virtio/testing/fake_pci.hpp>
#include <virtio/testing/strict_platform.hpp>

namespace boot {

struct text {
  const char* data{};
  std::size_t size{};
  [[nodiscard]] explicit operator bool() const { return data != nullptr; }
  [[nodiscard]] bool operator==(const char* other) const { return data != nullptr && std::string(data, size) == other; }
};

/// The program's state instead of a machine; defined in hosted.cpp.
struct world {
  std::string words, console;
  std::uint64_t now = 0;
  virtio::testing::strict_machine* memory = nullptr;
  virtio::testing::fake_pci* bus = nullptr;
  void (*turn)() = nullptr;  // of the device and its peers
};
inline world here;
struct ended {
  int status;
};

inline void put(const std::string& s) { here.console += s; }
inline void put(const char* s) { here.console += s; }
inline void put(text t) { here.console.append(t.data, t.size); }
inline void put(char c) { here.console += c; }
template <std::integral Number>
void put(Number n) {
  here.console += std::to_string(n);
}
struct hex {
  std::uint64_t value;
  explicit hex(std::uint64_t number) : value{number} {}
};
inline void put(hex n) { here.console += std::to_string(n.value); }
template <class... Parts>
void print(const Parts&... parts) {
  (put(parts), ...);
}

[[noreturn]] inline void exit(int status) { throw ended{status}; }
/// A turn. The guests wait without a bound and leave hangs to their host; here the number of turns is bounded.
inline void pause() {
  if (++here.now > 20'000'000) {
    put("no end after 20,000,000 turns\n");
    exit(1);
  }
  here.turn();
}
inline std::uint64_t timestamp() { return here.now; }
inline text option(const char* key) {
  const std::string name = " " + std::string{key} + "=";
  const std::size_t at = here.words.rfind(name);
  if (at == std::string::npos) return {};
  const std::size_t first = at + name.size();
  const std::size_t last = here.words.find(' ', first);
  return {here.words.data() + first, (last == std::string::npos ? here.words.size() : last) - first};
}

}  // namespace boot

struct board {
  using barriers = virtio::smp_barriers;

  virtio::result<void> map(const volatile void* va, virtio::usize n, virtio::direction way,
                           virtio::segments& out) const {
    return boot::here.memory->map(va, n, way, out);
  }
  void unmap(const virtio::segment& piece, virtio::u32 written) const { boot::here.memory->unmap(piece, written); }
};

namespace bus {

using host = virtio::testing::fake_host;
template <class>
using transport = virtio::pci::transport<host>;
template <class>
using modern = virtio::pci::modern<host>;
template <class>
using found = virtio::pci::found<host>;

inline virtio::result<found<board>> find(const board&, virtio::device_type type) {
  return virtio::pci::find(boot::here.bus->host(), type);
}
inline virtio::result<found<board>> find_nth(const board&, virtio::device_type type, virtio::usize n) {
  return virtio::pci::find_nth(boot::here.bus->host(), type, n);
}

}  // namespace bus
