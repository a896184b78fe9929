#!/bin/sh
# SPDX-License-Identifier: MIT
# Says what came of a test that this run of ctest has run together with others, and ends with its status (results.py); where nobody
# has, runs it alone.
# usage: result.sh FILE COMMAND [ARGUMENT...]
file=$1
shift

start_time() { shift 19; echo "$1"; }  # behind the command's name, which may hold blanks

if [ -r "$file" ] && read -r run status <"$file" && read -r parent <"/proc/$PPID/stat"; then
  # shellcheck disable=SC2086  # words are meant
  if [ "$run" = "$PPID.$(start_time ${parent##*) })" ]; then
    tail -n +2 "$file"
    rm -f "$file"
    exit "$status"
  fi
fi
exec "$@"
