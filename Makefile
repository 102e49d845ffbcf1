# make          what there is to do
# make test     installs what it needs, builds, and runs all tests (as root)
# make demo     installs what it needs, builds, and shows containers that talk through Seaway

PYTHON ?= /usr/bin/python3
CLANG ?= clang
V ?= 0
Q := $(if $(filter 1,$(V)),,@)

VENV := .venv/.installed
TESTS ?= tests/e2e tests/netns tests/bpf tests/unit
OBJECTS := src/seaway/bpf/objects
FRONT := src/seaway/cni
MACHINES := x86_64 aarch64
HERE := $(shell uname -m)
HOOKS := $(notdir $(wildcard bpf/*.bpf.c))
BPF := $(foreach m,$(MACHINES),$(HOOKS:%.c=$(OBJECTS)/$(m)/%.o))
CNI := $(MACHINES:%=build/cni/%/seaway)
PYTHON_SCRIPTS = $(shell grep -rl '^\#!.*python3$$' scripts)
C_FILES = $(wildcard bpf/*.c bpf/lib/*.h tests/bpf/*.c cni/*.c cni/*.h)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help build test check format demo bench soak test-kernels clean packages

help:
	@sed -n '/^#/!q; s/^# //p' Makefile
	@echo 'others: build check format bench soak test-kernels clean'

# Where Python keeps no bytecode by itself, each process would compile all that it imports.
build: packages $(VENV) $(BPF) $(CNI)
	$(Q).venv/bin/python -m compileall -q src

test: build
	$(Q)scripts/install-packages firewalls store
	$(Q).venv/bin/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(TESTS)

check: build
	$(Q)scripts/check

format: $(VENV)
	$(Q).venv/bin/ruff format src tests examples $(PYTHON_SCRIPTS)
	$(Q).venv/bin/ruff check --fix --quiet src tests examples $(PYTHON_SCRIPTS)
	$(Q)clang-format -i $(C_FILES)

demo: build
	$(Q)scripts/install-packages store bench
	$(Q).venv/bin/python examples/demo/demo.py

bench: build
	$(Q)scripts/install-packages bench
	$(Q)scripts/bench

soak: build
	$(Q)scripts/install-packages firewalls store bench
	$(Q).venv/bin/pytest --soak tests/bpf tests/netns tests/e2e

test-kernels: build
	$(Q)tests/kernels/run

clean:
	$(Q)rm -rf build dist $(OBJECTS) $(FRONT) .mypy_cache .ruff_cache .pytest_cache

packages:
	$(Q)scripts/install-packages build lab

$(VENV) $(BPF) $(CNI): | packages # also where make does many things at once

$(VENV): pyproject.toml
	$(Q)test -x .venv/bin/python || { mkdir -p .venv && $(PYTHON) -m venv .venv; }
	$(Q).venv/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(Q)touch $@

# ── BPF objects: one for each hook and machine; debug information is dropped, BTF stays ──

BPF_FLAGS := -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -Ibpf
headers = $(if $(filter $(1),$(HERE)),/usr/include/$(1)-linux-gnu,/usr/$(1)-linux-gnu/include)
x86_64_FLAGS := -D__TARGET_ARCH_x86 -idirafter $(call headers,x86_64)
aarch64_FLAGS := -D__TARGET_ARCH_arm64 -idirafter $(call headers,aarch64)

define machine
$(OBJECTS)/$(1)/%.bpf.o: bpf/%.bpf.c Makefile
	@mkdir -p $$(@D) build/deps/$(1)
	@echo "  BPF  $(1)  $$<"
	$$(Q)$(CLANG) $(BPF_FLAGS) $($(1)_FLAGS) -MMD -MP -MT $$@ -MF build/deps/$(1)/$$*.d -c $$< -o $$@
	$$(Q)llvm-strip -g $$@
endef
$(foreach m,$(MACHINES),$(eval $(call machine,$(m))))
-include $(wildcard build/deps/*/*.d)

# ── The CNI front: static, no library at run time ──

CNI_FLAGS := -static -Os -std=gnu11 -Wall -Wextra -Werror -s
cc = $(if $(filter $(1),$(HERE)),gcc,$(1)-linux-gnu-gcc)

build/cni/%/seaway: $(wildcard cni/*.c cni/*.h) Makefile
	@mkdir -p $(@D) $(FRONT)/$*
	@echo "  CC   $*  cni/seaway"
	$(Q)$(call cc,$*) $(CNI_FLAGS) -o $@ $(filter %.c,$^)
	$(Q)cp $@ $(FRONT)/$*/seaway
