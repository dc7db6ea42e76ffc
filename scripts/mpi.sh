#!/usr/bin/env bash
# Trainings over several processes under MPI: the same as in one.
#
#   scripts/mpi.sh            under Open MPI and under MPICH: 1, 2 and 4 processes, killed and resumed, a prior,
#                             shards that are handed out
#   scripts/mpi.sh short      under the first of them that is here: 2 processes
#
#   WGVQ_INSTALL=no           never install anything: only say what is missing
#
# Builds a program for each MPI, in folders of their own below target/ (some minutes each, the first time). Losses
# of 1, 2 and 4 processes at equal global batch agree within 0.2 %: sums are taken in another order, Adam's first
# steps move each weight by its gradient's sign however small that is, and a latent that lies between two codes may
# take the other one. What all processes of a run hold is compared byte by byte by the program itself, at each
# checkpoint and at the end.
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

mode=${1:-all}
place=$(mktemp -d "${TMPDIR:-/tmp}/wgvq-mpi.XXXXXX")
trap 'rm -rf -- "$place"; clean_up' EXIT
tolerance=0.002

fail() { say "mpi.sh: $*"; exit 1; }

# The MPIs that are here: openmpi and mpich under Debian's names, or whichever `mpicc` there is.
kinds() {
    local kind
    for kind in openmpi mpich; do
        if have "mpicc.$kind" && have "mpirun.$kind"; then printf '%s\n' "$kind"; fi
    done
}

need_mpi() {
    if [ -n "$(kinds)" ] && { [ "$mode" = short ] || [ "$(kinds | wc -l)" = 2 ]; } && have_libclang; then return 0; fi
    if [ "$(package_manager || true)" != apt ]; then
        if have mpicc && have mpirun; then return 0; fi
        stop "There is no MPI here. Install Open MPI or MPICH with its headers, and libclang."
    fi
    local command as_root=()
    command=$(install_command apt openmpi-bin libopenmpi-dev mpich libmpich-dev libclang-dev)
    if [ "${WGVQ_INSTALL:-yes}" = no ] || ! find_root; then stop "Open MPI, MPICH or libclang is missing:" "$command"; fi
    local words
    read -ra words <<<"$command"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${words[@]}" </dev/null >&2 || {
        "${as_root[@]}" apt-get update </dev/null >&2
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${words[@]}" </dev/null >&2
    }
}

have_libclang() {
    local found
    found=$(find /usr/lib /usr/lib64 -name 'libclang*.so*' -print -quit 2>/dev/null)
    [ -n "$found" ]
}

# Starts $1 processes of a program.
launch() {
    local ranks=$1
    shift
    case $kind in
        openmpi)
            OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
                "mpirun.$kind" --oversubscribe -n "$ranks" "$@"
            ;;
        *) "mpirun.$kind" -n "$ranks" "$@" ;;
    esac
}

# The last value of a column of a log.
last() {
    awk -F, -v name="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i } END { print $at }' "$1"
}

# Compares a column of two logs: near NAME LOG LOG
near() {
    local a b
    a=$(last "$2" "$1")
    b=$(last "$3" "$1")
    awk -v a="$a" -v b="$b" -v t="$tolerance" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(d <= t * a + 1e-9) }' ||
        fail "$kind: $1 is $b, and $a in one process"
    say "   $1: $a in one process, $b"
}

model=(--data emoji --set model.hidden=16 --set model.residual_hidden=8 --set quantizer.codebook_size=32
    --set quantizer.codebook_dim=8 --set train.batch_size=16 --set train.log_every=4
    --set quantizer.threshold_ema_dead_code=2 --set train.lr=0.0003)

train() { launch "$1" "$wgvq" --quiet train "${model[@]}" "${@:2}" 2>&1; }

# Equal losses over several numbers of processes, and equal bytes in all of them.
equal() {
    local ranks log
    "$wgvq" --quiet train "${model[@]}" --steps 8 --out "$place/$kind-alone" >/dev/null
    for ranks in "$@"; do
        say "== $kind: $ranks processes"
        log=$(launch "$ranks" "$wgvq" train "${model[@]}" --steps 8 --out "$place/$kind-$ranks" 2>&1) ||
            fail "$kind: $ranks processes failed: $log"
        if [ "$ranks" != 1 ]; then
            grep -q "$ranks ranks ended with the same bytes" <<<"$log" || fail "$kind: ranks came apart: $log"
        fi
        for column in loss reconstruction perplexity; do
            near "$column" "$place/$kind-alone/metrics.csv" "$place/$kind-$ranks/metrics.csv"
        done
    done
}

