/* paramctl shutdown */
#include "worker/ctl/ctl.h"
#include "worker/ctl/print.h"

#include <stdio.h>

enum status verb_shutdown(struct ctl *ctl, struct error *err)
{
    enum status status = reader_shutdown(ctl->reader, err);

    if (!status && ctl->json)
        return print_json(json_pack("{s:b}", "shutdown", true), err);
    if (!status)
        fprintf(stderr, "paramctl: the job is told to end\n");
    return status;
}
