// SPDX-License-Identifier: MIT
// A network link over a socket device, and the other end of its stream, driven by a string of bytes: frames of all
// sizes cut anywhere, bytes that are no frames, ends of the connection at any time, held frames, elapsed time. For
// random tests and a fuzzer, so without a test framework: a violated condition ends the program.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <virtio/vsock/ethernet_link.hpp>

#include "vsock_script.hpp"

namespace rig {

/// Reads numbers from the script.
struct clock_at {
  const virtio::u64* now = nullptr;
  virtio::u64 operator()() const { return *now; }
};

class ethernet_script {
  using u8 = virtio::u8;
  using u16 = virtio::u16;
  using u32 = virtio::u32;
  using u64 = virtio::u64;
  using usize = virtio::usize;
  using errc = virtio::errc;
  using bytes = std::vector<u8>;
  using model_type = virtio::testing::vsock_model;
  using platform = virtio::testing::strict_platform<>;
  static constexpr virtio::vsock::limits layout{.connections = 3,
                                                .receive_packet = 1024,
                                                .receive_buffer = 8192,
                                                .pieces = 9,
                                                .send_packet = 2048,
                                                .send_packets = 4};
  using device =
      virtio::vsock::device<platform, virtio::pci::modern<virtio::testing::fake_host>, virtio::split_queue<16>, layout>;
  using link_type = virtio::vsock::ethernet_link<device, clock_at>;
  static constexpr u32 mtu = 300;

 public:
  ethernet_script() : model_{machine_.memory, {.queue_sizes = {16, 8, 4}}} {
    model_.ports[1024] = model_type::reception::accepts;
    model_.recording = false;
    bus_.qemu_modern({0, 0, 4, 0}, model_);
    machine_.on_wait = [this](virtio::waiting, u64) { (void)model_.step(); };
    for (u64& limit : machine_.wait_limit) limit = 20;
    start_device();
  }

  void run(byte_source source) {
    how_ = source.byte() % 2 == 0 ? virtio::vsock::framing::hyperkit : virtio::vsock::framing::qemu;
    start_link();
    while (!source.empty()) move(source);
    // Whatever happened before, a correct peer finally has a link that transfers every frame.
    forget_kept();
    model_.ports[1024] = model_type::reception::accepts;
    for (const auto& f : model_.open_flows()) model_.abort(f);
    if (!parts_->driver.check()) start_device();
    turn();
    drain(false);
    for (int i = 0; i < 200 && !is_fresh(); ++i) pass(100);
    must(is_fresh(), "it comes up again");
    for (u32 i = 0; i < 40; ++i) feed(frame(14 + i * 7, i));
    for (int i = 0; i < 50 && parsed_ != stream_.size(); ++i) {
      turn();
      drain(false);
    }
    must(parsed_ == stream_.size(), "every frame has come");
    parts_->link.close();
    for (const auto& what : machine_.violations()) must(false, what.c_str());
    for (const auto& what : model_.violations()) must(false, what.c_str());
  }
  [[nodiscard]] u64 frames() const { return frames_; }

 private:
  struct parts_type {
    virtio::dma_storage<device::dma_bytes> storage{};
    device driver{};
    link_type link{};
  };
  struct kept {
    virtio::net::kept_frame name;
    std::vector<virtio::const_bytes> pieces;
    bytes was;
  };

  static void must(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "ethernet_script: %s\n", what);
    std::abort();
  }
  void start_device() {
    const virtio::dma_region storage = parts_->storage;
    const auto up = parts_->driver.start(platform{&machine_}, virtio::pci::look(bus_.host(), {0, 0, 4, 0}), storage,
                                         virtio::vsock::seed{++seeds_});
    must(static_cast<bool>(up), "start");
    held_.clear();
  }
  void start_link() {
    virtio::vsock::ethernet_options how;
    how.frames = how_;
    how.mtu = mtu;
    must(static_cast<bool>(parts_->link.start(parts_->driver, how, clock_at{&now_})), "start of the link");
    held_.clear();
  }

