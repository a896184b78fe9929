# SPDX-License-Identifier: MIT
"""What a change can affect, by what includes or imports what: targets to build and tests to run.

A test's inputs are the files that its command names, those of its property REQUIRED_FILES, and whatever these include or import. A
program's are its sources and what they include, with the include folders that CMake's file API reports; a header that has a source
beside it brings that source. A test is affected when one of its inputs has changed. Of a program with many test cases those are
affected whose own source is.
"""
import dataclasses
import functools
import json
import os
import pathlib
import re
import subprocess

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:<((?:virtio|usbip)/[^>]+)>|"([^"]+)")', re.M)
IMPORT = re.compile(r"^[ \t]*(?:import|from)[ \t]+(\w+)", re.M)
TEST_CASE = re.compile(r'^(?:TEMPLATE_)?TEST_CASE\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)(?:,\s*"([^"]*)")?', re.M)
SLOW = "[slow]"  # the tag of test cases that take more than three seconds with sanitizers
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
C_SUFFIXES = {".cpp", ".hpp", ".h", ".c", ".S"}
# Folders of include/virtio that no other folder includes, except for single headers: a test with only their labels is
# about these drivers only.
DRIVERS = {"balloon", "blk", "console", "net", "rng", "scsi", "vmmci", "vsock"}
GUESTS = "qemu"          # the label of tests that boot guests
VARIATION = "variation"  # of tests that repeat another on another machine or with another compiler, or that count very far
# Files that every build and run uses: a change affects all.
MACHINERY = re.compile(
    r"(?:^|/)CMakeLists\.txt$|\.cmake$|\.ld$|^tests/support/precompiled|^tools/(?:test|setup|timed-compile|affected\.py)$")
# Files that are not in a guest: besides a change of a driver, they do not require guests about other drivers.
BESIDE = re.compile(r"^tests/(?:unit|contract|hostile|fuzz)/[^/]+\.cpp$|^docs/|\.md$")


def ask_cmake(folder):
    """Makes CMake write the targets of a build folder at each configuration from now on."""
    query = folder / ".cmake/api/v1/query/codemodel-v2"
    query.parent.mkdir(parents=True, exist_ok=True)
    query.touch()


def properties_of(test):
    """Returns a test's properties from ctest's description."""
    return {one["name"]: one["value"] for one in test.get("properties", [])}


def paths_of(test):
    """Returns the files that a test's command and its REQUIRED_FILES name."""
    return {word for word in [*test.get("command", []), *properties_of(test).get("REQUIRED_FILES", [])] if word.startswith("/")}


@dataclasses.dataclass
class Program:
    """An affected program: its target, the test cases of its unaffected sources, and the slow ones of sources that have not
    changed themselves."""
    target: str
    unaffected: set
    slow: set

    def affects_case(self, arguments):
        """Returns whether the test with these arguments is affected; for Catch2's programs they are a test case's name."""
        return not self._names(arguments) & self.unaffected

    def is_slow(self, arguments):
        return bool(self._names(arguments) & self.slow)

    @staticmethod
    def _names(arguments):
        name = re.sub(r"\\(.)", r"\1", arguments[0]) if arguments else ""
        return {name, name.rpartition(" - ")[0]}  # of a template: "name - type"


