// SPDX-License-Identifier: MIT
// libFuzzer: a network driver with arbitrary content in its receive buffers, lengths and link states, and calls between
// them. Every few bytes are a move; buffers, including headers, are filled from the input.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include <virtio/net.hpp>
#include <virtio/pci.hpp>
#include <virtio/testing/fake_pci.hpp>
#include <virtio/testing/net_model.hpp>
#include <virtio/testing/strict_platform.hpp>

namespace {

using namespace virtio;
using platform_type = virtio::testing::strict_platform<>;
using virtio::testing::net_model;

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "net_receive: %s\n", what);
  std::abort();
}

class byte_source {
 public:
  byte_source(const u8* first, usize size) : at_{first}, left_{size} {}
  [[nodiscard]] bool empty() const { return left_ == 0; }
  u8 byte() { return left_ == 0 ? u8{0} : (--left_, *at_++); }
  u32 half() {
    const u32 low = byte();
    return low | u32{byte()} << 8;
  }

 private:
  const u8* at_;
  usize left_;
};

template <class Queue>
class script {
  static constexpr net::options layout{.mtu = 300, .receive_buffers = 8, .receive_bytes = 100, .send_buffers = 2};
  using device = net::device<platform_type, pci::modern<virtio::testing::fake_host>, Queue, layout>;

 public:
  script() {
    bus_.qemu_modern({0, 0, 4, 0}, model_);
    machine_.on_wait = [this](waiting, u64) { (void)model_.step(); };
    for (u64& limit : machine_.wait_limit) limit = 20;
    start();
  }
  void run(byte_source from) {
    while (!from.empty()) move(from);
    (void)parts_->driver.reset();
    must(machine_.live() == 0, "something stays mapped");
    for (const auto& what : machine_.violations()) must(false, what.c_str());
    for (const auto& what : model_.violations()) must(false, what.c_str());
    // A start restores everything.
    model_.falsify = nullptr;
    model_.used_length.reset();
    model_.wire.clear();
    model_.put_config(6, 1, 2);
    start();
    for (u8 i = 0; i < 20; ++i) {
      model_.arrive(std::vector<u8>(100u + 10u * i, i));
      u32 size = 0;
      must(static_cast<bool>(
               parts_->driver.receive_with([&](const net::frame& f) { return size = f.size, net::after_look::done; })),
           "nothing arrives after a start");
      must(size == 100u + 10u * i, "another frame arrives after a start");
    }
  }

 private:
  struct parts_type {
    dma_storage<device::dma_bytes> storage{};
    device driver{};
  };

  void start() {
    const dma_region storage = parts_->storage;
    must(static_cast<bool>(
             parts_->driver.start(platform_type{&machine_}, pci::look(bus_.host(), {0, 0, 4, 0}), storage)),
         "start");
  }
  void check(const net::frame& f) {
    must(f.size >= 14 && f.size <= 318 && f.pieces.size() == f.size && f.pieces.count <= 4, "a frame that is none");
    const dma_region storage = parts_->storage;
    const u8* const first = storage.data;
    for (const const_bytes& piece : f.pieces)
      must(piece.data() >= first && piece.data() + piece.size() <= first + device::dma_bytes,
           "a piece outside the storage");
    if (f.sum == net::checksum::missing)
      must(f.compute.start >= 14 && u32{f.compute.start} + f.compute.offset + 2 <= f.size,
           "a checksum outside the frame");
    else must(f.compute.start == 0, "a checksum of which nothing is said");
  }
  void move(byte_source& from) {
    auto& d = parts_->driver;
    if (d.check().error() == errc::not_started) {
      model_.put_config(6, 1, 2);
      start();
    }
    const u8 what = from.byte();
    switch (what % 12) {
      case 0:
      case 1:
      case 2: {  // a frame whose first bytes are the input's, header included
        std::vector<u8> raw(from.byte() % 32u);
        for (u8& one : raw) one = from.byte();
        model_.falsify = [raw](std::size_t part, std::vector<u8>& data) {
          for (usize i = 0; part == 0 && i < raw.size() && i < data.size(); ++i) data[i] = raw[i];
        };
        model_.arrive(std::vector<u8>(from.half() % 700));
        break;
      }
      case 3:  // a correct one
        model_.falsify = nullptr;
        model_.arrive(std::vector<u8>(14u + from.byte()));
        break;
      case 4:
        if (what < 128) model_.used_length = from.half() << (what % 17);
        else model_.used_length.reset();
        break;
      case 5:
      case 6: {
        const auto way = what < 128 ? net::after_look::done : net::after_look::keep;
        net::kept_frame name{};
        const auto got = d.receive_with([&](const net::frame& f) { return check(f), name = f.name, way; });
        if (got && way == net::after_look::keep) kept_.push_back(name);
        break;
      }
      case 7:
        if (!kept_.empty()) (void)d.give_back(kept_[from.byte() % kept_.size()]);
        break;
      case 8: (void)d.poll(); break;
      case 9: (void)model_.step(); break;
      case 10: {
        const std::vector<u8> data(from.half() % 400);
        const const_bytes one[] = {{data.data(), data.size()}};
        (void)d.try_send(one, {static_cast<u16>(from.byte()), static_cast<u16>(from.byte())});
        break;
      }
      default:
        if (what < 200) model_.set_link(from.byte() % 2 != 0), (void)d.acknowledge_interrupt();
        else if (what < 220) (void)d.reset();
        else (void)d.arm();
    }
  }

  virtio::testing::strict_machine machine_{};
  virtio::testing::fake_pci bus_{};
  net_model model_{machine_.memory, {0, 1, 5, 15, 16, 29, 34}, 8};
  std::unique_ptr<parts_type> parts_{new parts_type};
  std::vector<net::kept_frame> kept_{};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* bytes, usize size) {
  if (size == 0) return 0;
  if ((bytes[0] & 1) != 0) script<packed_queue<8>>{}.run({bytes + 1, size - 1});
  else script<split_queue<8>>{}.run({bytes + 1, size - 1});
  return 0;
}
