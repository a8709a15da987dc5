#!/usr/bin/env bash
# paramctl against running clusters: one that has finished its training and is kept, one in mid-training, and none.
# shellcheck source=tests/integration/tap.sh
. tests/integration/tap.sh
ctl=$build/paramctl
launch=$root/deploy/launch
digits=$root/deploy/data/digits-8x8

says_wrong_use() { # NAME WORDS ARGUMENTS...
    local name=$1 words=$2
    shift 2
    run "$ctl" "$@"
    [ $code = 2 ] && said "$words" && [ ! -s "$work/out" ] && [ "$(wc -l <"$work/err")" -le 2 ]
    report "$name"
}

fails() { # NAME WORDS ARGUMENTS...
    local name=$1 words=$2
    shift 2
    run "$ctl" "$@"
    [ $code = 1 ] && said "$words" && [ ! -s "$work/out" ] && [ "$(wc -l <"$work/err")" = 1 ]
    report "$name"
}

# ---- without a cluster ----

run "$ctl" --help
[ $code = 0 ] && printed 'checksum' && printed '--format' && [ ! -s "$work/err" ]
report '--help names options and verbs'
says_wrong_use 'no verb' 'VERB'
says_wrong_use 'a misspelt verb' "'chekcsum': did you mean 'checksum'?" chekcsum
says_wrong_use 'a verb that is not built is unknown' "unknown verb 'checkpoint'" checkpoint
says_wrong_use 'a misspelt option' 'did you mean --json?' status --jsn
says_wrong_use 'an option of another verb' '--format is not for list' list --format npy
says_wrong_use 'an argument that is missing' 'get needs NAME[SLICE]' get
says_wrong_use 'an argument too many' "one argument too many, 'b'" stat a b
says_wrong_use 'wait without a step' 'wait needs --step' wait
says_wrong_use 'no cluster was launched' 'None was launched here' status
says_wrong_use 'a token file that is not there' "'/does/not/exist'" -a 127.0.0.1:1 --token-file /does/not/exist status
says_wrong_use 'no address' 'nonsense' -a nonsense status
fails 'an unreachable coordinator' '127.0.0.1:1: Connection refused' -a 127.0.0.1:1 status

# ---- a cluster that is kept ----

# The first layer is wide enough to have blocks on three servers.
sed 's/"units": 64/"units": 3000/' "$digits/model.json" >"$work/model.json"
worker=("$build/paramd-worker" --model "$work/model.json" --train "$digits/digits.csv.gz" --header no --scale standard
    --loss sparse_categorical_crossentropy --optimizer adam --batch-size 256)

# keep_cluster SERVERS WORKERS WORKER-OPTIONS...: trains and keeps; its address is `address`.
keep_cluster() {
    local servers=$1 workers=$2
    shift 2
    rm -f "$work/address"
    "$launch" -s "$servers" -n "$workers" --keep --print-address "$work/address" -- "${worker[@]}" "$@" \
        >"$work/launch.out" 2>"$work/launch.err" </dev/null &
    launcher=$!
    started+=("$launcher")
    eventually 60 grep -qs 'the workers have ended' "$work/launch.err" && read -r address <"$work/address"
}

end_cluster() {
    kill -TERM "$launcher"
    wait "$launcher"
}

keep_cluster 3 2 --epochs 2 --save "$work/weights.safetensors"
report 'a cluster of 3 servers is trained and kept'
run "$ctl" status
[ $code = 0 ] && printed 'job default: finished, step 16' && printed '225,010 parameters' && printed '4 variables' &&
    printed 'adam' && [ "$(grep -c paramd-worker "$work/out")" = 2 ] && [ "$(grep -c 'present.*127.0.0.1' "$work/out")" = 3 ]
report 'status, of the cluster launched last'
run "$ctl" status --json
[ $code = 0 ] && printed '"step": 16' && printed '"state": "finished"' && [ "$(wc -l <"$work/out")" = 1 ] &&
    ! grep -q '"blocks": 0' "$work/out"
report 'status --json; every server owns blocks'
(cd / && PARAMD_COORDINATOR=$address run "$ctl" list && exit $code)
grep -q '^dense/kernel  *float32  (64, 3000)  *192,000  adam  *momentum, velocity$' "$work/out"
report 'list, by PARAMD_COORDINATOR'
run "$ctl" -a "$address" list --json
[ $code = 0 ] && printed '"shape": [3000, 10]'
report 'list --json'

