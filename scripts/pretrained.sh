#!/usr/bin/env bash
# Trains the models that are part of the program (`wgvq get`), and puts them in assets/models.
#
#   scripts/pretrained.sh [emoji32|clipart64]
#
#   RUNS      where the runs go (target/pretrained)
#   FOLDER    where the bundles go (assets/models)
#   STEPS     steps of emoji32's tokenizer (4000), and twice those of clipart64's; PRIOR_STEPS those of
#             the prior (3000); a handful makes models for a look in seconds
#   WGVQ      the program, where it is built already (else cargo builds it)
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

runs=${RUNS:-target/pretrained}
folder=${FOLDER:-assets/models}
steps=${STEPS:-4000}
prior_steps=${PRIOR_STEPS:-3000}
wgvq() { if [ -n "${WGVQ:-}" ]; then "$WGVQ" "$@"; else cargo run --release --quiet -- "$@"; fi; }

# Options by which so many steps learn fast and end low: a high rate that falls to a hundredth, and
# the average of the weights.
fast() { # STEPS
    options=(--steps "$1" --set train.lr=0.001 --set "train.decay_steps=$1"
        --set train.ema_decay=0.99 --set "train.eval_every=$(($1 / 4))")
}

emoji32() {
    fast "$steps"
    wgvq train --preset emoji32 --set model.hidden=64 --set data.split=captions \
        --quantizer cosine "${options[@]}" --out "$runs/emoji32" --overwrite
    wgvq text2image train --out "$runs/emoji32" --steps "$prior_steps" --batch 32 --overwrite \
        --set prior.layers=4 --set prior.dim=96 --set prior.heads=4 \
        --judge-steps 0 --set "train.eval_every=$((prior_steps / 3))"
}

clipart64() {
    [ -n "${WGVQ_DATA:-}" ] || [ -d "${XDG_CACHE_HOME:-$HOME/.cache}/wgvq/openclipart" ] ||
        scripts/data.sh openclipart
    fast $((steps / 2))
    wgvq train --data openclipart --set data.width=64 --set data.height=64 --set data.channels=3 \
        --set data.flip=true --codes 1024 --batch 32 --set model.hidden=64 \
        --quantizer cosine "${options[@]}" --out "$runs/clipart64" --overwrite
}

mkdir -p -- "$folder"
for name in ${1:-emoji32 clipart64}; do
    case $name in
    emoji32 | clipart64) "$name" ;;
    *) echo "there is no recipe for \`$name\`: name emoji32 or clipart64" >&2 && exit 2 ;;
    esac
    wgvq export "$runs/$name" --bundle "$folder/$name.bundle" --overwrite
done
ls -l -- "$folder"
