#!/usr/bin/env bash
# Says what the compilers of GPUs that are not in this machine make of the kernels: registers,
# spills, occupancy, instructions. Mesa's Vulkan drivers for GeForce, Radeon, Apple and Adreno GPUs
# run here against Debian's DRM shims (package mesa-drm-shim), which stand in for a GPU's kernel
# driver. Nothing is computed: what is submitted is dropped.
#
#   scripts/gpulab.sh check [GPU..]     fails where a kernel exceeds its budget in benches/kernels/budgets.csv
#   scripts/gpulab.sh record [GPU..]    writes the budgets of these GPUs, and docs/kernels.md, anew, with
#                                       what the hottest loops consist of
#                                       (benches/kernels/loops.csv)
#   scripts/gpulab.sh on GPU ARGS..     runs `wgvq ARGS..` there: on rx7900 info
#   scripts/gpulab.sh gpus              lists the GPUs
#
# Without a list of GPUs: rtx3080 rtx4070 rx580 rx6800 rx7900 m1 adreno740. Needs root, for a small
# Debian in target/gpulab (0.7 GB, made once; GPULAB names another folder). WGVQ names a binary that
# is built already. KERNELS="matmul conv2d" looks at these alone. ROBUST=off compiles without robust
# buffer access, which wgpu's devices have.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

declare -A shims=(
    [rtx2060]=nouveau:NOUVEAU_CHIPSET=162 [rtx3080]=nouveau:NOUVEAU_CHIPSET=172
    [rtx4070]=nouveau:NOUVEAU_CHIPSET=194 [rtx5080]=nouveau:NOUVEAU_CHIPSET=1b2
    [rx580]=amdgpu:AMDGPU_GPU_ID=polaris10 [rx6800]=amdgpu:AMDGPU_GPU_ID=navi21
    [rx7900]=amdgpu:AMDGPU_GPU_ID=navi31 [rx9070]=amdgpu:AMDGPU_GPU_ID=gfx1201
    [deck]=amdgpu:AMDGPU_GPU_ID=vangogh [m1]=asahi: [adreno740]=freedreno:FD_GPU_ID=740
)
usual=(rtx3080 rtx4070 rx580 rx6800 rx7900 m1 adreno740)
root=${GPULAB:-$PWD/target/gpulab}
robust=${ROBUST:-on}
read -ra only <<<"${KERNELS:-}"
budgets=benches/kernels/budgets.csv
loops=benches/kernels/loops.csv
looped=(rtx4070 rx7900)

fail() {
    printf 'gpulab.sh: %s\n' "$*" >&2
    exit 1
}

set_up() {
    [ "$(id -u)" = 0 ] || fail "run as root: a Debian is made in $root, and programs run in it"
    [ ! -e "$root/ready" ] || return 0
    command -v apt-get >/dev/null || fail "needs Debian or a relative of it: its packages have the drivers and shims"
    command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq debootstrap; }
    # The archive that this machine uses, where it is Debian's.
    local mirror
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 '/debian/\?$' || true)
    echo "gpulab.sh: making a Debian with Mesa's drivers in $root" >&2
    rm -rf --one-file-system "$root"
    mkdir -p "$(dirname -- "$root")"
    debootstrap --variant=minbase --include=mesa-vulkan-drivers,libvulkan1 sid "$root" \
        "${mirror:-http://deb.debian.org/debian}" >"$root.log" 2>&1 || fail "debootstrap failed, see $root.log"
    DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -y -qq mesa-drm-shim >>"$root.log" 2>&1 ||
        fail "mesa-drm-shim cannot be installed, see $root.log"
    chroot "$root" dpkg-query -W -f '${Version}' mesa-vulkan-drivers >"$root/ready"
}

binary() {
    if [ -z "${WGVQ:-}" ]; then
        cargo build --release --quiet >&2
        WGVQ=${CARGO_TARGET_DIR:-target}/release/wgvq
    fi
    [ -x "$WGVQ" ] || fail "$WGVQ is no program"
    install -D "$WGVQ" "$root/wgvq/wgvq"
}

# Runs wgvq inside, on the GPU that is named first.
on() {
    local gpu=$1 shim setting icd
    shift
    [ -n "${shims[$gpu]:-}" ] || fail "no GPU named $gpu; there are ${!shims[*]}"
    IFS=: read -r shim setting <<<"${shims[$gpu]}"
    icd=$shim
    [ "$shim" != amdgpu ] || icd=radeon
    # Mounts of their own, which end with the program.
    # shellcheck disable=SC2016 # expanded inside
    unshare --mount -- bash -c 'mount --bind /dev "$0/dev"; mount -t proc proc "$0/proc"; exec chroot "$0" "${@}"' "$root" \
        env HOME=/tmp XDG_RUNTIME_DIR=/tmp MESA_SHADER_CACHE_DISABLE=true ${setting:+"$setting"} \
        LD_PRELOAD="/usr/lib/x86_64-linux-gnu/lib${shim}_noop_drm_shim.so" \
        VK_DRIVER_FILES="/usr/share/vulkan/icd.d/${icd}_icd.json" /wgvq/wgvq "$@"
}

# A line of JSON for each kernel of the choice, in a file for each GPU.
measure() {
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    local names
    for gpu in "$@"; do
        local started=$SECONDS
        on "$gpu" kernels --statistics --json --pairwise --robust-access "$robust" "${only[@]}" >"$folder/$gpu.jsonl" ||
            fail "$gpu: the compiler failed"
        # Which of these a GPU runs, the choice does not ask.
        mapfile -t names < <(python3 scripts/kernel_loops.py heads --gpu "$gpu" | grep -F -- "$(printf '%s\n' "${only[@]}")" || true)
        [ ${#names[@]} = 0 ] || on "$gpu" kernels --statistics --json --robust-access "$robust" "${names[@]}" >>"$folder/$gpu.jsonl" ||
            fail "$gpu: the compiler failed"
        printf 'gpulab.sh: %s: %s kernels, %d s\n' "$gpu" "$(wc -l <"$folder/$gpu.jsonl")" $((SECONDS - started)) >&2
    done
}

# What the hottest loops consist of, on a GPU of each vendor whose compiler tells.
measure_loops() {
    local gpu robust names
    for gpu in "$@"; do
        [[ " ${looped[*]} " == *" $gpu "* ]] || continue
        mapfile -t names < <(python3 scripts/kernel_loops.py names --gpu "$gpu")
        for robust in off on; do
            rm -rf "$root/tmp/loops"
            on "$gpu" kernels --ir /tmp/loops --robust-access "$robust" "${names[@]}" >/dev/null || fail "$gpu: the compiler failed"
            mv "$root/tmp/loops" "$folder/$gpu.$robust"
            python3 scripts/kernel_loops.py record --table "$loops" "$folder/$gpu.$robust"
        done
    done
}

command=${1:-check}
shift || true
case $command in
    gpus) printf '%s\n' "${!shims[@]}" | sort ;;
    on)
        [ $# -ge 2 ] || fail "on GPU ARGS.."
        set_up
        binary
        on "$@"
        ;;
    check | record)
        [ $# -gt 0 ] || set -- "${usual[@]}"
        set_up
        binary
        measure "$@"
        [ "$command" = check ] || measure_loops "$@"
        python3 scripts/kernel_budgets.py "$command" --mesa "$(cat "$root/ready")" --robust "$robust" --budgets "$budgets" \
            --only "${only[*]}" --page docs/kernels.md --loops "$loops" "$folder"/*.jsonl
        ;;
    *) fail "no command named $command; see the head of this file" ;;
esac
