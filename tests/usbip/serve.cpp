// SPDX-License-Identifier: MIT
// USB devices on a socket of this machine, for the host's own tools to list and attach.
//
//   serve --listen PORT          TCP on 127.0.0.1, any number of connections; PORT 0: any that is free, printed
//   serve --fd N --bridge        URBs only, on a socket that the caller has already given the other end of to a kernel
//     --device K                 of the list, from 0 (bridge mode; default 0)
//     --once                     leaves after the first connection that had a device
//
// The devices: 1-1 to 1-3 at high speed, 1-4 to 1-6 SuperSpeed. Each connection's end is printed with the reason.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <vector>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include "echo.hpp"
#include "posix_stream.hpp"

namespace {

inline constexpr usbip::device_description high{
    .speed = usbip::speed::high, .vendor = 0x1209, .product = 0x0001, .manufacturer = "virtio", .name = "Echo", .serial = "0001"};
inline constexpr usbip::device_description super{
    .speed = usbip::speed::super, .vendor = 0x1209, .product = 0x0002, .manufacturer = "virtio", .name = "Echo", .serial = "0002"};

using echo_driver = echo<65536>;
echo_driver drivers[6];
usbip::device<high, echo_driver> high_0{drivers[0]}, high_1{drivers[1]}, high_2{drivers[2]};
usbip::device<super, echo_driver> super_0{drivers[3]}, super_1{drivers[4]}, super_2{drivers[5]};
usbip::exports devices{high_0, high_1, high_2, super_0, super_1, super_2};
using connection_type = usbip::connection<decltype(devices)>;

struct client {
  explicit client(int fd, int n) : stream{fd}, number{n} {}
  posix_stream stream;
  connection_type connection;
  int number;
};

int listen_on(unsigned short port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int one = 1;
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(port);
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof where;
  if (bind(fd, reinterpret_cast<sockaddr*>(&where), size) != 0 || listen(fd, 16) != 0) {
    std::perror("serve: listen");
    std::exit(1);
  }
  (void)getsockname(fd, reinterpret_cast<sockaddr*>(&where), &size);
  std::printf("listening on %u\n", ntohs(where.sin_port));
  std::fflush(stdout);
  return fd;
}

void report(const client& one) {
  const usbip::ending& e = one.connection.ending();
  std::printf("connection %d: %s (%llu bytes received, %llu sent", one.number, describe(e), static_cast<unsigned long long>(e.received),
              static_cast<unsigned long long>(e.sent));
  if (e.how == usbip::end::cut_off || e.how == usbip::end::wrong) {
    std::printf("; of the last message %u of %u bytes:", e.had, e.needed);
    for (unsigned at = 0; at < 8 && at < e.had; ++at) std::printf(" %02x", e.first[at]);
  }
  std::printf(")\n");
  std::fflush(stdout);
}

[[noreturn]] void usage() {
  std::fprintf(stderr, "usage: serve --listen PORT | --fd N --bridge [--device K]   [--once]\n");
  std::exit(2);
}

}  // namespace

int main(int count, char** words) {
  int port = -1, fd = -1;
  unsigned which = 0;
  bool bridge = false, once = false;
  for (int at = 1; at < count; ++at) {
    const char* const word = words[at];
    const auto number = [&] { return at + 1 < count ? std::atoi(words[++at]) : (usage(), 0); };
    if (std::strcmp(word, "--listen") == 0) port = number();
    else if (std::strcmp(word, "--fd") == 0) fd = number();
    else if (std::strcmp(word, "--device") == 0) which = static_cast<unsigned>(number());
    else if (std::strcmp(word, "--bridge") == 0) bridge = true;
    else if (std::strcmp(word, "--once") == 0) once = true;
    else usage();
  }
  if ((port < 0) == (fd < 0)) usage();

  std::list<client> clients;
  int numbers = 0;
  const auto add = [&](int socket_fd) -> connection_type& { return clients.emplace_back(socket_fd, ++numbers).connection; };
  const int listener = port >= 0 ? listen_on(static_cast<unsigned short>(port)) : -1;
  if (fd >= 0) {
    auto& connection = add(fd);
    bridge ? connection.bridge(devices, which) : connection.serve(devices);
  }
  while (listener >= 0 || !clients.empty()) {
    bool worked = false;
    for (auto one = clients.begin(); one != clients.end();) {
      const bool had_device = one->connection.device() != decltype(devices)::count;
      const usbip::activity did = one->connection.poll(one->stream);
      worked = worked || did == usbip::activity::worked;
      if (did != usbip::activity::ended) {
        ++one;
        continue;
      }
      report(*one);
      (void)shutdown(one->stream.fd(), SHUT_WR);
      (void)close(one->stream.fd());
      one = clients.erase(one);
      if (once && had_device) return 0;
    }
    if (worked || (listener < 0 && clients.empty())) continue;
    std::vector<pollfd> all;
    if (listener >= 0) all.push_back({listener, POLLIN, 0});
    for (const client& one : clients) {
      const int wants = (one.stream.has_unread() ? 0 : POLLIN) | (one.stream.is_full() ? POLLOUT : 0);
      all.push_back({one.stream.fd(), static_cast<short>(wants), 0});
    }
    (void)poll(all.data(), all.size(), -1);
    if (listener >= 0 && (all[0].revents & POLLIN) != 0) {
      const int came = accept(listener, nullptr, nullptr);
      const int now = 1;
      (void)setsockopt(came, IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
      if (came >= 0) add(came).serve(devices);
    }
  }
  return 0;
}
