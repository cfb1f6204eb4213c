# `make fuzz`: builds every tests/fuzz/fuzz_*.c with libFuzzer, AddressSanitizer and UBSan (clang), replays its committed
# corpus, then fuzzes it for FUZZ_SECONDS. `make fuzz-json` does one. New inputs and crashes stay below $(FUZZ_BUILD).
#
# A target links the layers whose headers it includes. To keep an input for ever, copy it to tests/fuzz/corpus/<name>/.

FUZZ_SECONDS ?= 10
FUZZ_BUILD   ?= build/fuzz
FUZZ_NAMES   := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

# The targets are built by a second make with its own compiler, flags and objects.
CFLAGS_san_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

fuzz_layers = $(sort $(foreach l,$(shell sed -n 's|^\#include "\([a-z]*\)/.*|\1|p' $(1)),$(DEPS_$(l))))
fuzz_libs   = $(foreach l,$(call fuzz_layers,tests/fuzz/fuzz_$(1).c),$(if $(SRC_$(l)),$(BUILD)/lib$(l).a))

ifeq ($(SAN),fuzz)
define fuzz_rules
$(BUILD)/fuzz_$(1): $(BUILD)/tests/fuzz/fuzz_$(1).o $(call fuzz_libs,$(1))
	@$$(CC) $$(LDFLAGS) -fsanitize=fuzzer -o $$@ $$< -Wl,--start-group $(call fuzz_libs,$(1)) -Wl,--end-group $$(LDLIBS)
endef
$(foreach n,$(FUZZ_NAMES),$(eval $(call fuzz_rules,$(n))))
endif

FUZZ_LIMITS := -rss_limit_mb=1024 -timeout=10 -verbosity=0 -print_final_stats=1 -artifact_prefix=$(FUZZ_BUILD)/crashes/

fuzz: $(addprefix fuzz-,$(FUZZ_NAMES))

# All of them: built together first, so that they can run side by side (make -j2 fuzz).
ifneq ($(filter fuzz,$(MAKECMDGOALS)),)
$(addprefix fuzz-,$(FUZZ_NAMES)): | fuzz-programs
endif
fuzz-programs:
	@$(MAKE) -s --no-print-directory SAN=fuzz CC=clang BUILD=$(FUZZ_BUILD) $(patsubst %,$(FUZZ_BUILD)/fuzz_%,$(FUZZ_NAMES))

$(addprefix fuzz-,$(FUZZ_NAMES)): fuzz-%:
	@$(MAKE) -s --no-print-directory SAN=fuzz CC=clang BUILD=$(FUZZ_BUILD) $(FUZZ_BUILD)/fuzz_$*
	@mkdir -p $(FUZZ_BUILD)/corpus/$* $(FUZZ_BUILD)/crashes
	@echo "== fuzz_$*: its corpus, then $(FUZZ_SECONDS) s"
	@{ $(FUZZ_BUILD)/fuzz_$* $(FUZZ_LIMITS) -runs=0 $(wildcard tests/fuzz/corpus/$*) && \
	   $(FUZZ_BUILD)/fuzz_$* $(FUZZ_LIMITS) -max_total_time=$(FUZZ_SECONDS) $(FUZZ_BUILD)/corpus/$* $(wildcard tests/fuzz/corpus/$*); \
	} >$(FUZZ_BUILD)/$*.log 2>&1 || { tail -60 $(FUZZ_BUILD)/$*.log; exit 1; }
	@sed -n 's/^stat::number_of_executed_units: */   inputs tried: /p' $(FUZZ_BUILD)/$*.log | tail -1

.PHONY: fuzz fuzz-programs $(addprefix fuzz-,$(FUZZ_NAMES))
