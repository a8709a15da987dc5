#!/usr/bin/env bash
# Letter Recognition, 16-256-26, standardised, classes named by letters: the customary 16,000 to train, 4,000 to test.
# shellcheck source=tests/integration/tap.sh
. tests/integration/tap.sh
# shellcheck source=tests/integration/digits.sh
. tests/integration/digits.sh

zcat "$data/letter-recognition/letter-recognition.data.gz" | head -n 16000 >"$work/letters-train.csv"
zcat "$data/letter-recognition/letter-recognition.data.gz" | tail -n 4000 >"$work/letters-test.csv"
letters=(--model "$data/letter-recognition/model.json" --train "$work/letters-train.csv" --test "$work/letters-test.csv"
    --label 0 --scale standard --loss sparse_categorical_crossentropy --optimizer adam --learning-rate 0.003
    --batch-size 64 --epochs 30)

run "$worker" "${letters[@]}"
test_metric accuracy
[ "$code" = 0 ] && at_least "$REPLY" 0.94
report "alone: accuracy $REPLY"
run_cluster 2 2 "${letters[@]}"
test_metric accuracy
[ "$code" = 0 ] && at_least "$REPLY" 0.94
report "2 servers and 2 workers: accuracy $REPLY"
finish
