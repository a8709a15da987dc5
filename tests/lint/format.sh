#!/usr/bin/env bash
# format.sh FILE...            rewrites each file in the project's format
# format.sh --check FILE...    names the files that are not in it, with the first difference; 1 if any
set -u
here=$(dirname "$0")
check=no
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
case ${1:-} in
-*)
    echo "format: unknown option $1; only --check" >&2
    exit 2
    ;;
esac
if ! command -v clang-format >/dev/null; then
    echo "format: clang-format is missing; make deps-dev installs it" >&2
    exit 2
fi
formatted=$(mktemp)
trap 'rm -f "$formatted"' EXIT
wrong=0
for file in "$@"; do
    if [ ! -f "$file" ]; then
        echo "format: no file $file" >&2
        exit 2
    fi
    awk -f "$here/comments.awk" "$file" | clang-format --assume-filename="$file" >"$formatted" || exit 2
    cmp -s "$formatted" "$file" && continue
    if [ $check = yes ]; then
        line=$(cmp "$formatted" "$file" | sed 's/.*line //')
        echo "$file:$line: not in the project's format; make format mends it"
        wrong=1
    else
        cat "$formatted" >"$file"
    fi
done
exit $wrong
