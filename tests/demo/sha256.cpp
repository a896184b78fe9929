// SPDX-License-Identifier: MIT
// The demo's SHA-256 as a program for tests/demo/check: hashes standard input, in pieces of the size in its argument.
// The compiler checks the standard's own examples.
#include <stdio.h>
#include <stdlib.h>

#include "../../examples/demo/sha256.hpp"

template <size_t N>
constexpr bool hashes_to(const char (&message)[N], uint32_t first, uint32_t last) {
  sha256 hash;
  for (size_t i = 0; i + 1 < N; ++i) {
    const auto byte = static_cast<uint8_t>(message[i]);
    hash.update(&byte, 1);
  }
  const auto out = hash.digest();
  const auto word = [&](size_t at) {
    return uint32_t{out.bytes[at]} << 24 | uint32_t{out.bytes[at + 1]} << 16 | uint32_t{out.bytes[at + 2]} << 8 |
           uint32_t{out.bytes[at + 3]};
  };
  return word(0) == first && word(28) == last;
}

static_assert(hashes_to("", 0xe3b0c442, 0x7852b855));
static_assert(hashes_to("abc", 0xba7816bf, 0xf20015ad));
static_assert(hashes_to("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 0x248d6a61, 0x19db06c1));

int main(int count, char** arguments) {
  static uint8_t piece[65536];
  const size_t want = count == 2 ? static_cast<size_t>(atoi(arguments[1])) : 0;
  if (want == 0 || want > sizeof piece) return 2;
  sha256 hash;
  for (size_t got; (got = fread(piece, 1, want, stdin)) != 0;) hash.update(piece, got);
  for (const uint8_t byte : hash.digest().bytes) printf("%02x", byte);
  printf("\n");
}
