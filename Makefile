# opgate: `make` builds build/opgate; `make check` runs what needs no stack; ./script/test runs everything; `make help`.
#
#   make CC=clang            another compiler
#   make SAN=address|thread  sanitizers (address includes UBSan); objects live apart, in build/<name>
#   make BUILD=dir           another output directory
#   make FAULTS=1 BUILD=build/faults   with the points of server/base/fault.h at which tests end the process

ifeq ($(origin CC),default)
CC     := gcc
endif
SAN    ?=
BUILD  ?= build$(if $(SAN),/$(SAN))
PKGS   := libmicrohttpd jansson libpq libcurl libcrypto libjwt libsecp256k1

CFLAGS_san_address := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS_san_thread  := -fsanitize=thread -fno-omit-frame-pointer
OPT      ?= $(if $(SAN),-O1,-O2)
HARDEN   := -fstack-protector-strong -fPIE $(if $(SAN),,-D_FORTIFY_SOURCE=2)
CPPFLAGS += $(if $(FAULTS),-DOPGATE_FAULTS) -I. -Iserver -D_GNU_SOURCE $(shell pkg-config --cflags $(PKGS))
CFLAGS   += -std=c11 $(OPT) -g -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla $(HARDEN) $(CFLAGS_san_$(SAN)) -pthread
LDFLAGS  += $(CFLAGS_san_$(SAN)) -pie -Wl,-z,relro,-z,now -pthread
LDLIBS   += $(shell pkg-config --libs $(PKGS)) -lm

# Layers, left may use right (see docs/ARCHITECTURE.md); each is one archive.
DEPS_base     := base
DEPS_crypto   := crypto base
DEPS_net      := net crypto base
DEPS_blob     := blob crypto base
DEPS_db       := db crypto base
DEPS_proof    := proof net crypto base
DEPS_chain    := chain net crypto base
DEPS_http     := http crypto base
DEPS_auth     := auth chain proof db net blob crypto base
DEPS_relay    := relay auth http chain proof db net blob crypto base
DEPS_pay      := pay relay auth http chain proof db net blob crypto base
DEPS_handlers := handlers pay relay auth http chain proof db net blob crypto base
DEPS_node     := node http proof net blob crypto base
LAYERS        := base crypto net blob db proof chain http auth relay pay handlers node

dir_of = $(if $(filter db handlers node,$(1)),$(1),server/$(1))
$(foreach l,$(LAYERS),$(eval SRC_$(l) := $(wildcard $(call dir_of,$(l))/*.c)))
$(foreach l,$(LAYERS),$(eval OBJ_$(l) := $(patsubst %.c,$(BUILD)/%.o,$(SRC_$(l)))))
OBJ_db        += $(BUILD)/migrations.o
libs_of = $(foreach l,$(DEPS_$(1)),$(if $(SRC_$(l)),$(BUILD)/lib$(l).a))

all: $(BUILD)/opgate

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile
	@echo 'targets: all unit unit-<layer> db check check-source fuzz faults mutants bench clean'

$(BUILD)/opgate: $(BUILD)/server/main.o $(BUILD)/server/gateway.o $(call libs_of,node) $(call libs_of,handlers)
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(sort $(call libs_of,node) $(call libs_of,handlers)) -Wl,--end-group $(LDLIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

MIGRATION_FILES := $(sort $(wildcard migrations/[0-9]*.sql))
$(BUILD)/migrations.c: migrations/embed $(MIGRATION_FILES)
	@mkdir -p $(@D)
	@./migrations/embed $(MIGRATION_FILES) > $@.tmp && mv $@.tmp $@
$(BUILD)/migrations.o: $(BUILD)/migrations.c
	@$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

define layer_rules
$(BUILD)/lib$(1).a: $$(OBJ_$(1))
	@rm -f $$@
	@ar rcs $$@ $$^
UNIT_$(1) := $$(patsubst tests/unit/$(1)/%.c,$(BUILD)/unit/$(1)/%,$$(wildcard tests/unit/$(1)/test_*.c))
$$(UNIT_$(1)): $(BUILD)/unit/$(1)/%: $(BUILD)/tests/unit/$(1)/%.o $$(call libs_of,$(1))
	@mkdir -p $$(@D)
	@$$(CC) $$(LDFLAGS) -o $$@ $$< $$(call libs_of,$(1)) -lcmocka $$(LDLIBS)
unit-$(1): $$(UNIT_$(1))
	@for t in $$^; do echo "== $$$$t"; $$$$t || exit 1; done
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rules,$(l))))

# Database tests link everything up to handlers; they need a server: ./script/with-postgres make db
DB_TESTS := $(patsubst tests/db/%.c,$(BUILD)/db-tests/%,$(wildcard tests/db/test_*.c))
$(DB_TESTS): $(BUILD)/db-tests/%: $(BUILD)/tests/db/%.o $(call libs_of,handlers)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(call libs_of,handlers) -Wl,--end-group -lcmocka $(LDLIBS)
db: $(DB_TESTS)
	@for t in $^; do echo "== $$t"; $$t || exit 1; done

unit: $(foreach l,$(LAYERS),unit-$(l))
check-source:
	@./tests/tools/check-source
check: check-source unit

include tests/fuzz/fuzz.mk
-include tests/bench/bench.mk
-include tests/month/month.mk
-include tests/mutants/mutants.mk
-include tests/faults/faults.mk

clean:
	rm -rf build

.PHONY: all help unit db check check-source clean $(foreach l,$(LAYERS),unit-$(l))
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
