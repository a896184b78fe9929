#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the message of a compiler for a language or processor that the library does not support.

usage: language.py language COMPILER    every header that a program may start with, as C, as C++17 and without -std: C++20 comes first
       language.py processors COMPILER  all headers for processors that were not tried; only dma_barriers are refused there, where used
"""
import concurrent.futures
import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import compilers  # noqa: E402

INCLUDE = ROOT / "include"
NEEDED = re.compile("(?:virtio|usbip) is written in C\\+\\+20")
REFUSED = "no device barriers are known for this processor"
X86_ONLY = ("virtio/platform/ports.hpp", "virtio/bus/pci/cf8.hpp")
# Clang 14 does not support all of them.
PROCESSORS = {"clang++": ("mips64-none-elf", "s390x-none-elf", "sparc-none-elf", "hexagon-none-elf", "wasm32-unknown-unknown"),
              "clang++-19": ("loongarch64-none-elf", "m68k-none-elf", "mips64-none-elf", "s390x-none-elf", "sparc-none-elf",
                             "sparcv9-none-elf", "hexagon-none-elf", "wasm32-unknown-unknown")}
BARRIERS = """#include <virtio/platform/barriers.hpp>
virtio::u16 used(const virtio::u16* at) { return virtio::BARRIERS::load_acquire(at); }
void published(virtio::u16* at) { virtio::BARRIERS::store_release(at, virtio::u16{1}); }
void asleep() { virtio::BARRIERS::full(); }
"""


def language(compiler):
    headers = [path.relative_to(INCLUDE).as_posix() for path in sorted(INCLUDE.rglob("*.hpp"))]
    headers = [name for name in headers if "testing/" not in name and name not in ("virtio/config.hpp", "virtio/version.hpp")]
    languages = {"C": ["-x", "c"], "C++17": ["-x", "c++", "-std=c++17"], "what it takes without -std": ["-x", "c++"]}
    with tempfile.TemporaryDirectory() as folder:
        def ask(job):
            header, (name, flags) = job
            source = pathlib.Path(folder, f"{header}-{name}".replace("/", "_").replace(" ", "_"))
            source.write_text(f"#include <{header}>\n", encoding="utf-8")
            said = compilers.run([compiler, *flags, f"-I{INCLUDE}", "-fsyntax-only", source]).stdout
            errors = [line for line in said.splitlines() if re.search(r"\berror: ", line)]
            if len(errors) == 2 and NEEDED.search(errors[0]) and "fatal" in errors[1]:
                return ""
            return f"{header} as {name} gives {len(errors)} errors, of which the first is {errors[:1]}"

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            problems = [line for line in pool.map(ask, [(header, one) for header in headers for one in languages.items()]) if line]
    print("\n".join(problems) or f"{len(headers)} headers in {len(languages)} languages end with the name of the right one")
    return problems


def processors(compiler):
    headers = [path.relative_to(INCLUDE).as_posix() for path in sorted(INCLUDE.rglob("*.hpp"))]
    everything = "".join(f"#include <{name}>\n" for name in headers if "testing/" not in name and name not in X86_ONLY)
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        def compile_for(target, what, text):
            source = pathlib.Path(folder, f"{what}.cpp")
            source.write_text(text, encoding="utf-8")
            return compilers.run([compiler, f"--target={target}", *compilers.freestanding(compiler), f"-I{INCLUDE}", "-fsyntax-only",
                                  source])

        for target in PROCESSORS[compiler]:
            for what, text in (("all headers", everything), ("smp_barriers", BARRIERS.replace("BARRIERS", "smp_barriers"))):
                done = compile_for(target, what, text)
                if done.returncode != 0:
                    problems.append(f"{what} for {target}:\n{done.stdout}")
            done = compile_for(target, "dma_barriers", BARRIERS.replace("BARRIERS", "dma_barriers"))
            if done.returncode == 0 or done.stdout.count(REFUSED) < 3:
                problems.append(f"dma_barriers for {target} are not refused three times:\n{done.stdout}")
    print("\n".join(problems) or f"{len(PROCESSORS[compiler])} processors with {compiler}")
    return problems


def main():
    what, compiler = sys.argv[1:]
    compilers.need(compiler)
    sys.exit(1 if {"language": language, "processors": processors}[what](compiler) else 0)


if __name__ == "__main__":
    main()
