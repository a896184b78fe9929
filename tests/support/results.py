# SPDX-License-Identifier: MIT
"""Results of tests that run together, one file each, so that each of them can be a ctest test with a name, a status and
an output of its own. result.sh reads the file.

A result is valid in its run of ctest, and for one reader. If there is no result, the test runs alone.
"""
import hashlib
import os
import pathlib


def started(process):
    """Returns the start of a process, in the kernel's ticks; it is unique among processes with the same number."""
    return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]


def this_run():
    """Returns the identity of the run of ctest that started this process."""
    return f"{os.getppid()}.{started(os.getppid())}"


def path(tree, name):
    """Returns the path of the result of the test with this name."""
    return tree / "results" / hashlib.sha1(name.encode()).hexdigest()


def forget(tree, name):
    path(tree, name).unlink(missing_ok=True)


def store(tree, name, status, output):
    place = path(tree, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_suffix(".new")
    unfinished.write_text(f"{this_run()} {status}\n{output}")
    unfinished.replace(place)
