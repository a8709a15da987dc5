#include "common/tensor/npy.h"

#include "common/base/bytes.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    MAGIC_BYTES = 6,
    VERSION_1_PREFIX = MAGIC_BYTES + 2 + 2, /* magic, version, length of 16 bits */
    VERSION_2_PREFIX = MAGIC_BYTES + 2 + 4,
    ALIGNMENT = 64,
};

static const char MAGIC[] = "\x93NUMPY";

static const struct {
    const char *descr;
    enum element_type type;
} descrs[] = {
    {"<f4", ELEMENT_F32}, {"<f8", ELEMENT_F64}, {"<i4", ELEMENT_I32},
    {"<i8", ELEMENT_I64}, {"|u1", ELEMENT_U8},
};
enum { DESCR_COUNT = sizeof descrs / sizeof descrs[0] };

/* The header's text, a Python dictionary, and how far it is read. */
struct text {
    const char *at, *end;
};

static void skip_spaces(struct text *text)
{
    while (text->at < text->end && (*text->at == ' ' || *text->at == '\n' || *text->at == '\t'))
        text->at++;
}

/* Reads a word or a sign, spaces before it left out; false: something else stands there. */
static bool take(struct text *text, const char *expected)
{
    size_t length = strlen(expected);

    skip_spaces(text);
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, expected, length) != 0)
        return false;
    text->at += length;
    return true;
}

/* 'text' or "text", without escapes. The text is not terminated. */
static bool take_quoted(struct text *text, const char **ret_text, size_t *ret_length)
{
    const char *start;
    char quote;

    skip_spaces(text);
    if (text->at == text->end || (*text->at != '\'' && *text->at != '"'))
        return false;
    quote = *text->at++;
    start = text->at;
    while (text->at < text->end && *text->at != quote)
        text->at++;
    if (text->at == text->end)
        return false;
    *ret_text = start;
    *ret_length = (size_t)(text->at++ - start);
    return true;
}

static bool take_number(struct text *text, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *start;

    skip_spaces(text);
    start = text->at;
    for (; text->at < text->end && *text->at >= '0' && *text->at <= '9'; text->at++) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*text->at - '0'), &number))
            return false;
    }
    *ret_number = number;
    return text->at > start;
}

static enum status parse_descr(struct text *text, struct npy *npy, struct error *err)
{
    const char *descr;
    size_t length;

    if (!take_quoted(text, &descr, &length)) /* a list: an array of records */
        return error_set(err, STATUS_UNIMPLEMENTED, "its elements are no plain numbers");
    for (size_t i = 0; i < DESCR_COUNT; i++) {
        if (length == strlen(descrs[i].descr) && memcmp(descr, descrs[i].descr, length) == 0) {
            npy->type = descrs[i].type;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_UNIMPLEMENTED,
                     "dtype '%.*s' cannot be read; '<f4', '<f8', '<i4', '<i8' and '|u1' can",
                     (int)(length < 32 ? length : 32), descr);
}

static enum status parse_shape(struct text *text, struct npy *npy, struct error *err)
{
    npy->rank = 0;
    npy->element_count = 1;
    if (!take(text, "("))
        return error_set(err, STATUS_INVALID_ARGUMENT, "its shape is no tuple of numbers");
    while (!take(text, ")")) {
        uint64_t dimension;

        if (npy->rank == LIMIT_RANK)
            return error_set(err, STATUS_INVALID_ARGUMENT, "it has more than %d dimensions",
                             LIMIT_RANK);
        if (!take_number(text, &dimension))
            return error_set(err, STATUS_INVALID_ARGUMENT, "its shape is no tuple of numbers");
        npy->shape[npy->rank++] = dimension;
        if (__builtin_mul_overflow(npy->element_count, dimension, &npy->element_count))
            return error_set(err, STATUS_INVALID_ARGUMENT, "its shape has more than 2^64 elements");
        if (!take(text, ",") && !(text->at < text->end && *text->at == ')'))
            return error_set(err, STATUS_INVALID_ARGUMENT, "its shape is no tuple of numbers");
    }
    return STATUS_OK;
}

static enum status parse_order(struct text *text, struct error *err)
{
    if (take(text, "True"))
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "it is in Fortran order; save it with numpy.ascontiguousarray");
    return take(text, "False")
               ? STATUS_OK
               : error_set(err, STATUS_INVALID_ARGUMENT, "fortran_order is neither True nor False");
}

