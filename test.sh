#!/usr/bin/env bash
# Runs every check and test; see scripts/test.sh.
exec "$(dirname "$0")/scripts/test.sh" "$@"
