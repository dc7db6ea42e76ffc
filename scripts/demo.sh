#!/usr/bin/env bash
# One command from a bare machine to reconstructions: sets up what is missing (a Vulkan driver),
# builds, and runs the demo. Arguments go to `wgvq demo`: scripts/demo.sh --out DIR
set -euo pipefail

called_from=$PWD
# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

say "Building; the first time takes some minutes."
cargo build --release
# From where it was called, so that a relative --out means what its writer meant; `exec` would lose
# setup.sh's clean-up.
cd -- "$called_from"
cargo run --quiet --release --manifest-path "$root/Cargo.toml" -- demo "$@"
