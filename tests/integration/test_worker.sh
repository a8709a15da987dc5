#!/usr/bin/env bash
# The stock worker alone: what it learns, writes and prints, and what it says when it is used wrongly.
# shellcheck source=tests/integration/tap.sh
. tests/integration/tap.sh
# shellcheck source=tests/integration/digits.sh
. tests/integration/digits.sh

# ---- training ----

run "$worker" "${digits[@]}" --test "$work/test.csv" --scale standard --learning-rate 0.005 --epochs 30 \
    --save "$work/digits.st"
test_metric accuracy
[ $code = 0 ] && at_least "$REPLY" 0.96
report "the digits are learned (accuracy $REPLY)"
test_line=$(tail -n 1 "$work/out")
[ "$(grep -cxE 'Epoch [0-9]+/30 - accuracy: [0-9.]+ - loss: [0-9.e-]+' "$work/out")" = 30 ] &&
    [[ $test_line =~ ^test\ loss=[0-9.]+\ accuracy=[0-9.]+$ ]] && [ "$(wc -l <"$work/out")" = 31 ]
report 'a line an epoch and one for the test, each with four digits'
[ "$(grep -cxE 'paramd-worker [0-9.]+: alone, 1 thread, BLAS [A-Za-z]+, kernels (sse2|avx2|avx512), 4810 parameters' \
    "$work/err")" = 1 ]
report 'the start says what the bytes depend on'

run "$worker" "${digits[@]}" --scale standard --learning-rate 0.005 --epochs 30 --save "$work/again.st"
[ $code = 0 ] && cmp -s "$work/digits.st" "$work/again.st"
report 'the same seed gives the same file'
PARAMD_KERNELS=sse2 run "$worker" "${digits[@]}" --scale standard --learning-rate 0.005 --epochs 30 --save "$work/again.st"
[ $code = 0 ] && cmp -s "$work/digits.st" "$work/again.st"
report 'the narrowest kernels give the same file'
run "$worker" "${digits[@]}" --scale standard --learning-rate 0.005 --epochs 30 --seed 1 --save "$work/again.st"
[ $code = 0 ] && ! cmp -s "$work/digits.st" "$work/again.st"
report 'another seed gives another file'

run "$worker" "${digits[@]}" --optimizer sgd --epochs 3 --validation-split 0.2 --history "$work/history.csv" \
    --metrics accuracy,sparse_categorical_crossentropy --no-shuffle
[ $code = 0 ] &&
    [ "$(head -n 1 "$work/history.csv")" = \
        "epoch,accuracy,loss,sparse_categorical_crossentropy,val_accuracy,val_loss,val_sparse_categorical_crossentropy" ] &&
    [ "$(cut -d, -f1 "$work/history.csv" | tail -n +2 | tr '\n' ' ')" = "0 1 2 " ] &&
    [ "$(wc -l <"$work/history.csv")" = 4 ] && grep -q ' - val_accuracy: ' "$work/out"
report 'the history has a row an epoch, names in alphabetical order'

run "$worker" "${digits[@]}" --batch-size 5000 --epochs 2
[ $code = 0 ]
report 'a batch may be larger than the file'
for optimizer in sgd adagrad adam SGD '{"class_name":"SGD","config":{"learning_rate":0.01,"momentum":0.9,"nesterov":true}}'; do
    run "$worker" "${digits[@]}" --optimizer "$optimizer" --scale standard --epochs 2 --metrics none
    [ $code = 0 ] && grep -qxE 'Epoch 2/2 - loss: [0-9.]+' "$work/out"
    report "optimizer $optimizer"
done
echo '{"class_name":"Adam","config":{"learning_rate":0.005,"name":"adam","use_ema":false,"clipnorm":null}}' >"$work/adam.json"
run "$worker" "${digits[@]}" --optimizer "$work/adam.json" --scale standard --epochs 30 --save "$work/again.st"
[ $code = 0 ] && cmp -s "$work/digits.st" "$work/again.st"
report 'an optimizer from a file of JSON, the same as by options'

# ---- a model that says its own loss, optimizer and metrics ----

compile_config='{"optimizer": {"class_name": "Adam", "config": {"learning_rate": 0.005}},'
compile_config+=' "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}'
sed "s/\"compile_config\": {}/\"compile_config\": $compile_config/" "$digits_model" >"$work/compiled.json"
run "$worker" --model "$work/compiled.json" --train "$work/train.csv" --scale standard --epochs 30 --save "$work/again.st"
[ $code = 0 ] && cmp -s "$work/digits.st" "$work/again.st"
report 'what a compiled model says is the default'

# ---- regression ----

cat >"$work/line.json" <<'JSON'
{"class_name": "Sequential", "config": {"name": "line", "layers": [
 {"class_name": "InputLayer", "config": {"batch_shape": [null, 1], "name": "x"}},
 {"class_name": "Dense", "config": {"name": "dense", "units": 1}}]}}
