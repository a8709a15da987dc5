#!/usr/bin/env bash
# Runs test programs and counts their cases.
#   run.sh SUITE PROGRAM... SUITE PROGRAM...      a word without a slash starts a suite
# A program that speaks TAP (cmocka's do here) counts case by case. Any other counts as one case:
# exit code 0 passed, 77 skipped (its last line says why), anything else failed.
# TEST_WRAPPER is put in front of every program; TEST_SECONDS bounds each one.
set -u
export CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}
seconds=${TEST_SECONDS:-150}
output=$(mktemp -d "${TMPDIR:-/tmp}/paramd-tests.XXXXXX")
trap 'rm -rf "$output"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

total_passed=0 total_failed=0 total_skipped=0
suite='' suite_passed=0 suite_failed=0 suite_skipped=0

end_suite() {
    [ -n "$suite" ] || return 0
    printf '%s: %d passed, %d failed, %d skipped\n' "$suite" $suite_passed $suite_failed $suite_skipped
    total_passed=$((total_passed + suite_passed))
    total_failed=$((total_failed + suite_failed))
    total_skipped=$((total_skipped + suite_skipped))
    suite_passed=0 suite_failed=0 suite_skipped=0
}

run_program() {
    local program=$1 name code passed failed skipped began=$SECONDS
    name=${program#"${PARAMD_BUILD:-}"/}
    name=${name##*tests/}
    # shellcheck disable=SC2086
    timeout -k 10 "$seconds" ${TEST_WRAPPER:-} "$program" >"$output/text" 2>&1 </dev/null
    code=$?
    passed=$(grep -c '^ok ' "$output/text")
    failed=$(grep -c '^not ok ' "$output/text")
    skipped=$(grep -ciE '^(not )?ok .*# *skip' "$output/text")
    passed=$((passed - $(grep -ciE '^ok .*# *skip' "$output/text")))
    failed=$((failed - $(grep -ciE '^not ok .*# *skip' "$output/text")))
    if [ $((passed + failed + skipped)) -eq 0 ]; then
        case $code in
        0) passed=1 ;;
        77) skipped=1 ;;
        *) failed=1 ;;
        esac
    elif [ $code -ne 0 ] && [ $failed -eq 0 ]; then
        failed=1 # it ended badly after its cases: a crash, a leak, a sanitizer's report
    fi
    printf '  %-52s %3d passed' "$name" "$passed"
    [ $skipped -eq 0 ] || printf ', %d skipped' "$skipped"
    [ $failed -eq 0 ] || printf ', %d FAILED' "$failed"
    [ $((SECONDS - began)) -lt 5 ] || printf ' (%d s)' $((SECONDS - began))
    printf '\n'
    if [ $failed -ne 0 ]; then
        [ $code -ne 124 ] || echo "    stopped after $seconds s"
        echo "    $program ended with code $code:"
        grep -v '^ok ' "$output/text" | tail -n 60 | sed 's/^/    | /'
    elif [ $skipped -ne 0 ]; then
        { grep -iE '# *skip' "$output/text" || tail -n 1 "$output/text"; } | sed 's/^/    skipped: /'
    fi
    suite_passed=$((suite_passed + passed))
    suite_failed=$((suite_failed + failed))
    suite_skipped=$((suite_skipped + skipped))
}

for word in "$@"; do
    case $word in
    */*) run_program "$word" ;;
    *)
        end_suite
        suite=$word
        ;;
    esac
done
end_suite
printf '%d passed, %d failed, %d skipped\n' $total_passed $total_failed $total_skipped
[ $total_failed -eq 0 ]
