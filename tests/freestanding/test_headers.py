#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/check-headers catches each kind of mistake: headers of a small project, each with one mistake.

usage: test_headers.py COMPILER

Correct headers come first and in between: their content must not help the wrong ones, which one process compiles after
them.
"""
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import compilers  # noqa: E402

ONCE, NUMBERS = "#pragma once\n", "#include <stdint.h>\n"
RIGHT = ONCE + NUMBERS + "#define ONE 1\nstruct right { uint32_t n = ONE; };\n"

# Header -> text, and the targets for which it is wrong: all, those with a name, or none.
KIT, EVERY, NONE = "this machine", "", "none"
HEADERS = {
    "a_right": (RIGHT, NONE),
    "b_lacks_an_include": (ONCE + "struct lacks { uint32_t n; };\n", EVERY),
    "c_lacks_a_header": (ONCE + "#include <virtio/nowhere.hpp>\n", EVERY),
    "d_lacks_it_on_arm": (ONCE + "#if !defined(__arm__)\n" + NUMBERS + "#endif\nstruct on_arm { uint32_t n; };\n", "armv7"),
    "e_lacks_it_for_32_bits": (ONCE + "#if __SIZEOF_POINTER__ == 8\n" + NUMBERS + "#endif\nstruct narrow { uint32_t n; };\n",
                               "32 bits"),
    "f_right": (ONCE + "#include <virtio/a_right.hpp>\nstruct holds { right one; };\n", NONE),
    "g_uses_a_macro": (ONCE + "struct macro { int n = ONE; };\n", EVERY),
    "h_twice": ("struct twice {};\n", EVERY),
    "i_warns": (ONCE + "inline int cut(long long n) { return n; }\n", EVERY),
    "j_lacks_it_for_this_compiler": (ONCE + "#if !defined(THIS)\n" + NUMBERS + "#endif\nstruct mine { uint32_t n; };\n", EVERY),
    "k_lacks_it_for_another_compiler": (ONCE + "#if defined(THIS)\n" + NUMBERS + "#endif\nstruct its { uint32_t n; };\n", NONE),
    "testing/a_right": (ONCE + "#include <string>\nstruct named { std::string name; };\n", NONE),
    "testing/b_lacks_an_include": (ONCE + "struct unnamed { std::string name; };\n", KIT),
    "testing/c_asks": (ONCE + "#if defined(__clang__) || defined(__GNUC__)\nstruct asks { std::string name; };\n#endif\n", KIT),
}


def wrong_for(where, target):
    if where == "32 bits":
        return target.startswith(("i686", "armv7"))
    return where != KIT and where != NONE and target.startswith(where)


def main():
    compiler = sys.argv[1]
    compilers.need(compiler)
    version = compilers.run([compiler, "-dumpversion"]).stdout.split(".")[0]
    this = f"defined(__clang__) && __clang_major__ == {version}" if compilers.is_clang(compiler) else "!defined(__clang__)"
    with tempfile.TemporaryDirectory() as folder:
        def check(which, *options):
            """Returns check-headers' output for those headers."""
            root = pathlib.Path(folder, which.__name__)
            for name, (text, where) in HEADERS.items():
                if which(name, where):
                    path = root / "include/virtio" / (name + ".hpp")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text.replace("!defined(THIS)", f"!({this})").replace("defined(THIS)", this), encoding="utf-8")
            return compilers.run([sys.executable, ROOT / "tools/check-headers", "--root", root, compiler, *options])

        def every_header(name, where):
            return True

        def the_kit(name, where):
            return name.startswith("testing/")

        def what_is_right(name, where):
            return where == NONE

        all_of_it, its_share = check(every_header), check(the_kit, "--share")
        right = check(what_is_right)  # and is counted: otherwise everything could be "wrong"

    expected = {f"virtio/{name}.hpp for {target}" for name, (_, where) in HEADERS.items()
                for target in compilers.targets(compiler) if not name.startswith("testing/") and wrong_for(where, target)}
    kit = {f"virtio/{name}.hpp for {KIT}" for name, (_, where) in HEADERS.items() if where == KIT}
    left = set() if compilers.is_reference(compiler) else {f"virtio/testing/b_lacks_an_include.hpp for {KIT}"}
    problems = []
    for what, done, wanted in (("all of it", all_of_it, expected | kit), ("its share", its_share, kit - left)):
        named = {line.split(": ")[0] for line in done.stdout.splitlines() if " for " in line.split(": ")[0]}
        problems += [f"{what}: not found: {line}" for line in sorted(wanted - named)]
        problems += [f"{what}: no mistake: {line}" for line in sorted(named - wanted)]
        problems += [] if done.returncode == 1 else [f"{what}: ends with {done.returncode}:\n{done.stdout}"]
    bare = [name for name, (_, where) in HEADERS.items() if where == NONE and not name.startswith("testing/")]
    pairs = len(bare) * len(compilers.targets(compiler)) + 1
    if right.returncode != 0 or f"{pairs} of {pairs} " not in right.stdout:
        problems.append(f"what is right does not pass, or is not counted as {pairs}:\n{right.stdout}")
    print("\n".join(problems) or f"{len(expected | kit)} mistakes found with {compiler}, and nothing else")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
