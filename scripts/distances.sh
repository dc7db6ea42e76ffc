#!/usr/bin/env bash
# The distances of `wgvq evaluate` beside those of pytorchfwd, torch-fidelity and scikit-learn, from
# PyPI:
#
#   scripts/distances.sh [RUN]       evaluates the run (without: a small one, which it trains) and
#                                    holds every figure against the other programs', to four
#                                    digits; the images and features are kept until it ends
#   scripts/distances.sh fixtures    makes tests/fixtures/distances anew
#
# distances/requirements.txt pins their versions; WGVQ_PYTHON names the Python (3.11 or newer) that
# makes their environment, target/distances. WGVQ_DISTANCES names another folder for it, and
# WGVQ a program; without, it is built.
set -euo pipefail

# A run is named from where this is called.
run=${1-}
case $run in '' | fixtures | /*) ;; *) run=$PWD/$run ;; esac

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

absolute_target
environment=${WGVQ_DISTANCES:-$CARGO_TARGET_DIR/distances}
# What was installed is written down last: where that failed, or is of other versions, it is done
# again.
installed=$environment/requirements.txt
if ! cmp -s scripts/distances/requirements.txt "$installed"; then
    "${WGVQ_PYTHON:-python3}" -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r scripts/distances/requirements.txt
    cp scripts/distances/requirements.txt "$installed"
fi
if [ "$run" = fixtures ]; then
    exec "$environment/bin/python" scripts/fixtures/distances.py
fi

work=$(mktemp -d)
trap 'clean_up; rm -rf "$work"' EXIT
wgvq=${WGVQ:-}
if [ -z "$wgvq" ]; then
    cargo build --release
    wgvq=$CARGO_TARGET_DIR/release/wgvq
fi
if [ -z "$run" ]; then
    run=$work/run
    "$wgvq" train --steps 200 --out "$run" --quiet
fi
"$wgvq" evaluate "$run" --reconstructions --n 1000 --keep "$work/kept" --out "$work/out" --json --quiet > "$work/figures"
"$environment/bin/python" scripts/distances/agree.py "$work/figures" "$work/kept"
