# SPDX-License-Identifier: MIT
"""Extracts the JSON form of lsvirtio's report from a console."""
import json

BEGINS = '{"lsvirtio":'


def objects(console):
    """Returns the report's objects in order, each with its kind under "lsvirtio": machine, rejected, function, slot or
    end. ValueError: a line is not JSON, for example because the guest ended within it."""
    return [json.loads(line) for line in console.splitlines() if line.startswith(BEGINS)]
