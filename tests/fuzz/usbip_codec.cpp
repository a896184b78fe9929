// SPDX-License-Identifier: MIT
// libFuzzer: each parser of USB/IP on any bytes. A complete message is encoded again to the same bytes; for a cut one,
// the reported missing bytes are never more than the rest; a wrong message stays wrong with more bytes.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include <usbip/codec/operation.hpp>
#include <usbip/codec/urb.hpp>

namespace {

using namespace usbip;

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "usbip_codec: %s\n", what);
  std::abort();
}

/// Runs `parse` on each prefix of `all`, in memory of exactly its size. Returns whether the whole is a message of
/// `size` bytes.
template <class F>
bool cut(const_bytes all, usize size, F parse) {
  bool was_wrong = false;
  for (usize n = 0; n <= all.size && n <= size; ++n) {
    u8* const own = static_cast<u8*>(std::malloc(n != 0 ? n : 1));
    if (n != 0) std::memcpy(own, all.data, n);
    const auto got = parse(const_bytes{own, n});
    std::free(own);
    must(!(got.incomplete() && got.wrong()), "both cut off and wrong");
    must(!was_wrong || got.wrong(), "wrong, and right with more");
    was_wrong = got.wrong();
    if (got.incomplete()) must(n + got.missing <= size, "more is missing than the message has");
    if (got.complete()) return true;
  }
  must(all.size < size || was_wrong, "neither whole nor wrong");
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, usize size) {
  const const_bytes all{data, size};
  const urb_limits limits{.longest = 4096, .packets = 4};
  if (cut(all, 40, [](const_bytes have) { return parse_operation_request(have); })) {
    const auto got = parse_operation_request(all);
    u8 made[40];
    if (got.value.what == operation::import_request) put_import_request(made, got.value.busid);
    else put(made, operation_header{operation::list_request, operation_status::ok});
    must(std::memcmp(made, data, got.value.what == operation::import_request ? 40 : 8) == 0,
         "another request of an operation");
  }
  for (const operation asked : {operation::list_request, operation::import_request}) {
    (void)cut(all, 8, [&](const_bytes have) { return parse_operation_answer(have, asked); });
  }
  if (cut(all, 312, parse_device_record)) {
    u8 made[312];
    put(made, parse_device_record(all).value);
    must(std::memcmp(made, data, 312) == 0, "another record");
  }
  (void)cut(all, 4, parse_interface_record);
  if (cut(all, 48, [&](const_bytes have) { return parse_urb_request(have, limits); })) {
    const urb_request request = parse_urb_request(all, limits).value;
    must(request.data_bytes() <= limits.longest && request.entry_bytes() <= limits.packets * 16, "beyond the limits");
    u8 made[48];
    put(made, request);
    const urb_request again = parse_urb_request({made, 48}, limits).value;
    must(again.what == request.what && again.seqnum == request.seqnum && again.length == request.length &&
             again.target == request.target && again.endpoint == request.endpoint && again.packets == request.packets &&
             std::memcmp(again.setup, request.setup, 8) == 0,
         "another URB");
  }
  if (cut(all, 48, [&](const_bytes have) { return parse_urb_answer(have, limits); })) {
    must(parse_urb_answer(all, limits).value.actual <= limits.longest, "an answer beyond the limits");
  }
  if (cut(all, 16, [](const_bytes have) { return parse_iso_entry(have, 1000); })) {
    const iso_entry one = parse_iso_entry(all, 1000).value;
    must(one.offset <= 1000 && one.length <= 1000 - one.offset && one.actual <= one.length, "a packet outside");
    u8 made[16];
    put(made, one);
    must(std::memcmp(made, data, 16) == 0, "another packet");
  }
  return 0;
}
