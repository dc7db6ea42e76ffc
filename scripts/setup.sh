# shellcheck shell=bash
# What demo.sh, test.sh and others share; sourced, not run. Sees that there is a Rust toolchain, a C
# linker and a Vulkan driver, installs Mesa's software driver where there is no driver at all, and
# says what to do where it may not.
#
#   WGVQ_INSTALL=no      never install anything: only say what is missing
#   VK_DRIVER_FILES      the Vulkan loader's own list of driver manifests, honoured here (also VK_ICD_FILENAMES and
#                        VK_ADD_DRIVER_FILES)
#   WGVQ_VULKAN_DIRS     folders to look for driver manifests in, colon-separated, instead of the system's
#   WGVQ_NO_VULKAN       leave the driver out: the caller computes nothing
#   WGVQ_LIBRARY_DIRS    folders to look for libvulkan in, colon-separated, instead of the system's

say() { printf '%s\n' "$*" >&2; }

# Ends the script: what is missing, then how to get it.
stop() {
    say "$1"
    shift
    local line
    for line in "$@"; do say "    $line"; done
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The package manager of this machine: apt, dnf, pacman or apk; nothing where it is none of these.
package_manager() {
    local pair
    for pair in apt-get:apt dnf:dnf pacman:pacman apk:apk; do
        if have "${pair%%:*}"; then
            printf '%s\n' "${pair##*:}"
            return 0
        fi
    done
    return 1
}

# The command that installs packages $2.. with manager $1, as one would type it.
install_command() {
    local manager=$1
    shift
    case $manager in
        apt) printf 'apt-get install -y --no-install-recommends %s\n' "$*" ;;
        dnf) printf 'dnf install -y %s\n' "$*" ;;
        pacman) printf 'pacman -S --needed --noconfirm %s\n' "$*" ;;
        apk) printf 'apk add %s\n' "$*" ;;
    esac
}

# ---------------------------------------------------------------------------------------- toolchain

# cargo on the PATH; one that rustup put in its usual place is found even where no profile was read.
need_cargo() {
    local home=${CARGO_HOME:-${HOME:-/root}/.cargo}
    if ! have cargo && [ -x "$home/bin/cargo" ]; then PATH="$home/bin:$PATH"; export PATH; fi
    if ! have cargo; then
        stop "There is no Rust toolchain (cargo) here. Get it from https://rustup.rs:" \
            "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" \
            "then open a new shell, or run: . \"\$HOME/.cargo/env\""
    fi
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' "$root/Cargo.toml")
    found=$(cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9][0-9.]*\).*/\1/p')
    if [ -n "$wanted" ] && [ -n "$found" ] &&
        [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        stop "Rust $found is older than the $wanted that this needs. Bring it up to date:" "rustup update stable"
    fi
}

# rustc links through the C compiler driver, `cc`; that it is there says little, so a program is
# linked.
need_linker() {
    case $(uname -s) in MINGW* | MSYS* | CYGWIN*) return 0 ;; esac
    # Whoever named another linker knows what they do.
    if compgen -e | grep '^CARGO_TARGET_.*_LINKER$' >/dev/null || [[ ${RUSTFLAGS:-} == *linker* ]]; then return 0; fi
    local file
    for file in "${CARGO_HOME:-${HOME:-/root}/.cargo}"/config{,.toml} "$root"/.cargo/config{,.toml}; do
        if [ -r "$file" ] && grep -q '^ *linker *=' "$file"; then return 0; fi
    done
    local program works=no
    program=$(mktemp "${TMPDIR:-/tmp}/wgvq-link.XXXXXX")
    if have cc && cc -x c - -o "$program" <<<'int main(void) { return 0; }' 2>/dev/null; then works=yes; fi
    rm -f -- "$program"
    if [ "$works" = yes ]; then return 0; fi
    local how
    case $(uname -s) in
        Darwin) how="xcode-select --install" ;;
        *)
            case $(package_manager || true) in
                apt) how="sudo apt-get install -y gcc libc6-dev" ;;
                dnf) how="sudo dnf install -y gcc glibc-devel" ;;
                pacman) how="sudo pacman -S --needed gcc" ;;
                apk) how="sudo apk add gcc musl-dev" ;;
                *) how="install gcc or clang, with the C library's headers, by your system's package manager" ;;
            esac
            ;;
    esac
    stop "There is no working C linker (cc) here, which Rust needs to make programs. Get one with:" "$how"
}