static bool is_key(const char *text, size_t length, const char *key)
{
    return length == strlen(key) && memcmp(text, key, length) == 0;
}

/* All three keys, each once, in any order; nothing but spaces behind the dictionary. */
static enum status parse_dictionary(struct text *text, struct npy *npy, struct error *err)
{
    bool has_descr = false, has_order = false, has_shape = false;

    if (!take(text, "{"))
        return error_set(err, STATUS_INVALID_ARGUMENT, "the header is no dictionary");
    while (!take(text, "}")) {
        enum status status;
        const char *key;
        size_t length;

        if (!take_quoted(text, &key, &length) || !take(text, ":"))
            return error_set(err, STATUS_INVALID_ARGUMENT, "the header is no dictionary");
        if (is_key(key, length, "descr") && !has_descr) {
            has_descr = true;
            status = parse_descr(text, npy, err);
        } else if (is_key(key, length, "fortran_order") && !has_order) {
            has_order = true;
            status = parse_order(text, err);
        } else if (is_key(key, length, "shape") && !has_shape) {
            has_shape = true;
            status = parse_shape(text, npy, err);
        } else {
            status = error_set(err, STATUS_INVALID_ARGUMENT, "unexpected key '%.*s'",
                               (int)(length < 32 ? length : 32), key);
        }
        if (status != STATUS_OK)
            return status;
        if (!take(text, ",") && !(text->at < text->end && *text->at == '}'))
            return error_set(err, STATUS_INVALID_ARGUMENT, "the header is no dictionary");
    }
    skip_spaces(text);
    if (!has_descr || !has_order || !has_shape || text->at != text->end)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the header lacks descr, fortran_order or shape, or goes on behind them");
    return STATUS_OK;
}

static enum status find_header(const uint8_t *bytes, size_t size, struct text *ret_text,
                               struct error *err)
{
    size_t prefix = VERSION_2_PREFIX, length;

    if (size < VERSION_1_PREFIX || memcmp(bytes, MAGIC, MAGIC_BYTES) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "not an .npy file (no \\x93NUMPY in front)");
    if (bytes[MAGIC_BYTES] < 1 || bytes[MAGIC_BYTES] > 3)
        return error_set(err, STATUS_UNIMPLEMENTED, "version %d of the .npy format",
                         bytes[MAGIC_BYTES]);
    if (bytes[MAGIC_BYTES] == 1)
        prefix = VERSION_1_PREFIX;
    if (size < prefix)
        return error_set(err, STATUS_INVALID_ARGUMENT, "cut off in the header");
    length = prefix == VERSION_1_PREFIX ? bytes_get_u16(bytes + MAGIC_BYTES + 2)
                                        : bytes_get_u32(bytes + MAGIC_BYTES + 2);
    if (length > size - prefix)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "cut off in the header: it has %zu bytes, %zu are there", length,
                         size - prefix);
    ret_text->at = (const char *)bytes + prefix;
    ret_text->end = ret_text->at + length;
    return STATUS_OK;
}

enum status npy_parse(struct npy *ret_npy, const void *bytes, size_t size, struct error *err)
{
    struct npy npy = {0};
    struct text text = {0};
    uint64_t data_bytes, expected;
    enum status status = find_header(bytes, size, &text, err);

