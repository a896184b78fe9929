// SPDX-License-Identifier: MIT
// Serves USB devices on a local socket. The host's own tools can list and attach them.
//
//   serve --listen PORT          TCP on 127.0.0.1, any number of connections; PORT 0: a free one, which is printed
//   serve ... IMAGE              1-1 is a disk: the file, for reading and writing
//   serve --fd N --bridge        URBs only, on a socket whose other end the caller has already passed to a kernel
//     --device K                 index in the list, from 0 (bridge mode; default 0)
//     --once                     exits after the first connection that had a device
//
// The devices: 1-1 to 1-3 at high speed, 1-4 to 1-6 SuperSpeed. Each connection's end is printed with the reason.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <vector>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <usbip/storage.hpp>

#include "echo.hpp"
#include "image_disk.hpp"
#include "posix_stream.hpp"

namespace {

inline constexpr usbip::device_description high{.speed = usbip::speed::high,
                                                .vendor = 0x1209,
                                                .product = 0x0001,
                                                .manufacturer = "virtio",
                                                .name = "Echo",
                                                .serial = "0001"};
inline constexpr usbip::device_description super{.speed = usbip::speed::super,
                                                 .vendor = 0x1209,
                                                 .product = 0x0002,
                                                 .manufacturer = "virtio",
                                                 .name = "Echo",
                                                 .serial = "0002"};

inline constexpr usbip::device_description stick{.speed = usbip::speed::high,
                                                 .vendor = 0x1209,
                                                 .product = 0x0003,
                                                 .manufacturer = "virtio",
                                                 .name = "Disk",
                                                 .serial = "0003"};

using echo_driver = echo<65536>;
echo_driver drivers[6];
image_disk image;
usbip::storage::buffers<> buffers;
usbip::storage::drive drive{image, buffers};
usbip::device<stick, decltype(drive)> disk{drive};
usbip::device<high, echo_driver> high_0{drivers[0]}, high_1{drivers[1]}, high_2{drivers[2]};
usbip::device<super, echo_driver> super_0{drivers[3]}, super_1{drivers[4]}, super_2{drivers[5]};
usbip::exports without_disk{high_0, high_1, high_2, super_0, super_1, super_2};
usbip::exports with_disk{disk, high_1, high_2, super_0, super_1, super_2};

template <class Devices>
struct client {
  explicit client(int fd, int n) : stream{fd}, number{n} {}
  posix_stream stream;
  usbip::connection<Devices> connection;
  int number;
};

struct options {
  int port = -1;
  int fd = -1;
  unsigned which = 0;
  bool bridge = false;
  bool once = false;
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

void report(int number, const usbip::ending& e) {
  std::printf("connection %d: %s (%llu bytes received, %llu sent", number, describe(e),
              static_cast<unsigned long long>(e.received), static_cast<unsigned long long>(e.sent));
  if (e.how == usbip::end::cut_off || e.how == usbip::end::wrong) {
    std::printf("; of the last message %u of %u bytes:", e.had, e.needed);
    for (unsigned at = 0; at < 8 && at < e.had; ++at) std::printf(" %02x", e.first[at]);
  }
  std::printf(")\n");
  std::fflush(stdout);
}

[[noreturn]] void usage() {
  std::fprintf(stderr, "usage: serve --listen PORT | --fd N --bridge [--device K]   [--once] [IMAGE]\n");
  std::exit(2);
}

template <class Devices>
int serve(Devices& devices, const options& with) {
  std::list<client<Devices>> clients;
  int numbers = 0;
  const auto add = [&](int fd) -> auto& { return clients.emplace_back(fd, ++numbers).connection; };
  const int listener = with.port >= 0 ? listen_on(static_cast<unsigned short>(with.port)) : -1;
  if (with.fd >= 0) {
    auto& connection = add(with.fd);
    with.bridge ? connection.bridge(devices, with.which) : connection.serve(devices);
  }
  while (listener >= 0 || !clients.empty()) {
    bool worked = image.has_completions();
    for (auto one = clients.begin(); one != clients.end();) {
      const bool had_device = one->connection.device() != Devices::count;
      const usbip::activity did = one->connection.poll(one->stream);
      worked = worked || did == usbip::activity::worked;
      if (did != usbip::activity::ended) {
        ++one;
        continue;
      }
      report(one->number, one->connection.ending());
      (void)shutdown(one->stream.fd(), SHUT_WR);
      (void)close(one->stream.fd());
      one = clients.erase(one);
      if (with.once && had_device) return 0;
      // The host has disconnected, but the disk may still have to end a flush.
      drive.poll();
    }
    if (worked || image.has_completions() || (listener < 0 && clients.empty())) continue;
    std::vector<pollfd> all;
    if (listener >= 0) all.push_back({listener, POLLIN, 0});
    for (const auto& one : clients) {
      const int wants = (one.stream.has_unread() ? 0 : POLLIN) | (one.stream.is_full() ? POLLOUT : 0);
      all.push_back({one.stream.fd(), static_cast<short>(wants), 0});
    }
    (void)poll(all.data(), all.size(), -1);
    if (listener >= 0 && (all[0].revents & POLLIN) != 0) {
      const int came = accept(listener, nullptr, nullptr);
      if (came < 0) continue;
      const int now = 1;
      (void)setsockopt(came, IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
      add(came).serve(devices);
    }
  }
  return 0;
}

}  // namespace

int main(int count, char** words) {
  options with;
  const char* path = nullptr;
  for (int at = 1; at < count; ++at) {
    const char* const word = words[at];
    const auto number = [&] { return at + 1 < count ? std::atoi(words[++at]) : (usage(), 0); };
    if (std::strcmp(word, "--listen") == 0) with.port = number();
    else if (std::strcmp(word, "--fd") == 0) with.fd = number();
    else if (std::strcmp(word, "--device") == 0) with.which = static_cast<unsigned>(number());
    else if (std::strcmp(word, "--bridge") == 0) with.bridge = true;
    else if (std::strcmp(word, "--once") == 0) with.once = true;
    else if (word[0] != '-' && path == nullptr) path = word;
    else usage();
  }
  if ((with.port < 0) == (with.fd < 0)) usage();
  if (path == nullptr) return serve(without_disk, with);
  if (!image.open(path)) {
    std::perror(path);
    return 1;
  }
  return serve(with_disk, with);
}
