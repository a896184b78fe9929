// SPDX-License-Identifier: MIT
// The parts of the example that join the two libraries: a vsock connection as a stream, and a block device as a disk.
// Each test chooses the room of the sockets.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

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

struct block_device {
  struct ended {
    virtio::errc status;
    virtio::u64 cookie;
  };
  virtio::u32 size = 512;
  virtio::result<void> says{};
  virtio::u64 sector = 0, cookie = 0;
  virtio::errc ends = virtio::errc::ok;

  [[nodiscard]] virtio::u64 capacity() const { return 4103; }
  [[nodiscard]] virtio::u32 block_size() const { return size; }
  virtio::result<void> submit_read(virtio::u64 at, virtio::bytes, virtio::u64 number) { return submit(at, number); }
  virtio::result<void> submit_write(virtio::u64 at, virtio::const_bytes, virtio::u64 number) {
    return submit(at, number);
  }
  virtio::result<void> submit_flush(virtio::u64 number) { return submit(0, number); }
  virtio::result<ended> next_completion() { return ended{ends, cookie}; }

 private:
  virtio::result<void> submit(virtio::u64 at, virtio::u64 number) {
    sector = at;
    cookie = number;
    return says;
  }
};

const usbip::u8 letters[] = {'h', 'e', 'a', 'd', 'd', 'a', 't', 'a'};
const usbip::const_bytes both[] = {{letters, 4}, {letters + 4, 4}};

}  // namespace

TEST_CASE("usbip example: seconds are counted while a host takes nothing, and not if all data was taken",
          "[usbip][example]") {
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

TEST_CASE("usbip example: a header and its data are sent as far as there is room", "[usbip][example]") {
  for (std::size_t room = 0; room < 8; ++room) {
    sockets all;
    glue::vsock_stream<sockets> stream{all, {}};
    all.room = room;
    CHECK(stream.send({both, 2}) == room);
    CHECK(all.sent == std::string("headdata").substr(0, room));
  }
}

TEST_CASE("usbip example: a disk has blocks of 512 to 4096 bytes, whatever the device reports", "[usbip][example]") {
  for (const auto& [said, size] :
       {std::pair{0u, 512u}, {1u, 512u}, {512u, 512u}, {2048u, 2048u}, {4096u, 4096u}, {0xffffffffu, 4096u}}) {
    block_device device;
    device.size = said;
    glue::blk_disk<block_device> disk{device};
    CHECK(disk.block_bytes() == size);
    CHECK(disk.blocks() == 4103 / (size / 512));
    CHECK(disk.submit_read(5, {}, 1).what == usbip::storage::submitted::kind::taken);
    CHECK(device.sector == 5 * size / 512);
  }
}

TEST_CASE("usbip example: requests end with their own cookie, and the sense of the failure", "[usbip][example]") {
  using kind = usbip::storage::submitted::kind;
  block_device device;
  glue::blk_disk<block_device> disk{device};
  const auto end = [&](virtio::errc status) {
    usbip::storage::completion one;
    device.ends = status;
    CHECK(disk.next_completion(one));
    return one;
  };
  const auto is = [](usbip::storage::sense a, usbip::storage::sense b) { return a.key == b.key && a.code == b.code; };
  CHECK(disk.submit_read(0, {}, 7).what == kind::taken);
  CHECK((end(virtio::errc::ok).cookie == 7 && end(virtio::errc::ok).result.is_good()));
  CHECK(is(end(virtio::errc::io_error).result, usbip::storage::read_error));
  CHECK(disk.submit_write(0, {}, 3).what == kind::taken);
  CHECK((end(virtio::errc::ok).cookie == 3 && is(end(virtio::errc::io_error).result, usbip::storage::write_error)));
  CHECK(disk.submit_flush(~usbip::u64{0}).what == kind::taken);
  CHECK((end(virtio::errc::ok).cookie == ~usbip::u64{0} &&
         is(end(virtio::errc::io_error).result, usbip::storage::hardware_error)));
  device.says = virtio::errc::queue_full;
  CHECK(disk.submit_read(0, {}, 0).what == kind::later);
  device.says = virtio::errc::unsupported;  // a disk without a cache needs no flush
  CHECK((disk.submit_flush(1).what == kind::refused && disk.submit_flush(1).why.is_good()));
  device.says = virtio::errc::read_only;
  CHECK(is(disk.submit_write(0, {}, 0).why, usbip::storage::write_protected));
  CHECK((disk.reads == 1 && disk.writes == 1 && disk.flushes == 1));
}
