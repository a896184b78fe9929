// SPDX-License-Identifier: MIT
// The interface of a disk from which the loader loads files.
#pragma once

#include <virtio/blk.hpp>

#include "../files/text.hpp"

namespace loader {

using virtio::errc, virtio::result;

/// The result of one of several requests.
struct ended_read {
  u64 cookie = 0;
  errc status = errc::ok;
};

/// A disk for the loader. The calls have the meaning of `virtio::block_storage`.
template <class D>
concept readable_disk = requires(D d, const D c, u64 sector, bytes to) {
  { c.capacity() } -> virtio::same_as<u64>;
  { c.block_size() } -> virtio::same_as<u32>;
  { c.largest_request() } -> virtio::same_as<u32>;
  { d.read(sector, to) } -> virtio::same_as<result<void>>;
  { d.submit_read(sector, to, sector) } -> virtio::same_as<result<virtio::token>>;
  { d.wait_next() } -> virtio::same_as<result<ended_read>>;
};

}  // namespace loader
