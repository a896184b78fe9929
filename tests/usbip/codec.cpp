// SPDX-License-Identifier: MIT
// The codec against vectors that were written by hand from the protocol's tables, whole and cut at every byte.
#include <catch2/catch_test_macros.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <usbip/codec/operation.hpp>
#include <usbip/codec/urb.hpp>

using namespace usbip;

namespace {

using vector = std::vector<u8>;

/// Returns the bytes of a vector's text. Blanks are ignored; "x00*24" means 24 zeros.
vector hex(const char* text) {
  vector all;
  for (const char* at = text; *at != 0;) {
    if (*at == ' ') {
      ++at;
    } else if (*at == 'x') {
      unsigned value = 0, count = 0;
      int length = 0;
      if (std::sscanf(at, "x%2x*%u%n", &value, &count, &length) != 2) std::abort();
      all.insert(all.end(), count, static_cast<u8>(value));
      at += length;
    } else {
      unsigned value = 0;
      if (std::sscanf(at, "%2x", &value) != 1) std::abort();
      all.push_back(static_cast<u8>(value));
      at += 2;
    }
  }
  return all;
}

/// Parses the whole vector and each shorter part. A part has its own buffer, so that a sanitizer detects a read past
/// its end.
template <class F>
void cut_everywhere(const vector& whole, F parse, usize first_part = 0) {
  for (usize size = 0; size < whole.size(); ++size) {
    const vector part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto got = parse(const_bytes{part.data(), part.size()});
    INFO("cut at " << size);
    CHECK(got.incomplete());
    CHECK_FALSE(got.wrong());
    CHECK(got.missing == (size < first_part ? first_part : whole.size()) - size);
  }
  CHECK(parse(const_bytes{whole.data(), whole.size()}).complete());
}

const vector list_request = hex("0111 8005 00000000");
const vector import_request = hex("0111 8003 00000000 33 2d 32 x00*29");
// A control transfer that reads 18 bytes, an OUT of 31 bytes, an unlink of 7; all of bus 1, device 2.
const vector submit_in =
    hex("00000001 00000005 00010002 00000001 00000000 00000200 00000012 00000000 00000000 00000000 8006000100001200");
const vector submit_out =
    hex("00000001 00000006 00010002 00000000 00000002 00000000 0000001f 00000000 ffffffff 00000000 0000000000000000");
const vector submit_iso =
    hex("00000001 00000009 00010002 00000001 00000003 00000202 00000300 00000011 00000002 00000008 0000000000000000");
const vector unlink_7 = hex("00000002 00000008 00010002 00000000 00000000 00000007 x00*24");
const vector answer_in =
    hex("00000003 00000005 00000000 00000000 00000000 00000000 00000012 00000000 00000000 00000000 x00*8");
const vector answer_stall = hex("00000003 0000000a 00000000 00000000 00000000 ffffffe0 x00*24");
const vector answer_unlink = hex("00000004 00000008 00000000 00000000 00000000 ffffff98 x00*24");

const_bytes view(const vector& v) { return {v.data(), v.size()}; }

}  // namespace

TEST_CASE("usbip codec: requests of the operation phase, whole and cut at every byte", "[usbip][codec]") {
  const auto list = parse_operation_request(view(list_request));
  REQUIRE(list.complete());
  CHECK(list.value.what == operation::list_request);
  const auto import = parse_operation_request(view(import_request));
  REQUIRE(import.complete());
  CHECK(import.value.what == operation::import_request);
  CHECK(std::strcmp(import.value.busid, "3-2") == 0);
  cut_everywhere(list_request, parse_operation_request);
  cut_everywhere(import_request, parse_operation_request, 8);

  u8 made[40];
  put(made, operation_header{operation::list_request, operation_status::ok});
  CHECK(vector(made, made + 8) == list_request);
  put_import_request(made, import.value.busid);
  CHECK(vector(made, made + 40) == import_request);
}

TEST_CASE("usbip codec: every invalid field of an operation has its reason", "[usbip][codec][hostile]") {
  const auto why = [](const char* text) {
    const vector v = hex(text);
    return parse_operation_request(view(v)).why;
  };
  CHECK(why("0110 8005 00000000") == fault::wrong_version);
  CHECK(why("0111 8004 00000000") == fault::unknown_operation);
  CHECK(why("0111 0005 00000000") == fault::unknown_operation);
  CHECK(why("0111 8005 00000001") == fault::failed);
  CHECK(why("0111 8003 00000000 x31*32") == fault::unterminated_text);
  CHECK(why("00000001") == fault::urbs_where_operation_due);
  CHECK(why("00000002") == fault::urbs_where_operation_due);
  CHECK(why("474554 20") == fault::wrong_version);
  CHECK(why("000000") == fault::none);
}

