#!/usr/bin/env bash
# What takes too long for every change, to be run before a release: each operation on each core with each of its cases, every
# variant of every kernel translated, and an operation that scripts/new_op.sh adds to a copy of the tree, compiled and
# checked there. An hour or more on two cores.
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

export WGVQ_THOROUGH=1
started=$SECONDS
for group in "it shaders::" "it add_an_op::" ops; do
    began=$SECONDS
    # The name of the binary, and of the module where there is one.
    # shellcheck disable=SC2086
    cargo test --test $group "$@"
    printf '== %s: %d s\n' "$group" $((SECONDS - began))
done
printf '== all: %d s\n' $((SECONDS - started))