JSON
run "$worker" --model "$work/line.json" --train tests/data/line.csv --label y --loss mse --metrics mae \
    --optimizer sgd --learning-rate 0.05 --epochs 300 --test tests/data/line.csv
test_metric mae
[ $code = 0 ] && at_least 0.2 "$REPLY" && [ -n "$REPLY" ]
report "a line is fitted (mean error $REPLY)"

# ---- weights, evaluation, predictions ----

run "$worker" "${digits[@]:0:2}" --loss sparse_categorical_crossentropy --weights "$work/digits.st" --test "$work/test.csv"
[ $code = 0 ] && [ "$(cat "$work/out")" = "$test_line" ]
report 'saved weights with their scale give the same test line'
run "$worker" "${digits[@]:0:2}" --weights "$work/digits.st" --predict "$work/test.csv" --out "$work/labelled.npy"
[ $code = 0 ] && [ "$(head -c 6 "$work/labelled.npy" | tail -c 5)" = NUMPY ] &&
    grep -qa "'shape': (359, 10)" "$work/labelled.npy"
report 'predictions of a file with labels'
cut -d, -f1-64 "$work/test.csv" >"$work/unlabelled.csv"
run "$worker" "${digits[@]:0:2}" --weights "$work/digits.st" --predict "$work/unlabelled.csv" --out "$work/unlabelled.npy"
[ $code = 0 ] && cmp -s "$work/labelled.npy" "$work/unlabelled.npy"
report 'predictions of a file without labels are the same'
run "$worker" "${digits[@]}" --weights "$work/digits.st" --epochs 1
grep -qE '^Epoch 1/1 - accuracy: (0.99|1.0)' "$work/out"
report 'a training goes on from saved weights and their scale'

zcat "$data/letter-recognition/letter-recognition.data.gz" >"$work/letters.csv"
letters=(--model "$data/letter-recognition/model.json" --label 0 --loss sparse_categorical_crossentropy --optimizer adam)
head -n 2000 "$work/letters.csv" >"$work/letters-train.csv"
run "$worker" "${letters[@]}" --train "$work/letters-train.csv" --scale standard --epochs 5 --save "$work/letters.st"
[ $code = 0 ] && grep -qa 'A.*B.*C.*Z' "$work/letters.st"
report 'classes named by letters are saved with the weights'
{ head -n 20 "$work/letters.csv" && sed -n '1s/^T/?/p' "$work/letters.csv"; } >"$work/letters-test.csv"
run "$worker" "${letters[@]}" --train "$work/letters-train.csv" --test "$work/letters-test.csv"
[ $code = 2 ] && said 'letters-test.csv:21' && said "'?'"
report 'a class that the training file does not have'

# ---- a terminal ----

if command -v script >/dev/null && script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
    script -qec "$worker ${digits[*]} --epochs 2" /dev/null >"$work/out" 2>"$work/err" </dev/null
    grep -q 'Epoch 1/2' "$work/out" && grep -q '━━━━━━━━━━━━━━━━━━━━' "$work/out" && grep -q '/step - accuracy: ' "$work/out"
    report 'a progress bar on a terminal'
else
    skip 'a progress bar on a terminal' 'no program script, or no pseudo-terminals here'
fi

# ---- interrupted ----

for signal in INT TERM; do
    rm -f "$work/out"
    env --default-signal=INT "$worker" "${digits[@]}" --epochs 1000000 >"$work/out" 2>"$work/err" </dev/null &
    pid=$!
    started+=("$pid")
    eventually 20 grep -qsF 'Epoch 3/' "$work/out"
    kill -s "$signal" "$pid"
    eventually 5 eval "! kill -0 $pid 2>/dev/null"
    wait "$pid"
    code=$?
    [ $code = $([ $signal = INT ] && echo 130 || echo 143) ] && said 'interrupted after step' && one_message
    report "SIG$signal ends it in order"
done

# ---- wrong use: one message that names the thing, and the exit code ----

# wrong NAME CODE WORDS ARGUMENTS...
wrong() {
    local name=$1 expected=$2 words=$3
    shift 3
    run "$worker" "$@"
    [ "$code" = "$expected" ] && said "$words" && one_message && [ ! -s "$work/out" ]
    report "$name"
}
some=("${digits[@]:0:2}" --loss sparse_categorical_crossentropy --optimizer adam)

