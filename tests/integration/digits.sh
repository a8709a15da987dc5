# For the tests of the stock worker: the bundled digits and a cluster by hand. Read after tap.sh.
worker=$build/paramd-worker
data=$root/deploy/data
digits_model=$data/digits-8x8/model.json

# Every fifth row is for testing: 1,438 examples to train on, 359 to test.
zcat "$data/digits-8x8/digits.csv.gz" | awk 'NR % 5 != 0' >"$work/train.csv"
zcat "$data/digits-8x8/digits.csv.gz" | awk 'NR % 5 == 0' >"$work/test.csv"
head -n 203 "$work/train.csv" >"$work/short.csv"

digits=(--model "$digits_model" --train "$work/train.csv" --loss sparse_categorical_crossentropy --optimizer adam)

# test_metric NAME: its value in the line "test ..." of the file out; into REPLY.
test_metric() {
    REPLY=$(sed -n "s/^test .*$1=\([0-9.e+-]*\).*/\1/p" "$work/out")
}

at_least() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && a >= b) }'; }

# One message on stderr, and nothing else but what a start says.
one_message() {
    [ "$(grep -cv -e '^paramd-worker [0-9.]*: ' -e '^paramd-worker [0-9.]*, pid [0-9]*: waiting for ' "$work/err")" = 1 ]
}

# cluster SERVERS WORKERS [OPTIONS of the first server]: its address in `address`, its servers' pids in `servers`.
# With TRANSPORT=unix over Unix sockets.
cluster_count=0
cluster() {
    local server_count=$1 worker_count=$2 i file
    shift 2
    cluster_count=$((cluster_count + 1))
    servers=()
    for ((i = 0; i < server_count; i++)); do
        file=$work/cluster-$cluster_count-$i
        local listen=127.0.0.1:0
        [ "${TRANSPORT:-tcp}" = unix ] && listen=unix:$file.sock
        if ((i == 0)); then
            "$build/paramd" --listen "$listen" --address-file "$file.address" --servers "$server_count" \
                --workers "$worker_count" "$@" >"$file.out" 2>"$file.err" </dev/null &
        else
            "$build/paramd" --listen "$listen" --coordinator "$address" >"$file.out" 2>"$file.err" </dev/null &
        fi
        servers+=($!)
        started+=($!)
        if ((i == 0)); then
            eventually 10 test -s "$file.address" || return 1
            address=$(cat "$file.address")
        fi
    done
}

# rank NUMBER ARGUMENTS...: starts a worker beside us; output into out-NUMBER and err-NUMBER, its pid in worker_pid[NUMBER].
worker_pid=()
rank() {
    local number=$1
    shift
    rm -f "$work/out-$number" "$work/err-$number" # who waits for a line in them means this process
    PARAMD_RANK=$number env --default-signal=INT "$worker" --coordinator "$address" "$@" \
        >"$work/out-$number" 2>"$work/err-$number" </dev/null &
    worker_pid[number]=$!
    started+=($!)
}

# The exit code of a rank, which is to end within a minute, in `code`; its output becomes that of `run`.
ended() {
    eventually 60 eval "! kill -0 ${worker_pid[$1]} 2>/dev/null" || { code=late; return; }
    wait "${worker_pid[$1]}"
    code=$?
    cp "$work/out-$1" "$work/out"
    cp "$work/err-$1" "$work/err"
}

# run_cluster SERVERS WORKERS ARGUMENTS...: a whole training; `code` and output are rank 0's, unless another one failed.
run_cluster() {
    local worker_count=$2 i failed=0
    cluster "$1" "$2" || { code=no-cluster; return; }
    shift 2
    for ((i = 0; i < worker_count; i++)); do rank "$i" "$@"; done
    for ((i = worker_count - 1; i >= 0; i--)); do
        ended "$i"
        [ "$code" = 0 ] || failed=$code
    done
    [ "$failed" = 0 ] || code=$failed
    stop_cluster
}

# Ends the servers; how each one ended is added to the file server-ends: 0 or 143 in order, 4 after a job that was given up.
stop_cluster() {
    local pid status
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${servers[@]}"; do
        eventually 20 eval "! kill -0 $pid 2>/dev/null" || kill -s KILL "$pid"
        wait "$pid" 2>/dev/null
        status=$?
        echo "$status" >>"$work/server-ends"
    done
    servers=()
}
