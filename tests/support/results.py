# SPDX-License-Identifier: MIT
"""Results of tests that are run together, one file each, so that every one of them can be a test of ctest's with a name, a status and
an output of its own: result.sh looks for the file.

A result is for the run of ctest that it was made in, and for one look: whoever finds none runs the test alone.
"""
import hashlib
import os
import pathlib


def started(process):
    """When a process was started, in the kernel's ticks; no other with its number has the same."""
    return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]


def this_run():
    """What names the run of ctest that has started this process."""
    return f"{os.getppid()}.{started(os.getppid())}"


def path(tree, name):
    """Where the result of the test of this name is."""
    return tree / "results" / hashlib.sha1(name.encode()).hexdigest()


def forget(tree, name):
    path(tree, name).unlink(missing_ok=True)


def store(tree, name, status, output):
    place = path(tree, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_suffix(".new")
    unfinished.write_text(f"{this_run()} {status}\n{output}")
    unfinished.replace(place)
