#!/usr/bin/env bash
# deploy/quickstart, what a newcomer runs first: good accuracy, a live query in mid-training, what to try next.
# shellcheck source=tests/integration/tap.sh
. tests/integration/tap.sh

run "$root/deploy/quickstart" --seed 1
[ $code = 0 ] && grep -qE '^test accuracy: 0\.9[6-9]' "$work/out" && grep -qE '^live query: step [0-9]+ of 2700' "$work/out" &&
    printed 'worker-0 | Epoch 60/60' && printed 'paramctl | # dense/kernel[20:22, 0:6] float32 (2, 6) step' && printed 'Next:'
report 'trains, is queried, and says what to try next'
[ -z "$(find "$XDG_RUNTIME_DIR" -name token)" ]
report 'leaves no cluster behind'
run "$root/deploy/quickstart" --epochs 1
[ $code = 1 ] && said 'quickstart: '
report 'too little training is a failure'
run "$root/deploy/quickstart" --no-such-option
[ $code = 1 ] && said 'the training ended with exit code 2' && printed 'unknown option --no-such-option'
report 'a mistake of the worker is seen'
PARAMD_BIN=$work run "$root/deploy/quickstart"
[ $code = 1 ] && said 'make builds it'
report 'programs that are not built'
finish