class Change:
    """The changes since a revision of the project, and their dependents. File names are relative to the project's root."""

    def __init__(self, root, revision="", files=()):
        """Without a revision, compares with HEAD, or with HEAD~1 if the tree equals HEAD. With files, takes these as the
        changes."""
        self.root = root
        self.revision = revision or ("HEAD" if files or self._differs("HEAD") else "HEAD~1")
        self.files = set(files) or self._differs(self.revision)
        self.everything = any(MACHINERY.search(name) for name in self.files)
        folders = set().union(*(self._folders_with(name) for name in self.files if not BESIDE.search(name)))
        self.drivers = folders if folders <= DRIVERS else set()  # those that the change is about, if it is about drivers alone
        self.modules = {path.stem: path.relative_to(root).as_posix() for folder in ("tests", "tools", "examples")
                        for path in (root / folder).rglob("*.py")}

    def _folders_with(self, name):
        """The folder of include/virtio that a file is in, "" for none; of a header in a driver's folder also those of the drivers with a
        header that includes it."""
        def folder_of(path):
            found = re.match(r"include/virtio/(\w+)(?:/|\.hpp$)", path)
            return found[1] if found else ""

        folders = {folder_of(name)}
        if folders <= DRIVERS and "/" in name.removeprefix("include/virtio/"):
            others = (path.relative_to(self.root).as_posix() for driver in DRIVERS
                      for path in (self.root / "include/virtio" / driver).glob("*.hpp"))
            folders |= {folder_of(other) for other in others if (name.removeprefix("include/"), "") in self._words(other)[0]}
        return folders

    def _git(self, *arguments):
        done = subprocess.run(["git", "-C", self.root, *arguments], stdout=subprocess.PIPE, text=True, check=True)
        return set(done.stdout.splitlines())

    def _differs(self, revision):
        return self._git("diff", "--name-only", revision, "--") | self._git("ls-files", "--others", "--exclude-standard")

    def name_of(self, path):
        """Returns the name of a file of the project; empty for other files and for build products."""
        path = pathlib.Path(os.path.normpath(self.root / path))
        name = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else ""
        return "" if name.startswith("build/") else name

    @functools.lru_cache(maxsize=None)
    def _words(self, name):
        """Returns a file's includes, as written, and the modules that it imports."""
        path = self.root / name
        if not path.is_file():
            return (), ()
        if path.suffix in C_SUFFIXES:
            return tuple(INCLUDE.findall(path.read_text(errors="replace"))), ()
        if path.suffix == ".py" or path.open("rb").readline().startswith(b"#!/usr/bin/env python3"):
            return (), tuple(IMPORT.findall(path.read_text(errors="replace")))
        return (), ()

    def _mentioned(self, name, folders):
        includes, imports = self._words(name)
        if name.endswith(".hpp") and (self.root / (implementation := name[:-4] + ".cpp")).is_file():
            yield implementation
        for header, beside in includes:
            if header:
                yield f"include/{header}"
                continue
            places = [os.path.normpath(f"{folder}/{beside}") for folder in (os.path.dirname(name), *folders)]
            # A deleted file is an input too.
            yield next((one for one in places if one in self.files or (self.root / one).is_file()), places[0])
        yield from (self.modules[module] for module in imports if module in self.modules)

    def affects(self, names, folders=()):
        """Returns whether one of these files, or a file that they include or import, has changed. `folders` is the search
        path of quoted includes."""
        seen, todo = set(), [name for name in names if name]
        while todo:
            name = todo.pop()
            if name in self.files:
                return True
            if name not in seen:
                seen.add(name)
                todo += self._mentioned(name, folders)
        return False

    def headers(self):
        """Returns the affected headers of the library, as in an #include."""
        names = sorted(path.relative_to(self.root / "include").as_posix() for path in (self.root / "include").rglob("*.hpp"))
        return [name for name in names if self.affects([f"include/{name}"])]

    def cases(self, names):
        """Returns the test cases in these files: {name: tags}."""
        return {re.sub(r"\\(.)", r"\1", "".join(LITERAL.findall(case))): tags for name in names if name.endswith(".cpp")
                for case, tags in TEST_CASE.findall((self.root / name).read_text(errors="replace"))}

    @functools.lru_cache(maxsize=None)
    def programs(self, build):
        """Returns the affected programs of a build folder: {path: Program}."""
        reply = build / ".cmake/api/v1/reply"
        index = json.loads(max(reply.glob("index-*.json")).read_text())
        model = json.loads((reply / index["reply"]["codemodel-v2"]["jsonFile"]).read_text())
        targets = {one["id"]: json.loads((reply / one["jsonFile"]).read_text()) for one in model["configurations"][0]["targets"]}
        affected = {}
        for target in targets.values():
            if target["type"] == "EXECUTABLE":
                own, libraries = self._sources(target), {}
                for one in target.get("dependencies", []):
                    libraries |= self._sources(targets[one["id"]])
                if self.everything or any(own.values()) or any(libraries.values()):
                    slow = {name for name, tags in self.cases(own.keys() - self.files).items() if SLOW in tags}
                    program = Program(target["name"], set(), slow)
                    # A changed source of a library may affect all programs that link it.
                    if not self.everything and not self.files & libraries.keys():
                        program.unaffected = (self.cases(name for name in own if not own[name]).keys()
                                              - self.cases(name for name in own if own[name]).keys())
                        if program.unaffected and not any(own.values()):
                            continue
                    affected |= {str(build / one["path"]): program for one in target["artifacts"]}
        return affected

    def _sources(self, target):
        """Returns a target's sources: {name: whether it is affected}."""
        folders = {self.name_of(one["path"]) for group in target.get("compileGroups", []) for one in group.get("includes", [])}
        names = {self.name_of(one["path"]) for one in target.get("sources", [])} - {""}
        return {name: self.affects([name], tuple(sorted(folders - {""}))) for name in names}

    def tests(self, known, builds, without):
        """Chooses among all tests as ctest knows them: gives a list of (number, test), and how many are left out and why. "unaffected":
        nothing that they read has changed. "without": they run programs of other build folders, or have one of these labels. "others",
        after a change of drivers alone: guests that are about other drivers, and variations."""
        affected = {path: program for build in builds for path, program in self.programs(build).items()}
        chosen, left_out = [], {"unaffected": 0, "others": 0, "without": 0}
        for number, test in enumerate(known, 1):
            labels = set(properties_of(test).get("LABELS", []))
            command = test.get("command", [])
            words = paths_of(test)
            made = {pathlib.Path(word) for word in words if word.startswith(f"{self.root}/build/")}
            foreign = any(not any(one.is_relative_to(build) for build in builds) for one in made)
            if program := affected.get(command[0] if command else ""):
                may_fail = program.affects_case(command[1:])
                labels |= {VARIATION} if program.is_slow(command[1:]) else set()
            else:
                may_fail = foreign or self.everything or words & affected.keys() or self.affects(map(self.name_of, words))
            if not may_fail:
                left_out["unaffected"] += 1
            elif foreign or labels & without:
                left_out["without"] += 1
            elif self.drivers and (VARIATION in labels or GUESTS in labels and not labels & self.drivers):
                left_out["others"] += 1
            else:
                chosen.append((number, test))
        return chosen, left_out
