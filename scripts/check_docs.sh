#!/usr/bin/env bash
# Checks the words: spelling everywhere (typos), links and lists of pages in Markdown, and the
# library's documentation, in which a warning is an error. Two minutes at most, after the
# dependencies were built.
#
# typos is the one on the PATH, or is installed from PyPI into target/tools; Python is installed
# where there is none.
#
#   WGVQ_INSTALL=no    install nothing: use what is there, and fail where something is missing
#   WGVQ_TOOLS         where typos goes, instead of target/tools
set -euo pipefail

# shellcheck source=scripts/setup.sh
WGVQ_NO_VULKAN=1 . "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

# A version, since a newer dictionary finds other mistakes.
typos=1.52.0
tools=${WGVQ_TOOLS:-$root/target/tools}

may_install() { [ "${WGVQ_INSTALL:-yes}" != no ]; }

# Python 3, with what makes a virtual environment where the distribution has that apart.
need_python() {
    if have python3; then return 0; fi
    local manager command
    manager=$(package_manager) || stop "There is no Python here. Install Python 3."
    case $manager in
        pacman) command=$(install_command pacman python) ;;
        apt) command=$(install_command apt python3 python3-venv) ;;
        *) command=$(install_command "$manager" python3) ;;
    esac
    install_by_system "$command"
}

# Runs a command of a package manager as root, or says what it is.
install_by_system() {
    local as_root=() words
    if ! may_install || ! find_root; then stop "Something is missing here. Install it, as root, with:" "$1"; fi
    read -ra words <<<"$1"
    local run=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive)
    "${run[@]}" "${words[@]}" </dev/null >&2 || {
        have apt-get && "${run[@]}" apt-get update </dev/null >&2 && "${run[@]}" "${words[@]}" </dev/null >&2
    } || stop "That failed (see above). When it is mended, run:" "$1"
}

# A virtual environment with pip in it. Debian's Python has neither, where python3-venv is not
# installed.
make_environment() {
    if python3 -m venv "$tools/python" >/dev/null 2>&1; then return 0; fi
    rm -rf -- "$tools/python"
    # One without pip of its own, which the pip of the system installs into.
    if python3 -m pip --version >/dev/null 2>&1; then return 1; fi
    if [ "$(package_manager || true)" = apt ]; then
        install_by_system "$(install_command apt python3-venv)"
        python3 -m venv "$tools/python" >&2
        return 0
    fi
    stop "Python has no pip here, and none can be made. Install pip, or typos itself:" \
        "cargo install typos-cli --locked --version $typos"
}

# The path of typos, in `speller`.
find_typos() {
    speller=$tools/python/bin/typos
    if have typos && [ "$(typos --version)" = "typos-cli $typos" ]; then speller=typos; return 0; fi
    if [ -x "$speller" ] && [ "$("$speller" --version)" = "typos-cli $typos" ]; then return 0; fi
    if ! may_install; then
        if have typos; then speller=typos; return 0; fi
        stop "typos is not installed, and WGVQ_INSTALL=no. Install it with:" "pip install typos==$typos"
    fi
    say "Installing typos $typos from PyPI into target/tools."
    if make_environment; then
        "$tools/python/bin/python" -m pip install --quiet --disable-pip-version-check "typos==$typos" >&2
    else
        speller=$tools/typos/bin/typos
        python3 -m pip install --quiet --disable-pip-version-check --upgrade --target "$tools/typos" "typos==$typos" >&2
    fi
}

step() {
    local started=$SECONDS
    "$@"
    printf '== %s: %d s\n' "$1" $((SECONDS - started))
}

spelling() { "$speller"; }
links() { python3 scripts/check_links.py; }
# The library as docs.rs makes it.
documentation() { RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" cargo doc --quiet --workspace --lib --no-deps; }

need_python
find_typos
step spelling
step links
step documentation
