#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Installs or copies the library, and builds and runs a small program with it, as a user does.

usage: consumers.py WAY [COMPILER [OPTIONS]]
  WAY: find_package add_subdirectory FetchContent pkg-config meson-subproject meson-installed headers single-header single-kit options firmware
       release-meson release-conan release-vcpkg release-debian: from what tools/release makes
  OPTIONS: how a user may compile: small c++23 lto m32 kernel
"""
import os
import pathlib
import re
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROGRAM = HERE / "program"
UNITS = ("main.cpp", "unit.cpp")
EXAMPLE = ROOT / "examples/00_loopback/main.cpp"  # a program that uses the test kit
sys.path.insert(0, str(ROOT / "tools"))
import compilers  # noqa: E402

VERSION = ".".join(re.findall(r"^#define VIRTIO_VERSION_\w+ (\d+)", (ROOT / "include/virtio/version.hpp").read_text(), re.M))


def fail(reason):
    print(f"failed: {reason}")
    sys.exit(1)


def copy_of_the_library(to):
    """The parts of a release that a consumer needs: no tests, no tools."""
    to.mkdir(parents=True)
    for part in ("include", "cmake"):
        shutil.copytree(ROOT / part, to / part)
    for part in ("CMakeLists.txt", "meson.build", "LICENSE"):
        shutil.copy(ROOT / part, to)
    return to


def install_by_cmake(source, build, prefix, *options):
    compilers.must_run(["cmake", "-S", source, "-B", build, "-DVIRTIO_TESTS=OFF", f"-DCMAKE_INSTALL_PREFIX={prefix}", *options])
    compilers.must_run(["cmake", "--install", build])


def installed(folder, by, *options):
    """A prefix with the library, moved after the installation: no file in it may contain the place of the build."""
    source = copy_of_the_library(folder / "source")
    first, build = folder / "first", folder / "build-of-the-library"
    if by == "cmake":
        install_by_cmake(source, build, first, *options)
    else:
        compilers.must_run(["meson", "setup", build, source, f"--prefix={first}"])
        compilers.must_run(["meson", "install", "-C", build])
    prefix = folder / "prefix"
    first.rename(prefix)
    shutil.rmtree(source)
    shutil.rmtree(build)
    for path in prefix.rglob("*"):
        if path.is_file() and str(folder) in path.read_text(encoding="utf-8"):
            fail(f"{path.relative_to(prefix)} names the place it was built at or installed to")
    return prefix


def run_program(path):
    out = compilers.must_run([path])
    print(out, end="")
    if f"virtio {VERSION}: wrote and read back" not in out:
        fail(f"the program does not say that it has version {VERSION} and works")


def run_kit(path):
    out = compilers.must_run([path])
    if "read back: the same" not in out:
        fail(f"{EXAMPLE.relative_to(ROOT)} says something else:\n{out}")
    print("the test kit's example runs")


def compile_and_run(compiler, flags, program):
    """main.cpp and its second unit, compiled without a build system. Definitions and include paths are in `flags`."""
    compilers.must_run([compiler, *compilers.WARNINGS, *flags, *(PROGRAM / unit for unit in UNITS), "-o", program])
    run_program(program)


def expected_version(version=VERSION):
    return f'-DEXPECTED_VERSION="{version}"'


def pkg_config_path(prefix):
    found = list(prefix.rglob("virtio.pc"))
    if len(found) != 1:
        fail(f"{len(found)} files called virtio.pc")
    return {"PKG_CONFIG_PATH": str(found[0].parent)}


def with_cmake(folder, way):
    define = {"WAY": way, "WANTED": VERSION.rsplit(".", 1)[0], "EXAMPLE": EXAMPLE}
    if way == "find_package":
        define["CMAKE_PREFIX_PATH"] = installed(folder, "cmake", "-DCMAKE_INSTALL_INCLUDEDIR=headers/of/virtio")
    else:
        define["SOURCE"] = source = copy_of_the_library(folder / "library")
    if way == "FetchContent":
        git = ["git", "-C", source, "-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgsign=false"]
        for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "A release"], ["tag", "consumed"]):
            compilers.must_run(git + command)
    build = folder / "build"
    compilers.must_run(["cmake", "-S", PROGRAM, "-B", build, *(f"-D{name}={value}" for name, value in define.items())])
    compilers.must_run(["cmake", "--build", build])
    run_program(build / "consumer")
    run_kit(build / "kit")

    if way == "add_subdirectory":  # and exports a library that uses it
        prefix = folder / "prefix"
        compilers.must_run(["cmake", "-S", PROGRAM, "-B", folder / "exporting", *(f"-D{name}={value}" for name, value in define.items()),
                            "-DVIRTIO_INSTALL=ON", f"-DCMAKE_INSTALL_PREFIX={prefix}"])
        compilers.must_run(["cmake", "--install", folder / "exporting"])
        for path in ("include/virtio/virtio.hpp", "include/usbip/usbip.hpp", "share/virtio/cmake/virtio-config.cmake", "share/on_top/on_top-config.cmake"):
            if not (prefix / path).is_file():
                fail(f"VIRTIO_INSTALL installs no {path}")

    if way == "find_package":  # another minor version of 0.x may have changed anything
        major, minor, _ = VERSION.split(".")
        define["WANTED"] = f"{major}.{int(minor) + 1}"
        done = compilers.run(["cmake", "-S", PROGRAM, "-B", folder / "other",
                              *(f"-D{name}={value}" for name, value in define.items())])
        if done.returncode == 0:
            fail(f"the package of {VERSION} claims to do for {define['WANTED']}")


def with_pkg_config(folder, compiler):
    environment = pkg_config_path(installed(folder, "cmake", "-DCMAKE_INSTALL_DATADIR=data/of/all"))
    ask = lambda what: compilers.must_run(["pkg-config", what, "virtio"], env=environment).strip()
    compile_and_run(compiler, ["-std=c++20", *ask("--cflags").split(), *ask("--libs").split(), expected_version(ask("--modversion"))],
                    folder / "consumer")

    elsewhere = folder / "absolute"  # as some distributions do; such a package cannot be moved
    install_by_cmake(copy_of_the_library(folder / "again"), folder / "build-again", folder / "fixed",
                     f"-DCMAKE_INSTALL_INCLUDEDIR={elsewhere}")
    environment = pkg_config_path(folder / "fixed")
    if ask("--cflags") != f"-I{elsewhere}" or not (elsewhere / "virtio/virtio.hpp").is_file():
        fail(f"the headers are in {elsewhere}, and pkg-config says {ask('--cflags')}")


def with_meson(folder, way):
    project = folder / "project"
    shutil.copytree(PROGRAM, project)
    shutil.copy(EXAMPLE, project / "kit.cpp")
    environment = {}
    arguments = []
    if way == "meson-subproject":
        copy_of_the_library(project / "subprojects/virtio")
        arguments = ["--wrap-mode=forcefallback"]
    else:
        shutil.rmtree(project / "subprojects")
        environment = pkg_config_path(installed(folder, "meson"))
    compilers.must_run(["meson", "setup", folder / "build", project, *arguments], env=environment)
    compilers.must_run(["ninja", "-C", folder / "build"], env=environment)
    run_program(folder / "build/consumer")
    if way == "meson-subproject":
        run_kit(folder / "build/kit")
        compilers.must_run(["meson", "install", "-C", folder / "build", "--destdir", folder / "destination"])
        strays = [path for path in (folder / "destination").rglob("*") if path.is_file()]
        if strays:
            fail(f"the subproject installs {len(strays)} files into the user's package")


def with_every_header(folder, compiler):
    """The installed files are this tree's, byte by byte, with every installer: so CMake's installation alone is
    compiled."""
    texts = lambda include: {path.relative_to(include).as_posix(): path.read_bytes() for path in include.rglob("*") if path.is_file()}
    wanted = {name: text for name, text in texts(ROOT / "include").items() if name.endswith(".hpp")}
    include = {}
    for by in ("cmake", *(["meson"] if shutil.which("meson") else [])):
        here = folder / by
        here.mkdir()
        include[by] = installed(here, by) / "include"
        have = texts(include[by])
        if have.keys() != wanted.keys():
            fail(f"{by} installs too little ({sorted(wanted.keys() - have.keys())}) or too much ({sorted(have.keys() - wanted.keys())})")
        changed = sorted(name for name in have if have[name] != wanted[name])
        if changed:
            fail(f"{by} installs something else as {', '.join(changed)}")
    source = folder / "every.cpp"
    skip_ports = not compilers.is_x86(compilers.run([compiler, "-dumpmachine"]).stdout)
    source.write_text("".join(f"#include <{header}>\n" for header in sorted(wanted)
                              if not (skip_ports and header in ("virtio/platform/ports.hpp", "virtio/bus/pci/cf8.hpp")))
                      + "int main() {}\n", encoding="utf-8")
    compilers.must_run([compiler, "-std=c++20", *compilers.WARNINGS, f"-I{include['cmake']}", source, "-o", folder / "every"])
    compilers.must_run([folder / "every"])
    print(f"{len(wanted)} headers installed by {' and by '.join(include)} are the same, and compile with {compiler}")


def with_single_header(folder, compiler):
    """tools/amalgamate's file is complete, the same every time, and sufficient for a program and a bare target."""
    amalgamate = ROOT / "tools/amalgamate"
    text = compilers.must_run([sys.executable, amalgamate])
    # A copy elsewhere, with its files written in another order, gives the same bytes: no data of the machine is in
    # them.
    other = folder / "elsewhere"
    (other / "include").mkdir(parents=True)
    shutil.copy(ROOT / "LICENSE", other)
    for path in sorted((ROOT / "include").rglob("*.hpp"), reverse=True):
        to = other / path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    include = folder / "include"
    header = include / "virtio/virtio.hpp"
    compilers.must_run([sys.executable, amalgamate, "--root", other, "-o", header])
    if header.read_text(encoding="utf-8") != text:
        fail("the same headers elsewhere give another file")
    check_single_header(text)

    compile_and_run(compiler, ["-std=c++20", expected_version(), f"-I{include}"], folder / "consumer")
    every = compilers.targets(compiler)
    source = folder / "bare.cpp"
    source.write_text('#include <virtio/virtio.hpp>\n#include <virtio/virtio.hpp>\n#include "disk.hpp"\n'
                      "const char* used();\nconst char* used() { return memory_disk::drive(); }\n", encoding="utf-8")
    for target, flags in every.items():
        compilers.must_run([compiler, *flags, *compilers.freestanding(compiler), f"-I{include}", f"-I{PROGRAM}", "-O1", "-c", source,
                            "-o", folder / "bare.o"])
    print(f"the single header compiles with {compiler} for {', '.join(every)}")


