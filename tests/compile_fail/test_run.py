#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run.py catches a case that proves nothing: small cases, each with one mistake.

usage: test_run.py COMPILER
"""
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools"))
import compilers  # noqa: E402

SAYS = "// case: what is written here is wrong\n// says: size of array|array size|negative\n"
# The mistake in the case, its text, run.py's expected output and status.
CASES = [
    ("it compiles", SAYS + "int n;\n", "failed: it compiles", 1),
    ("it fails for another reason", SAYS + "#if defined(FAIL)\n#error \"another\"\n#endif\n", "the compiler does not say: size of array", 1),
    ("what is right fails too", SAYS + "extern int n[-1];\n", "failed: the twin", 1),
    ("nothing", SAYS + "#if defined(FAIL)\nextern int n[-1];\n#endif\n", "error: ", 0),
]


def main():
    compiler = sys.argv[1]
    compilers.need(compiler)
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (what, text, says, code) in enumerate(CASES):
            case = pathlib.Path(folder, f"{number}.cpp")
            case.write_text(text, encoding="utf-8")
            done = compilers.run([sys.executable, HERE / "run.py", case, compiler])
            if done.returncode != code or says not in done.stdout:
                problems.append(f"{what}: ends with {done.returncode}:\n{done.stdout}")
    print("\n".join(problems) or f"{len(CASES)} cases, as they should be with {compiler}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