# ------------------------------------------------------------------------------------------- Vulkan

# Folders in which the Vulkan loader looks for driver manifests, one a line.
manifest_folders() {
    if [ -n "${WGVQ_VULKAN_DIRS+set}" ]; then
        printf '%s\n' "$WGVQ_VULKAN_DIRS" | tr ':' '\n'
        return 0
    fi
    local base
    while IFS= read -r base; do
        if [ -n "$base" ]; then printf '%s\n' "$base/vulkan/icd.d"; fi
    done < <(printf '%s\n' "${XDG_CONFIG_HOME:-${HOME:-/root}/.config}" /etc/xdg /usr/local/etc /etc \
        "${XDG_DATA_HOME:-${HOME:-/root}/.local/share}" /usr/local/share /usr/share)
    printf '%s\n' "${XDG_CONFIG_DIRS:-}:${XDG_DATA_DIRS:-}" | tr ':' '\n' | sed -n 's|^\(/.*\)$|\1/vulkan/icd.d|p'
    # The graphics drivers of NixOS.
    printf '%s\n' /run/opengl-driver/share/vulkan/icd.d
}

# The manifests themselves, one a line.
manifests() {
    local only=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}} entry file
    while IFS= read -r entry; do
        if [ -z "$entry" ]; then continue; fi
        if [ -d "$entry" ]; then
            for file in "$entry"/*.json; do
                if [ -r "$file" ]; then printf '%s\n' "$file"; fi
            done
        elif [ -r "$entry" ]; then
            printf '%s\n' "$entry"
        fi
    done < <(
        if [ -n "$only" ]; then printf '%s\n' "$only" | tr ':' '\n'; else
            printf '%s\n' "${VK_ADD_DRIVER_FILES:-}" | tr ':' '\n'
            manifest_folders
        fi
    )
}

# Whether a driver can make a device here. Mesa installs the manifests of every GPU it knows, so
# that one for a GPU counts only where the kernel shows a GPU; the software driver always does.
have_driver() {
    local file
    while IFS= read -r file; do
        case ${file##*/} in
            *lvp* | *lavapipe* | *swiftshader* | *vk_swift*) return 0 ;;
            *) if have_gpu; then return 0; fi ;;
        esac
    done < <(manifests)
    return 1
}

have_gpu() {
    local node
    for node in /dev/dri/renderD* /dev/nvidia[0-9]* /dev/nvidiactl /dev/dxg /dev/mali* /dev/kgsl-3d0; do
        if [ -e "$node" ]; then return 0; fi
    done
    return 1
}

