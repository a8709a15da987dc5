#!/usr/bin/env bash
# The stock worker on a cluster: the same training on any number of ranks, restarts, lost peers, disagreement.
# shellcheck source=tests/integration/tap.sh
. tests/integration/tap.sh
# shellcheck source=tests/integration/digits.sh
. tests/integration/digits.sh

# same_losses FILE FILE: two histories agree in their losses to 1e-4.
same_losses() {
    paste -d, "$1" "$2" | awk -F, '
        NR > 1 { rows++; difference = $3 - $(3 + NF / 2); if (difference < 0) difference = -difference }
        difference > 1e-4 * (1 + $3) { bad = 1 }
        END { exit bad || rows == 0 }'
}

# Whichever of two ranks came second is refused, and the other one gives it up: `refused` and `code` are of the first.
one_is_refused() {
    ended 1
    refused=1
    if [ "$code" != 1 ]; then
        ended 0
        refused=0
    fi
}

run_cluster 2 2 "${digits[@]}" --test "$work/test.csv" --scale standard --learning-rate 0.005 --epochs 30 --save "$work/w22.st"
test_metric accuracy
[ "$code" = 0 ] && at_least "$REPLY" 0.96
report "2 servers and 2 workers learn the digits (accuracy $REPLY)"
[ "$(grep -c '^Epoch ' "$work/out-0")" = 30 ] && [ ! -s "$work/out-1" ] &&
    grep -q ': 2 workers, 2 servers, 1 thread, BLAS ' "$work/err-0"
report 'only rank 0 prints'

# ---- the same steps whatever the number of ranks ----

short=("${digits[@]:0:2}" --train "$work/short.csv" --loss sparse_categorical_crossentropy --optimizer adam
    --scale standard --epochs 4 --test "$work/test.csv" --validation-split 0.1 --history "$work/history.csv")
run "$worker" "${short[@]}" --save "$work/alone.st"
cp "$work/history.csv" "$work/alone.csv"
alone_line=$(tail -n 1 "$work/out")
run_cluster 1 1 "${short[@]}" --save "$work/one.st"
[ "$code" = 0 ] && cmp -s "$work/alone.st" "$work/one.st" && cmp -s "$work/alone.csv" "$work/history.csv" &&
    [ "$(tail -n 1 "$work/out-0")" = "$alone_line" ]
report 'one worker on one server: the same file, history and test line as alone'
run_cluster 3 3 "${short[@]}"
[ "$code" = 0 ] && same_losses "$work/alone.csv" "$work/history.csv"
report '3 workers: the same losses as alone'
run "$worker" "${short[@]}" --batch-size 3
cp "$work/history.csv" "$work/alone.csv"
run_cluster 2 5 "${short[@]}" --batch-size 3
[ "$code" = 0 ] && same_losses "$work/alone.csv" "$work/history.csv"
report 'more workers than a batch has examples'
head -n 3 "$work/train.csv" >"$work/tiny.csv"
tiny=("${digits[@]:0:2}" --train "$work/tiny.csv" --loss sparse_categorical_crossentropy --optimizer adam
    --epochs 3 --history "$work/history.csv" --test "$work/tiny.csv")
run "$worker" "${tiny[@]}"
cp "$work/history.csv" "$work/alone.csv"
run_cluster 2 4 "${tiny[@]}"
[ "$code" = 0 ] && same_losses "$work/alone.csv" "$work/history.csv"
report 'more workers than there are examples'
run "$worker" "${short[@]}" --weights "$work/w22.st" --save "$work/alone.st"
run_cluster 2 1 "${short[@]}" --weights "$work/w22.st" --save "$work/one.st"
[ "$code" = 0 ] && cmp -s "$work/alone.st" "$work/one.st"
report 'given weights: the same file as alone'
TRANSPORT=unix run_cluster 2 2 "${short[@]}" --weights "$work/w22.st"
[ "$code" = 0 ]
report 'given weights with 2 workers, over Unix sockets'

# ---- a worker that is killed and started again ----

