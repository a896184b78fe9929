# SPDX-License-Identifier: MIT
"""Shared code of the scripts of tools/demo: output and errors for the user, and the exit statuses of tools/demo --help."""
import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
GUEST_BUILD = ROOT / "build" / "guest"
WORK = ROOT / "build" / "demo"
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
    """Sets the variables of tools/setup --print that are not in the environment."""
    printed = subprocess.run([ROOT / "tools/setup", "--print"], stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in printed.splitlines():
        name, _, value = line.partition("=")
        os.environ.setdefault(name, " ".join(shlex.split(value)))


def build(target, notice="Building the guest (only the first time takes a while)"):
    """Builds a guest and returns its image. Prints the notice if there is none yet, and the end of the log if the build fails."""
    image, log = GUEST_BUILD / "examples" / target, WORK / f"{target}.log"
    WORK.mkdir(parents=True, exist_ok=True)
    toolchain = ROOT / "cmake" / "toolchains" / "x86_64-none.cmake"
    if not image.exists():
        say(notice)
    with open(log, "w") as out:
        for step in (["cmake", "-S", ROOT, "-B", GUEST_BUILD, "-G", "Ninja", "--toolchain", toolchain],
                     ["cmake", "--build", GUEST_BUILD, "--target", target]):
            if subprocess.run(step, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT).returncode != 0:
                out.flush()
                sys.stderr.write(log.read_text()[-3000:])
                raise Problem("the guest does not build; above is how it ended")
    return image


def status_of(demo):
    """Runs it, and returns the exit status. Prints an error as one line on standard error."""
    try:
        demo()
    except Problem as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return problem.status
    except backend.Died as failure:
        print(f"demo: {str(failure).splitlines()[0]}", file=sys.stderr)
        return UNFIT
    except BrokenPipeError:  # the reader has closed the output
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141  # as a shell counts it
    except OSError as failure:
        print(f"demo: {failure.filename}: {failure.strerror}" if failure.filename else f"demo: {failure}", file=sys.stderr)
        return UNFIT
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
