#!/usr/bin/env bash
# deploy/launch: the environment of a worker, exit codes, restarts, and that nothing is left behind.
# shellcheck source=tests/integration/tap.sh
. tests/integration/tap.sh
launch=$root/deploy/launch

# launched OPTIONS...: starts a launcher beside us, with SIGINT as a terminal would leave it; its pid is `launcher`.
launched() {
    env --default-signal=INT "$launch" "$@" >"$work/out" 2>"$work/err" </dev/null &
    launcher=$!
    started+=("$launcher")
}

lines_in() { [ -f "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; }
is_gone() { ! kill -0 "$1" 2>/dev/null; }
# No process has the mark in its environment any more. Other users' processes cannot be read, and are not ours.
none_marked() { ! grep -lqza "^$1\$" /proc/[0-9]*/environ 2>/dev/null; }

# ---- wrong use ----

run "$launch" --help
[ $code = 0 ] && printed 'usage: launch' && [ ! -s "$work/err" ]
report '--help goes to stdout'
run "$launch" --version
[ $code = 0 ] && printed 'paramd'
report '--version'
run "$launch" --serverz 3 -- true
[ $code = 2 ] && said "'--serverz': did you mean --servers?"
report 'a misspelt option'
run "$launch" --checkpoint x -- true
[ $code = 2 ] && said "unknown option '--checkpoint'"
report 'an option that is not built is unknown'
run "$launch" -s 0 -- true
[ $code = 2 ] && said "--servers '0': a number from 1 to 240"
report 'a number out of range'
run "$launch" -s
[ $code = 2 ] && said '--servers needs a value'
report 'a value that is missing'
run "$launch" -s 2 -n 4
[ $code = 2 ] && said 'no COMMAND'
report 'no command'
run "$launch" --env 3x=1 -- true
[ $code = 2 ] && said "--env '3x=1'"
report 'no name for a variable'
run "$launch" --print-address "$work/none/address" -- true
[ $code = 2 ] && said "--print-address '$work/none/address'"
report 'an address that cannot be written down'
run "$launch" -- no-such-program-here
[ $code = 2 ] && said "'no-such-program-here'" && [ ! -e "$XDG_RUNTIME_DIR/paramd-$EUID" ]
report 'a command that is not there starts nothing'
PARAMD_BIN=$work run "$launch" -- true
[ $code = 2 ] && said 'paramd is not there'
report 'no paramd'
run "$launch" -s 2 -n 2 --dry-run --port 7070 -- echo 'two words'
[ $code = 0 ] && printed '--listen 127.0.0.1:7070' && printed "PARAMD_RANK=1" && printed "echo 'two words'" &&
    [ "$(wc -l <"$work/out")" = 4 ] && [ ! -e "$XDG_RUNTIME_DIR/paramd-$EUID" ]
report '--dry-run prints what would run, and runs nothing'
mkdir -m 777 "$work/open"
chmod 777 "$work/open"
mkdir "$work/open/paramd-$EUID"
XDG_RUNTIME_DIR=$work/open run "$launch" -- true
[ $code = 2 ] && said 'mode 0700'
report 'a folder that others can look into is refused'

# ---- what a worker gets ----

run "$launch" -s 2 -n 3 --job named --env 'A=two words' --env OMP_NUM_THREADS=3 -- \
    sh -c 'env; stat -c "mode %a" "$PARAMD_TOKEN_FILE"; wc -c <"$PARAMD_TOKEN_FILE"'
[ $code = 0 ] && for want in PARAMD_COORDINATOR=127.0.0.1: PARAMD_JOB=named PARAMD_RANK=2 PARAMD_WORKERS=3 \
    PARAMD_SERVERS=2 DMLC_ROLE=worker DMLC_PS_ROOT_URI=127.0.0.1 DMLC_PS_ROOT_PORT= DMLC_NUM_WORKER=3 \
    DMLC_NUM_SERVER=2 DMLC_WORKER_ID=2 DMLC_RANK=2 DMLC_NODE_HOST=127.0.0.1 OPENBLAS_NUM_THREADS=1 \
    'A=two words' OMP_NUM_THREADS=3 'mode 600' 64; do
    printed "worker-2 | $want" || break
done
report 'its place in the environment, and a token that only its owner can read'
printed 'server-1 | paramd' && ! grep -v '^\(worker\|server\)-[0-9] | ' "$work/out"
report 'every line says whose it is'
OPENBLAS_NUM_THREADS=2 run "$launch" --transport unix -- sh -c 'echo $PARAMD_COORDINATOR $OPENBLAS_NUM_THREADS ${DMLC_PS_ROOT_URI-none}'
[ $code = 0 ] && grep -q 'worker-0 | unix:/.*/server-0.sock 2 none' "$work/out"
report 'Unix sockets; a number of threads that was set stays'
[ -z "$(ls -d "$XDG_RUNTIME_DIR/paramd-$EUID"/*.* 2>/dev/null)" ] && [ -f "$XDG_RUNTIME_DIR/paramd-$EUID/last" ]
report 'token and sockets are removed at the end'
run "$launch" -n 2 --print-address "$work/the address" -- true
[ $code = 0 ] && grep -q '^127.0.0.1:[0-9]*$' "$work/the address"
report '--print-address'

# ---- lines ----

run "$launch" -n 4 --log-dir "$work/log files" -- sh -c 'i=0
    while [ $i -lt 300 ]; do echo "$PARAMD_RANK begin $i ................................... end"; i=$((i + 1)); done
    printf "no newline at the end" >&2'
[ $code = 0 ] && [ "$(grep -c '^worker-\([0-3]\) | \1 begin [0-9]* \.* end$' "$work/out")" = 1200 ] &&
    [ "$(grep -c '^worker-[0-3] | no newline at the end$' "$work/err")" = 4 ]
report 'lines of several workers do not mix'
[ "$(wc -l <"$work/log files/worker-3.out")" = 300 ] && [ "$(cat "$work/log files/worker-3.err")" = 'no newline at the end' ] &&
    grep -q '^3 begin 299' "$work/log files/worker-3.out" && [ -s "$work/log files/server-0.out" ]
report '--log-dir has them without marks'
run "$launch" -n 2 -- sh -c 'head -c 100000 /dev/zero | tr "\0" x; echo'
[ $code = 0 ] && [ "$(sed -n 's/^worker-1 | //p' "$work/out" | tr -d '\n' | wc -c)" = 100000 ] && ! grep -v '^\(worker\|server\)-' "$work/out"
report 'a line too long for one write becomes several, none of it lost'

# ---- exit codes and restarts ----

run "$launch" -n 3 -- sh -c '[ $PARAMD_RANK = 1 ] && exit 3; exec sleep 100'
[ $code = 3 ] && said 'worker 1 ended with exit code 3'
report 'a worker that fails ends the others, and its exit code is the launcher'\''s'
run "$launch" -n 2 -- sh -c '[ $PARAMD_RANK = 1 ] && kill -KILL $$; exec sleep 100'
[ $code = 137 ] && said 'worker 1 was killed by SIGKILL'
report 'a worker killed by a signal'
run "$launch" -n 2 --max-restarts 2 -- sh -c '
    [ $PARAMD_RANK = 0 ] && exit 0
    echo started >>"'"$work"'/starts"
    [ "$(wc -l <"'"$work"'/starts")" = 3 ] || kill -SEGV $$
    echo third time'
[ $code = 0 ] && printed 'worker-1 | third time' && said 'worker 1 was killed by SIGSEGV; it is started again (1 of 2)' &&
    said 'started again (2 of 2)'
report 'it is started again, and says so'
run "$launch" --max-restarts 1 -- sh -c 'kill -KILL $$'
[ $code = 137 ] && said 'after 1 restart'
report 'not more often than allowed'
run "$launch" --max-restarts 3 -- sh -c 'echo here; exit 5'
[ $code = 5 ] && [ "$(grep -c here "$work/out")" = 1 ]
report 'an exit code is no reason to start again'
run "$launch" -s 2 --join-timeout 300ms -- sleep 100
[ $code = 3 ] && said 'waiting for 1 of 1 worker' && said 'launch: server'
report 'a cluster that does not form in time'

# A port that somebody has: the first launcher's.
launched --print-address "$work/address" --join-timeout 100 -- sh -c 'echo up >"'"$work"'/up"; exec sleep 100'
if eventually 20 lines_in "$work/up" 1; then
    read -r address <"$work/address"
    run "$launch" --port "${address##*:}" -- true
    [ $code = 2 ] && said 'in use' && said 'server 0 ended with exit code 2'
    report 'a port in use'
else
    false
    report 'a port in use (the first launcher did not start)'
fi
kill -TERM "$launcher"
wait "$launcher"

# ---- servers ----

# A worker that knows whose death is meant: it ends the second server, by the pid in the server's mark.
kill_server() {
    cat <<SH
for environ in /proc/[0-9]*/environ; do
    pid=\${environ#/proc/} pid=\${pid%/environ}
    tr '\\0' ' ' <"/proc/\$pid/cmdline" 2>/dev/null | grep -q -- "paramd --listen .*$1" || continue
    tr '\\0' ' ' <"/proc/\$pid/cmdline" | grep -qF -- "\$PARAMD_TOKEN_FILE" && kill -KILL \$pid
done
exec sleep 100
SH
}
kill_server '--coordinator' >"$work/kill-second"
run "$launch" -s 2 -n 1 -- sh "$work/kill-second"
[ $code = 137 ] && said 'server 1 was killed by SIGKILL' && said "launch -s 2 -n 1 -- sh $work/kill-second"
report 'a dead server: which one, and how to start again'
kill_server '--servers' >"$work/kill-first"
run "$launch" -s 2 -n 1 -- sh "$work/kill-first"
[ $code = 137 ] && said 'server 0 was killed by SIGKILL' && said 'it was the coordinator too'
report 'the first server dies'
launched --keep --job kept -- sh -c 'echo worked'
eventually 20 grep -qs 'the workers have ended' "$work/err" && kill -0 "$launcher" &&
    kill -INT "$launcher" && { wait "$launcher"; [ $? = 130 ]; }
report '--keep leaves the servers until Ctrl-C'

# ---- with workers that train ----

linear=$build/examples/linear
run "$launch" -s 3 -n 2 -- "$linear"
[ $code = 0 ] && grep -q '^worker-0 | y = [12]\.[09]' "$work/out"
report 'the example of the library learns a line'
# Rank 1 is killed once, in mid-training; the values must be those of an undisturbed run.
cp "$work/out" "$work/undisturbed"
run "$launch" -s 2 -n 2 --max-restarts 1 -- sh -c '
    if [ $PARAMD_RANK = 1 ] && mkdir "'"$work"'/killed" 2>/dev/null; then
        "'"$linear"'" & pid=$!
        "'"$build"'/paramctl" wait --step 30 >/dev/null
        kill -KILL $pid $$
    fi
    exec "'"$linear"'"'
[ $code = 0 ] && said 'worker 1 was killed by SIGKILL; it is started again (1 of 1)' &&
    [ "$(grep '| y =' "$work/out")" = "$(grep '| y =' "$work/undisturbed")" ]
report 'a worker killed in mid-training goes on, and the result is the same'
{
    printf '"%s/paramctl" wait --step 20 >/dev/null\n' "$build"
    cat "$work/kill-second"
} >"$work/kill-later"
run "$launch" -s 2 -n 2 -- sh -c '
    if [ $PARAMD_RANK = 0 ]; then sh "'"$work"'/kill-later" & fi
    exec "'"$build"'/paramd-worker" --model deploy/data/digits-8x8/model.json --header no --optimizer adam \
        --train deploy/data/digits-8x8/digits.csv.gz --loss sparse_categorical_crossentropy --epochs 100000'
[ $code = 137 ] && said 'server 1 was killed by SIGKILL' && grep -qE 'the last committed step is [0-9]{2,}$' "$work/err"
report 'a server killed in mid-training: the last committed step is told'

# ---- nothing is left ----

# Every worker has a child, and both are deaf to what can be ignored.
deaf='trap "" INT TERM HUP; sleep 100 & echo up >>"'$work'/deaf"; sleep 100'
for signal in INT:130 TERM:143; do
    : >"$work/deaf"
    launched -s 2 -n 2 --env "MARK=$work.$signal" -- sh -c "$deaf"
    eventually 20 lines_in "$work/deaf" 2
    began=${EPOCHREALTIME/./}
    kill -"${signal%:*}" "$launcher"
    wait "$launcher"
    code=$?
    took=$((${EPOCHREALTIME/./} - began))
    [ $code = "${signal#*:}" ] && [ $took -lt 2500000 ] && none_marked "MARK=$work.$signal"
    report "SIG${signal%:*} ends everything ($((took / 1000)) ms), exit code ${signal#*:}"
done
: >"$work/deaf"
launched -s 2 -n 2 --env "MARK=$work.KILL" -- sh -c "$deaf"
eventually 20 lines_in "$work/deaf" 2
children=$(ps -o pid= --ppid "$launcher")
kill -KILL "$launcher"
wait "$launcher" 2>/dev/null
eventually 10 none_marked "MARK=$work.KILL"
report 'a launcher that is killed takes workers, servers and their children along'
left=''
for pid in $children; do eventually 5 is_gone "$pid" || left="$left $pid"; done
[ -z "$left" ]
report "and its own helpers${left:+:$left are left}"
eventually 5 test -z "$(find "$XDG_RUNTIME_DIR/paramd-$EUID" -name token)"
report 'and the token'
run "$launch" -n 2 --env "MARK=$work.left" -- sh -c 'sleep 100 & echo done'
[ $code = 0 ] && none_marked "MARK=$work.left"
report 'what a worker left behind is ended with it'
launched --env "MARK=$work.two" -- sh -c 'echo up >"'"$work"'/two"; exec sleep 100'
eventually 20 lines_in "$work/two" 1
run "$launch" -- sh -c 'exit 7'
[ $code = 7 ] && kill -0 "$launcher" && ! none_marked "MARK=$work.two"
report 'another launcher of the same user is left alone'
kill -TERM "$launcher"
wait "$launcher"

# ---- another user ----

if [ "$EUID" = 0 ] && setpriv --reuid 65534 --regid 65534 --clear-groups test -r "$launch" -a -x "$build/paramd"; then
    mkdir -m 700 "$work/nobody"
    chmod 711 "$work"
    chown 65534:65534 "$work/nobody"
    XDG_RUNTIME_DIR=$work/nobody run setpriv --reuid 65534 --regid 65534 --clear-groups "$launch" -s 2 -n 2 -- sh -c 'id -u'
    [ $code = 0 ] && printed 'worker-1 | 65534'
    report 'as a user without rights'
else
    skip 'as a user without rights' 'needs root, and a build that others can read'
fi
finish