long=("${digits[@]}" --scale standard --epochs 40 --validation-split 0.2 --test "$work/test.csv")
run_cluster 2 2 "${long[@]}" --history "$work/whole.csv" --save "$work/whole.st"
whole_line=$(tail -n 1 "$work/out-0")
for victim in 1 0; do
    cluster 2 2
    rank 0 "${long[@]}" --history "$work/history.csv" --save "$work/again.st"
    rank 1 "${long[@]}"
    eventually 30 grep -qs 'Epoch 5/' "$work/out-0"
    kill -s STOP "${worker_pid[0]}" "${worker_pid[1]}"
    kill -s KILL "${worker_pid[victim]}"
    wait "${worker_pid[victim]}" 2>/dev/null
    kill -s CONT "${worker_pid[1 - victim]}"
    if [ $victim = 0 ]; then
        rank 0 "${long[@]}" --history "$work/history.csv" --save "$work/again.st"
    else
        rank 1 "${long[@]}"
    fi
    ended 1
    other=$code
    ended 0
    [ "$code" = 0 ] && [ "$other" = 0 ] && [ "$(tail -n 1 "$work/out-0")" = "$whole_line" ] &&
        cmp -s "$work/whole.st" "$work/again.st" && cmp -s "$work/whole.csv" "$work/history.csv"
    report "rank $victim killed in mid-training and started again: the same bytes, history and test"
    stop_cluster
done

# ---- when it cannot go on ----

endless=("${digits[@]}" --scale standard --epochs 1000000)

cluster 2 2 --restart-timeout 500ms
rank 0 "${endless[@]}"
rank 1 "${endless[@]}"
eventually 30 grep -qs 'Epoch 3/' "$work/out-0"
kill -s KILL "${worker_pid[1]}"
ended 0
[ "$code" = 4 ] && one_message && said 'worker 1'
report 'a worker that is lost for good: exit code 4'
stop_cluster

cluster 2 1 --dead-timeout 1s
rank 0 "${endless[@]}"
eventually 30 grep -qs 'Epoch 3/' "$work/out-0"
kill -s KILL "${servers[1]}"
wait "${servers[1]}" 2>/dev/null
unset 'servers[1]'
ended 0
[ "$code" = 4 ] && one_message && said 'server 1'
report 'a server that is lost: exit code 4'
stop_cluster

cluster 1 2
rank 0 "${endless[@]}"
rank 1 "${endless[@]}"
eventually 30 grep -qs 'Epoch 3/' "$work/out-0"
older=${worker_pid[1]}
rank 1 "${endless[@]}"
newer=${worker_pid[1]}
worker_pid[1]=$older
eventually 30 eval "! kill -0 $older 2>/dev/null"
wait "$older"
[ $? = 5 ]
report 'a newer holder of the rank: the older one ends with exit code 5'
kill -s INT "$newer" "${worker_pid[0]}"
worker_pid[1]=$newer
ended 0
[ "$code" = 130 ] && said 'interrupted'
report 'Ctrl-C on a cluster: exit code 130'
stop_cluster

cluster 1 2
rank 0 "${endless[@]}"
rank_is_present() { "$build/paramctl" -a "$address" status 2>/dev/null | grep -q 'present.*paramd-worker'; }
eventually 10 rank_is_present
kill -s INT "${worker_pid[0]}"
ended 0
[ "$code" = 130 ] && one_message && said 'interrupted'
report 'Ctrl-C while it waits for another rank: exit code 130'
stop_cluster

cluster 1 2 --restart-timeout 500ms
rank 0 "${endless[@]}"
rank 1 "${endless[@]}" --optimizer sgd
one_is_refused
[ "$code" = 1 ] && one_message && said "'sgd'" && said "'adam'"
report 'ranks that disagree about the optimizer'
ended $((1 - refused))
[ "$code" = 4 ] && one_message && said "worker $refused"
report 'the rank that was left alone says who is missing'
stop_cluster

cluster 1 2 --restart-timeout 500ms
rank 0 "${endless[@]}"
sed 's/"units": 64/"units": 63/' "$digits_model" >"$work/other.json"
rank 1 "${endless[@]}" --model "$work/other.json"
one_is_refused
[ "$code" = 1 ] && one_message && said 'dense/kernel' && said '63' && said '64'
report 'ranks that disagree about the model'
stop_cluster

cluster 1 2 --join-timeout 500ms
rank 0 "${digits[@]}"
ended 0
[ "$code" = 3 ] && one_message && said 'worker'
report 'a worker that never comes: exit code 3'
stop_cluster

ends=$(sort -n "$work/server-ends" | uniq | tr '\n' ' ')
! grep -qvxE '0|143|3|4' "$work/server-ends"
report "every server ended in order (exit codes $ends)"

finish
