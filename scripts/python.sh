#!/usr/bin/env bash
# Builds the Python module, and tests it.
#
#   scripts/python.sh check     compiles it, without linking, as .ci/run does with everything else
#   scripts/python.sh wheel     makes a wheel in target/wheels, which installs without Rust
#   scripts/python.sh test      makes a wheel, installs it into a new environment, runs every test there,
#                               beside PyTorch, vector-quantize-pytorch, faiss and scikit-learn
#
# Needs Python 3.10 or newer, and PyPI for everything but `check`. WGVQ_PYTHON names another
# interpreter.
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

python=${WGVQ_PYTHON:-python3}
absolute_target
target=$CARGO_TARGET_DIR
environment=$target/python

# An environment that has this in it.
environment_with() {
    [ -x "$environment/bin/python" ] || "$python" -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

wheel() {
    environment_with 'maturin>=1.16,<2'
    rm -f "$target"/wheels/wgvq-*.whl
    (cd python && "$environment/bin/maturin" build --release --locked --out "$target/wheels")
}

case ${1:-check} in
check)
    cargo clippy --locked --package wgvq-python -- -D warnings
    cargo fmt --check --package wgvq-python
    ;;
wheel)
    wheel
    ls -l "$target"/wheels/wgvq-*.whl
    ;;
test)
    wheel
    cargo build --release --locked
    # An environment without Rust's tools, as a user has it.
    rm -rf "$target/python-test"
    "$python" -m venv "$target/python-test"
    bare() { env PATH=/usr/bin:/bin "$target/python-test/bin/python" -m "$@"; }
    bare pip install --quiet --disable-pip-version-check \
        "$target"/wheels/wgvq-*.whl -r python/tests/requirements.txt
    export WGVQ_COMMAND=$target/release/wgvq
    tests=$PWD/python
    work=$(mktemp -d)
    trap 'clean_up; rm -rf "$work"' EXIT
    # Away from the tree, so that what is installed is tested. The README's examples write a run.
    cd "$work"
    # What the stubs say: to who uses them, and of the native half itself.
    bare mypy --strict --package wgvq
    bare mypy.stubtest wgvq._native --ignore-disjoint-bases
    bare pytest -q -rs -p no:cacheprovider "$tests/tests" "$tests/README.md" --rootdir "$tests" \
        "${@:2}"
    ;;
*)
    sed -n 's/^#   //p' scripts/python.sh >&2
    exit 2
    ;;
esac
