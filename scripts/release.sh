#!/usr/bin/env bash
# What takes too long for every change, to be run before a release: each operation on each core with
# each of its cases and with naga's bounds checks, each tile with each of its cases, every variant
# of every kernel translated, a million tokens drawn, and an operation that scripts/new_op.sh adds
# to a copy of the tree, compiled and checked there; then the licences and advisories of
# dependencies, the library for browsers, and the book. An hour or more on two cores. What cannot be
# checked here is listed at the end.
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
target=${CARGO_TARGET_DIR:-target}

export WGVQ_THOROUGH=1
started=$SECONDS
for group in "it shaders::" "it coopmat::" "it tiles::" "it sampling::" "it add_an_op::" ops; do
    began=$SECONDS
    # The name of the binary, and of the module where there is one.
    # shellcheck disable=SC2086
    cargo test --test $group "$@"
    printf '== %s: %d s\n' "$group" $((SECONDS - began))
done

unchecked=()
# Runs a check, or notes that what it needs is not there: check NAME WHAT-IS-MISSING IS-IT-THERE --
# COMMAND
check() {
    local name=$1 missing=$2 there=$3 began=$SECONDS
    shift 4
    if ! bash -c "$there" >/dev/null 2>&1; then
        printf '!! %s: NOT CHECKED, since there is no %s\n' "$name" "$missing" >&2
        unchecked+=("$name: needs $missing")
        return 0
    fi
    "$@"
    printf '== %s: %d s\n' "$name" $((SECONDS - began))
}

check "processes over MPI" "Open MPI and MPICH with their headers, and libclang" \
    'command -v mpicc || [ "${WGVQ_INSTALL:-yes}" != no ]' -- scripts/mpi.sh
check "the C interface" "C compiler" "command -v cc && command -v c++" -- scripts/capi.sh test
check "plug-ins" "Rust 1.95" "cargo --version | grep -qE '1\.(9[5-9]|[1-9][0-9]{2})'" -- scripts/plugins.sh test

wasm=wasm32-unknown-unknown
# shellcheck disable=SC2016
has_wasm='[ -d "$(rustc --print sysroot)/lib/rustlib/'$wasm'/lib" ]'
if have rustup && [ "${WGVQ_INSTALL:-yes}" != no ]; then rustup target add "$wasm" >/dev/null 2>&1 || true; fi

check licences "cargo-deny (cargo install cargo-deny --locked)" "cargo deny --version" -- cargo deny check
check licences-of-the-page "cargo-deny (cargo install cargo-deny --locked)" "cargo deny --version" -- \
    cargo deny --manifest-path web/Cargo.toml check --config deny.toml
check wasm32 "target (rustup target add $wasm)" "$has_wasm" -- \
    cargo check --locked --lib --no-default-features --target "$wasm"
check wasm32-of-the-page "target (rustup target add $wasm)" "$has_wasm" -- \
    cargo check --locked --manifest-path web/Cargo.toml --target "$wasm"
check python "Python 3.10 (WGVQ_PYTHON names one) with PyPI" \
    '"${WGVQ_PYTHON:-python3}" -c "import sys, venv; assert sys.version_info >= (3, 10)"' -- \
    scripts/python.sh test
check readers "Python 3.10 (WGVQ_PYTHON names one) with PyPI" \
    '"${WGVQ_PYTHON:-python3}" -c "import sys, venv; assert sys.version_info >= (3, 10)"' -- \
    scripts/readers.sh
check distances "Python 3.11 (WGVQ_PYTHON names one) with PyPI" \
    '"${WGVQ_PYTHON:-python3}" -c "import sys, venv; assert sys.version_info >= (3, 11)"' -- \
    scripts/distances.sh
check imports "Python 3.10 (WGVQ_PYTHON names one) with PyPI" \
    '"${WGVQ_PYTHON:-python3}" -c "import sys, venv; assert sys.version_info >= (3, 10)"' -- \
    scripts/imports.sh
check book "mdbook (cargo install mdbook --locked)" "mdbook --version" -- \
    bash -c 'mdbook build && scripts/check_book.py'
check archive "program (cargo build --release)" "test -x '$target/release/wgvq'" -- \
    scripts/archive.sh "$target/release/wgvq" "$(rustc -vV | sed -n 's/^host: //p')" target/dist
check semver "cargo-semver-checks (cargo install cargo-semver-checks --locked), or no release to compare with" \
    "cargo semver-checks --version && git describe --tags --match 'v*' --abbrev=0" -- \
    bash -c 'cargo semver-checks --baseline-rev "$(git describe --tags --match "v*" --abbrev=0)"'
check image "docker" "docker info" -- docker build -t wgvq .

printf '== all: %d s\n' $((SECONDS - started))
if [ ${#unchecked[@]} != 0 ]; then
    printf '!! %d checks could not run here:\n' ${#unchecked[@]} >&2
    printf '!!   %s\n' "${unchecked[@]}" >&2
fi
