#include "tests/lib/fail_alloc.h"

#include "common/base/alloc.h"
#include "tests/lib/test.h"

static void run_clean(fail_alloc_run *run, void *context)
{
    alloc_fail_nth(0, false);
    enum status status = run(context);
    if (status != STATUS_OK)
        fail_msg("a run without failing allocations ended in %s", status_name(status));
}

uint64_t fail_alloc_each(fail_alloc_run *run, void *context)
{
    uint64_t before = alloc_count();

    run_clean(run, context);
    uint64_t count = alloc_count() - before;
    for (uint64_t n = 1; n <= count; n++) {
        alloc_fail_nth(n, false);
        enum status status = run(context);
        alloc_fail_nth(0, false);
        if (status != STATUS_RESOURCE_EXHAUSTED)
            fail_msg("with allocation %llu of %llu failing: %s instead of RESOURCE_EXHAUSTED",
                     (unsigned long long)n, (unsigned long long)count, status_name(status));
    }
    run_clean(run, context);
    return count;
}
