#!/usr/bin/env bash
# Packs a program that was built into an archive for a release, under the name that `cargo binstall`
# looks for: the program, man pages, completions for shells, the licences, and the engine of `wgvq
# export --page` where scripts/web.sh has built it.
#
#   scripts/archive.sh PROGRAM TARGET FOLDER
#
#   scripts/archive.sh target/release/wgvq x86_64-unknown-linux-gnu dist     # dist/wgvq-x86_64-unknown-linux-gnu-v0.1.0.tgz
#
# Prints the archive's path. It is a .tgz; a .zip for Windows, made by 7z.
set -euo pipefail

if [ $# != 3 ]; then
    sed -n 's/^# \{0,1\}//p' "$0" | sed -n '2,$p' >&2
    exit 2
fi
program=$1 target=$2 folder=$3
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
name=wgvq-$target-v$version

made=$(mktemp -d "${TMPDIR:-/tmp}/wgvq-archive.XXXXXX")
trap 'rm -rf -- "$made"' EXIT
mkdir -p "$made/$name/completions" "$folder"
cp -- "$program" "$made/$name/"
cp -- "$root"/{README.md,CHANGELOG.md,LICENSE-MIT,LICENSE-APACHE} "$root/assets/LICENSE-noto-emoji.txt" \
    "$root/assets/fonts/LICENSE-DejaVu.txt" "$made/$name/"
"$program" generate man "$made/$name/man" --quiet
for shell in bash zsh fish powershell elvish; do
    "$program" completions "$shell" >"$made/$name/completions/wgvq.$shell"
done

engine=$root/target/web/page
if [ -s "$engine/wgvq_web_bg.wasm" ] && [ -s "$engine/wgvq_web.js" ]; then
    mkdir -p "$made/$name/share/wgvq/page"
    cp -- "$engine/wgvq_web_bg.wasm" "$engine/wgvq_web.js" "$made/$name/share/wgvq/page/"
else
    echo "without the engine of pages: scripts/web.sh builds it" >&2
fi

folder=$(cd -- "$folder" && pwd)
case $target in
    *windows*)
        archive=$folder/$name.zip
        rm -f -- "$archive"
        (cd -- "$made" && 7z a -bd "$archive" "$name" >/dev/null)
        ;;
    *)
        archive=$folder/$name.tgz
        tar -C "$made" -czf "$archive" "$name"
        ;;
esac
printf '%s\n' "$archive"