  // The other end -----------------------------------------------------------------------------------------------------

  /// A new connection has received no bytes.
  void look_at_name() {
    if (parts_->link.id() == name_) return;
    name_ = parts_->link.id();
    stream_.clear();
    parsed_ = 0;
  }
  [[nodiscard]] bool is_fresh() {
    look_at_name();
    return parts_->link.state() == virtio::net::link_state::up && stream_.empty();
  }
  void feed(const bytes& all) {
    look_at_name();
    if (name_.generation == 0) return;
    const auto port = parts_->driver.local_port_of(name_);
    if (!port) return;
    const virtio::testing::vsock_flow f{*port, 1024, 2};
    if (!model_.is_open(f) || model_.peer(f).unsent() > 20'000) return;
    model_.send(f, all);
    stream_.insert(stream_.end(), all.begin(), all.end());
  }
  [[nodiscard]] bytes frame(usize size, u32 seed) const {
    const auto n = static_cast<u32>(size);
    bytes all;
    if (how_ == virtio::vsock::framing::hyperkit) all = {static_cast<u8>(n), static_cast<u8>(n >> 8)};
    else all = {static_cast<u8>(n >> 24), static_cast<u8>(n >> 16), static_cast<u8>(n >> 8), static_cast<u8>(n)};
    for (usize i = 0; i < size; ++i) all.push_back(static_cast<u8>(i * 7 + seed));
    return all;
  }
  /// The position in the stream of the frame that must arrive next.
  [[nodiscard]] std::pair<usize, usize> next_frame() const {
    const usize head = how_ == virtio::vsock::framing::hyperkit ? 2 : 4;
    if (stream_.size() - parsed_ < head) return {0, 0};
    usize size = 0;
    for (usize i = 0; i < head; ++i)
      size |= usize{stream_[parsed_ + i]} << (how_ == virtio::vsock::framing::hyperkit ? 8 * i : 24 - 8 * i);
    return {parsed_ + head, size};
  }

  // Moves -------------------------------------------------------------------------------------------------------------

  void turn() {
    model_.settle();
    (void)parts_->link.poll();
    model_.settle();
    (void)parts_->link.poll();
    look_at_name();
  }
  void pass(u64 milliseconds) {
    now_ += milliseconds;
    turn();
  }
  /// Receives one frame. False: none is available.
  bool receive(bool keep) {
    look_at_name();
    const auto next = next_frame();
    const usize at = next.first, size = next.second;  // no structured binding: a lambda captures them
    kept one;
    const auto got = parts_->link.receive_with([&](const virtio::net::frame& f) {
      must(at != 0 && size >= 14 && size <= mtu + 18 && at + size <= stream_.size(),
           "no frame comes that was not sent");
      must(f.size == size, "its size is what was sent");
      one.name = f.name;
      one.was.resize(f.size);
      must(f.copy_to(0, one.was) == f.size, "its pieces are all of it");
      usize sum = 0;
      for (const auto& piece : f.pieces) {
        must(!piece.empty(), "no piece is empty");
        sum += piece.size();
        one.pieces.push_back(piece);
      }
      must(sum == f.size, "its pieces are no more");
      must(std::equal(one.was.begin(), one.was.end(), stream_.begin() + static_cast<std::ptrdiff_t>(at)),
           "its bytes are what was sent");
      return keep ? virtio::net::after_look::keep : virtio::net::after_look::done;
    });
    if (!got) {
      must(got.error() == errc::not_ready, "nothing else is said than that there is none");
      look_at_name();
      return false;
    }
    parsed_ = at + size;
    ++frames_;
    if (keep) held_.push_back(std::move(one));
    return true;
  }
  void drain(bool keep) {
    for (int i = 0; i < 100'000; ++i)
      if (!receive(keep)) return;
    must(false, "it ends");
  }
  void check_kept() {
    for (const kept& one : held_) {
      usize at = 0;
      for (const auto& piece : one.pieces) {
        must(std::equal(piece.data(), piece.data() + piece.size(), one.was.begin() + static_cast<std::ptrdiff_t>(at)),
             "a kept frame stays");
        at += piece.size();
      }
    }
  }
  void forget_kept() {
    check_kept();
    for (const kept& one : held_) must(static_cast<bool>(parts_->link.give_back(one.name)), "give_back");
    held_.clear();
  }
  void move(byte_source& from) {
    const u8 what = from.byte();
    switch (what % 24) {
      case 0:
      case 1:
      case 2:
      case 3: feed(frame(14 + from.byte() % (mtu + 5), what)); break;
      case 4: {  // several at once, the last one cut
        bytes all;
        for (int i = from.byte() % 12; i >= 0; --i) {
          const bytes one = frame(14 + (from.byte() * 3u) % (mtu + 5), what);
          all.insert(all.end(), one.begin(), one.end());
        }
        const usize cut = from.byte() % all.size();
        feed({all.begin(), all.end() - static_cast<std::ptrdiff_t>(cut)});
        turn();
        if (from.byte() % 4 != 0) feed({all.end() - static_cast<std::ptrdiff_t>(cut), all.end()});
        break;
      }
      case 5: {  // byte by byte
        for (const u8 byte : frame(14 + from.byte() % 60, what)) {
          feed({byte});
          if (what >= 128) turn();
        }
        break;
      }
      case 6: {  // any bytes
        if (from.byte() % 8 != 0) break;
        bytes all;
        for (int i = from.byte() % 64; i >= 0; --i) all.push_back(from.byte());
        feed(all);
        break;
      }
      case 7:
        if (from.byte() % 8 == 0) feed(frame(what < 128 ? from.byte() % 14 : mtu + 19 + from.byte(), what));
        break;
      case 8:
      case 9:
      case 10: turn(); break;
      case 11:
      case 12: (void)receive(false); break;
      case 13: (void)receive(true); break;
      case 14: drain(what >= 128); break;
      case 15:
      case 16:
        if (!held_.empty()) {
          const usize n = from.byte() % held_.size();
          check_kept();
          must(static_cast<bool>(parts_->link.give_back(held_[n].name)), "give_back");
          must(parts_->link.give_back(held_[n].name).error() == errc::stale_handle, "once");
          held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(n));
        }
        break;
      case 17: pass(u64{from.byte()} * 16); break;
      case 18: {
        const bytes all(from.byte() * 2u, what);
        const virtio::const_bytes pieces[] = {virtio::const_bytes{all}};
        const auto sent = parts_->link.try_send(pieces);
        if (sent) must(all.size() >= 14 && all.size() <= mtu + 14, "no frame is sent that is none");
        break;
      }
      case 19:
        if (from.byte() % 8 != 0) break;
        for (const auto& f : model_.open_flows()) what < 128 ? model_.abort(f) : model_.close(f);
        break;
      case 20:
        if (from.byte() % 8 != 0) break;
        for (const auto& f : model_.open_flows()) model_.shut(f, 1 + what % 3u);
        break;
      case 21:
        model_.ports[1024] =
            what < 48 ? static_cast<model_type::reception>(from.byte() % 4) : model_type::reception::accepts;
        break;
      case 22:
        if (from.byte() % 16 == 0) {
          if (what < 128) {
            parts_->link.close();
            turn();
          }
          start_link();
        }
        break;
      default: {
        const auto given = parts_->link.give_back({from.byte(), from.byte()});
        if (given) held_.clear(), start_link();  // it was the script's own
        break;
      }
    }
    check_kept();
  }

  virtio::testing::strict_machine machine_{};
  model_type model_;
  virtio::testing::fake_pci bus_{};
  std::unique_ptr<parts_type> parts_ = std::make_unique<parts_type>();
  u64 now_ = 1, seeds_ = 0, frames_ = 0;
  virtio::vsock::framing how_{};
  virtio::vsock::socket name_{};
  bytes stream_{};    // bytes sent on this connection
  usize parsed_ = 0;  // frames up to here have been received
  std::vector<kept> held_{};
};

}  // namespace rig
