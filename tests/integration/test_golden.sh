#!/usr/bin/env bash
# The recorded results of tests/golden, with the narrowest kernels and with the widest.
set -u
cd "$(dirname "$0")/../.." || exit 1
runner=$PARAMD_BUILD/golden-runner
if [ ! -x "$runner" ]; then
    echo "$runner is not built: make golden builds and runs it"
    exit 77
fi
number=0 failed=0
for width in sse2 avx2 avx512; do
    number=$((number + 1))
    if text=$(PARAMD_KERNELS=$width "$runner" tests/golden); then
        echo "ok $number - golden results with at most $width: ${text##*$'\n'}"
    else
        echo "not ok $number - golden results with at most $width"
        grep -v '^skip' <<<"$text"
        failed=1
    fi
done
exit $failed
