#!/usr/bin/env bash
# Tokenizers that diffusers and transformers make, with random weights, and quantizers of
# vector-quantize-pytorch, imported: the same codes as theirs, and pixels as near as 8 bits tell.
# imports/requirements.txt pins their versions. WGVQ_PYTHON names the Python (3.10 or newer) that
# makes their environment, target/imports; WGVQ_IMPORTS another folder for it; and WGVQ a program,
# which without is built.
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

absolute_target
environment=${WGVQ_IMPORTS:-$CARGO_TARGET_DIR/imports}
# What was installed is written down last: where that failed, or is of other versions, it is done
# again.
installed=$environment/requirements.txt
if ! cmp -s scripts/imports/requirements.txt "$installed"; then
    "${WGVQ_PYTHON:-python3}" -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
        -r scripts/imports/requirements.txt
    cp scripts/imports/requirements.txt "$installed"
fi
wgvq=${WGVQ:-}
if [ -z "$wgvq" ]; then
    cargo build --release
    wgvq=$CARGO_TARGET_DIR/release/wgvq
fi
work=$(mktemp -d)
trap 'clean_up; rm -rf "$work"' EXIT
"$environment/bin/python" scripts/imports/agree.py "$wgvq" "$work"
