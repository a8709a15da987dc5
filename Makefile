# paramd: `make` builds everything into build/, `make help` lists the rest.
# Sources are found, not listed: a new .c file in a folder below is built without a line here.

CC ?= cc
BUILD ?= build
SAN ?=
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wformat=2 -Wno-format-truncation -Wno-unknown-warning-option -Werror
CPPFLAGS += -I. -I$(BUILD)/gen -D_GNU_SOURCE
CFLAGS += -std=c11 -O2 -g -fPIC -fvisibility=hidden $(WARN)
ifneq ($(SAN),)
CFLAGS += -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
LDFLAGS += -fsanitize=$(SAN)
endif
LDLIBS := -luv -lprotobuf-c -ljansson -lz -lxxhash -lcrypto -lopenblas -lm -lpthread

PROTOS := $(wildcard proto/*.proto)
GEN_C := $(PROTOS:%.proto=$(BUILD)/gen/%.pb-c.c)
GEN_O := $(GEN_C:.c=.o)
COMMON_O := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard common/*/*.c)) $(GEN_O)

.DELETE_ON_ERROR:
.SECONDARY:
all: $(COMMON_O)

$(BUILD)/gen/proto/%.pb-c.c: proto/%.proto
	@mkdir -p $(BUILD)/gen
	protoc-c --c_out=$(BUILD)/gen --proto_path=. $<

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c
	$(CC) $(CPPFLAGS) $(CFLAGS) -w -c -o $@ $<

$(BUILD)/obj/%.o: %.c $(GEN_C)
	@mkdir -p $(dir $@)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Kernels whose bits are promised: no contraction into FMA, and no errno in sqrtf (else the loops stay scalar).
$(BUILD)/obj/common/tensor/%.o $(BUILD)/obj/common/optim/%.o: CFLAGS += -O3 -ffp-contract=off -fno-math-errno

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