# Whether the Vulkan loader is installed: the linker's cache knows it, or it lies in a usual folder.
have_loader() {
    local folder
    if [ -z "${WGVQ_LIBRARY_DIRS+set}" ]; then
        # /sbin is not on everyone's PATH. (No `grep -q` behind a pipe: it closes the pipe early,
        # which counts as a failure.)
        if [[ $(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null || true) == *libvulkan.so.1* ]]; then return 0; fi
    fi
    while IFS= read -r folder; do
        if [ -n "$folder" ] && [ -e "$folder/libvulkan.so.1" ]; then return 0; fi
    done < <(
        if [ -n "${WGVQ_LIBRARY_DIRS+set}" ]; then printf '%s\n' "$WGVQ_LIBRARY_DIRS" | tr ':' '\n'; else
            printf '%s\n' "${LD_LIBRARY_PATH:-}" | tr ':' '\n'
            printf '%s\n' /usr/lib /usr/lib64 /lib /lib64 /usr/local/lib /usr/lib/*-linux-gnu*
        fi
    )
    return 1
}

# How to run a command as root, into the array `as_root`; false where that would need a password and
# nobody can type one.
find_root() {
    as_root=()
    if [ "$(id -u)" = 0 ]; then return 0; fi
    if ! have sudo; then return 1; fi
    if sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    elif [ -t 0 ] && [ -t 2 ]; then
        as_root=(sudo)
    else
        return 1
    fi
}

# Installs the loader and Mesa's software driver, or says what to install and ends.
install_driver() {
    local manager packages command
    manager=$(package_manager) || stop "There is no Vulkan driver here, and no package manager that this script knows. Install:" \
        "the Vulkan loader (libvulkan.so.1) and Mesa's software driver (lavapipe)"
    case $manager in
        apt) packages=(mesa-vulkan-drivers libvulkan1) ;;
        dnf) packages=(mesa-vulkan-drivers vulkan-loader) ;;
        pacman) packages=(vulkan-swrast vulkan-icd-loader) ;;
        apk) packages=(mesa-vulkan-swrast vulkan-loader) ;;
    esac
    command=$(install_command "$manager" "${packages[@]}")
    if [ "${WGVQ_INSTALL:-yes}" = no ]; then
        stop "There is no Vulkan driver here, and WGVQ_INSTALL=no. Install Mesa's software driver with:" "sudo $command"
    fi
    local as_root=()
    if ! find_root; then
        stop "There is no Vulkan driver here, and no right to install one. Ask for, or run as root:" "$command"
    fi
    say "There is no Vulkan driver here: installing Mesa's software driver (${packages[*]})."
    export DEBIAN_FRONTEND=noninteractive
    local words
    read -ra words <<<"$command"
    # With sudo the variable would be dropped; env carries it across.
    local run=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive)
    if [ "$manager" = apt ]; then
        # The lists may be missing or old, as in a fresh container; with them at hand the network is
        # not asked again.
        "${run[@]}" "${words[@]}" </dev/null >&2 || {
            "${run[@]}" apt-get update </dev/null >&2 && "${run[@]}" "${words[@]}" </dev/null >&2
        } || install_failed "apt-get update && $command"
    else
        "${run[@]}" "${words[@]}" </dev/null >&2 || install_failed "$command"
    fi
    if ! have_vulkan; then
        stop "The packages ${packages[*]} are installed, and still there is no usable Vulkan driver." \
            "manifests found: $(manifests | tr '\n' ' ')" \
            "see what the loader says: VK_LOADER_DEBUG=all cargo run --release -- info"
    fi
}

install_failed() {
    stop "Installing Mesa's software driver failed (see above). When that is mended, run:" "$1"
}

have_vulkan() { have_loader && have_driver; }

# macOS has Metal and Windows has DX12 without any set-up.
need_vulkan() {
    case $(uname -s) in
        Linux) if ! have_vulkan; then install_driver; fi ;;
        Darwin | MINGW* | MSYS* | CYGWIN*) ;;
        *) if ! have_vulkan; then say "No Vulkan driver was found; going on, in case there is one elsewhere."; fi ;;
    esac
}

# Mesa complains on stderr where this is not set, as in a container or a service.
need_runtime_dir() {
    if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
        XDG_RUNTIME_DIR=$(mktemp -d "${TMPDIR:-/tmp}/wgvq-runtime.XXXXXX")
        export XDG_RUNTIME_DIR
        made_runtime_dir=$XDG_RUNTIME_DIR
        trap clean_up EXIT
    fi
}

# Where cargo builds, as a whole path: also of a script's subfolders, and after it went elsewhere.
absolute_target() {
    local target=${CARGO_TARGET_DIR:-target}
    case $target in /*) ;; *) target=$root/$target ;; esac
    export CARGO_TARGET_DIR=$target
}

# Removes what was made for the script's time. One with a trap of its own calls it there.
clean_up() {
    if [ -n "${made_runtime_dir:-}" ]; then rm -rf -- "$made_runtime_dir"; fi
}

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd -- "$root" || exit 1
need_cargo
need_linker
# What checks documents alone computes nothing.
if [ -z "${WGVQ_NO_VULKAN:-}" ]; then need_vulkan; fi
need_runtime_dir
