# SPDX-License-Identifier: MIT
"""What a change can affect, by what includes or imports what: targets to build and tests to run.

A test's inputs are the files that its command names, those of its property REQUIRED_FILES, and whatever these include or import. A
program's are its sources and what they include, with the include folders that CMake tells (its file API). A test is affected when one
of its inputs has changed.
"""
import functools
import json
import os
import pathlib
import re
import subprocess

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:<(virtio/[^>]+)>|"([^"]+)")', re.M)
IMPORT = re.compile(r"^[ \t]*(?:import|from)[ \t]+(\w+)", re.M)
C_SUFFIXES = {".cpp", ".hpp", ".h", ".c", ".S"}
# Folders of include/virtio that no other folder includes: a test with labels of theirs is about those and no others.
DRIVERS = {"blk", "rng", "vsock"}
# What everything is built and run with: a change there affects all.
MACHINERY = re.compile(r"(?:^|/)CMakeLists\.txt$|\.cmake$|\.ld$|^tools/(?:test|setup|timed-compile|affected\.py)$")


def ask_cmake(folder):
    """Makes the configuration of a build folder tell its targets from now on."""
    query = folder / ".cmake/api/v1/query/codemodel-v2"
    query.parent.mkdir(parents=True, exist_ok=True)
    query.touch()


class Change:
    """What differs from a revision of the project, and what depends on it. Files are named from the project's root on."""

    def __init__(self, root, revision=""):
        """Without a revision: from HEAD, or from HEAD~1 when nothing differs from HEAD."""
        self.root = root
        self.revision = revision or ("HEAD" if self._differs("HEAD") else "HEAD~1")
        self.files = self._differs(self.revision)
        self.everything = any(MACHINERY.search(name) for name in self.files)
        within = [re.match(r"include/virtio/(\w+)(?:/|\.hpp$)", name) for name in self.files]
        folders = {one[1] if one else "" for one in within}
        self.drivers = folders if folders <= DRIVERS else set()  # which the whole change is about, if it is about drivers alone
        self.modules = {path.stem: path.relative_to(root).as_posix() for folder in ("tests", "tools", "examples")
                        for path in (root / folder).rglob("*.py")}

    def _git(self, *arguments):
        done = subprocess.run(["git", "-C", self.root, *arguments], stdout=subprocess.PIPE, text=True, check=True)
        return set(done.stdout.splitlines())

    def _differs(self, revision):
        return self._git("diff", "--name-only", revision, "--") | self._git("ls-files", "--others", "--exclude-standard")

    def name_of(self, path):
        """The name of a file of the project; empty for others and for what a build has made."""
        path = pathlib.Path(os.path.normpath(self.root / path))
        name = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else ""
        return "" if name.startswith("build/") else name

    @functools.lru_cache(maxsize=None)
    def _words(self, name):
        """What a file includes, as it says it, and the modules that it imports."""
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
        for header, beside in includes:
            if header:
                yield f"include/{header}"
                continue
            places = [os.path.normpath(f"{folder}/{beside}") for folder in (os.path.dirname(name), *folders)]
            # One that is gone is an input as well.
            yield next((one for one in places if one in self.files or (self.root / one).is_file()), places[0])
        yield from (self.modules[module] for module in imports if module in self.modules)

    def affects(self, names, folders=()):
        """Whether one of these files, or one that they include or import, has changed. `folders`: where quoted includes are looked for."""
        seen, todo = set(), [name for name in names if name]
        while todo:
            name = todo.pop()
            if name in self.files:
                return True
            if name not in seen:
                seen.add(name)
                todo += self._mentioned(name, folders)
        return False

    @functools.lru_cache(maxsize=None)
    def programs(self, build):
        """The programs of a build folder that are affected: {path: target}."""
        reply = build / ".cmake/api/v1/reply"
        index = json.loads(max(reply.glob("index-*.json")).read_text())
        model = json.loads((reply / index["reply"]["codemodel-v2"]["jsonFile"]).read_text())
        targets = {one["id"]: json.loads((reply / one["jsonFile"]).read_text()) for one in model["configurations"][0]["targets"]}
        affected = {}
        for target in targets.values():
            if target["type"] == "EXECUTABLE":
                parts = [target, *(targets[one["id"]] for one in target.get("dependencies", []))]
                if self.everything or any(map(self._affects_target, parts)):
                    affected |= {str(build / one["path"]): target["name"] for one in target["artifacts"]}
        return affected

    def _affects_target(self, target):
        folders = {self.name_of(one["path"]) for group in target.get("compileGroups", []) for one in group.get("includes", [])}
        return self.affects((self.name_of(one["path"]) for one in target.get("sources", [])), tuple(sorted(folders - {""})))

    def tests(self, known, builds, without):
        """Chooses among all tests as ctest knows them: the numbers of those to run, and how many are left out though they may be
        affected: they run programs of other build folders, or have one of the labels `without`."""
        affected = {path: target for build in builds for path, target in self.programs(build).items()}
        chosen, left_out = [], 0
        for number, test in enumerate(known, 1):
            properties = {one["name"]: one["value"] for one in test.get("properties", [])}
            labels = set(properties.get("LABELS", []))
            if self.drivers and labels & DRIVERS and not labels & self.drivers:
                continue
            words = {word for word in [*test.get("command", []), *properties.get("REQUIRED_FILES", [])] if word.startswith("/")}
            made = {pathlib.Path(word) for word in words if word.startswith(f"{self.root}/build/")}
            foreign = any(not any(one.is_relative_to(build) for build in builds) for one in made)
            if foreign or self.everything or words & affected.keys() or self.affects(map(self.name_of, words)):
                if foreign or labels & without:
                    left_out += 1
                else:
                    chosen.append(number)
        return chosen, left_out
