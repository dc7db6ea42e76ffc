#!/usr/bin/env bash
# Builds and tests the plug-ins, each a workspace of its own: wgvq in egui, and in bevy.
#
#   scripts/plugins.sh              format, lints and tests, without a window, of each plug-in that
#                                   this Rust is new enough for; it says which it passed over
#   scripts/plugins.sh egui         egui's alone
#   scripts/plugins.sh studio       egui's example in a window
#   scripts/plugins.sh bevy         bevy's alone, and its example without a window; where this Rust
#                                   is too old, with the one of a small Debian (unstable)
#
# The Debian is made once in target/sid (SID names another folder), which takes some minutes, 2 GB,
# debootstrap, and root. The pictures that the tests draw are kept in target/plugins/tmp, or
# target/plugins/sid/tmp.
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
absolute_target
host_target=$CARGO_TARGET_DIR
export CARGO_TARGET_DIR=$host_target/plugins
sid=${SID:-$host_target/sid}

# The Rust that a plug-in asks for, where this one is older.
too_old() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' "$root/plugins/$1/Cargo.toml")
    found=$(cargo --version | sed -n 's/^cargo \([0-9][0-9.]*\).*/\1/p')
    [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] || echo "$wanted"
}

# Format, lints, tests of the plug-in in this folder.
check() {
    say "== plugins/$1"
    (
        cd "$root/plugins/$1"
        cargo fmt --check
        cargo clippy --all-targets --locked --no-deps -- -D warnings
        cargo test --locked
    )
}

bevy_example() {
    (cd "$root/plugins/bevy_wgvq" && cargo run --locked --example headless -- "$CARGO_TARGET_DIR/tmp/bevy.png")
}

# A Debian whose Rust is new.
make_sid() {
    [ ! -e "$sid/ready" ] || return 0
    if [ "$(id -u)" != 0 ] || ! have debootstrap; then
        stop "bevy needs Rust $1, and this is $(cargo --version). Either of these brings one:" \
            "rustup update stable" \
            "apt-get install debootstrap    # and as root again: makes a Debian with a newer Rust in $sid" \
            "docker run --rm -v \"\$PWD\":/wgvq -w /wgvq debian:sid sh -c 'apt-get update && apt-get install -y $(sid_packages) && CARGO_TARGET_DIR=target/sid-container scripts/plugins.sh bevy'"
    fi
    say "making a Debian with a newer Rust in $sid"
    local mirror
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -m1 '/debian/\?$' || true)
    rm -rf --one-file-system "$sid"
    mkdir -p "$(dirname -- "$sid")"
    debootstrap --variant=minbase sid "$sid" "${mirror:-http://deb.debian.org/debian}" >"$sid.log" 2>&1 ||
        stop "debootstrap failed; it says why in $sid.log"
    # shellcheck disable=SC2046 # a word for each package
    DEBIAN_FRONTEND=noninteractive chroot "$sid" apt-get install -y -qq --no-install-recommends \
        $(sid_packages) >>"$sid.log" 2>&1 || stop "packages cannot be installed; $sid.log says why"
    chroot "$sid" cargo --version >"$sid/ready"
}

sid_packages() {
    echo rustc cargo rustfmt rust-clippy gcc libc6-dev pkg-config ca-certificates mesa-vulkan-drivers libvulkan1
}

# Runs this script in the Debian, over this folder and the crates that cargo has fetched.
in_sid() {
    local crates=${CARGO_HOME:-${HOME:-/root}/.cargo}
    mkdir -p "$sid/wgvq" "$sid/crates/registry" "$sid/target" "$host_target/plugins/sid" "$crates/registry"
    # Of cargo's folder the crates and the settings, not the programs: those are of the Rust here.
    [ ! -e "$crates/config.toml" ] || cp "$crates/config.toml" "$sid/crates/"
    # Mounts of their own, which end with the program.
    # shellcheck disable=SC2016 # expanded inside
    unshare --mount -- bash -c '
        sid=$0; repository=$1; crates=$2; target=$3; shift 3
        mount --bind /dev "$sid/dev"
        mount -t proc proc "$sid/proc"
        mount --bind "$repository" "$sid/wgvq"
        mount --bind "$crates/registry" "$sid/crates/registry"
        mount --bind "$target" "$sid/target"
        exec chroot "$sid" "$@"' "$sid" "$root" "$crates" "$host_target/plugins/sid" \
        /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp CARGO_HOME=/crates CARGO_TARGET_DIR=/target \
        ${CARGO_BUILD_JOBS:+"CARGO_BUILD_JOBS=$CARGO_BUILD_JOBS"} MESA_SHADER_CACHE_DIR=/target/shaders \
        WGVQ_INSTALL=no SID_INSIDE=yes /wgvq/scripts/plugins.sh "$@"
}

case ${1:-test} in
test)
    for plugin in egui_wgvq bevy_wgvq; do
        wanted=$(too_old $plugin)
        if [ -n "$wanted" ]; then
            say "SKIPPED plugins/$plugin: it needs Rust $wanted, and this is $(cargo --version)." \
                "\`rustup update stable\` brings one; \`scripts/plugins.sh bevy\` uses a Debian's."
        else
            check $plugin
        fi
    done
    ;;
egui) check egui_wgvq ;;
bevy)
    wanted=$(too_old bevy_wgvq)
    if [ -z "$wanted" ]; then
        # Inside of the Debian, the target folder is the one for it.
        [ -z "${SID_INSIDE:-}" ] || export CARGO_TARGET_DIR=$host_target
        check bevy_wgvq
        bevy_example
    elif [ -n "${SID_INSIDE:-}" ]; then
        stop "The Debian in $sid has an older Rust than $wanted; remove that folder, and a newer one is made."
    else
        make_sid "$wanted"
        in_sid bevy
    fi
    ;;
studio)
    shift
    cd plugins/egui_wgvq
    cargo run --release --example studio --features window -- "$@"
    ;;
*)
    echo "usage: scripts/plugins.sh [test | egui | studio [DECODER OR RUN] | bevy]" >&2
    exit 2
    ;;
esac
