# For the tests in bash: TAP lines, a temporary folder, waiting with a bound. Read by test_launch.sh and others.
# PARAMD_BUILD is the folder with the programs; tests run from the root of the sources.
set -u
root=$PWD
build=${PARAMD_BUILD:-$root/build}
export PARAMD_BIN=$build
unset PARAMD_COORDINATOR PARAMD_TOKEN_FILE PARAMD_JOB PARAMD_RANK PARAMD_LOG
work=$(mktemp -d "${TMPDIR:-/tmp}/paramd-test.XXXXXX")
export XDG_RUNTIME_DIR=$work/runtime # the clusters of other tests and of the user are not ours
mkdir -m 700 "$XDG_RUNTIME_DIR"
number=0 failures=0 started=()

# What a test has started goes with it; launch takes its own children along.
clean_up() {
    local pid
    for pid in ${started[@]+"${started[@]}"}; do kill "$pid" 2>/dev/null; done
    for pid in ${started[@]+"${started[@]}"}; do wait "$pid" 2>/dev/null; done
    rm -rf "$work"
}
trap clean_up EXIT

# report NAME: the status of the command before decides. Says what is in the files `out` and `err` if it is bad.
report() {
    local status=$?
    number=$((number + 1))
    if ((status == 0)); then
        echo "ok $number - $1"
        return
    fi
    failures=$((failures + 1))
    echo "not ok $number - $1"
    sed 's/^/# out: /' "$work/out" 2>/dev/null | tail -n 15 | cut -c 1-200
    sed 's/^/# err: /' "$work/err" 2>/dev/null | tail -n 15 | cut -c 1-200
}

skip() {
    number=$((number + 1))
    echo "ok $number - $1 # skip $2"
}

finish() {
    echo "1..$number"
    ((failures == 0))
    exit
}

# run COMMAND...: output into the files out and err, the exit code into `code`.
run() {
    timeout -k 5 60 "$@" >"$work/out" 2>"$work/err" </dev/null
    code=$?
}

# eventually SECONDS COMMAND...: until it succeeds; false if it has not by then.
eventually() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < until)) || return 1
        read -r -t 0.02 <> <(:) || true
    done
}

said() { grep -qF -- "$1" "$work/err"; }     # on stderr
printed() { grep -qF -- "$1" "$work/out"; }  # on stdout
