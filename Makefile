# paramd: `make` builds everything into build/, `make help` lists the rest.
# Sources are found, not listed: a new .c file in a folder below is built without a line here.
# tests/lint/layers.txt says which folders a unit test or fuzz target is linked with.

SHELL := bash
CC ?= cc
BUILD ?= build
SAN ?=
PREFIX ?= /usr/local
DESTDIR ?=
V ?=
JOBS ?= $(shell nproc)

# Settings of the heavier targets.
SEEDS ?= 500
SECONDS ?= 25
RUNS ?=
TEST ?=
DIR ?= tests/golden
BENCH_FLAGS ?=

ifeq ($(MAKELEVEL),0) # a -j on the command line wins
MAKEFLAGS += -j$(JOBS)
endif
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s %s\n' '$(1)' '$(2)')

# ---- flags ----

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wformat=2 \
	-Wno-format-truncation $(if $(findstring clang,$(CC)),-Wno-unknown-warning-option) -Werror
CPPFLAGS += -I. -I$(BUILD)/gen -D_GNU_SOURCE
CFLAGS += -std=c11 -O2 -g -fPIC -fvisibility=hidden $(WARN)
LDFLAGS += -Wl,--as-needed
LDLIBS := -luv -lprotobuf-c -ljansson -lz -lxxhash -lcrypto -lopenblas -lm -lpthread
# What a program needs beside libparamd.a.
LIBPARAMD_LDLIBS := $(filter-out -ljansson -lz -lopenblas,$(LDLIBS))

# FUZZ and COVERAGE are set by the targets fuzz, fuzz-coverage and sim-coverage, for build folders of their own.
ifneq ($(FUZZ),)
CFLAGS += -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all
LDFLAGS += -fsanitize=address,undefined
else ifneq ($(COVERAGE),)
CFLAGS += -fprofile-instr-generate -fcoverage-mapping $(if $(filter fuzz,$(COVERAGE)),-fsanitize=fuzzer-no-link)
LDFLAGS += -fprofile-instr-generate
else ifneq ($(SAN),)
# gcc sees paths through the inserted checks that no run can take.
CFLAGS += -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all -Wno-maybe-uninitialized
LDFLAGS += -fsanitize=$(SAN)
else
PLAIN := yes
CFLAGS += -fstack-protector-strong -D_FORTIFY_SOURCE=2
LDFLAGS += -Wl,-z,relro,-z,now
PIE := -pie
endif
# Loops full of checks and counters are not vectorized, which clang would report.
ifeq ($(PLAIN),)
CFLAGS += -Wno-pass-failed
endif

# The simulator with a mistake on purpose at each decision (common/base/mutant.h), in a build folder of its own.
ifneq ($(MUTANTS),)
CPPFLAGS += -DPARAMD_MUTANTS
endif

# Kernels whose bits are promised: no contraction into FMA, and no errno in sqrtf (else the loops stay scalar).
ARITHMETIC := -O3 -ffp-contract=off -fno-math-errno

# ---- what there is ----

