#!/usr/bin/env bash
# Trains the small model and the small prior that the page in web/ shows, on the embedded emoji, and
# puts them in web/model/. Some fifteen minutes on two processor cores.
#
#   scripts/web_model.sh [FOLDER]     FOLDER instead of web/model
#   STEPS, PRIOR_STEPS                training steps of the two (1500 and 1200); a handful makes a model for tests in seconds
#   WGVQ                              the program, where it is built already (else cargo builds it)
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

folder=${1:-web/model}
run=target/web/run
wgvq() { if [ -n "${WGVQ:-}" ]; then "$WGVQ" "$@"; else cargo run --release --quiet -- "$@"; fi; }

mkdir -p -- "$(dirname -- "$run")" "$folder"
# Narrower than the preset: the page is to load at once. 256 codes of 32 numbers, 8 x 8 to a
# picture.
wgvq train --preset emoji32 --steps "${STEPS:-1500}" --codes 256 --out "$run" --overwrite \
    --set model.hidden=48 --set model.residual_hidden=24 --set quantizer.dim=32 --set quantizer.codebook_dim=32 \
    --set train.lr=0.001 --set train.decay_steps="${STEPS:-1500}" --set train.ema_decay=0.99
wgvq prior "$run" --steps "${PRIOR_STEPS:-1200}" --overwrite \
    --set prior.layers=2 --set prior.dim=64 --set prior.heads=4 --set train.lr=0.002
cp -- "$run/final.safetensors" "$folder/model.safetensors"
cp -- "$run/prior/final.safetensors" "$folder/prior.safetensors"
ls -l -- "$folder"
