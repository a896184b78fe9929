# SPDX-License-Identifier: MIT
"""Compilers and bare targets, for the checks in tools/ and the tests that run a compiler."""
import functools
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]

# clang's targets without a cross toolchain: five architectures, both byte orders, and UEFI images.
BARE_TARGETS = ["x86_64-none-elf", "i686-none-elf", "aarch64-none-elf", "armv7-none-eabi", "riscv64-none-elf",
                "powerpc64-none-elf", "x86_64-unknown-windows"]

# The first installed one of these compiles all for every target in a plain run. The others compile all for their own
# target (--share); `tools/test --long` runs all combinations.
REFERENCE = ["clang++-19", "clang++", "g++"]

SKIPPED = 77


def skip(reason):
    """Skips a test that this machine cannot run; fails if VIRTIO_TEST_REQUIRE_ALL requires all tests."""
    required = os.environ.get("VIRTIO_TEST_REQUIRE_ALL") == "1"
    print(f"{'failed' if required else 'skipped'}: {reason}", flush=True)
    sys.exit(1 if required else SKIPPED)


def need(program, why=""):
    found = shutil.which(program)
    if not found:
        skip(f"{program} is not on this machine" + (f" ({why})" if why else ""))
    return found


def need_any(programs):
    for program in programs:
        if shutil.which(program):
            return program
    skip("none of these is on this machine: " + ", ".join(programs))


def is_reference(compiler):
    return compiler == next((name for name in REFERENCE if shutil.which(name)), None)


def run(command, **more):
    """Runs a command. Its output and errors are captured together, as text, in English."""
    environment = {**os.environ, "LC_ALL": "C", **more.pop("env", {})}
    return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=environment, stdin=subprocess.DEVNULL, **more)


def must_run(command, **more):
    """Like run(), but a command that fails ends the test."""
    done = run(command, **more)
    if done.returncode != 0:
        print("$ " + " ".join(str(word) for word in command))
        print(done.stdout)
        print(f"failed: {command[0]} ended with {done.returncode}")
        sys.exit(1)
    return done.stdout


@functools.lru_cache(maxsize=None)
def resource_folder(compiler):
    """Returns clang's resource folder; empty for another compiler, so that one start of the compiler answers both."""
    done = run([compiler, "-print-resource-dir"])
    return done.stdout.strip() if done.returncode == 0 else ""


def is_clang(compiler):
    return resource_folder(compiler) != ""


@functools.lru_cache(maxsize=None)
def own_headers(compiler):
    """Returns the compiler's own folder of <stddef.h> and <stdint.h>."""
    if is_clang(compiler):
        return resource_folder(compiler) + "/include"
    return run([compiler, "-print-file-name=include"]).stdout.strip()


def freestanding(compiler):
    """Flags for a target that has neither a C nor a C++ library."""
    return ["-std=c++20", "-ffreestanding", "-nostdinc", "-nostdinc++", "-isystem", own_headers(compiler), "-fno-exceptions",
            "-fno-rtti", *WARNINGS, *(["-Wno-unused-command-line-argument"] if is_clang(compiler) else [])]


def in_one_process(compiler, flags, sources):
    """Returns the command by which one clang checks several sources, or None without one.

    Each source is a translation unit of its own there, with a new preprocessor and a new semantic analysis; what is shared
    is the start of the process, which takes longer than most headers do. The driver would start a process for each, so
    this is the command that the driver itself would run for the first, with the others after it.
    """
    if not is_clang(compiler) or len(sources) < 2:
        return None
    said = run([compiler, *flags, "-fsyntax-only", "-###", sources[0]]).stdout
    words = [shlex.split(line) for line in said.splitlines() if re.match(r'\s*"[^"]*" "-cc1" ', line)]
    if len(words) != 1 or words[0][-1] != str(sources[0]):
        return None
    # clang must free one unit before it begins the next.
    return [word for word in words[0] if word not in ("-disable-free", "-clear-ast-before-backend")] + sources[1:]


def failures(compiler, flags, sources):
    """Returns source -> the compiler's messages, for each translation unit that does not compile."""
    together = in_one_process(compiler, flags, sources)
    if together and run(together).returncode == 0:
        return {}
    # Compile one by one, so that no error hides another and each message comes from the driver itself.
    alone = {source: run([compiler, *flags, "-fsyntax-only", source]) for source in sources}
    wrong = {source: done.stdout for source, done in alone.items() if done.returncode != 0}
    return wrong or ({sources[0]: "error: each compiles by itself, but not all in one process"} if together else {})


@functools.lru_cache(maxsize=None)
def targets(compiler):
    """Returns target name -> flags: the bare targets for clang, the machine's own for others."""
    if is_clang(compiler):
        return {target: [f"--target={target}"] for target in BARE_TARGETS}
    machine = run([compiler, "-dumpmachine"]).stdout.strip()
    if not machine.startswith("x86_64"):
        return {machine: []}
    every = {"x86_64": ["-m64"], "i686": ["-m32"]}
    probe = ["-x", "c++", "-fsyntax-only", "/dev/null"]
    return {name: flags for name, flags in every.items() if run([compiler, *flags, *probe]).returncode == 0}


def sections(path):
    """Returns section name -> bytes, for an object or an image."""
    out = {}
    for line in must_run([need_any(["llvm-size", "size"]), "-A", path]).splitlines():
        words = line.split()
        if len(words) == 3 and words[1].isdigit():
            out[words[0]] = out.get(words[0], 0) + int(words[1])
    return out


MEMORY_FUNCTIONS = ("memcpy", "memmove", "memset", "memcmp")


def memory_functions(compiler, flags, folder):
    """Builds an archive of the four functions that compilers call implicitly. The linker takes only the called ones."""
    source = pathlib.Path(__file__).resolve().parent.parent / "tests/freestanding/bare_link/memory.cpp"
    objects = [folder / f"{name}.o" for name in MEMORY_FUNCTIONS]
    for name, output in zip(MEMORY_FUNCTIONS, objects):
        must_run([compiler, *flags, f"-D{name.upper()}", "-fno-builtin", "-c", source, "-o", output])
    must_run([need_any(["llvm-ar", "ar"]), "rcs", folder / "libmemory.a", *objects])
    return folder / "libmemory.a"


def is_x86(target):
    return target.startswith(("x86_64", "i386", "i686"))
