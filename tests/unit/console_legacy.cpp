// SPDX-License-Identifier: MIT
// A legacy console and a big-endian guest: its configuration and control messages are in the guest's byte order.
#include <virtio/console.hpp>

#include "big_endian.hpp"
#include "machine.hpp"

using namespace virtio;

namespace {

struct old_console : big_endian_device {
  static constexpr device_type type = device_type::console;
  std::vector<std::vector<u8>> says[6];  // what it writes, by queue
  std::vector<std::vector<u8>> said[6];  // what the driver sent

  old_console() : big_endian_device{12} {}

  void serve() {
    if (!is_up()) return;
    for (u16 n = 0; n < 6; ++n) {
      ring& q = rings[n];
      while (q.has_more() && (n % 2 == 1 || !says[n].empty())) {
        const u16 head = q.head();
        const u8* const d = q.descriptor(head);
        u8* const data = reinterpret_cast<u8*>(get(d, 8));
        const usize length = get(d + 8, 4);
        REQUIRE(get(d + 12, 2) == (n % 2 == 0 ? 2u : 0u));  // exactly one descriptor
        usize written = 0;
        if (n % 2 == 1) {
          said[n].emplace_back(data, data + length);
        } else {
          written = says[n].front().size();
          REQUIRE(written <= length);
          std::copy(says[n].front().begin(), says[n].front().end(), data);
          says[n].erase(says[n].begin());
        }
        q.give_back(head, static_cast<u32>(written));
      }
    }
  }
};
using transport_type = big_endian_transport<old_console>;
using board = big_endian_board<old_console>;
using driver = console::device<board, transport_type, split_queue<8, ring_options{.order = byte_order::big}>,
                               console::limits{.ports = 2}>;
struct parts {
  dma_storage<driver::dma_bytes> storage{};
  driver device{};
};

}  // namespace

TEST_CASE(
    "console: a big-endian guest's screen size and control messages are in its own order on the legacy interface, one descriptor each "
    "[CONSOLEL-01][CONSOLEL-02][CONSOLEL-04]",
    "[console][legacy]") {
  old_console model;
  model.offered = 1u << 0 | 1u << 1 | 1u << 2;
  model.config.bytes = {0, 132, 0, 50, 0, 0, 0, 2, 0, 0, 0, 0};  // as the guest's numbers are in memory
  const std::unique_ptr<parts> at{new parts};
  driver& console = at->device;
  REQUIRE(console.start(board{model}, &model, at->storage));
  CHECK(console.port_count() == 2);
  model.says[2] = {{0, 0, 0, 0, 0, 1, 0, 0},                 // port 0 is present
                   {0, 0, 0, 1, 0, 1, 0, 0},                 // and port 1
                   {0, 0, 0, 0, 0, 4, 0, 1},                 // port 0 is a console
                   {0, 0, 0, 1, 0, 7, 0, 1, 'a', 'b'},       // the name of port 1
                   {0, 0, 0, 1, 0, 5, 0, 0, 0, 80, 1, 44}};  // its size
  for (int i = 0; i < 3; ++i) {
    model.serve();
    REQUIRE(console.poll());
  }
  CHECK(*console.find_named(text("ab")) == 1);
  CHECK(*console.size(0) == console::screen{132, 50});
  CHECK(*console.size(1) == console::screen{80, 300});
  CHECK(model.said[3] == std::vector<std::vector<u8>>{{0, 0, 0, 0, 0, 0, 0, 1},    // ready
                                                      {0, 0, 0, 0, 0, 3, 0, 1},    // port 0 is
                                                      {0, 0, 0, 0, 0, 6, 0, 1},    // and open
                                                      {0, 0, 0, 1, 0, 3, 0, 1}});  // port 1 is ready
  REQUIRE(driver::emergency_write(&model, text("!")));
  CHECK(std::vector<u8>(model.config.bytes.begin() + 8, model.config.bytes.end()) == std::vector<u8>{0, 0, 0, '!'});
  CHECK(*console.send(text("bytes"), 1) == 5);
  REQUIRE(console.flush(1));
  CHECK(model.said[5] == std::vector<std::vector<u8>>{{'b', 'y', 't', 'e', 's'}});
}
