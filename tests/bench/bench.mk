# `make bench`: opgate's speed next to nginx's and pgbench's, on this machine, now; see tests/bench/run. Nothing gates on it.
#   BENCH_SECONDS=2   of each measured run      BENCH_RUNS=3   runs of each case

BENCH_DEPS := proof net db crypto base
BENCH_LIBS := $(foreach l,$(BENCH_DEPS),$(BUILD)/lib$(l).a)

$(BUILD)/bench/%: $(BUILD)/tests/bench/%.o $(BENCH_LIBS)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(BENCH_LIBS) -Wl,--end-group $(LDLIBS)

bench-programs: $(BUILD)/opgate $(BUILD)/bench/bench_node $(BUILD)/bench/bench_lane
bench: bench-programs
	@./script/bootstrap --bench
	@OPGATE_BIN=$(abspath $(BUILD)/opgate) BENCH_BIN=$(abspath $(BUILD)/bench) ./tests/bench/run

.PHONY: bench bench-programs
.PRECIOUS: $(BUILD)/tests/bench/%.o
