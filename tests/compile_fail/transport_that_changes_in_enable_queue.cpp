// SPDX-License-Identifier: MIT
// case: a type whose enable_queue is not const is not a transport, and the message names it
// says: ct\.enable_queue\(q, areas, f, vector, bell\)' (is invalid|would be invalid)
#include <virtio/queue/split.hpp>
#include <virtio/rng.hpp>

using namespace virtio;

#if defined(FAIL)
#define QUALIFIER
#else
#define QUALIFIER const
#endif

struct bell {
  void ring(u16) const {}
};
struct place {};

struct link {
  using location = place;
  using doorbell = bell;
  static constexpr byte_order ring_order = byte_order::little;
  static constexpr feature_set wanted{};
  static device_type type_of(const place&) { return device_type::entropy; }
  result<void> open(const place&, report&) { return {}; }
  device_type type() const { return device_type::entropy; }
  transport_kind kind() const { return transport_kind::mmio_modern; }
  bool is_legacy() const { return false; }
  u8 status() const { return 0; }
  void set_status(u8) {}
  feature_set device_features(u32) { return {}; }
  void accept_features(const feature_set&, u32) {}
  queue_limits queue(u16) { return {8, false}; }
  result<void> enable_queue(u16, const queue_areas&, const feature_set&, u16, bell&) QUALIFIER { return {}; }
  result<void> begin_queue_reset(u16) { return {}; }
  bool queue_reset_done(u16) { return true; }
  result<void> set_config_vector(u16) { return {}; }
  template <class T>
  result<T> config(usize) const {
    return T{};
  }
  template <class T>
  result<void> config_write(usize, T) {
    return {};
  }
  u32 config_generation() const { return 0; }
  interrupt_cause acknowledge_interrupt() { return {}; }
  void close() {}
};

struct board {
  using barriers = smp_barriers;
  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return out.push(dma_addr{reinterpret_cast<uptr>(va)}, n, way);
  }
  bool keep_waiting(waiting, u64 attempt) const { return attempt < 1000; }
};

template class rng::device<board, link, split_queue<8>>;