wrong 'no such model' 2 "'no.json'" --model no.json --train "$work/train.csv"
wrong 'a model that is no JSON' 2 'train.csv: the model is no JSON: line 1' --model "$work/train.csv" --train "$work/train.csv"
: >"$work/empty.json"
wrong 'an empty model' 2 'empty.json: the file is empty' --model "$work/empty.json" --train "$work/train.csv"
echo '{"class_name": "Functional", "config": {}}' >"$work/functional.json"
wrong 'a model of another class' 2 'functional.json: a model of class Functional' --model "$work/functional.json" --train x
wrong 'no training file' 2 '--train is missing' "${some[@]}"
wrong 'no such training file' 2 "'no.csv'" "${some[@]}" --train no.csv
wrong 'no loss' 2 '--loss is missing' "${digits[@]:0:4}" --optimizer adam
wrong 'no optimizer' 2 '--optimizer is missing' "${digits[@]:0:6}"
wrong 'a misspelt option' 2 'unknown option --epoch; did you mean --epochs?' "${digits[@]}" --epoch 3
wrong 'an option that is not built' 2 'unknown option --staleness' "${digits[@]}" --staleness 1
wrong 'a misspelt loss' 2 'did you mean mse?' "${digits[@]}" --loss msse
wrong 'a misspelt optimizer' 2 'did you mean adagrad?' "${digits[@]}" --optimizer adagard
wrong 'a misspelt metric' 2 'did you mean accuracy?' "${digits[@]}" --metrics acuracy
wrong 'a metric twice' 2 "'accuracy' is there twice" "${digits[@]}" --metrics accuracy,accuracy
wrong 'a misspelt scale' 2 'did you mean standard?' "${digits[@]}" --scale standart
wrong 'no number of epochs' 2 "--epochs: 'x'" "${digits[@]}" --epochs x
wrong 'an option of the optimizer out of range' 2 'momentum is 2' "${digits[@]}" \
    --optimizer '{"class_name":"SGD","config":{"momentum":2}}'
wrong 'a learning rate that is no float32' 2 'learning_rate is 1e+300' "${digits[@]}" --learning-rate 1e300
wrong 'no such column' 2 "no column 'foo'" "${digits[@]}" --label foo
wrong 'a model for other features' 2 'takes (None, 16)' "${letters[@]}" --train "$work/train.csv" --label 64
wrong 'a loss for other targets' 2 "layer 'dense_1'" "${digits[@]}" --loss mse
wrong 'a test file of other features' 2 'letters-test.csv' "${digits[@]}" --test "$work/letters-test.csv"
{ head -n 5 "$work/train.csv" && echo 1,2,3; } >"$work/bad.csv"
wrong 'a line of too few fields' 2 'bad.csv:6: 3 fields' "${some[@]}" --train "$work/bad.csv"
{ head -n 5 "$work/train.csv" && sed -n '6s/^[0-9]*/abc/p' "$work/train.csv"; } >"$work/bad.csv"
wrong 'a column that is no number' 2 "bad.csv:6: column '0': 'abc'" "${some[@]}" --train "$work/bad.csv"
{ head -n 5 "$work/train.csv" && sed -n '6s/[0-9]*$/10/p' "$work/train.csv"; } >"$work/bad.csv"
wrong 'a label that does not fit' 2 "bad.csv:6: column '64': class 10" "${some[@]}" --train "$work/bad.csv"
: >"$work/bad.csv"
wrong 'an empty file' 2 'bad.csv: the file is empty' "${some[@]}" --train "$work/bad.csv"
wrong 'weights that are no safetensors' 2 'train.csv' "${digits[@]}" --weights "$work/train.csv"
wrong 'weights of another model' 2 "weight 'dense/bias' has shape (64,)" "${letters[@]}" --label 0 \
    --train "$work/letters-train.csv" --weights "$work/digits.st" --scale none
wrong 'a folder that is not there' 2 "cannot write into folder '/nonexistent'" "${digits[@]}" --save /nonexistent/w.st
wrong 'weights into a folder' 2 "--save $work: not a regular file" "${digits[@]}" --save "$work"
mkfifo "$work/pipe"
wrong 'the history into a pipe' 2 "--history $work/pipe: not a regular file" "${digits[@]}" --history "$work/pipe"
# shellcheck disable=SC2016
run bash -c '(trap "" XFSZ && ulimit -f 1 && exec "$@") | cat; exit ${PIPESTATUS[0]}' limited \
    "$worker" "${digits[@]}" --epochs 60 --history "$work/full.csv"
[ $code = 1 ] && said "--history $work/full.csv: write a row" && one_message
report 'a history that finds no room'
wrong 'a validation split of everything' 2 'leaves none for training' "${digits[@]}" --validation-split 0.99999
wrong '--predict alone' 2 '--predict needs' "${digits[@]:0:2}" --predict "$work/test.csv"
wrong 'an unreachable coordinator' 3 'join the cluster at 127.0.0.1:1' "${digits[@]}" --coordinator 127.0.0.1:1 \
    --join-timeout 300ms
wrong 'an address without a port' 2 "'localhost'" "${digits[@]}" --coordinator localhost
PARAMD_KERNELS=mmx wrong 'no such kernels' 2 'mmx' "${digits[@]}"
wrong 'a training that runs away' 1 "step 2: the gradient of 'dense_1/kernel' is not a number" "${digits[@]}" \
    --learning-rate 1e30

finish
