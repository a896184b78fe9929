// SPDX-License-Identifier: MIT
// A socket driver driven by a string of bytes: every few bytes are a call, a packet or an event, valid or not. For
// random tests and a fuzzer, so without a test framework: a violated condition ends the program.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <virtio/pci.hpp>
#include <virtio/testing/fake_pci.hpp>
#include <virtio/testing/strict_platform.hpp>
#include <virtio/testing/vsock_model.hpp>
#include <virtio/vsock.hpp>

namespace rig {

/// Bytes of the script; zeros after its end.
class byte_source {
 public:
  byte_source(const virtio::u8* first, virtio::usize size) : at_{first}, left_{size} {}
  [[nodiscard]] bool empty() const { return left_ == 0; }
  virtio::u8 byte() {
    if (left_ == 0) return 0;
    --left_;
    return *at_++;
  }
  virtio::u32 word() {
    virtio::u32 value = 0;
    for (unsigned i = 0; i < 4; ++i) value |= static_cast<virtio::u32>(byte()) << (8 * i);
    return value;
  }

 private:
  const virtio::u8* at_;
  virtio::usize left_;
};

template <class Queue>
class vsock_script {
  using host = virtio::testing::fake_host;
  using platform = virtio::testing::strict_platform<>;
  using model_type = virtio::testing::vsock_model;
  using packet = virtio::testing::vsock_packet;
  using u8 = virtio::u8;
  using u16 = virtio::u16;
  using u32 = virtio::u32;
  using u64 = virtio::u64;
  using usize = virtio::usize;
  static constexpr virtio::vsock::limits layout{.connections = 4,
                                                .listeners = 2,
                                                .replies = 3,
                                                .receive_packet = 128,
                                                .receive_buffer = 512,
                                                .receive_pool = 1024,
                                                .pieces = 2,
                                                .send_packet = 256,
                                                .send_packets = 4};
  using device = virtio::vsock::device<platform, virtio::pci::modern<host>, Queue, layout>;

 public:
  vsock_script() : model_{machine_.memory, {.queue_sizes = {16, 8, 4}}} {
    model_.offer({34});
    model_.ports[5000] = model_type::reception::accepts;
    model_.ports[5001] = model_type::reception::is_silent;
    model_.recording = false;
    bus_.qemu_modern({0, 0, 4, 0}, model_);
    machine_.on_wait = [this](virtio::waiting, u64) { (void)model_.step(); };
    for (u64& limit : machine_.wait_limit) limit = 20;
    start();
  }

  /// One move for every few bytes, until the end.
  void run(byte_source source) {
    while (!source.empty()) move(source);
    model_.settle();
    (void)parts_->driver.poll([](virtio::vsock::event) {});
    if (parts_->driver.check()) must(model_.event_buffers() != 0, "there is always a buffer for an event");
    must(static_cast<bool>(parts_->driver.reset()), "reset at the end");
    must(machine_.live() == 0, "nothing stays mapped");
    for (const auto& what : machine_.violations()) must(false, what.c_str());
    // The model cannot count invalid values that the driver received; but these conditions hold in any case.
    for (const auto& what : model_.violations())
      for (const char* never :
           {"not a header", "a header that says", "not zeroed", "VSOCK-07", "VSOCK-09", "with flags", "queue "})
        must(what.find(never) == std::string::npos, what.c_str());
    start();
  }
  [[nodiscard]] u64 packets() const { return model_.packets(); }

 private:
  struct parts_type {
    virtio::dma_storage<device::dma_bytes> storage{};
    device driver{};
  };

  static void must(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "vsock_script: %s\n", what);
    std::abort();
  }
  void start() {
    const virtio::dma_region storage = parts_->storage;
    must(static_cast<bool>(parts_->driver.start(platform{&machine_}, virtio::pci::look(bus_.host(), {0, 0, 4, 0}),
                                                storage, virtio::vsock::seed{1})),
         "start");
    must(static_cast<bool>(parts_->driver.listen(80, 2)), "listen");
    known_.clear();
  }

  // Meaningful ports, more often than others.
  u32 guest_port(byte_source& from) {
    const u8 which = from.byte();
    if (which < 64) return 80;
    if (which < 240 && !flows_.empty()) return flows_[which % flows_.size()].first;
    return from.word();
  }
  u32 host_port(byte_source& from) {
    const u8 which = from.byte();
    if (which < 64) return 5000 + which % 3;
    if (which < 240 && !flows_.empty()) return flows_[which % flows_.size()].second;
    return from.word();
  }
  u32 odd_number(byte_source& from) {
    switch (const u8 which = from.byte(); which % 8) {
      case 0: return 0;
      case 1: return 0xffff'ffff;
      case 2: return from.word();
      case 3: return which * 16u;
      default: return which;
    }
  }
  void packet_from(byte_source& from) {
    packet p;
    const u8 shape = from.byte();
    const u16 what = shape & 15u;
    p.op = what;
    if ((shape & 0x30) == 0x30) p.type = from.byte();
    if ((shape & 0xc0) == 0xc0) {
      p.src_cid = odd_number(from);
      p.dst_cid = odd_number(from);
    }
    p.dst_port = guest_port(from);
    p.src_port = host_port(from);
    p.buf_alloc = 65536;
    const u8 lies = from.byte();
    if (what == virtio::testing::vsock_wire::data || (lies & 1) != 0)
      p.payload.assign(from.byte(), static_cast<u8>(shape));
    p.len = static_cast<u32>(p.payload.size());
    if ((lies & 0xe) == 2) p.len = odd_number(from);
    if ((lies & 0xe) == 4) p.used = odd_number(from);
    if ((lies & 0xe) == 6) p.header_bytes = from.byte() % 45u;
    if ((lies & 0x30) == 0x10) p.buf_alloc = odd_number(from);
    if ((lies & 0xc0) == 0x40) p.fwd_cnt = odd_number(from);
    if (what == virtio::testing::vsock_wire::shutdown || (lies & 0x30) == 0x20) p.flags = from.byte() % 5u;
    model_.inject(std::move(p));
  }

