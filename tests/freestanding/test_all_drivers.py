#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""all_drivers.py catches each kind of mistake: small sources with one mistake each, instead of all_drivers.cpp.

usage: test_all_drivers.py COMPILER
"""
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools"))
import compilers  # noqa: E402

CONSTRUCTOR = "struct one { one(); int n; };\none::one() : n(1) {}\none object;\n"
DATA = "int object = 5;\n"
FOREIGN = 'extern "C" int foreign();\nint calls();\nint calls() { return foreign(); }\n'
QUOTIENT = "using u64 = unsigned long long;\nu64 quotient(u64 a, u64 b);\nu64 quotient(u64 a, u64 b) { return a / b; }\n"
NARROW = 'static_assert(sizeof(void*) == 8, "narrow");\n'
RIGHT = "extern int object;\nint object;\nextern const int constant;\nconst int constant = 5;\n"


def narrow(target):
    return target.startswith(("i686", "armv7"))


# The mistake, the check, the targets for which it must fail, and the expected message.
CASES = [
    ("a constructor", CONSTRUCTOR, ["zeros"], lambda target: True, ""),  # as .init_array, .ctors, .CRT$XCU
    ("data", DATA, ["zeros"], lambda target: True, "data: 4 bytes"),
    ("optimized data", DATA, ["symbols", "-Os"], lambda target: True, "data: 4 bytes"),
    ("a foreign function", FOREIGN, ["symbols", "-Os"], lambda target: True, "needs foreign"),
    ("a function of the compiler's library", QUOTIENT, ["symbols", "-Os"], narrow, "needs "),
    ("what does not compile", NARROW, ["combinations"], narrow, "does not compile"),
    ("nothing", RIGHT, ["zeros"], lambda target: False, ""),
    ("nothing", RIGHT, ["symbols", "-Os"], lambda target: False, ""),
]


def main():
    compiler = sys.argv[1]
    compilers.need(compiler)
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "source.cpp")
        for what, text, arguments, fails, says in CASES:
            source.write_text(text, encoding="utf-8")
            check, *level = arguments
            done = compilers.run([sys.executable, HERE / "all_drivers.py", "--source", source, check, compiler, *level])
            verdicts = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
            expected = {target: fails(target) for target in compilers.targets(compiler)}
            wrong = [target for target, bad in expected.items() if target not in verdicts
                     or (verdicts[target] != "good") != bad or (bad and says not in verdicts[target])]
            if wrong or done.returncode != any(expected.values()):
                problems.append(f"{' '.join(arguments)}, {what}: {', '.join(wrong)}\n{done.stdout}")
    print("\n".join(problems) or f"{len(CASES)} cases, as they should be with {compiler}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
