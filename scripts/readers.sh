#!/usr/bin/env bash
# Checks files that are written for other programs with those programs' own readers, from PyPI:
# TensorBoard's event files, ONNX files and what ONNX Runtime computes from them, codebooks with
# faiss, codes as tables and tars with pyarrow, datasets and WebDataset; and files that these write
# with ours. readers.txt pins their versions. WGVQ_PYTHON names the Python that makes their
# environment, target/readers.
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

absolute_target
environment=$CARGO_TARGET_DIR/readers
[ -x "$environment/bin/python" ] || "${WGVQ_PYTHON:-python3}" -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r scripts/readers.txt

WGVQ_READERS_PYTHON=$(realpath "$environment")/bin/python
WGVQ_SKIPPED=$(mktemp)
export WGVQ_READERS_PYTHON WGVQ_SKIPPED
cargo test --test it -- --nocapture \
    tensorboard_reads onnx_runtime_gives faiss_reads datasets_and tables_of_datasets
# With the packages there, a test that does not run is a failure.
if [ -s "$WGVQ_SKIPPED" ]; then
    cat "$WGVQ_SKIPPED" >&2
    exit 1
fi
rm -f "$WGVQ_SKIPPED"
