#!/bin/sh
# SPDX-License-Identifier: MIT
# Prints the output of a test that this run of ctest ran together with others, and ends with its status (results.py).
# Without a result, it runs the test alone.
# usage: result.sh FILE COMMAND [ARGUMENT...]
file=$1
shift

start_time() { shift 19; echo "$1"; }  # after the command's name, which may contain spaces

if [ -r "$file" ] && read -r run status <"$file" && read -r parent <"/proc/$PPID/stat"; then
  # shellcheck disable=SC2086  # word splitting is intended
  if [ "$run" = "$PPID.$(start_time ${parent##*) })" ]; then
    tail -n +2 "$file"
    rm -f "$file"
    exit "$status"
  fi
fi
exec "$@"