def check_single_header(text):
    wanted = {path.relative_to(ROOT / "include").as_posix() for path in (ROOT / "include/virtio").rglob("*.hpp")
              if "testing" not in path.parts}
    titles = re.findall(r"^// ==== (\S+)$", text, re.M)
    if sorted(titles) != sorted(wanted):
        fail(f"not each header once: {sorted(wanted.symmetric_difference(titles)) or 'some come twice'}")
    included = re.findall(r"^\s*#\s*include\s*(.*)$", text, re.M)
    if sorted(included) != ["<stddef.h>", "<stdint.h>"]:
        fail(f"it includes {included}")
    if text.count("#pragma once") != 1:
        fail("#pragma once is there more than once")
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8").strip().splitlines()
    for part in (f"\n// virtio {VERSION} in one file", "\n".join(f"// {line}".rstrip() for line in licence)):
        if part not in text:
            fail(f"it does not say: {part}")


def with_single_kit(folder, compiler):
    """The test kit's file, next to the library's and in one file with it and the program, as for an online compiler."""
    amalgamate = ROOT / "tools/amalgamate"
    header, kit = folder / "virtio/virtio.hpp", folder / "virtio_testing.hpp"
    compilers.must_run([sys.executable, amalgamate, "-o", header])
    compilers.must_run([sys.executable, amalgamate, "--testing", "-o", kit])
    example = re.sub(r"(?m)^#include <virtio/.*\n", "", EXAMPLE.read_text(encoding="utf-8"))
    whole = [header.read_text(encoding="utf-8"), kit.read_text(encoding="utf-8")]
    for name, parts in (("beside", ["#include <virtio_testing.hpp>\n"]), ("whole", whole)):
        source = folder / f"{name}.cpp"
        source.write_text("".join([*parts, example]), encoding="utf-8")
        compilers.must_run([compiler, "-std=c++20", "-w", f"-I{folder}", source, "-o", folder / name])
        run_kit(folder / name)


