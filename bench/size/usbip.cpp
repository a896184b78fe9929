// SPDX-License-Identifier: MIT
// what: USB/IP: codec and engine, in server mode, over a stream and a device of a few lines
#include <usbip/engine/connection.hpp>

namespace {

using namespace usbip;

unsigned char* memory;

struct stream_of_memory {
  usize send(pieces list) {
    usize sent = 0;
    for (const const_bytes& one : list) sent += one.size;
    return sent;
  }
  template <class F>
  usize receive(F&& look) {
    return look(const_bytes{memory, 512});
  }
  stream_state state() const { return stream_state::open; }
};

struct small_device {
  device_record record() const { return {}; }
  interface_record interface_of(u8) const { return {}; }
  bool has(u8 endpoint) const { return endpoint < 2; }
  void attach() {}
  void detach() {}
  room room_for(const transfer& t) { return room::at({memory + t.done, 512}); }
  void arrived(const transfer&, u32) {}
  answer answer_to(const transfer& t) { return answer::good(t.length); }
  const_bytes piece_of(const transfer&) { return {memory, 512}; }
  void sent(const transfer&, u32) {}
  void canceled(const transfer&) {}
  void poll() {}
};

small_device one;
exports<small_device> all{one};
connection<exports<small_device>> at_work;
stream_of_memory wire;

}  // namespace

extern "C" int counted_program(u64 turns, unsigned char* to) {
  memory = to;
  at_work.serve(all);
  while (at_work.poll(wire) != activity::ended && turns-- != 0) {}
  return static_cast<int>(at_work.ending().why);
}
