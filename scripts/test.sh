#!/usr/bin/env bash
# Sets up what is missing (a Vulkan driver), then runs every test, the documentation's examples too.
# Arguments filter the tests, as with `cargo test`: scripts/test.sh matmul
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

cargo test --doc -- "$@"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --no-fail-fast "$@"
else
    cargo test --no-fail-fast --lib --bins --tests -- "$@"
fi
