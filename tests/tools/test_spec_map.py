#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/spec-map finds the tags that count, those only, and the names of their tests."""
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import compilers  # noqa: E402


def tag(name):  # composed here, so that this file cites nothing itself
    return "[" + name + "]"


ROWS = """id\tlevel\tarea\tspec_section\trequirement
INIT-01\tMUST\tinit\tSomewhere\treset the "device" first
INIT-02\tMUST NOT\tinit\tSomewhere\tgo on too early
INIT-03\tMAY\tinit\tSomewhere\trest
GPU-01\tMUST\tgpu\tElsewhere\tdo what is not done here
"""


class SpecMap(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("docs/spec/driver-requirements.tsv", ROWS)
        self.write("docs/spec/constants.md", "- FACT-01: it is so.\n")
        self.write("docs/spec/untestable.tsv", "id\treason\n")
        self.write("tests/unit/a.cpp", "")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def spec_map(self, *options, status=0):
        done = compilers.run([sys.executable, ROOT / "tools/spec-map", "--root", self.root, *options])
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def cited(self):
        return [line for line in self.spec_map().splitlines() if "tests/" in line]

    def test_names(self):
        self.write("tests/unit/a.cpp", f"""
            const int n = 1'000'000;  // '"'
            TEST_CASE("init: resets first {tag('INIT-01')}", "[init]") {{}}
            TEMPLATE_TEST_CASE("init: waits, "
                               "says so {tag('INIT-02')}", "[init]{tag('INIT-03')}", int) {{ SECTION("x {tag('FACT-01')}") {{}} }}
        """)
        self.assertEqual(self.cited(), [
            "INIT-01      MUST       tests/unit/a.cpp: init: resets first",
            "INIT-02      MUST NOT   tests/unit/a.cpp: init: waits, says so",
            "INIT-03      MAY        tests/unit/a.cpp: init: waits, says so",
            "FACT-01      fact       tests/unit/a.cpp: init: waits, says so"])

    def test_comments_do_not_count(self):
        self.write("tests/unit/a.cpp", f"""// "{tag('INIT-01')}"\n/* "{tag('INIT-02')}" */\nconst char* url = "a://b {tag('INIT-03')}";""")
        self.write("tests/unit/b.py", f"# '{tag('INIT-01')}'\n")
        self.assertEqual(self.cited(), ["INIT-03      MAY        tests/unit/a.cpp: "])

    def test_raw_strings(self):
        self.write("tests/unit/a.hpp", f"""auto s = R"x(" // {tag('INIT-01')})x"; // "{tag('INIT-02')}" """)
        self.assertEqual(self.cited(), ["INIT-01      MUST       tests/unit/a.hpp: "])

    def test_python(self):
        self.write("tests/qemu/m.py", f"""def cells():\n    yield 'boots {tag('INIT-01')}', ('{tag('INIT-02')}',)\n""")
        self.assertEqual(self.cited(), ["INIT-01      MUST       tests/qemu/m.py: boots",
                                        "INIT-02      MUST NOT   tests/qemu/m.py: cells"])

    def test_ids_that_do_not_exist(self):
        for name in ("INIT-99", "FACT-02"):
            self.write("tests/unit/a.cpp", f'TEST_CASE("x {tag(name)}") {{}}')
            self.assertIn(f"{name}: no such requirement", self.spec_map(status=1))

    def test_missing(self):
        self.write("tests/unit/a.cpp", f'TEST_CASE("x {tag("INIT-01")}") {{}}')
        self.assertEqual(self.spec_map("--missing", "MUST", "--areas", "init"), "")
        self.assertIn("GPU-01", self.spec_map("--missing", "MUST"))
        self.assertIn("INIT-02", self.spec_map("--missing", "MUST NOT", "--areas", "init,gpu"))
        self.spec_map("--missing", "OUGHT", status=1)
        self.spec_map("--areas", "nothing", status=1)

    def test_check(self):
        self.write("tests/unit/a.cpp", f'TEST_CASE("x {tag("INIT-01")}") {{}}')
        out = self.spec_map("--check", status=1)
        self.assertIn("INIT-02: no test and no reason", out)
        self.assertNotIn("GPU-01", out)  # not an area with a driver here
        self.write("docs/spec/untestable.tsv", "id\treason\nINIT-02\tneeds a clock\n")
        self.spec_map("--check")
        self.write("docs/spec/untestable.tsv", "id\treason\nINIT-02\tneeds a clock\nINIT-01\ttoo hard\n")
        self.assertIn("INIT-01: called untestable, but tests/unit/a.cpp", self.spec_map("--check", status=1))
        self.write("docs/spec/untestable.tsv", "id\treason\nINIT-02\t\n")
        self.assertIn("gives no reason", self.spec_map("--check", status=1))
        self.write("docs/spec/untestable.tsv", "id\treason\nINIT-02\tneeds a clock\nINIT-44\tnever was\n")
        self.assertIn("INIT-44: no such requirement", self.spec_map("--check", status=1))


if __name__ == "__main__":
    unittest.main()
