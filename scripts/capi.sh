#!/usr/bin/env bash
# Builds the C interface, and tests it.
#
#   scripts/capi.sh build     libwgvq_c as a shared and a static library, in target/release
#   scripts/capi.sh header    writes capi/include/wgvq.h again, by cbindgen
#   scripts/capi.sh test      compiles capi/examples/pictures.c and holds it against the program;
#                             where cbindgen is installed, the header against the source
#
# `test` needs a C and a C++ compiler. cbindgen: cargo install cbindgen --locked
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

# Dependencies that the main crate has are built once, for both.
absolute_target
target=$CARGO_TARGET_DIR

header() { (cd capi && cbindgen --quiet --config cbindgen.toml --output "$1"); }

case ${1:-test} in
build)
    cargo build --release --locked --manifest-path capi/Cargo.toml
    ls -l "$target"/release/libwgvq_c.*
    ;;
header) header include/wgvq.h ;;
test)
    if command -v cbindgen >/dev/null; then
        made=$(mktemp)
        trap 'clean_up; rm -f "$made"' EXIT
        header "$made"
        diff -u capi/include/wgvq.h "$made"
    else
        echo "capi.sh: SKIPPED the header against the source: cbindgen is not installed" >&2
    fi
    cargo build --locked
    cargo fmt --check --manifest-path capi/Cargo.toml
    cargo clippy --locked --manifest-path capi/Cargo.toml --all-targets -- -D warnings
    # A test alone does not build a library that it cannot link as Rust.
    cargo build --locked --manifest-path capi/Cargo.toml
    WGVQ_PROGRAM=$target/debug/wgvq cargo test --locked --manifest-path capi/Cargo.toml
    ;;
*)
    echo "usage: scripts/capi.sh build|header|test" >&2
    exit 2
    ;;
esac