  void move(byte_source& from) {
    device& d = parts_->driver;
    u8 buffer[400];
    const u8 what = from.byte();
    const auto socket = [&] {
      return known_.empty() ? virtio::vsock::socket{from.byte(), from.byte()} : known_[from.byte() % known_.size()];
    };
    switch (what % 48) {
      default:
        packet_from(from);
        if ((what & 1) == 0) break;  // often one by one
        model_.settle();
        (void)d.poll([](virtio::vsock::event) {});
        break;
      case 0: (void)model_.step(); break;
      case 1: model_.settle(); break;
      case 2:
      case 3: (void)d.poll([](virtio::vsock::event) {}, what < 128 ? ~usize{0} : what % 5u); break;
      case 4: remember(d.try_connect({2, host_port(from)})); break;
      case 5: remember(d.try_accept(80)); break;
      case 6: {
        const usize n = from.byte();
        const auto sent = d.try_send(socket(), virtio::const_bytes{buffer, n});
        must(!sent || *sent <= n, "no more is sent than there is");
        break;
      }
      case 7: {
        const usize n = 1u + from.byte();
        const auto got = d.try_receive(socket(), virtio::bytes{buffer, n});
        must(!got || (*got <= n && *got != 0), "no more is received than fits");
        break;
      }
      case 8: {
        const u32 n = from.byte();
        (void)d.receive_with(socket(), [&](virtio::const_bytes some) -> usize {
          must(some.size() != 0 && some.size() <= layout.receive_packet, "what is shown is one packet");
          u32 sum = 0;
          for (usize i = 0; i < some.size(); ++i) sum += some.data()[i];
          sink_ = sum;
          return n;
        });
        break;
      }
      case 9: (void)d.flush(socket()); break;
      case 10: (void)d.close(socket()); break;
      case 11: (void)d.abort(socket()); break;
      case 12: {
        constexpr virtio::vsock::ends all[] = {virtio::vsock::ends::send, virtio::vsock::ends::receive,
                                               virtio::vsock::ends::both};
        (void)d.shutdown(socket(), all[from.byte() % 3]);
        break;
      }
      case 13: flows_.emplace_back(80, host_port(from)), (void)model_.connect(80, flows_.back().second); break;
      case 14: model_.tx = from.byte() % 2 != 0 ? model_type::sending::ignore : model_type::sending::keep; break;
      case 15: model_.give_back(); break;
      case 16:
        if (model_.event_buffers() == 0) break;  // more events than the driver had time for
        if (what >= 100) model_.reset_transport(++last_cid_);
        else model_.raise(from.word());
        break;
      case 17:
        for (const auto& f : model_.open_flows()) model_.send(f, std::vector<u8>(from.byte() * 4u));
        break;
      case 18: {
        const usize n = from.byte(), first = from.byte() % (n + 1);
        (void)d.try_send_all(socket(),
                             {virtio::const_bytes{buffer, first}, virtio::const_bytes{buffer + first, n - first}});
        break;
      }
      case 19: {
        const u32 n = from.byte() * 4u;
        const auto again = socket();
        (void)d.receive_with(socket(), [&](const virtio::vsock::arrived& all) -> usize {
          usize seen = 0;
          for (const virtio::const_bytes piece : all) {
            must(piece.size() != 0 && piece.size() <= layout.receive_packet, "a piece is of one packet");
            sink_ = piece.data()[piece.size() - 1];
            seen += piece.size();
          }
          must(seen == all.size(), "the pieces are all of it");
          if (n % 3 == 0) (void)d.try_receive(again, buffer);
          if (n % 7 == 0) (void)d.close(again);
          return n;
        });
        break;
      }
      case 20:
        if (const auto piece = d.try_take(socket())) held_.push_back(*piece);
        break;
      case 21:
        if (held_.empty()) break;
        (void)d.give_back(held_[from.byte() % held_.size()]);  // some more than once
        if (held_.size() > 8) held_.erase(held_.begin());
        break;
    }
    if (flows_.size() > 64) flows_.erase(flows_.begin(), flows_.begin() + 32);
    if (known_.size() > 64) known_.erase(known_.begin(), known_.begin() + 32);
  }
  void remember(const virtio::result<virtio::vsock::socket>& s) {
    if (!s) return;
    known_.push_back(*s);
    const auto whom = parts_->driver.peer_of(*s);
    const auto mine = parts_->driver.local_port_of(*s);
    if (whom && mine) flows_.emplace_back(*mine, whom->port);
  }

  virtio::testing::strict_machine machine_{};
  virtio::testing::fake_pci bus_{};
  model_type model_;
  std::unique_ptr<parts_type> parts_ = std::make_unique<parts_type>();
  std::vector<virtio::vsock::socket> known_{};
  std::vector<std::pair<u32, u32>> flows_{};
  std::vector<virtio::vsock::piece> held_{};  // including returned ones
  volatile u32 sink_ = 0;
  u64 last_cid_ = 3;  // CIDs are not reused, so that the CID dates a packet
};

}  // namespace rig
