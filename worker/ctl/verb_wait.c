/* paramctl wait --step N: until it is committed. */
#include "common/base/clock.h"
#include "worker/ctl/ctl.h"
#include "worker/ctl/print.h"

#include <stdio.h>
#include <string.h>

enum { WAIT_MS = 20 };

static uint64_t now_ms(void)
{
    const struct clock clock = clock_machine();

    return clock_now_ns(&clock) / 1000000;
}

enum status verb_wait(struct ctl *ctl, struct error *err)
{
    const uint64_t until_ms = now_ms() + (uint64_t)ctl->timeout_ms;
    uint64_t wanted_plus_1 = (uint64_t)ctl->step + 1;

    for (;;) {
        const Pmd__StatusReply *reply;
        enum status status = reader_status(ctl->reader, &reply, err);
        if (status)
            return status;
        uint64_t step = reply->committed_plus_1 ? reply->committed_plus_1 - 1 : 0;
        if (reply->committed_plus_1 >= wanted_plus_1) {
            if (ctl->json)
                return print_json(json_pack("{s:I}", "step", (json_int_t)step), err);
            printf("%llu\n", (unsigned long long)step);
            return STATUS_OK;
        }
        if (strcmp(reply->state, "finished") == 0)
            return error_set(err, STATUS_OUT_OF_RANGE, "the job has finished at step %llu",
                             (unsigned long long)step);
        if (now_ms() >= until_ms)
            return error_set(err, STATUS_DEADLINE_EXCEEDED,
                             "step %lld is not committed after %.1f s: the job is %s%s%s",
                             (long long)ctl->step, (double)ctl->timeout_ms / 1000, reply->state,
                             reply->waiting_for[0] ? ", " : "", reply->waiting_for);
        reader_idle(ctl->reader, WAIT_MS);
    }
}
