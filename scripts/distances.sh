#!/usr/bin/env bash
# The distances of `wgvq evaluate` beside those of pytorchfwd, torch-fidelity and scikit-learn, from
# PyPI:
#
#   scripts/distances.sh [RUN]       evaluates the run (without: a small one, which it trains), keeps
#                                    the images and features that were compared, and holds every
#                                    figure against the other programs', to four digits
#   scripts/distances.sh fixtures    makes tests/fixtures/distances anew
#
# distances/requirements.txt pins their versions; WGVQ_PYTHON names the Python (3.9 to 3.11) that
# makes their environment, target/distances.
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

environment=${WGVQ_DISTANCES:-${CARGO_TARGET_DIR:-target}/distances}
if [ ! -x "$environment/bin/python" ]; then
    "${WGVQ_PYTHON:-python3}" -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r scripts/distances/requirements.txt
fi
if [ "${1-}" = fixtures ]; then
    exec "$environment/bin/python" scripts/fixtures/distances.py
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wgvq=${WGVQ:-}
if [ -z "$wgvq" ]; then
    cargo build --release
    wgvq=${CARGO_TARGET_DIR:-target}/release/wgvq
fi
run=${1-}
if [ -z "$run" ]; then
    run=$work/run
    "$wgvq" train --steps 200 --out "$run" --quiet
fi
"$wgvq" evaluate "$run" --reconstructions --n 1000 --keep "$work/kept" --out "$work/out" --json --quiet > "$work/figures"
"$environment/bin/python" scripts/distances/agree.py "$work/figures" "$work/kept"
