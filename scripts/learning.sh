#!/usr/bin/env bash
# The learning curves that the README states: the presets over three seeds, measured on the test
# split. Takes about an hour on two cores of software Vulkan. Usage: scripts/learning.sh [OUT]
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/learning}
target=${CARGO_TARGET_DIR:-target}
cargo build --release
curve() { # preset, steps, seed
    local run="$out/$1-$3"
    "$target/release/wgvq" train --preset "$1" --steps "$2" --seed "$3" --out "$run" --overwrite --quiet
    sed "s/^/$1,seed $3,/" "$run/test.csv"
}
for seed in 0 1 2; do
    curve emoji32 2000 "$seed"
done
[ -d /usr/share/datasets/fashion-mnist ] || scripts/data.sh fashion-mnist
for seed in 0 1 2; do
    curve fashion28 1000 "$seed"
done
