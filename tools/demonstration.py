# SPDX-License-Identifier: MIT
"""What the scripts behind tools/demo share: lines and problems for the user, and exit statuses as tools/demo --help has them."""
import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/vsock"))
import backend  # noqa: E402

UNFIT, MISMATCH, INTERRUPTED = 4, 5, 130


class Problem(Exception):
    """One line for the user, and the exit status."""

    def __init__(self, message, status=UNFIT):
        super().__init__(message)
        self.status = status


def say(text=""):
    print(text, flush=True)


def settings():
    """What tools/setup --print says, for those that are not in the environment."""
    printed = subprocess.run([ROOT / "tools/setup", "--print"], stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in printed.splitlines():
        name, _, value = line.partition("=")
        os.environ.setdefault(name, " ".join(shlex.split(value)))


def status_of(demo):
    """Runs it, and gives the exit status. What went wrong is one line on standard error."""
    try:
        demo()
    except Problem as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return problem.status
    except backend.Died as failure:
        print(f"demo: {str(failure).splitlines()[0]}", file=sys.stderr)
        return UNFIT
    except BrokenPipeError:  # the reader of the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141  # as a shell counts it
    except OSError as failure:
        print(f"demo: {failure.filename}: {failure.strerror}" if failure.filename else f"demo: {failure}", file=sys.stderr)
        return UNFIT
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
