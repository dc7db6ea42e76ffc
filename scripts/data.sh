#!/usr/bin/env bash
# Fetches a data set for `wgvq train --data NAME` and keeps it outside the repository:
#
#   scripts/data.sh fashion-mnist   70,000 images of clothes, 28x28 grey       MIT              31 MB, apt-get
#   scripts/data.sh openclipart     some 7,000 drawings of mixed sizes         public domain   131 MB, apt-get
#   scripts/data.sh photos          two dozen photographs, cut when opened     see copyright-* 141 MB, apt-get
#   scripts/data.sh twemoji         Twitter's emoji, 64x64, with captions      CC-BY 4.0        60 MB, npm
#
# They go to $WGVQ_DATA, else wgvq below $XDG_CACHE_HOME, else ~/.cache/wgvq. What the packages'
# authors publish once and for all is checked against a SHA-256 here; Debian's packages against
# those that apt has from Debian's signed lists.
set -euo pipefail
shopt -s nullglob

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cache=${WGVQ_DATA:-${XDG_CACHE_HOME:-$HOME/.cache}/wgvq}
work=

say() { printf '%s\n' "$*" >&2; }

# Ends the script: what is wrong, then how to mend it.
stop() {
    say "$1"
    shift
    local line
    for line in "$@"; do say "    $line"; done
    exit 1
}

usage() { sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}" >&2; }

need() { # TOOL WHY WAY_OUT..
    local tool=$1 why=$2
    shift 2
    command -v "$tool" >/dev/null 2>&1 || stop "$name needs $tool, $why, and it is not here." "$@"
}

check() { # SHA256 FILE; a file in gzip by what it holds, since who packs it again changes the rest
    local found
    case $2 in
        *-ubyte.gz) found=$(gzip -dc -- "$2" | sha256sum) || stop "${2##*/} is damaged; fetch it again." ;;
        *) found=$(sha256sum -- "$2") ;;
    esac
    [ "${found%% *}" = "$1" ] || stop "${2##*/} is not what was published: its SHA-256 is ${found%% *}" \
        "and should be                                  $1" "Fetch it again; nothing was kept."
}

# Debian's package $1, unpacked below $work; nothing is installed.
debian() {
    need apt-get "the package tool of Debian and Ubuntu" \
        "Run this on such a machine or in a container (docker run -it -v \"\$PWD:/w\" debian), and copy what it puts" \
        "into its cache to $cache/$name."
    need dpkg-deb "which unpacks Debian's packages" "apt-get install dpkg"
    say "Fetching Debian's package $1 ..."
    if ! (cd -- "$work" && apt-get download -q "$1" >log 2>&1); then
        say "apt-get could not fetch $1:"
        grep -E '^(E|Err)' "$work/log" >&2 || cat -- "$work/log" >&2
        stop "Is there a network?" "If apt does not know the package: apt-get update, then this again."
    fi
    local file
    for file in "$work/$1"_*.deb; do
        dpkg-deb -x "$file" "$work/$1" || stop "$file cannot be unpacked; is the disk full?"
        rm -- "$file"
    done
}

fashion_mnist() {
    debian dataset-fashion-mnist
    local sum file
    while read -r sum file; do
        mv -- "$work/dataset-fashion-mnist/usr/share/datasets/fashion-mnist/$file" "$work/set/" ||
            stop "Debian's package has no $file any more."
        check "$sum" "$work/set/$file"
    done <<'SUMS'
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888  train-images-idx3-ubyte.gz
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9  train-labels-idx1-ubyte.gz
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b  t10k-images-idx3-ubyte.gz
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34  t10k-labels-idx1-ubyte.gz
SUMS
}

