# make faults [SEED=1] [ROUNDS=20] [FILES="chain reorg"]: every fault test, some files at once. Each fault of the chain ROUNDS times and each
# point of a payment, payout or record PAYMENT_ROUNDS times with random timing; tests/faults/kill.test.mjs kills something while 200 jobs run, KILL_ROUNDS
# times. The seed is printed, and repeats the random choices. make faults-short is the same, once: part of ./script/test. Included by the Makefile.
ROUNDS         ?= 20
PAYMENT_ROUNDS ?= $(ROUNDS)
KILL_ROUNDS    ?= 20
AT_ONCE        ?= 3
FILES          ?=
faults: all
	@$(MAKE) -s FAULTS=1 BUILD=build/faults
	@ROUNDS=$(ROUNDS) PAYMENT_ROUNDS=$(PAYMENT_ROUNDS) KILL_ROUNDS=$(KILL_ROUNDS) AT_ONCE=$(AT_ONCE) $(if $(SEED),SEED=$(SEED)) ./script/node tests/faults/campaign.mjs $(FILES)
faults-short:
	@$(MAKE) -s faults ROUNDS=1 KILL_ROUNDS=6 AT_ONCE=4
.PHONY: faults faults-short
