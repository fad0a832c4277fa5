# `make` lists the targets. Every target installs what it needs first, see scripts/setup.
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo)
POLICY ?= examples/policies/block-malicious-domains.yaml
SECONDS ?= 600

.DEFAULT_GOAL := help
.PHONY: help run test soak mutants bench fuzz fmt lint clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

run: ## build enforcer and run it with the example policy (POLICY=FILE for another)
	scripts/setup run
	cargo build --release -p enforcer
	$(SUDO) target/release/enforcer run --policy $(POLICY)

test: ## formatting, lints, unit tests, kernel tests here and in virtual machines
	scripts/setup test
	scripts/test

soak: ## the kernel tests with many more rounds, about an hour
	scripts/setup test
	ENFORCER_SOAK=1 scripts/test-vms

mutants: ## break the code that decides on purpose; the tests must notice
	scripts/setup build
	scripts/mutants

bench: ## what it costs, beside a machine without it; into docs/benchmarks/latest.md
	scripts/setup bench
	$(SUDO) scripts/bench

fuzz: ## fuzz what reads policies, lists and DNS answers, 10 minutes each target (SECONDS=N, TARGET=NAME for one)
	scripts/setup fuzz
	scripts/fuzz --seconds $(SECONDS) $(TARGET)

fmt: ## format the Rust code
	cargo fmt --all
	cargo fmt --manifest-path policy-schema/fuzz/Cargo.toml
	cargo fmt --manifest-path enforcer/fuzz/Cargo.toml

lint: ## formatting and lints, without changing anything
	cargo fmt --all --check
	cargo fmt --manifest-path policy-schema/fuzz/Cargo.toml --check
	cargo fmt --manifest-path enforcer/fuzz/Cargo.toml --check
	cargo clippy --workspace --exclude enforcer-ebpf --all-targets -- -D warnings

clean: ## remove everything that was built or downloaded
	cargo clean