def release(folder):
    made = folder / "release"
    compilers.must_run([sys.executable, ROOT / "tools/release", made, "--url", f"file://{made}"])
    return made


def made_again(folder, made):
    compilers.must_run([sys.executable, ROOT / "tools/release", folder / "again", "--url", f"file://{made}"])
    for path in (path for path in made.rglob("*") if path.is_file()):
        name = path.relative_to(made)
        if (folder / "again" / name).read_bytes() != path.read_bytes():
            fail(f"{name} differs when it is made again")


def with_cmake_package(folder, *definitions):
    """The program with the package that find_package() finds by these definitions alone."""
    build = folder / "build"
    compilers.must_run(["cmake", "-S", PROGRAM, "-B", build, "-DWAY=find_package", f"-DEXAMPLE={EXAMPLE}",
                        f"-DWANTED={VERSION.rsplit('.', 1)[0]}", *definitions])
    compilers.must_run(["cmake", "--build", build])
    run_program(build / "consumer")
    run_kit(build / "kit")


def with_release(folder, way):
    made = release(folder)
    if way == "meson":
        made_again(folder, made)
        project = folder / "project"
        shutil.copytree(PROGRAM, project)
        shutil.copy(EXAMPLE, project / "kit.cpp")
        shutil.copy(made / "virtio.wrap", project / "subprojects")
        compilers.must_run(["meson", "setup", folder / "build", project, "--wrap-mode=forcefallback"])
        compilers.must_run(["ninja", "-C", folder / "build"])
        run_program(folder / "build/consumer")
        run_kit(folder / "build/kit")
    elif way == "debian":
        package, = made.glob("*.deb")
        compilers.must_run(["dpkg-deb", "-x", package, folder / "root"])
        if compilers.must_run(["dpkg-deb", "-f", package, "Package", "Version", "Architecture"]).split() != [
                "Package:", "libvirtio-dev", "Version:", VERSION, "Architecture:", "all"]:
            fail(f"{package.name} has other fields")
        if not (folder / "root/usr/share/doc/libvirtio-dev/copyright").is_file():
            fail("the package has no licence")
        with_cmake_package(folder, f"-DCMAKE_PREFIX_PATH={folder / 'root/usr'}")
    elif way == "vcpkg":
        # Without vcpkg itself: the functions that the port calls do what vcpkg's documents state.
        root = folder / "installed"
        compilers.must_run(["cmake", f"-DPORT={made / 'vcpkg'}", f"-DCURRENT_PACKAGES_DIR={root}", f"-DWORK={folder / 'work'}",
                            "-P", HERE / "vcpkg.cmake"])
        with_cmake_package(folder, f"-DCMAKE_PREFIX_PATH={root}")
    elif way == "conan":
        conan = os.environ.get("CONAN") or compilers.skip("CONAN is empty, no Conan to try the recipe with")
        command, environment = [sys.executable, f"{conan}/bin/conan"], {"PYTHONPATH": conan, "CONAN_HOME": str(folder / "conan-home")}
        compilers.must_run([*command, "profile", "detect"], env=environment)
        compilers.must_run([*command, "create", made / "conanfile.py"], env=environment)
        compilers.must_run([*command, "install", f"--requires=virtio/{VERSION}", "-g", "CMakeToolchain", "-of", folder / "found"],
                           env=environment, cwd=folder)  # it writes presets for CMake here
        with_cmake_package(folder, f"-DCMAKE_TOOLCHAIN_FILE={folder / 'found/conan_toolchain.cmake'}", "-DCMAKE_BUILD_TYPE=Release")


