# The commands of daily work; `make` alone lists them.

# DATABASE, a URL, moves the demo from SQLite in a temporary file to a database of yours that has no books in it yet.
DATABASE ?=
DEMO_OPTIONS ?= --accounts 1000 --concurrency 64
BENCH_OPTIONS ?=

.DEFAULT_GOAL := help
.PHONY: help demo backend backend-sqlite backend-test test test-rust bench install-c lint fmt setup clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## replay an hour of AI jobs on SQLite in a temporary file (or DATABASE=url); needs only Rust and a C compiler
	@cargo run --release -p jointo-credits-replay $(if $(DATABASE),,--no-default-features --features sqlite) -- \
		$(if $(DATABASE),--database '$(DATABASE)') $(DEMO_OPTIONS)

backend: ## start the example backend on PostgreSQL and Redis of its own: FastAPI, Celery, a stand-in AI and payment channels
	@scripts/backend

backend-sqlite: ## the same on SQLite, and files for Celery's messages
	@scripts/backend --sqlite

backend-test: setup ## run the example backend's end-to-end tests
	@scripts/build-python
	scripts/with-postgres -- .venv/bin/python -m pytest -q --no-header tests/python/test_backend.py tests/python/test_backend_shop.py

test: setup ## run every suite and count the tests
	@scripts/test

test-rust: setup ## run the Rust tests only, with PostgreSQL
	scripts/with-postgres -- cargo test --workspace --all-features

bench: setup ## compare the ledger with other ways of doing its work; BENCH_OPTIONS as for scripts/bench
	@scripts/bench $(BENCH_OPTIONS)

install-c: ## install libcredits with its header, for pkg-config and CMake: make install-c PREFIX=/usr/local
	@scripts/install-c '$(PREFIX)'

lint: ## format, clippy, purity, licences, shell scripts, Python types
	@scripts/setup --lint
	@scripts/lint

fmt: ## format the code
	cargo fmt --all
	.venv/bin/ruff format python tests/python tests/c examples
	.venv/bin/python scripts/make-sync

setup: ## install what building and testing needs, if anything is missing
	@scripts/setup

clean: ## delete everything that can be made again
	cargo clean
	rm -rf .venv .tools