    if (status != STATUS_OK)
        return status;
    npy.data = text.end;
    data_bytes = size - (uint64_t)(text.end - (const char *)bytes);
    status = parse_dictionary(&text, &npy, err);
    if (status != STATUS_OK)
        return status;
    if (__builtin_mul_overflow(npy.element_count, element_bytes(npy.type), &expected) ||
        expected != data_bytes)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%llu elements of %zu bytes announced, but %llu bytes follow",
                         (unsigned long long)npy.element_count, element_bytes(npy.type),
                         (unsigned long long)data_bytes);
    *ret_npy = npy;
    return STATUS_OK;
}

enum status npy_open(struct npy *ret_npy, const char *path, struct error *err)
{
    struct array_file file;
    enum status status = array_file_open(&file, path, err);

    if (status != STATUS_OK)
        return status;
    status = npy_parse(ret_npy, file.bytes, file.size, err);
    if (status != STATUS_OK) {
        array_file_release(&file);
        return error_wrap(err, "read '%s'", path);
    }
    ret_npy->file = file;
    return STATUS_OK;
}

void npy_release(struct npy *npy)
{
    if (!npy)
        return;
    array_file_release(&npy->file);
    *npy = (struct npy){0};
}

static const char *descr_of(enum element_type type)
{
    for (size_t i = 0; i < DESCR_COUNT; i++) {
        if (descrs[i].type == type)
            return descrs[i].descr;
    }
    return NULL;
}

enum status npy_make_header(enum element_type type, size_t rank, const uint64_t *shape,
                            uint8_t ret_header[NPY_HEADER_BYTES_MAX], size_t *ret_size,
                            struct error *err)
{
    char text[NPY_HEADER_BYTES_MAX] = {0}; /* 8 dimensions of 20 digits take less than half of it */
    size_t length, size;

    if (!descr_of(type) || rank > LIMIT_RANK)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "write an .npy file of type %s and rank %zu: not possible",
                         element_name(type), rank);
    length = (size_t)snprintf(text, sizeof text,
                              "{'descr': '%s', 'fortran_order': False, 'shape': (", descr_of(type));
    for (size_t i = 0; i < rank; i++) /* "(3,)" and "(2, 3)", as Python writes them */
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%llu%s", i ? " " : "",
                                   (unsigned long long)shape[i],
                                   i + 1 < rank || rank == 1 ? "," : "");
    length += (size_t)snprintf(text + length, sizeof text - length, "), }");
    /* The last byte is a line feed. */
    size = (VERSION_1_PREFIX + length + 1 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memcpy(ret_header, MAGIC, MAGIC_BYTES);
    ret_header[MAGIC_BYTES] = 1;
    ret_header[MAGIC_BYTES + 1] = 0;
    bytes_put_u16(ret_header + MAGIC_BYTES + 2, (uint16_t)(size - VERSION_1_PREFIX));
    memset(ret_header + VERSION_1_PREFIX, ' ', size - VERSION_1_PREFIX);
    memcpy(ret_header + VERSION_1_PREFIX, text, length);
    ret_header[size - 1] = '\n';
    *ret_size = size;
    return STATUS_OK;
}

enum status npy_save(const char *path, enum element_type type, size_t rank, const uint64_t *shape,
                     const void *data, struct error *err)
{
    uint8_t header[NPY_HEADER_BYTES_MAX];
    struct array_file_piece pieces[2] = {{header, 0}, {data, 0}};
    uint64_t bytes = element_bytes(type);
    enum status status = npy_make_header(type, rank, shape, header, &pieces[0].size, err);

    if (status != STATUS_OK)
        return error_wrap(err, "write '%s'", path);
    for (size_t i = 0; i < rank; i++) {
        if (__builtin_mul_overflow(bytes, shape[i], &bytes))
            return error_set(err, STATUS_INVALID_ARGUMENT, "write '%s': its shape is too large",
                             path);
    }
    pieces[1].size = (size_t)bytes;
    return array_file_write(path, pieces, 2, err);
}
