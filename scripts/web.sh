#!/usr/bin/env bash
# Builds the page into target/web/page/, which any static web server can serve: the page's own files
# of assets/page, the pictures and the model of web/, and the engine that `wgvq export --page` takes.
#
#   scripts/web.sh            build
#   scripts/web.sh --check    only say whether it can be built here: exit 0, or 1 and what is missing
#   scripts/web.sh --serve    build, then serve it at http://localhost:8000
#
# The compiler is the first that there is of
#   1. the toolchain that cargo uses, with the target wasm32-unknown-unknown (`rustup target add` is
#   tried where it is missing);
#   2. Debian's: rustc-web, cargo-web, rust-web-src and lld, which build the standard library too.
# wasm-bindgen of exactly the version in web/Cargo.lock is taken from the PATH, or made by `cargo
# install` into target/web/tools (some minutes, once).
#
#   WGVQ_INSTALL=no    install nothing, neither target nor tool: only say what is missing
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
missing() {
    say "The page cannot be built here: $1"
    exit 1
}

mode=${1:-}
case $#:$mode in
    0: | 1:--check | 1:--serve) ;;
    *)
        say "web.sh: no such arguments: $*; there are --check and --serve, one at a time"
        exit 2
        ;;
esac
target=wasm32-unknown-unknown
out=target/web/page
# Beside the other targets, so that a cache of target/ holds it.
export CARGO_TARGET_DIR=$PWD/target/web/build

# ------------------------------------------------------------------------------------- the compiler

has_target() { [ -d "$("$1" --print sysroot 2>/dev/null)/lib/rustlib/$target/lib" ]; }

find_compiler() {
    if have cargo && has_target rustc; then way=installed; return 0; fi
    if have rustup && [ "${WGVQ_INSTALL:-yes}" != no ]; then
        say "Adding the target $target."
        if timeout 300 rustup target add "$target" >&2 && has_target rustc; then way=installed; return 0; fi
    fi
    # Debian's toolchain lies in /usr; where rustup's stands before it on the PATH, it is named in
    # full.
    local lld
    lld=$(compgen -c wasm-ld | sort -u | head -n 1 || true)
    if [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && [ -n "$lld" ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
        way=debian
        linker=$lld
        return 0
    fi
    missing "no compiler for $target. Get one with \`rustup target add $target\`, or on Debian with \`apt-get install rustc-web cargo-web rust-web-src lld\`."
}

build() {
    local arguments=(build --release --manifest-path web/Cargo.toml --target "$target")
    if [ "$way" = debian ]; then
        # What Debian calls stable may build the standard library only when told that it is not.
        RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker \
            /usr/bin/cargo "${arguments[@]}" -Zbuild-std=std,panic_abort
    else
        cargo "${arguments[@]}"
    fi
}

# ------------------------------------------------------------------------------------- wasm-bindgen

find_bindgen() {
    local version
    version=$(sed -n '/^name = "wasm-bindgen"$/{n;s/^version = "\(.*\)"$/\1/p;}' web/Cargo.lock)
    for bindgen in wasm-bindgen target/web/tools/bin/wasm-bindgen; do
        if [ "$("$bindgen" --version 2>/dev/null || true)" = "wasm-bindgen $version" ]; then return 0; fi
    done
    local install="cargo install wasm-bindgen-cli --version $version --no-default-features"
    if [ "${WGVQ_INSTALL:-yes}" = no ]; then missing "no wasm-bindgen $version. Get it with \`$install\`."; fi
    if [ "$mode" = --check ]; then return 0; fi
    say "Building wasm-bindgen $version into target/web/tools (once)."
    local words
    read -ra words <<<"$install"
    # A tool of this machine, with its own compiler, whatever the page is built with.
    CARGO_TARGET_DIR=target/web/build "${words[@]}" --root target/web/tools >&2 ||
        missing "\`$install\` failed (see above)."
}

for file in web/model/model.safetensors web/model/prior.safetensors; do
    [ -s "$file" ] || missing "$file is not there; scripts/web_model.sh trains it."
done
find_compiler
find_bindgen
if [ "$mode" = --check ]; then exit 0; fi

build
mkdir -p -- "$out"
"$bindgen" --target web --no-typescript --remove-name-section --remove-producers-section --out-dir "$out" "$CARGO_TARGET_DIR/$target/release/wgvq_web.wasm"
cp -R -- assets/page/. web/page/. web/model "$out/"
say "The page is in $out: $(du -sh "$out" | cut -f 1), of which the engine $(du -sh "$out/wgvq_web_bg.wasm" | cut -f 1)."
if [ "$mode" = --serve ]; then
    exec python3 -m http.server --directory "$out" 8000
fi
