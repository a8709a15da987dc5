/* paramctl list */
#include "worker/ctl/ctl.h"
#include "worker/ctl/print.h"

#include <stdio.h>

static json_t *json_of_variable(const struct registry *registry, uint32_t id)
{
    const struct variable_spec *spec = &registry->variables[id];
    const struct optimizer_spec *optimizer = spec->trainable
                                                 ? registry_optimizer(registry, spec->optimizer)
                                                 : NULL;
    json_t *slots = json_array();

    for (size_t i = 0; i < reader_slot_count(registry, id); i++)
        json_array_append_new(slots, json_string(reader_slot_name(registry, id, i)));
    return json_pack("{s:s, s:s, s:o, s:b, s:s?, s:o}", "name", spec->name, "dtype",
                     dtype_name(spec->dtype), "shape", json_of_shape(spec->shape, spec->rank),
                     "trainable", spec->trainable, "optimizer", optimizer ? optimizer->name : NULL,
                     "slots", slots);
}

static enum status list_json(const struct registry *registry, struct error *err)
{
    json_t *list = json_array();

    for (uint32_t id = 0; id < registry->variable_count; id++)
        json_array_append_new(list, json_of_variable(registry, id));
    return print_json(json_pack("{s:o}", "variables", list), err);
}

static void slots_text(const struct registry *registry, uint32_t id, char *ret_text,
                       size_t capacity)
{
    size_t used = 0;

    ret_text[0] = '\0';
    for (size_t i = 0; i < reader_slot_count(registry, id) && used < capacity; i++)
        used += (size_t)snprintf(ret_text + used, capacity - used, "%s%s", i ? ", " : "",
                                 reader_slot_name(registry, id, i));
}

static enum status list_text(const struct registry *registry, struct error *err)
{
    struct table table = {.column_count = 6};
    char shape[256], elements[32], slots[256];

    table_add(&table,
              (const char *const[]){"name", "dtype", "shape", "elements", "optimizer", "slots"});
    for (uint32_t id = 0; id < registry->variable_count; id++) {
        const struct variable_spec *spec = &registry->variables[id];
        const struct optimizer_spec *optimizer = registry_optimizer(registry, spec->optimizer);
        print_shape(spec->shape, spec->rank, shape, sizeof shape);
        print_count(spec->elements, elements, sizeof elements);
        slots_text(registry, id, slots, sizeof slots);
        table_add(&table,
                  (const char *const[]){spec->name, dtype_name(spec->dtype), shape, elements,
                                        !spec->trainable ? "not trained"
                                        : optimizer      ? optimizer->name
                                                         : "-",
                                        slots});
    }
    return table_print(&table, "lllrll", err);
}

enum status verb_list(struct ctl *ctl, struct error *err)
{
    const struct registry *registry;
    enum status status = reader_list(ctl->reader, &registry, err);

    if (status)
        return status;
    return ctl->json ? list_json(registry, err) : list_text(registry, err);
}
