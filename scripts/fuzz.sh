#!/usr/bin/env bash
# Fuzzes what reads a user's bytes, with libFuzzer by cargo-fuzz: every target for some minutes each,
# or those that are named. What was found worth keeping stays in fuzz/corpus, which is not committed;
# what breaks a target stays in fuzz/artifacts, and the script fails.
#
#   scripts/fuzz.sh [--minutes N] [TARGET..]      20 minutes each by default
#
# Compiled optimised and with debug assertions, so that an overflow counts. Needs a nightly toolchain, a C++ compiler, and cargo-fuzz (cargo install cargo-fuzz --locked).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

minutes=20
if [ "${1:-}" = --minutes ]; then minutes=$2; shift 2; fi
# An input of some kilobytes may not take more memory than this, in one piece and in all. A reader
# refuses sizes that its file cannot hold before it allocates for them.
piece_mb=256
all_mb=2048

cargo +nightly fuzz --version >/dev/null 2>&1 || {
    echo "fuzz.sh: cargo-fuzz or the nightly toolchain is missing. Get them with:" >&2
    echo "  rustup toolchain install nightly && cargo install cargo-fuzz --locked" >&2
    exit 1
}

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

fixtures=tests/fixtures
# The files of the tests that a target begins with.
seeds() {
    case $1 in
    image) find "$fixtures/pictures" -type f -size -64k ;;
    checkpoint) find "$fixtures"/runs/*/checkpoints -name '*.safetensors' -size -64k ;;
    weights) find "$fixtures" -name '*.safetensors' -size -64k ;;
    tokens) find "$fixtures/runs" -name tokens.json ;;
    tokenizer) find "$fixtures/runs" -name tokenizer.json ;;
    config) find "$fixtures/runs" src/config/presets -name '*.toml' ;;
    parquet) find "$fixtures" -name '*.parquet' ;;
    wgsl) find shaders -name '*.wgsl' ;;
    *) python3 fuzz/seeds.py "$1" "fuzz/corpus/$1" ;;
    esac
}

failed=()
for target in "${targets[@]}"; do
    corpus=fuzz/corpus/$target
    mkdir -p "$corpus"
    seeds "$target" | while IFS= read -r file; do
        cp -- "$file" "$corpus/seed-$(sha256sum "$file" | cut -c 1-16)"
    done
    echo "== $target, $minutes minutes"
    cargo +nightly fuzz run --sanitizer none -a "$target" "$corpus" -- \
        -max_total_time=$((60 * minutes)) -max_len=65536 -timeout=10 \
        -malloc_limit_mb=$piece_mb -rss_limit_mb=$all_mb -print_final_stats=1 || failed+=("$target")
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "fuzz.sh: broken: ${failed[*]}; the inputs are in fuzz/artifacts" >&2
    exit 1
fi
