// SPDX-License-Identifier: MIT
// What the loader needs of a disk to load files from it.
#pragma once

#include <virtio/blk.hpp>

#include "../files/text.hpp"

namespace loader {

using virtio::errc, virtio::result;

/// How one of several requests ended.
struct ended_read {
  u64 cookie = 0;
  errc status = errc::ok;
};

/// What the loader needs of a disk, with the calls' meaning of `virtio::block_storage`.
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
