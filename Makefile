# What a newcomer runs. `make help` lists it; PYTHON=python3.12 picks another interpreter.

PYTHON ?= python3
PIP_INSTALL := python -m pip install --disable-pip-version-check --quiet -c constraints.txt

DEMO_VENV := .venv-demo
TEST_VENV := .venv
# An environment is as good as its stamp: it is made anew whenever what it was made from changes.
MADE_FROM := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test fast bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO_VENV)/.stamp ## clean a noisy photograph with the bundled network (light runtime, no torch)
	@$(DEMO_VENV)/bin/python scripts/demo.py

test: $(TEST_VENV)/.stamp ## ruff, mypy and the whole test suite, in an environment of its own
	@VIRTUAL_ENV="$(CURDIR)/$(TEST_VENV)" PATH="$(CURDIR)/$(TEST_VENV)/bin:$$PATH" scripts/check

fast: $(TEST_VENV)/.stamp ## the same without the slow tests
	@VIRTUAL_ENV="$(CURDIR)/$(TEST_VENV)" PATH="$(CURDIR)/$(TEST_VENV)/bin:$$PATH" scripts/check --fast

bench: ## list the benchmarks; each is run by hand and prints what it measured
	@for file in benchmarks/*.py; do \
	  [ -e "$$file" ] || { echo "  there are none yet"; exit 0; }; \
	  case "$$file" in */_*|*/__*) continue;; esac; \
	  printf '  %s\n      %s\n' "$(TEST_VENV)/bin/python $$file" \
	    "$$(sed -n '/"""/ { s/^[^"]*"""//; s/"""$$//; p; q; }' "$$file")"; \
	done

clean: ## remove the environments, the demo's pictures and the caches
	rm -rf $(DEMO_VENV) $(TEST_VENV) demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call make_venv,FOLDER,WHAT TO INSTALL)
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "unnoise needs Python 3.11 or newer; say make PYTHON=python3.12, for example")'
	@echo "Making $(1) with $$($(PYTHON) --version): pip install -c constraints.txt -e '$(2)' …"
	@rm -rf $(1)
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/$(PIP_INSTALL) -e '$(2)'
	@touch $@
endef

$(DEMO_VENV)/.stamp: $(MADE_FROM)
	$(call make_venv,$(DEMO_VENV),.)

$(TEST_VENV)/.stamp: $(MADE_FROM)
	$(call make_venv,$(TEST_VENV),.[dev])
