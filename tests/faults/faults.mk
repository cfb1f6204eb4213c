# make faults ROUNDS=50 SEED=1: every fault test; the campaign of tests/faults/kill.test.mjs kills something while 200 jobs run,
# round after round. Included by the Makefile.
ROUNDS ?= 6
SEED   ?=
faults: all
	@$(MAKE) -s FAULTS=1 BUILD=build/faults
	@ROUNDS=$(ROUNDS) SEED=$(SEED) ./script/node --test --test-reporter=tap --test-concurrency=1 tests/faults/*.test.mjs
.PHONY: faults
