#!/usr/bin/env bash
# Builds and tests the plug-ins, each a workspace of its own: wgvq in egui.
#
#   scripts/plugins.sh             format, lints, tests without a window
#   scripts/plugins.sh studio      opens the example in a window
#
# The pictures that the tests draw are kept in target/plugins/tmp.
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

case ${CARGO_TARGET_DIR:=$root/target} in
/*) ;;
*) CARGO_TARGET_DIR=$root/$CARGO_TARGET_DIR ;;
esac
export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/plugins
cd plugins/egui_wgvq

case ${1:-test} in
test)
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo test
    ;;
studio)
    shift
    cargo run --release --example studio --features window -- "$@"
    ;;
*)
    echo "usage: scripts/plugins.sh [test|studio [DECODER OR RUN]]" >&2
    exit 2
    ;;
esac
