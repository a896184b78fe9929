// SPDX-License-Identifier: MIT
// Entropy: the checks of the rng driver that a cell of the matrix runs in the guest.
#include <virtio/rng.hpp>

#include "guest.hpp"

namespace cell {
namespace {

namespace rng = virtio::rng;
using either = bus::transport<bench>;

template <class Rng>
constinit Rng the_rng;
template <class Rng>
constinit virtio::dma_storage<Rng::dma_bytes> the_storage;

alignas(4096) u8 first[65536 + 4096];
alignas(4096) u8 second[65536];
u8 small[256][16];

/// Fills of every size; only the buffer changes, completely, and never twice to the same content.
template <class Rng>
void check_fills(Rng& source) {
  static constexpr usize sizes[] = {1, 32, 4096, 65536};
  for (const usize size : sizes) {
    const bytes data{first + 5, size};
    fill(first, 0);
    first[4] = first[5 + size] = 0x5a;
    CHECK_OK(source.fill(data));
    CHECK(first[4] == 0x5a && first[5 + size] == 0x5a);
    for (usize at = 0; size >= 32 && at < size; at += 32) CHECK(!all_are({data.data() + at, 32}, 0));
    if (size < 32) continue;
    CHECK_OK(source.fill({second, size}));
    CHECK(__builtin_memcmp(data.data(), second, size) != 0);
  }
  CHECK_OK(source.fill(bytes{}));
  CHECK_ERROR(source.submit(bytes{}), errc::invalid_argument);
}

/// As many requests at once as the queue holds: each cookie returns once, no byte beyond its length changes.
template <class Rng>
void check_engine(Rng& source) {
  for (u32 round = 0; round < 3; ++round) {
    usize sent = 0;
    for (; sent < 256; ++sent) {
      __builtin_memset(small[sent], 0xa5, 16);
      const auto one = source.submit({small[sent], 8}, sent);
      if (!one) {
        CHECK_ERROR(one, errc::queue_full);
        break;
      }
    }
    CHECK_EQUAL(sent, virtio::detail::smaller<u64>(seen.queue_entries, number("queue", 256)));
    CHECK_ERROR(source.next_completion(), errc::not_ready);  // no request was kicked
    source.kick();
    CHECK_EQUAL(source.in_flight(), sent);
    bool came[256]{};
    for (usize i = 0; i < sent; ++i) {
      const auto one = source.wait_next();
      CHECK_OK(one);
      CHECK_OK(one->status);
      CHECK(one->cookie < sent && !came[one->cookie] && one->length <= 8);
      came[one->cookie] = true;
      CHECK(all_are({small[one->cookie] + one->length, 16 - one->length}, 0xa5));
    }
    CHECK_ERROR(source.wait_next(), errc::not_ready);
    CHECK_EQUAL(source.in_flight(), 0u);
  }
}

template <class Rng>
void entropy() {
  Rng& source = the_rng<Rng>;
  if (!start(source, find(device_type::entropy), the_storage<Rng>, "rng_features")) {
    CHECK_ERROR(source.fill({first, 8}), errc::not_started);
    return;
  }
  check_fills(source);
  check_engine(source);

  // One more than the index can count.
  const u64 turns = number("rng_requests", 0);
  const u64 began = boot::timestamp();
  for (u64 done = 0; done < turns;) {
    for (u64 i = 0; i < 8; ++i) CHECK_OK(source.submit({small[i], 8}, done + i));
    for (u64 i = 0; i < 8; ++i, ++done) {  // QEMU's entropy device serves in order
      const auto one = source.wait_next();
      CHECK_OK(one);
      CHECK_EQUAL(one->cookie, done);
      CHECK(one->length >= 1 && one->length <= 8);
    }
  }
  if (turns != 0) boot::print("rng: ", turns, " requests, ", (boot::timestamp() - began) / turns, " cycles each\n");
}

/// Off the bus and on again, with requests in flight.
void life() {
  using rng_t = rng::device<bench, either, usual_queue>;
  rng_t& source = the_rng<rng_t>;
  const location where = find(device_type::entropy);
  CHECK_ERROR(source.fill({first, 8}), errc::not_started);
  for (u32 round = 0; round < 4; ++round) {
    CHECK(start(source, where, the_storage<rng_t>, "rng_features"));
    check_mastering(where, true);
    check_fills(source);
    // A reset, and requests after it, end all remaining work of a device: an unnoticed write would show now.
    for (usize i = 0; round >= 2 && i < 4; ++i) CHECK(all_are(small[i], 0xa5));
    if (round == 3) break;
    for (usize i = 0; i < 4; ++i) CHECK_OK(source.submit({small[i], 16}, i));
    source.kick();
    if (round == 0) continue;
    CHECK_OK(round == 1 ? source.reset() : source.hand_off());
    check_mastering(where, round == 1);
    u32 back = 0;
    for (auto one = source.next_completion(); one; one = source.next_completion(), ++back) {
      CHECK(one->status == errc::ok || (one->status == errc::canceled && one->length == 0));
      __builtin_memset(small[one->cookie], 0xa5, 16);
    }
    CHECK_EQUAL(back, 4u);
    CHECK_ERROR(source.fill({first, 8}), errc::not_started);
  }
}

/// A device that returns a few bytes at a time: fill() repeats until the buffer is full.
void slow() {
  using rng_t = rng::device<bench, either, usual_queue>;
  rng_t& source = the_rng<rng_t>;
  CHECK(start(source, find(device_type::entropy), the_storage<rng_t>, "rng_features"));
  const u64 quota = number("quota");
  const auto one = source.submit({first, 4096});
  CHECK_OK(one);
  fill({first, 4096}, 0xa5);
  const auto got = source.wait(*one);
  CHECK_OK(got);
  CHECK_OK(got->status);
  CHECK(got->length >= 1 && got->length <= quota);
  CHECK(all_are({first + got->length, 4096 - got->length}, 0xa5));
  seen.clear();
  const usize size = static_cast<usize>(quota) * 4;
  fill({first, size + 1}, 0);
  CHECK_OK(source.fill({first, size}));
  for (usize at = 0; at < size; at += quota) CHECK(!all_are({first + at, static_cast<usize>(quota)}, 0));
  CHECK(first[size] == 0);
  CHECK(seen.doorbells >= 1);  // the device's own timer may poll the queue before the doorbell
}

void two() {
  using rng_t = rng::device<bench, either, usual_queue>;
  static constinit rng_t other;
  static constinit virtio::dma_storage<rng_t::dma_bytes> other_storage;
  rng_t& one = the_rng<rng_t>;
  CHECK_ERROR(bus::find(machine(), device_type::entropy), errc::ambiguous);
  CHECK_ERROR(bus::find_nth(machine(), device_type::entropy, 2), errc::not_found);
  CHECK(start(one, find(device_type::entropy, 0), the_storage<rng_t>, "rng_features"));
  CHECK(start(other, find(device_type::entropy, 1), other_storage, "rng_features"));
  CHECK_OK(one.submit({small[0], 16}));
  CHECK_OK(other.submit({small[1], 16}));
  one.kick();
  other.kick();
  CHECK_OK(other.wait_next());
  CHECK_OK(one.wait_next());
  check_fills(one);
  check_fills(other);
  CHECK_OK(one.hand_off());
  check_fills(other);
}

/// Draws entropy through a ring without a driver.
template <class Ring>
void draw(Ring& ring, const either::doorbell& bell) {
  fill({first, 64}, 0);
  virtio::segment_list<1> chain;
  CHECK_OK(machine().map(first, 64, virtio::direction::from_device, chain));
  const auto slot = ring.reserve();
  CHECK_OK(slot);
  CHECK_OK(ring.stage(*slot, chain, 7));
  ring.publish();
  if (ring.needs_kick()) bell.ring(ring.position());
  auto done = ring.next_completion();
  for (; done.error() == errc::not_ready; done = ring.next_completion()) boot::pause();
  CHECK_OK(done);
  CHECK_EQUAL(done->cookie, 7u);
  CHECK(done->length >= 1 && done->length <= 64);
  CHECK(done->length < 16 || !all_are({first, done->length}, 0));
  ring.release(done->which);
}

/// The device's queue is stopped and restarted smaller, elsewhere, and as it was; `restart=` names the result if it
/// cannot be.
template <class Large, class Small>
void restart() {
  static constinit virtio::session<bench, either> device;
  static constinit Large large;
  static constinit Small little;
  static constinit virtio::dma_storage<Large::dma_bytes> here, there;
  CHECK_OK(device.open(machine(), find(device_type::entropy), device_type::entropy));
  const virtio::feature_set wanted_features = Large::wanted | virtio::feature_set{virtio::feature::ring_reset};
  CHECK_OK(device.negotiate({.wanted = wanted_features, .required = Large::required}));
  virtio::dma_area near, far;
  CHECK_OK(virtio::locate(machine(), here, near));
  CHECK_OK(virtio::locate(machine(), there, far));
  either::doorbell bell;
  CHECK_OK(device.set_up(0, large, near, virtio::no_vector, bell));
  device.go();
  draw(large, bell);
  if (const errc wanted = error_named("restart"); wanted != errc::ok) {
    CHECK_ERROR(device.restart_queue(0, large, far, virtio::no_vector, bell), wanted);
    if (wanted == errc::unsupported) draw(large, bell);
    return;
  }
  for (u32 round = 0; round < 20; ++round) {
    CHECK_OK(device.restart_queue(0, little, far, virtio::no_vector, bell));
    CHECK_EQUAL(seen.queue_entries, Small::slots);
    for (u32 n = 0; n < 10; ++n) draw(little, bell);
    CHECK_OK(device.restart_queue(0, large, round % 2 == 0 ? near : far, virtio::no_vector, bell));
    CHECK_EQUAL(seen.queue_entries, Large::slots);
    for (u32 n = 0; n < 10; ++n) draw(large, bell);
  }
  CHECK((device.transport().status() & virtio::status::driver_ok) != 0 && !device.needs_reset());
  CHECK_OK(device.reset());
}

}  // namespace

bool run_entropy(boot::text word) {
  if (word == "rng") {
    const boot::text transport = boot::option("transport");
    if (transport == "modern") entropy<rng::device<bench, bus::modern<bench>, usual_queue>>();
    else if (transport == "legacy") entropy<rng::device<bench, bus::legacy<bench>, usual_queue>>();
    else with_queue([]<class Q>(queue_choice<Q>) { entropy<rng::device<bench, either, Q>>(); });
  } else if (word == "rng_life") life();
  else if (word == "rng_slow") slow();
  else if (word == "two_rngs") two();
  else if (word == "restart_split") restart<virtio::split_ring<8>, virtio::split_ring<4>>();
  else if (word == "restart_packed") restart<virtio::packed_ring<8>, virtio::packed_ring<5>>();
  else return false;
  return true;
}

}  // namespace cell