def with_options(folder, compiler, options):
    include = f"-I{ROOT / 'include'}"
    hosted = {"small": ["-std=c++20", "-Os", "-fno-exceptions", "-fno-rtti"], "c++23": [newest_standard(compiler), "-O2"],
              "lto": ["-std=c++20", "-O2", "-flto", *([] if compilers.is_clang(compiler) else ["-Werror=odr"])]}
    if options in hosted:
        compile_and_run(compiler, [*hosted[options], include, expected_version()], folder / "consumer")
        return

    if not compilers.is_x86(compilers.run([compiler, "-dumpmachine"]).stdout):
        compilers.skip("these are options for x86")
    bare = {"m32": ["-m32"], "kernel": ["-m64", "-mgeneral-regs-only", "-mno-red-zone", "-mcmodel=kernel"]}[options]
    flags = [*bare, *compilers.freestanding(compiler), "-O2", "-fno-pic", "-fno-stack-protector", "-fno-threadsafe-statics",
             "-fno-asynchronous-unwind-tables"]
    objects = [compilers.memory_functions(compiler, flags, folder), folder / "bare.o"]
    compilers.must_run([compiler, *flags, include, expected_version(), "-c", PROGRAM / "bare.cpp", "-o", objects[-1]])
    link = [compiler, *bare, "-nostdlib", "-static", "-Wl,--no-undefined", "-Wl,--build-id=none", *reversed(objects), "-o"]
    compilers.must_run([*link, folder / "consumer"])
    run_program(folder / "consumer")
    if options == "kernel":  # and a kernel's addresses: the last 2 GiB, not to be run as a process
        image = folder / "kernel"
        compilers.must_run([*link, image, "-Wl,-Ttext-segment=0xffffffff80000000"])
        code = compilers.must_run([compilers.need("objdump"), "-d", "--no-show-raw-insn", image])
        vector = [line.strip() for line in code.splitlines() if re.search(r"%([xyz]?mm\d|st\b)", line)]
        if vector or "ffffffff80" not in code:
            fail(f"vector or floating-point registers are used, or the image lies elsewhere: {vector[:3]}")
        print("no vector and no floating-point register is used")


