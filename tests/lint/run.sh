#!/usr/bin/env bash
# What a machine can judge of CONTRIBUTING.md. Reads BUILD, CC and CPPFLAGS; called by `make lint`.
set -u
export LC_ALL=C
cd "$(dirname "$0")/../.." || exit 2
build=${BUILD:-build}
found=$(mktemp)
trap 'rm -f "$found"' EXIT
mapfile -t sources < <(find common server worker tests -name '*.[ch]' 2>/dev/null | sort)
mapfile -t headers < <(find common server worker tests -name '*.h' 2>/dev/null | sort)

# Layers, system headers, banned calls, comments.
awk -f tests/lint/source.awk tests/lint/layers.txt tests/lint/headers.txt "${sources[@]}" >>"$found" || exit 2

# Every header compiles alone, with the warnings of the build.
compile_alone() {
    local text
    # shellcheck disable=SC2086
    text=$($CC $CPPFLAGS -std=c11 -Wall -Wextra -Werror -fsyntax-only -x c - <<<"#include \"$1\"" 2>&1) ||
        echo "$1:1: does not compile alone: $(grep -m1 -E 'error|fatal' <<<"$text")"
}
export -f compile_alone
export CC=${CC:-cc} CPPFLAGS="${CPPFLAGS:--I. -I$build/gen -D_GNU_SOURCE}"
printf '%s\n' "${headers[@]}" | xargs -r -P 2 -I{} bash -c 'compile_alone {}' >>"$found"

# The format.
tests/lint/format.sh --check "${sources[@]}" >>"$found"
[ $? -ne 2 ] || exit 2

# Scripts parse.
while read -r script; do
    bash -n "$script" 2>>"$found" || echo "$script:1: does not parse" >>"$found"
done < <(find .ci deploy tests -type f \( -name '*.sh' -o -perm -u+x \) -exec grep -lE '^#!.*(ba)?sh' {} + 2>/dev/null)

# A fuzz target names files that exist.
for target in tests/fuzz/fuzz_*.c; do
    [ -f "$target" ] || continue
    decoders=$(sed -n 's|.*decoder: *\([^*]*\).*|\1|p' "$target")
    [ -n "$decoders" ] || echo "$target:1: says no '/* decoder: FILE */'" >>"$found"
    for decoder in $decoders; do
        [ -f "$decoder" ] || echo "$target:1: decoder $decoder does not exist" >>"$found"
    done
done

# The library gives away its own names only.
if [ -f "$build/libparamd.so" ]; then
    { nm -D --defined-only "$build/libparamd.so"; nm -g --defined-only "$build/libparamd.a"; } |
        awk 'NF == 3 && $3 !~ /^(ps|nn)_/ { print "libparamd:1: exports " $3 }' | sort -u >>"$found"
fi

# The simulator runs the objects of the programs: every one of them, from the place where the programs take
# them, and no second definition from elsewhere.
if [ -d tests/sim ]; then
    map=$build/sim.map
    [ -f "$map" ] || echo "tests/sim:1: $map is missing, make lint builds it" >>"$found"
    # A path in the map may be long: only what is loaded counts.
    awk -v root="$build/obj/" '$1 == "LOAD" && index($2, root) == 1 { print substr($2, length(root) + 1) }' \
        "$map" 2>/dev/null | sort -u >"$found.loaded"
    find server worker/client common -name '*.c' ! -path server/main.c | sed 's/c$/o/' | sort |
        comm -23 - "$found.loaded" | sed 's|^|tests/sim:1: the simulator is not linked with |' >>"$found"
    awk -v root="$build/" '$1 == "LOAD" && $2 ~ /\.o$/ && $2 !~ /crt|^\/usr/ && index($2, root) != 1 {
        print "tests/sim:1: the simulator is linked with " $2 ", not from " root }' "$map" 2>/dev/null >>"$found"
    rm -f "$found.loaded"
fi

grep '^warning: ' "$found"
errors=$(grep -vc '^warning: ' "$found")
grep -v '^warning: ' "$found"
printf 'lint: %d files, %d complaints\n' "${#sources[@]}" "$errors"
[ "$errors" -eq 0 ]
