#!/usr/bin/env bash
# Writes the files of a new operation, with one that works in them (the softplus) to be changed into
# what it should be:
#
#   scripts/new_op.sh FAMILY NAME       e.g.  scripts/new_op.sh elementwise softplus
#
# FAMILY is a folder of src/ops, NAME is in small letters, digits and underscores. docs/add-an-op.md
# goes through what it writes. WGVQ_ROOT=DIR writes into another copy of the tree.
set -euo pipefail

stop() {
    printf '%s\n' "$@" >&2
    exit 1
}

templates=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/new_op" && pwd)
cd -- "${WGVQ_ROOT:-$templates/../..}"

[ $# = 2 ] || stop "usage: scripts/new_op.sh FAMILY NAME"
family=$1 name=$2
families=$(cd src/ops && printf '%s\n' */mod.rs | sed 's|/mod.rs||' | paste -sd ' ' -)
case " $families " in
*" $family "*) ;;
*) stop "no family is called \`$family\`; there are $families" ;;
esac
[[ $name =~ ^[a-z][a-z0-9_]*[a-z0-9]$ ]] || stop "\`$name\`: a name has small letters, digits and underscores, as in code_average"
keywords=" as async await box break const continue crate dyn else enum extern false final fn for gen if impl in let loop match mod move mut \
override priv pub ref return self static struct super trait true try type typeof unsafe unsized use virtual where while yield "
case $keywords in *" $name "*) stop "\`$name\` is a word of Rust's" ;; esac

folder=src/ops/$family/$name
shader=shaders/$family/$name
registry=src/registry.rs
gradients=tests/ops.rs
type=$(printf '%s' "$name" | awk -F_ '{ for (i = 1; i <= NF; i++) printf "%s%s", toupper(substr($i, 1, 1)), substr($i, 2) }')

for path in "$folder" "$shader.wgsl" "${shader}_grad.wgsl"; do
    [ ! -e "$path" ] || stop "$path is there already; choose another name"
done
if grep -rqE "pub mod $name;" src/ops/*/mod.rs || grep -rqE "fn $name\([[:space:]]*(&self|$)" src/ops src/autograd; then
    stop "an operation or a method of the tape is called \`$name\` already; choose another name"
fi

# Writes a line into a sorted list of such lines: put FILE PATTERN LINE. PATTERN is of the list's
# lines; what sorts them is the last word of each.
put() {
    PATTERN=$2 LINE=$3 awk '
        function key(line) { gsub(/[^a-z0-9_ ]/, " ", line); n = split(line, words, " "); return words[n - skip] }
        BEGIN { pattern = ENVIRON["PATTERN"]; line = ENVIRON["LINE"]; skip = (line ~ /^ *&/) ? 1 : 0; wanted = key(tolower(line)) }
        {
            if ($0 ~ pattern) {
                seen = 1
                if (!done && key(tolower($0)) > wanted) { print line; done = 1 }
            } else if (seen && !done) { print line; done = 1 }
            print
        }
        END { if (seen && !done) { print line; done = 1 } exit !done }' "$1" >"$1.new" || {
        rm -f "$1.new"
        stop "$1: there is no list of lines like \`$3\`"
    }
    cat "$1.new" >"$1"
    rm "$1.new"
}

write() {
    sed -e "s/softplus/$name/g" -e "s/Softplus/$type/g" -e "s/elementwise\//$family\//g" "$templates/$1" >"$2"
}

mkdir -p "$folder" "shaders/$family"
write forward.wgsl "$shader.wgsl"
write grad.wgsl "${shader}_grad.wgsl"
for file in mod.rs spec.rs reference.rs; do write "$file" "$folder/$file"; done
put "src/ops/$family/mod.rs" '^pub mod [a-z0-9_]+;$' "pub mod $name;"
put "$registry" '^        &[a-z]+::[a-z0-9_]+::[A-Za-z0-9]+,$' "        &$family::$name::$type,"
put "$gradients" '^    "[a-z0-9_]+",$' "    \"$name\","

cat <<END
$shader.wgsl, ${shader}_grad.wgsl    the kernels
$folder/mod.rs         the host side, and the rule on the tape
$folder/reference.rs   the same in plain loops
$folder/spec.rs        shapes, tolerances, cost, errors
src/ops/$family/mod.rs, $registry, $gradients    a line each

docs/add-an-op.md says what each holds. To check it:  cargo test --test ops $name  &&  cargo test --test it shaders::
END