C_WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
BARE_C = "-ffreestanding -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables -Os".split()
FIRMWARE_TARGETS = {"x86-64": (["-m64"], "elf_x86_64"), "i386": (["-m32", "-march=i686"], "elf_i386")}
FIRMWARE_TARGETS_OF_CLANG = {
    "riscv64": ("--target=riscv64-none-elf -march=rv64imac -mabi=lp64 -mcmodel=medany".split(), "elf64lriscv"),
    "aarch64": (["--target=aarch64-none-elf"], "aarch64linux")}


def with_firmware(folder, compiler):
    """examples/c_firmware in a firmware whose only C++ is drivers.cpp: the header is C and C++, and no C++ library is
    linked."""
    cc = compiler.replace("clang++", "clang").replace("g++", "gcc")
    firmware, frame = ROOT / "examples/c_firmware", ROOT / "bench/firmware/frame.c"
    (folder / "alone.c").write_text('#include "drivers.h"\n#include "drivers.h"\nvirtio_print *unused;\n')
    for language, standards in (("c", ("c99", "c17")), ("c++", ("c++98", "c++20"))):
        for standard in standards:
            compilers.must_run([cc if language == "c" else compiler, "-x", language, f"-std={standard}", *C_WARNINGS, "-I", firmware, "-fsyntax-only",
                                *(["-Wno-c++11-long-long", "-Wno-long-long"] if standard == "c++98" else []), folder / "alone.c"])
    targets = {**FIRMWARE_TARGETS, **(FIRMWARE_TARGETS_OF_CLANG if compilers.is_clang(compiler) else {})}
    command = re.search(r"^    (clang\+\+ --target.*?-o drivers\.o)$", (ROOT / "docs/c-firmware.md").read_text(), re.M | re.S)[1]
    if compiler == "clang++":
        compilers.must_run([*command.replace("\\\n", " ").split()[:-1], folder / "documented.o"], cwd=ROOT)
    for target, (flags, emulation) in targets.items():
        objects = [folder / f"{name}-{target}.o" for name in ("main", "frame", "drivers")]
        for source, output in zip((firmware / "main.c", frame), objects):
            compilers.must_run([cc, "-std=c99", *C_WARNINGS, *flags, *BARE_C, "-fno-builtin", "-I", firmware, "-c", source, "-o", output])
        compilers.must_run([compiler, *flags, *compilers.freestanding(compiler), *BARE_C, "-fno-threadsafe-statics", "-Wpedantic",
                            "-I", firmware / "board", "-I", ROOT / "include", "-c", firmware / "drivers.cpp", "-o", objects[-1]])
        compilers.must_run([compilers.need("ld.lld"), "-m", emulation, "-static", "--fatal-warnings", *objects, "-o", folder / "firmware"])
        wanted = {line.split()[-1] for line in compilers.must_run(["nm", "-u", objects[-1]]).splitlines()}
        if not wanted <= {*compilers.MEMORY_FUNCTIONS, "firmware_ecam", "firmware_milliseconds"}:
            fail(f"{target}: drivers.cpp wants {sorted(wanted)}")
        data = {name: size for name, size in compilers.sections(objects[-1]).items() if size and name.startswith((".data", ".init_array", ".ctors"))}
        if data:
            fail(f"{target}: drivers.cpp has {data}")
        print(f"{target}: drivers.cpp wants {', '.join(sorted(wanted))} and nothing else")


