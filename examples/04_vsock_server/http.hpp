// SPDX-License-Identifier: MIT
// The part of HTTP/1.1 that a file server needs: it parses the head of a request in place.
// Spec: RFC 9110, RFC 9112.
#pragma once

#include "../files/text.hpp"

namespace http {

/// The requested bytes of a file; `to` is the last one.
struct range {
  enum class kind : u8 { all, from_to, last } what = kind::all;
  u64 from = 0;
  u64 to = 0;  // for `last`: the number of bytes
};

struct request {
  const_bytes path;  // decoded, without the query
  bool is_head = false;
  bool keep_alive = false;
  range part;
};

enum status : u16 {
  ok = 200,
  partial = 206,
  moved = 301,
  bad_request = 400,
  not_found = 404,
  wrong_method = 405,
  no_such_range = 416,
  too_large = 431,
  broken = 500,
  wrong_version = 505
};

[[nodiscard]] constexpr const char* reason(status s) {
  switch (s) {
    case ok: return "OK";
    case partial: return "Partial Content";
    case moved: return "Moved Permanently";
    case bad_request: return "Bad Request";
    case not_found: return "Not Found";
    case wrong_method: return "Method Not Allowed";
    case no_such_range: return "Range Not Satisfiable";
    case too_large: return "Request Header Fields Too Large";
    case broken: return "Internal Server Error";
    case wrong_version: return "HTTP Version Not Supported";
  }
  return "";
}

/// Returns the size of a request's head with the empty line at its end, or 0 if that line has not arrived.
[[nodiscard]] inline usize head_size(const_bytes heard) {
  for (usize i = 4; i <= heard.size(); ++i)
    if (__builtin_memcmp(heard.data() + i - 4, "\r\n\r\n", 4) == 0) return i;
  return 0;
}

namespace detail {

[[nodiscard]] inline int hex_digit(u8 c) {
  if (is_digit(c)) return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/// Decodes `%XX` in place. Returns false if a code is invalid, or is a byte that no name contains.
[[nodiscard]] inline bool decode(bytes& path) {
  usize size = 0;
  for (usize i = 0; i < path.size(); ++i) {
    int c = path.data()[i];
    if (c == '%') {
      if (i + 2 >= path.size()) return false;
      const int high = hex_digit(path.data()[i + 1]), low = hex_digit(path.data()[i + 2]);
      if (high < 0 || low < 0) return false;
      c = high << 4 | low;
      i += 2;
    }
    if (c < 0x20 || c == 0x7f) return false;
    path.data()[size++] = static_cast<u8>(c);
  }
  path = path.part(0, size);
  return true;
}

[[nodiscard]] inline const_bytes trim(const_bytes s) {
  const auto is_blank = [](u8 c) { return c == ' ' || c == '\t'; };
  while (!s.empty() && is_blank(s.data()[0])) s = s.part(1, s.size());
  while (!s.empty() && is_blank(s.data()[s.size() - 1])) s = s.part(0, s.size() - 1);
  return s;
}

/// Removes a number from the front. Returns false if there are no digits, or too many.
[[nodiscard]] inline bool take_number(const_bytes& s, u64& out) {
  usize count = 0;
  for (out = 0; count < s.size() && is_digit(s.data()[count]); ++count) out = out * 10 + (s.data()[count] - u64{'0'});
  s = s.part(count, s.size());
  return count != 0 && count < 19;
}

/// An invalid range, or one of several parts, means the whole file: RFC 9110 14.2 allows it.
[[nodiscard]] inline range parse_range(const_bytes s) {
  range out;
  if (!begins_with(s, text("bytes="))) return {};
  s = s.part(6, s.size());
  if (begins_with(s, text("-"))) {
    s = s.part(1, s.size());
    out.what = range::kind::last;
    return take_number(s, out.to) && s.empty() ? out : range{};
  }
  out.what = range::kind::from_to;
  if (!take_number(s, out.from) || !begins_with(s, text("-"))) return {};
  s = s.part(1, s.size());
  out.to = ~u64{0};
  if (s.empty()) return out;
  return take_number(s, out.to) && s.empty() && out.from <= out.to ? out : range{};
}

/// Returns whether a comma-separated list contains this word.
[[nodiscard]] inline bool has_word(const_bytes list, const_bytes word) {
  while (!list.empty()) {
    const usize size = find(list, ',');
    if (alike(trim(list.part(0, size)), word)) return true;
    list = list.part(size + 1, list.size());
  }
  return false;
}

}  // namespace detail

/// Parses a request's head, up to `head_size`, and decodes the path in place. The result refers to the memory of
/// `head`.
/// After any result but `ok` the connection must be closed: the start of the next request is unknown.
[[nodiscard]] inline status parse(bytes head, request& out) {
  using namespace detail;
  out = {};
  const auto take_line = [&] {
    const usize size = find(head, '\r');
    const bytes line = head.part(0, size);
    head = head.part(size, head.size());
    return line;
  };
  const bytes line = take_line();
  const usize method_size = find(line, ' ');
  const const_bytes method = line.part(0, method_size);
  bytes target = line.part(method_size + 1, line.size());
  const usize target_size = find(target, ' ');
  const const_bytes version = target.part(target_size + 1, target.size());
  target = target.part(0, target_size);
  if (method.empty() || target.empty() || version.size() != 8 || !begins_with(version, text("HTTP/")))
    return bad_request;
  if (!begins_with(version, text("HTTP/1."))) return wrong_version;
  out.keep_alive = version.data()[7] != '0';

  bool has_host = false, has_body = false, if_range = false;
  while (!head.empty()) {
    if (head.size() < 2 || head.data()[1] != '\n') return bad_request;
    head = head.part(2, head.size());
    const const_bytes field = take_line();
    if (field.empty()) break;
    const usize colon = find(field, ':');
    if (colon == field.size() || colon == 0 || find(field, ' ') < colon) return bad_request;
    const const_bytes name = field.part(0, colon), value = trim(field.part(colon + 1, field.size()));
    if (alike(name, text("Host"))) has_host = true;
    else if (alike(name, text("Content-Length"))) has_body = has_body || !alike(value, text("0"));
    else if (alike(name, text("Transfer-Encoding"))) has_body = true;
    else if (alike(name, text("Range"))) out.part = parse_range(value);
    else if (alike(name, text("If-Range"))) if_range = true;
    else if (alike(name, text("Connection")) && has_word(value, text("close"))) out.keep_alive = false;
  }
  if (if_range) out.part = {};  // the server sends no validator, so none can match
  if (!has_host && version.data()[7] != '0') return bad_request;
  out.is_head = method.size() == 4 && __builtin_memcmp(method.data(), "HEAD", 4) == 0;
  if (!out.is_head && (method.size() != 3 || __builtin_memcmp(method.data(), "GET", 3) != 0)) return wrong_method;
  if (has_body) return bad_request;

  if (begins_with(target, text("http://"))) {
    target = target.part(7, target.size());
    target = target.part(find(target, '/'), target.size());
  }
  target = target.part(0, find(target, '?'));
  if (!begins_with(target, text("/"))) return bad_request;
  const bool is_clean = decode(target);
  out.path = target;
  return is_clean ? ok : bad_request;
}

}  // namespace http
