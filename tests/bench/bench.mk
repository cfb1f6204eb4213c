# `make bench`: opgate's speed next to nginx's, pgbench's and the official x402 stack's, on this machine, now; see tests/bench/run.
# Nothing gates on it. `make bench-x402`: the last of them alone.
#   BENCH_SECONDS=2   of each measured run      BENCH_RUNS=3   runs of each case
#   BENCH_PAYMENTS=240 BENCH_ROUNDS=5           of x402, see tests/bench/x402.mjs

BENCH_DEPS := proof net db crypto base
BENCH_LIBS := $(foreach l,$(BENCH_DEPS),$(BUILD)/lib$(l).a)

$(BUILD)/bench/%: $(BUILD)/tests/bench/%.o $(BENCH_LIBS)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(BENCH_LIBS) -Wl,--end-group $(LDLIBS)

$(BUILD)/bench/bench_verify: $(BUILD)/tests/bench/bench_verify.o $(call libs_of,pay)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(call libs_of,pay) -Wl,--end-group $(LDLIBS)

bench-programs: $(BUILD)/opgate $(BUILD)/bench/bench_node $(BUILD)/bench/bench_lane $(BUILD)/bench/bench_verify
bench bench-x402: bench-programs
	@./script/bootstrap --bench
	@OPGATE_BIN=$(abspath $(BUILD)/opgate) BENCH_BIN=$(abspath $(BUILD)/bench) ./tests/bench/run $(patsubst bench%,%,$(subst bench-,bench,$@))

.PHONY: bench bench-x402 bench-programs
.PRECIOUS: $(BUILD)/tests/bench/%.o