openclipart() {
    debian openclipart-png
    mv -- "$work"/openclipart-png/usr/share/openclipart/png/* "$work/set/"
    cp -- "$work/openclipart-png/usr/share/doc/openclipart-png/copyright" "$work/set/copyright"
}

photos() {
    local package file picture images
    for package in mate-backgrounds plasma-workspace-wallpapers; do
        debian "$package"
        cp -- "$work/$package/usr/share/doc/$package/copyright" "$work/set/copyright-$package"
    done
    # These folders also hold drawings; the photographs were picked by eye.
    for file in "$work"/mate-backgrounds/usr/share/backgrounds/mate/nature/*.jpg; do
        mv -- "$file" "$work/set/"
    done
    for picture in BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite OneStandsOut Path \
        summer_1am; do
        # The largest of its sizes; the others are links. Another release may lack the picture.
        file=$(find "$work/plasma-workspace-wallpapers/usr/share/wallpapers/$picture/contents/images" -name '*.jpg' \
            -type f 2>>"$work/log" | sort -V | tail -n 1)
        if [ -n "$file" ]; then mv -- "$file" "$work/set/$picture.jpg"; fi
    done
    images=("$work"/set/*.jpg)
    [ ${#images[@]} -ge 10 ] || stop "These releases of Debian's packages hold only ${#images[@]} of the photographs."
}

twemoji() {
    need npm "which fetches JavaScript packages" "It comes with Node.js: https://nodejs.org, or apt-get install npm"
    say "Fetching the npm package emoji-datasource-twitter 16.0.0 ..."
    if ! (cd -- "$work" && npm pack --silent emoji-datasource-twitter@16.0.0 >log 2>&1); then
        cat -- "$work/log" >&2
        stop "npm could not fetch the package. Is there a network?"
    fi
    check f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877 "$work/emoji-datasource-twitter-16.0.0.tgz"
    tar -xzf "$work/emoji-datasource-twitter-16.0.0.tgz" -C "$work" package/img/twitter/64
    # Names, categories and captions are those of the same release's table in assets/. What follows
    # the `@` marks the variants of one picture.
    local code picture category group caption last='' base='' file
    while IFS=$'\t' read -r code picture category _ group caption; do
        if [ "$group" != "$last" ]; then last=$group base=$picture; fi
        file=$work/package/img/twitter/64/${code,,}.png
        [ -f "$file" ] || continue
        [ "$picture" = "$base" ] || picture=$base@${picture#"$base"-}
        mkdir -p -- "$work/set/$category"
        mv -- "$file" "$work/set/$category/$picture.png"
        printf '%s\n' "$caption" >"$work/set/$category/$picture.txt"
    done < <(sed 1d "$here/../assets/emoji32.tsv")
    printf '%s\n' "Twemoji, copyright Twitter, Inc. and other contributors, CC-BY 4.0:" \
        "https://creativecommons.org/licenses/by/4.0/" >"$work/set/copyright"
}

if [ $# -ne 1 ]; then usage; exit 2; fi
name=$1
case $name in
    fashion-mnist | openclipart | photos | twemoji) ;;
    -h | --help) usage; exit 0 ;;
    emoji) say "emoji is part of the program; there is nothing to fetch."; exit 0 ;;
    *) usage; say "Unknown data set: $name"; exit 2 ;;
esac

place=$cache/$name
if [ -d "$place" ]; then
    say "$name is here already: $place (remove it to fetch it again)"
    exit 0
fi
need gzip "which unpacks" "It is in every distribution as gzip."
need sha256sum "which checks what is fetched" "It is part of GNU coreutils."
mkdir -p -- "$cache" || stop "$cache cannot be made." "Set WGVQ_DATA to a folder that can."
# Made beside its place and renamed at the end: what has the name is whole.
work=$(mktemp -d -- "$cache/.fetch-XXXXXX") || stop "$cache cannot be written to." "Set WGVQ_DATA to a folder that can."
trap 'rm -rf -- "$work"' EXIT
mkdir -- "$work/set"
"${name//-/_}"
mv -T -- "$work/set" "$place"
say "$name is in $place: wgvq train --data $name"
