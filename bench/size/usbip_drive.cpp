// SPDX-License-Identifier: MIT
// what: USB/IP: the same with a drive, over a stream and a disk of a few lines
#include <usbip/storage.hpp>

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

struct small_disk {
  u64 blocks() const { return 1000; }
  u32 block_bytes() const { return 512; }
  bool is_read_only() const { return false; }
  storage::submitted submit_read(u64, bytes, u64) { return storage::submitted::taken(); }
  storage::submitted submit_write(u64, const_bytes, u64) { return storage::submitted::taken(); }
  storage::submitted submit_flush(u64) { return storage::submitted::taken(); }
  void kick() {}
  bool next_completion(storage::completion& ended) {
    ended = {memory[0], storage::good};
    return memory[1] != 0;
  }
};

inline constexpr device_description about{.vendor = 0x1209, .product = 3, .name = "Disk"};

small_disk disk;
storage::buffers<> room_of_drive;
storage::drive<small_disk> drive{disk, room_of_drive};
device<about, storage::drive<small_disk>> stick{drive};
exports<device<about, storage::drive<small_disk>>> all{stick};
connection<exports<device<about, storage::drive<small_disk>>>> at_work;
stream_of_memory wire;

}  // namespace

extern "C" int counted_program(u64 turns, unsigned char* to) {
  memory = to;
  at_work.serve(all);
  while (at_work.poll(wire) != activity::ended && turns-- != 0) {}
  return static_cast<int>(at_work.ending().why);
}
