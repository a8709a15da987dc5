#!/usr/bin/env bash
# MNIST, 784-128-10, 10 epochs of Adam: a test accuracy of 0.975. The four .gz files are looked for in $PARAMD_DATA/mnist.
# shellcheck source=tests/integration/tap.sh
. tests/integration/tap.sh
# shellcheck source=tests/integration/digits.sh
. tests/integration/digits.sh

mnist=${PARAMD_DATA:-}/mnist
if [ ! -f "$mnist/train-images-idx3-ubyte.gz" ]; then
    echo "MNIST is not in PARAMD_DATA/mnist"
    exit 77
fi
sed -e 's/"units": 64/"units": 128/' -e 's/^\( *\)64$/\1784/' "$digits_model" >"$work/mnist.json"
arguments=(--model "$work/mnist.json" --train "$mnist/train-images-idx3-ubyte.gz,$mnist/train-labels-idx1-ubyte.gz"
    --test "$mnist/t10k-images-idx3-ubyte.gz,$mnist/t10k-labels-idx1-ubyte.gz" --scale unit
    --loss sparse_categorical_crossentropy --optimizer adam --epochs 10)

run "$worker" "${arguments[@]}"
test_metric accuracy
[ "$code" = 0 ] && at_least "$REPLY" 0.975
report "alone: accuracy $REPLY"
run_cluster 2 2 "${arguments[@]}" --batch-size 64 --learning-rate 0.002
test_metric accuracy
[ "$code" = 0 ] && at_least "$REPLY" 0.975
report "2 servers and 2 workers: accuracy $REPLY"
finish
