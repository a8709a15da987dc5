#!/usr/bin/env bash
# fuzz.sh FOLDER NAME...    runs FOLDER/fuzz_NAME, SECONDS_EACH long or RUNS inputs, each in 256 MiB
# What a run finds new is kept in FOLDER/corpus/NAME; seeds are also read from tests/fuzz/corpus/NAME.
# An input that breaks a target is left in FOLDER/found/.
set -u
folder=$1
shift
# The allocator's quarantine would count into the memory bound.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:quarantine_size_mb=8:malloc_context_size=8}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export OPENBLAS_NUM_THREADS=1
if [ -n "${RUNS:-}" ]; then
    bound="-runs=$RUNS"
else
    bound="-max_total_time=${SECONDS_EACH:-25}"
fi

passed=0 failed=0
mkdir -p "$folder/found"
for name in "$@"; do
    corpus=$folder/corpus/$name
    mkdir -p "$corpus"
    seeds=()
    [ ! -d "tests/fuzz/corpus/$name" ] || seeds=("tests/fuzz/corpus/$name")
    options=$(sed -n 's|.*options: *\([^*]*\).*|\1|p' "tests/fuzz/fuzz_$name.c")
    # shellcheck disable=SC2086
    if ${WRAPPER:-} "$folder/fuzz_$name" "$bound" -rss_limit_mb=256 -timeout=20 -print_final_stats=1 \
        -verbosity=1 "-artifact_prefix=$folder/found/$name-" $options "$corpus" "${seeds[@]}" \
        >"$folder/$name.log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        result=ok
    else
        failed=$((failed + 1))
        result=FAILED
    fi
    awk -v name="$name" -v result=$result '
        /stat::number_of_executed_units/ { runs = $2 }
        /stat::peak_rss_mb/ { peak = $2 }
        /cov: [0-9]+/ { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
        END { printf "  %-28s %-6s %10d inputs, %5d edges, peak %3d MiB\n", name, result, runs, edges, peak }
    ' "$folder/$name.log"
    [ $result = ok ] || tail -n 60 "$folder/$name.log" | sed 's/^/    | /'
done
printf 'fuzz: %d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]