# data_of FILE: what stands behind the header of a safetensors file.
data_of() { tail -c +$((9 + $(od -An -t u8 -N 8 "$1"))) "$1"; }

run "$ctl" get dense/kernel -o "$work/kernel.npy"
[ $code = 0 ] && [ ! -s "$work/out" ] && said "dense/kernel (64, 3000) of step 16 is in" &&
    head -c 128 "$work/kernel.npy" | grep -qaF "'shape': (64, 3000)" && [ "$(stat -c %s "$work/kernel.npy")" = $((128 + 768000)) ]
report 'get into a .npy'
tail -c 768000 "$work/kernel.npy" >"$work/kernel.bytes"
run "$ctl" get dense/kernel --format safetensors
[ $code = 0 ] && head -c 400 "$work/out" | grep -qaF '"step":"16"' && data_of "$work/out" | cmp -s - "$work/kernel.bytes"
report 'get as safetensors has the same bytes'
# Sorted by name: dense/bias, dense/kernel, ...
data_of "$work/weights.safetensors" | tail -c +12001 | head -c 768000 | cmp -s - "$work/kernel.bytes"
report 'and they are those that the worker saved'
run "$ctl" get dense/kernel
[ $code = 0 ] && [ "$(sed 1d "$work/out" | wc -l)" = 64 ] && [ "$(sed 1d "$work/out" | wc -w)" = 192000 ] &&
    [ "$(head -n 1 "$work/out")" = '# dense/kernel float32 (64, 3000) step 16' ]
report 'get as text: a row a line'
cp "$work/out" "$work/kernel.text"

# same_as TEXT-OF-SLICE ROWS COLUMNS: what get printed is that part of the whole.
same_as() {
    run "$ctl" get "dense/kernel$1"
    [ $code = 0 ] && diff <(sed 1d "$work/out" | tr ' ' '\n') \
        <(sed 1d "$work/kernel.text" | sed -n "$2" | cut -d ' ' -f "$3" | tr ' ' '\n') >/dev/null
    report "get dense/kernel$1"
}
same_as '[20:24]' 21,24p 1-
same_as '[:, 100]' 1,64p 101
same_as '[20:23, -2:]' 21,23p 2999-3000
same_as '[..., 7:9]' 1,64p 8-9
same_as '[21, 2500:2600]' 22p 2501-2600 # the border of two blocks is at 21 * 3000 + 2536
same_as '[-1, -1]' 64p 3000
same_as '[60:1000, 0:1]' 61,64p 1
run "$ctl" get 'dense/kernel[2:2]' --json
[ $code = 0 ] && printed '"shape": [0, 3000]' && printed '"values": []'
report 'get of nothing'
run "$ctl" get 'dense/kernel[0:2, 0:2]' --json
[ $code = 0 ] && grep -qE '"step": 16, "values": \[\[-?[0-9.e-]+, -?[0-9.e-]+\], \[-?[0-9.e-]+, -?[0-9.e-]+\]\]\}$' "$work/out"
report 'get --json nests the rows'
run "$ctl" get dense_1/bias --step 16
[ $code = 0 ] && printed 'step 16'
report 'get --step of the step that is held'
fails 'get --step of another step' 'step 3 is not held; the last committed one, step 16, is' get dense_1/bias --step 3
fails 'an index outside its axis' '64 is outside axis 0, which has length 64' get 'dense/kernel[64]'
fails 'a misspelt variable' "'dense/kernle': did you mean 'dense/kernel'?" get dense/kernle
says_wrong_use 'a slice with a step' 'only steps of 1' get 'dense/kernel[::2]'
says_wrong_use 'more parts than axes' 'than the variable has axes (1)' get 'dense/bias[0, 0]'
says_wrong_use 'a slice that is none' "is wrong at '{]'" get 'dense/kernel[{]'
fails 'a file that cannot be written' "'$work/none/x'" get dense/bias -o "$work/none/x"
mkfifo "$work/pipe"
fails 'a pipe is no file' "'$work/pipe': not a regular file" get dense/bias -o "$work/pipe"
[ -p "$work/pipe" ]
report 'the pipe is still one'
[ -z "$(find "$work" -name '*.tmp')" ]
report 'no half-written file is left'
if [ -w /dev/full ]; then
    timeout 30 "$ctl" get dense/kernel >/dev/full 2>"$work/err"
    [ $? = 1 ] && said 'stdout'
    report 'a full disk'
