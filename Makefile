# Two commands do all the set-up: `make demo` and `make test`. The rest is for those who work on the code.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
INSTALLED := $(VENV)/.installed

# What Debian has to bring: PC/SC with a virtual reader, a PKCS#11 token, the independent judges (OpenSC,
# OpenSSL), what pyscard is built with, and the modules that the conformance tests put through their paces.
DEBIAN_PACKAGES := haproxy libfaketime pcscd libpcsclite-dev vsmartcard-vpcd softhsm2 opensc opensc-pkcs11 openssl \
                   gcc swig pkg-config util-linux postgresql \
                   p11-kit p11-kit-modules opencryptoki libtpm2-pkcs11-1 libtss2-tcti-swtpm0 libtss2-tcti-tabrmd0 \
                   swtpm tpm2-abrmd dbus-daemon libnss3 libnss3-tools \
                   prometheus curl systemd groff-base chromium fonts-ipafont-gothic
# Debian's own Python comes in parts; any other Python brings its headers and venv along.
ifneq ($(filter /usr/bin/%,$(shell command -v $(PYTHON))),)
DEBIAN_PACKAGES += python3-dev python3-venv
endif
MISSING = $(shell for p in $(DEBIAN_PACKAGES); do dpkg -s $$p 2>/dev/null | grep -q '^Status:.* installed' || echo $$p; done)

.PHONY: bench conformance coverage demo test soak lint lock docs fuzz clean debian-packages venv deb reproducible sbom system-test previous exposure

demo: venv
	@$(BIN)/jpki-appliance demo $(DEMO)

# Many tests wait for other processes, so one runs more than there are processors. A file's tests stay together, in one
# process and in their order; files begin in theirs. For a single process: PYTEST='-n0 -k words'.
TEST_PROCESSES ?= $(shell echo $$(($$(nproc) + 1)))
test: lint
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST)

# What the tests reach, by branch: in their own processes, and in those that get their environment. Slower than `make test`.
coverage: venv
	@rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/coverage run -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered

# The long version of two tests: eight callers for a minute, and two thousand terminals that come back at once; and how
# soon there are signatures again after an HSM's bad day, which only a machine with nothing else to do can tell.
soak: venv
	SOAK_SECONDS=60 SOAK_TERMINALS=2000 $(BIN)/pytest tests/faults/test_threads.py tests/faults/test_bad_days.py \
	    tests/daemon/test_bad_days.py \
	    --log-cli-level=INFO $(PYTEST)

bench: venv
	@$(BIN)/jpki-appliance hsm bench $(BENCH)

# Probes the five modules anew and writes docs/conformance.md and .json.
conformance: venv
	$(BIN)/python -m tests.conformance docs

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy packaging/*.py
	$(BIN)/lint-imports
	@$(BIN)/python packaging/audit.py requirements/runtime.txt

venv: debian-packages $(INSTALLED)

# The packages themselves are checked by hash; only building pyscard (published as source) and this
# package uses what the requirement file has already put into the environment.
$(INSTALLED): requirements/development.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/development.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

debian-packages:
	@if [ -n "$(strip $(MISSING))" ]; then \
	    echo "installing from Debian: $(strip $(MISSING))"; \
	    $(SUDO) apt-get update -qq && \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $(MISSING) >/dev/null; \
	fi

COMPILE = $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-index-url \
          --no-emit-find-links --no-emit-trusted-host --annotation-style=line $(LOCK)

# Writes the requirement files anew from pyproject.toml; LOCK=--upgrade takes newer versions.
lock:
	@[ -x $(BIN)/pip-compile ] || { $(PYTHON) -m venv $(VENV) && $(BIN)/pip install --quiet pip-tools; }
	$(COMPILE) --output-file requirements/runtime.txt pyproject.toml
	$(COMPILE) --extra development --output-file requirements/development.txt pyproject.toml

# Writes the pages of docs/ that are made from data; a test holds them to it.
docs: venv
	$(BIN)/jpki-appliance explain --markdown --language en > docs/errors.en.md
	$(BIN)/jpki-appliance explain --markdown --language ja > docs/errors.ja.md
	$(BIN)/python -m appliance.metrics > docs/metrics.md

# Looks for bytes of a card that break a dialogue; FUZZ is for how many seconds.
FUZZ ?= 600
fuzz: venv
	$(BIN)/python -m tests.fuzz $(FUZZ)

# The Debian package, in dist/. The second target builds it twice, and compares.
deb: venv
	@rm -f dist/jpki-appliance_*.deb
	@BIN=$(BIN) packaging/build-deb.sh dist

reproducible: venv
	@BIN=$(BIN) packaging/build-deb.sh build/first && BIN=$(BIN) packaging/build-deb.sh build/second
	cmp build/first/*.deb build/second/*.deb

# What is in the package, as CycloneDX: it is in the package itself, and here beside it.
sbom: deb
	dpkg-deb --fsys-tarfile dist/jpki-appliance_*.deb | tar --extract --to-stdout \
	    ./usr/share/doc/jpki-appliance/sbom.cdx.json.gz | gzip --decompress > dist/sbom.cdx.json

# Installs the package in a Debian that boots in a container, and tries what systemd has to hold, beginning with an earlier
# package: that of the last release, or while there is none of the first commit that could be packaged. Needs root. The first
# run fetches that Debian, builds its pcscd with polkit, and keeps both outside of here.
SYSTEM_PACKAGES := debootstrap systemd-container dpkg-dev flex libpolkit-gobject-1-dev libsystemd-dev libudev-dev
PREVIOUS ?= $(shell git describe --tags --abbrev=0 2>/dev/null || \
                    git log --format=%H --diff-filter=A -- monitoring 2>/dev/null | tail -n 1)
system-test: DEBIAN_PACKAGES += $(SYSTEM_PACKAGES)
system-test: deb previous
	$(SUDO) env XDG_CACHE_HOME="$${XDG_CACHE_HOME:-$$HOME/.cache}" \
	    $(BIN)/python -m tests.system dist/jpki-appliance_*.deb --previous build/previous/jpki-appliance_*.deb \
	    --report docs/system-test.md

previous: venv
	@rm -rf build/previous && mkdir -p build/previous/tree
	git archive $(PREVIOUS) | tar --extract --directory build/previous/tree
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct $(PREVIOUS)) BIN=$(abspath $(BIN)) \
	    build/previous/tree/packaging/build-deb.sh build/previous

# Writes docs/exposure.md: our units' exposure beside others'. EXPOSURE='--unit NAME=FILE=SOURCE' adds one that Debian has not.
exposure:
	@mkdir -p build
	@$(PYTHON) packaging/exposure.py $(EXPOSURE) > build/exposure.md && mv build/exposure.md docs/exposure.md

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
