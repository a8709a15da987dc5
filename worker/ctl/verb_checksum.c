/* paramctl checksum */
#include "worker/ctl/ctl.h"
#include "worker/ctl/print.h"

#include <stdio.h>

enum status verb_checksum(struct ctl *ctl, struct error *err)
{
    char digest[HASH_SHA256_TEXT_BYTES];
    uint64_t step;
    enum status status = reader_checksum(ctl->reader, !ctl->values_only, &step, digest, err);

    if (status)
        return status;
    if (ctl->json)
        return print_json(json_pack("{s:I, s:s}", "step", (json_int_t)step, "digest", digest), err);
    printf("%llu %s\n", (unsigned long long)step, digest);
    return STATUS_OK;
}
