# The heavier test targets: simulator, fuzzing, coverage, sanitizers, benchmark, golden cases. Read by ../Makefile.

submake = @+$(MAKE) --no-print-directory
# Sanitizers of gcc 12 and clang 14 cannot place their shadow memory where the kernel spreads addresses widely.
FIXED_ADDRESSES := $(shell setarch -R true 2>/dev/null && echo setarch -R)

# ---- simulator, benchmark, golden cases: one program each ----

SIM_O := $(call object,$(filter tests/sim/%,$(TEST_SOURCES)))
BENCH_O := $(call object,$(filter tests/bench/%,$(TEST_SOURCES)))
GOLDEN_O := $(call object,$(filter tests/golden/%,$(TEST_SOURCES)))

# The very objects of paramd and of the client: tests/lint reads the linker's map to prove it.
$(BUILD)/sim: $(SIM_O) $(SERVER_O) $(CLIENT_O) $(COMMON_O) $(BUILD)/libtest.a $(BUILD)/sources.stamp
	$(call say,LINK,$@)
	$(link) -Wl,-Map,$@.map
# The floor's loops are held against our kernels: with the same flags.
$(BUILD)/obj/tests/bench/floor_loops.o: private EXTRA := $(ARITHMETIC)
$(BUILD)/bench: $(BENCH_O) $(SERVER_O) $(WORKER_O) $(COMMON_O) $(BUILD)/libtest.a $(BUILD)/sources.stamp
	$(call say,LINK,$@)
	$(link)
$(BUILD)/golden-runner: $(GOLDEN_O) $(SERVER_O) $(WORKER_O) $(COMMON_O) $(BUILD)/libtest.a $(BUILD)/sources.stamp
	$(call say,LINK,$@)
	$(link)

.PHONY: sim sim-mutants bench golden
sim: $(BUILD)/sim
	$(BUILD)/sim --seeds $(SEEDS)
# Every seeded mistake has to be caught within so many seeds.
sim-mutants:
	$(submake) BUILD=$(BUILD)/sim-mutants MUTANTS=1 $(BUILD)/sim-mutants/sim
	$(BUILD)/sim-mutants/sim --mutants --seeds $(SEEDS)
bench: $(BUILD)/bench programs
	$(BUILD)/bench --json $(BUILD)/bench.json $(BENCH_FLAGS)
golden: $(BUILD)/golden-runner
	$(BUILD)/golden-runner $(DIR)

# ---- fuzzing ----

# tests/fuzz/fuzz_NAME.c is a libFuzzer target. Its comment "decoder: FILE..." names the files it is about: they
# decide what it is linked with and whose coverage is measured. A comment "options: ..." goes to libFuzzer.
FUZZ_SOURCES := $(filter tests/fuzz/fuzz_%,$(TEST_SOURCES))
FUZZ_NAMES := $(FUZZ_SOURCES:tests/fuzz/fuzz_%.c=%)
FUZZ_TARGETS := $(FUZZ_NAMES:%=$(BUILD)/fuzz_%)
FUZZ_BUILD := $(BUILD)/fuzz

ifneq ($(FUZZ)$(filter fuzz,$(COVERAGE)),)
decoders = $(shell sed -n 's|.*decoder: *\([^*]*\).*|\1|p' tests/fuzz/fuzz_$(1).c)
$(BUILD)/libfuzz.a: $(call object,$(filter-out $(FUZZ_SOURCES),$(filter tests/fuzz/%,$(TEST_SOURCES)))) \
		$(BUILD)/sources.stamp
	@mkdir -p $(BUILD); rm -f $@; ar qcs $@ $(filter %.o,$^)
define fuzz_rule
FUZZ_O_$(1) := $$(sort $$(call reachable_o,$$(sort $$(patsubst %/,%,$$(dir $$(call decoders,$(1)))))))
$(BUILD)/fuzz_$(1): $(BUILD)/obj/tests/fuzz/fuzz_$(1).o $$(FUZZ_O_$(1)) $(BUILD)/libfuzz.a $(BUILD)/libtest.a \
		$(BUILD)/sources.stamp
	$$(call say,LINK,$$@)
	$$(link) -fsanitize=fuzzer
endef
$(foreach f,$(FUZZ_NAMES),$(eval $(call fuzz_rule,$(f))))
endif

.PHONY: fuzz fuzz-build fuzz-coverage sim-coverage
fuzz-build: $(FUZZ_TARGETS)
fuzz:
	$(submake) BUILD=$(FUZZ_BUILD) CC=clang FUZZ=1 fuzz-build
	@SECONDS_EACH='$(SECONDS)' RUNS='$(RUNS)' WRAPPER='$(FIXED_ADDRESSES)' tests/lib/fuzz.sh $(FUZZ_BUILD) \
	  $(call select,$(FUZZ_NAMES))
fuzz-coverage:
	$(submake) BUILD=$(BUILD)/fuzz-coverage CC=clang COVERAGE=fuzz fuzz-build
	@tests/lib/coverage.sh fuzz $(BUILD)/fuzz-coverage $(FUZZ_BUILD) $(call select,$(FUZZ_NAMES))
sim-coverage:
	$(submake) BUILD=$(BUILD)/sim-coverage CC=clang COVERAGE=plain $(BUILD)/sim-coverage/sim
	@tests/lib/coverage.sh sim $(BUILD)/sim-coverage $(SEEDS)

# ---- sanitizers and valgrind ----

.PHONY: asan tsan tsan-run valgrind
asan:
	$(submake) BUILD=$(BUILD)/asan SAN=address,undefined TEST_WRAPPER='$(FIXED_ADDRESSES)' check-run
tsan:
	$(submake) BUILD=$(BUILD)/tsan SAN=thread TEST_WRAPPER='$(FIXED_ADDRESSES)' tsan-run
# What runs on more than one thread: the tests that say so, and the client with its background thread.
threaded = $(foreach t,$(1),$(if $(findstring thread,$(notdir $(t)))$(findstring /worker/client/,$(t)),$(t)))
tsan-run: $(call threaded,$(UNIT_TESTS)) $(call threaded,$(INTEGRATION_TESTS))
	@$(run_tests) tsan $(call threaded,$(UNIT_TESTS) $(INTEGRATION_TESTS))
valgrind: $(call select,$(UNIT_TESTS))
	@TEST_SECONDS=600 TEST_WRAPPER='valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite' \
	  $(run_tests) valgrind $(call select,$(UNIT_TESTS))