# The processes of a run by the name of its folder, the newest last.
processes() { pgrep -f -- "$wgvq .*--out $1\$" || true; }

# A process that is killed ends the run within seconds; the run goes on over another number of them.
killed() {
    local run=$place/$kind-killed launched began victim status=0
    say "== $kind: one of 4 processes is killed"
    launch 4 "$wgvq" --quiet train "${model[@]}" --set train.checkpoint_every=4 --steps 4000 --out "$run" \
        >"$place/said" 2>&1 &
    launched=$!
    until compgen -G "$run/checkpoints/*.json" >/dev/null; do
        kill -0 "$launched" 2>/dev/null || fail "$kind: it ended: $(cat "$place/said")"
        sleep 0.2
    done
    victim=$(processes "$run" | tail -n 1)
    kill -9 "$victim"
    began=$SECONDS
    wait "$launched" || status=$?
    [ "$status" != 0 ] || fail "$kind: a run whose process was killed succeeded"
    [ $((SECONDS - began)) -le 20 ] || fail "$kind: it took $((SECONDS - began)) s to end"
    [ -s "$place/said" ] || fail "$kind: nothing was said"
    say "   ended after $((SECONDS - began)) s with $status: $(grep -im 1 'kill\|signal\|terminat' "$place/said")"
    # mpirun may be gone before the last thread of the processes that it told to end: whoever resumes
    # at once is told that another process trains there.
    until [ -z "$(processes "$run")" ] && flock -n "$run/run.lock" true; do
        [ $((SECONDS - began)) -le 20 ] || fail "$kind: processes go on after their job ended"
        sleep 0.2
    done
    local at
    at=$(find "$run/checkpoints" -name 'step-*.json' | sort | tail -n 1)
    at=${at##*step-}
    at=$((10#${at%.json} + 8))
    launch 2 "$wgvq" --quiet train --resume "$run" --steps "$at" >/dev/null
    "$wgvq" --quiet train "${model[@]}" --steps "$at" --set train.checkpoint_every=4 --out "$run-1" >/dev/null
    near loss "$run-1/metrics.csv" "$run/metrics.csv"
}

# An error in any process ends all, and says so.
errors() {
    local said began=$SECONDS
    say "== $kind: errors"
    if said=$(train 3 --steps 2 --out "$place/$kind-3"); then fail "$kind: 16 images fell into 3 shares"; fi
    grep -q "train.batch_size" <<<"$said" || fail "$kind: $said"
    [ ! -e "$place/$kind-3/metrics.csv" ] || fail "$kind: something was trained"
    [ $((SECONDS - began)) -le 20 ] || fail "$kind: it took $((SECONDS - began)) s to end"
    say "   $(grep -m 1 "train.batch_size" <<<"$said")"
}

prior() {
    local run=$place/$kind-alone
    local keys=(--size tiny --steps 4 --batch 8 --set prior.dim=32 --set prior.layers=1 --set prior.heads=2
        --set train.log_every=2)
    say "== $kind: a prior over 2 processes"
    "$wgvq" --quiet prior "$run" "${keys[@]}" >/dev/null
    mv "$run/prior" "$place/$kind-prior"
    launch 2 "$wgvq" --quiet prior "$run" "${keys[@]}" >/dev/null
    near loss "$place/$kind-prior/metrics.csv" "$run/prior/metrics.csv"
    near nats_per_token "$place/$kind-prior/test.csv" "$run/prior/test.csv"
    say "== $kind: and shares of its moments, saved and resumed"
    mv "$run/prior" "$place/$kind-prior-2"
    keys+=(--set train.shard_optimizer=true --set train.checkpoint_every=2)
    launch 2 "$wgvq" --quiet prior "$run" "${keys[@]}" >/dev/null
    cmp "$place/$kind-prior-2/metrics.csv" "$run/prior/metrics.csv" || fail "$kind: shares changed the losses"
    local log
    log=$(launch 2 "$wgvq" prior "$run" --resume --steps 6 2>&1) || fail "$kind: it does not resume: $log"
    grep -q "2 ranks ended with the same bytes" <<<"$log" || fail "$kind: ranks came apart: $log"
}

# Writes $1 images of noise, 32 x 32, as an array of NumPy's.
noise() {
    local images=$1 header
    header="{'descr': '|u1', 'fortran_order': False, 'shape': ($images, 32, 32, 3), }"
    while [ $(((${#header} + 11) % 64)) != 0 ]; do header+=' '; done
    printf '\x93NUMPY\x01\x00'
    printf "\\x$(printf %02x $(((${#header} + 1) % 256)))\\x$(printf %02x $(((${#header} + 1) / 256)))"
    printf '%s\n' "$header"
    head -c $((images * 3072)) /dev/urandom
}

# Shards are handed out to 3 processes, of which one is killed, and then to 2: the bytes of one process, each shard
# made once.
handed_out() {
    local run=$place/$kind-alone data=$place/noise.npy shards=$place/$kind-shards launched victim began log status=0
    [ -e "$data" ] || noise 10000 >"$data"
    local encode=(encode "$run" --data "$data")
    say "== $kind: shards for 3 processes, one of which is killed"
    "$wgvq" --quiet "${encode[@]}" -o "$place/$kind-whole.safetensors" >/dev/null
    launch 3 "$wgvq" "${encode[@]}" --shard auto/20 -o "$shards" >"$place/said" 2>&1 &
    launched=$!
    until compgen -G "$shards/shard-*.json" >/dev/null; do
        kill -0 "$launched" 2>/dev/null || fail "$kind: it ended: $(cat "$place/said")"
        sleep 0.05
    done
    victim=$(pgrep -f -- "$wgvq .* -o $shards\$" | tail -n 1)
    kill -9 "$victim"
    began=$SECONDS
    wait "$launched" || status=$?
    [ "$status" != 0 ] || fail "$kind: all was done before one was killed, or nothing came of it"
    [ $((SECONDS - began)) -le 20 ] || fail "$kind: it took $((SECONDS - began)) s to end"
    say "   ended after $((SECONDS - began)) s with $status and $(find "$shards" -name 'shard-*.json' | wc -l) of 20 shards"
    local before
    before=$(cd "$shards" && sha256sum shard-*.json)
    log=$(launch 2 "$wgvq" --json "${encode[@]}" --shard auto/20 -o "$shards" 2>&1) || fail "$kind: $log"
    (cd "$shards" && sha256sum --quiet --check) <<<"$before" || fail "$kind: a shard that was there was made again"
    [ "$(grep -o '"shard":[0-9]*' <<<"$log" | sort -u | wc -l)" = 20 ] || fail "$kind: not 20 shards: $log"
    [ "$(grep -c '"shard":' <<<"$log")" = 20 ] || fail "$kind: a shard was handed out twice: $log"
    "$wgvq" --quiet encode --join "$shards" -o "$place/$kind-joined.safetensors" >/dev/null
    cmp "$place/$kind-whole.safetensors" "$place/$kind-joined.safetensors" || fail "$kind: shards are others"
    say "   the rest by 2 processes, and joined: the bytes of one"
    began=$SECONDS
    # shellcheck disable=SC2016
    if log=$(launch 3 bash -c 'data=$1
        if [ "${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}" = 1 ]; then data=$1.gone; fi
        exec "$2" --quiet encode "$3" --data "$data" --shard auto/20 -o "$4"' \
        bash "$data" "$wgvq" "$run" "$shards-2" 2>&1); then
        fail "$kind: a process whose images are gone succeeded"
    fi
    grep -q 'rank 1: .*gone' <<<"$log" || fail "$kind: $log"
    [ $((SECONDS - began)) -le 20 ] || fail "$kind: it took $((SECONDS - began)) s to end"
    say "   $(grep -m 1 'rank 1: ' <<<"$log")"
}

need_mpi
all=$(kinds)
if [ "$mode" = short ]; then all=${all%%$'\n'*}; fi
for kind in $all; do
    began=$SECONDS
    MPICC=mpicc.$kind cargo build --features mpi --bin wgvq --target-dir "target/mpi-$kind"
    wgvq=$root/target/mpi-$kind/debug/wgvq
    say "== $kind: built in $((SECONDS - began)) s"
    began=$SECONDS
    if [ "$mode" = short ]; then
        equal 2
    else
        equal 1 2 4
        killed
        errors
        prior
        handed_out
    fi
    say "== $kind: $((SECONDS - began)) s"
done
