#!/usr/bin/env bash
# Sets up what is missing (a Vulkan driver), then runs every test, the documentation's examples too.
# Ends with how long each group of tests took, and with the tests that cannot run here.
# Arguments filter the tests, as with `cargo test`: scripts/test.sh matmul
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

# Most of what tests take on Mesa's software driver is its compiler's: what it compiled is kept in
# one place for the tests that follow, those too that give the program another home.
if [ -z "${MESA_SHADER_CACHE_DIR:-}" ]; then
    MESA_SHADER_CACHE_DIR=${XDG_CACHE_HOME:-${HOME:-$root/target}/.cache}
    mkdir -p -- "$MESA_SHADER_CACHE_DIR"
fi
export MESA_SHADER_CACHE_DIR

# Mesa's software driver hands work to threads of its own and waits for them: over the small models
# of tests that takes twice as long as computing in the thread that has the work, and tests run side
# by side anyway. Those of single operations have two threads all the same (tests/ops.rs).
export LP_NUM_THREADS=${LP_NUM_THREADS:-0}

# Tests that cannot run here pass, and say so in this file.
WGVQ_SKIPPED=$(mktemp)
export WGVQ_SKIPPED
# Seconds and names of groups, a line each.
times=$(mktemp)
finish() {
    local code=$?
    print_times
    sort -u "$WGVQ_SKIPPED"
    printf '%s tests skipped: %s\n' "$(sort -u "$WGVQ_SKIPPED" | wc -l | tr -d ' ')" \
        "$(sort -u "$WGVQ_SKIPPED" | sed 's/^SKIPPED \([^:]*\(::[^:]*\)*\):.*/\1/' | paste -sd ' ' -)"
    rm -f "$WGVQ_SKIPPED" "$times"
    clean_up
    exit "$code"
}
trap finish EXIT

# Tests run side by side: the groups' seconds may add up to more than passed.
print_times() {
    [ -s "$times" ] || return 0
    printf 'Seconds of each group, longest first:\n'
    LC_ALL=C sort -rn "$times" | LC_ALL=C awk -F '\t' '{ printf "%8.1f  %s\n", $1, $2 }'
    printf '%8d  passed\n' "$SECONDS"
}

# Runs the command $2.. and notes how long it took under the name $1.
timed() {
    local name=$1 began=$SECONDS code=0
    shift
    "$@" || code=$?
    printf '%d\t%s\n' $((SECONDS - began)) "$name" >>"$times"
    return "$code"
}

if cargo nextest --version >/dev/null 2>&1; then
    timed build cargo nextest run --workspace --no-run
    timed documentation cargo test --workspace --doc -- "$@"
    report=${CARGO_TARGET_DIR:-target}/nextest/default/junit.xml
    rm -f "$report"
    code=0
    # One more at a time than there are processors: some tests wait, for files or other processes.
    NEXTEST_TEST_THREADS=${NEXTEST_TEST_THREADS:-$(($(getconf _NPROCESSORS_ONLN) + 1))} \
        cargo nextest run --workspace --no-fail-fast "$@" || code=$?
    [ ! -f "$report" ] || LC_ALL=C awk -f scripts/test_times.awk "$report" >>"$times"
    exit "$code"
fi
timed build cargo test --workspace --no-run
timed documentation cargo test --workspace --doc -- "$@"
code=0
timed "library, command line" cargo test --workspace --no-fail-fast --lib --bins -- "$@" || code=$?
for file in it $(cd tests && ls -- *.rs); do
    timed "${file%.rs}" cargo test --workspace --no-fail-fast --test "${file%.rs}" -- "$@" || code=$?
done
exit "$code"