else
    skip 'a full disk' 'no /dev/full'
fi
run "$ctl" stat dense/kernel
[ $code = 0 ] && printed '192,000 elements, step 16' && printed 'NaN 0  Inf 0' &&
    [ "$(sed -n 's/.* min \([^ ]*\) .*/\1/p' "$work/out" | cut -c 1-8)" = "$(sed 1d "$work/kernel.text" | tr ' ' '\n' | sort -g | head -n 1 | cut -c 1-8)" ]
report 'stat'
run "$ctl" stat 'dense/kernel[0]' --json
[ $code = 0 ] && printed '"count": 3000' && printed '"nan": 0'
report 'stat of a slice, --json'
run "$ctl" wait --step 16
[ $code = 0 ] && [ "$(cat "$work/out")" = 16 ]
report 'wait for a step that is past'
fails 'wait for a step that will not come' 'finished at step 16' wait --step 17
run "$ctl" watch dense/bias --count 1
[ $code = 0 ] && grep -q '^step 16  norm ' "$work/out"
report 'watch --count 1'
echo stranger >"$work/stranger"
chmod 600 "$work/stranger"
fails 'a wrong token' 'token' -a "$address" --token-file "$work/stranger" status
fails 'another job' 'elsewhere' -a "$address" --job elsewhere status
fails 'set after the end' 'set learning-rate' set learning-rate 0.1
run "$ctl" checksum --json
three=$(sed -n 's/.*"digest": "\([0-9a-f]*\)".*/\1/p' "$work/out")
[ $code = 0 ] && printed '"step": 16' && [ ${#three} = 64 ]
report 'checksum'
run "$ctl" checksum --values-only
[ $code = 0 ] && grep -qE '^16 [0-9a-f]{64}$' "$work/out" && ! printed "$three"
report 'checksum without slots is another one'
run "$ctl" shutdown
wait "$launcher"
[ $? = 0 ] && [ $code = 0 ]
report 'shutdown ends the servers, and the launcher with exit code 0'
says_wrong_use 'the last cluster has ended' "job 'default' at $address, has ended" status
keep_cluster 1 2 --epochs 2
run "$ctl" checksum
[ $code = 0 ] && [ "$(cat "$work/out")" = "16 $three" ]
report 'the same digest from one server'
end_cluster

# ---- in mid-training ----

"$launch" -s 2 -n 2 --job live --print-address "$work/live" -- "${worker[@]}" --epochs 100000 \
    >"$work/launch.out" 2>"$work/launch.err" </dev/null &
launcher=$!
started+=("$launcher")
eventually 20 test -s "$work/live"
run "$ctl" wait --step 5
[ $code = 0 ] && [ "$(cat "$work/out")" -ge 5 ]
report 'wait --step, on the cluster launched last'
run "$ctl" watch dense_1/bias --count 3 --interval 20ms
[ $code = 0 ] && [ "$(sed -n 's/^step \([0-9]*\) .*/\1/p' "$work/out" | sort -un | wc -l)" = 3 ]
report 'watch: three new steps'
run "$ctl" set learning-rate 0.0005
from=$(sed -n 's/^learning-rate 0.0005 from step \([0-9]*\)$/\1/p' "$work/out")
[ $code = 0 ] && [ "${from:-0}" -gt 5 ]
report 'set learning-rate says from which step on'
says_wrong_use 'set: a misspelt key' "'learning-rte': did you mean 'learning-rate'?" set learning-rte 1
says_wrong_use 'set: no number' "'fast' is no number" set learning-rate fast
says_wrong_use 'set: a key that is not built is unknown' "unknown key 'staleness'" set staleness 1
for i in 1 2 3; do
    timeout 30 "$ctl" checksum
    timeout 30 "$ctl" get dense/kernel --json | sed -n 's/.*"step": \([0-9]*\), .*/\1 values/p'
done >"$work/out" 2>"$work/err"
[ "$(grep -cE '^[0-9]+ ([0-9a-f]{64}|values)$' "$work/out")" = 6 ] && sort -c -n "$work/out"
report 'checksum and get, one after the other, see ever later steps'
run "$ctl" shutdown
[ $code = 0 ] && { wait "$launcher" || true; } && eventually 10 test -z "$(find "$XDG_RUNTIME_DIR" -name token)"
report 'shutdown in mid-training ends everything'
finish
