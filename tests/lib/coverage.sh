#!/usr/bin/env bash
# Line coverage, with a floor.
#   coverage.sh fuzz FOLDER FUZZ_FOLDER NAME...   each target over its corpus and a short run: 80 % of its decoders
#   coverage.sh sim FOLDER SEEDS                  80 seeds or fewer: 90 % of the decisions that the simulator is for
set -u
export LC_ALL=C OPENBLAS_NUM_THREADS=1
kind=$1
folder=$2
shift 2

# Prints "lines covered percent" of the files named, from the profile written by the program.
measure() {
    local program=$1 profile=$2
    shift 2
    llvm-profdata merge -o "$profile.data" "$profile" || return 1
    llvm-cov report "$program" -instr-profile="$profile.data" "$@" >"$profile.report" || return 1
    # Columns 8 and 9 of a file's row are its lines and those that never ran.
    awk '$8 ~ /^[0-9]+$/ && $1 != "TOTAL" { lines += $8; missed += $9 }
        END { printf "%d %d %.1f\n", lines, lines - missed, lines ? 100 * (lines - missed) / lines : 0 }' \
        "$profile.report"
}

judge() { # name floor "lines covered percent"
    local lines covered percent
    read -r lines covered percent <<<"$3"
    if [ "${lines:-0}" -gt 0 ] && awk -v p="$percent" -v f="$2" 'BEGIN { exit !(p >= f) }'; then
        printf '  %-28s ok     %5s %% of %d lines (at least %d %%)\n' "$1" "$percent" "$lines" "$2"
    else
        printf '  %-28s FAILED %5s %% of %d lines (at least %d %%)\n' "$1" "${percent:-0}" "${lines:-0}" "$2"
        return 1
    fi
}

fuzz_coverage() {
    local fuzz_folder=$1 failed=0 name corpora decoders options
    shift
    for name in "$@"; do
        mkdir -p "$folder/corpus/$name"
        corpora=("$folder/corpus/$name")
        for seeds in "$fuzz_folder/corpus/$name" "tests/fuzz/corpus/$name"; do
            [ ! -d "$seeds" ] || corpora+=("$seeds")
        done
        decoders=$(sed -n 's|.*decoder: *\([^*]*\).*|\1|p' "tests/fuzz/fuzz_$name.c")
        options=$(sed -n 's|.*options: *\([^*]*\).*|\1|p' "tests/fuzz/fuzz_$name.c")
        rm -f "$folder/$name.profile"
        # shellcheck disable=SC2086
        LLVM_PROFILE_FILE=$folder/$name.profile "$folder/fuzz_$name" -max_total_time=10 $options "${corpora[@]}" \
            >"$folder/$name.log" 2>&1 </dev/null || { tail -n 30 "$folder/$name.log"; failed=1; }
        # shellcheck disable=SC2086
        judge "$name" 80 "$(measure "$folder/fuzz_$name" "$folder/$name.profile" $decoders)" || failed=1
        awk '$8 ~ /^[0-9]+$/ && $1 != "TOTAL" { printf "      %-48s %s of %d lines\n", $1, $10, $8 }' \
            "$folder/$name.profile.report" 2>/dev/null
    done
    return $failed
}

sim_coverage() {
    local seeds=$1 failed=0 part files
    [ "$seeds" -le 80 ] || seeds=80
    rm -f "$folder"/sim*.profile
    LLVM_PROFILE_FILE=$folder/sim.profile "$folder/sim" --seeds "$seeds" >"$folder/sim.log" 2>&1 </dev/null || {
        tail -n 30 "$folder/sim.log"
        failed=1
    }
    for part in server/consistency server/cluster; do
        # cluster_io turns decisions into I/O; the simulator has its own in its place.
        files=$(find $part -name '*.c' ! -name 'cluster_io*.c' 2>/dev/null)
        if [ -z "$files" ]; then
            printf '  %-28s FAILED there are no sources\n' "$part"
            failed=1
            continue
        fi
        # shellcheck disable=SC2086
        judge "$part" 90 "$(measure "$folder/sim" "$folder/sim.profile" $files)" || failed=1
        awk '$8 ~ /^[0-9]+$/ && $1 != "TOTAL" { printf "      %-48s %s of %d lines\n", $1, $10, $8 }' \
            "$folder/sim.profile.report" 2>/dev/null
    done
    return $failed
}

if [ "$kind" = fuzz ]; then
    fuzz_coverage "$@"
else
    sim_coverage "$@"
fi
