// SPDX-License-Identifier: MIT
// The options of the example, from its command line:
//
//   net=virtio|vsock       the link: a virtio network card, or gvproxy through a vsock device
//   url=http://HOST[:PORT]/PATH   the page to fetch; without it none is fetched
//   length=N, sha256=HEX   expected size and hash of the page; without sha256 no hash is computed
//   show=yes               prints the page
//   dns=ADDRESS[:PORT]     the name server, instead of DHCP's
//   serve=no               ends after the fetch
//   data=N                 size of the page /data, and of /small up to 100,000 bytes
//   stall=N                seconds, 10 by default: without a byte until a transfer is retried, without an address until
//                          a message, and without an answer from gvproxy until the link is restarted
#pragma once

#include <lwip/ip4_addr.h>

#include "../demo/sha256.hpp"
#include "runtime.hpp"

namespace network {

struct options {
  const char* way = nullptr;  // the link's name in messages
  bool is_vsock = false;
  const char* url = nullptr;
  char host[128]{};
  virtio::u16 port = 80;
  char path[128]{};
  bool has_length = false, is_hashed = false, shows = false, serves = true;
  virtio::u64 length = 0, data = 1 << 20;
  boot::text sum{};
  ip_addr_t dns{};
  virtio::u16 dns_port = 0;  // 0: DHCP's server
  virtio::u32 stall = 10;

  /// Parses the command line. Returns null, or a message about the first invalid option.
  [[nodiscard]] const char* read() {
    const boot::text net = boot::option("net");
    is_vsock = net == "vsock";
    if (!is_vsock && net && !(net == "virtio")) return "net= wants virtio or vsock";
    way = is_vsock ? "gvproxy over vsock" : "a virtio network card";
    if (const boot::text given = boot::option("url"); given && !take_url(given))
      return "url= wants http://HOST[:PORT]/PATH, of 127 characters each";
    if (const boot::text given = boot::option("dns"); given && !take_server(given)) return "dns= wants ADDRESS[:PORT]";
    virtio::u64 seconds = stall;
    has_length = static_cast<bool>(boot::option("length"));
    if (!number(boot::option("length"), length) || !number(boot::option("data"), data) ||
        !number(boot::option("stall"), seconds) || data > 0x7fffffff || seconds > 1'000'000)
      return "length=, data= and stall= want numbers";
    stall = static_cast<virtio::u32>(seconds);
    sum = boot::option("sha256");
    if (sum && sum.size != 64) return "sha256= wants 64 hexadecimal digits";
    is_hashed = static_cast<bool>(sum);
    shows = boot::option("show") == "yes";
    serves = !(boot::option("serve") == "no");
    return nullptr;
  }
  [[nodiscard]] bool is_sum(const sha256::digest_type& digest) const {
    for (unsigned i = 0; i < sum.size; ++i)
      if ("0123456789abcdef"[digest.bytes[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15] != sum.data[i]) return false;
    return true;
  }

 private:
  static bool number(boot::text given, virtio::u64& out) {
    if (!given) return true;
    out = 0;
    for (size_t i = 0; i < given.size; ++i) {
      if (given.data[i] < '0' || given.data[i] > '9' || out > 1'000'000'000'000) return false;
      out = out * 10 + static_cast<virtio::u64>(given.data[i] - '0');
    }
    return given.size != 0;
  }
  static bool copy(boot::text from, char (&to)[128]) {
    if (from.size >= sizeof to) return false;
    for (size_t i = 0; i < from.size; ++i) to[i] = from.data[i];
    to[from.size] = '\0';
    return true;
  }
  /// Parses HOST[:PORT] up to `end`. Returns the offset of its end, or 0 if it is invalid.
  static size_t take_host(boot::text given, char (&to)[128], virtio::u16& number_of) {
    size_t host = 0;
    while (host < given.size && given.data[host] != ':' && given.data[host] != '/') ++host;
    size_t end = host;
    while (end < given.size && given.data[end] != '/') ++end;
    virtio::u64 value = number_of;
    if (end != host && (!number({given.data + host + 1, end - host - 1}, value) || value == 0 || value > 0xffff))
      return 0;
    number_of = static_cast<virtio::u16>(value);
    return host != 0 && copy({given.data, host}, to) ? end : 0;
  }
  bool take_url(boot::text given) {
    static char whole[300];
    constexpr size_t scheme = 7;
    if (given.size < scheme || given.size >= sizeof whole || !(boot::text{given.data, scheme} == "http://"))
      return false;
    for (size_t i = 0; i < given.size; ++i) whole[i] = given.data[i];
    url = whole;
    given = {given.data + scheme, given.size - scheme};
    const size_t end = take_host(given, host, port);
    if (end == 0) return false;
    return end == given.size ? copy({"/", 1}, path) : copy({given.data + end, given.size - end}, path);
  }
  bool take_server(boot::text given) {
    char name[128];
    dns_port = 53;
    return take_host(given, name, dns_port) == given.size && ip4addr_aton(name, &dns) != 0;
  }
};

}  // namespace network
