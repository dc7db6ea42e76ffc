#!/usr/bin/env bash
# Shows that the gate of `wgvq bench` works on this machine: a build with 10 % more work for one
# kernel is SLOWER and exits with 1, the reverse is FASTER, and two files of one build are neither.
# docs/benchmarking.md says how verdicts are found.
#
#   scripts/bench_gate.sh [ROUNDS]
#
#   ROUNDS          rounds of the three comparisons (20)
#   GATE_PAIRS      processes of each side in a comparison (30)
#   GATE_MOST       the most of them, where it is unsure (240)
#   GATE_SECONDS    seconds for the workload in a process, at most (0.15)
#   GATE_WORKLOAD   what is timed; the work is planted in layer_norm (layer_norm_n1024_c256)
#   GATE_PROFILE    the profile of the builds: release, or dev for a quick look
#   GATE_BUILDS     a folder for both builds, which are made anew only where it has none of them
#   GATE_FLAGS      further options of `wgvq bench` (--compare-by fastest --any-clock, for a machine
#                   that others use as well)
#   CARGO           the cargo to build with
#   LP_NUM_THREADS  threads of Mesa's software Vulkan (1: with several, a process may take the time
#                   of all cores or that of one, for as long as it lives)
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-20}
pairs=${GATE_PAIRS:-30}
most=${GATE_MOST:-240}
seconds=${GATE_SECONDS:-0.15}
workload=${GATE_WORKLOAD:-layer_norm_n1024_c256}
profile=${GATE_PROFILE:-release}
read -ra flags <<<"${GATE_FLAGS---compare-by fastest --any-clock}"
cargo=${CARGO:-cargo}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
folder=$profile
[ "$profile" != dev ] || folder=debug

builds=${GATE_BUILDS:-$work}
mkdir -p "$builds"
builds=$(cd "$builds" && pwd)

build() { # FOLDER NAME TARGET
    (cd "$1" && CARGO_TARGET_DIR=$3 "$cargo" build --quiet --profile "$profile" --bin wgvq)
    # Whole, or not there: the folder may be used again.
    cp "$3/$folder/wgvq" "$builds/$2.part"
    mv "$builds/$2.part" "$builds/$2"
}

# The same sources in a folder of their own, in which the kernel goes over the first tenth of the
# rows once more: the result is the same, and so is the kernel. (A loop in the kernel, which a tenth
# of the rows goes through twice, takes twice the time on a processor: it is compiled otherwise.)
plant() {
    mkdir "$work/tree"
    git ls-files -z | tar --null -T - -cf - | tar -xf - -C "$work/tree"
    python3 - "$work/tree/src/ops/norm/group_norm/mod.rs" <<'PLANT'
import sys
path = sys.argv[1]
text = open(path).read()
end = """            groups_for(rows, 1),
            work(self),
        )?;
        if op == "layer_norm" {
"""
assert text.count(end) == 1, "group_norm/mod.rs is another than this knows"
again = """            groups_for(rows, 1),
            work(self),
        )?;
        let part = rows / 10;
        let params = Params { rows: part as u32, ..params };
        let bindings = [x, w, b, &y, &stats];
        x.gpu().dispatch(op, &kernel, &bindings, &params, groups_for(part, 1), work(self))?;
        if op == "layer_norm" {
"""
open(path, "w").write(text.replace(end, again))
PLANT
}

if [ ! -x "$builds/base" ] || [ ! -x "$builds/slow" ]; then
    plant
    build . base "$target"
    # Elsewhere: nobody is to find the slow program where theirs was.
    build "$work/tree" slow "$target/gate"
fi
# The same build under another name.
cp "$builds/base" "$builds/again"

failed=0
compare() { # WHAT NEW OLD VERDICT-PATTERN CODE
    local said code=0
    said=$("$builds/$2" bench "$workload" --against "$builds/$3" --processes "$pairs" \
        --most-processes "$most" \
        --seconds "$seconds" --fail-above 5% --floor 20us --quiet "${flags[@]}") || code=$?
    said=$(tail -n 1 <<<"$said")
    if grep -Eq "$4\$" <<<"$said" && [ "$code" = "$5" ]; then
        echo "ok      $1: $said"
    else
        echo "FAILED  $1, exit code $code: $said"
        failed=$((failed + 1))
    fi
}

export LP_NUM_THREADS=${LP_NUM_THREADS:-1}
begun=$SECONDS
for round in $(seq "$rounds"); do
    compare "round $round, 10 % more work" slow base SLOWER 1
    compare "round $round, 10 % less work" base slow FASTER 0
    compare "round $round, the same build" again base "(SAME|UNSURE)" 0
done
echo "$((3 * rounds - failed)) of $((3 * rounds)) as planted, in $((SECONDS - begun)) s"
[ "$failed" = 0 ]
