# make month JOBS=100000 DAYS=30 SEED=1: see tests/month/main.mjs. Included by the Makefile.
month: bench-programs
	@OPGATE_BIN=$(abspath $(BUILD)/opgate) BENCH_BIN=$(abspath $(BUILD)/bench) JOBS=$(JOBS) DAYS=$(DAYS) SEED=$(SEED) ./script/node tests/month/main.mjs
.PHONY: month
