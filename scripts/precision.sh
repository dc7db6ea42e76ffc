#!/usr/bin/env bash
# Mixed precision beside f32 at the same budget: first stages of two data sets and a small prior over
# the codes of each, three seeds each, as lines of CSV. Takes hours on two cores of software Vulkan.
# What is there already is not trained again.
#
#   scripts/precision.sh [OUT]
#
#   OUT              where the runs go (runs/precision)
#   PRECISION_STEPS  steps of a first stage, and of a prior (300)
#   WGVQ             the program (target/release/wgvq, which is built)
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/precision}
steps=${PRECISION_STEPS:-300}
if [ -z "${WGVQ:-}" ]; then
    cargo build --release
    WGVQ=${CARGO_TARGET_DIR:-target}/release/wgvq
fi
[ -d /usr/share/datasets/fashion-mnist ] || scripts/data.sh fashion-mnist

# The last line of a table of measurements: line FILE WORDS..
line() {
    local file=$1
    shift
    printf '%s,' "$@"
    tail -n 1 "$file"
}

for preset in emoji32 fashion28; do
    for seed in 0 1 2; do
        for precision in f32 mixed; do
            run=$out/$preset-$seed-$precision
            [ -f "$run/final.safetensors" ] ||
                "$WGVQ" train --preset "$preset" --steps "$steps" --seed "$seed" --quiet --overwrite \
                    --set train.precision=$precision --out "$run"
            line "$run/test.csv" first-stage "$preset" "$seed" $precision
        done
        # Both priors have the codes of the first stage in f32.
        for precision in f32 mixed; do
            run=$out/$preset-$seed-prior-$precision
            if [ ! -f "$run/prior/final.safetensors" ]; then
                rm -rf "$run"
                cp -r "$out/$preset-$seed-f32" "$run"
                "$WGVQ" prior "$run" --size tiny --steps "$steps" --batch 16 --seed "$seed" --quiet \
                    --set train.precision=$precision
            fi
            line "$run/prior/test.csv" prior "$preset" "$seed" $precision
        done
    done
done
