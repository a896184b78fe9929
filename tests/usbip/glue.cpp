// SPDX-License-Identifier: MIT
// What joins the two libraries in the example: a vsock connection as a stream, with sockets that have as much room as a test wants.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstddef>
#include <string>

#include "../../examples/09_usbip/glue.hpp"

namespace {

struct sockets {
  std::string sent;
  std::size_t room = 0;

  virtio::result<void> try_send_all(virtio::vsock::socket, const virtio::const_bytes (&parts)[2]) {
    if (parts[0].size() + parts[1].size() > room) return virtio::errc::queue_full;
    for (const virtio::const_bytes& one : parts) (void)try_send({}, one);
    return {};
  }
  virtio::result<virtio::usize> try_send(virtio::vsock::socket, virtio::const_bytes data) {
    if (room == 0) return virtio::errc::queue_full;
    const virtio::usize count = std::min<virtio::usize>(data.size(), room);
    sent.append(reinterpret_cast<const char*>(data.data()), count);
    room -= count;
    return count;
  }
};

const usbip::u8 letters[] = {'h', 'e', 'a', 'd', 'd', 'a', 't', 'a'};
const usbip::const_bytes both[] = {{letters, 4}, {letters + 4, 4}};

}  // namespace

TEST_CASE("usbip example: seconds are counted while a host takes nothing, and not of one that has all", "[usbip][example]") {
  sockets all;
  glue::vsock_stream<sockets> stream{all, {}};
  for (const usbip::usize pieces : {usbip::usize{1}, usbip::usize{2}}) {
    CHECK(stream.tick() == 0);
    all.room = 0;
    CHECK(stream.send({both, pieces}) == 0);
    CHECK(stream.tick() == 1);
    CHECK(stream.send({both, pieces}) == 0);
    CHECK(stream.tick() == 2);
    all.room = 100;
    CHECK(stream.send({both, pieces}) == 4 * pieces);
    CHECK(stream.tick() + stream.tick() == 0);
  }
  CHECK(all.sent == "headheaddata");
}

TEST_CASE("usbip example: of a header and its data as much goes as there is room for", "[usbip][example]") {
  for (std::size_t room = 0; room < 8; ++room) {
    sockets all;
    glue::vsock_stream<sockets> stream{all, {}};
    all.room = room;
    CHECK(stream.send({both, 2}) == room);
    CHECK(all.sent == std::string("headdata").substr(0, room));
  }
}
