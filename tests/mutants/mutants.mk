# `make mutants`: breaks one protection at a time, in a copy, and expects a test to turn red; see tests/mutants/run.
# `make mutants MUTANTS="deposit siwe"` does only those whose file name holds one of the words, `make mutants PART=0/2` every second one.
mutants:
	@PART=$(PART) ./tests/mutants/run $(MUTANTS)

.PHONY: mutants
