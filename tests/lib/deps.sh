#!/usr/bin/env bash
# Installs the Debian packages named, those that are missing; says nothing when none is.
set -eu
missing=()
if command -v dpkg-query >/dev/null; then
    for package in "$@"; do
        state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || missing+=("$package")
    done
fi
if ! command -v apt-get >/dev/null; then
    # Another system: enough if what the build asks for is there.
    if command -v cc >/dev/null && command -v protoc-c >/dev/null && command -v pkg-config >/dev/null &&
        pkg-config --exists libuv libprotobuf-c jansson zlib libxxhash libcrypto openblas cmocka; then
        exit 0
    fi
    echo "deps: no apt-get here, and something is missing. Needed, by their names in Debian 12:" >&2
    printf '  %s\n' "$@" >&2
    exit 2
fi
[ ${#missing[@]} -gt 0 ] || exit 0

run=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: missing ${missing[*]}; as root: apt-get install ${missing[*]}" >&2
        exit 2
    fi
    run=(sudo)
fi
echo "deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${run[@]}" apt-get update -qq && "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    echo "deps: apt-get could not install ${missing[*]}" >&2
    exit 1
fi
