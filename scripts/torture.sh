#!/usr/bin/env bash
# Tries to break the program, for as long as you like; RELIABILITY.md has the figures. Each part runs
# alone, with a count and a seed; the short forms are in the test suite.
#
#   scripts/torture.sh kill [COUNT [SEED]]       SIGKILL at random moments, and at calls that change files
#   scripts/torture.sh disk [COUNT [SEED]]       full and failing disks, no locks, no syncs, clocks that jump
#   scripts/torture.sh load [STEPS [SEED]]       one long training: memory, open files, threads
#   scripts/torture.sh shards [COUNT [SEED]]     10,000 images as codes and tokens in 7 shards, COUNT kills of 3 processes
#   scripts/torture.sh engines [COUNT]           engines opened and closed, one after another
#   scripts/torture.sh device                    too little memory, a device that is lost
#   scripts/torture.sh kernels [COUNT [SEED [OPERATION..]]]    faults planted in kernels, which the checks have to find
#   scripts/torture.sh shapes [COUNT [SEED [OPERATION..]]]     random shapes and values of operations, against f64
#   scripts/torture.sh fuzz [MINUTES]            scripts/fuzz.sh: every target so long
#   scripts/torture.sh all                       all of them, as long as they take
#
# kill, disk and load take further options after the seed: --only SCENE (several times), --list, --work DIR. They need
# Linux and Python 3.11; `kill` and `disk` stop the program through ptrace, on x86-64 and arm64. `disk` mounts a small
# file system where it may, and needs a C compiler for the clocks; it says what it could not do. WGVQ_PROGRAM names a
# program; without, target/debug/wgvq is built.
set -euo pipefail
self=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/torture.sh
# Programs are named from where this is called.
case ${WGVQ_PROGRAM:-} in '' | /*) ;; */*) WGVQ_PROGRAM=$PWD/$WGVQ_PROGRAM ;; esac
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$self" >&2; exit 2; }
part=${1:-}
shift || usage
count=
seed=
case ${1:-} in [0-9]*) count=$1; shift ;; esac
case ${1:-} in [0-9]*) seed=$1; shift ;; esac

program() {
    if [ -z "${WGVQ_PROGRAM:-}" ]; then
        cargo build --quiet
        WGVQ_PROGRAM=${CARGO_TARGET_DIR:-target}/debug/wgvq
    fi
}

driver() {
    local name=$1
    shift
    program
    "${WGVQ_PYTHON:-python3}" scripts/torture/torture.py "$name" --program "$WGVQ_PROGRAM" \
        ${count:+--count "$count"} ${seed:+--seed "$seed"} "$@"
}

case $part in
kill | disk | load | shards) driver "$part" "$@" ;;
engines) WGVQ_ENGINES=${count:-10000} cargo test --test it endurance::engines -- --nocapture ;;
device)
    cargo test --test it endurance::a_
    cargo test --test it system::memory::
    ;;
kernels)
    planted=${count:-1000},${seed:-1}
    for operation in "$@"; do planted+=,$operation; done
    WGVQ_PLANTED=$planted cargo test --test ops planted::all -- --nocapture
    ;;
shapes)
    made_up=${count:-2000},${seed:-1}
    for operation in "$@"; do made_up+=,$operation; done
    WGVQ_SHAPES=$made_up cargo test --test ops shapes::all -- --nocapture
    ;;
fuzz) scripts/fuzz.sh ${count:+--minutes "$count"} ;;
all)
    for each in kill disk load shards engines device kernels shapes fuzz; do
        printf '== %s\n' "$each"
        "$self" "$each"
    done
    ;;
*) usage ;;
esac
