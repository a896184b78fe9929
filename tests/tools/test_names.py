#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/check-names: which identifiers are public names, and its messages about their words."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORDS = "device\nring\nsize\nvirtio\n\nwring -> drain\nnudge -> kick\n"


class Names(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for part in ("include/virtio", "include/usbip", "tests/support", "tools"):
            (self.root / part).mkdir(parents=True)

    def check(self, header, words=WORDS, where="include/virtio/one.hpp"):
        (self.root / "tools/words.txt").write_text(words, encoding="utf-8")
        (self.root / "include/virtio/all.hpp").write_text("namespace virtio { struct device; int ring_size(); }\n", encoding="utf-8")
        (self.root / where).write_text(header, encoding="utf-8")
        done = subprocess.run([sys.executable, ROOT / "tools/check-names", self.root], capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.returncode, 1 if done.stdout.startswith(("include/", "tests/", "tools/")) else 0, done.stdout)
        return [] if done.returncode == 0 else done.stdout.splitlines()

    def unknown(self, header):
        """Returns the words that are not in the list, in the order of their occurrence."""
        lines = self.check("namespace virtio {\n" + header + "\n}  // namespace virtio\n")
        for line in lines:
            self.assertRegex(line, r"^include/virtio/one\.hpp:\d+: \w+: \w+ is not in tools/words\.txt: ")
        return [line.split(": ")[2].split()[0] for line in lines]

    def test_the_names_of_the_libraries_are_made_of_known_words(self):
        done = subprocess.run([sys.executable, ROOT / "tools/check-names"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)

    def test_a_word_that_is_not_in_the_list_is_named_with_its_line(self):
        self.assertEqual(self.check("namespace virtio {\n\nstruct ring_fancy {};\n}\n"), [
            "include/virtio/one.hpp:3: ring_fancy: fancy is not in tools/words.txt: use a word that is, or add it there"])

    def test_types_functions_members_enumerators_parameters_and_macros_count(self):
        self.assertEqual(self.unknown("struct alpha { int beta; int gamma(int delta) const; };"), ["alpha", "beta", "gamma", "delta"])
        self.assertEqual(self.unknown("enum class alpha : unsigned char { beta = 1, gamma };"), ["alpha", "beta", "gamma"])
        self.assertEqual(self.unknown("template <class Alpha, int Beta> concept gamma = Alpha::delta;"), ["alpha", "beta", "gamma", "delta"])
        self.assertEqual(self.unknown("using alpha = int; inline constexpr int beta = 1;"), ["alpha", "beta"])
        self.assertEqual(self.unknown("#define ALPHA_RING(beta) beta"), ["alpha", "beta"])

    def test_words_are_parts_between_underscores_digits_and_capitals(self):
        self.assertEqual(self.unknown("int alpha_ring_beta16; template <class GammaDelta> int ring32;"), ["alpha", "beta", "gamma", "delta"])

    def test_what_a_program_does_not_see_is_free(self):
        for hidden in ("class device { int alpha; public: int ring(); private: int beta(); };",
                       "struct device { int ring() const { int alpha = 1; if (alpha) { beta(); } return gamma; } private: int delta; };",
                       "namespace detail { struct alpha { int beta; }; }",
                       "namespace detail { namespace ring { int alpha(); } }",
                       "struct device { device() : value_{alpha_} {} int size{}; private: int value_; int alpha_; };",
                       "// alpha\n/* beta */ inline constexpr const char* ring = \"gamma\"; inline constexpr char size = 'd';",
                       "#include <virtio/alpha.hpp>\n#if defined(ALPHA)\n#endif"):
            with self.subTest(hidden):
                self.assertEqual(self.unknown(hidden), [])

    def test_what_follows_something_hidden_counts(self):
        self.assertEqual(self.unknown("class device { int alpha; public: int beta; protected: int gamma; public: int delta; };"),
                         ["beta", "delta"])
        self.assertEqual(self.unknown("struct device { int ring() { return alpha; } int beta; };"), ["beta"])
        self.assertEqual(self.unknown("namespace detail { int alpha; } int beta;"), ["beta"])
        self.assertEqual(self.unknown("template <class Ring> requires (sizeof(Ring) > 1) class device { int alpha; public: int beta; };"), ["beta"])

    def test_a_replaced_word_is_wrong_wherever_it_is(self):
        for where, header in (("include/virtio/one.hpp", "namespace virtio { class device { int wring_ring; }; }\n"),
                              ("include/usbip/one.hpp", "namespace usbip { int size() { return wring; } }\n"),
                              ("tests/support/one.hpp", "struct wring {};\n")):
            with self.subTest(where):
                lines = [one for one in self.check(header, WORDS + "usbip\n" * where.startswith("include/usbip"), where) if "wring" in one]
                self.assertEqual(len(lines), 1)
                self.assertTrue(lines[0].endswith("wring is not a word of this project: drain"), lines)
                (self.root / where).unlink()

    def test_words_of_the_tests_helpers_are_free_else(self):
        self.assertEqual(self.check("struct alpha {};\n", where="tests/support/one.hpp"), [])

    def test_a_word_that_no_name_has_any_more_goes(self):
        self.assertEqual(self.check("\n", WORDS + "alpha\n"), ["tools/words.txt: no public name has alpha any more"])

    def test_a_word_is_right_or_wrong(self):
        self.assertIn("tools/words.txt: ring is both a word and a wrong one", self.check("\n", WORDS + "ring -> queue\n"))


if __name__ == "__main__":
    unittest.main()
