# domsec: the commands everybody uses. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
T      ?= tests
ONCE   ?=
TARGETS ?=
SECONDS ?= 60
MAIL   ?=
MUTANTS ?=

# What the tests use of Debian: real servers and other people's programs. Installed by `make test` as root on Debian.
PACKAGES := openssl postfix sasl2-bin libsasl2-modules gcc libssl-dev default-jdk-headless libbcprov-java \
            libbcpkix-java libbcutil-java libbcmail-java libmail-java libactivation-java \
            libnss3-tools gpgsm gpg-agent dirmngr gnutls-bin opendkim rspamd softhsm2 opensc slapd nsd ldnsutils unbound \
            postgresql libidn12
# Mail servers that cannot stand beside Postfix are only unpacked, into .others.
UNPACKED := exim4-base exim4-daemon-light opensmtpd

.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench conformance interop corpora paths fuzz mutation faults soak nightly docs deb packages clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c "import ensurepip" 2>/dev/null || ./.ci/packages python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

install: $(VENV)/.installed ## .venv with domsec and everything its development needs

demo: $(VENV)/.installed ## two domains exchange protected mail on loopback (ONCE=1 to stop after it, MAIL=path for your own)
	@$(BIN)/domsec demo $(if $(ONCE),--once) $(if $(MAIL),--mail $(MAIL))

packages: ## the Debian packages that tests use, where we are root on Debian
	@./.ci/packages $(PACKAGES) || echo "tests that need what is missing will be skipped, each with its reason"
	@./.ci/unpack .others $(UNPACKED) || echo "tests that need Exim or OpenSMTPD will be skipped"

test: $(VENV)/.installed packages ## all tests in parallel (T=tests/services for part of them)
	$(BIN)/python -m pytest -n auto --dist loadgroup $(T)

check: $(VENV)/.installed ## format, lint, types, import layers, generated documents
	$(BIN)/ruff format --check src tests bench fuzz packaging
	$(BIN)/ruff check src tests bench fuzz packaging
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed ## format the code
	$(BIN)/ruff format src tests bench fuzz packaging
	$(BIN)/ruff check --fix-only --quiet src tests bench fuzz packaging

bench: $(VENV)/.installed packages ## measure, as ratios to the raw limits of this machine, and write docs/performance.md
	$(BIN)/python -m bench
	$(BIN)/python -m bench --page

conformance: $(VENV)/.installed packages ## docs/conformance.md from the tests; fails where RFC 3183 is not shown
	$(BIN)/python -m pytest -n auto --dist loadgroup --conformance docs/conformance.md tests

corpora: $(VENV)/.installed ## docs/corpora.md from the tests of the corpora beside the project (../shared)
	$(BIN)/python -m pytest -n auto --corpora docs/corpora.md tests/corpora

paths: $(VENV)/.installed ## docs/paths.md from the tests of the public suites of path validation (../shared)
	$(BIN)/python -m pytest -q --paths docs/paths.md tests/trust/test_pkits.py tests/trust/test_suites.py

interop: $(VENV)/.installed packages ## docs/interop.md from the tests: what others and domsec make of each other's messages
	$(BIN)/python -m pytest -n auto --dist loadgroup --interop docs/interop.md tests/interop

fuzz: $(VENV)/.installed ## hostile octets for every parser (SECONDS=60 for each, TARGETS="der mime" for some)
	$(BIN)/python -m fuzz --seconds $(SECONDS) $(TARGETS)

faults: $(VENV)/.installed packages ## everything fails at random for SECONDS=60, and every message is balanced at the end
	DOMSEC_FAULTS_SECONDS=$(SECONDS) DOMSEC_FAULTS_MESSAGES=$$(($(SECONDS) * 60)) $(BIN)/python -m pytest -n 0 -s tests/e2e/test_faults.py

soak: $(VENV)/.installed packages ## a steady load for SECONDS=60: fails where memory is not flat
	$(BIN)/python -m bench soak --seconds $(SECONDS)

nightly: ## what a change does not wait for: ten minutes of faults, ten of steady load
	$(MAKE) faults soak SECONDS=600

mutation: $(VENV)/.installed ## what faults in services/ no test notices, in docs/mutation.md: an hour (MUTANTS="domsec.services.sign*" for some)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check mutmut==3.8.1
	$(BIN)/python tests/mutation.py $(MUTANTS)

docs: $(VENV)/.installed ## the generated documents
	$(BIN)/python -m domsec.policy.reference docs
	$(BIN)/python -m domsec.gateway.reference docs
	$(BIN)/python -m domsec.cli.reference docs
	$(BIN)/python -m domsec.cli.verdicts docs

deb: $(VENV)/.installed ## the Debian package, in dist/
	$(BIN)/python packaging/debian/build.py

clean: ## everything that can be made again
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz bench/results.json