def newest_standard(compiler):
    """This compiler's option for -std=c++23."""
    probe = [compiler, "-x", "c++", "-fsyntax-only", "/dev/null"]
    return next(flag for flag in ("-std=c++23", "-std=c++2b") if compilers.run([*probe, flag]).returncode == 0)


def main():
    way = sys.argv[1]
    compiler = sys.argv[2] if len(sys.argv) > 2 else "c++"
    needs = {"FetchContent": ["git"], "pkg-config": ["pkg-config", compiler], "meson-subproject": ["meson", "ninja"],
             "meson-installed": ["meson", "ninja", "pkg-config"], "headers": [compiler],
             "single-header": [compiler], "options": [compiler], "firmware": [compiler], "single-kit": [compiler],
             "release-meson": ["meson", "ninja", "cpack", "git"], "release-debian": ["cpack", "git", "dpkg-deb"],
             "release-vcpkg": ["cpack", "git"], "release-conan": ["cpack", "git"]}
    for program in needs.get(way, []):
        compilers.need(program)
    # An installed copy on this machine must not be used.
    for name in ("CMAKE_PREFIX_PATH", "PKG_CONFIG_PATH", "virtio_DIR", "CPATH"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if way in ("find_package", "add_subdirectory", "FetchContent"):
            with_cmake(folder, way)
        elif way == "pkg-config":
            with_pkg_config(folder, compiler)
        elif way.startswith("meson-"):
            with_meson(folder, way)
        elif way == "headers":
            with_every_header(folder, compiler)
        elif way == "single-header":
            with_single_header(folder, compiler)
        elif way == "firmware":
            with_firmware(folder, compiler)
        elif way == "single-kit":
            with_single_kit(folder, compiler)
        elif way.startswith("release-"):
            with_release(folder, way.removeprefix("release-"))
        elif way == "options":
            with_options(folder, compiler, sys.argv[3])
        else:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
