#!/usr/bin/env bash
# The lint sees what it is there to see: a small tree with one mistake a file, and one without any.
set -u
root=$PWD
tree=$(mktemp -d "${TMPDIR:-/tmp}/paramd-lint.XXXXXX")
trap 'rm -rf "$tree"' EXIT
cd "$tree" || exit 1
mkdir -p common/base common/net server/store worker/nn worker/examples tests/unit
number=0 failed=0

# complains FILE WORDS: the file on stdin is complained about with these words, or with none.
complains() {
    local said
    number=$((number + 1))
    cat >"$1"
    said=$(awk -f "$root/tests/lint/source.awk" "$root/tests/lint/layers.txt" "$root/tests/lint/headers.txt" "$1")
    rm -f "$1"
    if { [ "$2" = nothing ] && [ -z "$said" ]; } || grep -qF -- "$2" <<<"$said"; then
        echo "ok $number - $1: $2"
    else
        echo "not ok $number - $1: expected '$2'"
        echo "# said: $said"
        failed=1
    fi
}

complains common/base/good.c nothing <<'C'
#include "common/base/alloc.h"

#include <string.h>

/* Says "free(x) and // are words here", don't they? */
static const char text[] = "strcpy(a, b); // \" /* free(x)";
int good_free(const char *p);
C
complains common/base/up.c 'common/base may not include common/net' <<<'#include "common/net/loop.h"'
complains server/store/other.c 'server/store may not include worker/nn' <<<'#include "worker/nn/layer.h"'
complains worker/nn/allowed.c nothing <<<'#include "common/optim/optimizer.h"'
complains common/base/near.c 'include from the root' <<<'#include "alloc.h"'
complains common/base/source.c 'linked, not included' <<<'#include "common/base/alloc.c"'
complains server/store/socket.c 'is only for' <<<'#include <sys/socket.h>'
complains common/net/socket.c nothing <<<'#include <sys/socket.h>'
complains worker/nn/blas.c 'is only for' <<<'#include <cblas.h>'
complains worker/examples/own.c 'may not include common/base' <<<'#include "common/base/alloc.h"'
complains common/base/copy.c 'a banned call' <<<'int f(char *a, char *b) { strcpy (a, b); }'
complains common/base/seed.c 'a banned call' <<<'int f(void) { return rand(); }'
complains common/base/memory.c 'memory comes from' <<<'void *f(void) { return malloc(3); }'
complains tests/unit/memory.c nothing <<<'void *f(void) { return malloc(3); }'
complains common/base/marked.c nothing <<<'void f(void *p) { free(p); } /* lint: it came from a library */'
complains common/base/clock.c nothing <<<'int f(void) { return clock_gettime(0, 0); }'
complains server/store/now.c 'time comes from' <<<'int f(void) { return time(0); }'
complains common/base/slashes.c 'comments are /* */' <<<'int f(void); // why'
complains common/base/later.c 'finish it' <<<'/* TODO: more */'
complains common/base/type.c 'typedef only' <<<'typedef struct x y;'
complains common/base/callback.c nothing <<<'typedef void (*on_done)(void *context);'
complains common/base/bare.h 'first line' <<<'#ifndef X'
complains common/base/tab.c 'a tab' <<<$'int\tf(void);'
complains common/base/long.c 'has 801 lines' < <(yes 'int x;' | head -n 801)

# Comments are wrapped and moved; the words stay, in order.
number=$((number + 1))
long=$(printf 'word%s ' {1..30})
{
    echo "/* $long*/"
    echo "int x; /* $long*/"
} | awk -f "$root/tests/lint/comments.awk" >wrapped
if awk 'length($0) > 100 { exit 1 }' wrapped && [ "$(grep -o 'word[0-9]*' wrapped | tr '\n' ' ')" = "$long$long" ]; then
    echo "ok $number - comments are wrapped"
else
    echo "not ok $number - comments are wrapped"
    sed 's/^/# /' wrapped
    failed=1
fi
echo "1..$number"
exit $failed