PROTOS := $(wildcard proto/*.proto)
GEN_C := $(PROTOS:%.proto=$(BUILD)/gen/%.pb-c.c)
GEN_O := $(GEN_C:.c=.o)
SOURCES := $(shell find common server worker -name '*.c' 2>/dev/null | LC_ALL=C sort)
TEST_SOURCES := $(shell find tests -name '*.c' 2>/dev/null | LC_ALL=C sort)
MAINS := server/main.c worker/main.c worker/ctl/main.c
object = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
objects_in = $(call object,$(filter $(1:%=%/%),$(filter-out $(MAINS) worker/examples/%,$(SOURCES))))

COMMON_O := $(call objects_in,common) $(GEN_O)
SERVER_O := $(call objects_in,server)
CLIENT_O := $(call objects_in,worker/client)
CTL_O := $(call objects_in,worker/ctl)
WORKER_O := $(filter-out $(CTL_O),$(call objects_in,worker))

# Every folder that code in the folders $(1) may reach by includes, and the objects in them.
closure = $(shell awk -v want='$(1)' -f tests/lint/closure.awk tests/lint/layers.txt)
reachable_o = $(foreach c,$(call closure,$(1)),$(if $(filter proto,$(c)),$(GEN_O),$(call objects_in,$(c))))

PROGRAMS := $(if $(wildcard server/main.c),$(BUILD)/paramd) \
	$(if $(wildcard worker/main.c),$(BUILD)/paramd-worker) \
	$(if $(wildcard worker/ctl/main.c),$(BUILD)/paramctl)
LIBRARIES := $(if $(CLIENT_O),$(BUILD)/libparamd.a $(BUILD)/libparamd.so $(BUILD)/include/paramd/ps.h)
EXAMPLES := $(patsubst worker/examples/%.c,$(BUILD)/examples/%,$(filter worker/examples/%,$(SOURCES)))
EVERYTHING := $(PROGRAMS) $(LIBRARIES) $(EXAMPLES)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all programs clean help FORCE

all: programs
	@printf '\nBuilt %s in %s/. Next:\n' '$(notdir $(PROGRAMS))' '$(BUILD)'
	@printf '  make quickstart   train the bundled digits on 2 servers and 2 workers\n'
	@printf '  make check        run the tests\n  make help         see what else there is\n'

# What programs are linked from; without a main file, at least the parts compile.
programs: $(EVERYTHING) $(BUILD)/libcommon.a

# ---- compiling ----

# Rewritten only when their text changes: other flags rebuild everything, another set of files relinks.
$(BUILD)/flags.stamp: FORCE
	@for tool in $(firstword $(CC)) protoc-c; do command -v $$tool >/dev/null || \
	  { echo "$$tool is missing; make deps installs what the build needs" >&2; exit 2; }; done
	@mkdir -p $(BUILD); text='$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $(LDLIBS)'; \
	printf '%s\n' "$$text" | cmp -s - $@ || printf '%s\n' "$$text" > $@
$(BUILD)/sources.stamp: FORCE
	@mkdir -p $(BUILD); printf '%s\n' $(SOURCES) $(TEST_SOURCES) $(PROTOS) | cmp -s - $@ || \
	printf '%s\n' $(SOURCES) $(TEST_SOURCES) $(PROTOS) > $@

$(BUILD)/gen/proto/%.pb-c.c $(BUILD)/gen/proto/%.pb-c.h: proto/%.proto $(PROTOS) | $(BUILD)/flags.stamp
	$(call say,PROTO,$<)
	@mkdir -p $(BUILD)/gen
	$(Q)protoc-c --c_out=$(BUILD)/gen --proto_path=. $<

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c $(BUILD)/flags.stamp | $(GEN_C)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -w -c -o $@ $<

$(BUILD)/obj/common/tensor/%.o $(BUILD)/obj/common/optim/%.o: private EXTRA := $(ARITHMETIC)
$(BUILD)/obj/worker/autodiff/%.o $(BUILD)/obj/worker/nn/%.o: private EXTRA := $(ARITHMETIC)

# Examples see what another program sees: the public header and nothing else.
$(BUILD)/obj/worker/examples/%.o: worker/examples/%.c $(BUILD)/flags.stamp | $(BUILD)/include/paramd/ps.h
	$(call say,CC,$<)
	@mkdir -p $(dir $@)
	$(Q)$(CC) -I$(BUILD)/include $(filter-out -fvisibility=hidden,$(CFLAGS)) -MMD -MP -c -o $@ $<

$(BUILD)/obj/%.o: %.c $(BUILD)/flags.stamp | $(GEN_C)
	$(call say,CC,$<)
	@mkdir -p $(dir $@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(EXTRA) -MMD -MP -c -o $@ $<

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# ---- programs and libraries ----

# An archive, so that a program has only what it uses: paramd no BLAS, for one.
$(BUILD)/libcommon.a: $(COMMON_O) $(BUILD)/sources.stamp
	@rm -f $@; ar qcs $@ $(filter %.o,$^)

link = $(Q)mkdir -p $(dir $@) && $(CC) $(CFLAGS) $(PIE) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS)

$(BUILD)/paramd: $(BUILD)/obj/server/main.o $(SERVER_O) $(BUILD)/libcommon.a $(BUILD)/sources.stamp
	$(call say,LINK,$@)
	$(link)
$(BUILD)/paramd-worker: $(BUILD)/obj/worker/main.o $(WORKER_O) $(BUILD)/libcommon.a $(BUILD)/sources.stamp
	$(call say,LINK,$@)
	$(link)
$(BUILD)/paramctl: $(BUILD)/obj/worker/ctl/main.o $(CTL_O) $(CLIENT_O) $(BUILD)/libcommon.a $(BUILD)/sources.stamp
	$(call say,LINK,$@)
	$(link)

$(BUILD)/include/paramd/%.h: worker/client/%.h
	@mkdir -p $(dir $@) && cp $< $@

# One object with every symbol but ps_* made local, so that no name of ours meets one of the program's.
$(BUILD)/libparamd.a: $(CLIENT_O) $(BUILD)/libcommon.a $(BUILD)/sources.stamp
	$(call say,AR,$@)
	$(Q)ld -r -o $(BUILD)/obj/libparamd.o $(filter %.o %.a,$^)
	$(Q)objcopy --localize-hidden $(BUILD)/obj/libparamd.o
	$(Q)rm -f $@ && ar qcs $@ $(BUILD)/obj/libparamd.o
$(BUILD)/libparamd.so: $(CLIENT_O) $(BUILD)/libcommon.a $(BUILD)/sources.stamp
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -shared -Wl,-soname,libparamd.so.0 $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LDLIBS)
	@ln -sf libparamd.so $(BUILD)/libparamd.so.0
$(BUILD)/examples/%: $(BUILD)/obj/worker/examples/%.o $(BUILD)/libparamd.so
	$(call say,LINK,$@)
	@mkdir -p $(dir $@)
	$(Q)$(CC) $(CFLAGS) $(PIE) $(LDFLAGS) -o $@ $< -L$(BUILD) -lparamd -lm '-Wl,-rpath,$$ORIGIN/..'

# ---- tests ----

# Shared helpers go into an archive, so that a test links only what it uses.
$(BUILD)/libtest.a: $(call object,$(filter tests/lib/%,$(TEST_SOURCES))) $(BUILD)/sources.stamp
	@mkdir -p $(BUILD); rm -f $@; ar qcs $@ $(filter %.o,$^)

# A unit test mirrors its source's path, and is linked with what that folder may include.
UNIT_SOURCES := $(foreach s,$(filter tests/unit/%,$(TEST_SOURCES)),$(if $(filter test_%,$(notdir $(s))),$(s)))
UNIT_TESTS := $(UNIT_SOURCES:%.c=$(BUILD)/%)
UNIT_FOLDERS := $(sort $(patsubst tests/unit/%/,%,$(dir $(UNIT_SOURCES))))
define unit_rule
UNIT_O_$(1) := $$(sort $$(call reachable_o,$(1)))
$(filter $(BUILD)/tests/unit/$(1)/test_%,$(UNIT_TESTS)): $(BUILD)/tests/unit/$(1)/%: \
		$(BUILD)/obj/tests/unit/$(1)/%.o $$(UNIT_O_$(1)) $(BUILD)/libtest.a $(BUILD)/sources.stamp
	$$(call say,LINK,$$@)
	$$(link) -lcmocka
endef
$(foreach f,$(UNIT_FOLDERS),$(eval $(call unit_rule,$(f))))

# An integration test in C may use any part; it starts the programs in PARAMD_BUILD.
INTEGRATION_TESTS := $(patsubst %.c,$(BUILD)/%,$(filter tests/integration/test_%,$(TEST_SOURCES)))
INTEGRATION_SCRIPTS := $(sort $(wildcard tests/integration/test_*.sh))
$(BUILD)/libparts.a: $(SERVER_O) $(WORKER_O) $(COMMON_O) $(BUILD)/sources.stamp
	@rm -f $@; ar qcs $@ $(filter %.o,$^)
$(INTEGRATION_TESTS): $(BUILD)/tests/integration/%: $(BUILD)/obj/tests/integration/%.o $(BUILD)/libtest.a \
		$(BUILD)/libparts.a
	$(call say,LINK,$@)
	$(link) -lcmocka

# TEST=common/optim runs only the tests whose path has these words in it.
select = $(if $(TEST),$(foreach t,$(1),$(if $(findstring $(TEST),$(t)),$(t))),$(1))
run_tests := PARAMD_BUILD=$(abspath $(BUILD)) tests/lib/run.sh

.PHONY: check check-unit check-integration check-run build-tests
check: deps
	@+$(MAKE) --no-print-directory check-run
check-run: build-tests
	@$(run_tests) unit $(call select,$(UNIT_TESTS)) integration \
	  $(call select,$(INTEGRATION_TESTS) $(INTEGRATION_SCRIPTS))
build-tests: programs $(UNIT_TESTS) $(INTEGRATION_TESTS) $(BUILD)/golden-runner
check-unit: $(call select,$(UNIT_TESTS))
	@$(run_tests) unit $(call select,$(UNIT_TESTS))
check-integration: programs $(INTEGRATION_TESTS) $(BUILD)/golden-runner
	@$(run_tests) integration $(call select,$(INTEGRATION_TESTS) $(INTEGRATION_SCRIPTS))

include tests/targets.mk

# ---- people's targets ----

# What a bare Debian 12 lacks to build and test; the second list is for CI and for the heavier targets.
DEPS := gcc libc6-dev make pkg-config protobuf-c-compiler protobuf-compiler libprotobuf-c-dev libuv1-dev \
	libopenblas-dev libjansson-dev zlib1g-dev libxxhash-dev libssl-dev libcmocka-dev
DEPS_DEV := clang libclang-rt-14-dev llvm clang-format valgrind libc6-dbg
.PHONY: deps deps-dev quickstart lint format soak install
deps:
	@tests/lib/deps.sh $(DEPS)
deps-dev:
	@tests/lib/deps.sh $(DEPS) $(DEPS_DEV)

quickstart: deps
	@+$(MAKE) --no-print-directory programs
	@PARAMD_BIN=$(abspath $(BUILD)) deploy/quickstart

# The simulator's map and the library's symbols are looked at too.
lint: $(GEN_C) $(if $(SIM_O),$(BUILD)/sim) $(LIBRARIES)
	@BUILD=$(BUILD) CC='$(CC)' CPPFLAGS='$(CPPFLAGS)' tests/lint/run.sh
format:
	@tests/lint/format.sh $(shell find common server worker tests -name '*.[ch]')

# The long suites in full: hours.
soak:
	@+$(MAKE) --no-print-directory sim SEEDS=5000
	@+$(MAKE) --no-print-directory sim-mutants SEEDS=5000
	@+$(MAKE) --no-print-directory fuzz RUNS=1000000

VERSION = $(shell sed -n 's/.*PARAMD_VERSION "\(.*\)".*/\1/p' common/base/version.h)
install: programs
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin lib/pkgconfig include/paramd share/paramd/deploy/lib)
	install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(wildcard $(BUILD)/include/paramd/*.h) $(DESTDIR)$(PREFIX)/include/paramd
	install -m 755 deploy/launch $(DESTDIR)$(PREFIX)/share/paramd/deploy
	install -m 644 $(wildcard deploy/lib/*.sh) $(DESTDIR)$(PREFIX)/share/paramd/deploy/lib
	ln -sf ../share/paramd/deploy/launch $(DESTDIR)$(PREFIX)/bin/paramd-launch
	install -m 644 $(BUILD)/libparamd.a $(DESTDIR)$(PREFIX)/lib
	install -m 755 $(BUILD)/libparamd.so $(DESTDIR)$(PREFIX)/lib/libparamd.so.$(VERSION)
	ln -sf libparamd.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libparamd.so.0
	ln -sf libparamd.so.0 $(DESTDIR)$(PREFIX)/lib/libparamd.so
	printf '%s\n' 'prefix=$(PREFIX)' 'Name: paramd' 'Description: client of the paramd parameter server' \
	  'Version: $(VERSION)' 'Cflags: -I$${prefix}/include' 'Libs: -L$${prefix}/lib -lparamd' \
	  'Libs.private: $(LIBPARAMD_LDLIBS)' > $(DESTDIR)$(PREFIX)/lib/pkgconfig/paramd.pc

clean:
	rm -rf $(BUILD)

help:
	@sed -n 's/^#? \{0,1\}//p' Makefile

#? Build
#?   make                      programs, libraries and examples into build/   (CC=clang, V=1, BUILD=folder)
#?   make deps                 install what is missing, through apt-get; deps-dev: also what CI uses
#?   make install              into PREFIX=/usr/local, under DESTDIR=
#?   make clean
#? See it work
#?   make quickstart           train the bundled digits on 2 servers and 2 workers
#?   make bench                speed beside the machine's own limits; build/bench.json
#? Test
#?   make check                unit and integration tests; check-unit, check-integration; TEST=words in the path
#?   make lint                 layers, format, banned calls, headers that compile alone; make format mends the format
#?   make asan, tsan, valgrind the tests under sanitizers
#?   make sim SEEDS=500        the cluster in virtual time; sim-coverage, sim-mutants
#?   make fuzz SECONDS=25      every decoder, SECONDS or RUNS= each; fuzz-coverage
#?   make golden DIR=folder    results of other implementations
#?   make soak                 the long suites in full
