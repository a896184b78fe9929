// SPDX-License-Identifier: MIT
// The cost of a URB in codec, engine and device: a bulk transfer of 512 bytes in one direction, or a SCSI read of 64
// KiB, which is three URBs. The stream and the disk are memory. Callgrind counts `bench::serve_one` (tools/bench)
// without copies:
// `memcpy` below leaves out those of data. x86-64 hosts.
// usage: usbip_instructions in|out|read COUNT
#include <cstdlib>
#include <cstring>

#include <usbip/storage.hpp>

extern "C" [[gnu::noinline]] void* memcpy(void* to, const void* from, std::size_t size) {
  void* const out = to;
  if (size >= 512) return out;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
  return out;
}

namespace bench {

using namespace usbip;

/// A stream that receives the bytes of one message, and counts sent bytes.
struct stream {
  u8 message[1024];
  usize at = 0;
  usize size = 0;
  u64 gone = 0;

  usize send(pieces list) {
    usize sent = 0;
    for (const const_bytes& one : list) sent += one.size;
    gone += sent;
    return sent;
  }
  template <class F>
  usize receive(F&& look) {
    if (at == size) return 0;
    const usize taken = look(const_bytes{message + at, size - at});
    at += taken;
    return taken;
  }
  [[nodiscard]] stream_state state() const { return stream_state::open; }
};

struct disk {
  storage::completion ended[16];
  unsigned count = 0;

  [[nodiscard]] u64 blocks() const { return 1 << 20; }
  [[nodiscard]] u32 block_bytes() const { return 512; }
  [[nodiscard]] bool is_read_only() const { return false; }
  storage::submitted submit_read(u64, bytes, u64 cookie) {
    ended[count++] = {cookie, storage::good};
    return storage::submitted::taken();
  }
  storage::submitted submit_write(u64, const_bytes, u64 cookie) { return submit_read(0, {}, cookie); }
  storage::submitted submit_flush(u64 cookie) { return submit_read(0, {}, cookie); }
  void kick() {}
  bool next_completion(storage::completion& one) {
    if (count == 0) return false;
    one = ended[--count];
    return true;
  }
};

/// A device that receives and sends 512 bytes.
struct pipe {
  u8 data[512] = {};

  static constexpr void describe(configuration& all) {
    all.interface(0xff, 0, 0);
    all.bulk_out();
    all.bulk_in();
  }
  void open() {}
  void close() {}
  control_answer control(const setup_packet&, bytes) { return control_answer::stall(); }
  room room_for(u8, const transfer& t) { return room::at({data + t.done, 512 - t.done}); }
  void arrived(u8, const transfer&, u32) {}
  answer answer_to(u8, const transfer&) { return answer::good(512); }
  const_bytes piece_of(u8, const transfer& t) { return const_bytes{data, 512}.part(t.done, 512); }
  void sent(u8, const transfer&, u32) {}
  void canceled(u8, const transfer&) {}
  void cleared(u8) {}
  void poll() {}
};

inline constexpr device_description about{.vendor = 0x1209, .product = 3};

pipe ends;
device<about, pipe> piped{ends};
exports<device<about, pipe>> pipes{piped};
connection<exports<device<about, pipe>>> of_pipe;
disk blocks;
storage::buffers<> room_of_drive;
storage::drive<disk> drive{blocks, room_of_drive};
device<about, storage::drive<disk>> driven{drive};
exports<device<about, storage::drive<disk>>> drives{driven};
connection<exports<device<about, storage::drive<disk>>>> of_drive;
stream wire;
u32 seqnum = 0;

/// Serves from the arrival of a message until no work is left.
template <class Connection>
[[gnu::noinline]] void serve_one(Connection& connection) {
  while (connection.poll(wire) == activity::worked) {}
}

template <class Connection>
void submit(Connection& connection, direction way, u32 endpoint, u32 length, const u8* data = nullptr,
            const u8* setup = nullptr) {
  urb_request request;
  request.what = command::submit;
  request.seqnum = ++seqnum;
  request.way = way;
  request.endpoint = endpoint;
  request.length = length;
  for (int n = 0; setup != nullptr && n < 8; ++n) request.setup[n] = setup[n];
  u8 header[urb_header_bytes];
  put(header, request);
  for (usize n = 0; n < sizeof header; ++n) wire.message[n] = header[n];
  const u32 size = data != nullptr ? length : 0;
  for (u32 n = 0; n < size; ++n) wire.message[sizeof header + n] = data[n];
  wire.at = 0;
  wire.size = sizeof header + size;
  const u64 before = wire.gone;
  serve_one(connection);
  if (wire.at != wire.size || wire.gone != before + sizeof header + (way == direction::in ? length : 0)) std::abort();
}

int run(const char* what, u32 count) {
  const u8 configure[8] = {0, 9, 1, 0, 0, 0, 0, 0};
  of_pipe.bridge(pipes);
  of_drive.bridge(drives);
  submit(of_pipe, direction::out, 0, 0, nullptr, configure);
  submit(of_drive, direction::out, 0, 0, nullptr, configure);
  const u8 data[512] = {};
  u8 read[31] = {'U', 'S', 'B', 'C', 0, 0, 0, 0, 0, 0, 1, 0, 0x80, 0, 10, 0x28, 0, 0, 0, 0, 0, 0, 0, 128};
  for (u32 n = 0; n < count; ++n) {
    if (what[0] == 'i') submit(of_pipe, direction::in, 1, 512);
    if (what[0] == 'o') submit(of_pipe, direction::out, 1, 512, data);
    if (what[0] == 'r') {
      submit(of_drive, direction::out, 1, 31, read);
      submit(of_drive, direction::in, 1, 65536);
      submit(of_drive, direction::in, 1, 13);
    }
  }
  return 0;
}

}  // namespace bench

int main(int count, char** words) {
  return count == 3 ? bench::run(words[1], static_cast<bench::u32>(std::atoi(words[2]))) : 2;
}
