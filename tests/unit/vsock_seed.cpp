// SPDX-License-Identifier: MIT
// The local ports of a guest, from boot to boot.
#include "vsock.hpp"

using namespace virtio;

namespace {

u32 first_port(u64 bits) {
  sockets s;
  REQUIRE(s.d.at->device.start(s.m.platform(), s.m.where(4), s.d.storage(), vsock::seed{bits}));
  return *s->local_port_of(s.connected());
}

}  // namespace

TEST_CASE("vsock seed: it is required, and close seeds choose ports that are far apart", "[vsock]") {
  using device = sockets::device;
  const auto starts_without = [](auto& d, auto& m) {
    return requires { d.start(m.platform(), m.where(4), dma_region{}); } ||
           requires { d.start(m.platform(), m.where(4), dma_region{}, {}); };
  };
  static_assert(!std::is_default_constructible_v<vsock::seed> && !std::is_convertible_v<u64, vsock::seed>);
  sockets s;
  CHECK_FALSE(starts_without(static_cast<device&>(*s.d), s.m));

  // A clock of seconds: the next boot is some seconds later, after some connections.
  for (u64 now = 1'700'000'000; now < 1'700'000'010; ++now) {
    const u32 one = first_port(now), next = first_port(now + 1);
    CHECK(one >= 0x4000'0000);
    CHECK((one > next ? one - next : next - one) > 10'000);
  }
}

TEST_CASE("vsock seed: a guest that boots again reaches the service although the host holds its previous connection",
          "[vsock]") {
  vsock_options options;
  options.host = vsock_host::vhost_device();  // a REQUEST on a connection that it has is not answered
  sockets s{options};
  REQUIRE(s.d.at->device.start(s.m.platform(), s.m.where(4), s.d.storage(), vsock::seed{7}));
  const auto before = s.flow(s.connected());
  // The host is not informed
  REQUIRE(s.d.at->device.start(s.m.platform(), s.m.where(4), s.d.storage(), vsock::seed{8}));
  const auto now = s.flow(s.connected());
  CHECK(before.guest_port != now.guest_port);
}
