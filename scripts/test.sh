#!/usr/bin/env bash
# Sets up what is missing (a Vulkan driver), then runs every test, the documentation's examples too.
# Arguments filter the tests, as with `cargo test`: scripts/test.sh matmul
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

# Tests that cannot run here pass, and say so in this file.
WGVQ_SKIPPED=$(mktemp)
export WGVQ_SKIPPED
skipped() {
    local code=$?
    sort -u "$WGVQ_SKIPPED"
    printf '%s tests skipped: %s\n' "$(sort -u "$WGVQ_SKIPPED" | wc -l | tr -d ' ')" \
        "$(sort -u "$WGVQ_SKIPPED" | sed 's/^SKIPPED \([^:]*\(::[^:]*\)*\):.*/\1/' | paste -sd ' ' -)"
    rm -f "$WGVQ_SKIPPED"
    exit "$code"
}
trap skipped EXIT

cargo test --doc -- "$@"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --no-fail-fast "$@"
else
    cargo test --no-fail-fast --lib --bins --tests -- "$@"
fi