TEST_CASE("usbip codec: answers of the operation phase, whole and cut at every byte", "[usbip][codec]") {
  const vector ok = hex("0111 0003 00000000"), busy = hex("0111 0003 00000002"), list = hex("0111 0005 00000000");
  const auto import = [](const_bytes have) { return parse_operation_answer(have, operation::import_request); };
  CHECK(import(view(ok)).value.status == operation_status::ok);
  CHECK(import(view(busy)).value.status == operation_status::busy);
  cut_everywhere(busy, import);
  CHECK(import(view(list)).why == fault::unknown_operation);
  CHECK(parse_operation_answer(view(list), operation::list_request).complete());
  CHECK(import(view(answer_in)).why == fault::urbs_where_operation_due);
  CHECK(import(view(import_request)).why == fault::unknown_operation);
  u8 made[8];
  put(made, operation_header{operation::import_answer, operation_status::busy});
  CHECK(vector(made, made + 8) == busy);
}

TEST_CASE("usbip codec: a device's record and an interface's, whole and cut at every byte", "[usbip][codec]") {
  const vector record = hex("2f61 x00*254 332d32 x00*29 00000003 00000002 00000005 1d6b 0104 0200 ef 02 01 01 02 03");
  REQUIRE(record.size() == 312);
  const auto got = parse_device_record(view(record));
  REQUIRE(got.complete());
  const device_record& d = got.value;
  CHECK(std::strcmp(d.path, "/a") == 0);
  CHECK(std::strcmp(d.busid, "3-2") == 0);
  CHECK((d.busnum == 3 && d.devnum == 2 && d.speed == speed::super));
  CHECK((d.vendor == 0x1d6b && d.product == 0x0104 && d.release == 0x0200));
  CHECK((d.device_class == 0xef && d.subclass == 2 && d.protocol == 1));
  CHECK((d.configuration == 1 && d.configurations == 2 && d.interfaces == 3));
  cut_everywhere(record, parse_device_record);
  u8 made[312];
  put(made, d);
  CHECK(vector(made, made + 312) == record);

  vector endless = record;
  for (usize at = 0; at < 256; ++at) endless[at] = 'x';
  CHECK(parse_device_record(view(endless)).why == fault::unterminated_text);

  const vector interface = hex("08 06 50 00");
  const auto one = parse_interface_record(view(interface));
  CHECK((one.value.interface_class == 8 && one.value.subclass == 6 && one.value.protocol == 0x50));
  cut_everywhere(interface, parse_interface_record);
  u8 four[4];
  put(four, one.value);
  CHECK(vector(four, four + 4) == interface);
}

TEST_CASE("usbip codec: requests of the URB phase, whole and cut at every byte", "[usbip][codec]") {
  const auto parse = [](const_bytes have) { return parse_urb_request(have); };
  for (const vector* one : {&submit_in, &submit_out, &submit_iso, &unlink_7}) {
    REQUIRE(one->size() == 48);
    cut_everywhere(*one, parse);
    const auto got = parse(view(*one));
    u8 made[48];
    put(made, got.value);
    vector again(made, made + 48);
    // 0 means the same; the codec writes 0
    if (one == &submit_out) store_be32(again.data() + 0x20, 0xffffffffu);
    CHECK(again == *one);
  }
  const urb_request in = parse(view(submit_in)).value, out = parse(view(submit_out)).value,
                    iso = parse(view(submit_iso)).value;
  CHECK((in.what == command::submit && in.seqnum == 5 && in.devid == 0x10002 && in.way == direction::in &&
         in.endpoint == 0));
  CHECK((in.flags == 0x200 && in.length == 18 && in.packets == 0 && in.interval == 0 && in.setup[0] == 0x80 &&
         in.setup[6] == 0x12));
  CHECK((in.data_bytes() == 0 && in.entry_bytes() == 0));
  CHECK((out.way == direction::out && out.endpoint == 2 && out.packets == 0 && out.data_bytes() == 31));
  CHECK((iso.packets == 2 && iso.start_frame == 0x11 && iso.interval == 8 && iso.entry_bytes() == 32 &&
         iso.data_bytes() == 0));
  const urb_request unlink = parse(view(unlink_7)).value;
  CHECK((unlink.what == command::unlink && unlink.seqnum == 8 && unlink.target == 7 && unlink.data_bytes() == 0));
}

TEST_CASE("usbip codec: every invalid field of a URB's header has its reason", "[usbip][codec][hostile]") {
  const auto with = [](usize at, u32 value, urb_limits limits = {}) {
    vector v = submit_in;
    store_be32(v.data() + at, value);
    return parse_urb_request(view(v), limits).why;
  };
  for (const u32 word : {0u, 3u, 4u, 5u, 0x01000000u, 0xffffffffu}) CHECK(with(0, word) == fault::unknown_command);
  CHECK(with(0, 0x01118003) == fault::operation_where_urbs_due);
  CHECK(with(0, 0x01118005) == fault::operation_where_urbs_due);
  CHECK(with(12, 2) == fault::wrong_direction);
  CHECK(with(12, 0xffffffff) == fault::wrong_direction);
  CHECK(with(16, 15) == fault::none);
  CHECK(with(16, 16) == fault::wrong_endpoint);
  CHECK(with(16, 0x81) == fault::wrong_endpoint);
  CHECK(with(0x18, 4096, {.longest = 4096}) == fault::none);
  CHECK(with(0x18, 4097, {.longest = 4096}) == fault::too_long);
  CHECK(with(0x18, 0xffffffff) == fault::too_long);
  CHECK(with(0x20, 8, {.packets = 8}) == fault::none);
  CHECK(with(0x20, 9, {.packets = 8}) == fault::too_many_packets);
  CHECK(with(0x20, 0xfffffffe) == fault::too_many_packets);
  CHECK(with(0x20, 0xffffffff) == fault::none);
}

TEST_CASE("usbip codec: answers of the URB phase, whole and cut at every byte", "[usbip][codec]") {
  const auto parse = [](const_bytes have) { return parse_urb_answer(have); };
  for (const vector* one : {&answer_in, &answer_stall, &answer_unlink}) {
    REQUIRE(one->size() == 48);
    cut_everywhere(*one, parse);
    u8 made[48];
    put(made, parse(view(*one)).value);
    CHECK(vector(made, made + 48) == *one);
  }
  CHECK(parse(view(answer_in)).value.actual == 18);
  CHECK(parse(view(answer_stall)).value.status == urb_status::stall);
  CHECK(parse(view(answer_unlink)).value.status == urb_status::canceled);
  vector v = answer_in;
  store_be32(v.data() + 0x18, 0xffffffff);
  CHECK(parse(view(v)).why == fault::too_long);
  store_be32(v.data(), 1);
  CHECK(parse(view(v)).why == fault::unknown_command);
  store_be32(v.data(), 0x01110003);
  CHECK(parse(view(v)).why == fault::operation_where_urbs_due);
}

TEST_CASE("usbip codec: entries of isochronous packets stay in their transfer", "[usbip][codec]") {
  const vector entry = hex("00000100 00000080 00000040 00000000");
  const auto parse = [](const_bytes have) { return parse_iso_entry(have, 0x180); };
  cut_everywhere(entry, parse);
  const iso_entry one = parse(view(entry)).value;
  CHECK((one.offset == 0x100 && one.length == 0x80 && one.actual == 0x40 && one.status == 0));
  u8 made[16];
  put(made, one);
  CHECK(vector(made, made + 16) == entry);
  const auto with = [&](usize at, u32 value) {
    vector v = entry;
    store_be32(v.data() + at, value);
    return parse(view(v)).why;
  };
  CHECK(with(0, 0x101) == fault::packet_outside);
  CHECK(with(0, 0xffffffff) == fault::packet_outside);
  CHECK(with(4, 0x81) == fault::packet_outside);
  CHECK(with(4, 0xffffffff) == fault::packet_outside);
  CHECK(with(8, 0x81) == fault::packet_outside);
}

TEST_CASE("usbip codec: each fault and each end has its own sentence", "[usbip][codec]") {
  std::vector<const char*> all;
  for (unsigned n = 0; n <= static_cast<unsigned>(fault::seqnum_in_use); ++n)
    all.push_back(describe(static_cast<fault>(n)));
  for (usize one = 0; one < all.size(); ++one) {
    CHECK(std::strcmp(all[one], "unknown fault") != 0);
    for (usize other = 0; other < one; ++other) CHECK(std::strcmp(all[one], all[other]) != 0);
  }
}
